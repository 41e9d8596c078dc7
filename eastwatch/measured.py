"""What an ingestion does, told to telemetry: an engine whose inserts are timed, the loop's measures and its counters.

The rooms below know nothing of telemetry; it is put around them here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from collector.ingest.counters import Counters
from eastwatch.telemetry import CounterName, Telemetry
from storage.engine import Engine, Settings

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
        return self._engine.query(sql, parameters, settings=settings, external=external)

    def insert(self, table: str, batch: pa.RecordBatch, *, token: str | None = None) -> None:
        """See `Engine.insert`."""
        began = time.monotonic()
        with self._telemetry.span("insert", table=table):
            self._engine.insert(table, batch, token=token)
        self._telemetry.record("eastwatch.insert.duration", time.monotonic() - began, table=table)
        self._telemetry.record("eastwatch.batch.rows", batch.num_rows, table=table)

    def execute(
        self, sql: str, parameters: Mapping[str, Any] | None = None, *, settings: Settings | None = None
    ) -> None:
        """See `Engine.execute`."""
        self._engine.execute(sql, parameters, settings=settings)

    def close(self) -> None:
        """See `Engine.close`."""
        self._engine.close()


class TelemetryMeasures:
    """`collector.ingest.measures.Measures`, sent on."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def decoded(self, format: str, seconds: float, size_bytes: int) -> None:
        """See `Measures.decoded`."""
        self._telemetry.record("eastwatch.decode.duration", seconds, format=format)
        self._telemetry.record("eastwatch.batch.bytes", size_bytes, format=format)

    def lag(self, topic: str, partition: int, messages: int) -> None:
        """See `Measures.lag`."""
        self._telemetry.record("eastwatch.source.lag", messages, topic=topic, partition=partition)


def measured(engine: Engine, telemetry: Telemetry) -> Engine:
    """`engine` itself where nothing is sent."""
    return MeasuredEngine(engine, telemetry) if telemetry.enabled else engine


@contextmanager
def reported(counters: Counters, telemetry: Telemetry, every_s: float = REPORT_INTERVAL_S) -> Generator[None]:
    """Count what `counters` gain while the block runs."""
    if not telemetry.enabled:
        yield
        return
    told: dict[CounterName, int] = {}
    ended = threading.Event()

    def tell() -> None:
        counts = counters.snapshot()
        now: dict[CounterName, int] = {
            "eastwatch.messages.read": counts.messages,
            "eastwatch.records.accepted": counts.accepted,
            "eastwatch.records.stored": counts.stored,
            "eastwatch.records.dead_lettered": counts.dead_lettered,
            "eastwatch.records.refused": counts.refused,
        }
        for name, total in now.items():
            telemetry.count(name, total - told.get(name, 0))
        told.update(now)

    def run() -> None:
        while not ended.wait(every_s):
            tell()

    thread = threading.Thread(target=run, name="telemetry counters", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        tell()
