"""Columns of bytes to columns of text: UTF-8, hex ids, AnyValue as text, JSON strings. Whole columns at a time."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.message import DecodeError

from collector.decode.otlp.schema import any_array_class, any_map_class

Indices = npt.NDArray[np.int64]

_HEX = np.frombuffer(b"".join(b"%02x" % byte for byte in range(256)), dtype=np.uint16)
_MUST_ESCAPE = r'["\\\x00-\x1f]'
_MAX_DEPTH = 32
MAX_NAME = 1024
EMPTY = pa.scalar("", pa.string())


def utf8(values: pa.Array) -> pa.StringArray:
    """Binary as text; bytes that are not UTF-8 become backslash escapes. Nulls stay."""
    try:
        return values.cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array(
            [None if v is None else v.decode("utf-8", "backslashreplace") for v in values.to_pylist()], pa.string()
        )


def names(values: pa.Array) -> pa.DictionaryArray:
    """Names that stand in many rows, as dictionary; '' for null.

    Cut at `MAX_NAME` characters: one long name must not fill the memory.
    """
    return pc.utf8_slice_codeunits(pc.coalesce(utf8(values), EMPTY), 0, MAX_NAME).dictionary_encode()


def buffer_of(values: pa.Array) -> tuple[npt.NDArray[np.uint8], Indices]:
    """The data bytes of a binary or string array, and its n + 1 offsets into them."""
    _, offsets, data = values.buffers()
    starts = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1].astype(np.int64)
    return np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8), starts


def hex_ids(values: pa.BinaryArray, size: int) -> tuple[pa.StringArray, npt.NDArray[np.bool_]]:
    """Ids as lower-case hex, and which are sound: `size` bytes, not all zero. An unsound id becomes ''."""
    count = len(values)
    if count == 0:
        return pa.array([], pa.string()), np.zeros(0, bool)
    data, starts = buffer_of(values)
    sound = np.diff(starts) == size
    every = bool(sound.all())
    ids = (
        data[starts[0] : starts[-1]].reshape(count, size)
        if every
        else data[starts[:-1][sound][:, None] + np.arange(size)]
    )
    nonzero = ids.any(axis=1)
    if not (every and nonzero.all()):
        sound[np.flatnonzero(sound)[~nonzero]] = False
        ids = ids[nonzero]
    ends = np.zeros(count + 1, np.int32)
    np.cumsum(sound * (2 * size), out=ends[1:])
    return pa.StringArray.from_buffers(count, pa.py_buffer(ends), pa.py_buffer(_HEX[ids])), sound


def _plain(value: Any, depth: int) -> Any:
    """An upb AnyValue as what `json.dumps` takes."""
    kind = value.WhichOneof("kind_of_value")
    if kind is None:
        return None
    inner = getattr(value, kind)
    if kind in ("array", "kvlist"):
        return _nested(inner, depth + 1)
    if kind == "string":
        return inner.decode("utf-8", "backslashreplace")
    if kind == "bytes":
        return base64.b64encode(inner).decode()
    if kind == "double" and not np.isfinite(inner):
        return str(inner)
    return inner


def _nested(message: Any, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        return "nested too deeply"
    if hasattr(message, "values") and message.DESCRIPTOR.name == "AnyArray":
        return [_plain(value, depth) for value in message.values]
    return {entry.key.decode("utf-8", "backslashreplace"): _plain(entry.value, depth) for entry in message.values}


def array_of(payload: bytes) -> Any:
    """An OTLP ArrayValue as a list that `json.dumps` takes; None where it is no such message."""
    return _decoded(any_array_class, payload)


def map_of(payload: bytes) -> Any:
    """An OTLP KeyValueList as a dict that `json.dumps` takes (the last of equal keys wins); None where it is none."""
    return _decoded(any_map_class, payload)


def _decoded(of_class: Any, payload: bytes) -> Any:
    message = of_class()
    try:
        message.ParseFromString(payload)
    except DecodeError:
        return None
    return _nested(message, 0)


def compact_json(value: Any) -> str:
    """JSON on one line without spaces, keys in their order."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


_NESTED_TEXT: dict[str, Callable[[bytes], str]] = {
    "array": lambda payload: compact_json(array_of(payload)),
    "kvlist": lambda payload: compact_json(map_of(payload)),
    "bytes": lambda payload: base64.b64encode(payload).decode(),
}


def any_value_text(value: pa.StructArray) -> pa.StringArray:
    """An AnyValue column as text, '' where it holds nothing.

    true and false, integers and doubles as Arrow prints them, arrays and kvlists as JSON, bytes as base64.
    """
    strings = value.field("string")
    text = utf8(strings)
    if text.null_count == 0:
        return text
    columns = [text]
    for kind in ("int", "double", "bool"):
        column = value.field(kind)
        if column.null_count < len(column):
            columns.append(column.cast(pa.string()))
    for kind, convert in _NESTED_TEXT.items():
        column = value.field(kind)
        if column.null_count < len(column):
            where = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
            texts = [convert(payload) for payload in column.take(pa.array(where)).to_pylist()]
            columns.append(scatter(pa.array(texts, pa.string()), where, len(column)))
    return cast(pa.StringArray, pc.coalesce(*columns, EMPTY))


def scatter(values: pa.Array, where: Indices, count: int) -> pa.Array:
    """A column of `count` with `values` at `where` and null elsewhere."""
    source = np.zeros(count, np.int64)
    source[where] = np.arange(len(where))
    absent = np.ones(count, bool)
    absent[where] = False
    return values.take(pa.array(source, mask=absent))


def map_distinct(values: pa.Array, function: Callable[[str], Any], to: pa.DataType) -> pa.Array:
    """`function` of each text, called once for each distinct one. Null stays null."""
    encoded = values if isinstance(values, pa.DictionaryArray) else values.dictionary_encode()
    results = [None if text is None else function(text) for text in encoded.dictionary.to_pylist()]
    return pa.array(results, to).take(encoded.indices)


def json_string(values: pa.StringArray) -> pa.StringArray:
    """Each text as a JSON string, quotes included. Null stays null."""
    must = pc.match_substring_regex(values, _MUST_ESCAPE)
    if pc.any(must).as_py():
        where = np.flatnonzero(pc.fill_null(must, False).to_numpy(zero_copy_only=False))
        escaped = [json.dumps(text, ensure_ascii=False)[1:-1] for text in values.take(pa.array(where)).to_pylist()]
        mask = np.zeros(len(values), bool)
        mask[where] = True
        values = pc.replace_with_mask(values, pa.array(mask), pa.array(escaped, pa.string()))
    return pc.binary_join_element_wise('"', values, '"', "")


def joined(items: pa.StringArray, counts: Indices, opening: str, closing: str) -> pa.StringArray:
    """Runs of `items` (`counts[i]` of them each) joined by commas between `opening` and `closing`."""
    lists = pa.ListArray.from_arrays(pa.array(offsets_of(counts), pa.int32()), items)
    return pc.binary_join_element_wise(opening, pc.binary_join(lists, ","), closing, "")


def offsets_of(counts: Indices | Sequence[int]) -> Indices:
    """n + 1 offsets from n counts."""
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets
