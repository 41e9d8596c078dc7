"""A store of which it is known who may call what, for tests of suggested policies."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from collector.contract import Batch
from collector.decode.limits import Limits
from collector.ingest.decoders import DecoderCache
from collector.ingest.options import IngestOptions
from collector.ingest.run import Ingest
from collector.inventory import load
from collector.sources.memory import MemorySource
from storage.conform import conform
from storage.engine import Engine
from storage.tables import FINDINGS

START = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
WINDOW = timedelta(seconds=100)
IPS = {name: f"10.7.0.{place}" for place, name in enumerate(("web", "cron", "orders", "cart", "db", "evil", "edge"), 2)}
PORTS = {"db": 3306}


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def spiffe(name: str) -> str:
    return f"spiffe://cluster.local/ns/shop/sa/{name}"


def line(seconds: float, source: str, destination: str, method: str, path: str, **fields: Any) -> dict[str, Any]:
    """One call as its callee's proxy would tell of it; an empty `source` has no identity."""
    found: dict[str, Any] = {
        "ts": at(seconds).isoformat().replace("+00:00", "Z"),
        "reporter": "destination",
        "mesh": "istio",
        "source_principal": spiffe(source) if source else "",
        "source_ip": IPS.get(source, "10.9.9.9"),
        "destination_namespace": "shop",
        "destination_workload": destination,
        "destination_service": destination,
        "destination_port": PORTS.get(destination, 8080),
        "method": method,
        "path": path,
        "status": 200,
        "tls": "mtls" if source else "plaintext",
        "verdict": "allowed",
    }
    return found | fields


def connection(seconds: float, source: str, destination: str, **fields: Any) -> dict[str, Any]:
    """One connection."""
    bare = line(seconds, source, destination, "", "", protocol="tcp", log_type="connection_end")
    return {name: content for name, content in bare.items() if name not in ("method", "path", "status")} | fields


def refused(seconds: float, source: str, destination: str, method: str, path: str) -> dict[str, Any]:
    """One call that was refused."""
    return line(seconds, source, destination, method, path, status=403, verdict="denied")


def usual() -> list[dict[str, Any]]:
    """100 seconds of a shop: what `KNOWN` says, an intruder who was refused, and nothing new in the last fifth."""
    lines: list[dict[str, Any]] = []
    for second in range(0, 100, 2):
        lines.append(line(second, "web", "orders", "GET", f"/orders/{1000 + second}?page=1"))
        lines.append(line(second, "web", "cart", "POST", "/cart/items"))
        lines.append(line(second, "cron", "orders", "DELETE", f"/orders/{2000 + second}/"))
        lines.append(line(second, "cron", "orders", "GET", f"/orders/{2000 + second}"))
        lines.append(connection(second, "orders", "db"))
    lines.append(refused(10, "evil", "orders", "GET", "/orders/1"))
    lines.append(refused(11, "evil", "db", "GET", "/"))
    return lines


def ingested(engine: Engine, lines: Iterable[Mapping[str, Any]]) -> None:
    """Store lines in one batch, as `eastwatch ingest` does; none of them may become a dead letter."""
    bodies = pa.array([json.dumps(one).encode() for one in lines], pa.large_binary())
    batch = Batch("cluster", "topic", "id", 0, bodies, pa.array(range(len(bodies)), pa.int64()))
    source = MemorySource("memory", [batch], "calls_json")
    Ingest(engine, [source], DecoderCache(Limits()), options=IngestOptions(), patient=False).run()
    assert engine.query("SELECT reason FROM dead_letters LIMIT 10").to_pylist() == []


def pods(*names: str, **labels: Mapping[str, str]) -> Mapping[str, bytes]:
    """An inventory of one pod and service for each name."""
    items = [
        {
            "apiVersion": "v1",
            "kind": kind,
            "metadata": {"name": name, "namespace": "shop", "labels": dict(labels.get(name, {"app": name}))},
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


def stocked(engine: Engine, lines: Iterable[Mapping[str, Any]], *names: str, **labels: Mapping[str, str]) -> None:
    """Calls, and the pods of the shop (`names`, or all of them)."""
    load(engine, pods(*(names or IPS), **labels), loaded_at=datetime(2026, 1, 1, tzinfo=UTC))
    ingested(engine, lines)


def found(engine: Engine, principal: str, severity: str = "high", **fields: str) -> None:
    """Store a finding about a caller, in the time of the window."""
    row = {"id": f"{principal}{severity}{fields}", "kind": "test", "severity": severity, "principal": principal}
    given = row | {"first_seen": at(1), "last_seen": at(5), "found_at": at(6)} | fields
    batch = conform(FINDINGS, pa.RecordBatch.from_pylist([given]))
    engine.insert(FINDINGS.name, batch)
