"""Incidents in a store: kept once however often, closed for good, found again whatever their texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from analyzers.findings.model import Finding
from analyzers.findings.store import keep
from analyzers.incidents.model import Incident
from analyzers.incidents.store import DAYS, NoSuchIncident, close, incidents, keep_incidents
from storage.engine import Engine
from tests.analyzers.incidents.found import MINUTE, finding, slow
from tests.analyzers.records import T0, insert_calls

NOW = T0 + timedelta(days=400)
"""Findings of long ago are found today."""
HOSTILE = "\x1b[31m'); DROP TABLE incidents; --\u202e\\\n\0{id:String}"


def told(engine: Engine, *found: Finding, now: datetime = NOW) -> Sequence[Incident]:
    keep(engine, found, now, settled=True)
    return keep_incidents(engine, now)


def rows(engine: Engine) -> int:
    return engine.query("SELECT count() AS rows FROM incidents").to_pylist()[0]["rows"]


def test_an_empty_store_has_none(engine: Engine) -> None:
    assert keep_incidents(engine, NOW) == [] == incidents(engine)


def test_what_is_kept_is_read_again(engine: Engine) -> None:
    kept = told(
        engine,
        finding("f1", "web", "orders", principal="p", techniques=("T1046",)),
        finding("f2", "web", "db", at=9, principal="p"),
        finding("f3", "x", "y", at=90),
    )
    assert [one.findings for one in kept] == [("f3",), ("f1", "f2")]
    assert incidents(engine) == kept
    assert incidents(engine, ids=["f3"]) == kept[:1] and incidents(engine, ids=["f2"]) == []
    assert incidents(engine, T0 + 80 * MINUTE) == kept[:1] and incidents(engine, None, T0 + 80 * MINUTE) == kept[1:]
    assert incidents(engine, states=["closed"]) == [] and incidents(engine, states=["open"]) == kept


def test_again_and_again_stores_nothing_more(engine: Engine) -> None:
    kept = told(engine, finding("f1", "web", "orders", principal="p"), finding("f2", "web", "db", principal="p"))
    before = rows(engine)
    for hour in range(3):
        assert keep_incidents(engine, NOW + timedelta(hours=hour)) == kept
    assert rows(engine) == before == 1


def test_it_grows_under_its_id_and_another_one_stays_as_it_is(engine: Engine) -> None:
    first = finding("f5", "web", "orders", at=10, principal="p")
    told(engine, first, finding("other", "x", "y"))
    kept = told(engine, finding("f1", "web", "db", principal="p"), replace(first, last_seen=T0 + 60 * MINUTE))
    by_id = {one.id: one for one in kept}
    assert by_id.keys() == {"f5", "other"}
    assert by_id["f5"].findings == ("f1", "f5")
    assert (by_id["f5"].started, by_id["f5"].updated) == (T0, T0 + 60 * MINUTE)
    assert incidents(engine) == kept


def test_the_map_says_what_lies_between(engine: Engine) -> None:
    call = {"source_service": "orders", "destination_service": "stock", "reporter": "source", "status": 200}
    findings = [finding("f1", "web", "orders", principal="p"), finding("f2", "stock", "db", at=9, principal="q")]
    assert len(told(engine, *findings)) == 2
    engine.execute("TRUNCATE TABLE incidents")
    insert_calls(engine, [{**call, "ts": T0 + MINUTE}])
    (one,) = keep_incidents(engine, NOW)
    assert one.path == ("web", "orders", "stock", "db")


def test_what_people_closed_stays_closed(engine: Engine) -> None:
    first = finding("f1", "web", "orders", principal="p")
    told(engine, first)
    closing = T0 + 20 * MINUTE
    closed = close(engine, "f1", closing, "known job")
    assert (closed.state, closed.closed_at, closed.note) == ("closed", closing, "known job")
    assert incidents(engine) == [closed] == incidents(engine, states=["closed"])

    # Its finding goes on, and one comes to light that began before.
    kept = told(engine, replace(first, last_seen=T0 + 30 * MINUTE), finding("f2", "web", "db", at=9, principal="p"))
    (still,) = kept
    assert (still.id, still.state, still.note, still.findings) == ("f1", "closed", "known job", ("f1", "f2"))

    # What begins afterwards is told anew, though it goes on like the old one.
    again = told(engine, finding("f3", "web", "stock", at=25, principal="p"))
    assert {one.id: (one.state, one.findings) for one in again} == {
        "f1": ("closed", ("f1", "f2")),
        "f3": ("open", ("f3",)),
    }
    assert keep_incidents(engine, NOW + MINUTE) == again


def test_closing_again_changes_the_note_alone(engine: Engine) -> None:
    told(engine, finding("f1", "web", "orders"))
    first = close(engine, "f1", NOW)
    assert close(engine, "f1", NOW + MINUTE) == first
    assert close(engine, "f1", NOW + MINUTE, HOSTILE) == replace(first, note=HOSTILE)
    assert close(engine, "f1", NOW + MINUTE) == replace(first, note=HOSTILE)
    assert incidents(engine) == [replace(first, note=HOSTILE)]
    with pytest.raises(NoSuchIncident):
        close(engine, HOSTILE, NOW)


def test_a_clock_behind_closes_all_the_same(engine: Engine) -> None:
    told(engine, finding("f1", "web", "orders"))
    close(engine, "f1", NOW - timedelta(hours=1))
    assert [one.state for one in incidents(engine)] == ["closed"]


def test_two_that_turn_out_to_be_one_in_the_store(engine: Engine) -> None:
    told(engine, finding("f1", "web", "orders", principal="p"), finding("f2", "x", "y", at=5, principal="q"))
    kept = told(engine, finding("f3", "web", "y", at=9, principal="q"), now=NOW + MINUTE)
    gone, stays = kept
    assert (stays.id, stays.findings) == ("f1", ("f1", "f2", "f3"))
    assert (gone.id, gone.merged_into, gone.closed_at) == ("f2", "f1", NOW + MINUTE)
    assert incidents(engine) == kept == keep_incidents(engine, NOW + 2 * MINUTE)


def test_findings_of_other_days_are_left_alone(engine: Engine) -> None:
    told(engine, finding("f1", "web", "orders", principal="p"))
    later = NOW + timedelta(days=DAYS, minutes=1)
    assert keep_incidents(engine, later) == []
    (one,) = told(engine, finding("f2", "web", "db", at=9, principal="p"), now=later)
    # What is told now joins what happened then.
    assert (one.id, one.findings) == ("f1", ("f1", "f2"))


def test_what_goes_on_for_weeks_keeps_its_incident(engine: Engine) -> None:
    long = finding("f1", "web", "orders", lasts=60 * 24 * 20, principal="p")
    (first,) = told(engine, long)
    grown = replace(long, last_seen=long.last_seen + timedelta(days=9))
    (one,) = told(engine, grown, now=NOW + timedelta(days=9))
    assert (one.id, one.started, one.updated) == (first.id, T0, grown.last_seen)


def test_texts_of_strangers_come_back_as_they_were(engine: Engine) -> None:
    kept = told(
        engine,
        finding("f1", HOSTILE, "orders", principal=HOSTILE, techniques=(HOSTILE,)),
        slow("f2", "web", HOSTILE, at=90),
    )
    assert incidents(engine) == kept
    assert kept[1].principals == (HOSTILE,) and HOSTILE in kept[1].summary and HOSTILE in kept[1].path
