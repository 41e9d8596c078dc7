"""Linkerd's own log of refusals: real lines as rows, in every envelope that says when; other lines of it are refused.

Lines are those that people showed in linkerd/linkerd2 #8613 (2.11), #9286 and #9574 (2.12), #13013 (2.14); the others
follow linkerd2-proxy, linkerd/app/inbound/src/policy/{http,tcp}.rs.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.decode.linkerd_policy import client_of
from collector.decode.registry import decoder
from collector.identity.principals import NOBODY
from tests.collector.decode.proxy_rows import decoded, reasons
from tests.collector.decode.proxy_samples import LINKERD

TIME = "2024-01-11T18:54:42.281434567Z"
AT = datetime(2024, 1, 11, 18, 54, 42, 281434, UTC)
METRICS = "metrics-api.linkerd-viz.serviceaccount.identity.linkerd.cluster.local"
HTTP = (
    "[  3002.281434s]  INFO ThreadId(01) inbound:server{port=16686}: linkerd_app_inbound::policy::http: Request denied "
    "server.group=policy.linkerd.io server.kind=server server.name=jaeger-ui route.group= route.kind=default "
    "route.name=default client.tls=None(NoClientHello) client.ip=100.64.11.50"
)
TCP = (
    "[1892678.776921s]  INFO ThreadId(01) inbound:server{port=9090}: linkerd_app_inbound::policy::tcp: Connection "
    "denied server.group=policy.linkerd.io server.kind=server server.name=prometheus-admin tls=Some(Established { "
    f'client_id: Some(ClientId(Name("{METRICS}"))), negotiated_protocol: None }}) client=10.2.76.70:52118'
)
ADMIN = (
    "[  1289.245238s]  INFO ThreadId(02) daemon:admin{listen.addr=0.0.0.0:4191}: linkerd_app_inbound::policy::http: "
    "Request denied server.group=policy.linkerd.io server.kind=server server.name=ops-rapid-testing-onboarding-linkerd "
    "route.group= route.kind=default route.name=default client.tls=None(NoClientHello) client.ip=10.0.3.252"
)
GATEWAY = (
    "[  1040.864265s]  INFO ThreadId(01) inbound:accept{client.addr=172.16.28.3:8203}:server{port=4143}:direct:gateway{"
    "dst=minio-console.minio.svc.cluster.local:9443}: linkerd_app_inbound::policy::tcp: Connection denied "
    "server.group=policy.linkerd.io server.kind=server server.name=linkerd-gateway tls=Some(Established { client_id: "
    'Some(ClientId(Name("ingress-nginx.ingress-nginx.serviceaccount.identity.linkerd.cluster.local"))), '
    'negotiated_protocol: Some("transport.l5d.io/v1") }) client=172.16.28.3:8203'
)
OLD = (
    "[   524.425112s]  INFO ThreadId(01) inbound:server{port=8085}: linkerd_app_inbound::policy::authorize::http: "
    "Request denied server=metrics-api tls=None(NoClientHello) client=192.168.1.253:37900"
)
CUT = (
    "[     9.000001s]  INFO ThreadId(01) inbound:server{port=9090}: linkerd_app_inbound::policy::tcp: Connection "
    "terminated due to policy change server.group= server.kind=default server.name=deny tls=Some(Established { "
    "client_id: None, negotiated_protocol: None }) client=[fd00::7]:52118"
)
AUDITED = HTTP.replace("Request denied", "Request allowed") + " authz.group= authz.kind=default authz.name=audit"
FIELDS = {
    "message": "Request denied",
    "server.group": "policy.linkerd.io",
    "server.kind": "server",
    "server.name": "web",
    "route.group": "policy.linkerd.io",
    "route.kind": "httproute",
    "route.name": "admin",
    "client.tls": f'Some(Established {{ client_id: Some(ClientId(Name("{METRICS}"))), negotiated_protocol: None }})',
    "client.ip": "10.1.1.1",
}
RECORD: dict[str, Any] = {
    "timestamp": "[551334.785723s]",
    "level": "INFO",
    "fields": FIELDS,
    "target": "linkerd_app_inbound::policy::http",
    "spans": [{"client.addr": "10.84.1.92:40578", "name": "accept"}, {"port": 8443, "name": "server"}],
    "threadId": "ThreadId(1)",
}
JSON = json.dumps(RECORD, separators=(",", ":"))
POD = {
    "namespace_name": "linkerd-jaeger",
    "pod_name": "jaeger-595975bfcd-vmmf6",
    "pod_ip": "100.64.9.174",
    "labels": {"linkerd.io/proxy-deployment": "jaeger", "app": "jaeger"},
}
RESPONSE = (
    "[  3002.281471s]  INFO ThreadId(01) inbound:server{port=16686}:rescue{client.addr=100.64.11.50:53713}: "
    "linkerd_app_core::errors::respond: HTTP/1.1 request failed error=client 100.64.11.50:53713: server: "
    "100.64.9.174:16686: unauthorized request on route error.sources=[unauthorized request on route]"
)


def at(text: str) -> str:
    return f"{TIME} stdout F {text}"


def told(text: str, *names: str) -> tuple[Any, ...]:
    (row,) = decoded(at(text))
    return tuple(row.get(name) for name in names)


def test_a_refused_request() -> None:
    (row,) = decoded(json.dumps({"log": HTTP + "\n", "stream": "stdout", "time": TIME, "kubernetes": POD}))
    assert row.pop("logged") == {
        *("ts", "protocol", "tls", "verdict", "denied_by", "source_ip", "source_principal", "source_namespace"),
        *("destination_namespace", "destination_service", "destination_workload", "destination_pod"),
        "destination_port",
    }
    assert row == {
        "ts": AT,
        "mesh": "linkerd",
        "reporter": "destination",
        "log_type": "audit",
        "direction": "east_west",
        "protocol": "http",
        "source_ip": "100.64.11.50",
        "destination_namespace": "linkerd-jaeger",
        "destination_workload": "jaeger",
        "destination_service": "jaeger",
        "destination_pod": "jaeger-595975bfcd-vmmf6",
        "destination_ip": "100.64.9.174",
        "destination_port": 16686,
        "tls": "plaintext",
        "verdict": "denied",
        "denied_by": "server/jaeger-ui",
        "fault": "mesh",
        "attributes": {},
    }


@pytest.mark.parametrize(
    ("line", "protocol", "port", "denied_by", "principal", "tls"),
    [
        (HTTP, "http", 16686, "server/jaeger-ui", None, "plaintext"),
        (TCP, "tcp", 9090, "server/prometheus-admin", METRICS, "mtls"),
        (ADMIN, "http", 4191, "server/ops-rapid-testing-onboarding-linkerd", None, "plaintext"),
        (
            GATEWAY,
            "tcp",
            4143,
            "server/linkerd-gateway",
            "ingress-nginx.ingress-nginx.serviceaccount.identity.linkerd.cluster.local",
            "mtls",
        ),
        (OLD, "http", 8085, "server/metrics-api", None, "plaintext"),
        (CUT, "tcp", 9090, "default/deny", None, "tls"),
        (JSON, "http", 8443, "server/web httproute/admin", METRICS, "mtls"),
    ],
)
def test_refusals(line: str, protocol: str, port: int, denied_by: str, principal: str | None, tls: str) -> None:
    names = ("verdict", "fault", "protocol", "destination_port", "denied_by", "source_principal", "tls", "ts")
    assert told(line, *names) == ("denied", "mesh", protocol, port, denied_by, principal, tls, AT)


def test_who_was_refused() -> None:
    assert told(TCP, "source_ip", "source_port", "source_namespace") == ("10.2.76.70", 52118, "linkerd-viz")
    assert told(CUT, "source_ip", "termination_details") == ("fd00::7", "Connection terminated due to policy change")
    (row,) = decoded(at(CUT))
    assert "source_principal" in row["logged"], "a TLS client without an identity is known to have none"


def test_what_an_audit_lets_pass_is_no_denial() -> None:
    (row,) = decoded(at(AUDITED))
    assert (row["verdict"], row.get("denied_by"), row["fault"]) == ("allowed", None, "none")
    assert (row["log_type"], row["attributes"]) == ("audit", {"linkerd.audit": "server/jaeger-ui"})


@pytest.mark.parametrize("line", [HTTP, JSON], ids=["plain", "json"])
@pytest.mark.parametrize(
    "wrapped",
    [
        lambda line: f"{TIME} stdout F {line}",
        lambda line: f"[pod/web-6d84/linkerd-proxy] {TIME} {line}",
        lambda line: json.dumps({"log": line + "\n", "stream": "stdout", "time": TIME}),
        lambda line: json.dumps({"log": line, "kubernetes": POD, "date": 1704999282.281434}),
        lambda line: json.dumps({"message": line, "kubernetes": {"namespace": "x"}, "@timestamp": TIME}),
        lambda line: json.dumps({"message": line, "kubernetes": {"pod_namespace": "x"}, "timestamp": TIME}),
        lambda line: json.dumps(
            {"textPayload": line, "timestamp": TIME, "resource": {"type": "k8s_container", "labels": {}}}
        ),
        lambda line: json.dumps({"log": f"{TIME} stdout F {line}", "time": "2030-01-01T00:00:00Z"}),
    ],
    ids=["cri", "kubectl", "docker", "fluent-bit", "filebeat", "vector", "cloud", "cri-in-docker"],
)
def test_what_is_around_the_line_says_when(wrapped: Any, line: str) -> None:
    (row,) = decoded(wrapped(line))
    assert row["ts"].replace(microsecond=0) == AT.replace(microsecond=0)
    assert row["verdict"] == "denied"


def test_a_line_merged_into_its_envelope() -> None:
    (row,) = decoded(json.dumps({**RECORD, "kubernetes": POD, "@timestamp": TIME}))
    assert (row["ts"], row["destination_workload"], row["denied_by"]) == (AT, "jaeger", "server/web httproute/admin")


def test_a_time_of_its_own_is_believed() -> None:
    (row,) = decoded(json.dumps({**RECORD, "timestamp": TIME}))
    assert row["ts"] == AT


@pytest.mark.parametrize("line", [HTTP, JSON], ids=["plain", "json"])
def test_without_a_time_a_line_is_refused(line: str) -> None:
    expected = "the time around the line is missing, expected a time within 1971..2100"
    assert reasons(line)[0].startswith(expected)
    assert reasons(json.dumps({"log": line}))[0].startswith(expected)
    wrong = "the time around the line is 'yesterday', expected a time"
    assert reasons(json.dumps({"log": line, "time": "yesterday"}))[0].startswith(wrong)


def test_other_lines_of_the_proxy_are_refused_and_harm_no_neighbour() -> None:
    assert reasons(at(RESPONSE))[0].startswith("not recognised: looks like a text line that begins with '['")
    assert reasons(at(HTTP.replace("Request denied", "Request authorized")))[0].startswith("not recognised")
    other = {**RECORD, "target": "linkerd_app_core::errors::respond"}
    assert reasons(at(json.dumps(other)))[0].startswith(
        "a log line of 'linkerd_app_core::errors::respond', expected an access log or linkerd_app_inbound::policy with "
    )
    mixed = "\n".join([at(HTTP), at(RESPONSE), LINKERD, at(json.dumps(other)), at(JSON), at(TCP)])
    found = decoder("auto").decode(pa.array([mixed.encode()], pa.large_binary()))
    rows = sorted(
        zip(*(found.tables["calls"].column(name).to_pylist() for name in ("_record", "log_type")), strict=True)
    )
    assert rows == [(0, "audit"), (2, "request"), (4, "audit"), (5, "audit")]
    assert [letter.record for letter in found.dead] == [1, 3]


@pytest.mark.parametrize(
    ("tls", "kind", "identity"),
    [
        ("None(NoClientHello)", "plaintext", ""),
        ("None(Loopback)", "plaintext", ""),
        ("None(PortSkipped)", "unknown", ""),
        ("Some(Established { client_id: None, negotiated_protocol: None })", "tls", ""),
        ("Some(Passthru { sni: ServerName(example.com) })", "tls", ""),
        ('Some(Established { client_id: Some(ClientId(Dns(Name("a.b.c")))) })', "mtls", "a.b.c"),
        (
            "Some(Established { client_id: Some(ClientId(Uri(spiffe://root.local/ns/vm/sa/old))) })",
            "mtls",
            "spiffe://root.local/ns/vm/sa/old",
        ),
        (
            'Some(Established { client_id: Some(ClientId(Uri(Url { scheme: "spiffe", cannot_be_a_base: false, '
            'username: "", password: None, host: Some(Domain("root.local")), port: None, path: "/ns/vm/sa/old" }))) })',
            "mtls",
            "spiffe://root.local/ns/vm/sa/old",
        ),
        ("", "unknown", ""),
    ],
)
def test_callers_by_what_the_proxy_says_of_tls(tls: str, kind: str, identity: str) -> None:
    found, principal = client_of(tls)
    assert (found, principal.id) == (kind, identity)
    assert identity or principal == NOBODY


@settings(max_examples=150)
@given(
    st.sampled_from([HTTP, TCP, OLD, CUT, AUDITED, JSON]),
    st.integers(0, 400),
    st.binary(max_size=6) | st.text(max_size=4).map(str.encode) | st.just(b"client.tls="),
)
def test_a_damaged_line_is_a_row_or_a_dead_letter(line: str, place: int, piece: bytes) -> None:
    raw = line.encode()
    place = min(place, len(raw))
    for text in (raw[:place] + piece + raw[place:], raw[:place] + piece + raw[place + len(piece) :]):
        body = b"2024-01-11T18:54:42Z stdout F " + text
        found = decoder("auto").decode(pa.array([body], pa.large_binary()))
        rows = found.tables["calls"].num_rows if "calls" in found.tables else 0
        lines = len([one for one in body.split(b"\n") if one.strip(b" \t\r\n\x0b\x0c\x00")])
        assert rows + len(found.dead) == lines
