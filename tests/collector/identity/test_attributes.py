"""Operators without a column of their own end up in the call's attributes, row by row."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from collector.decode.operators import OPERATORS, operator_batch
from collector.envoy.attributes import KEPT, with_operators

TEXT = st.text(max_size=5)
ROW = st.fixed_dictionaries(
    {name: st.none() | TEXT for name in KEPT}, optional={"attributes": st.dictionaries(TEXT, TEXT, max_size=3)}
)


def batch(rows: list[dict[str, object]]) -> pa.RecordBatch:
    count = len(rows)
    columns = {name: pa.array([row[name] for row in rows], pa.string()) for name in KEPT}
    columns["attributes"] = pa.array(
        [list(row.get("attributes", {}).items()) for row in rows], OPERATORS.field("attributes").type
    )
    for name in ("start_time", "carried", "_message", "_record"):
        columns[name] = pa.array([0] * count, OPERATORS.field(name).type)
    columns["raw"] = pa.array([b""] * count, pa.binary())
    return operator_batch(columns, count)


@given(st.lists(ROW, max_size=6))
def test_equals_the_row_by_row_reference(rows: list[dict[str, object]]) -> None:
    expected = []
    for row in rows:
        kept = [(name, row[name]) for name in KEPT if row[name] is not None]
        expected.append(
            [*row.get("attributes", {}).items(), *(pair for pair in kept if pair != ("route_name", "default"))]
        )
    assert with_operators(batch(rows)).to_pylist() == expected
    assert all(("route_name", "default") not in pairs for pairs in expected)


def test_the_usual_route_is_left_out() -> None:
    row: dict[str, object] = {**dict.fromkeys(KEPT), "route_name": "default", "downstream_tls_version": "TLSv1.3"}
    assert with_operators(batch([row])).to_pylist() == [[("downstream_tls_version", "TLSv1.3")]]
