"""Inflating what strangers sent, never beyond a limit: gzip, and the codecs of Kafka's record batches.

A megabyte can inflate to a gigabyte. Nothing here holds more than the limit and one piece, whatever the input says
about its size.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import lz4.frame
import snappy
import zstandard

PIECE_BYTES = 1 << 17
XERIAL_MAGIC = b"\x82SNAPPY\x00"
XERIAL_HEADER_BYTES = 16
"""Magic, then two numbers of a version that differ in byte order between producers."""
_CODEC_ERRORS = (
    EOFError,
    RuntimeError,
    ValueError,
    struct.error,
    zlib.error,
    zstandard.ZstdError,
    snappy.UncompressError,
)

Data = bytes | memoryview


class TooLarge(Exception):
    """It inflates to more than the limit."""


class Broken(Exception):
    """It is not what its codec writes, or it ends early."""


def gunzip(data: Data, limit: int) -> bytes:
    """gzip of one or several members.

    Raises:
        TooLarge: more than `limit` bytes.
        Broken: no gzip, or not all of it.
    """
    parts: list[bytes] = []
    left, rest = limit, data
    while len(rest):
        member = zlib.decompressobj(wbits=31)
        try:
            parts.append(member.decompress(rest, left + 1))
        except zlib.error as error:
            raise Broken(str(error)) from None
        left -= len(parts[-1])
        if left < 0:
            raise TooLarge
        if not member.eof:
            raise Broken("it ends early")
        rest = member.unused_data
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _gzip(data: memoryview, limit: int) -> bytes:
    return gunzip(data, limit)


def _zstd(data: memoryview, limit: int) -> bytes:
    parts: list[bytes] = []
    left = limit
    with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as reader:
        while piece := reader.read(PIECE_BYTES):
            left -= len(piece)
            if left < 0:
                raise TooLarge
            parts.append(piece)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _lz4(data: memoryview, limit: int) -> bytes:
    parts: list[bytes] = []
    left, rest = limit, bytes(data)
    # Each further piece of a frame copies what is left of the input: few pieces for what is large.
    piece_bytes = max(PIECE_BYTES, 8 * len(rest))
    while rest:
        frame = lz4.frame.LZ4FrameDecompressor()
        while not frame.eof:
            piece = frame.decompress(rest, max_length=min(piece_bytes, left + 1))
            left -= len(piece)
            if left < 0:
                raise TooLarge
            if not piece and not frame.eof:
                raise Broken("it ends early")
            parts.append(piece)
            rest = b""
        rest = frame.unused_data or b""
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _snappy(data: memoryview, limit: int) -> bytes:
    if bytes(data[: len(XERIAL_MAGIC)]) != XERIAL_MAGIC or len(data) < XERIAL_HEADER_BYTES:
        return _snappy_block(data, limit)
    parts: list[bytes] = []
    left, at = limit, XERIAL_HEADER_BYTES
    while at < len(data):
        (size,) = struct.unpack_from("!i", data, at)
        at += 4
        if not 0 < size <= len(data) - at:
            raise Broken("a block is longer than the rest")
        parts.append(_snappy_block(data[at : at + size], left))
        left -= len(parts[-1])
        at += size
    return b"".join(parts)


def _snappy_block(block: memoryview, limit: int) -> bytes:
    # It begins with its own size: groups of seven bits, the lowest first. The codec reserves as much.
    size = shift = 0
    for byte in block[:5]:
        size |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            break
    if size > limit:
        raise TooLarge
    inflated: Any = snappy.uncompress(bytes(block))
    return inflated


_INFLATE: Mapping[int, Callable[[memoryview, int], bytes]] = {1: _gzip, 2: _snappy, 3: _lz4, 4: _zstd}
"""By the number of the codec in a record batch's attributes (Kafka protocol, "Record Batch")."""


def inflate(data: memoryview, codec: int, limit: int) -> bytes:
    """The records of a compressed record batch.

    Raises:
        TooLarge: more than `limit` bytes.
        Broken: an unknown codec, or not what it writes.
    """
    if codec not in _INFLATE:
        raise Broken(f"unknown codec {codec}")
    try:
        return _INFLATE[codec](data, limit)
    except _CODEC_ERRORS as error:
        raise Broken(str(error)) from None
