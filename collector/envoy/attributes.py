"""Operators without a column of their own in `calls` are kept in its `attributes`, beside the line's other keys.

Values the line did not give (null) and the route name that every proxy writes (`default`) are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

KEPT: tuple[str, ...] = (
    "x_forwarded_for",
    "upstream_transport_failure_reason",
    "route_name",
    "downstream_local_uri_san",
    "upstream_peer_uri_san",
    "upstream_local_uri_san",
    "downstream_tls_version",
    "upstream_tls_version",
    "content_type",
    "connection_id",
    "stream_id",
    "downstream_peer_metadata",
    "upstream_peer_metadata",
)
"""Operators kept as attributes, under their own names."""

_USUAL = {"route_name": "default"}


def with_operators(operators: pa.RecordBatch) -> pa.MapArray:
    """The `attributes` of each row: the line's other keys first, then the operators of `KEPT` that it gave."""
    given = operators.column("attributes")
    found = [(name, column) for name in KEPT if (column := _told(operators, name)).null_count < len(column)]
    return added(given, found) if found else given


def added(given: pa.MapArray, found: Sequence[tuple[str, pa.Array]]) -> pa.MapArray:
    """`given` with the values of `found` (name, one text for each row) behind each row's own; null adds nothing."""
    ends = given.offsets.to_numpy()
    rows = [np.repeat(np.arange(len(given)), np.diff(ends))]
    # A slice keeps the whole of its entries; only those between its first and last offset are its own.
    keys = [given.keys.slice(ends[0], ends[-1] - ends[0])]
    values = [given.items.slice(ends[0], ends[-1] - ends[0])]
    for name, column in found:
        index = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
        rows.append(index)
        keys.append(pa.array([name]).take(pa.array(np.zeros(len(index), np.int32))))
        values.append(column.drop_null())
    row = np.concatenate(rows)
    order = pa.array(np.argsort(row, kind="stable"))
    offsets = np.zeros(len(given) + 1, np.int32)
    np.cumsum(np.bincount(row, minlength=len(given)), out=offsets[1:])
    return pa.MapArray.from_arrays(
        pa.array(offsets), pa.concat_arrays(keys).take(order), pa.concat_arrays(values).take(order)
    )


def _told(operators: pa.RecordBatch, name: str) -> pa.Array:
    column = operators.column(name)
    usual = _USUAL.get(name)
    return column if usual is None else pc.if_else(pc.equal(column, usual), None, column)
