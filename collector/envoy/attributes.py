"""Operators without a column of their own in `calls` are kept in its `attributes`, beside the line's other keys.

Values the line did not give (null) and the route name that every proxy writes (`default`) are left out. A gateway's
line has in its columns how it went on to the upstream; how its client came to it stands here (`of_clients`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from collector.decode.operators import carries
from collector.decode.spans import Mask

KEPT: tuple[str, ...] = (
    "x_forwarded_for",
    "upstream_transport_failure_reason",
    "route_name",
    "downstream_local_uri_san",
    "upstream_peer_uri_san",
    "upstream_local_uri_san",
    "downstream_tls_version",
    "downstream_tls_cipher",
    "upstream_tls_version",
    "content_type",
    "connection_id",
    "stream_id",
    "downstream_peer_metadata",
    "upstream_peer_metadata",
)
"""Operators kept as attributes, under their own names."""

_PEER = "downstream_peer_uri_san"
OF_CLIENTS = ("downstream_local_address", "downstream_tls_version", _PEER)
"""How a client came to a gateway: to which address and port of it, over what, as whom."""

_USUAL = {"route_name": "default"}


def with_operators(operators: pa.RecordBatch, shown: Mapping[str, pa.Array] | None = None) -> pa.MapArray:
    """The `attributes` of each row: the line's other keys first, then the operators of `KEPT` that it gave.

    `shown` are further columns, by name. A column of `shown` stands in for the operator of its name.
    """
    given = operators.column("attributes")
    columns = {name: _told(operators, name) for name in KEPT} | dict(shown or {})
    found = [(name, column) for name, column in columns.items() if column.null_count < len(column)]
    return added(given, found) if found else given


def of_clients(operators: pa.RecordBatch, gateway: Mask, named: Mask) -> Mapping[str, pa.Array]:
    """Operators of the downstream connection that have no column of their own in some rows.

    Args:
        operators: schema `collector.decode.operators.OPERATORS`.
        gateway: rows of gateways: `OF_CLIENTS`, as the empty text where the line says that there is none.
        named: rows whose peer has names that are not all of it the source's principal.
    """
    found: dict[str, pa.Array] = {}
    if named.any():
        found[_PEER] = pc.if_else(pa.array(named), operators.column(_PEER), None)
    if not gateway.any():
        return found
    rows = np.flatnonzero(gateway)
    for name in OF_CLIENTS:
        told = rows[carries(operators, name)[rows]]
        if not len(told):
            continue
        own = operators.column(name)
        given = own.take(pa.array(told)).fill_null("")
        usual = own if name in KEPT else found.get(name)
        if usual is None or usual.null_count == len(usual):
            place = np.full(len(gateway), -1, np.int32)
            place[told] = np.arange(len(told))
            found[name] = given.take(pa.array(place, mask=place < 0))
        else:
            mask = np.zeros(len(gateway), np.bool_)
            mask[told] = True
            found[name] = pc.replace_with_mask(usual, pa.array(mask), given)
    return found


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
