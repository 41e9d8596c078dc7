"""Recorded traces of a real application (Jaeger exports, 3 loads) through Kafka to the map."""

from __future__ import annotations

import json
import lzma
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import eastwatch, eastwatch_json
from tests.support.datasets import dataset
from tests.support.feed import produce

LOADS = (25, 50, 75)


def exports(directory: Path) -> Iterator[bytes]:
    """Every Jaeger export of the data set, as it was recorded."""
    for load in LOADS:
        with lzma.open(directory / f"load{load}.ndjson.xz") as lines:
            yield from lines


def called(export: dict[str, Any]) -> Counter[tuple[str, str]]:
    """Calls between services, span by span: each server span whose parent is another service's client span."""
    calls: Counter[tuple[str, str]] = Counter()
    for trace in export["data"]:
        for span in trace["spans"]:
            for parent in trace["spans"]:
                if any(reference["spanID"] == parent["spanID"] for reference in span["references"]):
                    pair = tuple(trace["processes"][s["processID"]]["serviceName"] for s in (parent, span))
                    kinds = tuple(t["value"] for s in (parent, span) for t in s["tags"] if t["key"] == "span.kind")
                    if kinds == ("client", "server"):
                        calls[pair[0], pair[1]] += 1
    return calls


@pytest.mark.kafka
def test_hotel_reservation_is_six_services_and_five_edges(kafka: Any, tmp_path: Path) -> None:
    recorded = list(exports(dataset("hotel-reservation-load")))
    truth: Counter[tuple[str, str]] = sum((called(json.loads(export)) for export in recorded), Counter())
    assert len(truth) == 5
    topic, store = kafka.topic(), f"chdb:{tmp_path / 'store'}"
    produce(kafka.bootstrap, topic, recorded)

    eastwatch("ingest", f"kafka://{kafka.bootstrap}/{topic}?format=jaeger_json", "--until-idle", "--store", store)
    document = eastwatch_json("map", "--store", store)

    edges = {(edge["source"], edge["destination"]): edge for edge in document["edges"]}
    assert {pair: edge["requests"] for pair, edge in edges.items()} == truth
    assert {node["id"] for node in document["nodes"]} == {
        "frontend",
        "search",
        "geo",
        "rate",
        "profile",
        "reservation",
    }
    for pair, edge in edges.items():
        assert (edge["attempts"], edge["mtls_share"], edge["evidence"]) == (truth[pair], None, ["trace"])
        assert (edge["errors"], edge["direction"]) == (0, "east_west")
        assert 0 < edge["p50_ms"] <= edge["p95_ms"] <= edge["p99_ms"]
