"""Pieces of one shared buffer as Arrow text, without a Python object per piece."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Positions = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

_SCANNED = 1 << 18
# Pieces below this part of their extent are copied out before the extent is scanned.
_DENSE = 0.5


@dataclass(frozen=True, slots=True)
class Spans:
    """Pieces of one buffer that do not overlap: piece i is `content[starts[i]:ends[i]]`. Nothing is copied to cut them.

    The pieces that a block is cut from ascend; `take` may put them in any order.
    """

    content: Bytes
    starts: Positions
    ends: Positions

    @staticmethod
    def of(text: pa.BinaryArray) -> Spans:
        """The elements of a binary (or string) array; zero-copy. A null is an empty piece."""
        return Spans(*bounds(text))

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, row: int) -> bytes:
        return self.content[self.starts[row] : self.ends[row]].tobytes()

    def take(self, rows: Positions) -> Spans:
        """These pieces, in this order."""
        return Spans(self.content, self.starts[rows], self.ends[rows])

    def block(self, first: int, size_bytes: int) -> Spans:
        """The pieces from `first` on that lie within `size_bytes` (a larger piece is alone), with little around them.

        Pieces ascend.
        """
        begin = int(self.starts[first])
        last = max(first + 1, int(np.searchsorted(self.ends, begin + size_bytes, side="right")))
        starts, ends = self.starts[first:last] - begin, self.ends[first:last] - begin
        block = Spans(self.content[begin : begin + int(ends[-1])], starts, ends)
        if int((ends - starts).sum()) < _DENSE * len(block.content):
            return Spans.of(block.array())
        return block

    def array(self) -> pa.BinaryArray:
        """The pieces as `pa.binary()`: zero-copy where they lie end to end, else copies. `content` is below 2 GiB."""
        starts, ends = self.starts, self.ends
        if not len(starts):
            return pa.array([], pa.binary())
        if (starts[1:] == ends[:-1]).all():
            offsets = np.append(starts, ends[-1]).astype(np.int32)
            return pa.Array.from_buffers(
                pa.binary(), len(starts), [None, pa.py_buffer(offsets), pa.py_buffer(self.content)]
            )
        if (starts[1:] >= ends[:-1]).all():
            return gather(self.content, starts, ends)
        order = np.argsort(starts, kind="stable")
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        return gather(self.content, starts[order], ends[order], rank)


def positions(content: Bytes, byte: int) -> Positions:
    """Where `byte` stands, ascending. A large buffer is scanned in pieces that stay in the cache."""
    if len(content) <= _SCANNED:
        return np.flatnonzero(content == byte)
    found = [np.zeros(0, np.int64)]
    equal = np.empty(_SCANNED, np.bool_)
    for first in range(0, len(content), _SCANNED):
        piece = content[first : first + _SCANNED]
        here = np.flatnonzero(np.equal(piece, byte, out=equal[: len(piece)]))
        here += first
        found.append(here)
    return np.concatenate(found)


def count_below(content: Bytes, limit: int) -> int:
    """How many bytes are below `limit`."""
    count = 0
    below = np.empty(min(_SCANNED, len(content)), np.bool_)
    for first in range(0, len(content), _SCANNED):
        piece = content[first : first + _SCANNED]
        count += int(np.count_nonzero(np.less(piece, limit, out=below[: len(piece)])))
    return count


def bounds(text: pa.BinaryArray) -> tuple[Bytes, Positions, Positions]:
    """The bytes under a binary (or string) array, and where each element starts and ends in them. Zero-copy."""
    kind = np.int64 if pa.types.is_large_binary(text.type) or pa.types.is_large_string(text.type) else np.int32
    _, offset_buffer, data = text.buffers()
    if offset_buffer is None or len(text) == 0:
        return np.zeros(0, np.uint8), np.zeros(0, np.int64), np.zeros(0, np.int64)
    offsets = np.frombuffer(offset_buffer, kind)[text.offset : text.offset + len(text) + 1].astype(np.int64)
    content = np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    return content, offsets[:-1], offsets[1:]


def gather(content: Bytes, starts: Positions, ends: Positions, order: Positions | None = None) -> pa.BinaryArray:
    """Copies of `content[starts[i]:ends[i]]`; pieces ascend and do not overlap, and `content` is below 2 GiB.

    `order` says which pieces are wanted, in any order; None = all of them, as they ascend.
    """
    pieces = len(starts)
    # One array whose even elements are the pieces and whose odd ones are what lies between them.
    offsets = np.empty(2 * pieces + 1, np.int32)
    offsets[0:-1:2] = starts
    offsets[1::2] = ends
    offsets[-1] = ends[-1] if pieces else 0
    both = pa.Array.from_buffers(pa.binary(), 2 * pieces, [None, pa.py_buffer(offsets), pa.py_buffer(content)])
    wanted = np.arange(0, 2 * pieces, 2, dtype=np.int32) if order is None else 2 * order
    return both.take(pa.array(wanted))


def as_text(values: pa.BinaryArray) -> pa.StringArray:
    """The same bytes as text, zero-copy. The caller knows that they are UTF-8."""
    return pa.StringArray.from_buffers(
        len(values), values.buffers()[1], values.buffers()[2], values.buffers()[0], values.null_count, values.offset
    )


def not_utf8(spans: Spans) -> Mask:
    """Which pieces are not UTF-8. One pass over all bytes when none is at fault."""
    bad = np.zeros(len(spans), np.bool_)
    if not len(spans):
        return bad
    content = spans.content
    # A valid whole has valid pieces, unless one ends within a character: then a continuation byte follows it.
    cut = np.concatenate((spans.starts[spans.starts < len(content)], spans.ends[spans.ends < len(content)]))
    if not ((content[cut] & 0xC0) == 0x80).any():
        offsets = np.array([0, len(content)], np.int32)
        whole = pa.Array.from_buffers(pa.binary(), 1, [None, pa.py_buffer(offsets), pa.py_buffer(content)])
        try:
            whole.cast(pa.string())
        except pa.ArrowInvalid:
            pass
        else:
            return bad
    _suspect(spans.array(), 0, bad)
    return bad


def _suspect(text: pa.BinaryArray, first: int, bad: Mask) -> None:
    try:
        text.cast(pa.string())
    except pa.ArrowInvalid:
        if len(text) == 1:
            bad[first] = True
            return
        half = len(text) // 2
        _suspect(text.slice(0, half), first, bad)
        _suspect(text.slice(half), first + half, bad)
