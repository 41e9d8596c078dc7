"""The rows of one signal before they are split into sound ones and dead letters, and what all signals share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from collector.decode.limits import Limits
from collector.decode.otlp.attributes import Attributes
from collector.decode.otlp.schema import Signal

Rows = npt.NDArray[np.int32]

_1971 = np.uint64(31_536_000 * 10**9)
_2100 = np.uint64(4_102_444_800 * 10**9)


@dataclass(frozen=True, slots=True)
class Records:
    """Rows of one signal, in the order of the messages.

    Attributes:
        signal: the signal.
        message: the message of each row.
        columns: columns of equal length.
        wrong: for each defect, which rows have it.
        record: each row's record in its message, from 0; for metrics a record is a metric with many rows.
        point: each row's data point in its record, for metrics.
    """

    signal: Signal
    message: Rows
    columns: Mapping[str, pa.Array]
    wrong: Mapping[str, npt.NDArray[np.bool_]]
    record: Rows
    point: Rows | None = None


def places(owner: Rows) -> Rows:
    """Each row's place among those of the same owner, from 0; equal owners stand together, ascending."""
    return (np.arange(len(owner)) - np.searchsorted(owner, owner)).astype(np.int32)


def in_range(nanoseconds: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Which times (UNIX ns) lie in 1971..2099; 0 (not given) does not."""
    return (nanoseconds >= _1971) & (nanoseconds < _2100)


def microseconds(nanoseconds: npt.NDArray[np.uint64]) -> pa.TimestampArray:
    """UNIX nanoseconds as UTC microseconds, rounded down."""
    return pa.array((nanoseconds // np.uint64(1000)).astype(np.int64), pa.timestamp("us", "UTC"))


def too_many(attributes: Attributes, limits: Limits) -> dict[str, npt.NDArray[np.bool_]]:
    """The defect of records with more attributes than `limits` allow."""
    return {f"has more than {limits.keys} attributes": attributes.counts > limits.keys}
