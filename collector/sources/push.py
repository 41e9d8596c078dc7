"""OTLP/HTTP as a source: requests wait in a queue, are stored together, and are answered once they are.

    HTTP thread: submit(Batch, format) ──► waiting ──► poll: one Cut for many requests ──► stored ──► submit returns

A sender whose request was not stored gets an error and sends it again; nothing is recorded about positions. One whose
records were stored as dead letters is told how many.
"""

from __future__ import annotations

import threading
import uuid
from collections import deque
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from collector.clock import Clock
from collector.contract import Batch, DeadLetter
from collector.errors import CollectorError, SourceUnavailable
from collector.ingest.options import IngestOptions
from collector.sources.otlp_answers import Rejected
from collector.sources.otlp_http import RequestLimits, serve
from collector.sources.source import Cut, Lease
from collector.sources.urls import OtlpUrl

GATHER_S = 0.1
"""How long the first request of a batch waits for others."""
IDLE_S = 2.0
"""With `until_idle`, the source is finished when nothing came for this long."""


class _Request:
    __slots__ = ("batch", "done", "error", "format", "rejected")

    def __init__(self, batch: Batch, format: str) -> None:
        self.batch = batch
        self.format = format
        self.done = threading.Event()
        self.error: Exception | None = None
        self.rejected: Rejected | None = None


class PushSource:
    """Listens on `url` and hands out what is sent there.

    Raises:
        SourceUnavailable: the address cannot be listened on, or (from `submit`) the request was not stored.
    """

    def __init__(
        self, url: OtlpUrl, clock: Clock, options: IngestOptions, limits: RequestLimits, *, until_idle: bool = False
    ) -> None:
        self.label = url.label
        self._clock = clock
        self._options = options
        self._until_idle = until_idle
        self._changed = threading.Condition()
        self._waiting: deque[_Request] = deque()
        self._on_the_way: dict[int, list[_Request]] = {}
        self._closed: Exception | None = None
        self._position = 0
        self._run = uuid.uuid4().hex
        self._lease = Lease()
        self._last_at = clock.monotonic()
        try:
            self._server = serve((url.host, url.port), self.submit, limits, waiting_bytes=options.waiting_bytes)
        except OSError as error:
            why = error.strerror or error
            raise SourceUnavailable(f"{url.label}: {why}, expected a free address of this machine") from None
        self.port: int = self._server.port

    def submit(self, batch: Batch, format: str) -> Rejected | None:
        """Hand a request over and wait until it is stored. Called from the server's threads.

        Returns:
            What of it was stored as dead letters, None for nothing.

        Raises:
            Exception: why it was not stored.
        """
        request = _Request(batch, format)
        with self._changed:
            if self._closed:
                raise self._closed
            self._waiting.append(request)
            self._changed.notify_all()
        request.done.wait()
        if request.error:
            raise request.error
        return request.rejected

    def poll(self, timeout_s: float, *, room: bool) -> list[Cut]:
        """Wait up to `timeout_s` for requests; those of one format become one batch."""
        with self._changed:
            if not self._waiting or not room:
                self._changed.wait(timeout_s)
            elif self._size() < self._options.batch_bytes:
                self._changed.wait(GATHER_S)
            if not self._waiting or not room:
                return []
            gathered = self._gather()
        self._last_at = self._clock.monotonic()
        first = self._position
        batch = self._join([request.batch for request in gathered])
        self._on_the_way[first] = gathered
        return [Cut(batch, gathered[0].format, self._lease, None, replayable=False, answered=True)]

    def _size(self) -> int:
        return sum(request.batch.values.nbytes for request in self._waiting)

    def _gather(self) -> list[_Request]:
        format, size = self._waiting[0].format, 0
        taken: list[_Request] = []
        others: deque[_Request] = deque()
        while self._waiting:
            request = self._waiting.popleft()
            if request.format == format and (not taken or size < self._options.batch_bytes):
                taken.append(request)
                size += request.batch.values.nbytes
            else:
                others.append(request)
        self._waiting = others
        return taken

    def _join(self, batches: Sequence[Batch]) -> Batch:
        values = pa.concat_arrays([batch.values for batch in batches])
        first, self._position = self._position, self._position + len(values)
        offsets = pa.array(np.arange(first, self._position))
        return Batch("otlp", self.label, self._run, 0, values, offsets)

    def stored(self, cut: Cut, dead: Sequence[DeadLetter] = ()) -> None:
        """`cut` is in the store: its senders hear it, and how many of their records are dead letters."""
        requests = self._on_the_way.pop(cut.batch.first, [])
        if requests and dead:
            _tell(requests, dead)
        for request in requests:
            request.done.set()

    def rewind(self, cut: Cut) -> None:
        """Cannot happen: nothing is recorded."""

    def failed(self, error: Exception) -> None:
        """Ingestion stops: every sender that still waits is told so."""
        told = SourceUnavailable(f"{self.label}: not stored, send it again ({error})")
        with self._changed:
            self._closed = told
            requests = [*self._waiting, *(request for group in self._on_the_way.values() for request in group)]
            self._waiting.clear()
            self._on_the_way.clear()
        for request in requests:
            request.error = told
            request.done.set()

    @property
    def finished(self) -> bool:
        """With `until_idle`: nothing came for a while."""
        with self._changed:
            quiet_s = self._clock.monotonic() - self._last_at
            return self._until_idle and not self._waiting and not self._on_the_way and quiet_s > IDLE_S

    def commit(self, *, final: bool = False) -> None:
        """Nothing is remembered."""

    def close(self) -> None:
        """Stop listening; who still waits is told to send it again."""
        self.failed(CollectorError("shutting down"))
        self._server.close()


def _tell(requests: Sequence[_Request], dead: Sequence[DeadLetter]) -> None:
    """Note in each request what of it is among `dead`, whose message numbers count through all of them."""
    ends = np.cumsum([len(request.batch.values) for request in requests])
    owners = np.searchsorted(ends, [letter.message for letter in dead], side="right").tolist()
    letters: dict[int, list[DeadLetter]] = {}
    for owner, letter in zip(owners, dead, strict=True):
        letters.setdefault(owner, []).append(letter)
    for owner, own in letters.items():
        # A record of several lines can be several dead letters.
        records = len({(letter.message, letter.record) for letter in own})
        requests[owner].rejected = Rejected(records, own[0].reason)
