"""A store for tests of denials: lines go in as `eastwatch ingest` stores them, pods as an inventory does."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from collector.contract import Batch
from collector.decode.limits import Limits
from collector.ingest.decoders import DecoderCache
from collector.ingest.options import IngestOptions
from collector.ingest.run import Ingest
from collector.inventory import load
from collector.sources.memory import MemorySource
from storage.engine import Engine
from tests.analyzers.policy.denial_lines import IPS

START = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
RBAC = "rbac_access_denied_matched_policy[{}]"
ISTIO = "ns[shop]-policy[api-callers]-rule[2]"


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def ingested(engine: Engine, stream: Iterable[str]) -> None:
    """Store lines in one batch, as `eastwatch ingest` does; none of them may become a dead letter."""
    bodies = pa.array([line.encode() for line in stream], pa.large_binary())
    batch = Batch("cluster", "topic", "id", 0, bodies, pa.array(range(len(bodies)), pa.int64()))
    source = MemorySource("memory", [batch], "auto")
    Ingest(engine, [source], DecoderCache(Limits()), options=IngestOptions(), patient=False).run()
    assert engine.query("SELECT reason FROM dead_letters LIMIT 10").to_pylist() == []


def pods(*names: str) -> Mapping[str, bytes]:
    """An inventory of one pod and service for each name."""
    items = [
        {
            "apiVersion": "v1",
            "kind": kind,
            "metadata": {"name": name, "namespace": "shop", "labels": {"app": name}},
            **(
                {
                    "spec": {"serviceAccountName": name, "containers": []},
                    "status": {"podIP": IPS[name], "startTime": "2026-01-01T00:00:00Z"},
                }
                if kind == "Pod"
                else {"spec": {"selector": {"app": name}, "ports": [{"port": 8080}]}}
            ),
        }
        for name in names
        for kind in ("Pod", "Service")
    ]
    return {"pods.json": json.dumps({"kind": "List", "items": items}).encode()}


def stock(engine: Engine, *names: str) -> None:
    load(engine, pods(*names), loaded_at=datetime(2026, 1, 1, tzinfo=UTC))
