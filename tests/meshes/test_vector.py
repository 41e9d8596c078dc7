"""Istio's lines in the envelope of Vector's kubernetes_logs source, from wire bytes to edges.

The envelopes are Vector's own (from public notes): the pod's name, namespace, labels, addresses, owner, and the line
in `message`.
"""

from __future__ import annotations

import json
from typing import Any

from storage.engine import Engine
from tests.meshes.scenario import edges, ingested

CLIENT = (
    '[2026-03-02T10:00:00.409Z] "GET /orders/17 HTTP/1.1" 503 UC upstream_reset_before_response_started '
    '- "-" 0 95 4 - "-" "curl/7.73.0-DEV" "84961386-6d84-4000-8000-c5aee93b5c88" "orders:8000" "10.44.1.27:80" '
    "outbound|8000||orders.shop.svc.cluster.local 10.44.1.23:37652 10.0.45.184:8000 10.44.1.23:46520 - default"
)
SERVER = (
    '[2026-03-02T10:00:00.410Z] "GET /orders/17 HTTP/1.1" 503 UC upstream_reset_before_response_started '
    '- "-" 0 95 3 - "-" "curl/7.73.0-DEV" "84961386-6d84-4000-8000-c5aee93b5c88" "orders:8000" "127.0.0.1:80" '
    "inbound|8000|| 127.0.0.1:41854 10.44.1.27:80 10.44.1.23:37652 "
    "outbound_.8000_._.orders.shop.svc.cluster.local default"
)


def vector(line: str, namespace: str, pod: str, ip: str, app: str) -> str:
    """One event of kubernetes_logs."""
    event: dict[str, Any] = {
        "file": f"/var/log/pods/{namespace}_{pod}_9585867b-5457-4729-a682-db3bed0ffd67/istio-proxy/0.log",
        "kubernetes": {
            "container_id": "containerd://d280076162fcd9a1521a8054c215521c1f2d7a4e8e72fe63b2195dd2b7d99b7d",
            "container_image": "docker.io/istio/proxyv2:1.24.2",
            "container_name": "istio-proxy",
            "namespace_labels": {"kubernetes.io/metadata.name": namespace},
            "node_labels": {"kubernetes.io/os": "linux"},
            "pod_ip": ip,
            "pod_ips": [ip],
            "pod_labels": {"app": app, "version": "v1", "pod-template-hash": "788b9ffbf5"},
            "pod_name": pod,
            "pod_namespace": namespace,
            "pod_node_name": "node13",
            "pod_owner": f"ReplicaSet/{pod.rpartition('-')[0]}",
            "pod_uid": "9585867b-5457-4729-a682-db3bed0ffd67",
        },
        "message": line,
        "source_type": "kubernetes_logs",
        "stream": "stdout",
        "timestamp": "2026-03-02T10:00:00.766514243Z",
        "timestamp_end": "2026-03-02T10:00:00.766514243Z",
    }
    return json.dumps(event)


def test_both_sides_of_a_call(engine: Engine) -> None:
    found = ingested(
        engine,
        [
            vector(CLIENT, "front", "web-788b9ffbf5-nmz4m", "10.44.1.23", "web"),
            vector(SERVER, "shop", "orders-6d8bcd654d-t88gp", "10.44.1.27", "orders"),
        ],
    )
    edge = edges(found)["front/web", "shop/orders"]
    assert (edge.requests, edge.attempts, edge.errors, edge.mtls_share) == (1, 1, 1, 1.0)
    assert (edge.statuses, edge.faults, edge.direction) == ({"503": 1}, {"callee": 1}, "east_west")
    sql = (
        "SELECT toString(source_pod) AS source, toString(source_version) AS version FROM calls WHERE reporter='source'"
    )
    rows = engine.query(sql).to_pylist()
    assert [(row["source"], row["version"]) for row in rows] == [("web-788b9ffbf5-nmz4m", "v1")]
    assert len(found.edges) == 1


def test_a_json_line_inside(engine: Engine) -> None:
    record = {
        "start_time": "2026-03-02T10:00:00.410Z",
        "response_code": 200,
        "response_flags": "-",
        "upstream_cluster": "inbound|8000||",
        "downstream_remote_address": "10.44.1.23:37652",
        "downstream_peer_uri_san": "spiffe://cluster.local/ns/front/sa/web",
        "protocol": "HTTP/1.1",
    }
    line = vector(json.dumps(record), "shop", "orders-6d8bcd654d-t88gp", "10.44.1.27", "orders")
    (edge,) = ingested(engine, [line]).edges
    assert (edge.source, edge.destination) == ("front/web", "shop/orders")
    assert edge.principals == ["spiffe://cluster.local/ns/front/sa/web"]
