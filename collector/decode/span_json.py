"""Cells of spans in JSON: ids, times and durations from their text, and which spans cannot be used."""

from __future__ import annotations

import binascii
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from collector.decode.limits import EARLIEST_US, LATEST_US
from collector.decode.line_format import Refused
from collector.decode.otlp.text import map_distinct, offsets_of
from collector.decode.spans import Positions
from collector.decode.values import unsigned
from collector.trace_ids import hex_ids

Mask = npt.NDArray[np.bool_]
_EPOCH = datetime(1970, 1, 1)
_LONGEST_US = (1 << 63) - 1


class Refusals:
    """Rows of one shape that cannot be used, each with the first reason found."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._reasons: dict[int, str] = {}

    def add(self, wrong: Mask, name: str, text: pa.StringArray, expected: str) -> None:
        """Refuse the rows under `wrong`: key `name` holds `text`, which is not what was expected."""
        for row in np.flatnonzero(wrong).tolist():
            value = text[row].as_py()
            said = "missing" if value is None else repr(value[:60])
            self._reasons.setdefault(row, f"{name} is {said}, expected {expected}")

    def sound(self, columns: Mapping[str, pa.Array], rows: Positions) -> tuple[pa.RecordBatch, Refused]:
        """The other rows, and the refused ones by their place in `rows`."""
        batch = pa.RecordBatch.from_pydict(dict(columns))
        if self._reasons:
            kept = np.ones(self._rows, np.bool_)
            kept[list(self._reasons)] = False
            batch = batch.filter(pa.array(kept))
        return batch, [(int(rows[row]), reason) for row, reason in sorted(self._reasons.items())]


def id_column(text: pa.StringArray, width: int) -> pa.StringArray:
    """Ids as `width` lower-case hex digits, from hex of at most that width or base64; `""` where there is none."""
    encoded = pc.ends_with(text, "=").fill_null(False)
    if pc.any(encoded).as_py():
        text = pc.if_else(encoded, map_distinct(pc.if_else(encoded, text, None), _from_base64, pa.string()), text)
    return hex_ids(text, width)


def _from_base64(text: str) -> str:
    try:
        return binascii.a2b_base64(text, strict_mode=True).hex()
    except ValueError:
        return ""


def required(refusals: Refusals, name: str, text: pa.StringArray, width: int) -> pa.StringArray:
    """`id_column` of an id that a span cannot be without."""
    ids = id_column(text, width)
    wrong = pc.equal(ids, "").to_numpy(zero_copy_only=False)
    refusals.add(wrong, name, text, f"up to {width} hex digits, not all zero")
    return ids


def start_column(text: pa.StringArray) -> pa.Int64Array:
    """Microseconds since 1970 within 1971..2099; null for what is none."""
    values, _ = unsigned(text, pa.uint64(), LATEST_US - 1)
    micros = values.cast(pa.int64())
    return pc.if_else(pc.greater_equal(micros, EARLIEST_US), micros, None)


def number_column(text: pa.StringArray) -> pa.UInt64Array:
    """Durations in µs; 0 for null and for what is no number, or less than 0."""
    values, _ = unsigned(text, pa.uint64(), _LONGEST_US)
    return values.fill_null(0)


def event_times(microseconds: pa.Array) -> pa.StringArray:
    """Times (µs since 1970) as they stand in `events`."""
    return pc.replace_substring(microseconds.cast(pa.timestamp("us", "UTC")).cast(pa.string()), " ", "T")


def event_time(microseconds: int) -> str:
    """One time (µs since 1970) as it stands in `events`; `""` outside 1971..2099."""
    if not EARLIEST_US <= microseconds < LATEST_US:
        return ""
    return (_EPOCH + timedelta(microseconds=microseconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def text_map(counts: npt.NDArray[np.int64], keys: list[str], values: list[str]) -> pa.MapArray:
    """One text map for each row from flat lists."""
    return pa.MapArray.from_arrays(
        pa.array(offsets_of(counts), pa.int32()), pa.array(keys, pa.string()), pa.array(values, pa.string())
    )


def json_value(text: str) -> Any:
    """A JSON value that strict or lenient reading takes; None where neither does. All its text can be stored."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        pass
    try:
        return _storable(json.loads(text, strict=False))
    except (ValueError, RecursionError):
        return None


def _storable(value: Any) -> Any:
    """Lone surrogates cannot be stored as UTF-8: they become backslash escapes."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    return value
