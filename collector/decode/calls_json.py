"""`calls_json`: one object a line whose keys are the column names of `calls` → `calls` columns.

The door for any source that eastwatch does not know. Required are `ts` and something that names the destination
(`DESTINATIONS`). Other rules:

- A missing key and `null` mean *not logged*; `""` means *logged, and absent*.
- Numbers may be written as text. A value of the wrong type or outside its range makes the line a dead letter, and so
  does a word outside the fixed vocabularies (`VOCABULARIES`).
- `attributes` is an object; its values that are no strings are kept as JSON. A top-level key that is no column of
  `calls` becomes an attribute, so nothing is lost and a misspelt key can be found.
- `weight` says how many calls the line stands for, by default one; its `bytes_...` are then those of all of them.
- Columns that ingestion fills (`received_at`, `edge_id`, `base_edge_id`, `raw`, `logged`, `topic`, `partition`,
  `offset`) cannot be given; such a key becomes an attribute as well.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping, Set
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from collector.decode.envelope import Lines
from collector.decode.json_shapes import JsonColumn, Shape
from collector.decode.limits import Limits
from collector.decode.line_format import JsonFormat, Refused
from collector.decode.operators import TEXT_MAP
from collector.decode.values import present, times, unsigned
from storage.tables import CALLS, COUNTED_LOG_TYPES, LOGGED_BIT, TIME, UNCOUNTED_LOG_TYPES

VOCABULARIES: Mapping[str, tuple[str, ...]] = {
    "reporter": ("source", "destination", "gateway", "waypoint", "unknown"),
    "log_type": (*COUNTED_LOG_TYPES, *UNCOUNTED_LOG_TYPES),
    "direction": ("east_west", "ingress", "egress"),
    "tls": ("mtls", "tls", "plaintext", "unknown"),
    "verdict": ("allowed", "denied", "unknown"),
    "fault": ("none", "caller", "network", "callee", "mesh", "unknown"),
}

DESTINATIONS = (
    "destination_service",
    "destination_workload",
    "destination_pod",
    "destination_principal",
    "destination_ip",
    "authority",
)
"""Keys of which at least one must name the destination."""

_TYPES: Mapping[str, str] = {
    column.name: column.type for column in CALLS.columns if column.name in LOGGED_BIT or column.name == "weight"
}
KNOWN: Set[str] = frozenset((*_TYPES, "attributes"))
_UNSIGNED: Mapping[str, tuple[pa.DataType, int]] = {
    "UInt8": (pa.uint8(), (1 << 8) - 1),
    "UInt16": (pa.uint16(), (1 << 16) - 1),
    "UInt32": (pa.uint32(), (1 << 32) - 1),
    "UInt64": (pa.uint64(), (1 << 63) - 1),
}
_HEX_WIDTH = {"trace_id": 32, "span_id": 16}
LARGEST: Mapping[str, int] = {"status": 999}
_IPV4 = b"\0" * 10 + b"\xff\xff"
_OBJECT = msgspec.json.Decoder(dict[str, Any])


def recognises(keys: Set[str]) -> bool:
    """Whether an object with these keys is meant as `calls_json`: it has `ts` and a destination, by their names."""
    return "ts" in keys and not keys.isdisjoint(DESTINATIONS)


def calls(lines: Lines, shape: Shape, limits: Limits) -> tuple[pa.RecordBatch, Refused]:
    """`calls` rows of the lines of one shape, and rows of `lines` to refuse with the reason."""
    del limits
    rows = len(shape.rows)
    refused: dict[int, str] = {}
    columns: dict[str, pa.Array] = {}
    bits = np.zeros(rows, np.uint64)
    for name, kind in _TYPES.items():
        given = shape.columns.get(name)
        if given is None or given.text.null_count == rows:
            continue
        if name in LOGGED_BIT:
            bits |= np.where(present(given.text), np.uint64(1 << LOGGED_BIT[name]), np.uint64(0))
        columns[name] = _column(name, kind, given, refused)
    _require(columns, rows, refused)
    attributes = _attributes(shape, refused)
    own = lines.take(shape.rows)
    columns |= {
        "attributes": attributes,
        "raw": own.text,
        "logged": pa.array(bits),
        "_message": own.message,
        "_record": own.record,
    }
    batch = pa.RecordBatch.from_pydict(columns)
    if refused:
        kept = np.ones(rows, np.bool_)
        kept[list(refused)] = False
        batch = batch.filter(pa.array(kept))
    return batch, [(int(shape.rows[row]), reason) for row, reason in sorted(refused.items())]


_CODES = {"status", "grpc_status", "attempt", "source_port", "destination_port", "weight"}
"""Numbers of which a fraction is a mistake, not a measurement."""


def _refuse(
    refused: dict[int, str], wrong: np.ndarray[Any, Any], name: str, text: pa.StringArray, expected: str
) -> None:
    for row in np.flatnonzero(wrong).tolist():
        value = text[row].as_py()
        refused.setdefault(row, f"{name} is {'missing' if value is None else repr(value[:60])}, expected {expected}")


def _column(name: str, kind: str, given: JsonColumn, refused: dict[int, str]) -> pa.Array:
    """One typed column without nulls: what is not logged or absent has the type's zero."""
    text = given.text
    filled = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
    if kind == TIME:
        values, wrong = times(filled)
        _refuse(refused, wrong, name, text, "a time within 1971..2100 (RFC 3339, or a number of seconds since 1970)")
        return values
    if kind in _UNSIGNED:
        to, largest = _UNSIGNED[kind]
        largest = LARGEST.get(name, largest)
        values, wrong = unsigned(filled, to, largest, fractions=name not in _CODES)
        _refuse(refused, wrong, name, text, f"a number 0..{largest}")
        return values if name == "weight" else values.fill_null(0)
    if kind == "IPv6":
        values = _by_distinct(filled, _ip, pa.binary(16), b"\0" * 16)
        _refuse(refused, present(filled) & ~present(values), name, text, "an IP address")
        return pc.coalesce(values, pa.scalar(b"\0" * 16, pa.binary(16)))
    if given.quoted is not None:
        nested = pc.starts_with(text, "{").fill_null(False).to_numpy(zero_copy_only=False)
        nested |= pc.starts_with(text, "[").fill_null(False).to_numpy(zero_copy_only=False)
        _refuse(refused, nested & ~given.quoted, name, text, "text")
    if name in _HEX_WIDTH:
        values = _by_distinct(filled, lambda value: _hex(value, _HEX_WIDTH[name]), pa.string(), "")
        _refuse(refused, present(filled) & ~present(values), name, text, f"up to {_HEX_WIDTH[name]} hex digits")
        return values.fill_null("")
    if name in VOCABULARIES:
        known = pc.is_in(filled, value_set=pa.array([None, *VOCABULARIES[name]], pa.string()))
        wrong = ~known.to_numpy(zero_copy_only=False)
        _refuse(refused, wrong, name, text, "one of " + ", ".join(VOCABULARIES[name]))
    return text.fill_null("")


def _by_distinct(text: pa.StringArray, parse: Callable[[str], Any], to: pa.DataType, absent: Any) -> pa.Array:
    """`parse` over the distinct values; null where it gives None, `absent` where `text` is null."""
    encoded = text.dictionary_encode()
    parsed = pa.array([parse(value) for value in encoded.dictionary.to_pylist()], to)
    values = parsed.take(encoded.indices)
    return pc.if_else(text.is_null(), pa.scalar(absent, to), values)


def _ip(text: str) -> bytes | None:
    try:
        return _IPV4 + socket.inet_pton(socket.AF_INET, text)
    except (OSError, ValueError):
        pass
    try:
        return socket.inet_pton(socket.AF_INET6, text.strip("[]").partition("%")[0])
    except (OSError, ValueError):
        return None


def _hex(text: str, width: int) -> str | None:
    """Hex digits in lower case, left-padded; a 64-bit trace id is the lower half of a 128-bit one. Zeros are no id."""
    plain = text.replace("-", "").lower()
    if len(plain) > width or not re.fullmatch(r"[0-9a-f]+", plain):
        return None
    return "" if plain.strip("0") == "" else plain.rjust(width, "0")


def _require(columns: Mapping[str, pa.Array], rows: int, refused: dict[int, str]) -> None:
    ts = columns.get("ts")
    missing = np.ones(rows, np.bool_) if ts is None else ~present(ts)
    for row in np.flatnonzero(missing).tolist():
        refused.setdefault(row, "ts is missing, expected a time (RFC 3339, or a number of seconds since 1970)")
    named = np.zeros(rows, np.bool_)
    for name in DESTINATIONS:
        if name in columns:
            absent = pa.scalar(b"\0" * 16, pa.binary(16)) if name == "destination_ip" else pa.scalar("")
            named |= pc.not_equal(columns[name], absent).to_numpy(zero_copy_only=False)
    for row in np.flatnonzero(~named).tolist():
        refused.setdefault(row, f"nothing names the destination, expected one of {', '.join(DESTINATIONS)}")


def _attributes(shape: Shape, refused: dict[int, str]) -> pa.MapArray:
    """The `attributes` object and the keys that are no column, as one map per row."""
    given = shape.columns.get("attributes")
    if given is None or given.text.null_count == len(given.text):
        return shape.extra
    maps: list[list[tuple[str, str]]] = []
    for row, (text, extra) in enumerate(zip(given.text.to_pylist(), shape.extra.to_pylist(), strict=True)):
        items: dict[str, str] = {}
        if text:
            try:
                items = {key: _attribute(value) for key, value in _OBJECT.decode(text).items() if value is not None}
            except (msgspec.DecodeError, RecursionError, UnicodeError):
                refused.setdefault(row, f"attributes is {text[:60]!r}, expected an object")
        maps.append(list({**items, **dict(extra)}.items()))
    return pa.array(maps, TEXT_MAP)


def _attribute(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return msgspec.json.encode(value).decode()


FORMAT = JsonFormat("calls_json", known=KNOWN, recognises=recognises, read=calls)
