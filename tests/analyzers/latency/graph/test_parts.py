"""The walk over links of the rollups: ways down, and where it differs from the simpler one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers.latency.attribution import attribute
from analyzers.latency.graph.parts import parts
from analyzers.latency.links import Link, Links, Place, Side


def side(mean_ms: float, calls: float, error_ms: float, failed: float) -> Side:
    return Side(calls, mean_ms * 1000, error_ms * 1000, failed, calls * 30)


def link(
    source: str,
    destination: str,
    before_ms: float | None,
    after_ms: float,
    *,
    wire_ms: float = 0.0,
    calls: float = 100,
    failed: float = 0.0,
    error_ms: float = 0.01,
) -> Link:
    usual = None if before_ms is None else before_ms
    callee = None if usual is None else side(usual, calls, error_ms, 0.0), side(after_ms, calls, error_ms, failed)
    caller = (
        None if usual is None else side(usual + 0.5, calls, error_ms, 0.0),
        side(after_ms + 0.5 + wire_ms, calls, error_ms, failed),
    )
    return Link(Place(source, destination, "GET /"), caller, callee)


def told(links: Sequence[Link], source: str, destination: str, **more: bool) -> dict[tuple[str, str], list[str]]:
    found = parts(Links.of(links), Place(source, destination, "GET /"), **more)
    return {(part.kind, part.service): [place.destination for place in part.path] for part in found}


def test_the_way_down_is_told() -> None:
    chain = [link("a", "b", 10, 20), link("b", "c", 5, 15), link("c", "d", 2, 12)]
    assert told(chain, "a", "b") == {("self", "d"): ["b", "c", "d"]}
    assert told(chain, "c", "d") == {("self", "d"): ["d"]}


def test_of_two_ways_the_one_that_hands_on_more() -> None:
    links = [
        link("a", "b", 10, 50),
        link("b", "c", 5, 15),
        link("b", "d", 5, 35),
        link("c", "e", 1, 11),
        link("d", "e", 1, 31),
    ]
    assert told(links, "a", "b") == {("self", "e"): ["b", "d", "e"]}


def test_the_network_ends_at_its_link() -> None:
    links = [link("a", "b", 10, 18), link("b", "c", 3, 3, wire_ms=8)]
    assert told(links, "a", "b") == {("network", "c"): ["b", "c"]}
    assert told(links, "b", "c") == {("network", "c"): ["c"]}


def test_failures() -> None:
    links = [link("a", "b", 10, 10, failed=0.2), link("b", "c", 5, 5, failed=0.2), link("b", "d", 5, 5)]
    assert told(links, "a", "b", errors=True) == {("self", "c"): ["b", "c"]}


def test_what_a_service_calls_anew_is_its_own_doing() -> None:
    links = [link("a", "b", 10, 15.5), link("b", "c", None, 5)]
    assert told(links, "a", "b") == {("self", "b"): ["b"]}


def test_a_callee_in_noise_leaves_it_open() -> None:
    links = [link("a", "b", 10, 20), link("b", "c", 5, 11, error_ms=3)]
    assert told(links, "a", "b") == {}
    assert attribute(Links.of(links), Place("a", "b", "GET /"))[0].service == "b"


def test_nothing_is_known_of_a_place_that_is_not_there() -> None:
    assert parts(Links.of([]), Place("a", "b", "")) == ()
    silent = Link(Place("a", "b", ""), (None, None), (None, None))
    assert list(parts(Links.of([silent]), silent.place)) == []


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from([0.0, 5.0, 20.0]), st.sampled_from([0.0, 9.0])),
        min_size=1,
        max_size=10,
        unique_by=lambda one: one[:2],
    )
)
def test_every_part_is_reached_by_its_way(drawn: list[tuple[int, int, float, float]]) -> None:
    links = [link(f"s{a}", f"s{b}", 10, 10 + longer, wire_ms=wire) for a, b, longer, wire in drawn]
    known = Links.of(links)
    for one in links:
        found = parts(known, one.place)
        assert sum(part.share for part in found) <= 1 + 1e-9
        for part in found:
            assert part.path[0] == one.place and part.path[-1].destination == part.service
            assert all(up.destination == down.source for up, down in zip(part.path, part.path[1:], strict=False))


def test_both_walks_agree_where_all_is_sure() -> None:
    links = [link("a", "b", 10, 40), link("b", "c", 5, 15, wire_ms=5), link("b", "d", 5, 10), link("d", "e", 2, 7)]
    place = Place("a", "b", "GET /")
    ours, simple = (
        {(part.kind, part.service): part.share for part in walk(Links.of(links), place)} for walk in (parts, attribute)
    )
    assert ours == pytest.approx(simple, abs=1e-3)
