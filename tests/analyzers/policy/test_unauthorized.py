"""Findings of calls that stored policies have otherwise: which, since when, and once an episode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from analyzers.findings.model import QUIET, Evidence, Finding, Subject, finding_id
from analyzers.findings.store import findings, keep
from analyzers.policy.analysis import policy_findings
from analyzers.policy.episodes import LISTED
from analyzers.policy.policy_set import PolicySet
from analyzers.policy.store import load_set
from analyzers.policy.unauthorized import GRACE, disagreements
from storage.bind import holes
from storage.engine import Engine
from tests.analyzers.policy.test_check import NOBODY, ONLY_WEB, WEB, line, peers, policies
from tests.analyzers.records import T0, at, insert_calls

BATCH = {"source_service": "batch", "source_principal": "spiffe://cluster.local/ns/shop/sa/batch"}


def loaded(engine: Engine, found: PolicySet, seconds: float = -7200) -> None:
    load_set(engine, found, at(seconds), at(seconds))


def brief(found: Sequence[Finding]) -> list[tuple[Any, ...]]:
    return [(one.kind, one.subject.source, one.subject.destination, one.score) for one in found]


def test_what_agrees_with_the_policies_is_no_finding(engine: Engine) -> None:
    loaded(engine, policies(ONLY_WEB, peers("STRICT")))
    insert_calls(engine, [line(1), line(2, **BATCH, verdict="denied"), line(3, **BATCH, verdict="unknown")])
    assert disagreements(engine) == []


def test_each_kind_of_disagreement_is_told_by_caller_and_callee(engine: Engine) -> None:
    loaded(engine, policies(ONLY_WEB, peers("STRICT")))
    insert_calls(
        engine,
        [
            *(line(number, **BATCH) for number in (10, 20, 30)),
            line(40, **BATCH, operation="POST /orders", weight=2),
            line(50, verdict="denied"),
            line(60, source_service="scraper", source_principal="", tls="plaintext"),
        ],
    )
    found = {one.kind: one for one in disagreements(engine)}
    assert sorted(brief([*found.values()])) == [
        ("plaintext_where_strict", "shop/scraper", "shop/orders", 1.0),
        ("refused_though_allowed", "shop/web", "shop/orders", 1.0),
        ("unauthorized", "shop/batch", "shop/orders", 5.0),
    ]
    one = found["unauthorized"]
    assert one.subject == Subject("shop/batch", "shop/orders", None, BATCH["source_principal"])
    assert (one.first_seen, one.last_seen) == (T0, at(60)) and one.score >= one.threshold
    assert set(one.evidence.request_ids) == {"r10", "r20", "r30", "r40"}
    assert "do not hold the policies" in one.details["likely"]
    assert found["plaintext_where_strict"].details["policies"] == "istio-system/default[mtls]"


def shown(engine: Engine, one: Finding) -> list[str]:
    """Request ids of the lines that the statement of a finding returns."""
    # The parameters are JSON: times are put back as whoever runs the statement does.
    times = {name for name, kind in holes(one.evidence.sql).items() if kind.startswith("DateTime64")}
    given = {
        name: datetime.fromisoformat(f"{value}+00:00") if name in times else value
        for name, value in one.evidence.parameters.items()
    }
    assert times == {"since", "until"}
    return [row["request_id"] for row in engine.query(one.evidence.sql, given).to_pylist()]


def test_the_evidence_shows_the_calls(engine: Engine) -> None:
    loaded(engine, policies(ONLY_WEB))
    insert_calls(engine, [line(10, **BATCH), line(20), line(30, **BATCH, verdict="denied")])
    (one,) = disagreements(engine)
    assert one.evidence.parameters["since"] == "2026-01-01 10:00:00.000000"
    assert shown(engine, one) == ["r10"]


def test_the_evidence_shows_no_call_that_the_policies_allow(engine: Engine) -> None:
    # Same caller, operation and minute: what tells them apart is no column of the finding.
    loaded(engine, policies(ONLY_WEB.replace("from: [{source", "to: [{operation: {ports: ['8080']}}], from: [{source")))
    insert_calls(
        engine,
        [
            *(line(second, destination_port=9090) for second in (10, 20)),
            *(line(second) for second in (15, 25)),
            line(30, destination_port=9090, request_id=""),
            line(30, request_id=""),
            line(35, request_id=""),
        ],
    )
    (one,) = disagreements(engine)
    assert one.score == 3 and one.evidence.request_ids == ("r10", "r20")
    # Two lines of one moment without an id are told apart by nothing: the only ones that come along.
    assert shown(engine, one) == ["r10", "r20", "", ""]


def test_the_evidence_lists_the_earliest_calls(engine: Engine) -> None:
    loaded(engine, policies(ONLY_WEB))
    insert_calls(engine, [line(20 * number, **BATCH) for number in range(LISTED, -50, -1)])
    (one,) = disagreements(engine)
    assert one.score == LISTED + 50
    assert shown(engine, one) == [f"r{20 * number:g}" for number in range(-49, LISTED - 49)]
    assert one.evidence.request_ids == tuple(f"r{20 * number:g}" for number in range(-49, -39))


def test_each_episode_has_evidence_of_its_own(engine: Engine) -> None:
    loaded(engine, policies(ONLY_WEB))
    insert_calls(
        engine,
        [
            *(line(second, **BATCH, trace_id=f"{second:032x}") for second in range(1, 13)),
            line(20, **BATCH, operation="GET /admin", destination_port=8081),
            *(line(7200 + second, **BATCH, operation="GET /secret", method="HEAD") for second in (0, 10)),
        ],
    )
    morning, evening = disagreements(engine)
    assert (morning.details["operations"], morning.subject.operation) == ("GET /admin, GET /orders", None)
    assert (evening.details["operations"], evening.subject.operation) == ("GET /secret", "GET /secret")
    assert (morning.details["calls"], evening.details["calls"]) == ("13", "2")
    assert evening.evidence.request_ids == ("r7200", "r7210") and evening.evidence.trace_ids == ()
    assert morning.evidence.request_ids == tuple(f"r{second}" for second in range(1, 11))
    assert len(morning.evidence.trace_ids) == 10
    assert shown(engine, evening) == ["r7200", "r7210"] and len(shown(engine, morning)) == 13


def test_calls_of_programs_that_read_very_much_are_shown_too(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analyzers.policy.judge.MOST_BITS", 0)
    loaded(engine, policies(ONLY_WEB))
    insert_calls(engine, [line(10, **BATCH), line(20), line(7200, **BATCH)])
    assert [shown(engine, one) for one in disagreements(engine)] == [["r10"], ["r7200"]]


def test_the_policies_of_an_episode_are_its_own(engine: Engine) -> None:
    deny = NOBODY.replace("spec: {}", "spec: {action: DENY, rules: [{}]}")
    loaded(engine, policies(deny.replace("name: nobody", "name: first")))
    loaded(engine, policies(deny.replace("name: nobody", "name: second")), 3600)
    insert_calls(engine, [line(0), line(7200)])
    assert [one.details["policies"] for one in disagreements(engine)] == ["shop/first[0]", "shop/second[0]"]


def test_what_nothing_refuses_is_told_so(engine: Engine) -> None:
    loaded(engine, policies(NOBODY.replace("name: nobody", "name: other").replace("namespace: shop", "namespace: a")))
    loaded(
        engine,
        policies(NOBODY.replace("spec: {}", "spec: {action: DENY, rules: [{to: [{operation: {ports: ['1']}}]}]}")),
        -3600,
    )
    insert_calls(engine, [line(10, verdict="denied")])
    (one,) = disagreements(engine)
    assert (one.kind, one.details["policies"]) == ("refused_though_allowed", "no policy refuses it")


def test_around_a_change_of_policies_nobody_is_accused(engine: Engine) -> None:
    loaded(engine, policies(NOBODY.replace("spec: {}", "spec: {rules: [{}]}")))
    loaded(engine, policies(NOBODY), 600)
    grace = GRACE.total_seconds()
    insert_calls(engine, [line(600 - 1), line(600), line(600 + grace - 1), line(600 + grace), line(600 + 2 * grace)])
    (one,) = disagreements(engine)
    assert set(one.evidence.request_ids) == {f"r{600 + grace:g}", f"r{600 + 2 * grace:g}"}


def test_before_a_change_of_policies_nobody_is_accused_either(engine: Engine) -> None:
    loaded(engine, policies(NOBODY))
    loaded(engine, policies(NOBODY.replace("spec: {}", "spec: {rules: [{}]}")), 600)
    grace = GRACE.total_seconds()
    insert_calls(engine, [line(600 - grace - 1), line(600 - grace), line(600 - 1), line(600 + 2 * grace)])
    (one,) = disagreements(engine)
    assert one.evidence.request_ids == (f"r{600 - grace - 1:g}",)


def test_half_an_hour_of_quiet_ends_an_episode(engine: Engine) -> None:
    loaded(engine, policies(ONLY_WEB))
    quiet = QUIET.total_seconds()
    insert_calls(engine, [line(second, **BATCH) for second in (0, quiet, 2 * quiet + 120)])
    found = disagreements(engine)
    assert [(one.first_seen, one.score) for one in found] == [(T0, 2.0), (at(2 * quiet + 120), 1.0)]
    assert len({one.id for one in found}) == 2


def test_found_again_it_is_the_same_finding(engine: Engine) -> None:
    loaded(engine, policies(ONLY_WEB))
    insert_calls(engine, [line(second, **BATCH) for second in (300, 600, 900)])
    (late,) = keep(engine, disagreements(engine, at(600)), at(1000))
    (whole,) = keep(engine, disagreements(engine), at(1001))
    assert (whole.id, whole.first_seen, whole.score) == (late.id, at(300), 3.0)
    (kept,) = findings(engine)
    assert kept == whole
    # A part of it, seen alone, takes nothing away, whichever it is.
    for second, window in enumerate([(at(0), at(400)), (at(600), None), (at(500), at(700))]):
        keep(engine, disagreements(engine, *window), at(1002 + second))
        assert findings(engine) == [whole]


def test_the_last_part_of_an_episode_that_goes_on_makes_it_longer_only(engine: Engine) -> None:
    loaded(engine, policies(ONLY_WEB))
    insert_calls(engine, [line(second, **BATCH) for second in (300, 600, 900)])
    (first,) = keep(engine, disagreements(engine), at(1000))
    insert_calls(engine, [line(1200, **BATCH)])
    (longer,) = keep(engine, disagreements(engine, at(900)), at(1300))
    assert longer == replace(first, last_seen=at(1260)) and findings(engine) == [longer]
    (whole,) = keep(engine, disagreements(engine), at(1301))
    assert whole.score == 4 and "4 times" in whole.title and whole.evidence.request_ids[-1] == "r1200"
    assert findings(engine) == [whole]


def test_of_equal_scores_the_finding_of_more_calls_stands(engine: Engine) -> None:
    subject = Subject("a", None, None, "b")
    whole = Finding(
        *("id", "repeated_denials", "medium", "whole", subject, at(0), at(60), 2.0, 1.0, ()),
        Evidence("SELECT 1", {}),
        "it is none",
        {"calls": "200"},
    )
    keep(engine, [whole], at(100))
    keep(engine, [replace(whole, id="other", title="part", last_seen=at(30), details={"calls": "30"})], at(101))
    assert findings(engine) == [whole]


@pytest.mark.parametrize("window", [(None, at(0)), (at(1000), None)])
def test_findings_of_other_times_and_kinds_are_not_listed(engine: Engine, window: tuple[Any, Any]) -> None:
    loaded(engine, policies(ONLY_WEB))
    insert_calls(engine, [line(300, **BATCH)])
    keep(engine, policy_findings(engine), at(1000))
    assert findings(engine, *window) == []
    assert findings(engine, kinds=["repeated_denials"]) == [] and len(findings(engine, kinds=["unauthorized"])) == 1


def test_without_stored_policies_nothing_is_unauthorized(engine: Engine) -> None:
    insert_calls(engine, [line(1, **BATCH), line(2, verdict="denied")])
    assert disagreements(engine) == []


def test_hostile_texts_survive_the_store(engine: Engine) -> None:
    odd = "spiffe://cluster.local/ns/shop/sa/\x1b[31m'\\\"\u2028"
    loaded(engine, policies(ONLY_WEB))
    insert_calls(engine, [line(1, source_principal=odd, source_service="b'\\")])
    kept = keep(engine, disagreements(engine), at(10))
    assert findings(engine) == kept and kept[0].subject.principal == odd


def test_ids_tell_subjects_and_episodes_apart() -> None:
    subject = Subject("a", "b", None, WEB)
    ids = {
        finding_id("unauthorized", subject, T0),
        finding_id("unauthorized", subject, T0 + timedelta(hours=1)),
        finding_id("unauthorized", replace(subject, principal=None), T0),
        finding_id("unauthorized", Subject("ab", "", None, WEB), T0),
        finding_id("other", subject, T0),
    }
    assert len(ids) == 5
