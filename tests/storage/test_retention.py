"""Retention from settings becomes TTLs, and only what differs is changed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from storage.conform import conform
from storage.engine import Engine
from storage.retention import Change, Retention, apply
from storage.tables import CALLS

NONE = Retention(calls_days=0, raw_days=0, minutes_days=0, hours_days=0, days_days=0)
DEFAULTS = Retention(**Retention().model_dump())
"""The same days as without settings, but asked for."""
NOW = datetime.now(UTC)


@pytest.fixture
def unlimited(engine: Engine) -> Iterator[None]:
    """Leave the shared store without TTLs."""
    yield
    apply(engine, NONE)
    engine.execute("ALTER TABLE ingest_positions REMOVE TTL")


@pytest.fixture
def untouched(engine: Engine, unlimited: None) -> None:
    """A store of which nobody has said how long it keeps anything."""
    apply(engine, NONE)
    for table in engine.query("SELECT name FROM system.tables WHERE database = currentDatabase()")["name"].to_pylist():
        engine.execute(f"ALTER TABLE `{table}` MODIFY COMMENT ''")
    engine.execute("ALTER TABLE calls COMMENT COLUMN raw ''")


def test_only_what_differs_is_changed(engine: Engine, untouched: None) -> None:
    changes = apply(engine, Retention())
    assert {Change("calls", "", 7), Change("calls", "raw", 2), Change("edges_1m", "", 3)} <= set(changes)
    assert {Change("edges_1h", "", 30), Change("edges_1d", "", 365)} <= set(changes)
    assert apply(engine, Retention()) == [] == apply(engine, DEFAULTS)
    # Small tables of names hold nothing per call; every other table is kept for a stated time.
    endless = engine.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree' "
        "AND NOT match(create_table_query, ' TTL toDate[^,]*SETTINGS') ORDER BY name"
    )
    assert endless["name"].to_pylist() == ["aliases", "inventory", "operations", "policies", "schema_migrations"]
    assert apply(engine, Retention(raw_days=5)) == [Change("calls", "raw", 5, 2)]
    assert apply(engine, Retention(raw_days=0)) == [Change("calls", "raw", 0, 5)]
    assert Change("edges_1m", "", 0, 3) in apply(engine, Retention(minutes_days=0))
    assert apply(engine, Retention(raw_days=0, minutes_days=0)) == []


def test_who_brings_no_settings_changes_none(engine: Engine, untouched: None) -> None:
    apply(engine, Retention(calls_days=90, raw_days=0, minutes_days=0))
    assert apply(engine, Retention()) == []
    assert apply(engine, Retention(hours_days=40)) == [
        Change(table, "", 40, 30) for table in ("edges_1h", "base_edges_1h", "base_edges_6h", "derived_edges_1h")
    ]
    assert apply(engine, Retention(raw_days=3)) == [Change("calls", "raw", 3, 0)]
    assert apply(engine, Retention(raw_days=3)) == []


def test_positions_are_kept_whatever_the_rollups_are(engine: Engine, untouched: None) -> None:
    for retention in (Retention(hours_days=1), NONE):
        apply(engine, retention)
        (row,) = engine.query(
            "SELECT create_table_query AS ddl FROM system.tables WHERE name = 'ingest_positions'"
        ).to_pylist()
        assert "TTL toDate(received_at) + toIntervalDay(31)" in row["ddl"]


def test_what_came_just_before_midnight_is_kept_as_long_as_the_rest(engine: Engine, unlimited: None) -> None:
    midnight = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
    ages = {1: midnight - timedelta(seconds=1), 2: midnight - timedelta(days=1, seconds=1)}
    for status, received_at in ages.items():
        rows = pa.record_batch({"ts": pa.array([NOW], pa.timestamp("us", "UTC"))})
        engine.insert("calls", conform(CALLS, rows, received_at=received_at, status=status))
    apply(engine, Retention(calls_days=1))
    engine.execute("ALTER TABLE calls MATERIALIZE TTL", settings={"mutations_sync": 2})
    engine.execute("OPTIMIZE TABLE calls FINAL")
    assert engine.query("SELECT status FROM calls WHERE status IN (1, 2)")["status"].to_pylist() == [1]


def test_rows_go_by_arrival_and_raw_lines_before_them(engine: Engine, unlimited: None) -> None:
    for age_days in (0, 4, 9):
        batch = conform(
            CALLS,
            # An event of 1999 that arrived today stays.
            pa.record_batch({"ts": pa.array([datetime(1999, 1, 1, tzinfo=UTC)], pa.timestamp("us", "UTC"))}),
            received_at=NOW - timedelta(days=age_days),
            raw=b"line",
            status=age_days,
        )
        engine.insert("calls", batch)
    apply(engine, Retention(calls_days=7, raw_days=2, minutes_days=0, hours_days=0, days_days=0))
    engine.execute("ALTER TABLE calls MATERIALIZE TTL", settings={"mutations_sync": 2})
    engine.execute("OPTIMIZE TABLE calls FINAL")
    found = engine.query("SELECT status, raw FROM calls WHERE status IN (0, 4, 9) ORDER BY status")
    assert found.to_pylist() == [{"status": 0, "raw": "line"}, {"status": 4, "raw": ""}]
