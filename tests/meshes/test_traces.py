"""Zipkin's, Jaeger's and OTLP's spans, from wire bytes to edges: Spring Cloud's services, messaging, errors."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Any

import pytest

from storage.engine import Engine
from tests.collector.decode import trace_samples as samples
from tests.meshes.scenario import edges, ingested

START_US = 1_767_225_600_000_000


def span(number: int, parent: int, service: str, kind: str, name: str, **fields: Any) -> dict[str, Any]:
    """A span in Zipkin's form; 64-bit ids, its number is its id."""
    given = {"traceId": "463ac35c9f6413ad", "id": f"{number:016x}", "kind": kind, "name": name}
    given |= {"timestamp": START_US + number * 1000, "duration": 40_000, "localEndpoint": {"serviceName": service}}
    return given | ({"parentId": f"{parent:016x}"} if parent else {}) | fields


def shop() -> list[dict[str, Any]]:
    """One request through Spring services: gateway → orders → stock, a payment that fails outside, and an event."""
    seen = {"method": "GET", "uri": "/orders/{id}", "status": "200", "outcome": "SUCCESS"}
    failed = {"method": "POST", "uri": "/charge", "status": "IO_ERROR", "outcome": "UNKNOWN", "error": "refused"}
    return [
        span(1, 0, "gateway", "SERVER", "http get", remoteEndpoint={"ipv4": "203.0.113.7", "port": 40000}),
        span(2, 1, "gateway", "CLIENT", "http get", tags=seen | {"client.name": "orders"}),
        # Brave's shared span: the server half has its client's id. Its trace id is written with 128 bits.
        span(2, 1, "orders", "SERVER", "http get /orders/{id}", tags=seen, shared=True)
        | {"traceId": "463ac35c9f6413ad".rjust(32, "0")},
        span(3, 2, "orders", "CLIENT", "get", tags={"http.method": "GET", "http.status_code": "500"}),
        span(
            4, 3, "stock", "SERVER", "get /stock", tags={"error": "", "http.method": "GET", "http.status_code": "500"}
        ),
        span(5, 2, "orders", "CLIENT", "post", tags=failed | {"client.name": "pay.example.com"}),
        span(6, 2, "orders", "PRODUCER", "send", remoteEndpoint={"serviceName": "kafka"}),
        span(7, 6, "mailer", "CONSUMER", "poll", remoteEndpoint={"serviceName": "kafka"}),
    ]


def as_zipkin(spans: Iterable[dict[str, Any]]) -> list[str]:
    return [json.dumps(list(spans))]


def as_zipkin_lines(spans: Iterable[dict[str, Any]]) -> list[str]:
    return ["\n".join(json.dumps(one) for one in spans)]


def as_jaeger(spans: Iterable[dict[str, Any]]) -> list[str]:
    """What the Collector's Kafka exporter makes of them: a span a message, ids in base64, no shared ids."""
    return [json.dumps(_jaeger(one)) for one in spans]


def as_otlp(spans: Iterable[dict[str, Any]]) -> list[str]:
    """What Micrometer's OTLP exporter makes of them: a request for each service's process."""
    return [json.dumps({"resourceSpans": [_otlp(one)]}) for one in spans]


def _unshared(one: dict[str, Any]) -> tuple[int, int]:
    """The ids of a span and its parent where both halves of a call have one of their own."""
    number = int(one["id"], 16)
    if one.get("shared"):
        return number + 100, number
    parent = int(one.get("parentId", "0"), 16)
    below_server = parent == 2 and one["localEndpoint"]["serviceName"] == "orders"
    return number, 102 if below_server else parent


def _otlp(one: dict[str, Any]) -> dict[str, Any]:
    number, parent = _unshared(one)
    tags = one.get("tags", {})
    attributes = {key: value for key, value in tags.items() if key != "error"}
    if peer := one.get("remoteEndpoint", {}).get("serviceName"):
        attributes |= {"peer.service": peer, "messaging.system": peer}
    made = {
        "traceId": one["traceId"].rjust(32, "0"),
        "spanId": f"{number:016x}",
        **({"parentSpanId": f"{parent:016x}"} if parent else {}),
        "name": one["name"],
        "kind": ("", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER").index(one["kind"]),
        "startTimeUnixNano": str(one["timestamp"] * 1000),
        "endTimeUnixNano": str((one["timestamp"] + one["duration"]) * 1000),
        "attributes": [{"key": key, "value": {"stringValue": value}} for key, value in attributes.items()],
        "status": {"code": 2} if "error" in tags else {},
    }
    name = {"key": "service.name", "value": {"stringValue": one["localEndpoint"]["serviceName"]}}
    return {"resource": {"attributes": [name]}, "scopeSpans": [{"spans": [made]}]}


def _jaeger(one: dict[str, Any]) -> dict[str, Any]:
    number, parent = _unshared(one)
    trace = base64.b64encode(bytes.fromhex(one["traceId"].rjust(32, "0"))).decode()
    tags = [{"key": key, "vStr": value} if value else {"key": key} for key, value in one.get("tags", {}).items()]
    if peer := one.get("remoteEndpoint", {}).get("serviceName"):
        tags.append({"key": "peer.service", "vStr": peer})
    references = [{"traceId": trace, "spanId": base64.b64encode(parent.to_bytes(8, "big")).decode()}]
    return {
        "traceId": trace,
        "spanId": base64.b64encode(number.to_bytes(8, "big")).decode(),
        "operationName": one["name"],
        **({"references": references} if parent else {}),
        "startTime": f"2026-01-01T00:00:00.{one['timestamp'] - START_US:06d}Z",
        "duration": "0.040s",
        "tags": [*tags, {"key": "span.kind", "vStr": one["kind"].lower()}],
        "process": {"serviceName": one["localEndpoint"]["serviceName"]},
    }


@pytest.mark.parametrize("written", [as_zipkin, as_zipkin_lines, as_jaeger, as_otlp])
def test_a_spring_request_is_its_edges(written: Any, engine: Engine) -> None:
    found = edges(ingested(engine, written(shop())))
    assert {pair: (edge.requests, edge.errors, edge.protocol, edge.direction) for pair, edge in found.items()} == {
        ("gateway", "orders"): (1, 0, "http", "east_west"),
        ("orders", "stock"): (1, 1, "http", "east_west"),
        ("orders", "external:pay.example.com"): (1, 1, "http", "egress"),
        ("orders", "mailer"): (1, 0, "messaging", "east_west"),
    }
    for edge in found.values():
        # A trace knows neither the certificates nor the wire.
        assert (edge.evidence, edge.mtls_share, list(edge.principals)) == (["trace"], None, [])
        assert edge.p50_ms == pytest.approx(40, rel=0.01)
    assert found["gateway", "orders"].attempts == 1
    assert dict(found["orders", "stock"].statuses) == {"500": 1}


def test_what_hangs_on_a_shared_id_is_called_by_the_server_half(engine: Engine) -> None:
    """Uninstrumented clients: children of an id that client and server share, with and without the client's half."""
    spans = [
        span(1, 0, "web", "CLIENT", "get"),
        span(1, 0, "api", "SERVER", "get", shared=True),
        span(2, 1, "orders", "SERVER", "get"),
        span(3, 1, "web", "", "parse"),
        # Below web: the client's half of this id never came, nor did that of the next one, which is a root.
        span(5, 3, "stock", "SERVER", "get", shared=True),
        span(6, 0, "front", "SERVER", "get", shared=True),
        span(7, 6, "back", "SERVER", "get"),
    ]
    found = edges(ingested(engine, as_zipkin([{k: v for k, v in one.items() if v != ""} for one in spans])))
    assert {pair: (edge.requests, edge.attempts) for pair, edge in found.items()} == {
        ("web", "api"): (1, 1),
        ("api", "orders"): (1, 1),
        ("web", "stock"): (1, 1),
        ("front", "back"): (1, 1),
    }


@pytest.mark.parametrize(
    "messages",
    [[samples.OTLP_JSON], [samples.ZIPKIN_LIST], list(samples.JAEGER_JSON), list(samples.JAEGER_PROTO)],
    ids=["otlp", "zipkin", "jaeger_json", "jaeger_proto"],
)
def test_what_the_collector_writes_is_one_edge_with_its_namespaces(messages: list[Any], engine: Engine) -> None:
    found = edges(ingested(engine, messages))
    assert list(found) == [("shop/frontend", "shop/cart")]
    edge = found["shop/frontend", "shop/cart"]
    assert (edge.requests, edge.attempts, edge.errors, edge.protocol) == (1, 1, 1, "http")


def test_the_names_of_spans_forge_no_nodes(engine: Engine) -> None:
    calls = [("shop/web", "external:evil"), ("unknown", "web")]
    spans = [
        span(number, 0, one, "CLIENT", "get", remoteEndpoint={"serviceName": other})
        for number, (one, other) in enumerate(calls, 1)
    ]
    found = ingested(engine, as_zipkin(spans))
    assert {(node.id, node.kind, node.namespace, node.service) for node in found.nodes} == {
        ("shop%2Fweb", "service", None, "shop/web"),
        ("external%3Aevil", "service", None, "external:evil"),
        ("unknown", "unknown", None, None),
        ("web", "service", None, "web"),
    }


def test_a_host_without_a_dot_is_a_service_beside_its_caller(engine: Engine) -> None:
    tags = {"k8s.namespace.name": "shop"}
    spans = [
        span(number, 0, "web", "CLIENT", "get", tags=tags | {"http.url": f"http://{host}/x"})
        for number, host in enumerate(("cart2", "cart2:8080", "cart.bank.svc", "pay.example.com"), 1)
    ]
    spans.append(span(9, 0, "lone", "CLIENT", "get", tags={"http.url": "http://cart2/x"}))
    found = edges(ingested(engine, as_zipkin(spans)))
    assert {pair: (edge.requests, edge.direction) for pair, edge in found.items()} == {
        ("shop/web", "shop/cart2"): (2, "east_west"),
        ("shop/web", "bank/cart"): (1, "east_west"),
        ("shop/web", "external:pay.example.com"): (1, "egress"),
        ("lone", "shop/cart2"): (1, "east_west"),
    }


def test_an_export_of_jaegers_page(engine: Engine) -> None:
    """Its process tags are the identity; a callee that has none is a bare name."""
    (edge,) = ingested(engine, [samples.JAEGER_EXPORT], "jaeger_json").edges
    assert (edge.source, edge.destination, edge.requests, edge.attempts) == ("shop/frontend", "orders", 1, 1)
    assert (edge.errors, edge.evidence, edge.mtls_share) == (1, ["trace"], None)


def test_spans_without_a_route_are_the_operations_that_access_logs_tell(engine: Engine) -> None:
    """A raw path in the name of each span, or a bare method: all orders are one operation, as in an access log."""
    tags = {"http.method": "GET", "http.status_code": "200"}
    spans: list[dict[str, Any]] = []
    for number in range(1, 200, 4):
        path = f"/orders/{number}"
        spans += [
            span(number, 0, "web", "CLIENT", "get", tags=tags | {"http.path": path}),
            span(number + 1, number, "orders", "SERVER", f"get {path}", tags=tags),
            span(number + 2, 0, "web", "CLIENT", "get", tags=tags),
            span(
                number + 3, number + 2, "orders", "SERVER", f"get {path}", tags=tags | {"http.route": "/orders/{order}"}
            ),
        ]
    ingested(engine, as_zipkin(spans))
    found = engine.query("SELECT DISTINCT operation FROM edge_keys WHERE operation != '' ORDER BY operation")
    assert found["operation"].to_pylist() == ["GET /orders/{id}", "GET /orders/{order}"]
