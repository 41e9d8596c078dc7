"""Laws of the walk, a slow recursive reference, and speed."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers.latency.graph.blame import LEAST_SHARE, blame, incidents
from analyzers.latency.graph.changes import SURE
from analyzers.latency.graph.model import Blame, Link, Side, Window

SECONDS = 600.0


def made(
    source: str,
    destination: str,
    calls: float,
    caller_us: float,
    callee_us: float,
    noise_us: float = 1.0,
    operation: str = "",
    both: bool = True,
) -> Link:
    """A link that took a second and got slower by so much at its two ends."""
    before, after = (
        Window(SECONDS, Side(calls, 1e6 + one, noise_us), Side(calls, 1e6 + other, noise_us) if both else None)
        for one, other in ((0.0, 0.0), (caller_us, callee_us))
    )
    return Link(source, destination, operation, before, after)


@st.composite
def maps(draw: st.DrawFn, cyclic: bool = False) -> list[Link]:
    """Few services; changes of nothing, little, or much."""
    services = draw(st.integers(2, 6))
    pairs = [(a, b) for a in range(services) for b in range(services) if a != b and (a < b or (cyclic and b))]
    found: list[Link] = []
    for a, b in draw(st.lists(st.sampled_from(pairs), min_size=1, max_size=10)):
        change = draw(st.sampled_from([-500.0, 0.0, 2.0, 100.0, 1000.0, 5000.0]))
        lost = draw(st.sampled_from([0.0, 0.0, 300.0]))
        calls = draw(st.sampled_from([100.0, 1000.0, 3000.0]))
        found.append(made(f"s{a}", f"s{b}", calls, change + lost, change, operation=str(len(found))))
        if draw(st.booleans()):
            found[-1] = made(f"s{a}", f"s{b}", calls, change, 0.0, operation=str(len(found) - 1), both=False)
    return found


def shares(found: Blame) -> Counter[tuple[str, str]]:
    total: Counter[tuple[str, str]] = Counter()
    for cause in found.causes:
        total[cause.service, "network" if cause.kind == "network" else "own"] += cause.share  # type: ignore[assignment]
    return total


# The slow reference: one path after another, with plain numbers.


@dataclass(frozen=True)
class Slow:
    rate: float
    seen: float
    seen_variance: float
    inside: float
    inside_variance: float
    between: float
    sure: bool


def slow_link(link: Link) -> Slow:
    caller, callee = (
        None if one is None or other is None else other.mean_us - one.mean_us  # type: ignore[operator]
        for one, other in ((link.before.caller, link.after.caller), (link.before.callee, link.after.callee))
    )
    assert caller is not None
    variance = 2 * link.after.caller.mean_error_us**2  # type: ignore[union-attr]
    inside, between = caller, 0.0
    if callee is not None:
        apart = caller - callee > SURE * math.sqrt(2 * variance)
        if apart and caller > 0:
            between = min((caller - callee) / caller, 1.0)
        if apart or callee > SURE * math.sqrt(variance):
            inside = callee
    rate = link.after.caller.requests / SECONDS  # type: ignore[union-attr]
    return Slow(rate, caller, variance, inside, variance, between, caller > SURE * math.sqrt(variance))


def reference(links: Sequence[Link], told: int) -> Counter[tuple[str, str]]:
    slow = [slow_link(link) for link in links]
    pairs: dict[tuple[str, str], list[Slow]] = defaultdict(list)
    for link, one in zip(links, slow, strict=True):
        pairs[link.source, link.destination].append(one)
    sure: list[bool] = []
    for link, one in zip(links, slow, strict=True):
        pair = pairs[link.source, link.destination]
        rise = sum(each.rate * each.seen for each in pair)
        spread = math.sqrt(sum(each.rate**2 * each.seen_variance for each in pair))
        sure.append(one.seen > 0 and (one.sure or rise > SURE * spread))
    found: Counter[tuple[str, str]] = Counter()

    def counted(one: Slow, change: float) -> float:
        return one.rate**2 * (one.seen_variance + change**2 / (one.rate * SECONDS))

    def at(service: str, mass: float) -> None:
        if mass < 1e-9:
            return
        into = spread = 0.0
        for place, link in enumerate(links):
            if link.destination == service and slow[place].inside > 0 and (sure[place] or place == told):
                into += slow[place].rate * slow[place].inside
                spread += counted(slow[place], slow[place].inside)
        waited = small = 0.0
        for place, link in enumerate(links):
            if link.source == service:
                spread += counted(slow[place], slow[place].seen)
                if sure[place]:
                    waited += slow[place].rate * slow[place].seen
                else:
                    small += slow[place].rate * slow[place].seen
        whole = max(into, waited)
        if not whole:
            return
        own = into - waited - max(small, 0.0)
        if own > SURE * math.sqrt(spread):
            found[service, "own"] += mass * own / whole  # type: ignore[assignment]
        for place, link in enumerate(links):
            if link.source == service and sure[place]:
                part = mass * slow[place].rate * slow[place].seen / whole
                found["between", str(place)] += part * slow[place].between  # type: ignore[assignment]
                at(link.destination, part * (1 - slow[place].between))

    found["between", str(told)] += slow[told].between  # type: ignore[assignment]
    at(links[told].destination, 1 - slow[told].between)
    return found


@settings(max_examples=300, deadline=None)
@given(maps(), st.data())
def test_the_walk_is_the_sum_over_all_paths(links: list[Link], data: st.DataObject) -> None:
    told = data.draw(st.integers(0, len(links) - 1))
    (found,) = blame(links, [told])
    expected = reference(links, told)
    owns = {name: share for (name, kind), share in expected.items() if kind == "own" and share >= LEAST_SHARE + 1e-4}
    ours = {
        name: share for (name, kind), share in shares(found).items() if kind == "own" and share >= LEAST_SHARE + 1e-4
    }
    assert ours == pytest.approx(owns, abs=1e-3)
    lost = sum(share for (name, _), share in expected.items() if name == "between")
    network = sum(share for (_, kind), share in shares(found).items() if kind == "network")
    assert network == pytest.approx(lost, abs=LEAST_SHARE * len(links))


@settings(max_examples=200, deadline=None)
@given(maps(cyclic=True))
def test_shares_are_parts_of_a_whole_in_any_map(links: list[Link]) -> None:
    found = blame(links, range(len(links)))
    for each in found:
        assert all(0 < cause.share <= 1 for cause in each.causes)
        assert sum(cause.share for cause in each.causes) <= 1 + 1e-9
        assert bool(each.causes) == (each.note is None)
        assert list(each.causes) == sorted(each.causes, key=lambda cause: -cause.share)
    told = [place for incident in incidents(links, found) for place in incident.links]
    assert sorted(told) == list(range(len(links)))


@settings(max_examples=100, deadline=None)
@given(maps(cyclic=True), st.randoms())
def test_names_are_names(links: list[Link], random: object) -> None:
    names = sorted({name for link in links for name in (link.source, link.destination)})
    other = [f"x{place}" for place in range(len(names))]
    random.shuffle(other)  # type: ignore[attr-defined]
    new = dict(zip(names, other, strict=True))
    renamed = [replace(link, source=new[link.source], destination=new[link.destination]) for link in links]
    for one, two in zip(blame(links, range(len(links))), blame(renamed, range(len(links))), strict=True):
        assert [(new[c.service], c.kind, c.share) for c in one.causes] == [
            (c.service, c.kind, c.share) for c in two.causes
        ]


@settings(max_examples=100, deadline=None)
@given(maps(), st.data())
def test_a_callee_that_did_not_change_changes_nothing(links: list[Link], data: st.DataObject) -> None:
    source = data.draw(st.sampled_from(sorted({link.destination for link in links})))
    usual = [*links, made(source, "new", 1000.0, 0.0, 0.0, noise_us=0.0)]
    for one, two in zip(blame(links, range(len(links))), blame(usual, range(len(links))), strict=True):
        assert shares(one) == pytest.approx(shares(two), abs=1e-9)


@given(st.integers(1, 30), st.floats(2_000, 1e6))
def test_the_end_of_any_chain_is_blamed_in_full(length: int, change: float) -> None:
    links = [made(f"s{at}", f"s{at + 1}", 1000, change, change, noise_us=0.1) for at in range(length)]
    for found in blame(links, range(length)):
        assert found.causes[0].service == f"s{length}"
        assert found.causes[0].share == pytest.approx(1, abs=0.001)


def test_ten_thousand_links_take_a_second_or_two() -> None:
    rng = np.random.default_rng(3)
    ends = rng.integers(0, 800, (10_000, 2))
    links = [
        made(f"s{a}", f"s{b}", 1000, change, change, operation=str(place))
        for place, ((a, b), change) in enumerate(zip(ends, rng.choice([0.0, 500.0], 10_000, p=[0.9, 0.1]), strict=True))
    ]
    found = blame(links, [place for place, link in enumerate(links) if link.after.caller.mean_us > 1e6])  # type: ignore[union-attr, operator]
    assert len(found) > 800 and all(each.causes for each in found)
