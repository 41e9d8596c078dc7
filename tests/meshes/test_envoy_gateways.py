"""Gateways that are an Envoy: Envoy Gateway and Emissary, from lines to edges (real lines of public clusters)."""

from __future__ import annotations

import json
from typing import Any

from storage.engine import Engine
from tests.meshes.scenario import edges, ingested

ROUTED: dict[str, Any] = {
    ":authority": "www.xsreops.xyz",
    "bytes_received": 0,
    "bytes_sent": 1141,
    "connection_termination_details": None,
    "downstream_local_address": "10.0.3.69:10443",
    "downstream_remote_address": "172.16.30.1:64410",
    "duration": 160,
    "method": "GET",
    "protocol": "HTTP/2",
    "requested_server_name": None,
    "response_code": 200,
    "response_code_details": "via_upstream",
    "response_flags": "-",
    "route_name": "httproute/test/backend-https/rule/0/match/0/www_xsreops_xyz",
    "start_time": "2026-02-05T03:07:12.323Z",
    "upstream_cluster": "httproute/test/backend-https/rule/0",
    "upstream_host": "10.0.3.156:3000",
    "upstream_local_address": "10.0.3.69:38738",
    "upstream_transport_failure_reason": None,
    "user-agent": "Mozilla/5.0",
    "x-envoy-origin-path": None,
    "x-envoy-upstream-service-time": None,
    "x-forwarded-for": "172.16.30.1",
    "x-request-id": "fd742b12-076a-4512-a90a-6c2563baa107",
}
PROXY = {
    "kubernetes": {
        "namespace_name": "envoy-gateway-system",
        "pod_name": "envoy-default-eg-e41e7b31-6f4c8d5b7c-2xk9z",
        "labels": {
            "app.kubernetes.io/name": "envoy",
            "app.kubernetes.io/component": "proxy",
            "gateway.envoyproxy.io/owning-gateway-name": "eg",
        },
    }
}
LISTENER = {
    "response_code": 0,
    "response_flags": "NR",
    "response_code_details": "filter_chain_not_found",
    "upstream_cluster": None,
    "upstream_host": None,
    "upstream_local_address": None,
    "route_name": None,
    "method": None,
    "protocol": None,
    ":authority": None,
}
GATEWAY = "envoy-gateway-system/envoy-default-eg-e41e7b31"


def test_envoy_gateway(engine: Engine) -> None:
    limited = {"response_code": 429, "response_code_details": "local_rate_limited", "response_flags": "RL"}
    failed = {"response_code": 503, "response_code_details": "no_healthy_upstream", "response_flags": "UH"}
    nobody = {"upstream_host": None, "upstream_local_address": None}
    lines = [ROUTED, {**ROUTED, **limited, **nobody}, {**ROUTED, **failed, **nobody}, {**ROUTED, **LISTENER}]
    found = ingested(engine, [json.dumps({**line, **PROXY}) for line in lines])
    edge = edges(found)[GATEWAY, "test/backend-https"]
    assert (edge.direction, edge.requests, edge.errors, edge.denied) == ("ingress", 3, 1, 0)
    assert (edge.statuses, edge.faults) == ({"200": 1, "429": 1, "503": 1}, {"caller": 1, "callee": 1})
    assert {node.id: node.kind for node in found.nodes}[GATEWAY] == "gateway"
    rows = engine.query("SELECT toString(mesh) AS mesh, toString(reporter) AS reporter FROM calls").to_pylist()
    assert {(row["mesh"], row["reporter"]) for row in rows} == {("envoy_gateway", "gateway")}


EMISSARY_TEXT = (
    'ACCESS [2019-08-22T09:14:59.499Z] "GET /.ambassador-internal/openapi-docs HTTP/1.1" 200 - 0 989 5 1 "10.52.2.21" '
    '"Go-http-client/1.1" "bc391742-0ad4-4f0d-9e00-6e81266a1480" "ambassador" "10.55.253.138:5000"'
)
EMISSARY_UNHEALTHY = (
    'ACCESS [2019-08-22T09:14:59.506Z] "GET /callback/.ambassador-internal/openapi-docs HTTP/1.1" 503 UH 0 19 3 - '
    '"10.52.2.21" "Go-http-client/1.1" "c8d23a4b-c203-468a-abfb-ef47aca58e23" "ambassador" "-"'
)
EMISSARY_TCP = 'ACCESS [2019-04-06T06:20:05.972Z] "- - -" 0 UF,URX 0 0 0 - "-" "-" "-" "-" "127.0.0.1:9200"'
EMISSARY_NOBODY = EMISSARY_TEXT.replace("10.52.2.21", "-").replace("10.55.253.138", "10.1.2.3")
AMBASSADOR = {
    "kubernetes": {
        "namespace_name": "ambassador",
        "pod_name": "ambassador-796cb689d9-jsptz",
        "labels": {"service": "ambassador"},
    }
}


def test_emissary_text(engine: Engine) -> None:
    lines = [EMISSARY_TEXT, EMISSARY_UNHEALTHY, EMISSARY_TCP]
    found = edges(ingested(engine, [json.dumps({"log": line, **AMBASSADOR}) for line in lines]))
    # A pod that nobody knows is no host of the internet.
    edge = found["ambassador/ambassador", "10.55.253.138"]
    assert (edge.requests, edge.statuses, edge.direction) == (1, {"200": 1}, "ingress")
    rows = engine.query("SELECT toString(mesh) AS mesh, toString(reporter) AS reporter, status FROM calls").to_pylist()
    assert sorted(row["status"] for row in rows) == [0, 200, 503]
    assert {(row["mesh"], row["reporter"]) for row in rows} == {("emissary", "gateway")}


def test_gateways_without_their_pods(engine: Engine) -> None:
    """Lines as the proxies print them, without a log shipper's metadata: the product's name stands for the gateway."""
    found = ingested(engine, [EMISSARY_TEXT, json.dumps(ROUTED), EMISSARY_NOBODY])
    assert {(edge.source, edge.destination, edge.direction) for edge in found.edges} == {
        ("emissary-ingress", "10.55.253.138", "ingress"),
        ("emissary-ingress", "10.1.2.3", "ingress"),
        ("envoy-gateway", "test/backend-https", "ingress"),
    }
    kinds = {node.id: node.kind for node in found.nodes}
    assert (kinds["emissary-ingress"], kinds["envoy-gateway"]) == ("gateway", "gateway")


def test_emissary_json(engine: Engine) -> None:
    record = {
        "start_time": "2023-02-05T03:07:12.323Z",
        "method": "GET",
        "path": "/backend/",
        "protocol": "HTTP/1.1",
        "response_code": 500,
        "response_flags": "-",
        "bytes_received": 0,
        "bytes_sent": 140,
        "duration": 3,
        "upstream_service_time": "2",
        "x_forwarded_for": "10.42.0.1",
        "user_agent": "curl/7.58.0",
        "request_id": "c463717a-a722-47c6-8ec1-ea8f90b9ea58",
        "authority": "shop.example.com",
        "upstream_host": "10.42.0.12:8080",
        "upstream_cluster": "quote_default",
        "upstream_local_address": "10.42.0.9:60574",
        "downstream_local_address": "10.42.0.9:8443",
        "downstream_remote_address": "10.42.0.1:50168",
        "requested_server_name": "shop.example.com",
        "istio_policy_status": None,
        "upstream_transport_failure_reason": None,
        "dd.trace_id": "7277407061855694839",
    }
    found = ingested(engine, [json.dumps({**record, **AMBASSADOR})])
    (edge,) = found.edges
    assert (edge.source, edge.direction, edge.requests, edge.errors) == ("ambassador/ambassador", "ingress", 1, 1)
    (row,) = engine.query("SELECT toString(mesh) AS mesh, attributes FROM calls").to_pylist()
    assert row["mesh"] == "emissary"
    assert dict(row["attributes"])["dd.trace_id"] == "7277407061855694839"
