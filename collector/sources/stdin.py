"""Standard input as a source. What comes through a pipe comes once: nothing is recorded about it."""

from __future__ import annotations

import os
import select
import uuid
from collections.abc import Sequence
from typing import BinaryIO

import pyarrow as pa

from collector.clock import Clock
from collector.contract import Batch, DeadLetter
from collector.errors import SourceBroken
from collector.sources.documents import DOCUMENT_BYTES, is_document, split_document
from collector.sources.lines import split_lines
from collector.sources.source import Cut, Lease
from collector.sources.urls import StdinUrl

HEAD_BYTES = 4096
READ_BYTES = 1 << 20


class StdinSource:
    """Reads `stream` (a pipe, terminal or file) to its end, a message a line."""

    def __init__(self, url: StdinUrl, stream: BinaryIO, clock: Clock, *, batch_bytes: int, batch_age_s: float) -> None:
        self.label = url.label
        self._format = url.format
        self._descriptor = stream.fileno()
        self._clock = clock
        self._batch_bytes = batch_bytes
        self._batch_age_s = batch_age_s
        self._parts: list[bytes] = []
        self._size = 0
        self._since = 0.0
        self._position = 0
        self._document: bool | None = None
        self._ended = False
        self._lease = Lease()
        self._run = uuid.uuid4().hex

    def poll(self, timeout_s: float, *, room: bool) -> list[Cut]:
        """Wait up to `timeout_s` for input; a batch when enough came, or enough time went by."""
        if self._ended or (self._size >= self._batch_bytes and not room):
            return self._cut() if self._ended and room else []
        if select.select([self._descriptor], [], [], timeout_s)[0]:
            self._take(os.read(self._descriptor, READ_BYTES))
        return self._cut() if room and self._due() else []

    def _take(self, data: bytes) -> None:
        if not data:
            self._ended = True
            return
        if not self._parts:
            self._since = self._clock.monotonic()
        self._parts.append(data)
        self._size += len(data)

    def _due(self) -> bool:
        if self._document is None and (self._size >= HEAD_BYTES or self._ended or b"\n" in b"".join(self._parts)):
            self._document = is_document(self._format, b"".join(self._parts)[:HEAD_BYTES])
        if self._document and self._size > DOCUMENT_BYTES:
            raise SourceBroken(f"standard input: a document of more than {DOCUMENT_BYTES} bytes")
        if self._ended:
            return True
        aged = bool(self._parts) and self._clock.monotonic() - self._since >= self._batch_age_s
        return not self._document and (self._size >= self._batch_bytes or aged)

    def _cut(self) -> list[Cut]:
        block = b"".join(self._parts)
        if not self._ended:
            end = block.rfind(b"\n") + 1 or (len(block) if len(block) >= self._batch_bytes else 0)
            block, rest = block[:end], block[end:]
        else:
            rest = b""
        self._parts, self._size = ([rest], len(rest)) if rest else ([], 0)
        self._since = self._clock.monotonic()
        if not block:
            return []
        split = split_document if self._document else split_lines
        values, offsets = split(pa.py_buffer(block), self._position)
        first, self._position = self._position, self._position + len(block)
        if len(values) == 0:
            return []
        batch = Batch("stdin", self.label, self._run, 0, values, offsets, (first, self._position - 1))
        return [Cut(batch, self._format, self._lease, None, replayable=False)]

    def stored(self, cut: Cut, dead: Sequence[DeadLetter] = ()) -> None:
        """`cut` is in the store."""

    def rewind(self, cut: Cut) -> None:
        """Cannot happen: nothing is recorded."""

    def failed(self, error: Exception) -> None:
        """Ingestion stops; what was read and not stored is lost with the pipe."""

    @property
    def finished(self) -> bool:
        """Whether the stream ended."""
        return self._ended and not self._parts

    def commit(self, *, final: bool = False) -> None:
        """Nothing is remembered."""

    def close(self) -> None:
        """The stream belongs to the process."""
