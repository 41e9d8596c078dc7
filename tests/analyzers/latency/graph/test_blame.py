"""Blame on the graph: one cause at a time, in small maps made by hand, and bad input."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from analyzers.latency.graph.blame import blame, incidents
from analyzers.latency.graph.changes import MIN_CALLS
from analyzers.latency.graph.model import Blame, Cause, Happening, HappeningKind, Link, Side, Window

MINUTE = 60_000_000
T0 = 1_700_000_000_000_000


def link(
    source: str,
    destination: str,
    slower_us: float = 0.0,
    *,
    network_us: float = 0.0,
    calls: tuple[float, float] = (1000, 1000),
    usual_us: float = 10_000.0,
    errors: tuple[float, float] = (0, 0),
    ends: str = "both",
    since: int | None = None,
    busier: int | None = None,
    operation: str = "GET /",
    noise_us: float = 20.0,
) -> Link:
    """The callee takes `slower_us` longer, and the way to it `network_us`."""
    before, after = (
        Window(
            600.0,
            Side(n, usual_us + longer + lost + 200, noise_us, failed) if ends != "callee" else None,
            Side(n, usual_us + longer, noise_us, failed) if ends != "caller" else None,
        )
        for n, longer, lost, failed in (
            (calls[0], 0.0, 0.0, errors[0]),
            (calls[1], slower_us, network_us, errors[1]),
        )
    )
    return Link(source, destination, operation, before, after, since, busier)


def first(links: Sequence[Link], told: int = 0, *happenings: Happening) -> Cause:
    return only(links, told, *happenings).causes[0]


def only(links: Sequence[Link], told: int = 0, *happenings: Happening) -> Blame:
    (found,) = blame(links, [told], happenings)
    return found


def test_a_chain_blames_its_last_hop_for_every_hop_above() -> None:
    links = [link("in", "a", 50_000), link("a", "b", 50_000), link("b", "c", 50_000)]
    found = blame(links, [0, 1, 2])
    assert [(each.causes[0].service, each.causes[0].kind) for each in found] == [
        ("c", "callee"),
        ("c", "callee"),
        ("c", "self"),
    ]
    assert all(each.causes[0].share == pytest.approx(1, abs=0.01) for each in found)
    assert found[0].causes[0].delta_us == pytest.approx(50_000, rel=0.02)
    (incident,) = incidents(links, found)
    assert (incident.service, incident.kind) == ("c", "self")
    assert incident.links[0] == 2 and sorted(incident.links) == [0, 1, 2]


def test_what_its_callees_do_not_explain_is_its_own() -> None:
    links = [link("in", "a", 100_000), link("a", "b", 30_000), link("a", "c")]
    own, callee = only(links).causes
    assert (own.service, own.kind, callee.service, callee.kind) == ("a", "self", "b", "callee")
    assert own.share == pytest.approx(0.7, abs=0.01) and callee.share == pytest.approx(0.3, abs=0.01)
    assert "70 %" in own.why and "100 ms" in own.why


def test_calls_per_request_count() -> None:
    links = [link("in", "a", 100_000, calls=(500, 500)), link("a", "b", 10_000, calls=(5000, 5000))]
    assert first(links).service == "b" and first(links).share == pytest.approx(1, abs=0.01)
    rare = [link("in", "a", 100_000, calls=(5000, 5000)), link("a", "b", 10_000, calls=(500, 500))]
    assert first(rare).service == "a" and first(rare).share == pytest.approx(0.99, abs=0.01)


def test_parallel_callees_share_the_whole() -> None:
    links = [link("in", "a", 50_000), link("a", "b", 50_000), link("a", "c", 50_000)]
    causes = only(links).causes
    assert {cause.service: cause.share for cause in causes} == pytest.approx({"b": 0.5, "c": 0.5}, abs=0.01)


def test_the_way_between_is_blamed_where_only_the_caller_saw_it() -> None:
    links = [link("in", "a", 50_000), link("a", "b", 10_000, network_us=40_000)]
    network, callee = only(links).causes
    assert (network.service, network.kind, callee.service, callee.kind) == ("b", "network", "b", "callee")
    assert network.share == pytest.approx(0.8, abs=0.01) and "a -> b" in network.why
    direct = only(links, 1).causes[0]
    assert direct.kind == "network" and direct.delta_us == pytest.approx(40_000, rel=0.02)


def test_a_source_whose_every_way_is_slow_is_the_end_to_look_at() -> None:
    links = [
        link("in", "a", 80_000, network_us=40_000),
        *(link("a", each, network_us=40_000) for each in ("b", "c")),
    ]
    assert first(links, 1).service == "a" and first(links, 0).service == "a"
    assert first([*links[:2], link("x", "b", network_us=40_000), link("a", "c")], 1).service == "b"


def test_one_end_alone_cannot_tell_the_network_from_the_callee() -> None:
    links = [link("in", "a", 50_000), link("a", "b", 0, network_us=50_000, ends="caller")]
    assert (first(links).service, first(links).kind) == ("b", "callee")
    assert first([link("in", "a", 50_000, ends="callee")]).kind == "self"


def test_a_gap_of_few_microseconds_counts_when_its_error_is_told() -> None:
    unsure = link("a", "b", 0, network_us=2500, noise_us=500)
    assert first([unsure]).kind == "self"
    before, after = (
        Window(each.seconds, each.caller, each.callee, gap_error_us=50.0) for each in (unsure.before, unsure.after)
    )
    assert first([Link("a", "b", "", before, after)]).kind == "network"


def test_services_that_blame_each_other_come_to_an_end() -> None:
    links = [link("in", "a", 50_000), link("a", "b", 50_000), link("b", "a", 50_000, calls=(2000, 2000))]
    causes = only(links).causes
    assert {cause.service for cause in causes} <= {"a", "b"}
    assert sum(cause.share for cause in causes) == pytest.approx(1, abs=0.05)
    loop = [link("a", "a", 50_000)]
    assert [cause.service for cause in only(loop).causes] == ["a"]


def test_a_callee_that_got_slow_later_is_no_cause() -> None:
    late = [link("in", "a", 50_000, since=T0), link("a", "b", 50_000, since=T0 + 20 * MINUTE)]
    assert first(late).service == "a"
    soon = [link("in", "a", 50_000, since=T0), link("a", "b", 50_000, since=T0 + 2 * MINUTE)]
    assert first(soon).service == "b"


@pytest.mark.parametrize(
    ("grown", "earlier", "load"),
    [(1.3, 2, True), (1.3, 0, False), (1.6, 0, True), (1.1, 5, False), (2.0, -3, False)],
    ids=["first", "same minute, little", "same minute, much", "hardly more", "only afterwards"],
)
def test_load_came_first(grown: float, earlier: int, load: bool) -> None:
    links = [
        link("in", "b", 50_000, since=T0),
        link("shop", "b", 50_000, calls=(9000, 10_000 * grown - 1000), since=T0, busier=T0 - earlier * MINUTE),
    ]
    cause = first(links)
    assert (cause.service, cause.kind) == (("shop", "load") if load else ("b", "self"))


@pytest.mark.parametrize("kind", ["version", "pods", "policy", "edge", "retries"])
def test_what_changed_just_before_is_told(kind: HappeningKind) -> None:
    links = [link("in", "a", 50_000, since=T0), link("a", "b", 50_000, since=T0 + MINUTE)]
    cause = first(links, 0, Happening(T0 - 5 * MINUTE, "b", kind, "b got v2"))
    assert cause.service == "b" and "b got v2" in cause.why
    assert cause.kind == ("deploy" if kind in ("version", "pods") else "callee")
    for when, service in ((T0 - 16 * MINUTE, "b"), (T0 + 5 * MINUTE, "b"), (T0 - MINUTE, "a")):
        assert first(links, 0, Happening(when, service, kind, "b got v2")).kind == "callee"


def test_pods_that_follow_load_are_no_deploy_and_a_version_is() -> None:
    busy = [link("in", "a", 50_000, calls=(1000, 2000), since=T0, busier=T0 - 4 * MINUTE)]
    pods = Happening(T0 - 2 * MINUTE, "a", "pods", "a has 5 pods, had 3")
    assert first(busy, 0, pods).kind == "load" and pods.text in first(busy, 0, pods).why
    assert first(busy, 0, Happening(T0 - 2 * MINUTE, "a", "version", "a got v2")).kind == "deploy"


def test_more_calls_a_request_are_told() -> None:
    links = [link("in", "a", 50_000), link("a", "b", calls=(1000, 5000))]
    cause = first(links)
    assert cause.service == "a" and "calls b 5 times a request, 1 before" in cause.why


def test_errors_walk_too() -> None:
    links = [
        link("in", "a", errors=(1, 101)),
        link("a", "b", errors=(0, 100)),
        link("a", "c", errors=(3, 3)),
    ]
    (found,) = blame(links, [0], what="errors")
    (cause,) = found.causes
    assert (cause.service, cause.kind, cause.delta_us) == ("b", "callee", None)
    assert cause.delta_error_share == pytest.approx(0.1, abs=0.01) and "10 percentage points" in cause.why


def test_two_causes_are_two_incidents_and_noise_is_none() -> None:
    links = [link("in", "a", 50_000), link("a", "b", 50_000), link("in", "x", 30_000), link("in", "y", 1)]
    found = incidents(links, blame(links, [0, 1, 2, 3]))
    assert [(each.service, sorted(each.links)) for each in found] == [("b", [0, 1]), ("x", [2]), (None, [3])]


def test_noise_is_no_finding() -> None:
    found = only([link("in", "a", 30.0, noise_us=20.0), link("a", "b", 10.0)])
    assert not found.causes
    assert found.note == "not enough data: has a slow-down of 1.1 standard errors, needs 3"


def test_what_got_slow_in_noise_is_still_handed_on_when_told() -> None:
    links = [link("in", "a", 5000, noise_us=4000), link("a", "b", 5000)]
    assert first(links).service == "b"


def test_operations_are_heard_together() -> None:
    links = [
        link("in", "a", 50_000, calls=(4000, 4000)),
        *(link("a", "b", 50_000, noise_us=15_000, operation=f"GET /{i}") for i in range(4)),
    ]
    assert first(links).service == "b"


def test_bad_input_says_what_is_missing() -> None:
    few = MIN_CALLS - 1
    assert only([link("in", "a", 1e5, calls=(few, 1000))]).note == (
        f"not enough data: has {few} calls in one of the windows, needs {MIN_CALLS}"
    )
    blind = Link("in", "a", "", Window(600.0), Window(600.0))
    untimed = Link("in", "a", "", Window(600.0, Side(100)), Window(600.0, Side(100)))
    for nothing in (blind, untimed):
        assert (only([nothing]).note or "").startswith("not enough data: has 0 calls")
    for odd in (float("nan"), float("inf"), -1e18):
        assert not only([link("in", "a", odd)]).causes
    no_time = Link("in", "a", "", Window(0.0, Side(100, 1.0)), Window(0.0, Side(100, 9.0)))
    assert not only([no_time]).causes
    assert blame([], []) == [] and incidents([], []) == []
