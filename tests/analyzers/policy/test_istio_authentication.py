"""Istio's documents of all three kinds: the engine says what the plain evaluators together say."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

from analyzers.policy.formula import Transport
from analyzers.policy.istio.authentication_reference import decide, mtls_required
from analyzers.policy.istio.engine import program
from analyzers.policy.istio.model import AuthorizationPolicy, Mesh, RequestAuthentication, Rule, When
from analyzers.policy.istio.peer_authentication import MODES, Mode, PeerAuthentication
from analyzers.policy.workloads import Workload
from storage.engine import Engine
from tests.analyzers.policy import istio_samples
from tests.analyzers.policy.calls import insert_calls
from tests.analyzers.policy.computed import assert_covers, computed

SETS, CALLS = 350, 60
TRANSPORTS: tuple[tuple[Transport, str], ...] = (("http", "protocol != 'tcp'"), ("tcp", "protocol = 'tcp'"))
JUDGES = ("sidecar",) * 6 + ("ztunnel", "ztunnel", "gateway", "waypoint")
NAMESPACES = ("shop", "shop", "shop", "istio-system", "istio-system", "other")
CREATED = ("", "2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z")
MESH = Mesh()
ORDERS = Workload("shop", labels=({"app": "orders"},))


def _mode(draw: random.Random) -> Mode:
    return draw.choice((*MODES, "STRICT", "STRICT", "STRICT"))  # pyright: ignore[reportReturnType]


def peer(draw: random.Random, number: int) -> PeerAuthentication:
    """One document of a level."""
    selector = draw.choice(({}, {}, {"app": "orders"}, {"version": "v2"}))
    ports: dict[int, Mode] = {port: _mode(draw) for port in (8080, 9090) if selector and draw.random() < 0.4}
    # The letters of names are not the order of their age.
    return PeerAuthentication(
        draw.choice(NAMESPACES), f"m{9 - number}", _mode(draw), selector, ports, draw.choice(CREATED)
    )


def tokens(draw: random.Random, number: int) -> RequestAuthentication:
    """One document, of the workload or of others."""
    target = (draw.choice(istio_samples.TARGETS),) if draw.random() < 0.3 else ()
    selector = {} if target else draw.choice(({}, {"app": "orders"}, {"version": "v2"}))
    return RequestAuthentication(draw.choice(NAMESPACES), f"t{number}", selector, target, draw.choice((0, 1, 1)))


def call(draw: random.Random) -> dict[str, Any]:
    """One of any line, also of one that shows a name without a certificate."""
    found = istio_samples.call(draw, draw.choice((0.2, 0.4, 0.6, 0.9)))
    if "source_principal" not in found and draw.random() < 0.5:
        found["tls"] = "unknown"
    return found


def documents(draw: random.Random) -> list[Any]:
    """Some of each kind, in any order."""
    attached = draw.choice((0.05, 0.3))
    some: list[Any] = [istio_samples.policy(draw, number, attached) for number in range(draw.choice((1, 2, 2, 3, 4)))]
    some += [peer(draw, number) for number in range(draw.choice((1, 2, 3, 5)))]
    some += [tokens(draw, number) for number in range(draw.choice((0, 0, 0, 1, 2)))]
    draw.shuffle(some)
    return [*some, draw.choice(istio_samples.MESHES)]


def test_the_engine_says_what_the_reference_says(engine: Engine) -> None:
    draw = random.Random(21)
    calls = [call(draw) for _ in range(CALLS)]
    insert_calls(engine, calls)
    said: Counter[str] = Counter()
    by: Counter[str] = Counter()
    for _ in range(SETS):
        given, workload, judge = documents(draw), draw.choice(istio_samples.WORKLOADS), draw.choice(JUDGES)
        found = {
            number: decision
            for transport, where in TRANSPORTS
            for number, decision in computed(engine, program(given, workload, transport, judge), where).items()
        }
        for number, one in enumerate(calls):
            expected = decide(given, workload, one, judge)
            if found[number] != expected:
                # Kleene's logic does not go through the cases: labels that may be any, of ports that may be any.
                vague = len(workload.labels) != 1 and "destination_port" not in one
                case = f"{given} {workload} {judge} {one}"
                assert vague and found[number].verdict == "unknown", f"{found[number]}, expected {expected}: {case}"
                by["vague"] += 1
            said[expected.verdict] += 1
            by["mtls" if expected.rule == "mtls" else "rule" if expected.policy else "nothing"] += 1
    assert_covers(said)
    assert min(by["mtls"], by["rule"]) >= said.total() / 20 and by["vague"] <= said.total() / 200, by


def test_of_one_level_the_oldest_counts_whatever_its_name() -> None:
    old = PeerAuthentication("shop", "z", "STRICT", created="2025-01-01T00:00:00Z")
    new = PeerAuthentication("shop", "a", "PERMISSIVE", created="2026-01-01T00:00:00Z")
    undated = PeerAuthentication("shop", "b", "DISABLE")
    plaintext = {"transport": "http", "tls": "plaintext", "attributes": {}}
    for given in ([old, new, undated], [undated, new, old], [new, undated, old]):
        assert mtls_required(given, ORDERS, MESH, 8080) == (True, "shop/z")
        assert _steps(given) == [("shop/z", "mtls")]
        assert decide(given, ORDERS, plaintext).policy == "shop/z"
    later = [replace(old, created="2027-01-01T00:00:00Z"), new, undated]
    assert mtls_required(later, ORDERS, MESH, 8080) == (False, None) and _steps(later) == []
    # Of those with a selector too.
    chosen = [replace(one, selector={"app": "orders"}) for one in (undated, new, old)]
    assert _steps(chosen) == [("shop/z", "mtls")]
    assert _steps([replace(one, selector={"app": "orders"}) for one in later]) == []


def test_a_selector_in_the_root_namespace_is_not_looked_at() -> None:
    mesh = PeerAuthentication("istio-system", "mesh", "STRICT")
    one = PeerAuthentication("istio-system", "one", "PERMISSIVE", selector={"app": "orders"})
    at_home = replace(ORDERS, namespace="istio-system")
    for workload in (ORDERS, at_home):
        assert _steps([one, mesh], workload) == [("istio-system/mesh", "mtls")]
        assert mtls_required([one, mesh], workload, MESH, 8080) == (True, "istio-system/mesh")
        assert _steps([replace(one, mode="STRICT")], workload) == []


def _steps(given: list[PeerAuthentication], workload: Workload = ORDERS) -> list[tuple[str, str]]:
    return [(step.policy, step.rule) for step in program(given, workload, "http", "sidecar").steps]


def test_whoever_may_decide_where_all_are_strict_the_caller_is_denied(engine: Engine) -> None:
    """Labels and ports that are not known change nothing where every case is the same."""
    insert_calls(engine, [{"transport": "http", "tls": "plaintext", "attributes": {}}])
    mesh = PeerAuthentication("istio-system", "mesh", "STRICT")
    own = PeerAuthentication("shop", "own", "STRICT", {"app": "orders"}, {8080: "STRICT"})
    for workload in (ORDERS, Workload("shop")):
        (said,) = computed(engine, program([mesh, own], workload, "http", "sidecar")).values()
        assert (said.verdict, said.rule) == ("deny", "mtls")
    other = replace(own, ports={8080: "PERMISSIVE"})
    (said,) = computed(engine, program([mesh, other], ORDERS, "http", "sidecar")).values()
    assert said.verdict == "unknown"


def test_where_nobody_looks_at_tokens_no_request_has_claims(engine: Engine) -> None:
    insert_calls(engine, [{"transport": "http", "tls": "mtls", "attributes": {}}])
    asks = AuthorizationPolicy(
        "shop", "claims", "ALLOW", (Rule(when=(When("request.auth.claims[group]", ("admin",), ()),)),)
    )
    here, attached = RequestAuthentication("shop", "t", rules=1), istio_samples.TARGETS[2]
    for given, judge, expected in (
        ([asks], "sidecar", "unknown"),
        ([asks, here], "sidecar", "unknown"),
        ([asks, replace(here, namespace="other")], "sidecar", "deny"),
        # What is attached to a service is its waypoint's, and what selects pods no waypoint's.
        ([asks, replace(here, targets=(attached,))], "sidecar", "deny"),
        ([replace(asks, targets=(attached,)), here], "waypoint", "deny"),
        ([replace(asks, targets=(attached,)), replace(here, targets=(attached,))], "waypoint", "unknown"),
    ):
        workload = istio_samples.WORKLOADS[0]
        (said,) = computed(engine, program(given, workload, "http", judge)).values()
        assert said.verdict == expected, (given, judge)
