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

NONE = Retention(0, 0, 0, 0, 0)
NOW = datetime.now(UTC)


@pytest.fixture
def unlimited(engine: Engine) -> Iterator[None]:
    """Leave the shared store without TTLs."""
    yield
    apply(engine, NONE)


def test_only_what_differs_is_changed(engine: Engine, unlimited: None) -> None:
    changes = apply(engine, Retention())
    assert {Change("calls", "", 7), Change("calls", "raw", 2), Change("edges_1m", "", 3)} <= set(changes)
    assert {Change("edges_1h", "", 30), Change("edges_1d", "", 365)} <= set(changes)
    assert apply(engine, Retention()) == []
    # Small tables of names hold nothing per call; every other table is kept for a stated time.
    endless = engine.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree' "
        "AND NOT match(create_table_query, ' TTL toDate[^,]*SETTINGS') ORDER BY name"
    )
    assert endless["name"].to_pylist() == ["aliases", "inventory", "operations", "schema_migrations"]
    assert apply(engine, Retention(raw_days=5)) == [Change("calls", "raw", 5)]
    assert apply(engine, Retention(raw_days=0)) == [Change("calls", "raw", 0)]
    assert Change("edges_1m", "", 0) in apply(engine, Retention(raw_days=0, minutes_days=0))
    assert apply(engine, Retention(raw_days=0, minutes_days=0)) == []


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
    apply(engine, Retention(7, 2, 0, 0, 0))
    engine.execute("ALTER TABLE calls MATERIALIZE TTL", settings={"mutations_sync": 2})
    engine.execute("OPTIMIZE TABLE calls FINAL")
    found = engine.query("SELECT status, raw FROM calls ORDER BY status")
    assert found.to_pylist() == [{"status": 0, "raw": "line"}, {"status": 4, "raw": ""}]
