"""Google Cloud Service Mesh, from exported log entries to edges."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

from storage.engine import Engine
from tests.collector.decode import samples
from tests.collector.decode.proxy_samples import GCP_RECORD, GCP_TCP_RECORD
from tests.meshes.scenario import edges, ingested

CLIENT = "projects/asm-project/logs/client-accesslog-stackdriver"
AUDIT = "projects/asm-project/logs/server-istio-audit-log"
NAMESPACE = "istio-bookinfo-1-68819"
EDGE = ("istio-system/istio-ingressgateway", f"{NAMESPACE}/productpage")


def entry(record: dict[str, Any] = GCP_RECORD, log: str = "", status: int = 200, **labels: str) -> str:
    made = copy.deepcopy(record)
    made["labels"] |= labels
    if "httpRequest" in made:
        made["httpRequest"]["status"] = status
    made["logName"] = log or made["logName"]
    return json.dumps(made)


def test_both_sides_of_requests(engine: Engine) -> None:
    denied = {"response_details": "AuthzDenied", "policy_name": "foo.httpbin-deny", "policy_rule": "0"}
    seen_by_client = {"service_authentication_policy": "", "upstream_host": "10.36.3.153:9080"}
    pushed = {"message": {"data": base64.b64encode(entry().encode()).decode()}, "subscription": "s"}
    found = ingested(
        engine,
        [
            entry(),
            json.dumps(pushed),
            entry(status=403, **denied),
            entry(log=AUDIT),
            *(entry(log=CLIENT, **seen_by_client) for _ in range(2)),
            entry(log=CLIENT, status=403, **seen_by_client),
            entry(log=CLIENT, status=503, **{**seen_by_client, "response_flag": "UF", "upstream_host": ""}),
        ],
    )
    (edge,) = found.edges
    assert (edge.source, edge.destination, edge.direction) == (*EDGE, "ingress")
    assert (edge.requests, edge.attempts, edge.denied, edge.errors) == (4, 3, 1, 1)
    assert edge.mtls_share == 1.0
    assert edge.principals == ["spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account"]
    assert edge.statuses == {"200": 2, "403": 1, "503": 1}
    assert edge.faults["network"] == 1
    assert {node.id: node.kind for node in found.nodes} == {EDGE[0]: "gateway", EDGE[1]: "service"}


def test_a_client_log_filtered_to_errors_disagrees_with_the_servers(engine: Engine) -> None:
    """The server tells of successes that no line of the client's has: those were no retries."""
    client = entry(log=CLIENT, status=503, service_authentication_policy="", upstream_host="10.36.3.153:9080")
    edge = edges(ingested(engine, [client, *(entry(status=status) for status in (503, 403, 200, 200))]))[EDGE]
    assert (edge.requests, edge.attempts, edge.statuses) == (1, 4, {"503": 1})
    assert edge.disagreements == [{"what": "requests", "between": ["source", "destination"], "values": [1, 4]}]


def test_connections_count_when_they_close(engine: Engine) -> None:
    lines = [entry(GCP_TCP_RECORD, connection_state=state) for state in ("OPEN", "CONNECTED", "CLOSE")]
    plain = entry(GCP_TCP_RECORD, service_authentication_policy="NONE", source_principal="", destination_principal="")
    edge = edges(ingested(engine, [*lines, plain]))["default/productpage", "default/server"]
    assert (edge.requests, edge.protocol, edge.errors, edge.mtls_share) == (2, "tcp", 0, 0.5)
    assert (edge.bytes_sent, edge.bytes_received, edge.p50_ms, edge.statuses) == (2 * 912, 2 * 118, None, {})


def test_lines_of_the_proxies_own_output(engine: Engine) -> None:
    """Where the traffic logs are off, the default text of the sidecars, as GKE's agent exports it."""

    def output(line: str, app: str) -> str:
        resource = {"cluster_name": "asm-1", "namespace_name": "foo", "pod_name": f"{app}-84975bc778-pxz2w"}
        labels = {"type": "k8s_container", "labels": {**resource, "container_name": "istio-proxy"}}
        entry = {"textPayload": line + "\n", "resource": labels, "labels": {"k8s-pod/app": app}}
        return json.dumps(entry | {"timestamp": "2026-01-01T00:00:00.2Z", "logName": "projects/p/logs/stdout"})

    found = ingested(engine, [output(samples.CLIENT, "sleep"), output(samples.SERVER, "httpbin")])
    (edge,) = found.edges
    assert (edge.source, edge.destination, edge.requests, edge.attempts) == ("foo/sleep", "foo/httpbin", 1, 1)
    assert (edge.mtls_share, edge.statuses) == (1.0, {"418": 1})
