"""Recorded traces of real applications, in their own wire formats, to exact edges. Skips where the data is absent."""

from __future__ import annotations

import csv
import json
import lzma
from bisect import bisect_left
from collections import Counter
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE

from collector.decode.registry import decoder
from storage.engine import Engine
from tests.meshes.scenario import edges, ingested
from tests.support.datasets import dataset
from tests.support.pod_traces import ROOT, Row, minutes, to_otlp

UNTRACED = {("checkoutservice", "currencyservice")}
"""Listed by the set, in none of its traces."""


# --- Zipkin -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ascend", "envoy", "messaging-kafka", "skew", "yelp"])
@pytest.mark.parametrize("format", ["zipkin_json", "auto"])
def test_no_zipkin_span_is_lost(name: str, format: str) -> None:
    body = (dataset("zipkin-traces") / f"{name}.json").read_bytes()
    decoded = decoder(format).decode(pa.array([body], pa.large_binary()))
    assert not decoded.dead
    recorded = json.loads(body)
    rows = sorted(decoded.tables["spans"].to_pylist(), key=lambda row: row["_record"])
    for row, span in zip(rows, recorded, strict=True):
        assert row["trace_id"] == span["traceId"].rjust(32, "0")
        assert (row["span_id"], row["parent_span_id"]) == (span["id"], span.get("parentId", ""))
        assert row["ts"].timestamp() * 1e6 == pytest.approx(span["timestamp"], abs=1)
        assert (row["duration_us"], bool(row["shared"])) == (span["duration"], span.get("shared", False))
        assert row["kind"] == span.get("kind", "unspecified").lower()
        assert row["service"] == span.get("localEndpoint", {}).get("serviceName", "")
        assert dict(row["attributes"]) == span.get("tags", {})
        assert bool(row["error"]) == ("error" in span.get("tags", {}))
        assert len(json.loads(row["events"] or "[]")) == len(span.get("annotations", []))


ZIPKIN_EDGES: dict[str, dict[tuple[str, str], tuple[int, str | None]]] = {
    "ascend": {
        ("mobile-gateway", "content-service"): (1, "http"),
        ("mobile-gateway", "auth-service"): (1, "http"),
    },
    "skew": {("servicea", "serviceb"): (1, None)},
    "messaging-kafka": {
        ("kafka", "servicea"): (1, "messaging"),
        # Three of nine messages are consumed, by both services each; of the other six only the broker is known.
        ("servicea", "kafka"): (6, "messaging"),
        ("servicea", "servicea"): (3, "messaging"),
        ("servicea", "serviceb"): (3, "messaging"),
    },
    # One server span of an Envoy that does not say who it is.
    "envoy": {},
    "yelp": {
        # `routing` holds the server's half of an id whose client never reported.
        ("routing", "unknown"): (1, None),
        ("routing", "yelp-main"): (1, None),
        ("unknown", "yelp_main%2Fapi_proxy"): (1, None),
        # The proxy goes on as yelp-main without spans between: a call to memcache and a transaction hang on its half.
        ("yelp_main%2Fapi_proxy", "yelp-main"): (2, None),
        ("yelp-main", "mobile_api"): (1, None),
        ("yelp-main", "memcache"): (3, None),
        ("yelp-main", "mysql"): (2, None),
        ("mobile_api", "memcache"): (2, None),
        ("mobile_api", "spectre"): (1, None),
        ("mobile_api", "blt"): (1, None),
    },
}


@pytest.mark.parametrize("name", list(ZIPKIN_EDGES))
def test_edges_of_zipkin_traces(name: str, engine: Engine) -> None:
    found = edges(ingested(engine, [(dataset("zipkin-traces") / f"{name}.json").read_bytes()]))
    assert {pair: (edge.requests, edge.protocol) for pair, edge in found.items()} == ZIPKIN_EDGES[name]


# --- Jaeger -------------------------------------------------------------------------------------------------------


def called(export: dict[str, Any]) -> Counter[tuple[str, str]]:
    """Calls between services, span by span: each server span whose parent is another service's client span."""
    calls: Counter[tuple[str, str]] = Counter()
    for trace in export["data"]:
        spans = {span["spanID"]: span for span in trace["spans"]}
        for span in spans.values():
            for reference in span["references"]:
                pair = (spans[reference["spanID"]], span)
                kinds = tuple(t["value"] for s in pair for t in s["tags"] if t["key"] == "span.kind")
                if kinds == ("client", "server"):
                    caller, callee = (trace["processes"][s["processID"]]["serviceName"] for s in pair)
                    calls[caller, callee] += 1
    return calls


def exports(load: int, most: int) -> list[bytes]:
    """The first exports of one load."""
    with lzma.open(dataset("hotel-reservation-load") / f"load{load}.ndjson.xz") as lines:
        return list(islice(lines, most))


def test_hotel_reservation_is_six_services_and_five_edges(engine: Engine) -> None:
    recorded = [line for load in (25, 50, 75) for line in exports(load, 200)]
    truth: Counter[tuple[str, str]] = Counter()
    for line in recorded:
        truth += called(json.loads(line))
    found = ingested(engine, recorded, "jaeger_json")
    assert {pair: edge.requests for pair, edge in edges(found).items()} == truth
    assert len(truth) == 5
    assert {node.id for node in found.nodes} == {"frontend", "search", "geo", "rate", "profile", "reservation"}
    for edge in found.edges:
        assert (edge.attempts, edge.errors, edge.protocol) == (edge.requests, 0, "grpc")


# --- spans that name pods, and no kinds ---------------------------------------------------------------------------


def as_zipkin(rows: list[Row]) -> list[bytes]:
    """A Zipkin list of these spans, cut to microseconds."""
    spans: list[dict[str, Any]] = []
    for row in rows:
        span: dict[str, Any] = {"traceId": row.trace_id, "id": row.span_id, "name": row.operation}
        span |= {"timestamp": row.start_ns // 1000, "duration": (row.end_ns - row.start_ns) // 1000}
        span |= {"localEndpoint": {"serviceName": row.service}, "tags": {"k8s.pod.name": row.pod}}
        spans.append(span if row.parent_id == ROOT else span | {"parentId": row.parent_id})
    return [json.dumps(spans[i : i + 500]).encode() for i in range(0, len(spans), 500)]


def as_otlp(rows: list[Row]) -> list[bytes]:
    return [to_otlp(rows[i : i + 500]).SerializeToString() for i in range(0, len(rows), 500)]


def calls_of(rows: list[Row]) -> Counter[tuple[str, str]]:
    """Calls between services: each span whose parent belongs to another one."""
    spans = {(row.trace_id, row.span_id): row for row in rows}
    calls: Counter[tuple[str, str]] = Counter()
    for row in rows:
        parent = spans.get((row.trace_id, row.parent_id)) if row.parent_id != ROOT else None
        if parent is not None and parent.service != row.service:
            calls[parent.service, row.service] += 1
    return calls


def listed(directory: Path, services: set[str]) -> set[tuple[str, str]]:
    """The set's own list of edges, its rows of pods and nodes left out."""
    with (directory / "metric" / "dependency.csv").open() as file:
        pairs = {(row["Source"], row["Target"]) for row in csv.DictReader(file)}
    return {pair for pair in pairs if set(pair) <= services}


@cache
def recorded(directory: Path, files: int) -> list[Row]:
    """The rows of the first minutes. Finding them takes seconds: the archive is one compressed stream."""
    return [row for _, rows in islice(minutes(directory / "trace.tar.xz"), files) for row in rows]


@pytest.mark.parametrize("written", [as_zipkin, as_otlp])
def test_online_boutique_is_its_list_of_edges_but_the_one_that_is_not_traced(written: Any, engine: Engine) -> None:
    directory = dataset("faults-online-boutique")
    rows = recorded(directory, 1)
    found = edges(ingested(engine, written(rows)))
    assert {pair: edge.requests for pair, edge in found.items()} == calls_of(rows)
    assert found.keys() == listed(directory, {row.service for row in rows}) - UNTRACED


def test_train_ticket_is_every_call_between_its_services(engine: Engine) -> None:
    rows = recorded(dataset("faults-train-ticket"), 3)
    found = edges(ingested(engine, as_zipkin(rows)))
    truth = calls_of(rows)
    assert len(truth) > 20
    assert {pair: edge.requests for pair, edge in found.items()} == truth


# --- the metrics beside them --------------------------------------------------------------------------------------

BOUNDS_MS = (1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000)


def medians(path: Path, most: int) -> dict[tuple[str, str], list[tuple[int, float]]]:
    """(time in s, median latency in ms) of each edge in the first `most` minutes that tell one."""
    found: dict[tuple[str, str], list[tuple[int, float]]] = {}
    with path.open() as file:
        for record in islice(csv.DictReader(file), most):
            when = datetime.strptime(record.pop("time")[:19], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
            del record["timestamp"]  # wrong in one row of the set
            for name, value in record.items():
                caller, _, callee = name.partition("_")
                if value:
                    found.setdefault((caller, callee), []).append((int(when.timestamp()), float(value) * 1000))
    return found


def istio_durations(directory: Path, minutes_of_it: int) -> bytes:
    """The set's median latencies as Istio's duration histogram, cumulative: one request a minute, edge and side."""
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add()
    metric.name, metric.unit = "istio_request_duration_milliseconds", "ms"
    metric.histogram.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
    for reporter in ("source", "destination"):
        for (caller, callee), values in medians(directory / "metric" / f"{reporter}_50.csv", minutes_of_it).items():
            labels = {"reporter": reporter, "source_workload": caller, "destination_workload": callee}
            labels |= {"destination_service_name": callee, "request_protocol": "grpc", "response_code": "200"}
            labels |= {"connection_security_policy": "mutual_tls" if reporter == "destination" else "unknown"}
            counts = [0] * (len(BOUNDS_MS) + 1)
            for at, latency_ms in values:
                counts[bisect_left(BOUNDS_MS, latency_ms)] += 1
                point = metric.histogram.data_points.add(
                    start_time_unix_nano=(values[0][0] - 30) * 10**9,
                    time_unix_nano=at * 10**9,
                    count=sum(counts),
                    bucket_counts=counts,
                    explicit_bounds=BOUNDS_MS,
                )
                for key, text in labels.items():
                    point.attributes.add(key=key).value.string_value = text
    return request.SerializeToString()


def test_the_edge_that_no_trace_shows_is_seen_by_metrics_only(engine: Engine) -> None:
    directory = dataset("faults-online-boutique")
    rows, told = recorded(directory, 1), medians(directory / "metric" / "source_50.csv", 5)
    found = edges(ingested(engine, [*as_zipkin(rows), istio_durations(directory, 5)]))
    assert found.keys() == listed(directory, {row.service for row in rows}) == told.keys()
    assert {pair for pair, edge in found.items() if edge.evidence == ["metric"]} == UNTRACED
    assert all(edge.evidence == ["metric", "trace"] for pair, edge in found.items() if pair not in UNTRACED)
    for pair, edge in found.items():
        # Metrics outrank traces for the numbers.
        assert (edge.requests, edge.errors, edge.mtls_share) == (len(told[pair]), 0, 1.0)
        latencies = sorted(latency for _, latency in told[pair])
        assert edge.p50_ms is not None
        bucket = bisect_left(BOUNDS_MS, latencies[(len(latencies) - 1) // 2])
        assert (0, *BOUNDS_MS)[bucket] <= edge.p50_ms <= BOUNDS_MS[bucket]
