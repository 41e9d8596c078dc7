"""Wire bytes for the benchmarks: 2 000 edges x 5 operations, random ids, many records in one message.

Half of the access-log lines come from the caller's sidecar and half from the callee's; half of the spans are clients
and half are their servers. Everything follows from the seed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

EDGES = 2_000
OPERATIONS = 5
SERVICES = 50
START = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
ROWS_PER_SECOND = 10_000
"""Event time advances by a second every so many records."""

_JSON = (
    '{{"start_time":"{ts}","route_name":"default","method":"GET","path":"/api/v1/resource{op}/{number}?page=2",'
    '"protocol":"HTTP/1.1","response_code":{status},"response_flags":"{flags}","response_code_details":"via_upstream",'
    '"connection_termination_details":null,"bytes_received":0,"bytes_sent":{size},"duration":{ms},'
    '"upstream_service_time":"{ms}","x_forwarded_for":null,"user_agent":"Go-http-client/1.1","request_id":"{rid}",'
    '"authority":"svc{d}.shop:8080","upstream_host":"10.1.{d}.7:8080","upstream_cluster":"{cluster}",'
    '"upstream_local_address":"{local}:{port}","downstream_local_address":"10.1.{d}.7:8080",'
    '"downstream_remote_address":"10.0.{s}.7:{port}",'
    '"requested_server_name":"outbound_.8080_._.svc{d}.shop.svc.cluster.local",'
    '"upstream_transport_failure_reason":null,'
    '"downstream_peer_uri_san":{san},"trace_id":"{trace}"}}'
)
_TEXT = (
    '[{ts}] "GET /api/v1/resource{op}/{number}?page=2 HTTP/1.1" {status} {flags} via_upstream - "-" 0 {size} {ms} {ms} '
    '"-" "Go-http-client/1.1" "{rid}" "svc{d}.shop:8080" "10.1.{d}.7:8080" {cluster} {local}:{port} 10.1.{d}.7:8080 '
    "10.0.{s}.7:{port} outbound_.8080_._.svc{d}.shop.svc.cluster.local default"
)


def lines(count: int, layout: str, seed: int = 1) -> Iterator[bytes]:
    """`count` access-log lines of Istio, as `json` or `text`."""
    template = {"json": _JSON, "text": _TEXT}[layout]
    random = np.random.default_rng(seed)
    edges, operations = random.integers(0, EDGES, count), random.integers(0, OPERATIONS, count)
    inbound = random.random(count) < 0.5
    failed = random.random(count) < 0.01
    durations, sizes = random.lognormal(2.5, 0.8, count).astype(int), random.integers(10, 20_000, count)
    ports, numbers = random.integers(20_000, 60_000, count), random.integers(0, 10**6, count)
    ids = random.bytes(32 * count).hex()
    for i in range(count):
        source, destination = int(edges[i]) % SERVICES, int(edges[i]) // SERVICES
        at = 64 * i
        ts = START + timedelta(microseconds=1_000_000 // ROWS_PER_SECOND * i)
        request = ids[at + 32 : at + 64]
        cluster = "inbound|8080||" if inbound[i] else f"outbound|8080||svc{destination}.shop.svc.cluster.local"
        yield template.format(
            ts=ts.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            op=operations[i],
            number=numbers[i],
            status=503 if failed[i] else 200,
            flags="UC" if failed[i] else "-",
            size=sizes[i],
            ms=durations[i],
            rid=f"{request[:8]}-{request[8:12]}-{request[12:16]}-{request[16:20]}-{request[20:]}",
            trace=ids[at : at + 32],
            cluster=cluster,
            local="127.0.0.6" if inbound[i] else f"10.0.{source}.7",
            s=source,
            d=destination,
            port=ports[i],
            san=f'"spiffe://cluster.local/ns/shop/sa/svc{source}"' if inbound[i] else "null",
        ).encode()


def inventory() -> bytes:
    """The pods behind the lines' addresses, as a Kubernetes list: 10.0.N.7 calls, 10.1.N.7 is called."""
    pods = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{name}{number}-7d9c8b5f6d-x2x4z",
                "namespace": "shop",
                "labels": {"app": f"{name}{number}"},
            },
            "spec": {"serviceAccountName": f"{name}{number}"},
            "status": {"podIP": f"10.{network}.{number}.7", "phase": "Running"},
        }
        for network, name in ((0, "front"), (1, "svc"))
        for number in range(SERVICES)
    ]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": pods}).encode()


def messages(records: Iterator[bytes], per_message: int) -> Iterator[bytes]:
    """Lines joined into messages of `per_message` lines."""
    held: list[bytes] = []
    for record in records:
        held.append(record)
        if len(held) == per_message:
            yield b"\n".join(held)
            held = []
    if held:
        yield b"\n".join(held)


def span_messages(count: int, per_message: int = 1_000, seed: int = 2) -> Iterator[bytes]:
    """`count` spans (half clients, half their servers, 8 attributes each) as OTLP protobuf export requests."""
    random = np.random.default_rng(seed)
    for first in range(0, count, per_message):
        pairs = min(per_message, count - first) // 2
        request = ExportTraceServiceRequest()
        edges, operations = random.integers(0, EDGES, pairs), random.integers(0, OPERATIONS, pairs)
        resources = {}
        for i in range(pairs):
            trace, client, server = random.bytes(16), random.bytes(8), random.bytes(8)
            start = int(START.timestamp() * 1e9) + (first + 2 * i) * (1_000_000_000 // ROWS_PER_SECOND)
            length = int(random.lognormal(16, 0.8))
            for side, number in (("source", int(edges[i]) % SERVICES), ("destination", int(edges[i]) // SERVICES)):
                name = f"{'front' if side == 'source' else 'svc'}{number}"
                if name not in resources:
                    added = request.resource_spans.add()
                    for key, value in (
                        ("service.name", name),
                        ("k8s.namespace.name", "shop"),
                        ("k8s.pod.name", f"{name}-7d9c8b5f6d-abcde"),
                        ("k8s.deployment.name", name),
                    ):
                        added.resource.attributes.add(key=key).value.string_value = value
                    resources[name] = added.scope_spans.add()
                span = resources[name].spans.add()
                span.trace_id, span.span_id = trace, client if side == "source" else server
                span.parent_span_id = b"" if side == "source" else client
                span.kind = 3 if side == "source" else 2
                span.name = f"GET /api/v1/resource{operations[i]}/{{id}}"
                span.start_time_unix_nano, span.end_time_unix_nano = start, start + length
                for key, text in (
                    ("http.request.method", "GET"),
                    ("http.route", f"/api/v1/resource{operations[i]}/{{id}}"),
                    ("url.path", f"/api/v1/resource{operations[i]}/{int(random.integers(0, 10**6))}"),
                    ("server.address", f"svc{int(edges[i]) // SERVICES}.shop"),
                    ("network.protocol.version", "1.1"),
                    ("user_agent.original", "Go-http-client/1.1"),
                ):
                    span.attributes.add(key=key).value.string_value = text
                span.attributes.add(key="http.response.status_code").value.int_value = 200
                span.attributes.add(key="server.port").value.int_value = 8080
        yield request.SerializeToString()
