"""Operator columns to calls: sample lines of each kind with the ends they tell, and laws that hold for any columns."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.decode.operators import OPERATORS
from collector.decode.registry import decoder
from collector.envoy import to_calls
from storage.conform import conform
from storage.tables import CALLS
from tests.collector.decode import samples
from tests.collector.identity.rows import AT, Row, logged_fields, operators, plain


def decoded(line: str) -> dict[str, Any]:
    result = decoder("envoy_text" if line == samples.ENVOY else "istio_text").decode(
        pa.array([line.encode()], pa.large_binary())
    )
    assert not result.dead
    return plain(result.tables["calls"])[0]


def one(**line: Any) -> dict[str, Any]:
    return plain(to_calls(operators([line]), "istio"))[0]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            samples.CLIENT,
            {
                "reporter": "source",
                "source_ip": "10.44.1.23",
                "source_port": 37652,
                "destination_namespace": "foo",
                "destination_service": "httpbin",
                "destination_ip": "10.44.1.27",
                "destination_port": 80,
                "direction": "east_west",
                "tls": "unknown",
                "protocol": "http",
                "operation": "GET /status/{id}",
                "verdict": "allowed",
            },
        ),
        (
            samples.SERVER,
            {
                "reporter": "destination",
                "source_ip": "10.44.1.23",
                "source_port": 37652,
                "destination_namespace": "foo",
                "destination_service": "httpbin",
                "destination_ip": "10.44.1.27",
                "destination_port": 80,
                "tls": "mtls",
                "duration_us": 3000,
                "upstream_duration_us": 1000,
            },
        ),
        (
            samples.DENIED,
            {
                "reporter": "destination",
                "destination_namespace": "starfleet",
                "destination_service": "probe",
                "source_ip": "10.244.0.12",
                "verdict": "denied",
                "denied_by": "ns[starfleet]-policy[probe-deny-status]-rule[0]",
                "fault": "mesh",
                "tls": "mtls",
            },
        ),
        (
            samples.TCP,
            {
                "reporter": "gateway",
                "direction": "egress",
                "destination_service": "edition.cnn.com",
                "destination_ip": "151.101.195.5",
                "destination_port": 443,
                "source_ip": "172.30.239.8",
                "source_remote_ip": "172.30.239.15",
                "protocol": "tcp",
                "log_type": "connection_end",
                "verdict": "allowed",
                "fault": "none",
            },
        ),
        (
            samples.TCP_DENIED,
            {
                "reporter": "destination",
                "destination_namespace": "db",
                "destination_service": "mysql",
                "verdict": "denied",
                "denied_by": "none",
                "protocol": "tcp",
            },
        ),
        (
            samples.JWT,
            {
                "reporter": "gateway",
                "direction": "ingress",
                "destination_namespace": "istioinaction",
                "destination_service": "webapp",
                "verdict": "denied",
                "denied_by": "jwt_authn",
            },
        ),
        (
            samples.WAYPOINT,
            {
                "reporter": "waypoint",
                "source_ip": "10.244.0.37",
                "destination_namespace": "bookinfo",
                "destination_service": "details",
                "destination_ip": "10.244.0.32",
                "destination_port": 9080,
                "tls": "mtls",
            },
        ),
        (
            samples.EXT_AUTHZ,
            {"reporter": "destination", "destination_service": "dummy-svc-app", "denied_by": "ext_authz"},
        ),
        (
            samples.ENVOY,
            {
                "reporter": "unknown",
                "destination_service": "locations",
                "destination_ip": "10.0.2.1",
                "protocol": "http2",
                "tls": "unknown",
                "mesh": "envoy",
            },
        ),
    ],
)
def test_sample_lines(line: str, expected: dict[str, Any]) -> None:
    found = decoded(line)
    assert {name: found.get(name) for name in expected} == expected


INBOUND = {
    "method": "GET",
    "path": "/",
    "protocol": "HTTP/1.1",
    "response_code": 200,
    "upstream_cluster": "inbound|8080||",
    "upstream_host": "127.0.0.1:8080",
    "downstream_local_address": "10.0.0.2:8080",
    "downstream_remote_address": "10.0.0.1:41000",
    "requested_server_name": None,
}
OUTBOUND = {
    "method": "GET",
    "path": "/",
    "protocol": "HTTP/1.1",
    "response_code": 200,
    "upstream_cluster": "outbound|80||b.shop.svc.cluster.local",
    "upstream_host": "10.0.0.2:8080",
    "upstream_local_address": "10.0.0.1:41000",
    "downstream_local_address": "10.96.0.9:80",
    "downstream_remote_address": "10.0.0.1:52000",
}
GATEWAY_POD = {
    "pod_name": "istio-ingressgateway-7c4f5d6c9b-x2x4z",
    "pod_namespace": "istio-system",
    "pod_labels": {"istio": "ingressgateway", "app": "istio-ingressgateway"},
}


def test_the_callers_certificate_names_its_namespace_and_no_service() -> None:
    found = one(**INBOUND, downstream_peer_uri_san="spiffe://cluster.local/ns/web/sa/front")
    assert found["source_principal"] == "spiffe://cluster.local/ns/web/sa/front"
    assert found["source_namespace"] == "web"
    assert "source_service" not in found
    assert found["tls"] == "mtls"


def test_the_own_pod_is_the_destination_on_its_side_and_the_source_on_the_other() -> None:
    pod = {"pod_name": "b-v2-7c4f5d6c9b-x2x4z", "pod_namespace": "shop", "pod_labels": {"app": "b", "version": "v2"}}
    inbound = one(**INBOUND, **pod, authority="evil.example")
    assert [inbound[f"destination_{part}"] for part in ("namespace", "service", "workload", "version", "pod")] == [
        "shop",
        "b",
        "b-v2",
        "v2",
        pod["pod_name"],
    ]
    outbound = one(**OUTBOUND, **pod)
    assert (outbound["source_namespace"], outbound["source_service"]) == ("shop", "b")
    assert "source_service" in logged_fields(outbound["logged"])
    assert "source_pod" in logged_fields(outbound["logged"])


def test_another_services_sni_does_not_rename_the_pod() -> None:
    found = one(
        **INBOUND | {"requested_server_name": "outbound_.80_._.other.elsewhere.svc.cluster.local"},
        pod_name="b",
        pod_namespace="shop",
        downstream_local_uri_san="spiffe://cluster.local/ns/shop/sa/b",
    )
    assert found["destination_namespace"] == "shop"
    assert "destination_service" not in found


@pytest.mark.parametrize(
    ("carried", "tls"),
    [
        ({"downstream_peer_uri_san": "spiffe://td/ns/a/sa/b", "requested_server_name": None}, "mtls"),
        ({"requested_server_name": "outbound_.80_._.b.shop.svc.cluster.local"}, "mtls"),
        ({"requested_server_name": "web.default.dc1.internal.1a.consul"}, "mtls"),
        ({"requested_server_name": None}, "plaintext"),
        ({"requested_server_name": None, "downstream_peer_uri_san": None}, "plaintext"),
        ({"downstream_peer_uri_san": None}, "unknown"),
        ({"requested_server_name": "www.example.com"}, "unknown"),
        ({"requested_server_name": "www.example.com", "downstream_peer_uri_san": None}, "tls"),
        ({"downstream_tls_version": "TLSv1.3", "downstream_peer_uri_san": None, "requested_server_name": None}, "tls"),
        ({"downstream_tls_version": "TLSv1.3", "requested_server_name": None}, "unknown"),
        ({"downstream_tls_version": None, "downstream_peer_uri_san": None}, "plaintext"),
        ({"downstream_tls_cipher": None}, "plaintext"),
        ({"downstream_tls_cipher": "AES128-GCM-SHA256", "requested_server_name": None}, "unknown"),
        ({"downstream_tls_cipher": "AES128-GCM-SHA256", "downstream_peer_uri_san": None}, "tls"),
        ({"downstream_tls_cipher": "x", "downstream_tls_version": None, "downstream_peer_uri_san": None}, "tls"),
        ({}, "unknown"),
    ],
)
def test_how_an_inbound_connection_was_secured(carried: Row, tls: str) -> None:
    line = {name: value for name, value in INBOUND.items() if name != "requested_server_name"}
    assert one(**line, **carried)["tls"] == tls


@pytest.mark.parametrize(
    ("carried", "tls", "told"),
    [
        ({"requested_server_name": None}, "plaintext", False),
        ({"requested_server_name": None, "downstream_peer_uri_san": None}, "plaintext", True),
        ({"requested_server_name": None, "downstream_tls_version": None}, "plaintext", True),
        ({"requested_server_name": None, "downstream_tls_cipher": None}, "plaintext", True),
        ({"requested_server_name": "outbound_.80_._.b.shop.svc.cluster.local"}, "mtls", True),
        ({}, "unknown", False),
    ],
)
def test_an_absent_server_name_alone_does_not_say_that_a_call_came_in_plaintext(
    carried: Row, tls: str, told: bool
) -> None:
    line = {name: value for name, value in INBOUND.items() if name != "requested_server_name"}
    found = one(**line, **carried)
    assert (found["tls"], "tls" in logged_fields(found["logged"])) == (tls, told)


WEB = "spiffe://cluster.local/ns/web/sa/front"


@pytest.mark.parametrize(
    ("names", "attributes"),
    [
        (WEB, []),
        (f"urn:uuid:1,{WEB},spiffe://other/x", [f"urn:uuid:1,{WEB},spiffe://other/x"]),
        (f"front.web.example,{WEB}", [f"front.web.example,{WEB}"]),
        (",".join([*[f"https://{number}.example" for number in range(200)], WEB]), None),
    ],
)
def test_of_several_names_the_spiffe_one_is_the_principal_and_all_are_kept(
    names: str, attributes: list[str] | None
) -> None:
    found = one(**INBOUND, downstream_peer_uri_san=names)
    assert (found["source_principal"], found["source_namespace"], found["tls"]) == (WEB, "web", "mtls")
    if attributes is not None:
        assert found.get("attributes", []) == [("downstream_peer_uri_san", text) for text in attributes]


def test_a_gateways_line_keeps_how_its_client_came() -> None:
    line = OUTBOUND | {"downstream_local_address": "10.0.0.9:8443", "downstream_tls_version": "TLSv1.3"}
    client = {"downstream_peer_uri_san": "spiffe://partner.example/client"}
    found = dict(one(**line, **client, **GATEWAY_POD)["attributes"])
    assert found == {"downstream_local_address": "10.0.0.9:8443", "downstream_tls_version": "TLSv1.3", **client}
    # In plaintext, which is known; and of what is not logged nothing is.
    plain = OUTBOUND | {"downstream_local_address": "10.0.0.9:8080", "downstream_tls_version": None}
    found = dict(one(**plain, downstream_peer_uri_san=None, **GATEWAY_POD)["attributes"])
    absent = {"downstream_tls_version": "", "downstream_peer_uri_san": ""}
    assert found == {"downstream_local_address": "10.0.0.9:8080", **absent}
    bare = {name: value for name, value in OUTBOUND.items() if name != "downstream_local_address"}
    assert "attributes" not in one(**bare, **GATEWAY_POD)
    # A sidecar's own columns say it all.
    assert "attributes" not in one(**OUTBOUND | {"downstream_local_address": "10.0.0.9:8080"})


@pytest.mark.parametrize(
    ("carried", "tls"),
    [
        ({"upstream_peer_uri_san": "spiffe://td/ns/shop/sa/b"}, "mtls"),
        ({"upstream_local_uri_san": "spiffe://td/ns/web/sa/a"}, "mtls"),
        ({"upstream_tls_version": "TLSv1.3", "upstream_local_uri_san": None}, "tls"),
        ({"upstream_tls_version": "TLSv1.3"}, "unknown"),
        ({"upstream_tls_version": None}, "plaintext"),
        ({"requested_server_name": None}, "unknown"),
    ],
)
def test_how_an_outbound_connection_was_secured(carried: Row, tls: str) -> None:
    assert one(**OUTBOUND, **carried)["tls"] == tls


def test_a_gateway_is_the_source_of_its_own_line() -> None:
    line = OUTBOUND | {
        "upstream_local_address": "10.0.0.9:33000",
        "downstream_local_address": "10.0.0.9:8443",
        "downstream_remote_address": "203.0.113.7:5555",
        "authority": "shop.example.com",
        "requested_server_name": "shop.example.com",
        "downstream_peer_uri_san": None,
    }
    found = one(**line, **GATEWAY_POD)
    assert found["reporter"] == "gateway"
    assert (found["source_namespace"], found["source_service"]) == ("istio-system", "istio-ingressgateway")
    assert (found["source_ip"], found["source_port"]) == ("203.0.113.7", 5555)
    # How its client came in says nothing of the edge into its upstream.
    assert (found["direction"], found["tls"]) == ("ingress", "unknown")
    assert one(**line, **GATEWAY_POD, upstream_peer_uri_san="spiffe://td/ns/shop/sa/b")["tls"] == "mtls"
    assert (found["destination_namespace"], found["destination_service"]) == ("shop", "b")


def test_a_gateway_without_metadata_is_known_by_its_addresses_and_keeps_its_own() -> None:
    line = OUTBOUND | {
        "upstream_local_address": "10.0.0.9:33000",
        "downstream_local_address": "10.0.0.9:8443",
        "downstream_remote_address": "203.0.113.7:5555",
        "x_forwarded_for": "203.0.113.7",
    }
    found = one(**line)
    assert (found["reporter"], found["direction"]) == ("gateway", "ingress")
    assert (found["source_ip"], found["source_remote_ip"]) == ("10.0.0.9", "203.0.113.7")
    assert one(**line | {"x_forwarded_for": None})["reporter"] == "source"
    assert one(**line | {"downstream_remote_address": "127.0.0.1:5555"})["reporter"] == "source"


@pytest.mark.parametrize(
    "refused",
    [
        {"response_code": 401, "response_code_details": "jwt_authn_access_denied{Jwt_issuer_is_not_configured}"},
        {"response_code": 403, "response_code_details": "rbac_access_denied_matched_policy[none]"},
        {"method": None, "path": None, "connection_termination_details": "rbac_access_denied_matched_policy[none]"},
    ],
)
def test_who_refuses_a_call_on_its_way_out_is_a_gateway(refused: Row) -> None:
    line = OUTBOUND | {
        "upstream_host": None,
        "upstream_local_address": None,
        "downstream_local_address": "10.10.0.6:8080",
        "downstream_remote_address": "172.18.0.1:35358",
        **refused,
    }
    found = one(**line)
    assert (found["reporter"], found["direction"], found["verdict"]) == ("gateway", "ingress", "denied")
    # Its own address is where it was reached.
    assert (found["source_ip"], found["source_remote_ip"]) == ("10.10.0.6", "172.18.0.1")
    assert one(**line | {"upstream_cluster": "inbound|8080||"})["reporter"] == "destination"


def test_a_gateway_that_found_no_route_called_nobody() -> None:
    found = one(
        method="GET",
        path="/",
        protocol="HTTP/2",
        response_code=404,
        response_flags="NR",
        upstream_cluster=None,
        authority="scanner.example",
        **GATEWAY_POD,
    )
    assert found["reporter"] == "gateway"
    assert not [name for name in found if name.startswith("destination_")]


@pytest.mark.parametrize(
    ("line", "host"),
    [
        ({"upstream_cluster": "PassthroughCluster", "authority": "API.Example.com:443"}, "api.example.com"),
        (
            {
                "upstream_cluster": "PassthroughCluster",
                "method": None,
                "path": None,
                "protocol": None,
                "response_code": 0,
                "requested_server_name": "api.example.com",
            },
            "api.example.com",
        ),
        ({"upstream_cluster": "outbound|443||api.example.com", "authority": "other"}, "api.example.com"),
        (
            {
                "upstream_cluster": "outbound|443||*.example.com",
                "authority": "eu.example.com",
                "requested_server_name": None,
            },
            "eu.example.com",
        ),
        (
            {
                "upstream_cluster": "outbound|443||*.example.com",
                "authority": "evil.test",
                "requested_server_name": None,
            },
            "*.example.com",
        ),
        ({"upstream_cluster": None, "authority": "api.example.com", "response_code": 502}, "api.example.com"),
    ],
)
def test_calls_to_outside(line: Row, host: str) -> None:
    found = one(
        **OUTBOUND | {"upstream_host": "203.0.113.9:443", "upstream_local_uri_san": "spiffe://td/ns/a/sa/b"} | line
    )
    assert (found["direction"], found["destination_service"]) == ("egress", host)
    assert "destination_namespace" not in found
    assert found["source_namespace"] == "a"


def test_a_passthrough_without_a_name_has_only_its_address() -> None:
    found = one(**OUTBOUND | {"upstream_cluster": "PassthroughCluster", "upstream_host": "203.0.113.9:443"})
    assert "destination_service" not in found
    assert (found["destination_ip"], found["destination_port"], found["direction"]) == ("203.0.113.9", 443, "egress")


def test_short_names_belong_to_the_callers_namespace() -> None:
    found = one(
        **OUTBOUND | {"upstream_cluster": "PassthroughCluster"}, authority="db", pod_name="a", pod_namespace="web"
    )
    assert (found["destination_service"], found["destination_namespace"]) == ("db", "web")


def test_the_original_client_is_not_the_peer() -> None:
    direct = one(
        **INBOUND | {"downstream_remote_address": "203.0.113.7:0"},
        downstream_direct_remote_address="10.0.0.9:41000",
        x_forwarded_for="203.0.113.7",
    )
    assert (direct["source_ip"], direct["source_remote_ip"]) == ("10.0.0.9", "203.0.113.7")
    # Without the direct address: a header's address has port 0, so the peer is not known at all.
    header = one(**INBOUND | {"downstream_remote_address": "203.0.113.7:0"}, x_forwarded_for="203.0.113.7")
    assert header["source_remote_ip"] == "203.0.113.7"
    assert "source_ip" not in header
    assert "source_ip" not in logged_fields(header["logged"])
    assert "source_ip" in logged_fields(one(**INBOUND)["logged"])


def test_logged_tells_absent_from_unsaid() -> None:
    said = logged_fields(one(**INBOUND, downstream_peer_uri_san=None)["logged"])
    unsaid = logged_fields(one(**INBOUND)["logged"])
    assert {"source_principal", "source_namespace"} <= said
    assert not {"source_principal", "source_namespace", "destination_principal"} & unsaid
    assert {"ts", "method", "path", "operation", "status", "sni", "destination_port", "source_remote_ip"} <= unsaid
    assert not {"grpc_status", "attempt", "request_id", "verdict", "source_service"} & unsaid


@pytest.mark.parametrize(
    ("line", "protocol"),
    [
        ({"protocol": "HTTP/1.0"}, "http"),
        ({"protocol": "HTTP/2"}, "http2"),
        ({"protocol": "HTTP/3"}, "http3"),
        ({"protocol": "HTTP/2", "grpc_status": 0}, "grpc"),
        ({"protocol": "HTTP/1.1", "grpc_status": 2}, "http"),
        ({"protocol": "HTTP/2", "user_agent": "grpc-go/1.60"}, "grpc"),
        ({"protocol": "HTTP/1.1", "content_type": "application/grpc-web+proto"}, "grpc"),
        ({"protocol": None, "method": None, "path": None, "response_code": 0}, "tcp"),
        ({"protocol": None, "method": None, "path": None, "response_code": 400}, "http"),
    ],
)
def test_protocols(line: Row, protocol: str) -> None:
    assert one(**INBOUND | line)["protocol"] == protocol


def test_a_grpc_status_is_one_only_where_grpc_can_be() -> None:
    failed = one(**INBOUND | {"protocol": "HTTP/2", "response_code": 200, "grpc_status": 14})
    assert (failed["grpc_status"], failed["fault"]) == (14, "callee")
    invented = one(**INBOUND | {"protocol": "HTTP/1.1", "response_code": 200, "grpc_status": 2})
    assert (invented.get("grpc_status"), invented["fault"]) == (None, "none")
    assert "grpc_status" not in logged_fields(invented["logged"])
    untold = {name: value for name, value in INBOUND.items() if name != "protocol"}
    assert one(**untold, grpc_status=14)["protocol"] == "grpc"


@pytest.mark.parametrize(
    ("logged", "log_type"),
    [
        ("DownstreamEnd", "request"),
        ("DownstreamStart", "request_start"),
        ("TcpConnectionEnd", "connection_end"),
        ("TcpConnectionStart", "connection_start"),
        ("TcpPeriodic", "periodic"),
        ("UpstreamEnd", "upstream_end"),
        (None, "request"),
        ("NotSet", "request"),
    ],
)
def test_log_types(logged: str | None, log_type: str) -> None:
    assert one(**INBOUND, access_log_type=logged)["log_type"] == log_type


def test_trace_ids_have_one_form() -> None:
    found = one(**INBOUND, trace_id="463AC35C9F6413AD", span_id="a2fb4a1d1a96d312")
    assert (found["trace_id"], found["span_id"]) == ("0000000000000000463ac35c9f6413ad", "a2fb4a1d1a96d312")
    parent = one(**INBOUND, traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    assert (parent["trace_id"], parent["span_id"]) == ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")
    assert "trace_id" not in one(**INBOUND, trace_id="not hex", span_id="0000000000000000")


def test_other_meshes_name_themselves_in_their_clusters() -> None:
    assert one(**OUTBOUND | {"upstream_cluster": "httpbin/web|14001|local"})["mesh"] == "osm"
    consul = one(**OUTBOUND | {"upstream_cluster": "web.default.dc1.internal.1a2b.consul"})
    # Where Consul has no namespaces, everything is in `default`.
    assert (consul["mesh"], consul["destination_service"]) == ("consul", "web")
    assert "destination_namespace" not in consul
    consul = one(**OUTBOUND | {"upstream_cluster": "web.shop.dc1.internal.1a2b.consul"})
    assert consul["destination_namespace"] == "shop"


ADDRESSES = st.sampled_from(
    [
        "10.0.0.1:80",
        "10.0.0.2:41000",
        "127.0.0.1:80",
        "[2001:db8::1]:80",
        "envoy://connect_originate/10.0.0.1:80",
        "x",
        "",
        "::1",
        "1.2.3.4:99999",
        "10.0.0.1:0",
    ]
) | st.text(max_size=12)
NAMES = st.sampled_from(
    [
        "inbound|80||",
        "outbound|80||b.shop.svc.cluster.local",
        "outbound|443||*.x.y",
        "PassthroughCluster",
        "-",
        "",
        "outbound_.80_._.b.shop.svc.cluster.local",
        "spiffe://td/ns/a/sa/b",
        "a.b",
        "api.example.com:443",
        "b",
        "HTTP/2",
    ]
) | st.text(max_size=12)


def _values(field: pa.Field) -> st.SearchStrategy[Any]:
    if field.name.endswith("address") or field.name in ("upstream_host", "pod_ip"):
        return ADDRESSES
    if pa.types.is_string(field.type):
        return NAMES
    if pa.types.is_map(field.type):
        return st.dictionaries(st.sampled_from(["app", "istio", "version", "x"]), st.text(max_size=5), max_size=2)
    if pa.types.is_floating(field.type):
        return st.floats(0, 1e15) | st.sampled_from([float("nan"), float("inf"), -1.0])
    return st.integers(0, 2**field.type.bit_width - 1) if pa.types.is_unsigned_integer(field.type) else st.nothing()


_FIELDS = [f for f in OPERATORS if f.name not in ("start_time", "carried", "attributes", "raw", "_message", "_record")]
LINES = st.fixed_dictionaries({}, optional={f.name: st.none() | _values(f) for f in _FIELDS})
CHEAP = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))


@CHEAP
@given(st.lists(LINES, min_size=1, max_size=5))
def test_any_columns_give_one_row_each_whoever_their_neighbours_are(lines: list[dict[str, Any]]) -> None:
    for line in lines:
        line.pop("pod_labels", None)  # one pod has one set of labels in a batch
    together = conform(CALLS, to_calls(operators(lines), "istio").drop_columns(["_message", "_record"]))
    assert together.num_rows == len(lines)
    for index, line in enumerate(lines):
        alone = conform(CALLS, to_calls(operators([line]), "istio").drop_columns(["_message", "_record"]))
        assert alone.to_pylist() == together.slice(index, 1).to_pylist()


@CHEAP
@given(st.lists(LINES, max_size=4))
def test_labels_of_any_kind_are_survived(lines: list[dict[str, Any]]) -> None:
    assert to_calls(operators(lines), "istio").num_rows == len(lines)


def test_slices_and_empty_batches() -> None:
    batch = operators([OUTBOUND, INBOUND, INBOUND])
    whole = to_calls(batch, "istio").to_pylist()
    assert to_calls(batch.slice(1, 2), "istio").to_pylist() == whole[1:]
    assert to_calls(batch.slice(0, 0), "istio").num_rows == 0
    assert whole[0]["ts"] == AT


def test_columns_of_another_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="OPERATORS"):
        to_calls(pa.RecordBatch.from_pydict({"x": [1]}), "istio")
