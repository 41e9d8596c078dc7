"""From wire bytes to the map: the whole way that telemetry takes, as `eastwatch ingest` and `eastwatch map` go it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import pyarrow as pa

from analyzers.dependencies.derive import derive
from analyzers.dependencies.model import Edge, ServiceMap
from analyzers.dependencies.service_map import service_map
from collector.contract import Batch
from collector.decode.limits import Limits
from collector.ingest.decoders import DecoderCache
from collector.ingest.options import IngestOptions
from collector.ingest.run import Ingest
from collector.sources.memory import MemorySource
from storage.engine import Engine

NOW = datetime(2099, 1, 1, tzinfo=UTC)
"""A clock later than every sample."""


def ingested(engine: Engine, messages: Iterable[str | bytes], format: str = "auto") -> ServiceMap:
    """Store one batch of messages, none of which may become a dead letter; derive; read the map."""
    bodies = [message.encode() if isinstance(message, str) else message for message in messages]
    offsets = pa.array(range(len(bodies)), pa.int64())
    batch = Batch("cluster", "topic", "id", 0, pa.array(bodies, pa.large_binary()), offsets)
    Ingest(
        engine,
        [MemorySource("memory", [batch], format)],
        DecoderCache(Limits()),
        options=IngestOptions(),
        patient=False,
    ).run()
    letters = engine.query("SELECT reason FROM dead_letters LIMIT 10").to_pylist()
    assert letters == []
    derive(engine, now=NOW)
    return service_map(engine)


def edges(found: ServiceMap) -> dict[tuple[str, str], Edge]:
    """Edges by source and destination."""
    return {(edge.source, edge.destination): edge for edge in found.edges}
