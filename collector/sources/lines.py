"""Bytes of a file or stream as messages: one a line, without copying the block they came in."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

_NEWLINE = 10


def split_lines(block: pa.Buffer, position: int) -> tuple[pa.LargeBinaryArray, pa.Int64Array]:
    """Lines of `block` (line ends included) and their positions, where the block begins at `position`.

    Blank lines are left out. What follows the last line end is a line of its own.
    """
    size = block.size
    at = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(at == _NEWLINE).astype(np.int64) + 1
    if size and (len(ends) == 0 or ends[-1] != size):
        ends = np.append(ends, size)
    bounds = np.concatenate([np.zeros(1, np.int64), ends])
    values = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(ends), [None, pa.py_buffer(bounds), block])
    offsets = pa.array(bounds[:-1] + position)
    lengths = np.diff(bounds)
    blank = lengths == 1
    two = lengths == 2
    if two.any():
        blank |= two & (at[bounds[:-1]] == 13)
    if size and at[-1] != _NEWLINE:
        blank[-1] = False
    if blank.any():
        keep = pa.array(~blank)
        values, offsets = values.filter(keep), offsets.filter(keep)
    return values, offsets
