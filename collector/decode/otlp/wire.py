"""What a protobuf message is, seen from its bytes: which OTLP signal, if any.

The three requests have the same outer shape (resources > scopes > records); only a record tells them apart, by its wire
types: a log record begins with a fixed64 time, a span has fixed64 times in fields 7 and 8, a metric has only
length-delimited fields and its data in one of five of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from collector.decode.otlp.schema import Signal

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_RECORDS_TO_TRY = 8


class NotProtobuf(ValueError):
    """The bytes break protobuf's wire format."""


def _varint(data: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise NotProtobuf
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, at
        shift += 7


def fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(field number, wire type, start, end of the value) of the message in `data[at:end]`.

    Raises:
        NotProtobuf: where the bytes stop being fields.
    """
    while at < end:
        tag, at = _varint(data, at)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == _BYTES:
            size, start = _varint(data, at)
        elif wire_type == _VARINT:
            start = at
            size = _varint(data, at)[1] - at
        elif wire_type == _FIXED64:
            size, start = 8, at
        elif wire_type == _FIXED32:
            size, start = 4, at
        else:
            raise NotProtobuf
        at = start + size
        if number == 0 or at > end:
            raise NotProtobuf
        yield number, wire_type, start, at


def _inner(data: bytes, number: int, at: int, end: int) -> Iterator[tuple[int, int]]:
    for found, wire_type, start, stop in fields(data, at, end):
        if found == number:
            if wire_type != _BYTES:
                raise NotProtobuf
            yield start, stop


def _records(data: bytes) -> Iterator[tuple[int, int]]:
    for resource in _inner(data, 1, 0, len(data)):
        for scope in _inner(data, 2, *resource):
            yield from _inner(data, 2, *scope)


def _signal_of_record(data: bytes, at: int, end: int) -> Signal | None:
    seen: dict[int, tuple[int, int]] = {}
    for number, wire_type, start, stop in fields(data, at, end):
        seen.setdefault(number, (wire_type, stop - start))
    types = {number: wire_type for number, (wire_type, _) in seen.items()}
    if types.get(1) == _FIXED64 or types.get(11) == _FIXED64 or types.get(8) == _FIXED32 or types.get(2) == _VARINT:
        return "logs"
    if _FIXED64 in (types.get(7), types.get(8)) or types.get(6) == _VARINT:
        return "traces"
    if seen.get(1) == (_BYTES, 16) and seen.get(2) == (_BYTES, 8):
        return "traces"  # ids, and no time
    if 1 in types and not {5, 7, 9, 10, 11}.isdisjoint(types):
        return "metrics"
    if seen.get(9) == (_BYTES, 16) or (5 in types and 1 not in types):
        return "logs"  # a body alone
    return "metrics" if 1 in types else None


def signal_of(data: bytes) -> Signal | None:
    """Which signal `data` carries; None for a request without records (an empty one included).

    Raises:
        NotProtobuf: when `data` has not the shape of an OTLP request.
    """
    if data and not any(True for _ in _inner(data, 1, 0, len(data))):
        raise NotProtobuf
    for tried, record in enumerate(_records(data)):
        if (signal := _signal_of_record(data, *record)) is not None:
            return signal
        if tried >= _RECORDS_TO_TRY:
            break
    return None
