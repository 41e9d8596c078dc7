"""Istio's sidecars, from lines to edges: JSON and the default text of every age.

Lines: JSON of Istio 1.17 and 1.7 from public notes (httpbin called by sleep, and Bookinfo), text from istio.io ("Envoy
Access Logs") and as `test_istio_layouts.py` says. What the log shipper adds of the pod is not in them.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from collector.inventory import load
from storage.engine import Engine
from tests.collector.decode import samples
from tests.collector.decode.test_istio_layouts import LINES
from tests.meshes.scenario import edges, ingested

SLEEP_ID = "spiffe://cluster.local/ns/istio-demo/sa/sleep"
"""Of the caller of HTTPBIN, as the same notes show it in `X-Forwarded-Client-Cert`."""

SLEEP: dict[str, Any] = {
    "route_name": "default",
    "response_flags": "-",
    "response_code": 200,
    "authority": "httpbin:8000",
    "user_agent": "curl/8.0.1-DEV",
    "method": "GET",
    "bytes_sent": 508,
    "request_id": "6618b006-b862-927e-ac43-aaf4f2026c0d",
    "bytes_received": 0,
    "downstream_remote_address": "10.10.241.84:40658",
    "x_forwarded_for": None,
    "upstream_cluster": "outbound|8000||httpbin.istio-demo.svc.cluster.local",
    "upstream_transport_failure_reason": None,
    "path": "/headers",
    "start_time": "2023-05-02T01:45:04.154Z",
    "protocol": "HTTP/1.1",
    "connection_termination_details": None,
    "upstream_service_time": "11",
    "duration": 12,
    "upstream_local_address": "10.10.241.84:58514",
    "upstream_host": "10.10.241.82:80",
    "response_code_details": "via_upstream",
    "downstream_local_address": "10.97.94.170:8000",
    "requested_server_name": None,
}
HTTPBIN: dict[str, Any] = {
    **SLEEP,
    "start_time": "2023-05-02T01:45:04.158Z",
    "upstream_cluster": "inbound|80||",
    "requested_server_name": "outbound_.8000_._.httpbin.istio-demo.svc.cluster.local",
    "duration": 2,
    "upstream_local_address": "127.0.0.6:56619",
    "downstream_remote_address": "10.10.241.84:58514",
    "downstream_local_address": "10.10.241.82:80",
    "upstream_service_time": "1",
}
GATEWAY: dict[str, Any] = {
    **SLEEP,
    "start_time": "2023-05-02T01:35:38.296Z",
    "request_id": "1e6c664a-0604-9ac1-b4d7-484be35cee92",
    "authority": "httpbin.example.com",
    "path": "/hostname",
    "bytes_sent": 26,
    "duration": 15,
    "route_name": None,
    "x_forwarded_for": "192.168.64.16",
    "upstream_local_address": "10.10.241.86:34222",
    "downstream_local_address": "10.10.241.86:8080",
    "downstream_remote_address": "192.168.64.16:55163",
}
REFUSED = {
    "response_code": 403,
    "response_code_details": "rbac_access_denied_matched_policy[ns[istio-demo]-policy[httpbin]-rule[0]]",
    "upstream_host": None,
    "upstream_local_address": None,
}
BOOKINFO_1_7: dict[str, Any] = {
    "requested_server_name": "outbound_.9080_._.productpage.default.svc.cluster.local",
    "bytes_received": "0",
    "istio_policy_status": "-",
    "bytes_sent": "5179",
    "upstream_cluster": "inbound|9080|http|productpage.default.svc.cluster.local",
    "downstream_remote_address": "10.244.0.0:0",
    "authority": "192.168.56.100:30175",
    "path": "/productpage",
    "protocol": "HTTP/1.1",
    "upstream_service_time": "30",
    "upstream_local_address": "127.0.0.1:44240",
    "duration": "31",
    "upstream_transport_failure_reason": "-",
    "route_name": "default",
    "downstream_local_address": "10.244.2.77:9080",
    "user_agent": "Mozilla/5.0",
    "response_code": "200",
    "response_flags": "-",
    "start_time": "2020-09-30T03:45:05.040Z",
    "method": "GET",
    "request_id": "47296862-4015-90da-8029-512668ee7746",
    "upstream_host": "127.0.0.1:9080",
    "x_forwarded_for": "10.244.0.0",
}


def called(service: str, start: str, upstream: str, remote: str) -> dict[str, Any]:
    """productpage's own line of its call to another service of Bookinfo."""
    own = {"requested_server_name": "-", "route_name": "-", "x_forwarded_for": "-", "downstream_remote_address": remote}
    target = {"upstream_cluster": f"outbound|9080|{service}.default.svc.cluster.local", "upstream_host": upstream}
    return {**BOOKINFO_1_7, **own, **target, "start_time": f"2020-09-30T03:45:05.{start}Z"}


def shipped(line: str | dict[str, Any], namespace: str, app: str, **labels: str) -> str:
    """A line as Fluent Bit ships it."""
    text = line if isinstance(line, str) else json.dumps(line)
    pod = {"namespace_name": namespace, "pod_name": f"{app}-788b9ffbf5-nmz4m", "labels": {"app": app, **labels}}
    return json.dumps({"log": text + "\n", "stream": "stdout", "kubernetes": pod})


def test_both_sidecars_and_the_gateway_in_json(engine: Engine) -> None:
    """The default keys, and the peer's SAN: who called, by mutual TLS, what was refused and by which policy."""
    peer = {"downstream_peer_uri_san": SLEEP_ID}
    found = ingested(
        engine,
        [
            shipped(SLEEP, "istio-demo", "sleep"),
            shipped({**HTTPBIN, **peer}, "istio-demo", "httpbin"),
            shipped({**SLEEP, "response_code": 403}, "istio-demo", "sleep"),
            shipped({**HTTPBIN, **peer, **REFUSED}, "istio-demo", "httpbin"),
            shipped({**SLEEP, "response_code": 503, "response_flags": "UF"}, "istio-demo", "sleep"),
            shipped(GATEWAY, "istio-system", "istio-ingressgateway", istio="ingressgateway"),
        ],
    )
    named = edges(found)
    edge = named["istio-demo/sleep", "istio-demo/httpbin"]
    assert (edge.requests, edge.attempts, edge.errors, edge.denied, edge.mtls_share) == (3, 2, 1, 1, 1.0)
    assert (edge.statuses, edge.direction, edge.principals) == ({"200": 1, "403": 1, "503": 1}, "east_west", [SLEEP_ID])
    entered = named["istio-system/istio-ingressgateway", "istio-demo/httpbin"]
    assert (entered.requests, entered.direction, entered.errors) == (1, "ingress", 0)
    assert {node.id: node.kind for node in found.nodes if node.kind != "service"} == {entered.source: "gateway"}
    policies = engine.query("SELECT DISTINCT denied_by FROM calls WHERE verdict = 'denied'").to_pylist()
    assert policies == [{"denied_by": "ns[istio-demo]-policy[httpbin]-rule[0]"}]


def test_json_of_istio_1_7_whose_values_are_all_text(engine: Engine) -> None:
    found = ingested(
        engine,
        [
            shipped(BOOKINFO_1_7, "default", "productpage"),
            shipped(called("v1|details", "045", "10.244.2.75:9080", "10.244.2.77:35116"), "default", "productpage"),
            shipped(called("v3|reviews", "049", "10.244.2.74:9080", "10.244.2.77:49784"), "default", "productpage"),
        ],
    )
    named = edges(found)
    assert {pair: (edge.requests, edge.mtls_share) for pair, edge in named.items()} == {
        ("unknown", "default/productpage"): (1, 1.0),
        ("default/productpage", "default/details"): (1, None),
        ("default/productpage", "default/reviews"): (1, None),
    }
    assert named["unknown", "default/productpage"].p50_ms == pytest.approx(31, rel=0.011)
    assert all(edge.statuses == {"200": 1} and not edge.errors for edge in found.edges)


def test_both_sidecars_in_text(engine: Engine) -> None:
    """Without an identity: the SNI tells of mutual TLS, the pod's metadata who wrote the line."""
    refused = samples.DENIED
    found = ingested(
        engine,
        [
            shipped(samples.CLIENT, "foo", "sleep"),
            shipped(samples.SERVER, "foo", "httpbin"),
            shipped(refused, "starfleet", "probe"),
        ],
    )
    named = edges(found)
    edge = named["foo/sleep", "foo/httpbin"]
    assert (edge.requests, edge.attempts, edge.errors, edge.denied, edge.mtls_share) == (1, 1, 0, 0, 1.0)
    assert (edge.statuses, edge.faults, edge.principals) == ({"418": 1}, {"caller": 1}, [])
    stranger = named["unknown", "starfleet/probe"]
    assert (stranger.requests, stranger.denied, stranger.mtls_share, stranger.errors) == (1, 1, 1.0, 0)


def test_text_from_before_1_9(engine: Engine) -> None:
    """Lines of 1.0 to 1.8, each of another mesh: outbound ones name the callee, inbound ones are joined by address."""
    line = {case[0]: case[1] for case in LINES}
    pods = [
        {"kind": "Pod", "metadata": {"name": name, "namespace": "default", "labels": {"app": app}}, "status": status}
        for name, app, status in (
            ("productpage-1", "productpage", {"podIP": "192.168.163.221"}),
            ("productpage-2", "productpage", {"podIP": "10.1.1.71"}),
        )
    ]
    inventory = {"pods.json": json.dumps({"kind": "List", "items": pods}).encode()}
    load(engine, inventory, loaded_at=datetime(2019, 1, 1, tzinfo=UTC))
    found = ingested(
        engine,
        [
            shipped(line["1.0"], "tutorial", "productpage"),
            shipped(line["1.1"], "istio-system", "istio-egressgateway", istio="egressgateway"),
            shipped(line["1.2"], "default", "productpage"),
            shipped(line["1.5"], "default", "reviews", version="v1"),
            shipped(line["1.5, failed"], "default", "api"),
            shipped(line["1.8"], "default", "details"),
        ],
    )
    named = edges(found)
    assert {pair: (edge.protocol, edge.requests, edge.attempts, edge.mtls_share) for pair, edge in named.items()} == {
        ("tutorial/productpage", "tutorial/details"): ("http", 1, None, None),
        ("istio-system/istio-egressgateway", "tcp/my-mongo"): ("tcp", 1, None, None),
        ("default/productpage", "default/details"): ("http", 2, 1, 1.0),
        ("default/productpage", "default/reviews"): ("http", 1, 1, 1.0),
        ("default/api", "default/redis"): ("tcp", 1, None, None),
    }
    failed = named["default/api", "default/redis"]
    assert (failed.errors, failed.faults, failed.statuses) == (1, {"network": 1}, {})
    assert sum(edge.errors for edge in found.edges) == 1


def test_what_the_mesh_lets_nobody_call(engine: Engine) -> None:
    # Istio's REGISTRY_ONLY (formats.md): a connection into its BlackHoleCluster.
    line = (
        '[2026-03-02T10:00:00.409Z] "- - -" 0 UH - - "-" 0 0 0 - "-" "-" "-" "-" "-" BlackHoleCluster - 1.2.3.5:443 '
        "10.44.1.23:46520 www.google.com -"
    )
    (edge,) = ingested(engine, [line]).edges
    assert (edge.destination, edge.direction, edge.errors, edge.faults) == (
        "external:www.google.com",
        "egress",
        1,
        {"mesh": 1},
    )
    assert engine.query("SELECT verdict FROM calls").to_pylist() == [{"verdict": "unknown"}]
