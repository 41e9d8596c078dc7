"""What an ingestion does, told to telemetry: an engine whose inserts are timed, the loop's measures and its counters.

The rooms below know nothing of telemetry; it is put around them here.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from collector.ingest.run import Ingest
from eastwatch.telemetry import CounterName, Label, Telemetry
from storage.engine import Engine, Settings
from storage.errors import StorageError
from storage.tables import DEAD_LETTERS

REPORT_INTERVAL_S = 5.0


class MeasuredEngine:
    """`engine`, with a span, a duration and a size for each insert."""

    def __init__(self, engine: Engine, telemetry: Telemetry) -> None:
        self._engine = engine
        self._telemetry = telemetry

    @property
    def location(self) -> str:
        """Where the data is."""
        return self._engine.location

    def query(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        settings: Settings | None = None,
        external: Mapping[str, pa.Table] | None = None,
    ) -> pa.Table:
        """See `Engine.query`."""
        with self._failures():
            return self._engine.query(sql, parameters, settings=settings, external=external)

    def insert(self, table: str, batch: pa.RecordBatch, *, token: str | None = None) -> None:
        """See `Engine.insert`."""
        began = time.monotonic()
        with self._telemetry.span("insert", table=table), self._failures():
            self._engine.insert(table, batch, token=token)
        self._telemetry.record("eastwatch.insert.duration", time.monotonic() - began, table=table)
        self._telemetry.record("eastwatch.batch.rows", batch.num_rows, table=table)

    def execute(
        self, sql: str, parameters: Mapping[str, Any] | None = None, *, settings: Settings | None = None
    ) -> None:
        """See `Engine.execute`."""
        with self._failures():
            self._engine.execute(sql, parameters, settings=settings)

    def close(self) -> None:
        """See `Engine.close`."""
        self._engine.close()

    @contextmanager
    def _failures(self) -> Generator[None]:
        try:
            yield
        except StorageError as error:
            self._telemetry.count("eastwatch.engine.failures", error=type(error).__name__)
            raise


class TelemetryMeasures:
    """`collector.ingest.measures.Measures`, sent on.

    Args:
        labels: of every lag: two sources may read topics of one name, on two Kafkas or in two groups.
    """

    def __init__(self, telemetry: Telemetry, **labels: Label) -> None:
        self._telemetry = telemetry
        self._labels = labels

    def decoded(self, format: str, seconds: float, size_bytes: int) -> None:
        """See `Measures.decoded`."""
        self._telemetry.record("eastwatch.decode.duration", seconds, format=format)
        self._telemetry.record("eastwatch.batch.size", size_bytes, format=format)

    def lag(self, topic: str, partition: int, messages: int) -> None:
        """See `Measures.lag`."""
        self._telemetry.record("eastwatch.source.lag", messages, topic=topic, partition=partition, **self._labels)

    def gone(self, topic: str, partition: int) -> None:
        """See `Measures.gone`."""
        self._telemetry.forget("eastwatch.source.lag", topic=topic, partition=partition, **self._labels)


def measured(engine: Engine, telemetry: Telemetry) -> Engine:
    """`engine` itself where nothing is sent."""
    return MeasuredEngine(engine, telemetry) if telemetry.enabled else engine


@contextmanager
def reported(
    loop: Ingest, telemetry: Telemetry, every_s: float = REPORT_INTERVAL_S, **labels: Label
) -> Generator[None]:
    """Count what `loop` does while the block runs, under `labels`."""
    if not telemetry.enabled:
        yield
        return
    report = _Report(loop, telemetry, labels)
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(every_s):
            report.tell()

    thread = threading.Thread(target=run, name="telemetry counters", daemon=True)
    thread.start()
    try:
        with telemetry.before_exposition(report.tell):
            yield
    finally:
        ended.set()
        thread.join()
        report.tell()
        telemetry.forget("eastwatch.memory.in_flight", **labels)


class _Report:
    """Counters of a loop, told as what they gained since they were told last."""

    def __init__(self, loop: Ingest, telemetry: Telemetry, labels: Mapping[str, Label]) -> None:
        self._loop = loop
        self._telemetry = telemetry
        self._labels = labels
        self._told: Counter[tuple[CounterName, str]] = Counter()
        self._lock = threading.Lock()

    def tell(self) -> None:
        """Tell what came since. Safe from any thread."""
        with self._lock:
            counts = self._loop.counters.snapshot()
            now = Counter[tuple[CounterName, str]](
                {
                    ("eastwatch.messages.read", ""): counts.messages,
                    ("eastwatch.read", ""): counts.bytes,
                    ("eastwatch.batches.stored", ""): counts.batches,
                    ("eastwatch.records.accepted", ""): counts.accepted,
                    ("eastwatch.records.stored", ""): counts.stored,
                    ("eastwatch.records.dead_lettered", ""): counts.dead_lettered,
                    ("eastwatch.records.refused", ""): counts.refused,
                }
            )
            for table, rows in {**counts.rows, DEAD_LETTERS.name: counts.dead_lettered}.items():
                now["eastwatch.rows.stored", table] = rows
            for (name, table), total in now.items():
                more: dict[str, Label] = {"table": table} if table else {}
                self._telemetry.count(name, total - self._told[name, table], **self._labels, **more)
            self._told = now
        self._telemetry.record("eastwatch.memory.in_flight", self._loop.in_flight_bytes, **self._labels)
