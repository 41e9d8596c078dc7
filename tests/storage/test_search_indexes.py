"""Each needle query uses the index that it should: `EXPLAIN indexes = 1` on a store of several days and edges."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.needles import ALWAYS, index_use
from storage import sql
from storage.conform import conform
from storage.engine import Engine
from storage.errors import QueryFailed
from storage.tables import CALLS, EDGE_KEYS, SPANS

DAY = datetime(2026, 11, 1, tzinfo=UTC)
DAYS, EDGES = 3, 12
ROWS = EDGES * 8192
"""Of a day: a granule or more for each edge."""
NEEDLE = DAYS * ROWS // 2 + 7

HOUR = {"since": DAY + timedelta(hours=36), "until": DAY + timedelta(hours=37)}
SEARCHES: Mapping[str, tuple[Mapping[str, Any], set[str]]] = {
    "search/calls_by_trace": ({"trace_id": f"{NEEDLE:032x}", **ALWAYS}, {"by_trace"}),
    "search/calls_by_request": ({"request_id": f"request-{NEEDLE}", **ALWAYS}, {"by_request"}),
    "search/calls_by_principal": ({"principal": "spiffe://td/ns/shop/sa/caller5", **ALWAYS}, {"PrimaryKey"}),
    "search/calls_by_address": ({"address": "10.0.0.5", **ALWAYS}, {"by_source_ip", "by_destination_ip"}),
    "search/calls_by_path": ({"namespace": "shop", "service": "called5", "path": "/item/5", **ALWAYS}, {"PrimaryKey"}),
    "search/calls_by_text": ({"text": f"line {NEEDLE} ", **HOUR}, {"ts_range"}),
    "search/spans_by_trace": ({"trace_id": f"{NEEDLE:032x}", **ALWAYS}, {"by_trace"}),
}
"""Statement -> what is looked for, and the indexes that must leave less than half of the granules."""


@pytest.fixture
def filled(engine: Engine) -> Engine:
    """Calls of EDGES edges over DAYS days, ids all different; half as many spans."""
    names = [f"spiffe://td/ns/shop/sa/caller{edge}" for edge in range(EDGES)]
    keys = {
        "edge_id": pa.array(range(1, EDGES + 1), pa.uint64()),
        "source_principal": names,
        "destination_namespace": ["shop"] * EDGES,
        "destination_service": [f"called{edge}" for edge in range(EDGES)],
    }
    engine.insert("edge_keys", conform(EDGE_KEYS, pa.record_batch(keys), received_on=DAY.date()))
    for day in range(DAYS):
        number = np.arange(day * ROWS, (day + 1) * ROWS)
        edge = number % EDGES
        at = DAY + timedelta(days=day)
        ts = pa.array(
            int(at.timestamp() * 1e6) + (number - day * ROWS) * (86_400_000_000 // ROWS), pa.timestamp("us", "UTC")
        )
        ids = {
            "trace_id": [f"{n:032x}" for n in number.tolist()],
            "request_id": [f"request-{n}" for n in number.tolist()],
        }
        calls = {
            "ts": ts,
            "edge_id": pa.array(edge + 1, pa.uint64()),
            "base_edge_id": pa.array(edge + 1, pa.uint64()),
            "source_principal": pa.array([names[one] for one in edge.tolist()]).dictionary_encode(),
            "source_ip": pa.array(
                [bytes(10) + b"\xff\xff\x0a\0\0" + bytes([one]) for one in edge.tolist()], pa.binary(16)
            ),
            "destination_service": pa.array([f"called{one}" for one in edge.tolist()]).dictionary_encode(),
            "path": pa.array([f"/item/{n}" for n in number.tolist()]),
            "raw": pa.array([f"line {n} of the log".encode() for n in number.tolist()]),
            **ids,
        }
        batch = conform(CALLS, pa.record_batch(calls), received_at=at, destination_namespace="shop", log_type="request")
        engine.insert("calls", batch)
        engine.insert("spans", conform(SPANS, pa.record_batch({"ts": ts, **ids}), received_at=at))
    return engine


def selected(engine: Engine, statement: str) -> dict[str, float]:
    """Index -> share of the granules it was asked about that it left."""
    parameters, _ = SEARCHES[statement]
    return {use.name: use.selected / use.total for use in index_use(engine, statement, {**parameters, "row_limit": 50})}


def test_each_search_finds_its_needle_by_its_index(filled: Engine) -> None:
    for statement, (parameters, indexes) in SEARCHES.items():
        found = filled.query(sql.load(statement).text, {**parameters, "row_limit": 50})
        assert 1 <= found.num_rows <= 50, statement
        if "trace_id" in parameters or "request_id" in parameters or "text" in parameters:
            assert found["request_id"].to_pylist() == [f"request-{NEEDLE}"], statement
        left = selected(filled, statement)
        assert {name for name in indexes if left.get(name, 1) < 0.5} == indexes, (statement, left)
    # And where the index is gone, it shows.
    filled.execute("ALTER TABLE calls DROP INDEX by_trace")
    try:
        assert "by_trace" not in selected(filled, "search/calls_by_trace")
    finally:
        filled.execute(
            "ALTER TABLE calls ADD INDEX by_trace trace_id TYPE bloom_filter(0.01) GRANULARITY 4 AFTER by_request"
        )


def test_time_and_rows_bound_every_search(filled: Engine) -> None:
    for statement, (parameters, _) in SEARCHES.items():
        text = sql.load(statement).text
        nothing = {**parameters, "since": DAY - timedelta(days=2), "until": DAY - timedelta(days=1), "row_limit": 50}
        assert filled.query(text, nothing).num_rows == 0, statement
    many, _ = SEARCHES["search/calls_by_principal"]
    found = filled.query(sql.load("search/calls_by_principal").text, {**many, "row_limit": 3})
    assert found.num_rows == 3
    assert found["ts"].to_pylist() == sorted(found["ts"].to_pylist())


def test_a_scan_of_lines_ends_in_time(filled: Engine) -> None:
    text = sql.load("search/calls_by_text").text
    assert text.endswith("SETTINGS max_execution_time = 30")
    scan = {"text": "nowhere", **ALWAYS, "row_limit": 50}
    with pytest.raises(QueryFailed) as told:
        filled.query(text.replace("max_execution_time = 30", "max_execution_time = 0.000001"), scan)
    assert told.value.code == 159
