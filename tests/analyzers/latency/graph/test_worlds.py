"""How often blame is right on random maps with noise: one culprit or two, slow or failing, in a service or between."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

from analyzers.latency.attribution import attribute
from analyzers.latency.graph.blame import blame, incidents
from analyzers.latency.graph.changes import SURE, changes
from analyzers.latency.graph.model import Blame, Link, Side, What, Window
from analyzers.latency.graph.parts import parts
from analyzers.latency.links import Link as Known
from analyzers.latency.links import Links, Place
from analyzers.latency.links import Side as View

SECONDS = 600.0
SERVICES = 20
Truth = tuple[str, str]


@dataclass(frozen=True)
class Run:
    links: list[Link]
    told: list[int]
    truth: list[Truth]
    what: What = "latency"

    @property
    def blamed(self) -> list[Blame]:
        return list(blame(self.links, self.told, what=self.what))


def calls_of(rng: np.random.Generator) -> np.ndarray:
    """Calls per request between services of a random acyclic map; the first is called from outside."""
    calls = np.zeros((SERVICES, SERVICES))
    for b in range(1, SERVICES):
        for a in rng.choice(b, size=min(b, int(rng.integers(1, 4))), replace=False):
            calls[a, b] = rng.choice([0.3, 1.0, 1.0, 2.0])
    return calls


def rates_of(calls: np.ndarray) -> np.ndarray:
    rates = np.zeros(SERVICES)
    rates[0] = 5.0
    for b in range(1, SERVICES):
        rates[b] = rates @ calls[:, b]
    return rates


def slow_world(seed: int, factor: float, culprits: int = 1, network: float = 0.3) -> Run:
    """Services call each other in sequence and take what they wait, and their own; some take longer afterwards."""
    rng = np.random.default_rng(seed)
    calls = calls_of(rng)
    rates = rates_of(calls)
    own = np.tile(rng.lognormal(math.log(5000), 0.7, SERVICES), (2, 1))
    way = np.tile(np.where(calls > 0, 300.0, 0.0), (2, 1, 1))
    truth: list[Truth] = []
    for culprit in rng.choice(np.arange(1, SERVICES), culprits, replace=False).tolist():
        if rng.random() < network:
            source = int(rng.choice(np.flatnonzero(calls[:, culprit])))
            way[1, source, culprit] += (factor - 1) * own[0, culprit]
            truth.append((f"s{culprit}", "network"))
        else:
            own[1, culprit] *= factor
            truth.append((f"s{culprit}", "self"))
    takes = np.zeros((2, SERVICES))
    for b in reversed(range(SERVICES)):
        takes[:, b] = own[:, b] + (calls[b] * (takes + way[:, b])).sum(axis=1)
    links: list[Link] = []
    for a, b in [(-1, 0), *np.argwhere(calls)]:
        n = rng.poisson((rates[a] * calls[a, b] if a >= 0 else rates[0]) * SECONDS, 2) + 1
        # Single calls vary by as much as they take; both ends see the same ones.
        error = takes[:, b] / np.sqrt(n)
        inside = takes[:, b] + rng.normal(0, 1, 2) * error
        between = way[:, a, b] if a >= 0 else np.full(2, 300.0)
        windows = [
            Window(
                SECONDS,
                Side(float(n[side]), inside[side] + between[side], error[side]),
                Side(float(n[side]), inside[side], error[side]),
                gap_error_us=float(between[side] / np.sqrt(n[side])),
            )
            for side in (0, 1)
        ]
        links.append(Link(f"s{a}" if a >= 0 else "in", f"s{b}", "", *windows))
    return Run(links, grown(links, "latency"), truth)


def failing_world(seed: int, share: float) -> Run:
    """A call fails when its service does or any call that it makes; one service fails in `share` more afterwards."""
    rng = np.random.default_rng(seed)
    calls = calls_of(rng)
    rates = rates_of(calls)
    own = np.tile(rng.choice([0.0, 0.0, 0.002, 0.01], SERVICES), (2, 1))
    culprit = int(rng.integers(1, SERVICES))
    own[1, culprit] += share
    fails = np.zeros((2, SERVICES))
    for b in reversed(range(SERVICES)):
        fails[:, b] = 1 - (1 - own[:, b]) * np.prod((1 - fails) ** calls[b], axis=1)
    links: list[Link] = []
    for a, b in [(-1, 0), *np.argwhere(calls)]:
        n = rng.poisson((rates[a] * calls[a, b] if a >= 0 else rates[0]) * SECONDS, 2) + 1
        failed = rng.binomial(n, fails[:, b])
        windows = [
            Window(SECONDS, *(Side(float(n[side]), errors=float(failed[side])) for _ in "ab")) for side in (0, 1)
        ]
        links.append(Link(f"s{a}" if a >= 0 else "in", f"s{b}", "", *windows))
    return Run(links, grown(links, "errors"), [(f"s{culprit}", "self")], "errors")


def grown(links: list[Link], what: What) -> list[int]:
    """Links that a detector would tell: up by more than their own noise."""
    found = changes(links, what)
    return np.flatnonzero(found.seen > SURE * np.sqrt(found.seen_variance)).tolist()


def named(blamed: Blame, most: int = 1) -> list[Truth]:
    return [(cause.service, "network" if cause.kind == "network" else "self") for cause in blamed.causes[:most]]


@dataclass(frozen=True)
class Score:
    links: int
    right: float
    wrong: float
    alone: float


def score(runs: list[Run]) -> Score:
    """Shares of links with a right first cause, and a wrong one; and of maps that make as many incidents as causes."""
    first = [(named(each), run.truth) for run in runs for each in run.blamed]
    alone = [
        sum(each.service is not None for each in incidents(run.links, run.blamed)) == len(run.truth)
        for run in runs
        if run.told
    ]
    right = [bool(each) and each[0] in truth for each, truth in first]
    wrong = [bool(each) and each[0] not in truth for each, truth in first]
    found = Score(len(first), float(np.mean(right)), float(np.mean(wrong)), float(np.mean(alone)))
    print(found)
    return found


@pytest.mark.parametrize("factor", [1.5, 2.0, 5.0])
def test_the_slow_one_is_named_and_hardly_ever_another(factor: float) -> None:
    found = score([slow_world(seed, factor) for seed in range(150)])
    assert found.links > 200
    assert found.right >= 0.93
    assert found.wrong <= 0.02
    assert found.alone >= 0.9


def test_the_way_between_is_named() -> None:
    found = score([slow_world(seed, 3.0, network=1.0) for seed in range(100)])
    assert found.right >= 0.93 and found.wrong <= 0.02


def test_two_at_once_are_both_found() -> None:
    runs = [slow_world(seed, 4.0, culprits=2) for seed in range(100)]
    found = score(runs)
    assert found.right >= 0.93 and found.wrong <= 0.02
    both = [
        {each for one in run.blamed for each in named(one, 3)} >= set(run.truth)
        for run in runs
        # Both must be heard of.
        if {link for link, _ in run.truth} <= {run.links[place].destination for place in run.told}
    ]
    print(np.mean(both), len(both))
    assert len(both) > 50 and np.mean(both) >= 0.85


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_the_failing_one_is_named(share: float) -> None:
    found = score([failing_world(seed, share) for seed in range(150)])
    assert found.right >= 0.93 and found.wrong <= 0.02
    assert found.alone >= 0.9


def test_of_maps_without_a_culprit_hardly_anything_is_told() -> None:
    runs = [slow_world(seed, 1.0) for seed in range(100)]
    print(sum(len(run.links) for run in runs), [len(run.told) for run in runs])
    assert sum(len(run.told) for run in runs) <= 0.005 * sum(len(run.links) for run in runs)


def known(link: Link) -> Known:
    """A link as it is read from the rollups."""
    caller, callee = (
        tuple(
            View(one.requests / SECONDS * 60, one.mean_us or 0.0, one.mean_error_us, 0.0, one.requests) if one else None
            for one in ends
        )
        for ends in ((link.before.caller, link.after.caller), (link.before.callee, link.after.callee))
    )
    return Known(Place(link.source, link.destination, link.operation), caller, callee)  # type: ignore[arg-type]


def test_to_leave_noise_open_is_wrong_less_often_than_to_give_it_to_the_service() -> None:
    first: dict[str, list[tuple[bool, bool]]] = {"parts": [], "attribute": []}
    for run in [slow_world(seed, 2.0) for seed in range(150)]:
        links = Links.of([known(link) for link in run.links])
        for told in run.told:
            link = run.links[told]
            for name, walk in (("parts", parts), ("attribute", attribute)):
                found = walk(links, Place(link.source, link.destination, link.operation))[:1]
                right = bool(found) and (found[0].service, found[0].kind) == run.truth[0]
                first[name].append((right, bool(found) and not right))
    right, wrong = (
        {name: float(np.mean([each[at] for each in all_])) for name, all_ in first.items()} for at in (0, 1)
    )
    print(f"{len(first['parts'])} links, right {right}, wrong {wrong}")
    assert right["parts"] >= 0.93
    assert wrong["parts"] < wrong["attribute"] / 2
