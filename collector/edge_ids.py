"""The edge of every call as one number, worked out once per distinct combination of names.

    identity.addresses.complete ──► edge_ids ──► calls.edge_id, calls.base_edge_id, edge_keys (announced first)

`edge_id` is ClickHouse's `cityHash64` of the fields `storage.tables.EDGE_KEY_FIELDS` joined by 0x1F, where evidence is
`flow` for rows of network flows (told by their `mesh`), else `log`; `base_edge_id` is the same with an empty operation.
Rollup views sum by the number and never see a name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from clickhouse_cityhash.cityhash import CityHash64

from collector.coded import Codes, groups
from storage.tables import COUNTED_LOG_TYPES, EDGE_KEY_FIELDS, FLOW_MESHES

SEPARATOR = "\x1f"
_COUNTED = frozenset({"", *COUNTED_LOG_TYPES})
"""Any other line (start, periodic, one attempt of several) tells of a call that a line of these tells of too."""

_NAMES = ("workload", "service", "principal")
"""What names a side; a namespace alone does not."""
_UNKNOWN_IP = bytes(16)
_HEAD = EDGE_KEY_FIELDS.index("source_cluster")
_HALF = EDGE_KEY_FIELDS.index("destination_cluster")
Ids = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]


class Edges(NamedTuple):
    """Result of `edge_ids`."""

    edge_id: Ids
    base_edge_id: Ids
    keys: pa.RecordBatch
    """Distinct edges of the batch, with and without operation: `edge_id` and EDGE_KEY_FIELDS (not `received_on`)."""


@dataclass(slots=True)
class _Field:
    """One column: its dictionary (values may repeat) and each row's place in it."""

    values: list[str]
    rows: Codes

    def test(self, wanted: Mask) -> Mask:
        return wanted[self.rows] if len(self.values) > 1 else np.broadcast_to(wanted, self.rows.shape)

    def named(self) -> Mask:
        return self.test(np.array([bool(value) for value in self.values], np.bool_))


def clean(field: str) -> str:
    """A field as it stands in the joined text: a separator in it (hostile, no name has one) becomes a space."""
    return field.replace(SEPARATOR, " ")


def edge_id_of(fields: Sequence[str]) -> int:
    """The id of one edge, from its EDGE_KEY_FIELDS in order."""
    return CityHash64(SEPARATOR.join(clean(field) for field in fields).encode())


def edge_ids(calls: pa.RecordBatch) -> Edges:
    """Edge ids of completed calls.

    Args:
        calls: any subset of the columns of `calls`, names as plain strings or dictionaries; what is absent is empty.

    An id is 0, and the call is left out of the rollups, where the line is not the one to count (`COUNTED_LOG_TYPES`),
    where the destination has no name, and where the caller has none but an address. A caller with neither is counted:
    nobody will ever know more of it.
    """
    names = set(calls.schema.names)
    fields = {"evidence": _evidence(_field(calls, "mesh", names))}
    fields |= {name: _field(calls, name, names) for name in EDGE_KEY_FIELDS[1:]}
    log_type = _field(calls, "log_type", names)
    counted = log_type.test(np.array([value in _COUNTED for value in log_type.values], np.bool_))
    counted = counted & _named(fields, "destination") & (_named(fields, "source") | ~_has_address(calls, names))

    edge, base = np.zeros(calls.num_rows, np.uint64), np.zeros(calls.num_rows, np.uint64)
    picked = np.flatnonzero(counted)
    if len(picked) < calls.num_rows:
        fields = {name: _Field(field.values, field.rows[picked]) for name, field in fields.items()}
    first, group, edge_of, base_of = _distinct(list(fields.values()))
    edge[picked], base[picked] = edge_of[group], base_of[group]
    return Edges(edge, base, _keys(fields, first, edge_of, base_of))


def _field(calls: pa.RecordBatch, name: str, names: set[str]) -> _Field:
    if name not in names or calls.column(name).null_count == calls.num_rows:
        return _Field([""], np.zeros(calls.num_rows, np.int32))
    column = calls.column(name)
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    values = [clean(value or "") for value in encoded.dictionary.to_pylist()]
    rows = encoded.indices
    if rows.null_count:
        rows = rows.fill_null(len(values))
        values.append("")
    return _Field(values, rows.to_numpy(zero_copy_only=False))


def _evidence(mesh: _Field) -> _Field:
    if not any(value in FLOW_MESHES for value in mesh.values):
        return _Field(["log"], np.zeros(len(mesh.rows), np.int32))
    is_flow = np.array([value in FLOW_MESHES for value in mesh.values], np.int32)
    return _Field(["log", "flow"], is_flow[mesh.rows])


def _named(fields: Mapping[str, _Field], side: str) -> Mask:
    first, *others = (fields[f"{side}_{part}"].named() for part in _NAMES)
    for other in others:
        first = first | other
    return first


def _has_address(calls: pa.RecordBatch, names: set[str]) -> Mask:
    if "source_ip" not in names:
        return np.zeros(calls.num_rows, np.bool_)
    encoded = calls.column("source_ip").dictionary_encode()
    known = [value not in (None, _UNKNOWN_IP) for value in encoded.dictionary.to_pylist()]
    return np.array([*known, False], np.bool_)[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]


def _distinct(fields: Sequence[_Field]) -> tuple[npt.NDArray[np.int64], Codes, Ids, Ids]:
    """First row, row to combination, edge id and base id of the distinct combinations.

    Ends repeat over many edges, so their text is joined once for each end, then once for each edge.
    """
    texts: list[list[str]] = []
    rows_of: list[Codes] = []
    for part in (fields[:_HEAD], fields[_HEAD:_HALF], fields[_HALF:-1]):
        first, rows = groups([field.rows for field in part])
        columns = [[field.values[code] for code in field.rows[first].tolist()] for field in part]
        texts.append([SEPARATOR.join(key) + SEPARATOR for key in zip(*columns, strict=True)])
        rows_of.append(rows)
    last = fields[-1]
    first, group = groups([*rows_of, last.rows])
    heads, sources, destinations = texts
    keys = zip(*(rows[first].tolist() for rows in (*rows_of, last.rows)), strict=True)
    edge_of, base_of = [0] * len(first), [0] * len(first)
    for place, (head, source, destination, operation) in enumerate(keys):
        bare = heads[head] + sources[source] + destinations[destination]
        base_of[place] = CityHash64(bare.encode())
        edge_of[place] = CityHash64((bare + last.values[operation]).encode())
    return first, group, np.array(edge_of, np.uint64), np.array(base_of, np.uint64)


def _keys(fields: Mapping[str, _Field], first: npt.NDArray[np.int64], edge_of: Ids, base_of: Ids) -> pa.RecordBatch:
    """What the ids stand for: each edge, then each base edge that is not among them."""
    ids, chosen = np.unique(np.concatenate([edge_of, base_of]), return_index=True)
    is_base = chosen >= len(edge_of)
    rows = first[chosen % max(len(edge_of), 1)]
    columns: dict[str, pa.Array] = {"edge_id": pa.array(ids)}
    for name, field in fields.items():
        values, codes = field.values, field.rows[rows]
        if name == "operation":
            values, codes = [*values, ""], np.where(is_base, len(values), codes)
        column = pa.array(values, pa.string()).take(pa.array(codes))
        columns[name] = column.dictionary_encode()
    return pa.RecordBatch.from_pydict(columns)
