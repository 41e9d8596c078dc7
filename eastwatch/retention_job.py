"""The disk budget in a process that runs on: what the store holds is measured and swept every minute, told and counted.

Settings.retention.disk_bytes ──► storage.disk_budget.enforce ──► one log line a day that went, counters, gauges
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from itertools import groupby

from collector.clock import Clock
from collector.ingest.store import Notice
from eastwatch.health import Check
from eastwatch.telemetry import Telemetry
from storage.disk_budget import Holding, Sweep, enforce
from storage.engine import Engine
from storage.errors import StorageError

EVERY_S = 60.0


class RetentionJob:
    """Keeps the store within its budget until `stop`; without a budget it only measures.

    Args:
        engine: the store.
        budget_bytes: 0 = none.
    """

    def __init__(self, engine: Engine, budget_bytes: int, clock: Clock, telemetry: Telemetry, notice: Notice) -> None:
        self.defect: Exception | None = None
        self._engine = engine
        self._budget_bytes = budget_bytes
        self._clock = clock
        self._telemetry = telemetry
        self._notice = notice
        self._trouble = ""
        """What was wrong at the last run: it is told once, not every minute."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="job retention", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Begin no further run."""
        self._stop.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; False when it took longer."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def check(self) -> Check:
        """Its name and what is wrong. Readiness does not depend on it: records are read and stored all the same."""
        return Check("job retention", self._trouble)

    def sweep(self) -> None:
        """One run. An engine that fails is told, and asked again in the next."""
        try:
            swept = enforce(self._engine, self._budget_bytes, self._clock.now().date(), dropped=self._tell)
        except StorageError as error:
            self._tell_once(str(error), f"{error}; it is tried again")
            return
        self._telemetry.record("eastwatch.store.disk", swept.held_bytes)
        self._telemetry.record("eastwatch.store.over_budget", swept.over_bytes)
        self._tell_once("over" if swept.over_bytes else "", told_over(swept))

    def _tell(self, gone: Sequence[Holding]) -> None:
        for one in gone:
            self._telemetry.count("eastwatch.retention.dropped", one.disk_bytes, table=one.table)
        for line in told(gone):
            self._notice(f"retention: dropped {line}, to fit into {gigabytes(self._budget_bytes)}")

    def _tell_once(self, trouble: str, text: str) -> None:
        """Say `text` where `trouble` is another than at the last run; empty = none."""
        if trouble and trouble != self._trouble:
            self._notice(f"retention: {text}")
        self._trouble = trouble

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self.sweep()
                self._stop.wait(EVERY_S)
        except Exception as error:  # noqa: BLE001 - raised again by the main thread
            self.defect = error


def told(dropped: Sequence[Holding]) -> Iterator[str]:
    """A line for each day that went (or would go)."""
    for day, group in groupby(dropped, lambda one: one.day):
        gone = list(group)
        rows = ", ".join(f"{one.rows:,} {one.table}" for one in gone)
        yield f"what arrived on {day}: {rows}, {gigabytes(_sum(gone))} on disk"


def told_over(sweep: Sweep) -> str:
    """What to do where the store does not fit although nothing more may go."""
    return (
        f"the store takes {gigabytes(sweep.held_bytes)}, {gigabytes(sweep.over_bytes)} more than retention.disk_bytes, "
        "and only the latest day of telemetry is left, which stays: raise the budget, or keep less of it by age"
    )


def gigabytes(size_bytes: int) -> str:
    """A size for people: `12.3 GB`, `45 MB`, `0 MB`."""
    return f"{size_bytes / 1e9:,.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:,.0f} MB"


def _sum(held: Sequence[Holding]) -> int:
    return sum(one.disk_bytes for one in held)
