"""Messages of one topic-partition that wait to be cut into a batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from collector.contract import Batch
from collector.decode.spans import gather
from collector.sources.source import Bounds, Cut, Lease, Recorded

Positions = npt.NDArray[np.int64]

RECORDED_AT_ONCE = 10_000
POSITION_BYTES = 24
"""Of a message: where it starts, where it ends, its offset."""
LARGE_BYTES = 1 << 14
"""Bodies of this many bytes are copied one by one."""


class Chunk:
    """Consecutive messages as they came: bodies somewhere in a buffer, in order, and their offsets."""

    __slots__ = ("buffer", "ends", "held_bytes", "offsets", "size_bytes", "starts")

    def __init__(self, buffer: bytes | memoryview, starts: Positions, ends: Positions, offsets: Positions) -> None:
        self.buffer = buffer
        self.starts = starts
        self.ends = ends
        """Each body is `buffer[start:end]`."""
        self.offsets = offsets
        """int64, position of each message."""
        self.size_bytes = int((ends - starts).sum())
        """Of the bodies."""
        self.held_bytes = len(buffer) + POSITION_BYTES * len(offsets)
        """Of memory: with keys and headers, and with bodies before the first."""

    @classmethod
    def of(cls, values: Sequence[bytes], offsets: Sequence[int]) -> Chunk:
        """Join single messages."""
        ends = np.cumsum(np.fromiter((len(value) for value in values), np.int64, len(values)))
        starts = np.concatenate((np.zeros(1, np.int64), ends))[:-1]
        return cls(b"".join(values), starts, ends, np.asarray(offsets, np.int64))

    def __len__(self) -> int:
        return len(self.offsets)

    def split(self, count: int) -> tuple[Chunk, Chunk]:
        """The first `count` messages, and the others, which keep the memory."""
        first = Chunk(self.buffer, self.starts[:count], self.ends[:count], self.offsets[:count])
        rest = Chunk(self.buffer, self.starts[count:], self.ends[count:], self.offsets[count:])
        first.held_bytes, rest.held_bytes = 0, self.held_bytes
        return first, rest

    def copy_to(self, space: npt.NDArray[np.uint8]) -> None:
        """Write the bodies end to end into `space`, which has their size."""
        content = np.frombuffer(self.buffer, np.uint8)
        if self.size_bytes > LARGE_BYTES * len(self):
            at = 0
            for start, end in zip(self.starts.tolist(), self.ends.tolist(), strict=True):
                space[at : at + end - start] = content[start:end]
                at += end - start
        elif self.size_bytes:
            first = int(self.starts[0])
            pieces = gather(content[first:], self.starts - first, self.ends - first)
            space[:] = np.frombuffer(pieces.buffers()[2], np.uint8)[: len(space)]


class Pending:
    """Accumulates messages of one partition under one lease and cuts them, first along what earlier runs recorded."""

    def __init__(self, cluster_id: str, topic: str, topic_id: str, partition: int, format: str) -> None:
        self.lease = Lease()
        self.lost = False
        """The membership was lost, and with it the position: what is fetched next begins at the committed offset."""
        self.topic_id = topic_id
        self.size_bytes = 0
        """Of the bodies that wait."""
        self.held_bytes = 0
        """Of memory that they keep."""
        self.messages = 0
        self.since = 0.0
        """Monotonic time at which the oldest waiting message came."""
        self.reached = 0
        """Position up to which was read: the next to fetch."""
        self._key = (cluster_id, topic, topic_id, partition)
        self._format = format
        self._chunks: deque[Chunk] = deque()
        self._recorded: deque[Bounds] | None = None
        self._recorded_more = False

    def add(self, chunk: Chunk, now: float) -> None:
        """Messages came."""
        if not len(chunk):
            return
        if not self._chunks:
            self.since = now
        self._chunks.append(chunk)
        self.size_bytes += chunk.size_bytes
        self.held_bytes += chunk.held_bytes
        self.messages += len(chunk)
        self.reached = max(self.reached, int(chunk.offsets[-1]) + 1)

    def cut(self, recorded: Recorded, *, messages: int, size_bytes: int, everything: bool, at_end: bool) -> Cut | None:
        """The next batch: one recorded earlier once it is complete, else one that is full, or what there is.

        Args:
            recorded: where bounds of earlier runs are looked up.
            messages, size_bytes: a batch with as many is full.
            everything: cut what there is, full or not.
            at_end: nothing more is to come now; what is missing of a recorded batch has gone from the topic.
        """
        if not self._chunks:
            return None
        bounds = self._next_recorded(recorded)
        if bounds is not None and bounds.first <= int(self._chunks[0].offsets[0]):
            if self.reached <= bounds.last and not at_end:
                return None  # a part of it would carry the whole one's token, and the rest would come in once more
            self._pop_recorded()
            return self._take(self._count_up_to(bounds.last), bounds)
        if not everything and self.messages < messages and self.size_bytes < size_bytes:
            return None
        count = self._count_full(messages, size_bytes)
        if bounds is not None:
            count = min(count, self._count_up_to(bounds.first - 1))
        return self._take(count, None)

    def _next_recorded(self, recorded: Recorded) -> Bounds | None:
        first = int(self._chunks[0].offsets[0])
        if self._recorded is None or (not self._recorded and self._recorded_more):
            _, _, topic_id, partition = self._key
            found = recorded(topic_id, partition, first)
            self._recorded, self._recorded_more = deque(found), len(found) >= RECORDED_AT_ONCE
        while self._recorded and self._recorded[0].last < first:
            self._recorded.popleft()
        return self._recorded[0] if self._recorded else None

    def _pop_recorded(self) -> None:
        if self._recorded:
            self._recorded.popleft()

    def _count_up_to(self, last: int) -> int:
        return sum(int(np.searchsorted(chunk.offsets, last, side="right")) for chunk in self._chunks)

    def _count_full(self, messages: int, size_bytes: int) -> int:
        count, size = 0, 0
        for chunk in self._chunks:
            if size + chunk.size_bytes >= size_bytes:
                reached = np.cumsum(chunk.ends - chunk.starts)
                count += int(np.searchsorted(reached, size_bytes - size, side="left")) + 1
                break
            count += len(chunk)
            size += chunk.size_bytes
        return max(1, min(count, messages, self.messages))

    def _take(self, count: int, bounds: Bounds | None) -> Cut | None:
        taken: list[Chunk] = []
        while count and self._chunks:
            chunk = self._chunks.popleft()
            if len(chunk) > count:
                chunk, rest = chunk.split(count)
                self._chunks.appendleft(rest)
            count -= len(chunk)
            self.size_bytes -= chunk.size_bytes
            self.held_bytes -= chunk.held_bytes
            self.messages -= len(chunk)
            taken.append(chunk)
        if not taken:
            return None
        batch = Batch(*self._key, _values(taken), pa.array(np.concatenate([chunk.offsets for chunk in taken])))
        return Cut(batch, self._format, self.lease, bounds)


def _values(chunks: Sequence[Chunk]) -> pa.LargeBinaryArray:
    bounds = np.concatenate((np.zeros(1, np.int64), np.cumsum(np.concatenate([c.ends - c.starts for c in chunks]))))
    # From Arrow's pool, which keeps memory for the next batch.
    body = pa.allocate_buffer(int(bounds[-1]))
    space = np.frombuffer(body, np.uint8)
    at = 0
    for chunk in chunks:
        chunk.copy_to(space[at : at + chunk.size_bytes])
        at += chunk.size_bytes
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(bounds) - 1, [None, pa.py_buffer(bounds), body])
