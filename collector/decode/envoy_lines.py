"""From text columns by operator to an operator batch: what Envoy's JSON and text formats have in common.

What the proxy itself wrote (time, status, bytes, duration) must be right, or the line is a dead letter. What a peer can
choose (headers, names, a gRPC status) is never a reason to lose a call: a value that cannot be read is absent, and
stays in `raw`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from collector.decode.limits import LONGEST_MS
from collector.decode.operators import OPERATORS, operator_batch
from collector.decode.values import absent_to_null, grpc_statuses, numbers, present, times, unsigned

Mask = npt.NDArray[np.bool_]
Refused = list[tuple[int, str]]

_LARGEST_UINT64 = (1 << 63) - 1


def typed(text: Mapping[str, pa.StringArray]) -> tuple[dict[str, pa.Array], dict[int, str]]:
    """Columns in the types of `OPERATORS` from text by operator, and rows to refuse with the reason.

    `-` and the empty string are absent. `start_time` must be there.
    """
    columns: dict[str, pa.Array] = {}
    refused: dict[int, str] = {}
    for name, given in text.items():
        values = absent_to_null(given)
        wrong: Mask | None = None
        expected = ""
        if name == "start_time":
            columns[name], wrong = times(values)
            wrong |= ~present(values)
            expected = "a time within 1971..2100 (RFC 3339, or a number of seconds since 1970)"
        elif name == "response_code":
            columns[name], wrong = unsigned(values, pa.uint16(), 999, fractions=False)
            expected = "a status 0..999"
        elif name in ("bytes_received", "bytes_sent"):
            columns[name], wrong = unsigned(values, pa.uint64(), _LARGEST_UINT64)
            expected = "a count of bytes, not negative"
        elif name == "duration_ms":
            columns[name], wrong = _durations(values)
            expected = "milliseconds, not negative"
        elif name == "upstream_service_time_ms":
            columns[name], _ = _durations(values)
        elif name == "grpc_status":
            columns[name] = grpc_statuses(values)
        elif name == "attempt_count":
            attempts, _ = unsigned(values, pa.uint64(), _LARGEST_UINT64)
            columns[name] = pc.min_element_wise(attempts, pa.scalar(65535, pa.uint64()), skip_nulls=False).cast(
                OPERATORS.field(name).type
            )
        else:
            columns[name] = values
        if wrong is not None and wrong.any():
            for row in np.flatnonzero(wrong).tolist():
                refused.setdefault(row, f"{name} is {_shown(given[row].as_py())}, expected {expected}")
    return columns, refused


def _durations(text: pa.StringArray) -> tuple[pa.DoubleArray, Mask]:
    values, wrong = numbers(text)
    inside = pc.and_(pc.greater_equal(values, 0.0), pc.less_equal(values, LONGEST_MS))
    inside = inside.fill_null(True).to_numpy(zero_copy_only=False)
    if not inside.all():
        wrong |= ~inside
        values = pc.if_else(pa.array(inside), values, pa.scalar(None, pa.float64()))
    return values, wrong


def _shown(text: str | None) -> str:
    return "missing" if text is None else repr(text[:60])


def keep_rows(
    columns: Mapping[str, pa.Array], rows: int, refused: Mapping[int, str]
) -> tuple[dict[str, pa.Array], int, npt.NDArray[np.int64]]:
    """The columns without the refused rows, how many are left, and which."""
    kept = np.arange(rows)
    if not refused:
        return dict(columns), rows, kept
    mask = np.ones(rows, np.bool_)
    mask[list(refused)] = False
    chosen = pa.array(mask)
    return {name: column.filter(chosen) for name, column in columns.items()}, int(mask.sum()), kept[mask]


def build(
    text: Mapping[str, pa.StringArray], constants: Mapping[str, pa.Array], rows: int
) -> tuple[pa.RecordBatch, dict[int, str]]:
    """An operator batch of `rows` lines from text by operator and ready columns (`carried`, `raw`, ...).

    Returns:
        the batch of the lines that are right, and the other rows with the reason.
    """
    columns, refused = typed(text)
    everything, left, _ = keep_rows({**columns, **constants}, rows, refused)
    return operator_batch(everything, left), refused
