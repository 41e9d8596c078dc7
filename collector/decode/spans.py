"""Pieces of one shared buffer as Arrow text, without a Python object per piece."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Positions = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


def bounds(text: pa.BinaryArray) -> tuple[Bytes, Positions, Positions]:
    """The bytes under a binary (or string) array, and where each element starts and ends in them. Zero-copy."""
    kind = np.int64 if pa.types.is_large_binary(text.type) or pa.types.is_large_string(text.type) else np.int32
    _, offset_buffer, data = text.buffers()
    if offset_buffer is None or len(text) == 0:
        return np.zeros(0, np.uint8), np.zeros(0, np.int64), np.zeros(0, np.int64)
    offsets = np.frombuffer(offset_buffer, kind)[text.offset : text.offset + len(text) + 1].astype(np.int64)
    content = np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    return content, offsets[:-1], offsets[1:]


def gather(content: Bytes, starts: Positions, ends: Positions) -> pa.BinaryArray:
    """Copies of `content[starts[i]:ends[i]]`; pieces ascend and do not overlap, and `content` is below 2 GiB."""
    rows = len(starts)
    # One array whose even elements are the pieces and whose odd ones are what lies between them.
    offsets = np.empty(2 * rows + 1, np.int32)
    offsets[0:-1:2] = starts
    offsets[1::2] = ends
    offsets[-1] = ends[-1] if rows else 0
    pieces = pa.Array.from_buffers(pa.binary(), 2 * rows, [None, pa.py_buffer(offsets), pa.py_buffer(content)])
    return pieces.take(pa.array(np.arange(0, 2 * rows, 2, dtype=np.int32)))


def as_text(values: pa.BinaryArray) -> pa.StringArray:
    """The same bytes as text, zero-copy. The caller knows that they are UTF-8."""
    return pa.StringArray.from_buffers(
        len(values), values.buffers()[1], values.buffers()[2], values.buffers()[0], values.null_count, values.offset
    )


def not_utf8(text: pa.BinaryArray) -> npt.NDArray[np.bool_]:
    """Which elements are not UTF-8. One pass over all bytes when none is at fault."""
    bad = np.zeros(len(text), np.bool_)
    _suspect(text, 0, bad)
    return bad


def _suspect(text: pa.BinaryArray, first: int, bad: npt.NDArray[np.bool_]) -> None:
    try:
        text.cast(pa.string())
    except pa.ArrowInvalid:
        if len(text) == 1:
            bad[first] = True
            return
        half = len(text) // 2
        _suspect(text.slice(0, half), first, bad)
        _suspect(text.slice(half), first + half, bad)
