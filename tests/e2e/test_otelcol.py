"""otel-python's exporters and an Envoy log file, through a real Collector and a real broker, to rows.

The Collector runs `deploy/otel-collector.yaml` itself.
"""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode

from tests.support.cli import eastwatch, eastwatch_json
from tests.support.kafka_broker import KafkaBroker, free_ports
from tests.support.otelcol import missing, otelcol
from tests.support.poll import poll
from tests.support.require import require

CONFIG = Path(__file__).parents[2] / "deploy" / "otel-collector.yaml"
CALLS = 50
pytestmark = [pytest.mark.kafka, pytest.mark.otelcol]


def envoy_line(number: int) -> str:
    """Istio's JSON access log of cart's sidecar, about a request from checkout."""
    return json.dumps(
        {
            "start_time": f"2026-11-23T01:00:{number % 60:02d}.123Z",
            "method": "GET",
            "path": f"/cart/{number}",
            "protocol": "HTTP/1.1",
            "response_code": 200,
            "response_flags": "-",
            "duration": 3,
            "bytes_sent": 10,
            "bytes_received": 0,
            "authority": "cart:80",
            "request_id": f"r-{number}",
            "upstream_cluster": "inbound|8080||",
            "downstream_remote_address": "10.0.0.1:40000",
            "downstream_local_address": "10.0.0.2:8080",
            "downstream_peer_uri_san": "spiffe://cluster.local/ns/shop/sa/checkout",
        }
    )


def export_traces(endpoint: str) -> list[str]:
    """checkout calls cart `CALLS` times; the trace ids."""
    providers = {}
    for service in ("checkout", "cart"):
        resource = Resource.create({"service.name": service, "k8s.namespace.name": "shop", "service.version": "v1"})
        providers[service] = TracerProvider(resource=resource)
        providers[service].add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint}/v1/traces")))
    caller, callee = (providers[name].get_tracer("tests") for name in ("checkout", "cart"))
    traces = []
    for number in range(CALLS):
        attributes = {"http.request.method": "GET", "server.address": "cart.shop.svc", "server.port": 80}
        with caller.start_as_current_span("GET", kind=SpanKind.CLIENT, attributes=attributes) as outer:
            tags = {"http.request.method": "GET", "http.route": "/cart/{id}", "http.response.status_code": 200}
            with callee.start_as_current_span("GET /cart/{id}", kind=SpanKind.SERVER, attributes=tags) as inner:
                inner.add_event("cache miss", {"key": f'"{number}"'})
            if number % 10 == 0:
                outer.set_status(StatusCode.ERROR, "refused")
            traces.append(f"{outer.get_span_context().trace_id:032x}")
    for provider in providers.values():
        provider.shutdown()
    return traces


def export_metrics(endpoint: str) -> None:
    """A counter and a histogram of cart."""
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(f"{endpoint}/v1/metrics"), 3_600_000)
    provider = MeterProvider([reader], resource=Resource.create({"service.name": "cart", "service.namespace": "shop"}))
    meter = provider.get_meter("tests")
    meter.create_counter("requests", unit="1").add(CALLS, {"route": "/cart/{id}"})
    duration = meter.create_histogram("duration", unit="s", explicit_bucket_boundaries_advisory=[0.1, 1.0])
    for value in (0.05, 0.5, 5.0):
        duration.record(value)
    provider.shutdown()


def write_pod_log(pods: Path, lines: list[str]) -> None:
    """`lines` as the kubelet keeps them for cart's sidecar."""
    directory = pods / "shop_cart-7d9c5b6f4-x2x9z_0f1e2d3c-0000-0000-0000-000000000000" / "istio-proxy"
    directory.mkdir(parents=True)
    text = "".join(f"2026-11-23T01:00:00.{n:09d}Z stdout F {line}\n" for n, line in enumerate(lines))
    (directory / "0.log").write_text(text)


def rows(store: str, sql: str) -> list[dict[str, Any]]:
    """The answer of `sql`, asked in a process of its own (chDB: one store a process)."""
    program = "import sys, json; from storage.connect import open_store; e = open_store(sys.argv[1])\n"
    program += "print(json.dumps(e.query(sys.argv[2]).to_pylist(), default=str)); e.close()"
    done = subprocess.run([sys.executable, "-c", program, store, sql], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def messages_in(bootstrap: str, topic: str) -> int:
    """How many messages `topic` holds."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap)
    try:
        partition = TopicPartition(topic, 0)
        return consumer.end_offsets([partition])[partition]
    finally:
        consumer.close()


@dataclass
class Came:
    """What came out at the far end: a store, and the trace ids that went in."""

    store: str
    traces: list[str]


@pytest.fixture(scope="module")
def came(kafka: KafkaBroker, tmp_path_factory: pytest.TempPathFactory) -> Came:
    why = missing()
    require("otelcol", not why, why)
    work = tmp_path_factory.mktemp("otelcol")
    prefix = f"t{uuid.uuid4().hex[:10]}"
    topics = [kafka.topic(name=f"{prefix}-{signal}") for signal in ("traces", "metrics", "logs")]
    http, grpc = free_ports(2)
    write_pod_log(work / "pods", [*(envoy_line(n) for n in range(CALLS)), "a line of another kind"])
    environment = {
        "KAFKA_BROKERS": kafka.bootstrap,
        "OTLP_HTTP": f"127.0.0.1:{http}",
        "OTLP_GRPC": f"127.0.0.1:{grpc}",
        "PROXY_LOGS": f"{work}/pods/*/istio-proxy/*.log",
        "TOPIC_PREFIX": prefix,
    }
    with otelcol(CONFIG, work, environment, http):
        traces = export_traces(f"http://127.0.0.1:{http}")
        export_metrics(f"http://127.0.0.1:{http}")
        for topic in topics:
            poll(lambda topic=topic: messages_in(kafka.bootstrap, topic), f"a message in {topic}", every_s=0.2)
    store = f"chdb:{work / 'store'}"
    eastwatch("ingest", f"kafka://{kafka.bootstrap}/{','.join(topics)}?format=auto", "--until-idle", "--store", store)
    return Came(store, traces)


def test_spans(came: Came) -> None:
    found = rows(came.store, "SELECT * EXCEPT (ts, received_at) FROM spans ORDER BY ts, kind")
    assert len(found) == 2 * CALLS
    assert {span["trace_id"] for span in found} == set(came.traces)
    by_kind = {kind: [span for span in found if span["kind"] == kind] for kind in ("client", "server")}
    assert {span["parent_span_id"] for span in by_kind["server"]} == {span["span_id"] for span in by_kind["client"]}
    assert sum(span["error"] for span in by_kind["client"]) == CALLS // 10
    client, server = by_kind["client"][0], by_kind["server"][0]
    assert (client["namespace"], client["service"], client["version"]) == ("shop", "checkout", "v1")
    assert (client["peer_host"], client["peer_port"]) == ("cart.shop.svc", 80)
    assert (server["service"], server["operation"], server["http_status"]) == ("cart", "GET /cart/{id}", 200)
    (event,) = json.loads(server["events"])
    assert event["name"] == "cache miss"
    assert event["attributes"]["key"].startswith('"')


def test_metric_points(came: Came) -> None:
    found = {row["name"]: row for row in rows(came.store, "SELECT * FROM metric_points")}
    assert found["requests"]["value"] == CALLS
    assert (found["requests"]["type"], found["requests"]["temporality"]) == ("sum", "cumulative")
    assert (found["duration"]["service"], found["duration"]["namespace"]) == ("cart", "shop")
    assert (found["duration"]["bounds"], found["duration"]["bucket_counts"]) == ([0.1, 1.0], [1, 1, 1])
    assert (found["duration"]["min"], found["duration"]["max"], found["duration"]["count"]) == (0.05, 5.0, 3)


def test_access_log_lines(came: Came) -> None:
    found = rows(came.store, "SELECT * EXCEPT (ts, received_at, raw) FROM calls ORDER BY request_id")
    assert sorted(call["request_id"] for call in found) == sorted(f"r-{number}" for number in range(CALLS))
    call = found[0]
    assert (call["reporter"], call["tls"], call["status"], call["duration_us"]) == ("destination", "mtls", 200, 3000)
    assert call["source_principal"] == "spiffe://cluster.local/ns/shop/sa/checkout"
    assert call["destination_namespace"] == "shop"  # from the path of the log file
    assert call["destination_pod"] == "cart-7d9c5b6f4-x2x9z"


def test_what_is_no_access_log_is_a_dead_letter(came: Came) -> None:
    found = rows(came.store, "SELECT toString(payload) AS payload, reason FROM dead_letters")
    assert [letter["payload"] for letter in found] == ["a line of another kind"]


def test_the_map_has_the_edge_once(came: Came) -> None:
    (edge,) = eastwatch_json("map", "--store", came.store)["edges"]
    assert (edge["source"], edge["destination"]) == ("shop/checkout", "shop/cart")
    assert edge["evidence"] == ["log", "trace"]
    assert edge["requests"] == CALLS
