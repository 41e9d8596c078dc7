"""Google Cloud's traffic logs: the documentation's entry as a row, both sides, connections, refusals, Pub/Sub."""

from __future__ import annotations

import base64
import copy
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.collector.decode import samples
from tests.collector.decode.proxy_rows import decoded, reasons
from tests.collector.decode.proxy_samples import GCP, GCP_RECORD, GCP_TCP, GCP_TCP_RECORD


def entry(record: dict[str, Any] = GCP_RECORD, labels: dict[str, Any] | None = None, **changes: Any) -> str:
    """An entry with changed labels (None = without), and changed fields of the request or the entry itself."""
    made = copy.deepcopy(record)
    made["labels"] |= labels or {}
    made["labels"] = {name: value for name, value in made["labels"].items() if value is not None}
    for name, value in changes.items():
        (made["httpRequest"] if name in record.get("httpRequest", ()) else made)[name] = value
    return json.dumps(made)


def test_http() -> None:
    (row,) = decoded(GCP)
    assert row.pop("logged") >= {"source_principal", "destination_principal", "tls", "verdict", "bytes_sent", "status"}
    assert row == {
        "ts": datetime(2020, 8, 13, 21, 37, 42, 963881, UTC),
        "mesh": "gcp",
        "reporter": "destination",
        "log_type": "request",
        "direction": "ingress",
        "protocol": "http",
        "method": "GET",
        "path": "/productpage",
        "operation": "GET /productpage",
        "authority": "35.235.89.201:80",
        "status": 200,
        "response_flags": "-",
        "response_details": "via_upstream",
        "duration_us": 229384,
        "bytes_sent": 7005,
        "bytes_received": 795,
        "source_ip": "10.168.0.26",
        "source_namespace": "istio-system",
        "source_workload": "istio-ingressgateway",
        "source_service": "istio-ingressgateway",
        "source_pod": "istio-ingressgateway-5ff85d8dd8-mwplb",
        "source_principal": "spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account",
        "destination_ip": "10.36.3.153",
        "destination_port": 9080,
        "destination_cluster": "asm-1",
        "destination_namespace": "istio-bookinfo-1-68819",
        "destination_workload": "productpage-v1",
        "destination_service": "productpage",
        "destination_version": "v1",
        "destination_pod": "productpage-v1-84975bc778-pxz2w",
        "destination_principal": "spiffe://cluster.local/ns/istio-bookinfo-1-68819/sa/bookinfo-productpage",
        "tls": "mtls",
        "sni": "outbound_.9080_._.productpage.istio-bookinfo-1-68819.svc.cluster.local",
        "upstream_cluster": "inbound|9080|http|productpage.istio-bookinfo-1-68819.svc.cluster.local",
        "request_id": "8a3a5b0e-0000-4000-8000-000000000001",
        "trace_id": "466d77d15753cb4d7749ba5413b5f70f",
        "span_id": "633831cb1fda4fd5",
        "verdict": "allowed",
        "fault": "none",
        "attributes": {
            "insertId": "1j84zg8g68vb62z",
            "severity": "INFO",
            "traceSampled": "true",
            "mesh_uid": "proj-123",
            "log_sampled": "false",
            "project_id": "asm-project",
            "location": "us-west2-a",
        },
    }


def test_tcp() -> None:
    (row,) = decoded(GCP_TCP)
    names = ("log_type", "protocol", "source_ip", "source_port", "destination_ip", "destination_port", "tls")
    assert {name: row[name] for name in names} == {
        "log_type": "connection_end",
        "protocol": "tcp",
        "source_ip": "10.36.3.9",
        "source_port": 45012,
        "destination_ip": "10.36.3.10",
        "destination_port": 9080,
        "tls": "mtls",
    }
    assert (row["bytes_sent"], row["bytes_received"], row["destination_service"]) == (912, 118, "server")
    assert row["logged"].isdisjoint({"status", "duration_us", "method"})
    assert row["destination_pod"] == "ratings-v1-84975bc778-pxz2w", "of the pod that wrote the entry"


@pytest.mark.parametrize(("state", "log_type"), [("OPEN", "connection_start"), ("CONNECTED", "periodic")])
def test_a_connection_counts_when_it_closes(state: str, log_type: str) -> None:
    assert decoded(entry(GCP_TCP_RECORD, {"connection_state": state}))[0]["log_type"] == log_type


def test_a_policy_is_named_as_in_istios_other_logs() -> None:
    denied = {"response_details": "AuthzDenied", "policy_name": "foo.httpbin-deny", "policy_rule": "0"}
    dry = {
        "dry_run_result": "AuthzDenied",
        "dry_run_policy_name": "foo.httpbin-dryrun-deny",
        "dry_run_policy_rule": "0",
    }
    (row,) = decoded(entry(labels={**denied, **dry}, status="403"))
    assert (row["status"], row["verdict"], row["fault"]) == (403, "denied", "mesh")
    assert row["denied_by"] == "ns[foo]-policy[httpbin-deny]-rule[0]"
    assert {name: row["attributes"][name] for name in dry} == dry
    (row,) = decoded(entry(labels={"response_details": "AuthzDenied"}, status=403))
    assert (row["verdict"], row["denied_by"]) == ("denied", "none")
    (row,) = decoded(entry(status=403))
    assert (row["verdict"], row["fault"]) == ("allowed", "caller")


@pytest.mark.parametrize(
    ("policy", "tls", "logged"),
    [("MUTUAL_TLS", "mtls", True), ("NONE", "plaintext", True), ("", "unknown", False), (None, "unknown", False)],
)
def test_tls_is_what_the_server_says(policy: str | None, tls: str, logged: bool) -> None:
    (row,) = decoded(entry(labels={"service_authentication_policy": policy}))
    assert (row["tls"], "tls" in row["logged"]) == (tls, logged)


CLIENT = "projects/asm-project/logs/client-accesslog-stackdriver"


def test_a_client_and_a_gateway_are_told_apart() -> None:
    shown = {"service_authentication_policy": "", "upstream_host": "10.36.3.153:9080"}
    gateway, client = decoded(
        entry(labels=shown, logName=CLIENT, serverIp="10.0.0.5:80"),
        entry(labels={**shown, "source_workload": "web", "source_app": "web"}, logName=CLIENT, serverIp="10.0.0.5:80"),
    )
    assert (gateway["reporter"], gateway["direction"]) == ("gateway", "ingress")
    assert (client["reporter"], client["direction"]) == ("source", "east_west")
    assert (client["source_cluster"], client.get("destination_cluster")) == ("asm-1", None)
    assert (client["destination_ip"], client["tls"]) == ("10.36.3.153", "mtls")


def test_a_host_outside_is_egress() -> None:
    unknown = {f"destination_{part}": "" for part in ("name", "namespace", "workload", "principal")}
    gone = {
        "destination_canonical_service": None,
        "destination_canonical_revision": None,
        "destination_service_name": "",
    }
    called = {"source_workload": "web", "source_app": "web", "destination_service_host": "httpbin.org"}
    (row,) = decoded(entry(labels={**unknown, **gone, **called}, logName=CLIENT, serverIp="44.1.2.3:80"))
    assert (row["direction"], row["destination_service"]) == ("egress", "httpbin.org")
    assert "destination_namespace" not in row


def test_what_is_zero_is_left_out_by_protobuf() -> None:
    made = json.loads(entry(labels={"response_flag": "DC", "response_details": None}))
    for name in ("status", "responseSize"):
        del made["httpRequest"][name]
    (row,) = decoded(json.dumps(made))
    assert row["logged"] >= {"status", "bytes_sent"}
    assert (row.get("status"), row["fault"]) == (None, "caller")


def test_the_audit_log_tells_of_a_request_once_more() -> None:
    (row,) = decoded(entry(logName="projects/p/logs/server-istio-audit-log"))
    assert (row["log_type"], row["source_workload"]) == ("audit", "istio-ingressgateway")


@pytest.mark.parametrize("text", [GCP, GCP_TCP, samples.CLIENT])
@pytest.mark.parametrize("beside", [{"subscription": "projects/p/subscriptions/s"}, {"ackId": "x"}])
def test_pubsub_messages_are_opened(text: str, beside: dict[str, str]) -> None:
    data = base64.b64encode(text.encode()).decode()
    wrapped = json.dumps({"message": {"data": data, "messageId": "1", "attributes": {"a": "b"}}, **beside})
    assert decoded(wrapped) == decoded(text)


def test_a_pubsub_message_without_readable_data_is_a_dead_letter() -> None:
    for message in ({"data": "%%%"}, {"messageId": "1"}, {}):
        assert "a JSON object with keys" in reasons(json.dumps({"message": message, "subscription": "s"}))[0]
    assert reasons('{"message":null,"subscription":"s"}') == [
        "an envelope without a line: expected text in `log` or `message`"
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            entry(logName="projects/p/logs/stdout"),
            "logName is 'projects/p/logs/stdout', expected a log named server-acc",
        ),
        (entry(timestamp="1970-01-01T00:00:00Z"), "timestamp is '1970-01-01T00:00:00Z', expected a time within 1971"),
        (entry(latency="soon"), "httpRequest.latency is 'soon', expected a duration"),
        (entry(status="many"), "httpRequest.status is 'many', expected a status 0..999"),
        (entry(responseSize="-1"), "responseSize is '-1', expected a count of bytes"),
    ],
)
def test_refused(text: str, reason: str) -> None:
    assert reasons(text)[0].startswith(reason)


@pytest.mark.parametrize("value", [[], "text", 7, None, {"labels": []}, {"deep": {"deeper": {}}}])
def test_objects_of_another_shape_lose_no_entry(value: Any) -> None:
    (row,) = decoded(entry(httpRequest=value, resource=value, spanId=value, trace=value))
    assert row["destination_service"] == "productpage"


def test_a_containers_json_line_is_opened() -> None:
    record = {name: value for name, value in samples.JSON_RECORD.items() if name != "requested_server_name"}
    entry = {
        "insertId": "a1",
        "jsonPayload": {**record, "downstream_peer_uri_san": "spiffe://cluster.local/ns/shop/sa/web"},
        "resource": {
            "type": "k8s_container",
            "labels": {"cluster_name": "asm-1", "namespace_name": "shop", "pod_name": "orders-v1-84975bc778-pxz2w"},
        },
        "labels": {
            "k8s-pod/app": "orders",
            "compute.googleapis.com/resource_name": "gke-node",
            "k8s-pod/version": "v1",
        },
        "timestamp": "2026-01-01T00:00:00.2Z",
        "logName": "projects/p/logs/stdout",
    }
    (row,) = decoded(json.dumps(entry))
    assert (row["reporter"], row["source_principal"]) == ("destination", "spiffe://cluster.local/ns/shop/sa/web")
    assert (row["destination_cluster"], row["destination_namespace"], row["destination_service"]) == (
        "asm-1",
        "shop",
        "orders",
    )
    assert (row["destination_workload"], row["destination_version"]) == ("orders-v1", "v1")


@pytest.mark.parametrize("value", [None, 7, [], "text", {"labels": 3}, {"k8s-pod/app": 7, "labels": {"pod_name": []}}])
def test_a_container_that_says_nothing_of_its_pod_loses_no_line(value: Any) -> None:
    entry = {"jsonPayload": samples.JSON_RECORD, "resource": value, "labels": value, "logName": "l", "timestamp": "t"}
    assert decoded(json.dumps(entry))[0]["reporter"] == "destination"
    assert reasons(json.dumps({**entry, "jsonPayload": value})) != []


def in_container(line: Any, log: str = "stdout", **more: Any) -> str:
    """An entry of a container's standard output in text; the line is the documentation's."""
    resource = {"cluster_name": "asm-1", "namespace_name": "foo", "pod_name": "httpbin-v1-84975bc778-pxz2w"}
    entry = {
        "insertId": "a1",
        "textPayload": line,
        "resource": {"type": "k8s_container", "labels": {**resource, "container_name": "istio-proxy"}},
        "labels": {"k8s-pod/app": "httpbin", "compute.googleapis.com/resource_name": "gke-node"},
        "timestamp": "2026-01-01T00:00:00.2Z",
        "severity": "INFO",
        "logName": f"projects/p/logs/{log}",
    }
    return json.dumps(entry | more)


def test_a_containers_text_line_is_opened_beside_connections_of_the_traffic_log() -> None:
    """Both have the same keys; the name of the log tells them apart."""
    connection = json.dumps(GCP_TCP_RECORD | {"insertId": "a2"})
    first, traffic, second = decoded(in_container(samples.SERVER + "\n"), connection, in_container(samples.SERVER))
    assert (traffic["protocol"], traffic["destination_workload"]) == ("tcp", "ratings-v1")
    assert first == second
    assert (first["reporter"], first["status"], first["mesh"]) == ("destination", 418, "istio")
    names = ("cluster", "namespace", "service", "workload", "pod", "ip", "port")
    assert [first[f"destination_{name}"] for name in names] == [
        *("asm-1", "foo", "httpbin", "httpbin-v1", "httpbin-v1-84975bc778-pxz2w", "10.44.1.27", 80),
    ]
    assert decoded(in_container(samples.SERVER), format="istio_text")[0]["destination_service"] == "httpbin"


def test_what_is_no_line_of_a_proxy_says_so() -> None:
    assert "istio_text" in reasons(in_container(samples.SERVER), format="gcp_json")[0]
    assert reasons(in_container("Listening on port 8080")) != []
    assert reasons(in_container(7), in_container(None), in_container({})) != []
    assert (
        "expected a log named" in reasons(in_container(samples.SERVER, log="cloudaudit.googleapis.com%2Factivity"))[0]
    )
    without = json.loads(in_container(samples.SERVER))
    del without["logName"]
    assert decoded(json.dumps(without))[0]["destination_namespace"] == "foo"
