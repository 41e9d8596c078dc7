"""Helpers of the Kafka tests: lines to send, and what a store holds of them."""

from __future__ import annotations

import json
from typing import Any

from storage.engine import Engine


def line(number: int, **fields: Any) -> bytes:
    """A calls_json line whose request id is its number."""
    call = {
        "ts": f"2026-01-01T{number // 3600 % 24:02d}:{number // 60 % 60:02d}:{number % 60:02d}Z",
        "reporter": "source",
        "source_service": f"web-{number % 7}",
        "source_namespace": "shop",
        "destination_service": f"cart-{number % 3}",
        "destination_namespace": "shop",
        "method": "GET",
        "path": f"/cart/{number}",
        "status": 200,
        "duration_us": 1500,
        "request_id": str(number),
    }
    return json.dumps(call | fields).encode()


def exact(engine: Engine) -> dict[str, int]:
    """How many calls a store holds, how many different ones, how many requests its rollups count, and dead letters."""
    (calls,) = engine.query("SELECT count() AS n, uniqExact(request_id) AS different FROM calls").to_pylist()
    (edges,) = engine.query("SELECT sum(requests) AS n FROM edges_1m").to_pylist()
    (dead,) = engine.query("SELECT count() AS n FROM dead_letters").to_pylist()
    return {"calls": calls["n"], "different": calls["different"], "requests": edges["n"] or 0, "dead": dead["n"]}
