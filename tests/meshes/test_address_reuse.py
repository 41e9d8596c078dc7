"""An address that moves to another pod, known from telemetry alone: each call keeps the caller of its own time."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from analyzers.dependencies.derive import derive
from analyzers.dependencies.service_map import service_map
from collector.contract import Batch
from collector.decode.limits import Limits
from collector.ingest.decoders import DecoderCache
from collector.ingest.run import Ingest
from collector.sources.memory import MemorySource
from eastwatch.follow_up import follow_up
from storage.engine import Engine

DAY = datetime(2026, 3, 2, tzinfo=UTC)
NOW = DAY + timedelta(days=1)
X = "10.0.0.9"


def line(hour: float, **fields: Any) -> bytes:
    common = {"ts": (DAY + timedelta(hours=hour)).isoformat(), "status": 200, "duration_us": 1000, "method": "GET"}
    cart = {"destination_namespace": "shop", "destination_service": "cart", "path": "/", "protocol": "http"}
    return json.dumps(common | cart | fields).encode()


def of_itself(hour: float, workload: str) -> bytes:
    """A proxy's own line, which says whose the address is."""
    own = {"source_namespace": "shop", "source_workload": workload, "source_pod": f"{workload}-0", "source_ip": X}
    return line(hour, reporter="source", destination_service="log", **own)


def by_address(hour: float) -> bytes:
    """The callee's line, which knows its caller's address and no more."""
    return line(hour, reporter="destination", source_ip=X)


def ingest(engine: Engine, first: int, *lines: bytes) -> None:
    offsets = pa.array(range(first, first + len(lines)), pa.int64())
    batch = Batch("cluster", "calls", "t", 0, pa.array(lines, pa.large_binary()), offsets)
    source = MemorySource("memory", [batch], "calls_json", replayable=True)
    Ingest(engine, [source], DecoderCache(Limits()), patient=False).run()


def callers(engine: Engine, since: float, until: float) -> set[str]:
    edges = service_map(engine, DAY + timedelta(hours=since), DAY + timedelta(hours=until)).edges
    return {edge.source for edge in edges if edge.destination == "shop/cart"}


def test_each_call_keeps_the_caller_of_its_time(engine: Engine) -> None:
    ingest(engine, 0, of_itself(10.0, "a"), by_address(10.2), by_address(12.2), by_address(16.2))
    follow_up(engine, now=NOW)
    assert callers(engine, 10, 11) == {"shop/a"}
    assert callers(engine, 12, 17) == {"unknown"}
    ingest(engine, 4, of_itself(12.0, "z"), by_address(12.4))
    follow_up(engine, now=NOW + timedelta(hours=1))
    assert callers(engine, 10, 11) == {"shop/a"}
    assert callers(engine, 12, 13) == {"shop/z"}
    assert callers(engine, 16, 17) == {"unknown"}
    # Nothing new: nothing is derived, learnt or stored again, whoever replays what.
    before = engine.query("SELECT count() AS n, max(loaded_at) AS at FROM aliases").to_pylist()
    ingest(engine, 0, of_itself(10.0, "a"), by_address(10.2), by_address(12.2), by_address(16.2))
    follow_up(engine, now=NOW + timedelta(hours=2))
    assert engine.query("SELECT count() AS n, max(loaded_at) AS at FROM aliases").to_pylist() == before
    assert derive(engine, now=NOW + timedelta(hours=3)).minutes["address"] == 0
    # Only minutes on which new knowledge bears are derived again.
    generation = derived_at(engine, 10.2)
    ingest(engine, 6, of_itself(20.0, "y"))
    follow_up(engine, now=NOW + timedelta(hours=4))
    assert derived_at(engine, 10.2) == generation
    assert callers(engine, 10, 11) == {"shop/a"}


def derived_at(engine: Engine, hour: float) -> int:
    """The generation that counts of the minute."""
    found = engine.query(
        "SELECT max(generation) AS generation FROM derived_periods"
        " WHERE kind = 'address' AND grain = '1m' AND period = {minute:DateTime64(0, 'UTC')}",
        {"minute": DAY + timedelta(hours=hour)},
    )
    assert found.column("generation")[0].as_py()
    return found.column("generation")[0].as_py()
