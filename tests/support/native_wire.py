"""ClickHouse's native wire format: buffered reading, varints and strings, compressed frames, blocks and their columns.

A block carries no length, so reading one means walking its columns by type. `native_server` moves blocks between a
socket and chDB with this: the column bytes are the same on both sides and only the framing differs (block info, and one
"custom serialization" byte per column from revision 54454 on).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import lz4.block
import zstandard
from clickhouse_cityhash.cityhash import CityHash128

BLOCK_INFO = 51903
CUSTOM_SERIALIZATION = 54454

MAX_STRING_BYTES = 64 << 20
MAX_BLOCK_BYTES = 1 << 30
MAX_FRAME_BYTES = 256 << 20
MAX_COLUMNS = 10_000

LZ4, ZSTD, NONE = 0x82, 0x90, 0x02


class WireError(Exception):
    """The peer sent what the protocol does not allow, or what this server does not speak. `code` is ClickHouse's."""

    def __init__(self, message: str, code: int = 101) -> None:
        super().__init__(message)
        self.code = code


class Reader:
    """Bytes from `fill` (which returns b"" at the end), kept from `start` on until `drop` is called."""

    def __init__(self, fill: Callable[[], bytes], limit: int = MAX_BLOCK_BYTES) -> None:
        self._fill = fill
        self._limit = limit
        self.data = bytearray()
        self.pos = 0

    def ensure(self, end: int) -> None:
        """Have at least `end` bytes in `data`. Raises EOFError when the source ends before."""
        if end > self._limit:
            raise WireError(f"a block of more than {self._limit} bytes", 241)
        while len(self.data) < end:
            piece = self._fill()
            if not piece:
                raise EOFError
            self.data += piece

    def drop(self) -> None:
        """Forget what was read."""
        del self.data[: self.pos]
        self.pos = 0

    def skip(self, size: int) -> None:
        self.ensure(self.pos + size)
        self.pos += size

    def take(self, size: int) -> bytes:
        self.skip(size)
        return bytes(self.data[self.pos - size : self.pos])

    def unpack(self, code: str) -> int:
        """One little-endian number by its `struct` code."""
        form = struct.Struct("<" + code)
        return form.unpack(self.take(form.size))[0]

    def varint(self) -> int:
        value = shift = 0
        while True:
            self.ensure(self.pos + 1)
            byte = self.data[self.pos]
            self.pos += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise WireError("a varint of more than 64 bits")

    def binary(self) -> bytes:
        size = self.varint()
        if size > MAX_STRING_BYTES:
            raise WireError(f"a string of {size} bytes, at most {MAX_STRING_BYTES} are read", 131)
        return self.take(size)

    def text(self) -> str:
        return self.binary().decode("utf-8", "replace")

    def skip_strings(self, count: int) -> None:
        """Pass over `count` length-prefixed strings."""
        while count:
            data, pos, end = self.data, self.pos, len(self.data)
            while count and pos < end:
                size = data[pos]
                if size >= 0x80:
                    break
                pos += 1 + size
                count -= 1
            self.ensure(pos)
            self.pos = pos
            if count:
                self.skip(self.varint())
                count -= 1


def from_bytes(data: bytes) -> Reader:
    """A reader over what is already here."""
    pieces = iter((data,))
    return Reader(lambda: next(pieces, b""))


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def binary(value: bytes | str) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return varint(len(raw)) + raw


# --- compressed frames: checksum (16), method (1), size with this header (4), size of the content (4), content


def _checksum(framed: bytes) -> bytes:
    digest = CityHash128(framed)
    return struct.pack("<QQ", digest >> 64, digest & (2**64 - 1))


def read_frame(raw: Reader) -> bytes:
    """The content of the next compressed frame. Raises WireError when its checksum is wrong."""
    raw.drop()
    checksum = raw.take(16)
    header = raw.take(9)
    method, compressed_size, size = struct.unpack("<BII", header)
    if compressed_size < 9 or max(compressed_size, size) > MAX_FRAME_BYTES:
        raise WireError(f"a compressed frame of {compressed_size} bytes holding {size}", 271)
    body = raw.take(compressed_size - 9)
    if checksum != _checksum(header + body):
        raise WireError("the checksum of a compressed frame does not match", 40)
    if method == LZ4:
        return lz4.block.decompress(body, uncompressed_size=size)
    if method == ZSTD:
        return zstandard.ZstdDecompressor().decompress(body, max_output_size=size)
    if method == NONE:
        return body
    raise WireError(f"compression method {method:#x} is not spoken here", 89)


def frames(content: bytes, size: int = 1 << 20) -> Iterator[bytes]:
    """`content` as LZ4 frames of at most `size` bytes of content each."""
    for start in range(0, len(content), size):
        piece = content[start : start + size]
        body = lz4.block.compress(piece, store_size=False)
        framed = struct.pack("<BII", LZ4, len(body) + 9, len(piece)) + body
        yield _checksum(framed) + framed


# --- types: how many bytes a column takes

_WIDTHS = {
    **dict.fromkeys(("UInt8", "Int8", "Bool", "Enum8", "Nothing"), 1),
    **dict.fromkeys(("UInt16", "Int16", "Date", "Enum16", "BFloat16"), 2),
    **dict.fromkeys(("UInt32", "Int32", "Float32", "DateTime", "Date32", "IPv4", "Decimal32", "Time"), 4),
    **dict.fromkeys(("UInt64", "Int64", "Float64", "DateTime64", "Decimal64", "Time64"), 8),
    **dict.fromkeys(("UInt128", "Int128", "UUID", "IPv6", "Decimal128"), 16),
    **dict.fromkeys(("UInt256", "Int256", "Decimal256"), 32),
}
_NAMED = re.compile(r"(?:`(?:[^`\\]|\\.)*`|[A-Za-z_]\w*)\s+(?=[A-Z])")
_DICTIONARY_KEYS = 1 << 9
_GLOBAL_DICTIONARY = 1 << 8


@dataclass(frozen=True, slots=True)
class Layout:
    """How to pass over a column: `prefix` once, then `body` with the number of values."""

    prefix: Callable[[Reader], None]
    body: Callable[[Reader, int], None]


def split_type(text: str) -> tuple[str, list[str]]:
    """`Map(K, V)` as `("Map", ["K", "V"])`; quotes and nested parentheses are respected."""
    name, opened, inner = text.strip().partition("(")
    if not opened:
        return name, []
    if not inner.endswith(")"):
        raise WireError(f"type {text!r}: expected a closing parenthesis", 62)
    parts, depth, start, quote, index = [], 0, 0, "", 0
    body = inner[:-1]
    while index < len(body):
        char = body[index]
        if quote:
            if char == "\\":
                index += 1
            elif char == quote:
                quote = ""
        elif char in "'`\"":
            quote = char
        elif char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
        elif char == "," and depth == 0:
            parts.append(body[start:index].strip())
            start = index + 1
        index += 1
    if tail := body[start:].strip():
        parts.append(tail)
    return name, parts


@lru_cache(maxsize=4096)
def layout(text: str) -> Layout:
    """The layout of a type. Raises WireError (48, not implemented) for those without a fixed one."""
    name, parts = split_type(text)
    if name == "String":
        return Layout(_no_prefix, Reader.skip_strings)
    if name in _WIDTHS or name.startswith("Interval"):
        return _fixed(_WIDTHS.get(name, 8))
    if name == "FixedString":
        return _fixed(int(parts[0]))
    if name == "Decimal":
        precision = int(parts[0])
        return _fixed(4 if precision <= 9 else 8 if precision <= 18 else 16 if precision <= 38 else 32)
    if name == "SimpleAggregateFunction":
        return layout(parts[1])
    if name == "Nullable":
        return _nullable(layout(parts[0]))
    if name == "LowCardinality":
        inner_name, inner_parts = split_type(parts[0])
        return _low_cardinality(layout(inner_parts[0] if inner_name == "Nullable" else parts[0]))
    if name == "Array":
        return _array(layout(parts[0]))
    if name == "Map":
        return _array(_tuple([layout(parts[0]), layout(parts[1])]))
    if name in ("Tuple", "Nested"):
        element = _tuple([layout(_NAMED.sub("", part, count=1) if _NAMED.match(part) else part) for part in parts])
        return _array(element) if name == "Nested" else element
    raise WireError(f"type {text!r} is not spoken here", 48)


def _no_prefix(_: Reader) -> None:
    return None


def _fixed(width: int) -> Layout:
    return Layout(_no_prefix, lambda reader, count: reader.skip(width * count))


def _nullable(inner: Layout) -> Layout:
    def body(reader: Reader, count: int) -> None:
        reader.skip(count)
        inner.body(reader, count)

    return Layout(inner.prefix, body)


def _array(inner: Layout) -> Layout:
    def body(reader: Reader, count: int) -> None:
        if count:
            reader.skip(8 * (count - 1))
            inner.body(reader, reader.unpack("Q"))

    return Layout(inner.prefix, body)


def _tuple(elements: list[Layout]) -> Layout:
    if not elements:
        return _fixed(1)

    def prefix(reader: Reader) -> None:
        for element in elements:
            element.prefix(reader)

    def body(reader: Reader, count: int) -> None:
        for element in elements:
            element.body(reader, count)

    return Layout(prefix, body)


def _low_cardinality(keys: Layout) -> Layout:
    def prefix(reader: Reader) -> None:
        if (version := reader.unpack("Q")) != 1:
            raise WireError(f"LowCardinality serialization {version}, expected 1", 117)

    def body(reader: Reader, count: int) -> None:
        seen = 0
        while seen < count:
            flags = reader.unpack("Q")
            if flags & _GLOBAL_DICTIONARY or flags & 0xFF > 3:
                raise WireError(f"LowCardinality flags {flags:#x} are not spoken here", 117)
            if flags & _DICTIONARY_KEYS:
                keys.body(reader, reader.unpack("Q"))
            rows = reader.unpack("Q")
            if not 0 < rows <= count - seen:
                raise WireError(f"LowCardinality of {rows} rows where {count - seen} are left", 117)
            reader.skip(rows << (flags & 0xFF))
            seen += rows

    return Layout(prefix, body)


# --- blocks


@dataclass(frozen=True, slots=True)
class Block:
    """`rows` rows of columns (name, type, serialized values with their state prefix)."""

    rows: int = 0
    columns: tuple[tuple[bytes, bytes, bytes], ...] = ()

    def encode(self, revision: int) -> bytes:
        """As a peer of `revision` reads it; 0 is the file format `Native`."""
        out = bytearray()
        if revision >= BLOCK_INFO:
            out += b"\x01\x00\x02\xff\xff\xff\xff\x00"
        out += varint(len(self.columns)) + varint(self.rows)
        for name, type_name, values in self.columns:
            out += binary(name) + binary(type_name)
            if revision >= CUSTOM_SERIALIZATION:
                out.append(0)
            out += values
        return bytes(out)

    def header(self) -> Block:
        """The same columns without rows."""
        return Block(0, tuple((name, type_name, b"") for name, type_name, _ in self.columns))

    def typed(self, types: list[bytes]) -> Block:
        """The same values under other type names."""
        named = zip(self.columns, types, strict=True)
        return Block(self.rows, tuple((name, type_name, values) for (name, _, values), type_name in named))


def _text(type_name: bytes) -> str:
    try:
        return type_name.decode()
    except UnicodeDecodeError:
        raise WireError(f"a column's type {type_name!r} is not UTF-8") from None


def read_block(reader: Reader, revision: int) -> Block:
    """The next block as a peer of `revision` writes it; drops it from the reader."""
    reader.drop()
    if revision >= BLOCK_INFO:
        while field := reader.varint():
            if field not in (1, 2):
                raise WireError(f"block info field {field}, expected 1 or 2")
            reader.skip(1 if field == 1 else 4)
    width, rows = reader.varint(), reader.varint()
    if width > MAX_COLUMNS:
        raise WireError(f"a block of {width} columns, at most {MAX_COLUMNS} are read")
    columns: list[tuple[bytes, bytes, bytes]] = []
    for _ in range(width):
        name, type_name = reader.binary(), reader.binary()
        if revision >= CUSTOM_SERIALIZATION and reader.unpack("B"):
            raise WireError(f"column {name!r} comes in a custom serialization, which is not spoken here", 48)
        start = reader.pos
        if rows:
            way = layout(_text(type_name))
            way.prefix(reader)
            way.body(reader, rows)
        columns.append((name, type_name, bytes(reader.data[start : reader.pos])))
    reader.drop()
    return Block(rows, tuple(columns))


def read_blocks(data: bytes) -> Iterator[Block]:
    """Every block of a `FORMAT Native` text."""
    if not data:
        return
    reader = from_bytes(data)
    reader.ensure(len(data))
    while len(reader.data) > reader.pos:
        yield read_block(reader, 0)
