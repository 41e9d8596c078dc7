"""Linkerd, from its proxies' lines to edges. The lines are the documentation's, with other names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from storage.engine import Engine
from tests.collector.decode.proxy_samples import LINKERD, LINKERD_JSON_RECORD, LINKERD_PROBE
from tests.meshes.scenario import edges, ingested
from tests.support.otlp_metrics import counter, request

TRAFFIC = "traffic.booksapp.serviceaccount.identity.linkerd.cluster.local"
EDGE = ("booksapp/traffic", "booksapp/webapp")


def pod(name: str, suffix: str, ip: str) -> dict[str, Any]:
    labels = {"app": name, "linkerd.io/proxy-deployment": name}
    return {"namespace_name": "booksapp", "pod_name": f"{name}-{suffix}", "pod_ip": ip, "labels": labels}


WEBAPP = pod("webapp", "7c9f8d7b6d-x2x4z", "10.42.0.71")
BOOKS = pod("books", "6d8bcd654d-t88gp", "10.42.0.72")


def enveloped(line: str, kubernetes: dict[str, Any] = WEBAPP) -> str:
    return json.dumps({"log": line, "kubernetes": kubernetes})


def line(**changes: Any) -> str:
    return json.dumps({**LINKERD_JSON_RECORD, **changes})


@pytest.mark.parametrize("metadata", [True, False])
def test_requests_denials_and_errors(engine: Engine, metadata: bool) -> None:
    lines = [
        *(line() for _ in range(4)),
        line(status=403, response_bytes="0"),
        line(status=403, response_bytes="31"),
        line(status=502),
    ]
    edge = edges(ingested(engine, [enveloped(text) if metadata else text for text in lines]))[EDGE]
    assert (edge.requests, edge.attempts, edge.denied, edge.errors, edge.direction) == (7, 7, 1, 1, "east_west")
    assert (edge.mtls_share, edge.principals) == (1.0, [TRAFFIC])
    assert edge.statuses == {"200": 4, "403": 2, "502": 1}
    assert edge.faults == {"callee": 1, "caller": 1, "mesh": 1}
    assert edge.bytes_sent == 5 * 19627 + 31
    assert edge.p50_ms is not None
    assert abs(edge.p50_ms - 14.441) < 0.7


def test_an_identity_is_the_node_of_its_workload(engine: Engine) -> None:
    """webapp is called as a pod and calls as a service account: one node. A probe without identity came in plain."""
    webapp = "webapp.booksapp.serviceaccount.identity.linkerd.cluster.local"
    found = ingested(
        engine,
        [
            enveloped(LINKERD),
            enveloped(LINKERD_PROBE),
            enveloped(line(**{"client.id": webapp, "host": "books:7002", "uri": "http://books:7002/books/7"}), BOOKS),
        ],
    )
    assert set(edges(found)) == {EDGE, ("booksapp/webapp", "booksapp/books"), ("unknown", "booksapp/webapp")}
    assert edges(found)["unknown", "booksapp/webapp"].mtls_share == 0.0
    by_id = {node.id: node for node in found.nodes}
    assert by_id["booksapp/webapp"].principals == [webapp]


def test_a_workload_outside_the_cluster_is_a_node_of_its_own(engine: Engine) -> None:
    """Its SPIFFE id names neither namespace nor account; beside it, strangers call in plaintext."""
    external = "spiffe://root.linkerd.cluster.local/ext-wl"
    lines = [enveloped(line(**{"client.id": who})) for who in (external, external, "-")]
    found = edges(ingested(engine, lines))
    assert {pair: (edge.requests, edge.mtls_share, edge.principals) for pair, edge in found.items()} == {
        ("ext-wl", "booksapp/webapp"): (2, 1.0, [external]),
        ("unknown", "booksapp/webapp"): (1, 0.0, []),
    }


def test_the_counter_of_refusals_knows_those_of_grpc_callers(engine: Engine) -> None:
    """To them the proxy answers with 200 and no body; the access log does not say whether that was a refusal."""
    own = {
        "namespace": "booksapp",
        "deployment": "webapp",
        "pod": WEBAPP["pod_name"],
        "tls": "true",
        "client_id": TRAFFIC,
    }
    refused = counter("inbound_http_authz_deny_total", own, 60, 3.0)
    grpc = line(status=200, response_bytes="0", user_agent="grpc-go/1.60", version="HTTP/2.0")
    lines = [enveloped(text) for text in (line(), line(status=403, response_bytes="0"), grpc, grpc)]
    edge = edges(ingested(engine, lines))[EDGE]
    assert (edge.requests, edge.denied) == (4, 1)
    edge = edges(ingested(engine, [request({"service.name": "linkerd-proxy"}, [refused])]))[EDGE]
    assert (edge.requests, edge.denied, edge.evidence) == (4, 3, ["log", "metric"])
