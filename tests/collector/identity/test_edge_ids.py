"""Edge ids: ClickHouse's own, the same as row by row, and 0 where a call must not be counted twice or blindly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.edge_ids import SEPARATOR, edge_id_of, edge_ids
from collector.identity.socket_addresses import ip_bytes
from storage.conform import conform
from storage.engine import Engine
from storage.tables import COUNTED_LOG_TYPES, EDGE_KEY_FIELDS, EDGE_KEYS, FLOW_MESHES
from tests.collector.identity.rows import AT, Row, calls

NAMES = ("workload", "service", "principal")


def slow_edge_id(row: Row, operation: bool) -> int:
    """What `edge_ids` means, for one row."""
    if row.get("log_type", "") not in ("", *COUNTED_LOG_TYPES):
        return 0
    if not any(row.get(f"destination_{part}") for part in NAMES):
        return 0
    if not any(row.get(f"source_{part}") for part in NAMES) and row.get("source_ip", bytes(16)) != bytes(16):
        return 0
    evidence = "flow" if row.get("mesh") in FLOW_MESHES else "log"
    fields = [evidence, *(row.get(name) or "" for name in EDGE_KEY_FIELDS[1:])]
    return edge_id_of(fields if operation else [*fields[:-1], ""])


def test_the_ids_are_clickhouses(engine: Engine) -> None:
    rows = [
        {"reporter": "source", "source_service": "a", "destination_service": "b", "operation": "GET /é"},
        {"destination_namespace": "shop", "destination_service": "b" * 300, "tls": "mtls"},
    ]
    edges = edge_ids(calls(*rows))
    engine.insert("edge_keys", conform(EDGE_KEYS, edges.keys, received_on=AT.date()))
    joined = ", ".join(EDGE_KEY_FIELDS)
    found = engine.query(
        f"SELECT edge_id, cityHash64(concatWithSeparator('\\x1f', {joined})) AS computed FROM edge_keys"
    ).to_pylist()
    assert len(found) == 3
    assert all(row["edge_id"] == row["computed"] for row in found)
    assert engine.query("SELECT cityHash64('a\\x1fb') AS id").to_pylist() == [{"id": edge_id_of(["a", "b"])}]


def test_uncounted_calls() -> None:
    named = {"source_service": "a", "destination_service": "b"}
    rows: list[dict[str, Any]] = [
        named,
        named | {"log_type": "connection_start"},
        named | {"log_type": "periodic"},
        named | {"log_type": "connection_end"},
        {"destination_service": "b", "source_ip": "10.0.0.1"},
        {"destination_service": "b"},
        {"destination_service": "b", "source_ip": "10.0.0.1", "source_principal": "spiffe://td/x"},
        {"source_service": "a", "destination_ip": "10.0.0.2"},
        {"source_service": "a"},
    ]
    counted = [bool(edge_ids(calls(row)).edge_id[0]) for row in rows]
    assert counted == [True, False, False, True, False, True, True, False, False]


def test_no_rows_and_no_columns() -> None:
    nothing = pa.RecordBatch.from_pydict({"ts": pa.array([], pa.timestamp("us", "UTC"))})
    edges = edge_ids(nothing)
    assert (len(edges.edge_id), edges.keys.num_rows) == (0, 0)
    assert edges.keys.schema.names == ["edge_id", *EDGE_KEY_FIELDS]


def test_a_separator_in_a_name_moves_nothing_into_the_next_field() -> None:
    one = edge_ids(calls({"destination_namespace": f"a{SEPARATOR}b", "destination_service": "c"}))
    two = edge_ids(calls({"destination_namespace": "a", "destination_service": f"b{SEPARATOR}c"}))
    assert one.edge_id[0] != two.edge_id[0]


VALUE = st.sampled_from(["", "a", "b", "é", "x" * 40]) | st.text(max_size=3)
ROWS = st.lists(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(EDGE_KEY_FIELDS[1:], VALUE)
        | {"log_type": st.sampled_from(["", "request", "connection_end", "periodic"])}
        | {"mesh": st.sampled_from(["", "istio", *FLOW_MESHES])}
        | {"source_ip": st.sampled_from([bytes(16), ip_bytes("10.0.0.1")])},
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.booleans())
def test_columns_equal_row_by_row(rows: list[dict[str, Any]], coded: bool) -> None:
    types = {name: pa.binary(16) if name == "source_ip" else pa.string() for row in rows for name in row}
    columns = {name: pa.array([row.get(name) for row in rows], kind) for name, kind in types.items()}
    if coded:
        columns = {
            name: column.dictionary_encode() if pa.types.is_string(column.type) else column
            for name, column in columns.items()
        }
    columns["_message"] = pa.array(range(len(rows)), pa.int32())
    edges = edge_ids(pa.RecordBatch.from_pydict(columns))
    assert edges.edge_id.tolist() == [slow_edge_id(row, operation=True) for row in rows]
    assert edges.base_edge_id.tolist() == [slow_edge_id(row, operation=False) for row in rows]
    used = (set(edges.edge_id.tolist()) | set(edges.base_edge_id.tolist())) - {0}
    keys = edges.keys.to_pylist()
    assert sorted(key["edge_id"] for key in keys) == sorted(used)
    for key in keys:
        assert key["edge_id"] == edge_id_of([key[name] for name in EDGE_KEY_FIELDS])


def test_thousands_of_edges_stay_apart() -> None:
    rows = 20_000
    order = np.random.default_rng(7).permutation(rows)
    columns = {
        "source_service": pa.array([f"s{i % 100}" for i in order]),
        "destination_service": pa.array([f"d{i // 100 % 40}" for i in order]),
        "operation": pa.array([f"GET /{i // 4000}" for i in order]),
    }
    edges = edge_ids(pa.RecordBatch.from_pydict(columns))
    assert len(set(edges.edge_id.tolist())) == rows
    assert len(set(edges.base_edge_id.tolist())) == 4000
    assert edges.keys.num_rows == rows + 4000
