"""Grouping: laws that hold for any findings, a slow reference, and who belongs together in the cases that matter."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import combinations
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from analyzers.findings.model import Finding
from analyzers.incidents.group import group, path_of
from analyzers.incidents.links import Roads, linked
from analyzers.incidents.model import TOGETHER, Incident
from tests.analyzers.incidents.found import EDGES, MINUTE, finding, many_findings, slow
from tests.analyzers.records import T0

NOW = T0 + timedelta(days=9)
Edges = Collection[tuple[str, str]]


def parts(found: Iterable[Incident]) -> set[frozenset[str]]:
    """What is together, of incidents that were not merged away."""
    return {frozenset(one.findings) for one in found if not one.merged_into}


def slowly(findings: Sequence[Finding], edges: Edges) -> set[frozenset[str]]:
    """Every pair compared, groups joined until nothing changes."""
    roads = Roads.of(edges)
    together = [{one.id} for one in findings]
    for one, other in combinations(findings, 2):
        if linked(one, other, roads, TOGETHER):
            mine, others = (next(part for part in together if each.id in part) for each in (one, other))
            if mine is not others:
                together.remove(others)
                mine |= others
    return {frozenset(part) for part in together}


@given(many_findings(), EDGES)
def test_it_is_what_comparing_every_pair_gives(findings: list[Finding], edges: Edges) -> None:
    assert parts(group(findings, edges)) == slowly(findings, edges)


@given(many_findings(), EDGES)
def test_a_link_has_no_direction(findings: list[Finding], edges: Edges) -> None:
    roads = Roads.of(edges)
    for one, other in combinations(findings, 2):
        assert linked(one, other, roads, TOGETHER) == linked(other, one, roads, TOGETHER)


@given(many_findings(), EDGES, st.randoms(use_true_random=False))
def test_the_order_of_findings_and_edges_changes_nothing(findings: list[Finding], edges: Edges, random: Any) -> None:
    expected = group(findings, edges)
    shuffled, roads = list(findings), sorted(edges)
    random.shuffle(shuffled)
    random.shuffle(roads)
    assert group(shuffled, roads) == expected
    assert group([*findings, *shuffled], edges) == expected


@given(many_findings(), EDGES, st.booleans())
def test_an_unrelated_finding_changes_no_other_incident(findings: list[Finding], edges: Edges, late: bool) -> None:
    alone = finding("alone", "x", "y", at=20_000 if late else 30, principal="nobody else")
    expected = group(findings, edges)
    found = group([*findings, alone], edges)
    assert [one for one in found if one.id != "alone"] == list(expected)
    assert [one.findings for one in found if one.id == "alone"] == [("alone",)]


@given(many_findings(), EDGES, st.integers(0, 12))
def test_known_ids_stay_when_incidents_grow(findings: list[Finding], edges: Edges, first: int) -> None:
    before = group(findings[:first], edges)
    after = group(findings, edges, before, NOW)
    by_id = {one.id: one for one in after}
    assert len(by_id) == len(after)
    for one in before:
        now = by_id[one.id]
        if now.merged_into:
            assert now.state == "closed" and now.closed_at == NOW and now.findings == one.findings
            into = by_id[now.merged_into]
            assert not into.merged_into and (into.started, into.id) <= (one.started, one.id)
            assert set(one.findings) <= set(into.findings)
        else:
            assert now.state == "open" and set(one.findings) <= set(now.findings)
    # One after the other gives what all at once gives, and doing it again changes nothing.
    assert parts(after) == parts(group(findings, edges))
    assert group(findings, edges, after, NOW + MINUTE) == after


@given(many_findings(least=1), EDGES, st.integers(1, 12), st.integers(0, 500), st.data())
def test_a_closed_incident_takes_only_what_began_before(
    findings: list[Finding], edges: Edges, first: int, minute: int, data: st.DataObject
) -> None:
    before = group(findings[:first], edges)
    closing = data.draw(st.sampled_from(before))
    closed = replace(closing, state="closed", closed_at=T0 + minute * MINUTE, note="done")
    known = [closed if one.id == closed.id else one for one in before]
    after = group(findings, edges, known, NOW)
    (now,) = (one for one in after if one.id == closed.id)
    assert (now.state, now.note, now.closed_at, now.merged_into) == ("closed", "done", closed.closed_at, None)
    begun = {one.id: one.first_seen for one in findings}
    assert set(closed.findings) <= set(now.findings)
    assert all(begun[id_] <= T0 + minute * MINUTE for id_ in set(now.findings) - set(closed.findings))
    # Nothing is lost, and nothing is told twice.
    told = [id_ for one in after if not one.merged_into for id_ in one.findings]
    assert sorted(told) == sorted(begun)
    assert group(findings, edges, after, NOW + MINUTE) == after


@given(many_findings(least=1), EDGES)
def test_what_is_told_of_an_incident_comes_from_its_findings(findings: list[Finding], edges: Edges) -> None:
    by_id = {one.id: one for one in findings}
    for one in group(findings, edges):
        members = [by_id[id_] for id_ in one.findings]
        assert one.id == members[0].id == min(members, key=lambda each: (each.first_seen, each.id)).id
        assert one.started == members[0].first_seen and one.updated == max(each.last_seen for each in members)
        assert one.severity in {each.severity for each in members}
        nodes = {node for each in members for node in (each.subject.source, each.subject.destination)}
        assert set(one.path) == set(one.services) == nodes - {None, "unknown"}
        assert len(set(one.path)) == len(one.path)
        assert one.summary.startswith(tuple(each.title for each in members))


@given(many_findings())
def test_calls_lead_forward_along_a_path_without_circles(findings: list[Finding]) -> None:
    forward = [one for one in findings if one.subject.source and one.subject.source < (one.subject.destination or "")]
    path = path_of(forward)
    for one in forward:
        if {one.subject.source, one.subject.destination} <= set(path):
            assert path.index(one.subject.source or "") < path.index(one.subject.destination or "")


# Who belongs together.

HUB = {*((f"s{n}", "hub") for n in range(9)), *(("hub", f"t{n}") for n in range(9))}
CHAIN = {("gate", "web"), ("web", "orders"), ("orders", "stock"), ("stock", "db")}
REFUSED: dict[str, Any] = {
    "kind": "refused_though_allowed",
    "details": {"policies": "shop/only-web", "cause": "recent_change"},
}
LET_IN: dict[str, Any] = {"details": {"policies": "shop/only-web", "cause": "not_pushed"}}
CASES: dict[str, tuple[Finding, Finding, Edges, bool]] = {
    "one caller, whom ever it calls": (
        finding("a", "web", "db", principal="p"),
        finding("b", "batch", "hub", at=20, principal="p"),
        HUB,
        True,
    ),
    "one caller, half an hour after its last call": (
        finding("a", "web", "db", principal="p"),
        finding("b", "web", "hub", at=35, principal="p"),
        (),
        True,
    ),
    "one caller, later than that": (
        finding("a", "web", "db", principal="p"),
        finding("b", "web", "hub", at=36, principal="p"),
        (),
        False,
    ),
    "one caller, and what goes on for weeks": (
        finding("a", "web", "db", lasts=60 * 24 * 14, principal="p"),
        finding("b", "web", "hub", at=60 * 24 * 7, principal="p"),
        (),
        False,
    ),
    "one node as two principals": (
        finding("a", "web", "db", principal="p"),
        finding("b", "web", "stock", principal="q"),
        (),
        True,
    ),
    "callers that nobody knows": (finding("a", "unknown", "db"), finding("b", "unknown", "stock"), CHAIN, False),
    "two callers of a busy callee": (
        finding("a", "s1", "hub", principal="p"),
        finding("b", "s2", "hub", principal="q"),
        HUB,
        False,
    ),
    "two callers of a callee that few call": (
        slow("a", "web", "db"),
        slow("b", "stock", "db", at=3),
        {("web", "db"), ("stock", "db")},
        True,
    ),
    "the same, begun hours apart": (
        slow("a", "web", "db", lasts=300),
        slow("b", "stock", "db", at=200),
        {("web", "db"), ("stock", "db")},
        False,
    ),
    "a busy callee that refuses both by one policy": (
        finding("a", "s1", "hub", principal="p", **REFUSED),
        finding("b", "s2", "hub", principal="q", at=10, **REFUSED),
        HUB,
        True,
    ),
    "a busy callee that refuses both, one by another policy": (
        finding("a", "s1", "hub", principal="p", **REFUSED),
        finding("b", "s2", "hub", principal="q", **{**REFUSED, "details": {"policies": "x", "cause": "recent_change"}}),
        HUB,
        False,
    ),
    "a busy callee that lets both in, as it does not hold the policy": (
        finding("a", "s1", "hub", principal="p", **LET_IN),
        finding("b", "s2", "hub", at=10, principal="q", **LET_IN),
        HUB,
        True,
    ),
    "a busy callee that refuses one and lets the other in": (
        finding("a", "s1", "hub", principal="p", **LET_IN),
        finding("b", "s2", "hub", at=10, principal="q", **{**REFUSED, **LET_IN}),
        HUB,
        False,
    ),
    "two slow callees of one caller": (slow("a", "gate", "web"), slow("b", "gate", "cart"), CHAIN, False),
    "slow above what is slow": (slow("a", "gate", "web"), slow("b", "web", "orders", at=-5), CHAIN, True),
    "slow above what is slow, and the map does not know it": (
        slow("a", "gate", "web"),
        slow("b", "web", "orders", at=-5),
        {("web", "orders")},
        False,
    ),
    "failing above what is refused": (
        finding("a", "gate", "web", kind="error_regression"),
        finding("b", "web", "orders", kind="repeated_denials"),
        CHAIN,
        True,
    ),
    "slow into and out of a hub": (slow("a", "s1", "hub"), slow("b", "hub", "t1"), HUB, False),
    "an intruder that moves on": (
        finding("a", "web", "orders", principal="p"),
        finding("b", "orders", "stock", at=20, principal="q"),
        CHAIN,
        True,
    ),
    "an intruder that moves on through a hub": (
        finding("a", "s1", "hub", principal="p"),
        finding("b", "hub", "t1", at=20, principal="q"),
        HUB,
        True,
    ),
    "one that was refused does not move on": (
        finding("a", "web", "orders", principal="p", kind="repeated_denials"),
        finding("b", "orders", "stock", at=20, principal="q"),
        CHAIN,
        False,
    ),
    "nobody moves on before the way in": (
        finding("a", "web", "orders", principal="p", at=20),
        finding("b", "orders", "stock", principal="q"),
        CHAIN,
        False,
    ),
    "moving on over one quiet call": (
        finding("a", "web", "orders", principal="p"),
        finding("b", "stock", "db", at=10, principal="q"),
        CHAIN,
        True,
    ),
    "the same without a way between": (
        finding("a", "web", "orders", principal="p"),
        finding("b", "stock", "db", at=10, principal="q"),
        CHAIN - {("orders", "stock")},
        False,
    ),
    "over one quiet call out of a hub": (
        finding("a", "s1", "hub", principal="p"),
        finding("b", "t1", "db", at=10, principal="q"),
        HUB | {(f"u{n}", "t1") for n in range(3)},
        False,
    ),
    "one edge slower and failing": (
        slow("a", "s1", "hub"),
        finding("b", "s1", "hub", kind="error_regression", at=4),
        HUB,
        True,
    ),
    "explained, days later and elsewhere": (
        slow("a", "s1", "hub", details={"regression": "r1"}),
        slow("b", "x", "y", at=60 * 24 * 3, details={"explained_by": "r1"}),
        (),
        True,
    ),
    "explained by one that was not told": (
        slow("a", "s1", "hub", details={"explained_by": "r1"}),
        slow("b", "x", "y", details={"explained_by": "r1"}),
        (),
        True,
    ),
    "far from each other": (slow("a", "gate", "web"), slow("b", "stock", "db"), CHAIN, False),
}


@pytest.mark.parametrize("name", CASES)
def test_who_belongs_together(name: str) -> None:
    one, other, edges, together = CASES[name]
    assert (len(group([one, other], edges)) == 1) == together


def test_an_attack_in_one_sentence_and_in_its_order() -> None:
    found = group(
        [
            finding("f3", "stock", "db", at=20, principal="stock", techniques=("T1046",)),
            finding("f1", "intruder", "orders", severity="medium", principal="batch", techniques=("T1550",)),
            finding("f2", "orders", "stock", at=9, severity="critical", principal="orders"),
        ],
        CHAIN,
    )
    (one,) = found
    assert one.id == "f1" and one.severity == "critical"
    assert one.path == ("intruder", "orders", "stock", "db") and one.principals == ("batch", "orders", "stock")
    assert one.summary == "orders called stock, and 2 more findings among 4 services"
    assert one.techniques == ("T1046", "T1550") and one.findings == ("f1", "f2", "f3")


def test_a_summary_begins_with_what_explains_the_rest() -> None:
    (one,) = group([slow("a", "gate", "web", severity="high", details={"explained_by": "b"}), slow("b", "web", "db")])
    assert one.summary == "web called db, and 1 more finding among 3 services"
    assert one.path == ("gate", "web", "db")


def test_two_that_turn_out_to_be_one() -> None:
    left, right = finding("a", "web", "orders", principal="p"), finding("b", "x", "y", at=10, principal="q")
    before = [*group([left, right])]
    bridge = finding("c", "web", "y", at=12, principal="q")
    assert len(before) == 2
    gone, kept = group([left, right, bridge], (), before, NOW)
    assert (kept.id, kept.state, kept.findings) == ("a", "open", ("a", "b", "c"))
    assert (gone.id, gone.state, gone.merged_into, gone.note) == ("b", "closed", "a", "merged into a")


def test_what_was_merged_goes_on_where_it_went() -> None:
    findings = [finding("a", "web", "orders", principal="p"), finding("b", "x", "y", at=10, principal="q")]
    bridge, later = finding("c", "web", "y", at=12, principal="q"), finding("d", "x", "v", at=14, principal="r")
    known = group([*findings, bridge], (), group(findings), NOW)
    gone, kept = group([*findings, bridge, later], (), known, NOW + MINUTE)
    assert gone == known[0] and gone.merged_into == kept.id == "a"
    assert kept.findings == ("a", "b", "c", "d")


def test_a_closed_incident_takes_nothing_from_an_open_one() -> None:
    left, right = finding("a", "web", "orders", principal="p"), finding("b", "x", "y", at=5, principal="q")
    opened, closed = group([left, right])
    closed = replace(closed, state="closed", closed_at=T0 + 60 * MINUTE)
    bridge = finding("c", "web", "y", at=8, principal="q")
    open_, still = group([left, right, bridge], (), [opened, closed], NOW)
    assert (open_.id, open_.state, open_.findings) == ("b", "open", ("b",)) and open_ == opened
    assert (still.id, still.state, still.findings) == ("a", "closed", ("a", "c"))


def test_what_was_together_stays_together_when_the_map_forgets() -> None:
    findings = [slow("a", "gate", "web"), slow("b", "web", "orders", at=3)]
    known = group(findings, CHAIN)
    assert len(known) == 1 and len(group(findings)) == 2
    assert group(findings, (), known, NOW) == known
    # Each grows by one of its own.
    more = [slow("c", "gate", "web", at=4), slow("d", "web", "orders", at=6)]
    (grown,) = group([*findings, *more], (), known, NOW)
    assert grown.findings == ("a", "b", "c", "d")


def test_what_is_not_at_hand_any_more_is_not_forgotten() -> None:
    old, new = finding("a", "web", "orders", principal="p"), finding("b", "web", "stock", at=20, principal="p")
    last = finding("c", "web", "db", at=45, severity="low", principal="p")
    before = group([old, new])
    (grown,) = group([new, last], (), before, NOW)
    (whole,) = group([old, new, last])
    assert replace(grown, path=(), summary="") == replace(whole, path=(), summary="")
    assert set(grown.path) == set(whole.path)


def test_someone_has_seen_it_and_it_grows() -> None:
    first, second = finding("a", "web", "orders", principal="p"), finding("b", "web", "db", at=9, principal="p")
    (seen,) = group([first])
    (grown,) = group([first, second], (), [replace(seen, state="acknowledged", note="on it")])
    assert (grown.state, grown.note, grown.findings) == ("acknowledged", "on it", ("a", "b"))


@example(["a"] * 2)
@given(st.lists(st.text(max_size=8), min_size=2, max_size=6))
def test_names_of_strangers_are_only_names(names: list[str]) -> None:
    findings = [finding(f"f{n}", name, names[n - 1], principal=name) for n, name in enumerate(names)]
    told = [id_ for one in group(findings, [(name, name) for name in names]) for id_ in one.findings]
    assert sorted(told) == sorted(one.id for one in findings)


def test_nothing_gives_nothing() -> None:
    assert group([]) == [] == group([], [("a", "b")])
