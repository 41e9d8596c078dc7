"""Envoy without a mesh, from lines to edges: its default text, and a `json_format` with its operators' names.

Text: the example of Envoy's reference ("Access logging", default format) and one of Contour's ("Troubleshooting common
errors"). JSON: Envoy's reference has operators, not lines; these are filled in as it says they render.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from collector.inventory import load
from storage.engine import Engine
from tests.collector.decode import samples
from tests.meshes.scenario import edges, ingested

CONTOUR = (
    '[2024-02-06T15:18:17.437Z] "GET / HTTP/1.1" 503 UF 0 91 1998 - "103.67.2.26" "curl/8.4.0" '
    '"d70640ec-2feb-46f8-9f63-24c44142c42e" "example.projectcontour.io" "10.244.8.27:8080"'
)
WEB_ID = "spiffe://example.org/ns/shop/sa/web"
INBOUND: dict[str, Any] = {
    "START_TIME": "2026-03-02T10:00:00.410Z",
    "PROTOCOL": "HTTP/2",
    "REQ(:METHOD)": "GET",
    "REQ(:PATH)": "/orders/17",
    "REQ(:AUTHORITY)": "orders.shop:8080",
    "RESPONSE_CODE": 200,
    "RESPONSE_FLAGS": "-",
    "DURATION": 12,
    "BYTES_SENT": 508,
    "BYTES_RECEIVED": 0,
    "UPSTREAM_HOST": "127.0.0.1:8080",
    "UPSTREAM_CLUSTER": "local_app",
    "DOWNSTREAM_REMOTE_ADDRESS": "10.244.1.7:41000",
    "DOWNSTREAM_LOCAL_ADDRESS": "10.244.1.9:8443",
    "DOWNSTREAM_PEER_URI_SAN": WEB_ID,
    "DOWNSTREAM_TLS_VERSION": "TLSv1.3",
}


def pod(namespace: str, app: str, ip: str) -> dict[str, Any]:
    metadata = {"name": f"{app}-1", "namespace": namespace, "labels": {"app": app}}
    return {"kind": "Pod", "metadata": metadata, "spec": {"serviceAccountName": app}, "status": {"podIP": ip}}


def knows(engine: Engine, *pods: dict[str, Any]) -> None:
    document = json.dumps({"kind": "List", "items": pods}).encode()
    load(engine, {"pods.json": document}, loaded_at=datetime(2016, 1, 1, tzinfo=UTC))


def shipped(line: str, namespace: str, app: str) -> str:
    kubernetes = {"namespace_name": namespace, "pod_name": f"{app}-788b9ffbf5-nmz4m", "labels": {"app": app}}
    return json.dumps({"log": line, "kubernetes": kubernetes})


def test_text_names_the_upstream_by_its_address_alone(engine: Engine) -> None:
    knows(engine, pod("geo", "locations", "10.0.2.1"), pod("demo", "echo", "10.244.8.27"))
    lines = [shipped(samples.ENVOY, "geo", "nsq2http"), shipped(CONTOUR, "projectcontour", "envoy")]
    named = edges(ingested(engine, lines))
    assert named.keys() == {("geo/nsq2http", "geo/locations"), ("projectcontour/envoy", "demo/echo")}
    fine, failed = (named[pair] for pair in sorted(named))
    assert (fine.requests, fine.statuses, fine.errors, fine.protocol) == (1, {"204": 1}, 0, "http2")
    assert (failed.requests, failed.statuses, failed.errors, failed.faults) == (1, {"503": 1}, 1, {"network": 1})
    for edge in (fine, failed):
        assert (edge.attempts, edge.denied, edge.mtls_share, edge.principals) == (None, None, None, [])


def test_text_with_nothing_beside_it_has_the_authority(engine: Engine) -> None:
    found = edges(ingested(engine, [samples.ENVOY, CONTOUR]))
    assert found.keys() == {("unknown", "locations"), ("unknown", "external:example.projectcontour.io")}


def test_json_gives_what_was_configured(engine: Engine) -> None:
    knows(engine, pod("shop", "web", "10.244.1.7"), pod("shop", "orders", "10.244.1.9"))
    failed = {"RESPONSE_CODE": 503, "RESPONSE_FLAGS": "UC", "RESPONSE_CODE_DETAILS": "upstream_reset_before_response"}
    refused = {"RESPONSE_CODE": 403, "RESPONSE_CODE_DETAILS": "rbac_access_denied_matched_policy[callers]"}
    found = ingested(engine, [json.dumps({**INBOUND, **more}) for more in ({}, failed, refused)])
    (edge,) = found.edges
    assert (edge.source, edge.destination, edge.direction) == ("shop/web", "shop/orders", "east_west")
    assert (edge.requests, edge.attempts, edge.errors, edge.denied, edge.mtls_share) == (3, 3, 1, 1, 1.0)
    assert (edge.principals, edge.faults) == ([WEB_ID], {"callee": 1, "mesh": 1})
