"""From text columns by field to a batch of connections: what ztunnel's text and JSON lines have in common.

What ztunnel itself measured (time, side, bytes, duration) must be right, or the line is a dead letter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from collector.ambient.connections import CONNECTIONS, FIELDS, column_of
from collector.decode.limits import LONGEST_MS
from collector.decode.values import present, times, unsigned

_DURATION = re.compile(r"(\d{1,18}(?:\.\d{1,9})?)(ns|us|µs|ms|s|m|h)?", re.ASCII)
_MICROSECONDS = {"ns": 1e-3, "us": 1.0, "µs": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6, "h": 3600e6, None: 1e3}
_LARGEST = (1 << 63) - 1


def build(
    text: Mapping[str, pa.StringArray], constants: Mapping[str, pa.Array], rows: int
) -> tuple[pa.RecordBatch, dict[int, str]]:
    """A batch with schema `CONNECTIONS` from text by field (`time` and `message` among them) and ready columns.

    Returns:
        the batch of the lines that are right, and the other rows with the reason.
    """
    refused: dict[int, str] = {}

    def refuse(wrong: np.ndarray, field: str, expected: str) -> None:
        for row in np.flatnonzero(wrong).tolist():
            value = text[field][row].as_py() if field in text else None
            shown = "missing" if value is None else repr(value[:60])
            refused.setdefault(row, f"{field} is {shown}, expected {expected}")

    def of(field: str) -> pa.StringArray:
        return text[field] if field in text else pa.nulls(rows, pa.string())

    columns: dict[str, pa.Array] = {column_of(field): of(field) for field in FIELDS}
    columns["message"] = of("message")
    time, wrong = times(of("time"))
    refuse(wrong | ~present(time), "time", "a time within 1971..2100 (RFC 3339)")
    columns["time"] = time
    known = np.isin(columns["direction"].to_numpy(zero_copy_only=False).astype(str), ("inbound", "outbound"))
    refuse(~known, "direction", "inbound or outbound")
    for field in ("bytes_sent", "bytes_recv"):
        columns[field], wrong = unsigned(of(field), pa.uint64(), _LARGEST, fractions=False)
        refuse(wrong, field, "a count of bytes, not negative")
    columns["duration_us"], wrong = _durations(of("duration"))
    refuse(wrong, "duration", "a time such as 13ms")
    columns |= constants
    batch = pa.RecordBatch.from_arrays(
        [columns.get(field.name, pa.nulls(rows, field.type)) for field in CONNECTIONS], schema=CONNECTIONS
    )
    if refused:
        kept = np.ones(rows, np.bool_)
        kept[list(refused)] = False
        batch = batch.filter(pa.array(kept))
    return batch, refused


def _durations(text: pa.StringArray) -> tuple[pa.UInt64Array, np.ndarray]:
    """Microseconds, once per distinct text."""
    distinct = text.dictionary_encode()
    values = [_duration(value) for value in distinct.dictionary.to_pylist()]
    found = pa.array(values, pa.uint64()).take(distinct.indices)
    return found, present(text) & ~present(found)


def _duration(text: str) -> int | None:
    match = _DURATION.fullmatch(text)
    if match is None:
        return None
    value = float(match[1]) * _MICROSECONDS[match[2]]
    return round(value) if value <= LONGEST_MS * 1e3 else None
