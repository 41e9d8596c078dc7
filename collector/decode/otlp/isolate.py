"""Reading many messages at once although some are broken, and saying which record of which message is unusable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from google.protobuf.message import DecodeError

from collector.contract import DeadLetter
from collector.decode.otlp.records import Records
from collector.decode.otlp.schema import new_message, to_message

MAX_LETTERS = 1000
"""A message with more unusable records than this gets one more letter for all the rest, with the whole message."""

MAX_RESOURCE_BYTES = 16384
"""A larger resource or scope is left out of the dead letters of its records."""

_GROWTH = 4
"""The dead letters of one message together hold at most this many times its bytes (and a little)."""


def read(reader: Callable[[pa.BinaryArray], pa.Array], values: pa.BinaryArray) -> tuple[Any, list[int], dict[int, str]]:
    """All messages that `reader` can read, their indices in `values`, and for each other one what was wrong.

    One call when all is well; a broken message is searched by halves.

    Args:
        reader: takes messages, gives as many values; raises ValueError when it cannot read one of them.
        values: the messages.
    """
    parts: list[Any] = []
    good: list[int] = []
    failed: dict[int, str] = {}
    stack = [(0, len(values))]
    while stack:
        first, end = stack.pop()
        try:
            parts.append(reader(values.slice(first, end - first)))
            good.extend(range(first, end))
        except ValueError as error:
            if end - first == 1:
                failed[first] = str(error)
            else:
                middle = (first + end) // 2
                stack += [(middle, end), (first, middle)]
    whole = parts[0] if len(parts) == 1 else pa.concat_arrays(parts) if parts else reader(values.slice(0, 0))
    return whole, good, failed


def unusable(records: Records, values: pa.BinaryArray, index: list[int], name: str) -> Iterator[DeadLetter]:
    """A dead letter for each row that has any defect, with the first of them as its reason.

    Its payload is a request with that record alone, which can be sent again once mended.

    Args:
        records: all rows of the messages.
        values: the messages that `records.message` counts.
        index: each message's index in the batch.
        name: the format.
    """
    wrong: dict[int, str] = {}
    for reason, rows in records.wrong.items():
        for row in np.flatnonzero(rows).tolist():
            wrong.setdefault(row, reason)
    first_row = np.searchsorted(records.message, np.arange(len(values)))
    by_message: dict[int, list[int]] = {}
    for row in sorted(wrong):
        by_message.setdefault(int(records.message[row]), []).append(row)
    for message, rows in by_message.items():
        payload: bytes = values[message].as_py()
        budget = _GROWTH * len(payload) + MAX_RESOURCE_BYTES
        cuts = _cut(records, payload, rows[:MAX_LETTERS])
        told = 0
        while told < len(rows) and budget > 0 and (cut := next(cuts, None)) is not None:
            row = rows[told]
            yield DeadLetter(index[message], row - int(first_row[message]), cut, wrong[row], name)
            told += 1
            budget -= len(cut)
        if rest := rows[told:]:
            reason = f"{len(rest)} more records of this message cannot be used, the first of them: {wrong[rest[0]]}"
            yield DeadLetter(index[message], rest[0] - int(first_row[message]), payload, reason, name)


def _cut(records: Records, payload: bytes, rows: Sequence[int]) -> Iterator[bytes]:
    """One request for each of `rows` (ascending, all of the message `payload`), with its resource and scope."""
    try:
        message = to_message(records.signal, payload)
    except DecodeError:
        return
    wanted = iter(rows)
    row = next(wanted, None)
    at = 0
    for resource in message.resources:
        for scope in resource.scopes:
            end = at + len(scope.records)
            while row is not None and records.record[row] < end:
                alone = new_message(records.signal)
                outer = alone.resources.add()
                inner = outer.scopes.add()
                if resource.resource.ByteSize() <= MAX_RESOURCE_BYTES:
                    outer.resource.CopyFrom(resource.resource)
                if scope.scope.ByteSize() <= MAX_RESOURCE_BYTES:
                    inner.scope.CopyFrom(scope.scope)
                record = scope.records[int(records.record[row]) - at]
                if records.point is None:
                    inner.records.add().CopyFrom(record)
                else:
                    _copy_point(record, inner.records.add(), int(records.point[row]))
                yield alone.SerializeToString()
                row = next(wanted, None)
            at = end


def _copy_point(metric: Any, to: Any, point: int) -> None:
    """`metric` with one of its points only."""
    to.name, to.unit = metric.name, metric.unit
    for field, data in metric.ListFields():
        if field.message_type is None or point >= len(data.points):
            continue
        copy = getattr(to, field.name)
        for setting, value in data.ListFields():
            if setting.name != "points":
                setattr(copy, setting.name, value)
        copy.points.add().CopyFrom(data.points[point])
