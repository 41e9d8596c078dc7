"""Consul Connect, from lines to edges: JSON with Istio's keys, Consul's names of clusters, SNI and identities.

Consul documents the keys (agent/xds/accesslogs) and the names (agent/connect: ServiceSNI, SpiffeIDService); no rendered
line of it is public, so these lines are its format filled in.
"""

from __future__ import annotations

import json
from typing import Any

from storage.engine import Engine
from tests.meshes.scenario import edges, ingested

TRUST = "11111111-2222-3333-4444-555555555555.consul"
API = f"api.default.dc1.internal.{TRUST}"
WEB_ID = f"spiffe://{TRUST}/ns/default/dc/dc1/svc/web"


def line(second: int, **fields: Any) -> str:
    """A line of web's or api's proxy in Consul's default format."""
    record: dict[str, Any] = {
        "start_time": f"2024-05-14T10:00:{second:02}.123Z",
        "route_name": "-",
        "method": "GET",
        "path": "/orders/17",
        "protocol": "HTTP/1.1",
        "response_code": 200,
        "response_flags": "-",
        "response_code_details": "via_upstream",
        "connection_termination_details": None,
        "bytes_received": 0,
        "bytes_sent": 37,
        "duration": 12,
        "upstream_service_time": "11",
        "x_forwarded_for": None,
        "user_agent": "Go-http-client/1.1",
        "request_id": f"7feeda0a-0000-4000-8000-0000000000{second:02}",
        "authority": "api.virtual.consul",
        "upstream_host": "10.2.0.9:20000",
        "upstream_cluster": API,
        "upstream_local_address": "10.2.0.7:41000",
        "downstream_local_address": "127.0.0.1:9191",
        "downstream_remote_address": "127.0.0.1:50022",
        "requested_server_name": None,
        "upstream_transport_failure_reason": None,
    }
    return json.dumps({**record, **fields})


def outbound(second: int, **fields: Any) -> str:
    """web's proxy, whose pod the log shipper names."""
    kubernetes = {"namespace_name": "default", "pod_name": "web-7fc85576c4-h95l5", "labels": {"app": "web"}}
    return line(second, kubernetes=kubernetes, **fields)


def inbound(second: int, **fields: Any) -> str:
    """api's proxy."""
    own = {
        "upstream_cluster": "local_app",
        "upstream_host": "127.0.0.1:8080",
        "upstream_local_address": "127.0.0.1:33000",
        "downstream_local_address": "10.2.0.9:20000",
        "downstream_remote_address": "10.2.0.7:41000",
        "requested_server_name": API,
    }
    return line(second, **{**own, **fields})


def test_requests_refusals_and_identities(engine: Engine) -> None:
    refused = {
        "response_code": 403,
        "response_code_details": "rbac_access_denied_matched_policy[consul-intentions-layer7-0]",
        "upstream_host": None,
        "upstream_service_time": None,
    }
    found = ingested(
        engine,
        [
            outbound(1),
            inbound(1, downstream_peer_uri_san=WEB_ID),
            outbound(2, response_code=403),
            inbound(2, downstream_peer_uri_san=WEB_ID, **refused),
            outbound(3, response_code=503, response_flags="UF", response_code_details="upstream_reset"),
        ],
    )
    edge = edges(found)["default/web", "default/api"]
    assert (edge.requests, edge.attempts, edge.errors, edge.denied, edge.mtls_share) == (3, 2, 1, 1, 1.0)
    assert (edge.statuses, edge.direction, edge.protocol) == ({"200": 1, "403": 1, "503": 1}, "east_west", "http")
    assert edge.principals == [WEB_ID]
    assert [
        row["denied_by"] for row in engine.query("SELECT DISTINCT denied_by FROM calls").to_pylist() if row["denied_by"]
    ] == ["consul-intentions-layer7-0"]
    meshes = engine.query(
        "SELECT DISTINCT toString(mesh) AS mesh, toString(source_cluster) AS dc FROM calls"
    ).to_pylist()
    assert {row["mesh"] for row in meshes} == {"consul"}
    assert {row["dc"] for row in meshes} <= {"dc1", ""}


def test_a_caller_known_by_its_address_is_found_by_what_its_own_proxy_says(engine: Engine) -> None:
    (edge,) = ingested(engine, [outbound(1), inbound(1)]).edges
    assert (edge.source, edge.destination, edge.requests, edge.attempts) == ("default/web", "default/api", 1, 1)
    assert edge.mtls_share == 1.0


def test_names_of_upstreams(engine: Engine) -> None:
    targets = {
        1: f"v2.api.default.dc1.internal.{TRUST}",
        2: f"8b5a6c2d~api.default.dc1.internal.{TRUST}",
        3: f"failover-target~1~api.default.dc2.internal.{TRUST}",
        4: f"passthrough~api.default.dc1.internal.{TRUST}",
        5: f"api.default.peer1.external.{TRUST}",
        6: f"api.default.ap1.dc1.internal-v1.{TRUST}",
    }
    (edge,) = ingested(engine, [outbound(n, upstream_cluster=name) for n, name in targets.items()]).edges
    assert (edge.source, edge.destination, edge.requests) == ("default/web", "default/api", 6)


def test_connections_and_the_listeners_own_line(engine: Engine) -> None:
    tcp = {"method": None, "path": None, "protocol": None, "response_code": 0, "response_code_details": None}
    denied = {"connection_termination_details": "rbac_access_denied_matched_policy[consul-intentions-layer4]"}
    unmatched = {
        "response_flags": "NR",
        "upstream_cluster": None,
        "upstream_host": None,
        "upstream_local_address": None,
    }
    found = ingested(
        engine,
        [
            inbound(1, **tcp, downstream_peer_uri_san=WEB_ID),
            inbound(2, **tcp, **denied, downstream_peer_uri_san=WEB_ID, upstream_host=None),
            inbound(3, **tcp, **unmatched),
        ],
    )
    edge = edges(found)["default/web", "default/api"]
    assert (edge.requests, edge.errors, edge.denied, edge.protocol, edge.mtls_share) == (2, 0, 1, "tcp", 1.0)
    listener = edges(found)["unknown", "default/api"]
    assert (listener.requests, listener.errors, listener.faults) == (1, 1, {"mesh": 1})
