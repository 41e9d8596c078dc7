"""Consul Connect, from lines to edges: JSON with Istio's keys, Consul's names of clusters, SNI and identities.

Consul documents the keys (agent/xds/accesslogs) and the names (agent/connect: ServiceSNI, SpiffeIDService); no rendered
line of it is public, so these lines are its format filled in.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from collector.inventory import load
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


def pod(name: str, namespace: str) -> dict[str, Any]:
    """What a log shipper tells of a pod: Kubernetes' namespace, of which Consul's `default` knows nothing."""
    return {"namespace_name": namespace, "pod_name": f"{name}-7fc85576c4-h95l5", "labels": {"app": name}}


def outbound(second: int, **fields: Any) -> str:
    """web's proxy, whose pod the log shipper names."""
    return line(second, **{"kubernetes": pod("web", "shop"), **fields})


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


def test_the_nodes_that_consul_prints_name_a_caller_known_by_its_address(engine: Engine) -> None:
    printed = f"$ consul catalog nodes -service=web\n{'Node':10}  {'ID':8}  {'Address':9}  DC\n"
    printed += f"{'worker-01':10}  {'1b662d97':8}  {'10.2.0.7':9}  dc1\n"
    load(engine, {"web.txt": printed.encode()}, loaded_at=datetime(2024, 5, 1, tzinfo=UTC))
    (edge,) = ingested(engine, [inbound(1)]).edges
    assert (edge.source, edge.destination, edge.attempts, edge.mtls_share) == ("web", "api", 1, 1.0)


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
    edge = edges(found)["shop/web", "api"]
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
    assert (edge.source, edge.destination, edge.requests, edge.attempts) == ("shop/web", "api", 1, 1)
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
    assert (edge.source, edge.destination, edge.requests) == ("shop/web", "api", 6)


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
    edge = edges(found)["web", "api"]
    assert (edge.requests, edge.errors, edge.denied, edge.protocol, edge.mtls_share) == (2, 0, 1, "tcp", 1.0)
    listener = edges(found)["unknown", "api"]
    assert (listener.requests, listener.errors, listener.faults) == (1, 1, {"mesh": 1})


def test_a_workload_is_one_node_whatever_namespace_consul_has_it_in(engine: Engine) -> None:
    """Pods in the namespaces shop and pay of Kubernetes; Consul, without namespaces, has all of them in `default`."""
    api = {"kubernetes": pod("api", "pay"), "downstream_peer_uri_san": WEB_ID}
    found = ingested(engine, [outbound(1), inbound(1, **api), outbound(2), inbound(2, **api)])
    assert [node.id for node in found.nodes] == ["pay/api", "shop/web"]
    (edge,) = found.edges
    assert (edge.requests, edge.attempts, edge.mtls_share, edge.principals) == (2, 2, 1.0, [WEB_ID])


def test_namespaces_of_consul_are_those_of_kubernetes(engine: Engine) -> None:
    """Consul Enterprise mirrors them: a service of one name in two namespaces is two nodes."""
    identity = WEB_ID.replace("/ns/default/", "/ap/east/ns/shop/")
    names = [f"api.{namespace}.east.dc1.internal-v1.{TRUST}" for namespace in ("shop", "pay")]
    lines = [
        outbound(1, upstream_cluster=names[0]),
        inbound(1, kubernetes=pod("api", "shop"), requested_server_name=names[0], downstream_peer_uri_san=identity),
        outbound(2, upstream_cluster=names[1]),
    ]
    found = edges(ingested(engine, lines))
    assert {pair: (edge.requests, edge.attempts) for pair, edge in found.items()} == {
        ("shop/web", "shop/api"): (1, 1),
        ("shop/web", "pay/api"): (1, None),
    }


def test_the_catalog_says_which_namespace_a_prefix_stands_for(engine: Engine) -> None:
    """Mirroring with a prefix: Consul's k8s-shop is Kubernetes' shop, which only the catalog can tell."""
    entry = {
        "Node": "node-1",
        "Address": "10.1.0.1",
        "Datacenter": "dc1",
        "ServiceID": "api-1",
        "ServiceName": "api",
        "ServiceAddress": "10.2.0.9",
        "Namespace": "k8s-shop",
        "ServiceMeta": {"pod-name": "api-7fc85576c4-h95l5", "k8s-namespace": "shop"},
    }
    load(engine, {"catalog.json": json.dumps([entry]).encode()}, loaded_at=datetime(2024, 5, 1, tzinfo=UTC))
    name = f"api.k8s-shop.dc1.internal.{TRUST}"
    lines = [outbound(1, upstream_cluster=name), inbound(1, kubernetes=pod("api", "shop"), requested_server_name=name)]
    found = ingested(engine, [*lines, outbound(2, upstream_cluster=name, upstream_host=None, response_flags="UH")])
    (edge,) = found.edges
    assert (edge.source, edge.destination, edge.requests, edge.attempts) == ("shop/web", "shop/api", 2, 1)
