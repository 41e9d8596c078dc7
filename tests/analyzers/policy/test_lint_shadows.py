"""What is said of rules that others make void: found where it is so, and never said where it is not."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Mapping
from dataclasses import replace

import pytest

from analyzers.policy.formula import (
    FALSE,
    TRUE,
    And,
    Attribute,
    Equals,
    Field,
    Formula,
    Matches,
    Not,
    Or,
    Ports,
    Prefix,
    Present,
    Suffix,
    Unknown,
    Within,
    no,
)
from analyzers.policy.istio.compile import rule_formula
from analyzers.policy.istio.model import AuthorizationPolicy, Matchers, Mesh, Rule, When
from analyzers.policy.istio.reference import decide
from analyzers.policy.lint import shadows
from analyzers.policy.lint.implies import Implications
from analyzers.policy.workloads import Workload
from tests.analyzers.policy import istio_samples
from tests.analyzers.policy.lint_cases import Case, holds, of
from tests.analyzers.policy.test_lint_istio import APP, WEB, deny, mesh, operation, policy, source, when

GET, ADMIN = operation(methods=["GET"]), operation(paths=["/admin*"])
CASES = (
    Case(
        shadows.NEVER,
        "spec.rules[0]",
        [policy(source(principals=["cluster.local/ns/a/sa/b"], notPrincipals=["cluster.local/ns/a/*"]))],
        [
            policy(source(principals=["cluster.local/ns/a/*"], notPrincipals=["cluster.local/ns/a/sa/b"])),
            # Of two names in a certificate each condition may match another one.
            policy(source(principals=["cluster.local/ns/a/sa/b"]) | when("source.principal", values=["x/ns/a/sa/b"])),
        ],
    ),
    Case(
        shadows.NEVER,
        "spec.rules[0]",
        [deny(operation(ports=["80"]) | when("destination.port", values=["81"]))],
        [deny(operation(ports=["80", "81"]) | when("destination.port", values=["81"]))],
    ),
    Case(
        shadows.VOID,
        "spec.rules[0]",
        [policy(operation(paths=["/admin/x"], methods=["GET"])), deny(ADMIN, name="q")],
        [
            policy(operation(paths=["/admin/x", "/orders"])),
            deny(ADMIN, name="q"),
            deny(operation(paths=["/orders"], methods=["POST"]), name="r"),
            deny({}, name="s", selector=APP),
            deny({}, name="t", namespace="bank"),
        ],
    ),
    Case(
        shadows.VOID,
        "spec.rules[1]",
        [policy(GET, WEB, selector=APP), deny(source(principals=["*"]), name="q", namespace="istio-system")],
        [policy(GET, WEB), deny(source(notPrincipals=["*"]), name="q")],
    ),
    # What two rules deny together.
    Case(
        shadows.VOID,
        "spec.rules[0]",
        [policy(operation(ports=["80", "81"])), deny(operation(ports=["80"]), operation(ports=["81"]), name="q")],
        [policy(operation(ports=["80", "82"])), deny(operation(ports=["80"]), operation(ports=["81"]), name="q")],
    ),
    # Over TCP a DENY of paths denies all, over HTTP it does not: a rule is void where both hold.
    Case(
        shadows.VOID,
        "spec.rules[0]",
        [policy(operation(paths=["/admin"])), deny(ADMIN, name="q")],
        [policy(WEB), deny(ADMIN, name="q")],
    ),
    Case(
        shadows.SUPERFLUOUS,
        "spec.rules[1]",
        [policy(WEB, WEB | GET)],
        [policy(WEB | GET, WEB | operation(methods=["POST"]), GET | operation(paths=["/x"]))],
    ),
    Case(
        shadows.SUPERFLUOUS,
        "spec.rules[0]",
        [deny(WEB, selector=APP), deny(source(namespaces=["*"]), WEB, name="q")],
        [deny(WEB), deny(WEB, name="q", namespace="bank"), policy(WEB, name="r")],
    ),
    Case(
        shadows.SUPERFLUOUS,
        "spec.rules[0]",
        [mesh("rootNamespace: root"), policy(WEB), policy({}, namespace="root", name="q")],
        [policy(WEB), policy({}, namespace="root", name="q")],
    ),
    # What decides nothing is in nobody's way.
    Case(
        shadows.SUPERFLUOUS,
        "spec.rules[1]",
        [policy(WEB, WEB)],
        [
            policy(WEB),
            policy(WEB, name="q", annotations={"istio.io/dry-run": "true"}),
            policy(WEB, name="r", action="AUDIT"),
        ],
    ),
    # Nested claims are not known, so nothing is said of them.
    Case(
        shadows.SUPERFLUOUS,
        "spec.rules[1]",
        [policy(GET, GET | when("request.auth.claims[a]", values=["x"]))],
        [policy(when("request.auth.claims[a]", values=["x"]), when("request.auth.claims[a]", values=["y"]))],
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_each_check_finds_what_it_is_for_and_nothing_close_to_it(case: Case) -> None:
    holds(case)


def test_of_two_rules_that_say_the_same_one_is_told() -> None:
    assert [(one.name, one.field) for one in of(shadows.SUPERFLUOUS, [policy(WEB), policy(WEB, name="q")])] == [
        ("q", "spec.rules[0]")
    ]


A, B = Equals(Field.METHOD, ("A",)), Equals(Field.METHOD, ("B",))
PATH = Prefix(Field.PATH, "/a")
TEAM = Attribute("request.headers.team")


@pytest.mark.parametrize(
    ("one", "other", "certain"),
    [
        (A, Equals(Field.METHOD, ("B", "A")), True),
        (Equals(Field.METHOD, ("B", "A")), A, False),
        (Equals(Field.PATH, ("/ab",)), PATH, True),
        (Equals(Field.PATH, ("/ab", "/b")), PATH, False),
        (Equals(Field.PATH, ("/ab",)), Equals(Field.METHOD, ("/ab",)), False),
        (Equals(Field.PATH, ("/ab",)), Matches(Field.PATH, "/a[b-c]"), True),
        (Equals(Field.PATH, ("/abc",)), Matches(Field.PATH, "/a[b-c]"), False),
        (Equals(Field.PATH, ("/a\n",)), Matches(Field.PATH, "/a."), False),
        (Equals(Field.PATH, ("/ä",)), Matches(Field.PATH, "/."), False),
        (Prefix(Field.PATH, "/ab"), PATH, True),
        (PATH, Prefix(Field.PATH, "/ab"), False),
        (Suffix(Field.PATH, "ab"), Suffix(Field.PATH, "b"), True),
        (Suffix(Field.PATH, "b"), Prefix(Field.PATH, "b"), False),
        (PATH, Present(Field.PATH), True),
        (Prefix(Field.PATH, ""), Present(Field.PATH), False),
        (And((A, PATH)), A, True),
        (A, And((A, PATH)), False),
        (A, Or((PATH, A)), True),
        (Or((A, PATH)), A, False),
        (Or((A, B)), Equals(Field.METHOD, ("A", "B")), True),
        (A, Not(B), True),
        (Equals(TEAM, ("a",)), Not(Equals(TEAM, ("b",))), False),
        (Not(PATH), Not(Prefix(Field.PATH, "/ab")), True),
        (Not(Prefix(Field.PATH, "/ab")), Not(PATH), False),
        (Not(Or((A, PATH))), Not(A), True),
        (Not(A), Not(And((A, PATH))), True),
        (Not(And((A, PATH))), Not(A), False),
        (Unknown(TEAM), Unknown(TEAM), False),
        (And((Unknown(TEAM), A)), A, True),
        (Unknown(TEAM), TRUE, True),
        (FALSE, Unknown(TEAM), True),
        (Ports(Field.DESTINATION_PORT, ((80, 80),)), Ports(Field.DESTINATION_PORT, ((1, 100),)), True),
        (Ports(Field.DESTINATION_PORT, ((80, 101),)), Ports(Field.DESTINATION_PORT, ((1, 100),)), False),
        (Ports(Field.DESTINATION_PORT, ((80, 80),)), Not(Ports(Field.DESTINATION_PORT, ((81, 90),))), True),
    ],
)
def test_what_follows_is_certain_or_it_is_not_said(one: Formula, other: Formula, certain: bool) -> None:
    assert Implications().implies(one, other) is certain
    assert Implications().implies(no(other), no(one)) is certain
    assert not Implications(steps=0).implies(one, other)


def test_networks_lie_within_others() -> None:
    def within(*texts: str) -> Within:
        return Within(Field.SOURCE_IP, tuple(ipaddress.ip_network(text) for text in texts))

    decided = Implications()
    assert decided.implies(within("10.1.0.0/16"), within("192.168.0.0/16", "10.0.0.0/8"))
    assert not decided.implies(within("10.0.0.0/8"), within("10.1.0.0/16"))
    assert not decided.implies(within("10.0.0.0/8"), within("::/0"))
    assert decided.implies(within("10.0.0.0/8"), no(within("11.0.0.0/8")))
    assert not decided.implies(within("10.0.0.0/8"), no(within("::/0")))
    assert not decided.implies(within("10.0.0.0/8"), no(within("10.1.0.0/16")))


def _narrower(draw: random.Random, matchers: Matchers, more: tuple[str, ...]) -> Matchers:
    """The same, with fewer values or another condition."""
    found: dict[str, tuple[str, ...]] = dict(matchers)
    if found and draw.random() < 0.4:
        name = draw.choice(list(found))
        found[name] = (draw.choices(found[name], k=1)[0],)
    if draw.random() < 0.5:
        name = draw.choice(more)
        found.setdefault(name, (draw.choice(istio_samples.VALUES[name]),))
    return found


def _pair(draw: random.Random) -> tuple[Rule, Rule]:
    rules = [rule for number in range(4) for rule in istio_samples.policy(draw, number).rules] or [Rule()]
    one = draw.choice(rules)
    if draw.random() < 0.3:
        return draw.choice(rules), one
    narrow = replace(
        one,
        sources=tuple(_narrower(draw, each, istio_samples.SOURCES) for each in one.sources),
        operations=tuple(_narrower(draw, each, istio_samples.OPERATIONS) for each in one.operations),
        when=(*one.when, *([When("source.principal", ("*",), ())] if draw.random() < 0.3 else [])),
    )
    return narrow, one


WORKLOAD = Workload("shop", labels=({"app": "orders"},))


def _matches(rule: Rule, mesh: Mesh, call: Mapping[str, object]) -> bool | None:
    """What the plain evaluator says of a policy with this rule alone."""
    alone = AuthorizationPolicy("shop", "p", "DENY", (rule,))
    return {"deny": True, "allow": False, "unknown": None}[decide([alone], WORKLOAD, mesh, call).verdict]


def test_no_call_contradicts_what_is_said_of_two_rules() -> None:
    draw = random.Random(8)
    calls = [istio_samples.call(draw, 1.0) for _ in range(150)]
    said = matched = never = 0
    for _ in range(1_500):
        narrow, wide = _pair(draw)
        settings = draw.choice(istio_samples.MESHES)
        policy = AuthorizationPolicy("shop", "p", "DENY", ())
        decided = Implications()
        for transport in ("http", "tcp"):
            formulas = [rule_formula(one, policy, settings, transport) for one in (narrow, wide)]
            if decided.never(formulas[0]):
                never += 1
                assert not any(_matches(narrow, settings, call) for call in calls if call["transport"] == transport), (
                    narrow
                )
            if formulas[0] == formulas[1] or not decided.implies(*formulas):
                continue
            said += 1
            for call in draw.sample(calls, 40):
                if call["transport"] == transport and _matches(narrow, settings, call):
                    matched += 1
                    assert _matches(wide, settings, call) is not False, (narrow, wide, call)
    assert said > 500, said
    assert matched > 500, matched
    assert never > 20, never
