"""What became of the records. Pairs add up: accepted = stored + dead_lettered + refused once nothing is on its way."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Counts:
    """A moment's counts. Records are rows or dead letters; `rows` splits the stored ones by table.

    `refused` records were decoded and then not stored, because their partition was given up or ingestion stopped: they
    stay uncommitted and come again. `read_again` of the stored ones are of batches that an earlier attempt had begun to
    store: the engine keeps each of their records once.
    """

    messages: int = 0
    bytes: int = 0
    batches: int = 0
    accepted: int = 0
    stored: int = 0
    dead_lettered: int = 0
    refused: int = 0
    read_again: int = 0
    rows: Mapping[str, int] = field(default_factory=dict[str, int])


class Counters:
    """Running counts, safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._rows: Counter[str] = Counter()

    def read(self, messages: int, size_bytes: int) -> None:
        """Messages were cut into a batch."""
        with self._lock:
            self._counts["messages"] += messages
            self._counts["bytes"] += size_bytes

    def accepted(self, records: int) -> None:
        """Records were decoded, or found undecodable."""
        with self._lock:
            self._counts["accepted"] += records

    def stored(self, rows: Mapping[str, int], dead: int, *, again: bool = False) -> None:
        """A batch is in the store; `again` where an earlier attempt may have put it there."""
        with self._lock:
            self._counts["batches"] += 1
            self._counts["stored"] += sum(rows.values())
            self._counts["dead_lettered"] += dead
            self._counts["read_again"] += sum(rows.values()) if again else 0
            self._rows.update(rows)

    def refused(self, records: int) -> None:
        """Decoded records were dropped uncommitted."""
        with self._lock:
            self._counts["refused"] += records

    def snapshot(self) -> Counts:
        """The counts now."""
        with self._lock:
            return Counts(**self._counts, rows=dict(self._rows))
