"""Access-log lines inside OTLP log records: each form gives the call that the bare line gives."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from collector.contract import Decoded
from collector.decode.otlp.envoyals import entry, parse
from collector.decode.otlp_proto import OtlpProto
from collector.decode.registry import decoder
from storage.tables import LOGGED_BIT

STAMPED = {"time_unix_nano": 1_606_339_578_409_000_000}
TEXT = (
    '[2020-11-25T21:26:18.409Z] "GET /status/418 HTTP/1.1" 418 - via_upstream - "-" 0 135 3 1 "-" "curl/7.73.0" '
    '"84961386-6d84" "httpbin:8000" "127.0.0.1:80" inbound|8000|| 127.0.0.1:41854 10.44.1.27:80 10.44.1.23:37652 '
    "outbound_.8000_._.httpbin.foo.svc.cluster.local default"
)
OBJECT: dict[str, Any] = {
    "start_time": "2020-11-25T21:26:18.409Z",
    "method": "GET",
    "path": "/status/418",
    "protocol": "HTTP/1.1",
    "response_code": "418",
    "response_flags": "-",
    "duration": "3",
    "bytes_sent": "135",
    "bytes_received": "0",
    "request_id": "84961386-6d84",
    "authority": "httpbin:8000",
    "upstream_cluster": "inbound|8000||",
    "downstream_local_address": "10.44.1.27:80",
    "downstream_remote_address": "10.44.1.23:37652",
    "downstream_peer_uri_san": "spiffe://cluster.local/ns/foo/sa/sleep",
}
POD = {"k8s.namespace.name": "foo", "k8s.pod.name": "httpbin-6d4b8f7c9-x2x9z"}


def attribute(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"string_value": value}}


def logs(*records: dict[str, Any], resource: dict[str, str] = POD) -> Decoded:
    of = {"attributes": [attribute(key, value) for key, value in resource.items()]}
    request = ExportLogsServiceRequest(
        resource_logs=[{"resource": of, "scope_logs": [{"log_records": [{**STAMPED, **record} for record in records]}]}]
    )
    return OtlpProto().decode(pa.array([request.SerializeToString()], pa.large_binary()))


def bare(line: str) -> dict[str, Any]:
    (row,) = decoder("auto").decode(pa.array([line.encode()], pa.large_binary())).tables["calls"].to_pylist()
    return row


def same_call(row: dict[str, Any], line: str, *but: str) -> None:
    """`row` is what the bare `line` gives; the pod's own names are known from the resource besides."""
    expected = bare(line)
    of_pod = {"destination_pod", "destination_namespace", "destination_workload", "destination_service"}
    bits = sum(1 << LOGGED_BIT[column] for column in of_pod)
    row["logged"], expected["logged"] = row["logged"] | bits, expected["logged"] | bits
    for column, value in expected.items():
        if column not in {*of_pod, *but} and not column.startswith("_"):
            assert row[column] == value, column
    assert row["destination_namespace"] == "foo"
    assert row["destination_pod"] == POD["k8s.pod.name"]


REFUSED = (
    "[  3002.281434s]  INFO ThreadId(01) inbound:server{port=16686}: linkerd_app_inbound::policy::http: Request denied "
    "server.group=policy.linkerd.io server.kind=server server.name=jaeger-ui route.group= route.kind=default "
    "route.name=default client.tls=None(NoClientHello) client.ip=100.64.11.50"
)


def test_a_line_without_a_time_has_its_records() -> None:
    event = {"message": "Request denied", "server.kind": "server", "server.name": "jaeger-ui", "client.ip": "10.0.0.1"}
    parsed = {"timestamp": "[    1.000001s]", "level": "INFO", "target": "linkerd_app_inbound::policy::http"}
    fields = {"kvlist_value": {"values": [attribute(key, value) for key, value in event.items()]}}
    values = [*(attribute(key, value) for key, value in parsed.items()), {"key": "fields", "value": fields}]
    printed = json.dumps({**parsed, "fields": event}, separators=(",", ":"))
    decoded = logs(
        {"body": {"string_value": TEXT}},
        {"body": {"string_value": REFUSED}},
        {"body": {"string_value": printed}},
        {"body": {"kvlist_value": {"values": values}}},
        {"body": {"string_value": REFUSED}, "time_unix_nano": 0},
    )
    rows = [row for row in decoded.tables["calls"].to_pylist() if row["log_type"] == "audit"]
    told = {(row["denied_by"], row["destination_pod"], row["ts"].isoformat()) for row in rows}
    assert told == {("server/jaeger-ui", POD["k8s.pod.name"], "2020-11-25T21:26:18.409000+00:00")}
    assert len(rows) == 3 and len(decoded.dead) == 1
    assert decoded.dead[0].reason.startswith("the time around the line is missing")


def test_a_text_body() -> None:
    decoded = logs({"body": {"string_value": TEXT + "\n"}})
    same_call(decoded.tables["calls"].to_pylist()[0], TEXT)
    assert not decoded.dead


LABELS = {
    "downstream_peer_uri_san": "spiffe://cluster.local/ns/foo/sa/sleep",
    "upstream_request_attempt_count": "2",
    "user_agent": "never: the line tells its own",
    "tenant": "blue",
    "absent": "-",
}


def test_labels_beside_a_text_body_stand_in_for_what_the_line_lacks() -> None:
    labelled = {"attributes": [attribute(key, value) for key, value in LABELS.items()]}
    texts = [{"body": {"string_value": TEXT}}, {"body": {"string_value": TEXT}, **labelled}]
    texts.append({"body": {"string_value": TEXT.replace('"curl', '"my "odd" curl')}, **labelled})
    texts.append({"body": {"string_value": json.dumps({**OBJECT, "downstream_peer_uri_san": "-"})}, **labelled})
    rows = {row["_record"]: row for row in logs(*texts).tables["calls"].to_pylist()}
    same_call(rows[0], TEXT)
    bit = 1 << LOGGED_BIT["source_principal"]
    for number, row in rows.items():
        if number:
            found = (row["source_principal"], row["source_namespace"], row["attempt"], row["tls"])
            assert found == (LABELS["downstream_peer_uri_san"], "foo", 2, "mtls")
            assert dict(row["attributes"]) == {"tenant": "blue"}
            assert row["logged"] & bit
    assert not rows[0]["logged"] & bit
    assert rows[1]["user_agent"] == "curl/7.73.0"


def test_labels_that_policies_ask_about_are_kept_where_they_are_absent() -> None:
    labels = {
        "request.headers.x-team": "-",
        "request.auth.presenter": "",
        "downstream_peer_issuer": "CN=a",
        "other": "-",
    }
    labelled = {"attributes": [attribute(key, value) for key, value in labels.items()]}
    texts = [{"body": {"string_value": TEXT}, **labelled}, {"body": {"string_value": TEXT}}]
    rows = {row["_record"]: dict(row["attributes"]) for row in logs(*texts).tables["calls"].to_pylist()}
    kept = {"request.headers.x-team": "", "request.auth.presenter": "", "downstream_peer_issuer": "CN=a"}
    assert rows == {0: kept, 1: {}}


def test_what_a_collector_says_of_the_record_is_no_label() -> None:
    said = {"log.file.name": "0.log", "log.iostream": "stdout", "logtag": "F", "time": "2020-11-25T21:26:18Z"}
    record = {"body": {"string_value": TEXT}, "attributes": [attribute(key, value) for key, value in said.items()]}
    same_call(logs(record).tables["calls"].to_pylist()[0], TEXT)


PEER = {
    "name": "sleep-6d4b8f7c9-x2x9z",
    "namespace": "foo",
    "workload": "sleep",
    "cluster": "c1",
    "service": "sleep",
    "revision": "v1",
    "identity": "spiffe://cluster.local/ns/foo/sa/sleep",
}
OLD_PEER = {"NAME": "sleep-6d4b8f7c9-x2x9z", "NAMESPACE": "foo", "WORKLOAD_NAME": "sleep", "CLUSTER_ID": "c1"}


@pytest.mark.parametrize(("key", "peer"), [("downstream_peer", PEER), ("wasm.downstream_peer", OLD_PEER)])
def test_the_peers_metadata_names_the_caller(key: str, peer: dict[str, str]) -> None:
    record = {"body": {"string_value": TEXT}, "attributes": [attribute(key, json.dumps(peer))]}
    (row,) = logs(record).tables["calls"].to_pylist()
    expected = {
        "source_cluster": "c1",
        "source_namespace": "foo",
        "source_workload": "sleep",
        "source_pod": "sleep-6d4b8f7c9-x2x9z",
        "source_principal": peer.get("identity", ""),
    }
    assert {name: row[name] for name in expected} == expected
    assert row["logged"] >> LOGGED_BIT["source_workload"] & 1


def test_a_callers_word_counts_for_nothing_without_mutual_tls() -> None:
    plain = TEXT.replace("outbound_.8000_._.httpbin.foo.svc.cluster.local", "-")
    other = attribute("downstream_peer_uri_san", "spiffe://cluster.local/ns/bar/sa/mallory")
    peer = attribute("downstream_peer", json.dumps(PEER))
    rows = (
        logs(
            {"body": {"string_value": plain}, "attributes": [peer]},
            {"body": {"string_value": TEXT}, "attributes": [peer, other]},
            {"body": {"string_value": TEXT}, "attributes": [attribute("downstream_peer", "{not JSON")]},
        )
        .tables["calls"]
        .to_pylist()
    )
    assert [row["source_workload"] for row in rows] == ["", "", ""]
    assert [row["source_namespace"] for row in rows] == ["", "bar", ""]


def test_the_calleds_metadata_names_its_workload() -> None:
    peer = json.dumps({**PEER, "workload": "httpbin-v1", "name": "httpbin-v1-6d4b8f7c9-x2x9z", "service": "httpbin"})
    text = TEXT.replace("inbound|8000||", "outbound|8000||httpbin.foo.svc.cluster.local").replace("outbound_", "x")
    (row,) = (
        logs({"body": {"string_value": text}, "attributes": [attribute("upstream_peer", peer)]})
        .tables["calls"]
        .to_pylist()
    )
    assert (row["reporter"], row["destination_service"], row["destination_workload"]) == (
        "source",
        "httpbin",
        "httpbin-v1",
    )


@pytest.mark.parametrize(
    "resource",
    [
        {"node_name": "sidecar~10.44.1.27~httpbin-6d4b8f7c9-x2x9z.foo~foo.svc.cluster.local", "log_name": "x"},
        {"node": 'id:"sidecar~10.44.1.27~httpbin-6d4b8f7c9-x2x9z.foo~foo.svc.cluster.local" cluster:"httpbin.foo"'},
    ],
)
def test_istios_name_of_the_node_is_the_pod(resource: dict[str, str]) -> None:
    same_call(logs({"body": {"string_value": TEXT}}, resource=resource).tables["calls"].to_pylist()[0], TEXT)
    both = {**resource, "k8s.pod.name": "other-6d4b8f7c9-x2x9z", "k8s.namespace.name": "bar"}
    (row,) = logs({"body": {"string_value": TEXT}}, resource=both).tables["calls"].to_pylist()
    assert (row["destination_pod"], row["destination_namespace"]) == ("other-6d4b8f7c9-x2x9z", "bar")


def test_a_json_body() -> None:
    line = json.dumps(OBJECT)
    same_call(logs({"body": {"string_value": line}}).tables["calls"].to_pylist()[0], line)


def test_a_structured_body() -> None:
    body = {"kvlist_value": {"values": [attribute(key, value) for key, value in OBJECT.items()]}}
    same_call(logs({"body": body}).tables["calls"].to_pylist()[0], json.dumps(OBJECT), "raw")


def test_attributes_alone() -> None:
    attributes = [attribute(key, value) for key, value in OBJECT.items()]
    same_call(logs({"attributes": attributes}).tables["calls"].to_pylist()[0], json.dumps(OBJECT), "raw")


def test_the_records_time_stands_in() -> None:
    attributes = [attribute(key, value) for key, value in OBJECT.items() if key != "start_time"]
    same_call(logs({"attributes": attributes}).tables["calls"].to_pylist()[0], json.dumps(OBJECT), "raw", "logged")


def test_the_records_trace_stands_in_where_the_line_has_none() -> None:
    other = json.dumps({**OBJECT, "trace_id": "c" * 32, "request_id": "other"})
    context = {"trace_id": b"\xaa" * 16, "span_id": b"\xbb" * 8}
    decoded = logs(
        {"body": {"string_value": TEXT}, **context},
        {"body": {"string_value": other}, **context},
        {"body": {"string_value": json.dumps(OBJECT)}},
    )
    found = {row["request_id"]: row for row in decoded.tables["calls"].to_pylist() if row["_record"] < 2}
    assert (found["84961386-6d84"]["trace_id"], found["84961386-6d84"]["span_id"]) == ("aa" * 16, "bb" * 8)
    assert found["other"]["trace_id"] == "c" * 32
    assert found["84961386-6d84"]["logged"] != bare(TEXT)["logged"]


def test_the_pod_by_the_files_name() -> None:
    path = "/var/log/pods/foo_httpbin-6d4b8f7c9-x2x9z_0f1e2d3c-0000/istio-proxy/0.log"
    record = {"body": {"string_value": TEXT}, "attributes": [attribute("log.file.path", path)]}
    same_call(logs(record, resource={}).tables["calls"].to_pylist()[0], TEXT)


ALS = r"""common_properties:{downstream_remote_address:{socket_address:{address:"10.44.1.23"  port_value:37652}}
 downstream_local_address:{socket_address:{address:"10.44.1.27" port_value:80}} tls_properties:{tls_version:TLSv1_3
 tls_sni_hostname:"outbound_.8000_._.httpbin.foo.svc.cluster.local" local_certificate_properties:{subject_alt_name:{
 uri:"spiffe://cluster.local/ns/foo/sa/httpbin"}} peer_certificate_properties:{subject_alt_name:{
 uri:"spiffe://cluster.local/ns/foo/sa/sleep"}  subject:"O=\"x\""}}  start_time:{seconds:1606339578 nanos:409000000}
 time_to_last_downstream_tx_byte:{nanos:3000000}  upstream_cluster:"inbound|8000||" response_flags:{
 upstream_connection_failure:true  upstream_retry_limit_exceeded:true} metadata:{filter_metadata:{key:"x" value:{}}}
 duration:{nanos:3500000} [type.googleapis.com/some.Extension]:{a:1}} protocol_version:HTTP11
 request:{request_method:GET  authority:"httpbin:8000" path:"/caf\303\251?q=\"1\"" user_agent:"curl/7.73.0"
 request_id:"84961386-6d84" request_headers_bytes:500 request_body_bytes:7} response:{response_code:{value:503}
 response_body_bytes:135  response_code_details:"upstream_reset"}"""


def test_envoyals() -> None:
    record = {
        "body": {"string_value": ALS},
        "attributes": [attribute("api_version", "v3"), attribute("log_type", "http")],
    }
    (row,) = logs(record).tables["calls"].to_pylist()
    expected = {
        "method": "GET",
        "path": '/café?q="1"',
        "status": 503,
        "duration_us": 3500,
        "bytes_received": 7,
        "bytes_sent": 135,
        "response_flags": "UF,URX",
        "source_principal": "spiffe://cluster.local/ns/foo/sa/sleep",
        "destination_principal": "spiffe://cluster.local/ns/foo/sa/httpbin",
        "destination_port": 80,
        "tls": "mtls",
        "reporter": "destination",
    }
    assert {key: row[key] for key in expected} == expected


def test_envoyals_flags_of_overload() -> None:
    flags = "drop_overload:true unconditional_drop_overload:true"
    text = ALS.replace("upstream_connection_failure:true  upstream_retry_limit_exceeded:true", flags)
    record = {
        "body": {"string_value": text.replace("inbound|8000||", "outbound|8000||httpbin.foo.svc.cluster.local")},
        "attributes": [attribute("api_version", "v3"), attribute("log_type", "http")],
    }
    (row,) = logs(record).tables["calls"].to_pylist()
    assert (row["response_flags"], row["fault"]) == ("DO,UDO", "mesh")


def test_envoyals_tcp() -> None:
    text = (
        'common_properties:{start_time:{seconds:1606339578} upstream_cluster:"outbound|443||db.shop.svc.cluster.local" '
        'connection_termination_details:"rbac_access_denied_matched_policy[none]"} '
        "connection_properties:{received_bytes:21 sent_bytes:4}"
    )
    record = {
        "body": {"string_value": text},
        "attributes": [attribute("api_version", "v3"), attribute("log_type", "tcp")],
    }
    (row,) = logs(record).tables["calls"].to_pylist()
    assert (row["protocol"], row["bytes_received"], row["bytes_sent"], row["status"]) == ("tcp", 21, 4, 0)
    assert (row["destination_service"], row["verdict"]) == ("db", "denied")


def test_envoyals_that_is_none_is_a_dead_letter() -> None:
    attributes = [attribute("api_version", "v3"), attribute("log_type", "http")]
    for body in ("hello", "common_properties:{", "a:{" * 100_000, 'common_properties:{start_time:{seconds:"x"}}'):
        decoded = logs({"body": {"string_value": body}, "attributes": attributes})
        assert len(decoded.dead) == 1
        assert not decoded.tables


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(ALS)), st.integers(0, len(ALS)), st.text(max_size=6))
def test_any_text_is_read_or_not(start: int, end: int, put: str) -> None:
    text = ALS[:start] + put + ALS[end:]
    parse(text)
    found = entry(text)
    assert found is None or json.dumps(found)
