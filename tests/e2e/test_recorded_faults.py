"""Recorded traces whose spans name only pods and no kinds: the map against the set's own list of edges.

Long: about a million spans in all.
"""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import eastwatch, eastwatch_json
from tests.support.datasets import dataset
from tests.support.feed import produce
from tests.support.pod_traces import ROOT, Row, minutes, to_otlp

pytestmark = [pytest.mark.long, pytest.mark.kafka]

UNTRACED = {("checkoutservice", "currencyservice")}
"""Listed by the set, in none of its traces."""


def called(rows: list[Row]) -> Counter[tuple[str, str]]:
    """Calls between services: each span whose parent belongs to another one."""
    spans = {(row.trace_id, row.span_id): row for row in rows}
    calls: Counter[tuple[str, str]] = Counter()
    for row in rows:
        parent = spans.get((row.trace_id, row.parent_id)) if row.parent_id != ROOT else None
        if parent is not None and parent.service != row.service:
            calls[parent.service, row.service] += 1
    return calls


@pytest.mark.parametrize("name", ["faults-online-boutique", "faults-train-ticket"])
def test_every_recorded_call_is_on_the_map(name: str, kafka: Any, tmp_path: Path) -> None:
    directory, topic, store = dataset(name), kafka.topic(), f"chdb:{tmp_path / 'store'}"
    rows: list[Row] = []
    for _, minute in minutes(directory / "trace.tar.xz"):
        blocks = (minute[i : i + 2000] for i in range(0, len(minute), 2000))
        produce(kafka.bootstrap, topic, (to_otlp(block).SerializeToString() for block in blocks))
        rows += minute
    truth = called(rows)

    source = f"kafka://{kafka.bootstrap}/{topic}?format=otlp_proto"
    eastwatch("ingest", source, "--until-idle", "--store", store, limit_s=900)
    document = eastwatch_json("map", "--store", store)

    assert {(e["source"], e["destination"]): e["requests"] for e in document["edges"]} == truth
    if (listed := directory / "metric" / "dependency.csv").exists():
        services = {row.service for row in rows}
        with listed.open() as file:
            pairs = {(row["Source"], row["Target"]) for row in csv.DictReader(file)}
        assert truth.keys() == {pair for pair in pairs if set(pair) <= services} - UNTRACED
