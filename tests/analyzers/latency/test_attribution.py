"""Whose doing it is: balances of small maps worked out by hand, and laws that hold for any."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers.latency.attribution import attribute, network_share
from analyzers.latency.links import Link, Links, Place, Side


def side(calls: float, mean_ms: float, error_ms: float = 0.01, failed: float = 0.0) -> Side:
    return Side(calls, mean_ms * 1000, error_ms * 1000, failed, calls * 30)


def link(
    source: str,
    destination: str,
    before_ms: float | None,
    after_ms: float,
    *,
    calls: float | tuple[float, float] = 100,
    wire_ms: tuple[float, float] = (0.5, 0.5),
    operation: str = "GET /",
    failed: tuple[float, float] = (0.0, 0.0),
) -> Link:
    many = calls if isinstance(calls, tuple) else (calls, calls)
    outside = (
        None if before_ms is None else side(many[0], before_ms + wire_ms[0], failed=failed[0]),
        side(many[1], after_ms + wire_ms[1], failed=failed[1]),
    )
    inside = (
        None if before_ms is None else side(many[0], before_ms, failed=failed[0]),
        side(many[1], after_ms, failed=failed[1]),
    )
    return Link(Place(source, destination, operation), outside, inside)


def blame(links: list[Link], source: str, destination: str, **more: bool) -> dict[tuple[str, str], float]:
    found = attribute(Links.of(links), Place(source, destination, "GET /"), **more)
    return {(part.kind, part.service): round(part.share, 3) for part in found}


def test_the_callee_itself() -> None:
    assert blame([link("a", "b", 10, 20), link("b", "c", 3, 3)], "a", "b") == {("self", "b"): 1.0}


def test_what_it_calls() -> None:
    chain = [link("a", "b", 10, 20), link("b", "c", 5, 15), link("c", "d", 2, 12)]
    assert blame(chain, "a", "b") == {("self", "d"): 1.0}
    assert blame(chain, "b", "c") == {("self", "d"): 1.0}


def test_half_and_half() -> None:
    found = blame([link("a", "b", 10, 30), link("b", "c", 5, 15)], "a", "b")
    assert found == {("self", "b"): 0.5, ("self", "c"): 0.5}


def test_the_network_between() -> None:
    found = blame([link("a", "b", 10, 10, wire_ms=(0.5, 8.5))], "a", "b")
    assert found == {("network", "b"): 1.0}


def test_the_network_below() -> None:
    links = [link("a", "b", 10, 18), link("b", "c", 3, 3, wire_ms=(0.5, 8.5))]
    assert blame(links, "a", "b") == {("network", "c"): 1.0}


def test_a_callee_that_is_called_twice_as_often_costs_twice() -> None:
    links = [link("a", "b", 10, 15), link("b", "c", 4.5, 4.5, calls=(100, 200))]
    assert blame(links, "a", "b") == {("self", "c"): 1.0}


def test_a_new_callee_costs_all_that_it_takes() -> None:
    links = [link("a", "b", 10, 15.5), link("b", "c", None, 5)]
    assert blame(links, "a", "b") == {("self", "c"): 0.909, ("network", "c"): 0.091}


def test_calls_made_at_once_are_not_blamed_for_more_than_all() -> None:
    links = [link("a", "b", 10, 20), link("b", "c", 5, 15), link("b", "d", 5, 15)]
    assert blame(links, "a", "b") == {("self", "c"): 0.5, ("self", "d"): 0.5}


def test_an_operation_that_others_do_not_share() -> None:
    # The rise of b's callee is waited for by one of its two operations only: time is balanced over both.
    links = [
        link("a", "b", 10, 30, calls=50),
        link("a", "b", 10, 10, calls=50, operation="GET /other"),
        link("b", "c", 5, 25, calls=50),
    ]
    assert blame(links, "a", "b") == {("self", "c"): 1.0}


def test_noise_explains_nothing() -> None:
    noisy = Link(Place("b", "c", "GET /"), (side(100, 5, 3), side(100, 11, 3)), (None, None))
    assert blame([link("a", "b", 10, 20), noisy], "a", "b") == {("self", "b"): 1.0}


def test_who_logs_on_one_side_only_has_no_network() -> None:
    alone = Link(Place("a", "b", "GET /"), (side(100, 10), side(100, 20)), (None, None))
    assert network_share(alone) == 0.0
    assert blame([alone], "a", "b") == {("self", "b"): 1.0}


def test_circles_end() -> None:
    links = [link("a", "b", 10, 20), link("b", "c", 5, 15), link("c", "b", 2, 12)]
    found = blame(links, "a", "b")
    assert found and sum(found.values()) == pytest.approx(1.0, abs=0.01)


def test_failures_go_the_same_way() -> None:
    links = [
        link("a", "b", 10, 10, failed=(0.0, 0.2)),
        link("b", "c", 5, 5, failed=(0.0, 0.2)),
        link("b", "d", 5, 5, failed=(0.01, 0.01)),
    ]
    assert blame(links, "a", "b", errors=True) == {("self", "c"): 1.0}
    assert blame(links, "b", "c", errors=True) == {("self", "c"): 1.0}


def test_nothing_is_known_of_a_place_that_is_not_there() -> None:
    assert attribute(Links.of([]), Place("a", "b", "GET /")) == ()


def slow(links: list[Link], culprit: str) -> set[str]:
    """Obvious and slow: everybody from whom calls lead to the culprit."""
    calls = {(one.place.source, one.place.destination) for one in links}
    found = {culprit}
    for _ in links:
        found |= {source for source, destination in calls if destination in found}
    return found


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 12))
def test_of_any_tree_of_calls_the_culprit_is_found_from_every_hop(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    parent = {n: int(rng.integers(0, n)) for n in range(1, size)}
    culprit = int(rng.integers(1, size))
    above = set()
    at = culprit
    while at in parent:
        above.add(at)
        at = parent[at]
    extra = float(rng.uniform(2, 50))
    links = [
        link(f"s{parent[n]}", f"s{n}", (before := float(rng.uniform(1, 50))), before + (extra if n in above else 0.0))
        for n in range(1, size)
    ]
    assert above | {0} == {int(name[1:]) for name in slow(links, f"s{culprit}")}
    for n in above:
        assert blame(links, f"s{parent[n]}", f"s{n}") == {("self", f"s{culprit}"): 1.0}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_shares_are_of_one_whole(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = [f"s{n}" for n in range(7)]
    links = [
        link(a, b, float(rng.uniform(1, 50)), float(rng.uniform(1, 80)), wire_ms=tuple(rng.uniform(0, 9, 2)))  # type: ignore[arg-type]
        for a in names
        for b in names
        if a != b and rng.random() < 0.4
    ]
    for one in links:
        found = attribute(Links.of(links), one.place)
        assert sum(part.share for part in found) <= 1.0 + 1e-9
        assert all(part.share > 0 for part in found)
