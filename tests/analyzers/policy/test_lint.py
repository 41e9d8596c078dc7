"""Linting as a whole: every check has its case, any valid set is taken, clean sets are left alone, lines are right."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from rich.console import Console

from analyzers.policy.istio.model import RequestAuthentication
from analyzers.policy.istio.peer_authentication import Mode, PeerAuthentication
from analyzers.policy.lint import istio_ztunnel
from analyzers.policy.lint.coverage import CHECKS as OF_COVERAGE
from analyzers.policy.lint.model import SEVERITIES, found_at, subjects
from analyzers.policy.lint.run import CHECKS, Lint, lint
from analyzers.policy.policy_set import Document, PolicySet, read_set
from analyzers.policy.render.lint_table import print_lint
from tests.analyzers.policy import (
    consul_samples,
    istio_samples,
    linkerd_samples,
    network_samples,
    smi_samples,
    test_lint_istio,
    test_lint_others,
    test_lint_shadows,
)
from tests.analyzers.policy.lint_cases import read, remarks
from tests.analyzers.policy.test_lint_istio import APP, STRICT, deny, operation, peers, policy, source, tokens


def test_every_check_has_a_case_and_a_name_of_its_own() -> None:
    cases = (*test_lint_istio.CASES, *test_lint_others.CASES, *test_lint_shadows.CASES)
    tried = {case.check.id for case in cases} | {one.id for one in (*istio_ztunnel.CHECKS, *OF_COVERAGE)}
    assert tried == {check.id for check in CHECKS}
    for check in CHECKS:
        assert check.id == check.id.lower().replace(" ", "-")
        assert check.severity in SEVERITIES


def test_an_id_means_one_severity() -> None:
    assert len({check.id for check in CHECKS}) == len({(check.id, check.severity) for check in CHECKS})


def _peers(draw: random.Random, number: int) -> PeerAuthentication:
    modes: tuple[Mode, ...] = ("UNSET", "DISABLE", "PERMISSIVE", "STRICT")
    selector = draw.choice(({}, {"app": "orders"}))
    ports: dict[int, Mode] = {8080: draw.choice(modes)} if selector and draw.random() < 0.5 else {}
    return PeerAuthentication(
        draw.choice(("shop", "istio-system")),
        f"m{number}",
        draw.choice(modes),
        selector,
        ports,
        draw.choice(("", "2026")),
    )


def _istio(draw: random.Random) -> list[Any]:
    policies = [istio_samples.policy(draw, number) for number in range(draw.choice((1, 4, 8)))]
    others = [_peers(draw, number) for number in range(draw.choice((0, 2)))]
    return [*policies, *others, draw.choice(istio_samples.MESHES), RequestAuthentication("shop", "t", rules=1)]


SAMPLES: Sequence[Callable[[random.Random], Sequence[Any]]] = (
    _istio,
    linkerd_samples.documents,
    consul_samples.documents,
    smi_samples.documents,
    lambda draw: [network_samples.policy(draw, number) for number in range(4)],
)


@pytest.mark.parametrize("sample", SAMPLES)
def test_any_valid_set_is_taken(sample: Callable[[random.Random], Sequence[Any]]) -> None:
    draw = random.Random(9)
    found = 0
    for _ in range(150):
        documents = tuple(
            Document(
                "x",
                type(model).__name__,
                getattr(model, "namespace", ""),
                getattr(model, "name", ""),
                "f",
                7,
                model,
                "",
            )
            for model in sample(draw)
        )
        said = lint(PolicySet(documents), ambient=draw.choice((True, False, None)))
        assert {one.line for one in said.remarks} <= {7}
        print_lint(said, {}, Console(file=io.StringIO()))
        found += len(said.remarks)
    assert found > 100


WEB = "cluster.local/ns/shop/sa/web"
CLEAN = (
    peers("istio-system", name="default", **STRICT),
    policy(name="nothing"),
    policy(
        source(principals=[WEB])
        | operation(methods=["GET"], paths=["/orders", "/orders/{*}"], hosts=["orders", "orders:*"], ports=["8080"]),
        source(serviceAccounts=["shop/health"]) | operation(ports=["9090"]),
        name="orders",
        selector=APP,
    ),
    deny(source(notPrincipals=["*"]), name="no-plaintext"),
    deny(
        operation(paths=["/admin", "/admin/*"], ports=["8080"]) | source(notNamespaces=["ops"]),
        name="admin",
        selector=APP,
    ),
    tokens(),
    deny(source(notRequestPrincipals=["*"]) | operation(ports=["8080"]), name="token", selector=APP),
    test_lint_others.server(),
    test_lint_others.authorization(test_lint_others.ref("MeshTLSAuthentication", "web")),
    test_lint_others.mesh_tls(test_lint_others.WEB),
    test_lint_others.intentions(test_lint_others.allow("web"), test_lint_others.DENY_ALL),
    test_lint_others.intentions(
        test_lint_others.permissions(test_lint_others.http(PathPrefix="/api/", Methods=["GET"])), name="cart"
    ),
    test_lint_others.settings(permissive=False),
    test_lint_others.target(test_lint_others.READ),
    test_lint_others.GROUP,
    test_lint_others.network(policyTypes=["Ingress"]),
    test_lint_others.network(
        podSelector={"matchLabels": {"app": "orders"}},
        ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}], "ports": [{"port": 8080}]}],
    )
    | {"metadata": {"name": "orders", "namespace": "shop"}},
)


def test_clean_documents_are_left_alone() -> None:
    assert remarks(*CLEAN) == []


TEXT = """\
apiVersion: v1
kind: List
items:
- apiVersion: security.istio.io/v1
  kind: AuthorizationPolicy
  metadata: {name: a, namespace: shop}
  spec:
    action: DENY
    rules:
    # A comment.
    - to:
      - operation:
          ports: ["8080"]
          paths:
          - /fine
          - /x?y
- {apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: b, namespace: s}, spec: {rules: [{}]}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: a, namespace: shop}
spec:
  mtls:
    mode: PERMISSIVE
"""
ONE_LINE = (
    '{"kind":"List","items":[{"apiVersion":"security.istio.io/v1","kind":"AuthorizationPolicy","metadata":{"name":"a"},'
    '"spec":{}},{"apiVersion":"security.istio.io/v1","kind":"AuthorizationPolicy","metadata":{"name":"c"},"spec":{"rules":\n'
    "[{}]}}]}"
)


def test_remarks_have_the_lines_of_their_fields() -> None:
    contents = {"a.yaml": TEXT.encode(), "b.json": ONE_LINE.encode()}
    found = lint(read_set(contents), contents=contents)
    assert [(one.file, one.line, one.check) for one in found.remarks] == [
        ("a.yaml", 16, "path-with-query"),
        ("a.yaml", 17, "allow-everybody"),
        ("a.yaml", 24, "weak-mtls"),
        ("b.json", 2, "allow-everybody"),
    ]
    assert [found.count(severity) for severity in SEVERITIES] == [1, 3, 0]
    assert (found.has("error"), found.has("note")) == (True, True)
    # Without the file: the documents' own lines.
    assert [one.line for one in lint(read_set(contents)).remarks] == [4, 17, 19, 1]


def test_severities_fail_by_rank() -> None:
    found = Lint(1, [one for one in remarks(policy({})) if one.severity == "warning"])
    assert found.remarks
    assert [found.has(severity) for severity in SEVERITIES] == [False, True, True]
    assert not Lint(1, []).has("note")


def test_paths_of_fields_are_found_in_any_case() -> None:
    (one,) = read(test_lint_others.intentions(test_lint_others.allow("web")))[0].documents
    (value,) = [subject.root for subject in subjects([one], {})]
    assert found_at(value, "sources[0].name").plain() == "web"  # pyright: ignore[reportOptionalMemberAccess]
    assert found_at(value, "sources[1].name") is None
    assert found_at(value, "sources.name") is None
    assert found_at(value, "name[0]") is None


HOSTILE = '\x1b[31m"><script>$(reboot)\u202e'


def test_what_strangers_wrote_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    policies, contents = read(policy(operation(hosts=[f"https://{HOSTILE}/"]), name=HOSTILE, namespace=HOSTILE))
    print_lint(lint(policies, contents=contents), {HOSTILE: 1})
    out = capsys.readouterr().out
    assert "host-form" in out
    assert "\x1b" not in out
    assert "\u202e" not in out


def test_thousands_of_rules_are_compared_within_bounds() -> None:
    rules = [source(principals=[f"cluster.local/ns/shop/sa/w{number}"]) for number in range(1_500)]
    said = [one.check for one in remarks(policy(*rules), deny(*rules[:-1], name="q"))]
    assert 0 < said.count("void-rule") < len(rules) - 1
