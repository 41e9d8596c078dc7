"""Protobuf's integers, written."""

from __future__ import annotations

_MASK = (1 << 64) - 1


def varint(number: int) -> bytes:
    """An integer in base 128, low digits first; a negative one is written as its two's complement of 64 bits."""
    if 0 <= number < 1 << 14:
        return _SMALL[number]
    number &= _MASK
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


_SMALL = tuple(
    bytes((number,)) if number < 0x80 else bytes((number & 0x7F | 0x80, number >> 7)) for number in range(1 << 14)
)  # lengths and tags are nearly always this small
