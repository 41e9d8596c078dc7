"""Open Service Mesh, from lines to edges.

The sample is osm-docs' (guides/observability/envoy_access_logs) with all 19 keys of openservicemesh/osm's bootstrap;
the others are the same call as its caller logs it, and failures.
"""

from __future__ import annotations

import json
from typing import Any

from storage.engine import Engine
from tests.meshes.scenario import edges, ingested

SAMPLE: dict[str, Any] = {
    "bytes_sent": 0,
    "request_id": "7feeda0a-0000-4000-8000-000000000001",
    "bytes_received": 0,
    "response_flags": "-",
    "protocol": "HTTP/1.1",
    "method": "HEAD",
    "time_to_first_byte": 504,
    "start_time": "2022-09-08T16:41:31.933Z",
    "response_code_details": "via_upstream",
    "user_agent": "curl/7.85.0-DEV",
    "upstream_host": "127.0.0.1:14001",
    "requested_server_name": "httpbin.httpbin.svc.cluster.local",
    "x_forwarded_for": None,
    "response_code": 200,
    "upstream_service_time": "409",
    "path": "/",
    "duration": 508,
    "authority": "httpbin.httpbin:14001",
    "upstream_cluster": "httpbin/httpbin|14001|local",
}
CALLER = {
    "upstream_cluster": "httpbin/httpbin|14001",
    "upstream_host": "10.244.0.9:14001",
    "requested_server_name": None,
}


def pod(namespace: str, name: str, app: str) -> dict[str, Any]:
    """What a log shipper says of the proxy's pod: these lines have no address of it."""
    return {"kubernetes": {"namespace_name": namespace, "pod_name": name, "labels": {"app": app}}}


def line(*parts: dict[str, Any], **fields: Any) -> str:
    return json.dumps({key: value for part in (SAMPLE, *parts, fields) for key, value in part.items()})


def test_a_call_that_both_sides_log(engine: Engine) -> None:
    curl = pod("curl", "curl-54ccc6954c-p5sfs", "curl")
    found = ingested(
        engine,
        [
            line(CALLER, curl),
            line(
                CALLER, curl, response_code=503, response_flags="UF", response_code_details="upstream_reset", path="/x"
            ),
            line(pod("httpbin", "httpbin-69dc7d545c-89zln", "httpbin")),
        ],
    )
    edge = edges(found)["curl/curl", "httpbin/httpbin"]
    assert (edge.requests, edge.errors, edge.statuses) == (2, 1, {"200": 1, "503": 1})
    assert (edge.direction, edge.protocol, edge.faults) == ("east_west", "http", {"network": 1})
    # The callee's line has neither the address nor the identity of its caller.
    assert edges(found)["unknown", "httpbin/httpbin"].requests == 1
    assert {row["mesh"] for row in engine.query("SELECT DISTINCT toString(mesh) AS mesh FROM calls").to_pylist()} == {
        "osm"
    }


def test_a_line_without_a_cluster_is_still_osms(engine: Engine) -> None:
    refused = {"upstream_cluster": None, "upstream_host": None, "response_code": 404, "response_flags": "NR"}
    ingested(engine, [line(refused, pod("httpbin", "httpbin-69dc7d545c-89zln", "httpbin"))])
    (row,) = engine.query("SELECT toString(mesh) AS mesh, attributes FROM calls").to_pylist()
    assert (row["mesh"], dict(row["attributes"])) == ("osm", {"time_to_first_byte": "504"})
