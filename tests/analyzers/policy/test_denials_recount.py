"""The ledger of denials of random meshes, from wire bytes, against a plain recount of what was made up."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import pytest

from analyzers.policy.denials import denials
from storage.engine import Engine
from tests.analyzers.policy import denial_lines as lines
from tests.analyzers.policy.denial_lines import IPS, consul_id, linkerd_id, spiffe
from tests.analyzers.policy.denial_store import RBAC, at, ingested, stock

NO_ALLOW = (None, None, None, "no_allow")


@dataclass(frozen=True, slots=True)
class Refused:
    """One call that was refused, as the test made it up."""

    source: str
    destination: str
    principal: str | None
    kind: str
    named: tuple[str | None, str | None, str | None, str | None]
    operation: str | None
    at: datetime
    calls: int = 1
    request_id: str = ""
    lines: tuple[str, ...] = field(default=(), compare=False)


Maker = Callable[[random.Random, datetime, str, str, int], Refused]


def _istio(rng: random.Random, when: datetime, source: str, destination: str, number: int) -> Refused:
    policy, rule = rng.choice(["a", "b"]), str(rng.randrange(3))
    named = ("shop", policy, rule, None) if rng.random() < 0.7 else (None, None, None, "no_allow")
    details = RBAC.format(f"ns[shop]-policy[{policy}]-rule[{rule}]" if named[1] else "none")
    path = rng.choice(["/admin", "/orders"])
    request = f"r-{number}"
    told = (lines.istio_json(when, source, destination, details, request_id=request, path=path),)
    if rng.random() < 0.5:
        told += (lines.istio_source(when, source, destination, request_id=request, path=path),)
    made = Refused(f"shop/{source}", f"shop/{destination}", spiffe(source), "rbac", named, f"GET {path}", when)
    return replace(made, request_id=request, lines=told)


def _text(rng: random.Random, when: datetime, source: str, destination: str, number: int) -> Refused:
    line = lines.istio_text(when, source, destination, RBAC.format("none"), f"r-{number}")
    made = Refused(f"shop/{source}", f"shop/{destination}", None, "rbac", NO_ALLOW, "GET /admin", when)
    return replace(made, request_id=f"r-{number}", lines=(line,))


def _tcp(rng: random.Random, when: datetime, source: str, destination: str, number: int) -> Refused:
    rule = str(rng.randrange(3))
    line = lines.istio_tcp(when, source, destination, RBAC.format(f"ns[shop]-policy[tcp]-rule[{rule}]"))
    named = ("shop", "tcp", rule, None)
    return Refused(f"shop/{source}", f"shop/{destination}", spiffe(source), "rbac", named, None, when, lines=(line,))


def _ztunnel(rng: random.Random, when: datetime, source: str, destination: str, number: int) -> Refused:
    said, named = rng.choice(
        [
            ("explicitly denied by: shop/no", ("shop", "no", None, None)),
            ("allow policies exist, but none allowed", NO_ALLOW),
        ]
    )
    told = [lines.ztunnel(when, source, destination, f"connection closed due to policy rejection: {said}")]
    if rng.random() < 0.5:
        told.append(lines.ztunnel(when, source, destination, "http status: 401 Unauthorized", "outbound"))
    made = Refused(f"shop/{source}", f"shop/{destination}", spiffe(source), "ztunnel", named, None, when)
    return replace(made, lines=tuple(rng.sample(told, len(told))))


def _linkerd(rng: random.Random, when: datetime, source: str, destination: str, number: int) -> Refused:
    route = rng.choice(["", "admin"])
    named = ("shop", f"server/{destination}-http", f"httproute/{route}" if route else None, "no_allow")
    told = [lines.linkerd_policy(when, source, destination, route=route)]
    if rng.random() < 0.5:
        told.append(lines.linkerd_access(when, source, destination))
    made = Refused(f"shop/{source}", f"shop/{destination}", linkerd_id(source), "linkerd", named, None, when)
    return replace(made, lines=tuple(told))


def _consul(rng: random.Random, when: datetime, source: str, destination: str, number: int) -> Refused:
    rule = str(rng.randrange(12))
    line = lines.consul(when, source, destination, f"consul-intentions-layer7-{rule}", f"r-{number}")
    named = (None, "consul-intentions-layer7", rule, None)
    # Other lines of the mesh say where web is: its bare name joins its only namespaced match.
    made = Refused(f"shop/{source}", f"shop/{destination}", consul_id(source), "consul", named, "GET /admin", when)
    return replace(made, request_id=f"r-{number}", lines=(line,))


def _calico(rng: random.Random, when: datetime, source: str, destination: str, number: int) -> Refused:
    flows = rng.randrange(1, 5)
    when = when.replace(microsecond=0)
    line = lines.calico(when, source, destination, flows, "shop/default.deny-all")
    named = ("shop", "default.deny-all", "1", None)
    made = Refused(f"shop/{source}", f"shop/{destination}", None, "network", named, None, when, flows)
    return replace(made, lines=(line,))


MAKERS: Sequence[Maker] = (_istio, _istio, _text, _tcp, _ztunnel, _linkerd, _consul, _calico)


def recount(events: Iterable[Refused], since: datetime, until: datetime) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """The ledger in plain Python, from what was made up rather than from what was logged."""
    groups: dict[tuple[Any, ...], list[Refused]] = defaultdict(list)
    for one in events:
        if since <= one.at < until:
            groups[one.source, one.destination, one.principal, one.kind, one.named, one.operation].append(one)
    return {
        key: (
            sum(one.calls for one in group),
            min(one.at for one in group),
            max(one.at for one in group),
            len({one.at.replace(minute=0, second=0, microsecond=0) for one in group}),
            len({one.at.replace(second=0, microsecond=0) for one in group}),
            [one.request_id for one in sorted(group, key=lambda one: (one.at, one.request_id)) if one.request_id][:5],
        )
        for key, group in groups.items()
    }


@pytest.mark.parametrize("seed", range(4))
def test_random_meshes_are_counted_as_by_hand(engine: Engine, seed: int) -> None:
    rng = random.Random(seed)
    stock(engine, *IPS)
    pairs = rng.sample([(a, b) for a in IPS for b in IPS if a != b], 2 * len(MAKERS))
    makers = {pair: MAKERS[place % len(MAKERS)] for place, pair in enumerate(pairs)}
    events: list[Refused] = []
    passed: list[str] = []
    for number in range(600):
        source, destination = rng.choice(list(makers))
        when = at(rng.choice([rng.uniform(0, 300), rng.uniform(0, 3 * 3600)]))
        when = when.replace(microsecond=when.microsecond // 1000 * 1000)
        events.append(makers[source, destination](rng, when, source, destination, number))
        passed.append(
            lines.istio_json(when, source, destination, "via_upstream", response_code=200, upstream_host="127.0.0.1:80")
        )
    stream = [line for one in events for line in one.lines] + passed
    rng.shuffle(stream)
    ingested(engine, stream)
    for since, until in ((at(-1), at(4 * 3600)), (at(100), at(3600)), (at(3599.5), at(7200.001))):
        found = denials(engine, since, until)
        told = {
            (
                one.source,
                one.destination,
                one.principal,
                one.kind,
                (one.policy_namespace, one.policy, one.rule, one.reason),
                one.operation,
            ): (
                *(one.calls, one.first_seen, one.last_seen, one.hours, one.minutes),
                list(one.request_ids),
            )
            for one in found
        }
        assert len(told) == len(found)
        assert told == recount(events, since, until)
        assert [one.calls for one in found] == sorted((one.calls for one in found), reverse=True)
    assert {one.kind for one in denials(engine)} == {"rbac", "ztunnel", "linkerd", "consul", "network"}
