"""Spans and calls for tests, from a few fields each; and their way into a store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from clickhouse_cityhash.cityhash import CityHash64  # pyright: ignore[reportMissingImports]

from storage.conform import conform
from storage.engine import Engine
from storage.tables import (
    CALLS,
    EDGE_KEY_FIELDS,
    EDGE_KEYS,
    FLOW_MESHES,
    LOGGED_BIT,
    METRIC_POINTS,
    SPANS,
    Table,
    arrow_schema,
)

T0 = datetime(2026, 1, 1, 10, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """`seconds` after the test's first moment, a full hour."""
    return T0 + timedelta(seconds=seconds)


def span(ts_s: float, span_id: str, parent: str, service: str, kind: str, **fields: Any) -> dict[str, Any]:
    """One span's columns; its ids are padded to their length."""
    return {
        "ts": at(ts_s),
        "trace_id": f"{fields.pop('trace', 1):032x}",
        "span_id": span_id.rjust(16, "0"),
        "parent_span_id": parent.rjust(16, "0") if parent else "",
        "service": service,
        "kind": kind,
        "namespace": "",
        "shared": 0,
        "error": 0,
        "http_status": 0,
        "duration_us": 1000,
        "peer_service": "",
        "peer_host": "",
        **fields,
    }


def call(ts_s: float, **fields: Any) -> dict[str, Any]:
    """One call's columns; the bits of the given ones are set in `logged`."""
    row = {"ts": at(ts_s), "log_type": "request", **fields}
    return {**row, "logged": sum(1 << LOGGED_BIT[name] for name in row if name in LOGGED_BIT)}


def point(ts_s: float, name: str, attributes: Mapping[str, str], amount: float, **fields: Any) -> dict[str, Any]:
    """One metric point's columns: a cumulative counter at `amount`, or with buckets a histogram of so many values."""
    kind = "histogram" if "bucket_counts" in fields else "sum"
    row = {
        "type": kind,
        "temporality": "cumulative",
        "monotonic": 1,
        "start_ts": datetime(1970, 1, 1, tzinfo=UTC),
        **fields,
    }
    value = {"value": float(amount)} if row["type"] == "sum" else {"count": int(amount)}
    return {"ts": at(ts_s), "name": name, "attributes": dict(attributes), **value, **row}


def insert(engine: Engine, table: Table, rows: Iterable[Mapping[str, Any]], token: str | None = None) -> None:
    """Insert rows given as mappings; what a row lacks gets the column's default."""
    listed = list(rows)
    schema = arrow_schema(table)
    names = [name for name in schema.names if any(name in row for row in listed)]
    arrays = []
    for name in names:
        kind = schema.field(name).type
        plain = kind.value_type if pa.types.is_dictionary(kind) else kind
        arrays.append(pa.array([row.get(name) for row in listed], plain))
    batch = pa.RecordBatch.from_arrays(arrays, names=names)
    constants = {"received_at": T0} if "received_at" in schema.names else {}
    engine.insert(table.name, conform(table, batch, **constants), token=token)


def insert_spans(engine: Engine, rows: Iterable[Mapping[str, Any]], token: str | None = None) -> None:
    """Insert spans made by `span`."""
    insert(engine, SPANS, rows, token)


def insert_points(engine: Engine, rows: Iterable[Mapping[str, Any]], token: str | None = None) -> None:
    """Insert metric points made by `point`."""
    insert(engine, METRIC_POINTS, rows, token)


def insert_calls(engine: Engine, rows: Iterable[Mapping[str, Any]], token: str | None = None) -> None:
    """Insert calls made by `call`, and announce their edge keys; a row with an `edge_id` keeps it."""
    keys: dict[int, dict[str, Any]] = {}
    listed: list[Mapping[str, Any]] = []
    for row in rows:
        evidence = "flow" if row.get("mesh") in FLOW_MESHES else "log"
        whole = {**dict.fromkeys(EDGE_KEY_FIELDS, ""), **row, "evidence": evidence}
        ids = []
        for operation in (whole["operation"], ""):
            named = {name: whole[name] for name in EDGE_KEY_FIELDS} | {"operation": operation}
            ids.append(CityHash64("\x1f".join(named.values()).encode()))
            keys[ids[-1]] = {**named, "edge_id": ids[-1], "received_on": T0.date()}
        # As the collector does: what is not counted has neither.
        counted = row.get("edge_id") != 0
        listed.append({"edge_id": ids[0], "base_edge_id": ids[1] if counted else 0, **row})
    if not listed:
        return
    insert(engine, EDGE_KEYS, keys.values())
    insert(engine, CALLS, listed, token)
