"""Files as a source: a glob of logs, plain or compressed, read once or followed through rotation.

A message is a line; its position is the byte where it begins. `otlp_proto` files are one message, or the
length-prefixed frames of the Collector's file exporter; a JSON document over several lines is one message.

A file is known by device, inode and a hash of its first line, so a rename does not make it a new one and a file that
was truncated and written anew is another one. How far it was stored stands in `ingest_positions`: reading an unchanged
file again stores nothing, a grown one only what is new.
"""

from __future__ import annotations

import glob
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from collector.clock import Clock
from collector.contract import DeadLetter
from collector.errors import BadSource, CollectorError
from collector.sources.blocks import BlockReader
from collector.sources.documents import is_document
from collector.sources.source import Cut
from collector.sources.tail import Positions, Tail, identify, open_reader
from collector.sources.unfinished import Unfinished
from collector.sources.urls import FileUrl

IDLE_S = 0.1
SHORT_S = 0.02
"""Pause while files that were read wait to be stored, or for the end of a last line."""
RESCAN_S = 1.0
COMMIT_S = 5.0
ROTATION_GRACE_S = 5.0
"""How long a file that was rotated away must be quiet before it is given up."""
OPEN_FILES = 64
"""Files read beside each other when they are not followed."""


def check_there(url: FileUrl) -> None:
    """Raise BadSource where no file matches `url`, unless files are waited for."""
    if not url.follow and not glob.glob(url.path, recursive=True):  # noqa: PTH207 - any path, also an absolute one
        raise _nothing_there(url)


def _nothing_there(url: FileUrl) -> BadSource:
    return BadSource(f"source {url.label!r}: no file there, expected a path or a glob that matches one")


class FileSource:
    """Reads the files that match `url.path`, each in order of its bytes.

    Args:
        url: what to read.
        positions: where positions are remembered.
        clock: for pauses between looks at the directory.
        batch_bytes: size at which a batch is cut.
        batch_age_s: seconds between smaller batches of a file that is followed.
        until_idle: stop at the end of the files, also when `url.follow` is set.
        unfinished_line_s: how long a file that is not followed must be unchanged before its last line is read without
            its end.
        notice: tells people what they should know.
    """

    def __init__(
        self,
        url: FileUrl,
        positions: Positions,
        clock: Clock,
        *,
        batch_bytes: int,
        batch_age_s: float = 1.0,
        until_idle: bool = False,
        unfinished_line_s: float = 0,
        notice: Callable[[str], None] = lambda _message: None,
    ) -> None:
        self.label = url.label
        self._notice = notice
        self._url = url
        self._follow = url.follow and not until_idle
        self._positions = positions
        self._clock = clock
        self._batch_bytes = batch_bytes
        self._batch_age_s = batch_age_s
        self._unfinished_line_s = unfinished_line_s
        self._unfinished: dict[Path, Unfinished] = {}
        """Of files whose first line is not complete, and which have no identity therefore."""
        self._tails: dict[str, Tail] = {}
        self._waiting: deque[Path] = deque()
        self._trouble: CollectorError | None = None
        self._scanned_at = self._committed_at = clock.monotonic()
        self._scan()
        if not self._waiting and not self._follow:
            raise _nothing_there(url)

    def _scan(self) -> None:
        self._scanned_at = self._clock.monotonic()
        known = {tail.topic for tail in self._tails.values() if not tail.ended}
        known.update(str(path) for path in self._waiting)
        paths = (Path(name).absolute() for name in sorted(glob.glob(self._url.path, recursive=True)))  # noqa: PTH207 - any path, also an absolute one
        self._waiting.extend(path for path in paths if str(path) not in known and not path.is_dir())

    def poll(self, timeout_s: float, *, room: bool) -> list[Cut]:
        """Wait up to `timeout_s` for input and hand out at most one batch."""
        if not room:
            time.sleep(timeout_s)
            return []
        if self._follow:
            self._look_around()
        self._open_some()
        for key in list(self._tails):
            tail = self._tails.pop(key)
            self._tails[key] = tail
            if tail.ended and not tail.pending:
                continue  # what is written to it from now on is the next run's
            if tail.due(self._clock.monotonic(), self._batch_bytes, self._batch_age_s) and (
                cut := self._next_cut(tail)
            ):
                return [cut]
        self._forget_ended()
        if self._follow or self._tails or self._waiting:
            time.sleep(min(timeout_s, IDLE_S if self._follow else SHORT_S))
        return []

    def _next_cut(self, tail: Tail) -> Cut | None:
        try:
            if cut := tail.next_cut(self._batch_bytes):
                tail.grew_at = self._clock.monotonic()
            return cut
        except CollectorError as error:
            # The other files are read to their end before this one's trouble is told.
            self._trouble = self._trouble or error
            tail.ended = True
            return None

    def _look_around(self) -> None:
        now = self._clock.monotonic()
        for key, tail in list(self._tails.items()):
            if tail.truncated():
                self._tails[f"{key} truncated"] = self._tails.pop(key)
                tail.truncate()
                self._waiting.append(tail.reader.path)
            elif tail.leaving:
                # Whoever writes may still hold the old file for a while.
                tail.ended = tail.ended or now - tail.grew_at >= ROTATION_GRACE_S
            elif not tail.ended and tail.replaced():
                tail.leaving, tail.grew_at = True, now
                self._waiting.append(tail.reader.path)
        if now - self._scanned_at >= RESCAN_S:
            self._scan()

    def _open_some(self) -> None:
        for _ in range(len(self._waiting)):
            if len(self._tails) >= OPEN_FILES and not self._follow:
                return
            path = self._waiting.popleft()
            try:
                self._open(path)
            except CollectorError as error:
                if not self._follow:
                    self._trouble = self._trouble or error

    def _open(self, path: Path) -> None:
        reader = open_reader(path)
        try:
            known = identify(reader, lambda head: self._is_whole(path, reader, head))
        except CollectorError:
            reader.close()
            raise
        if known is None:
            unfinished = self._unfinished.get(path)
            if self._follow or (reader.size() and unfinished and not unfinished.given_up):
                self._waiting.append(path)
            reader.close()
            return
        topic_id, head = known
        if topic_id in self._tails:
            # The same file under another name, or before the rotation of its name was noticed.
            reader.close()
            return
        plain = not self._follow and not reader.compressed
        unfinished = self._unfinished.pop(path, None) or self._watch()
        tail = Tail(reader, topic_id, head, self._url.format, self._positions, unfinished if plain else None)
        tail.ended = not self._follow or reader.compressed
        self._tails[topic_id] = tail

    def _watch(self) -> Unfinished:
        return Unfinished(self._clock, self._unfinished_line_s)

    def _is_whole(self, path: Path, reader: BlockReader, head: bytes) -> bool:
        if reader.compressed:
            return True
        if self._follow:
            return False
        unfinished = self._unfinished.setdefault(path, self._watch())
        return is_document(self._url.format, head) or unfinished.is_complete(head, reader)

    def _forget_ended(self) -> None:
        for key, tail in list(self._tails.items()):
            if tail.ended and tail.outstanding == 0 and not tail.pending:
                if tail.reader.cut_off:
                    where = f"{tail.topic}: ends inside its compressed stream, after byte {tail.reader.position}"
                    self._notice(f"{where}; what is there is stored")
                self._commit(tail)
                tail.close()
                del self._tails[key]

    def _commit(self, tail: Tail) -> None:
        tail.commit(self._clock.now())

    def _tail_of(self, cut: Cut) -> Tail | None:
        return next((tail for tail in self._tails.values() if tail.owns(cut)), None)

    def stored(self, cut: Cut, dead: Sequence[DeadLetter] = ()) -> None:
        """`cut` is in the store."""
        del dead
        if tail := self._tail_of(cut):
            tail.outstanding -= 1
            tail.stored = max(tail.stored, cut.batch.last + 1)

    def rewind(self, cut: Cut) -> None:
        """Another writer recorded other bounds: cut this file again from there."""
        if tail := self._tail_of(cut):
            tail.rewind(cut)

    def failed(self, error: Exception) -> None:
        """Ingestion stops: files wait for the next run."""

    @property
    def finished(self) -> bool:
        """Whether every file was read to its end.

        Raises:
            CollectorError: what was wrong with one of them.
        """
        if self._follow or self._waiting or self._tails:
            return False
        if self._trouble:
            raise self._trouble
        return True

    def commit(self, *, final: bool = False) -> None:
        """Remember how far the files are stored."""
        now = self._clock.monotonic()
        if final or now - self._committed_at >= COMMIT_S:
            self._committed_at = now
            for tail in self._tails.values():
                self._commit(tail)

    def close(self) -> None:
        """Release the files."""
        for tail in self._tails.values():
            tail.close()
        self._tails.clear()
        self._waiting.clear()
