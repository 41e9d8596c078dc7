"""Reading many messages at once although some are broken, and saying which record of which message is unusable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
from google.protobuf.message import DecodeError

from collector.contract import DeadLetter
from collector.decode.otlp.records import Records
from collector.decode.otlp.schema import Signal, new_message, to_arrow, to_message

MAX_LETTERS = 1000
"""A message with more unusable records than this gets one more letter for all the rest, with the whole message."""

MAX_RESOURCE_BYTES = 16384
"""A larger resource is left out of the dead letters of its records."""


def read(signal: Signal, values: pa.BinaryArray) -> tuple[pa.ListArray, list[int], dict[int, str]]:
    """All messages that can be read, their indices in `values`, and for each other one what was wrong.

    One call when all is well; a broken message is searched by halves.
    """
    parts: list[pa.ListArray] = []
    good: list[int] = []
    failed: dict[int, str] = {}
    stack = [(0, len(values))]
    while stack:
        first, end = stack.pop()
        try:
            parts.append(to_arrow(signal, values.slice(first, end - first)))
            good.extend(range(first, end))
        except ValueError as error:
            if end - first == 1:
                failed[first] = str(error)
            else:
                middle = (first + end) // 2
                stack += [(middle, end), (first, middle)]
    whole = parts[0] if len(parts) == 1 else pa.concat_arrays(parts) if parts else to_arrow(signal, values.slice(0, 0))
    return whole, good, failed


def unusable(
    records: Records, values: pa.BinaryArray, index: list[int], wrong: Mapping[int, str], name: str
) -> Iterator[DeadLetter]:
    """A dead letter for each row in `wrong` (row -> reason).

    Its payload is a request with that record alone, which can be sent again once mended.

    Args:
        records: all rows of the messages.
        values: the messages that `records.message` counts.
        index: each message's index in the batch.
        wrong: row -> reason.
        name: the format.
    """
    first_row = np.searchsorted(records.message, np.arange(len(values) + 1))
    by_message: dict[int, list[int]] = {}
    for row in wrong:
        by_message.setdefault(int(records.message[row]), []).append(row)
    for message, rows in by_message.items():
        payload: bytes = values[message].as_py()
        start = int(first_row[message])
        numbers = [row - start for row in rows]
        for number, row, cut in zip(numbers, rows, _cut(records.signal, payload, numbers[:MAX_LETTERS]), strict=False):
            yield DeadLetter(index[message], number, cut, wrong[row], name)
        if rest := rows[MAX_LETTERS:]:
            reason = f"{len(rest)} more records of this message cannot be used, the first of them: {wrong[rest[0]]}"
            yield DeadLetter(index[message], rest[0] - start, payload, reason, name)


def _cut(signal: Signal, payload: bytes, numbers: list[int]) -> Iterator[bytes]:
    """One request for each of the records `numbers` (ascending) of `payload`, with its resource and scope."""
    try:
        message = to_message(signal, payload)
    except DecodeError:
        for _ in numbers:
            yield payload
        return
    wanted = iter(numbers)
    number = next(wanted, None)
    at = 0
    for resource in message.resources:
        keep_resource = resource.resource.ByteSize() <= MAX_RESOURCE_BYTES
        for scope in resource.scopes:
            end = at + len(scope.records)
            while number is not None and number < end:
                alone = new_message(signal)
                inner = alone.resources.add()
                if keep_resource:
                    inner.resource.CopyFrom(resource.resource)
                within = inner.scopes.add()
                within.scope.CopyFrom(scope.scope)
                within.records.add().CopyFrom(scope.records[number - at])
                yield alone.SerializeToString()
                number = next(wanted, None)
            at = end
