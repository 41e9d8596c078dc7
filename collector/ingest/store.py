"""Last link of the chain: prepared batches go into the engine, in order, each with its token.

Edge ids are announced before the rows that use them. An engine that went away is asked again, with growing pauses,
until it is back, patience ends or ingestion stops: tokens make a repeated insert harmless.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import date
from typing import Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from collector.clock import Clock
from collector.ingest.prepare import Prepared
from storage.engine import Engine
from storage.errors import StorageError
from storage.tables import EDGE_KEYS

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 15.0
MOST_ANNOUNCED = 500_000
"""Edge ids that are remembered as announced; some 35 MB. The ids of one batch come on top."""

R = TypeVar("R")


class Notice(Protocol):
    """Tells people that the engine is away, or back."""

    def __call__(self, message: str, /) -> None: ...


class Patience:
    """Repeats what failed for a reason that a retry can mend."""

    def __init__(self, clock: Clock, stop: threading.Event, notice: Notice, patience_s: float | None) -> None:
        self._clock = clock
        self._stop = stop
        self._notice = notice
        self._patience_s = patience_s

    def __call__(self, action: Callable[[], R]) -> R:
        """Run `action` until it succeeds.

        Raises:
            StorageError: one that no retry mends, or the last one when patience ended or ingestion stops.
        """
        started = self._clock.monotonic()
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                result = action()
            except StorageError as error:
                waited = self._clock.monotonic() - started
                if not error.retryable or (self._patience_s is not None and waited >= self._patience_s):
                    raise
                if pause_s == FIRST_PAUSE_S:
                    self._notice(f"{error}; waiting for it, nothing is lost")
                if self._stop.wait(pause_s):
                    raise
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
                continue
            if pause_s != FIRST_PAUSE_S:
                self._notice("the engine is back")
            return result


class Announced:
    """Edge ids that stand in `edge_keys` for a day already; a few thousand numbers, at most about `MOST_ANNOUNCED`."""

    def __init__(self) -> None:
        self._day: date | None = None
        self._ids: set[int] = set()

    def missing(self, keys: pa.RecordBatch, day: date) -> pa.RecordBatch:
        """Rows of `keys` that were not announced for `day`."""
        ids = keys.column(EDGE_KEYS.names[0]).to_numpy(zero_copy_only=False)
        if day != self._day:
            return keys
        new = np.fromiter((int(i) not in self._ids for i in ids), bool, len(ids))
        return keys if new.all() else keys.filter(pa.array(new))

    def add(self, keys: pa.RecordBatch, day: date) -> None:
        """`keys` are in the store."""
        # Names come from telemetry: who varies them makes ids without an end. Forgotten ones are announced again, which
        # is harmless: `edge_keys` keeps one row of each id.
        if day != self._day or len(self._ids) >= MOST_ANNOUNCED:
            self._day, self._ids = day, set()
        self._ids.update(pc.unique(keys.column(EDGE_KEYS.names[0])).to_pylist())


class Store:
    """Writes prepared batches. One thread uses it."""

    def __init__(self, engine: Engine, patience: Patience) -> None:
        self._engine = engine
        self._patience = patience
        self._announced = Announced()

    def write(self, prepared: Prepared) -> None:
        """Insert everything of `prepared`; returns when the engine has it.

        Raises:
            StorageError: the engine refused, or stayed away too long.
        """
        self._announce(prepared)
        for insert in prepared.inserts:
            self._patience(lambda i=insert: self._engine.insert(i.table, i.batch, token=i.token))

    def _announce(self, prepared: Prepared) -> None:
        if prepared.edge_keys is None:
            return
        day = prepared.bounds.received_at.date()
        missing = self._announced.missing(prepared.edge_keys, day)
        if missing.num_rows:
            # No token: what is missing depends on what this process announced before, and twice is harmless.
            self._patience(lambda: self._engine.insert(EDGE_KEYS.name, missing))
            self._announced.add(missing, day)
