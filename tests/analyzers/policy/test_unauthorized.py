"""Findings of calls that stored policies have otherwise: which, since when, and once an episode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from analyzers.findings.model import QUIET, Finding, Subject, finding_id
from analyzers.findings.store import findings, keep
from analyzers.policy.analysis import policy_findings
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


def test_the_evidence_shows_the_calls(engine: Engine) -> None:
    loaded(engine, policies(ONLY_WEB))
    insert_calls(engine, [line(10, **BATCH), line(20), line(30, **BATCH, verdict="denied")])
    (one,) = disagreements(engine)
    # The parameters are JSON: times are put back as whoever runs the statement does.
    times = {name for name, kind in holes(one.evidence.sql).items() if kind.startswith("DateTime64")}
    given = {
        name: one.first_seen if name == "since" else one.last_seen if name in times else value
        for name, value in one.evidence.parameters.items()
    }
    assert times == {"since", "until"} and one.evidence.parameters["since"] == "2026-01-01 10:00:00.000000"
    assert [row["request_id"] for row in engine.query(one.evidence.sql, given).to_pylist()] == ["r10"]


def test_around_a_change_of_policies_nobody_is_accused(engine: Engine) -> None:
    loaded(engine, policies(NOBODY.replace("spec: {}", "spec: {rules: [{}]}")))
    loaded(engine, policies(NOBODY), 600)
    grace = GRACE.total_seconds()
    insert_calls(engine, [line(600 - 1), line(600), line(600 + grace - 1), line(600 + grace), line(600 + 2 * grace)])
    (one,) = disagreements(engine)
    assert set(one.evidence.request_ids) == {f"r{600 + grace:g}", f"r{600 + 2 * grace:g}"}


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
    # An earlier part of it, seen alone, takes nothing away.
    keep(engine, disagreements(engine, at(0), at(400)), at(1002))
    (grown,) = findings(engine)
    assert (grown.id, grown.first_seen, grown.last_seen) == (whole.id, whole.first_seen, whole.last_seen)
    assert grown.score == whole.score


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
