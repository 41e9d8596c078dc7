"""One file on its way through: what was read, what an earlier run recorded, and where the next cut begins."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from collector.contract import Batch
from collector.errors import SourceBroken, SourceUnavailable
from collector.sources.blocks import BlockReader
from collector.sources.documents import DOCUMENT_BYTES, is_document, split_document
from collector.sources.lines import split_lines
from collector.sources.source import Bounds, Cut, Lease
from collector.sources.unfinished import Unfinished

CLUSTER = "file"
IDENTITY_BYTES = 4096
_NEWLINE = b"\n"


class Positions(Protocol):
    """Where positions of files are remembered between runs."""

    def recorded(self, topic_id: str, partition: int, position: int, /) -> Sequence[Bounds]:
        """Bounds recorded earlier that end at `position` or later, in order."""
        ...

    def committed(self, topic_id: str, /) -> int:
        """The next byte to read."""
        ...

    def commit(self, cluster_id: str, topic: str, topic_id: str, position: int, at: datetime, /) -> None:
        """Everything before `position` is stored."""
        ...


def identify(reader: BlockReader, is_whole: Callable[[bytes], bool]) -> tuple[str, bytes] | None:
    """A file's identity and its first bytes; None when it is empty, or its first line is not complete.

    `is_whole` is asked about a first line without its end, which is all that the file holds. The reader stands at the
    beginning afterwards.
    """
    head = b""
    while len(head) < IDENTITY_BYTES and (more := reader.read(IDENTITY_BYTES - len(head))):
        head += more
    reader.seek(0)
    line, newline, _ = head.partition(_NEWLINE)
    device, inode = reader.identity()
    complete = bool(newline) or len(head) == IDENTITY_BYTES or (bool(head) and is_whole(head))
    name = f"{device:x}-{inode:x}-{hashlib.blake2b(line, digest_size=8).hexdigest()}"
    return (name, head) if complete else None


class Tail:
    """A file that is being read. Cuts come out in order; every cut's bounds are bytes of the file.

    `unfinished` judges a last line without its end, where nobody waits for the rest anyway; without it such a line is
    read as it is.
    """

    def __init__(
        self,
        reader: BlockReader,
        topic_id: str,
        head: bytes,
        format: str,
        positions: Positions,
        unfinished: Unfinished | None = None,
    ) -> None:
        self.reader = reader
        self.topic = str(reader.path)
        self.topic_id = topic_id
        self.format = format
        self.outstanding = 0
        self.ended = False
        """Nothing more will come: not followed, or rotated away."""
        self.leaving = False
        """Its path leads to another file by now."""
        self.grew_at = 0.0
        """Monotonic time of the last batch."""
        self._positions = positions
        self._cut_at = float("-inf")
        self._document = is_document(format, head)
        self._unfinished = unfinished
        self.committed = positions.committed(topic_id)
        self.stored = self.committed
        self._begin(self.committed)

    def _begin(self, position: int) -> None:
        self._lease = Lease()
        self._recorded = deque(self._positions.recorded(self.topic_id, 0, position))
        self._carry = b""
        self._more = True
        self._next = position
        self.reader.seek(position)
        if self.reader.position < position:
            # Shorter than what was stored of it, though it begins alike: nothing new can be in it.
            self._next = self.reader.position

    def rewind(self, cut: Cut) -> None:
        """Cut again from the start of `cut`; what was cut behind it will not be stored."""
        self.outstanding = 0
        self._begin(cut.batch.first)

    def owns(self, cut: Cut) -> bool:
        """Whether `cut` is of this file, and still counts."""
        return cut.lease is self._lease

    def truncated(self) -> bool:
        """Whether the file is now shorter than what was read of it."""
        return not self.ended and not self.reader.compressed and self.reader.size() < self.reader.position

    def truncate(self) -> None:
        """The file was emptied: what was not read of it is gone, what was cut is still to be stored."""
        self.ended, self._carry, self._more = True, b"", False
        self._recorded.clear()

    def due(self, now: float, size_bytes: int, age_s: float) -> bool:
        """Whether a batch may be cut: a file that is followed gives small ones only now and then."""
        if not self.ended and now - self._cut_at < age_s and self.reader.size() - self.reader.position < size_bytes:
            return False
        self._cut_at = now
        return True

    @property
    def pending(self) -> bool:
        """Whether something is left to cut."""
        return bool(self._carry or self._recorded or self._more)

    def next_cut(self, size_bytes: int) -> Cut | None:
        """The next batch of at most about `size_bytes`, or None when there is none now.

        Raises:
            SourceBroken: a compressed stream is damaged, or a document is too long.
        """
        if self._recorded:
            return self._replay(self._recorded.popleft())
        block = self._read(DOCUMENT_BYTES + 1 if self._document else size_bytes)
        if self._document:
            if len(block) > DOCUMENT_BYTES:
                raise SourceBroken(f"{self.topic}: a document of more than {DOCUMENT_BYTES} bytes")
            if not self.ended:
                self._carry = block
                return None
        elif not self.ended or self._more:
            # A line longer than a whole block is cut: the decoder refuses it by its length anyway.
            end = block.rfind(_NEWLINE) + 1 or (len(block) if len(block) >= size_bytes else 0)
            block, self._carry = block[:end], block[end:]
        elif self._unfinished is not None:
            block, self._carry = self._finished(block, self._unfinished)
        return self._cut(block, None) if block else None

    def _finished(self, block: bytes, unfinished: Unfinished) -> tuple[bytes, bytes]:
        """What of the end of a file can be read, and the part of a line that is waited for."""
        end = block.rfind(_NEWLINE) + 1
        line, awaited = block[end:], unfinished.awaited
        if not line or unfinished.is_complete(line, self.reader):
            return block, b""
        if unfinished.given_up or (awaited and end):
            # The line that was waited for came; the next one was begun later, and is another run's.
            return block[:end], b""
        return block[:end], line

    def _replay(self, bounds: Bounds) -> Cut | None:
        skip = bounds.first - self._next
        if skip > 0:
            self._read(skip)
            self._next = bounds.first
        block = self._read(bounds.last - self._next + 1)
        block, self._carry = block[: bounds.last - self._next + 1], block[bounds.last - self._next + 1 :]
        return self._cut(block, bounds) if block else None

    def _read(self, size: int) -> bytes:
        parts = [self._carry] if self._carry else []
        have = len(self._carry)
        self._carry = b""
        self._more = True
        while have < size:
            part = self.reader.read(size - have)
            if not part:
                self._more = False
                break
            parts.append(part)
            have += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _cut(self, block: bytes, bounds: Bounds | None) -> Cut | None:
        split = split_document if self._document else split_lines
        values, offsets = split(pa.py_buffer(block), self._next)
        first, self._next = self._next, self._next + len(block)
        if len(values) == 0:
            return None
        batch = Batch(CLUSTER, self.topic, self.topic_id, 0, values, offsets, (first, self._next - 1))
        self.outstanding += 1
        return Cut(batch, self.format, self._lease, bounds)

    def commit(self, at: datetime) -> None:
        """Remember how far this file is stored."""
        if self.stored > self.committed:
            self._positions.commit(CLUSTER, self.topic, self.topic_id, self.stored, at)
            self.committed = self.stored

    def replaced(self) -> bool:
        """Whether the path now leads to another file."""
        try:
            stat = self.reader.path.stat()
        except FileNotFoundError:
            return False
        return (stat.st_dev, stat.st_ino) != self.reader.identity()

    def close(self) -> None:
        """Release the file."""
        self.reader.close()


def open_reader(path: Path) -> BlockReader:
    """Open a file for reading.

    Raises:
        SourceUnavailable: it cannot be read.
        SourceBroken: it is compressed in a way that is not read.
    """
    try:
        return BlockReader(path)
    except OSError as error:
        raise SourceUnavailable(f"{path}: {error.strerror}, expected a readable file") from None
