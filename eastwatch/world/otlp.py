"""Protobuf framing for OTLP: constant parts are encoded once with opentelemetry-proto, the rest is appended.

Protocol Buffers guarantee that the concatenation of two encoded messages is the encoding of both merged, so a record is
the bytes of what never changes followed by its own fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

Value = str | int | float | bool


def attributes(values: Mapping[str, Value]) -> list[KeyValue]:
    """Attributes as OTLP has them."""
    return [KeyValue(key=key, value=_any(value)) for key, value in values.items()]


@lru_cache(maxsize=65_536)
def attribute_field(number: int, key: str, value: Value) -> bytes:
    """One attribute as repeated field `number` of a record."""
    return field(number, KeyValue(key=key, value=_any(value)).SerializeToString())


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited field: tag, length, payload."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def fields(number: int, payloads: Iterable[bytes]) -> bytes:
    """The same field once for each payload."""
    tag = varint(number << 3 | 2)
    parts: list[bytes] = []
    for payload in payloads:
        parts += (tag, varint(len(payload)), payload)
    return b"".join(parts)


def varint(value: int) -> bytes:
    """A non-negative integer in base 128, low digits first."""
    if value < 0x80:
        return _SMALL[value]
    digits = bytearray()
    while value >= 0x80:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)


_SMALL = [bytes((i,)) for i in range(128)]


def _any(value: Value) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    return AnyValue(string_value=value)
