"""Columns of ClickHouse's native protocol, read into and written from Arrow without a Python loop over rows.

Layouts follow ClickHouse's `Serialization*` classes and its documentation of the Native format. A column is a prefix
(LowCardinality's version, for each such part) and then its data:

- numbers, dates and addresses: their little-endian bytes; String: each value behind its length as LEB128
- Nullable: one byte a row (1 = null), then the values
- Array: the end offset of each row as UInt64, then the elements of all rows; Map: the same with keys, then values
- LowCardinality: flags and key width, the dictionary, the keys
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage.arrow_types import result_type
from storage.conform import default, fit
from storage.errors import BadBatch, QueryFailed
from storage.type_names import elements, split


class Source(Protocol):
    """What the driver's buffered readers can do."""

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes."""
        ...

    def read_one(self) -> int:
        """One byte."""
        ...

    def read_strings_arrow(self, count: int) -> tuple[bytes, bytes]:
        """`count` strings as int64 offsets (count + 1 of them) and their bytes joined."""
        ...


_LOW_CARDINALITY_VERSION = 1
_HAS_ADDITIONAL_KEYS = 1 << 9
_NEEDS_UPDATE = 1 << 10
_KEYS = (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())
_WIRE_DATES = {"Date": pa.uint16(), "Date32": pa.int32(), "DateTime": pa.uint32(), "DateTime64": pa.int64()}
_SPARSE = 1
_END_OF_GRANULE = 1 << 62


def read_column(source: Source, kind: str, rows: int, *, custom: bool = False) -> pa.Array:
    """One column of `rows` values. `custom` is the flag before it that other serializations may follow.

    Raises:
        QueryFailed: a type, or a serialization, that this reader does not know.
    """
    sparse = custom and _read_kinds(source, kind)
    if rows == 0:
        return default(_known(kind), 0)
    _read_prefix(source, kind)
    if sparse:
        return _read_sparse(source, kind, rows)
    return _read(source, kind, rows)


def _known(kind: str) -> pa.DataType:
    try:
        return result_type(kind)
    except (KeyError, ValueError, IndexError):
        raise QueryFailed(
            f"results of type {kind} cannot be read; cast it in the statement, e.g. toString(...)"
        ) from None


def _read_kinds(source: Source, kind: str) -> bool:
    """Whether the column is sparse; a Tuple has one mark for itself and one for each element."""
    mark = source.read_one()
    name, _ = split(kind)
    marks = [mark] + [source.read_one() for _ in (elements(kind) if name == "Tuple" else ())]
    if any(mark not in (0, _SPARSE) for mark in marks) or (len(marks) > 1 and any(marks)):
        raise QueryFailed(f"the server sent {kind} in an unknown serialization ({marks})")
    return mark == _SPARSE


def _read_prefix(source: Source, kind: str) -> None:
    for _ in _low_cardinalities(kind):
        version = struct.unpack("<Q", source.read(8))[0]
        if version != _LOW_CARDINALITY_VERSION:
            raise QueryFailed(f"the server sent {kind} in an unknown version ({version})")


def _low_cardinalities(kind: str) -> Iterator[str]:
    """The LowCardinality parts of a type, in the order of their prefixes."""
    name, arguments = split(kind)
    if name == "LowCardinality":
        yield kind
    elif name in ("Array", "Nullable", "Map"):
        for argument in arguments:
            yield from _low_cardinalities(argument)
    elif name == "SimpleAggregateFunction":
        yield from _low_cardinalities(arguments[1])
    elif name == "Tuple":
        for _, element in elements(kind):
            yield from _low_cardinalities(element)


def _read(source: Source, kind: str, rows: int, nulls: pa.Buffer | None = None) -> pa.Array:
    name, arguments = split(kind)
    if name == "SimpleAggregateFunction":
        return _read(source, arguments[1], rows)
    if name == "Nullable":
        return _read(source, arguments[0], rows, _validity(source.read(rows)))
    if name == "LowCardinality":
        return _read_low_cardinality(source, arguments[0], rows)
    if name == "Array":
        offsets, count = _read_offsets(source, rows)
        values = _read(source, arguments[0], count)
        return pa.ListArray.from_arrays(offsets, values, pa.list_(values.type))
    if name == "Map":
        offsets, count = _read_offsets(source, rows)
        keys, values = _read(source, arguments[0], count), _read(source, arguments[1], count)
        return pa.MapArray.from_arrays(offsets, keys, values, pa.map_(keys.type, values.type))
    if name == "Tuple":
        parts = elements(kind)
        return pa.StructArray.from_arrays(
            [_read(source, element, rows) for _, element in parts], [field for field, _ in parts]
        )
    if name == "String":
        return _read_strings(source, rows, nulls)
    if name == "Nothing":
        source.read(rows)
        return pa.nulls(rows)
    return _read_fixed(source, kind, rows, nulls)


def _validity(marks: bytes) -> pa.Buffer:
    return pa.py_buffer(np.packbits(np.frombuffer(marks, np.uint8) == 0, bitorder="little"))


def _read_offsets(source: Source, rows: int) -> tuple[pa.Array, int]:
    ends = np.frombuffer(source.read(8 * rows), np.uint64) if rows else np.zeros(0, np.uint64)
    count = int(ends[-1]) if rows else 0
    if count > 2**31 - 1:
        raise QueryFailed("a block of the result has over 2^31 list elements; ask for fewer rows")
    return pa.array(np.concatenate([np.zeros(1, np.uint64), ends]).astype(np.int32)), count


def _read_strings(source: Source, rows: int, nulls: pa.Buffer | None) -> pa.Array:
    if rows == 0:
        return default(pa.string(), 0)
    offsets, data = source.read_strings_arrow(rows)
    if len(data) > 2**31 - 1:
        raise QueryFailed("a block of the result has over 2 GiB of text; ask for fewer rows")
    short = np.frombuffer(offsets, np.int64).astype(np.int32)
    binary = pa.Array.from_buffers(pa.binary(), rows, [nulls, pa.py_buffer(short), pa.py_buffer(data)])
    try:
        return binary.cast(pa.string())
    except pa.ArrowInvalid:
        return binary


def _read_low_cardinality(source: Source, inner: str, rows: int) -> pa.Array:
    if rows == 0:
        return default(_known(inner), 0)
    flags, size = struct.unpack("<QQ", source.read(16))
    if not flags & _HAS_ADDITIONAL_KEYS or flags & 0xFF >= len(_KEYS):
        raise QueryFailed(f"the server sent LowCardinality({inner}) with unknown flags ({flags:#x})")
    name, arguments = split(inner)
    values = _read(source, arguments[0] if name == "Nullable" else inner, size)
    if name == "Nullable":  # the first entry stands for null
        values = pa.concat_arrays([pa.nulls(1, values.type), values.slice(1)])
    (count,) = struct.unpack("<Q", source.read(8))
    if count != rows:
        raise QueryFailed(f"the server sent {count} keys for {rows} rows of LowCardinality({inner})")
    width = _KEYS[flags & 0xFF]
    keys = pa.Array.from_buffers(width, rows, [None, pa.py_buffer(source.read(rows * width.bit_width // 8))])
    return values.take(keys)


def _read_fixed(source: Source, kind: str, rows: int, nulls: pa.Buffer | None) -> pa.Array:
    name, arguments = split(kind)
    wanted = _known(kind)
    if name == "Bool":
        flags = pa.Array.from_buffers(pa.uint8(), rows, [nulls, pa.py_buffer(source.read(rows))])
        return flags.cast(pa.bool_())
    wire = _WIRE_DATES.get(name, wanted)
    data = source.read(rows * wire.bit_width // 8)
    if name == "UUID":  # two little-endian halves
        data = np.frombuffer(data, ">u8").astype("<u8").tobytes()
    array = pa.Array.from_buffers(wire, rows, [nulls, pa.py_buffer(data)])
    if name == "Date":
        return array.cast(pa.int32()).cast(wanted)
    if name == "DateTime":
        return array.cast(pa.int64()).cast(wanted)
    if name == "DateTime64":
        digits = int(arguments[0])
        step = 10 ** (-digits % 3)  # Arrow has no unit for the digits between
        return (array if step == 1 else pc.multiply(array, step)).cast(wanted)
    return array if array.type == wanted else array.cast(wanted)


def _read_sparse(source: Source, kind: str, rows: int) -> pa.Array:
    """Only values that are not the default are sent, each behind the number of defaults before it."""
    positions, total = list[int](), 0
    while True:
        gap = _read_varint(source)
        last = bool(gap & _END_OF_GRANULE)
        total += gap & ~_END_OF_GRANULE
        if last:
            break
        positions.append(total)
        total += 1
    values = _read(source, kind, len(positions))
    indices = np.full(rows, len(positions), np.int64)
    indices[positions] = np.arange(len(positions))
    return pa.concat_arrays([values, default(values.type, 1)]).take(pa.array(indices))


def _read_varint(source: Source) -> int:
    value = shift = 0
    while True:
        byte = source.read_one()
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value
        shift += 7


def write_column(kind: str, array: pa.Array) -> bytes:
    """The bytes of one column of type `kind`: prefix and data. Nulls become defaults where the type has no null.

    Raises:
        BadBatch: the values do not fit the type.
    """
    try:
        prefix = struct.pack("<Q", _LOW_CARDINALITY_VERSION) * sum(1 for _ in _low_cardinalities(kind))
        return b"".join([prefix, *_write(kind, array)]) if len(array) else b""
    except (pa.ArrowException, KeyError, ValueError, TypeError) as error:
        raise BadBatch(f"values of {array.type} do not fit {kind}: {' '.join(str(error).split())[:200]}") from None


def _write(kind: str, array: pa.Array) -> Iterator[Any]:
    name, arguments = split(kind)
    if name == "SimpleAggregateFunction":
        yield from _write(arguments[1], array)
    elif name == "Nullable":
        yield pc.cast(array.is_null(), pa.uint8()).buffers()[1].to_pybytes()[: len(array)]
        yield from _write(arguments[0], array)
    elif name == "LowCardinality":
        yield from _write_low_cardinality(arguments[0], array)
    elif name in ("Array", "Map"):
        yield from _write_nested(name, arguments, _nested(array))
    elif name == "Tuple":
        for position, (_, element) in enumerate(elements(kind)):
            yield from _write(element, array.field(position))
    elif name == "String":
        yield _strings(fit(array, array.type.value_type if pa.types.is_dictionary(array.type) else array.type))
    else:
        yield _fixed(kind, array)


def _nested(array: pa.Array) -> pa.Array:
    """A list or map array without nulls and without an offset."""
    if array.null_count:
        array = fit(array, array.type)
    return pa.concat_arrays([array, array.slice(0, 0)]) if array.offset else array


def _write_nested(name: str, arguments: tuple[str, ...], array: pa.Array) -> Iterator[Any]:
    offsets = np.frombuffer(array.buffers()[1], np.int32, len(array) + 1, array.offset * 4)
    first, last = int(offsets[0]), int(offsets[-1])
    yield (offsets[1:].astype(np.uint64) - np.uint64(first)).tobytes()
    if last == first:
        return
    if name == "Array":
        yield from _write(arguments[0], array.values.slice(first, last - first))
    else:
        yield from _write(arguments[0], array.keys.slice(first, last - first))
        yield from _write(arguments[1], array.items.slice(first, last - first))


def _write_low_cardinality(inner: str, array: pa.Array) -> Iterator[Any]:
    name, arguments = split(inner)
    nullable = name == "Nullable"
    plain = arguments[0] if nullable else inner
    value_type = result_type(plain)
    encoded = array
    if pa.types.is_dictionary(array.type):
        values = array.dictionary
        if len(values) > len(array) or values.null_count or len(values.unique()) < len(values):
            encoded = array.dictionary_decode()
    if not pa.types.is_dictionary(encoded.type):
        encoded = (encoded if encoded.type == value_type else encoded.cast(value_type)).dictionary_encode()
    values, keys = encoded.dictionary, encoded.indices
    if nullable:
        values = pa.concat_arrays([default(values.type, 1), values])
        keys = pc.add(keys.cast(pa.int64()), 1).fill_null(0)
    elif keys.null_count:
        keys = keys.fill_null(len(values))
        values = pa.concat_arrays([values, default(values.type, 1)])
    width = next(index for index, kind in enumerate(_KEYS) if len(values) <= 2**kind.bit_width)
    yield struct.pack("<QQ", _HAS_ADDITIONAL_KEYS | _NEEDS_UPDATE | width, len(values))
    yield from _write(plain, values)
    yield struct.pack("<Q", len(keys))
    yield _values_of(keys.cast(_KEYS[width]))


def _strings(array: pa.Array) -> bytes:
    """Each value behind its length as LEB128."""
    if not (pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type)):
        array = array.cast(pa.binary())
    lengths = pc.binary_length(array).to_numpy(zero_copy_only=False)
    prefixes = _prefixes(lengths)
    joined = pc.binary_join_element_wise(prefixes, array.cast(pa.large_binary()), pa.scalar(b"", pa.large_binary()))
    start, stop = np.frombuffer(joined.buffers()[1], np.int64)[[0, len(joined)]]
    return joined.buffers()[2].slice(int(start), int(stop - start)).to_pybytes()


def _prefixes(lengths: np.ndarray[Any, Any]) -> pa.Array:
    """The LEB128 of each length."""
    if lengths.max(initial=0) < len(_SHORT):
        return _SHORT.take(pa.array(lengths))
    distinct, positions = np.unique(lengths, return_inverse=True)
    return pa.array([_leb128(int(length)) for length in distinct], pa.large_binary()).take(pa.array(positions))


def _leb128(number: int) -> bytes:
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


_SHORT = pa.array([_leb128(length) for length in range(1 << 14)], pa.large_binary())


def _fixed(kind: str, array: pa.Array) -> bytes:
    name, arguments = split(kind)
    wanted = result_type(kind)
    if name == "UUID":
        return np.frombuffer(_values_of(fit(array, wanted)), ">u8").astype("<u8").tobytes()
    if name == "DateTime64":
        step = 10 ** (-int(arguments[0]) % 3)
        ticks = fit(array, wanted).cast(pa.int64())
        return _values_of(ticks if step == 1 else pc.divide(ticks, step))
    array = fit(array, wanted)
    if name == "Bool":
        return _values_of(array.cast(pa.uint8()))
    if name == "Date":
        return _values_of(array.cast(pa.int32()).cast(pa.uint16()))
    if name == "DateTime":
        return _values_of(array.cast(pa.int64()).cast(pa.uint32()))
    if name == "Date32":
        return _values_of(array.cast(pa.int32()))
    return _values_of(array)


def _values_of(array: pa.Array) -> bytes:
    """The value bytes of an array of fixed width without nulls."""
    size = array.type.bit_width // 8
    return array.buffers()[1].slice(array.offset * size, len(array) * size).to_pybytes()
