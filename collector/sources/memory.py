"""Messages that are already in memory, as a source: the demo's world, and tests."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence

from collector.contract import Batch, DeadLetter
from collector.sources.source import Cut, Lease


class MemorySource:
    """Hands out `batches` in order.

    Nothing is recorded about them unless they are `replayable`: then a second run over the same batches stores nothing.
    """

    def __init__(self, label: str, batches: Iterable[Batch], format: str = "auto", *, replayable: bool = False) -> None:
        self.label = label
        self.position = -1
        """Last position that was stored."""
        self._batches: Iterator[Batch] = iter(batches)
        self._format = format
        self._replayable = replayable
        self._lease = Lease()
        self._exhausted = False

    def poll(self, timeout_s: float, *, room: bool) -> list[Cut]:
        """The next batch, if there is room for it."""
        if not room:
            time.sleep(timeout_s)
            return []
        batch = next(self._batches, None)
        if batch is None:
            if self._exhausted:
                time.sleep(min(timeout_s, 0.01))
            self._exhausted = True
            return []
        return [Cut(batch, self._format, self._lease, None, self._replayable)]

    def stored(self, cut: Cut, dead: Sequence[DeadLetter] = ()) -> None:
        """`cut` is in the store."""
        del dead
        self.position = cut.batch.last

    def rewind(self, cut: Cut) -> None:
        """Another writer had the same batch: it cannot be cut again, and need not be."""

    def failed(self, error: Exception) -> None:
        """Ingestion stops."""

    @property
    def finished(self) -> bool:
        """Whether the batches are used up."""
        return self._exhausted

    def commit(self, *, final: bool = False) -> None:
        """Nothing is remembered."""

    def close(self) -> None:
        """Nothing is held."""
