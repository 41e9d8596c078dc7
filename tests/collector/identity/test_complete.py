"""Names from addresses: who is filled in, who is not, and what follows from it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.envoy import to_calls
from collector.identity.addresses import AddressBook, complete
from storage.conform import conform
from storage.tables import CALLS
from tests.collector.identity.rows import AT, Row, book, calls, logged_fields, operators, plain
from tests.collector.identity.test_to_calls import CHEAP, INBOUND, LINES, OUTBOUND

FRONT: Row = {
    "name": "10.0.0.1",
    "namespace": "web",
    "workload": "front-v1",
    "service": "front",
    "service_account": "front",
    "pod": "front-1",
    "version": "v1",
}
BACK: Row = {
    "name": "10.0.0.2",
    "namespace": "shop",
    "workload": "b-v2",
    "service": "b",
    "service_account": "b",
    "pod": "b-1",
    "version": "v2",
}
GATE: Row = {
    "name": "10.0.0.9",
    "namespace": "istio-system",
    "workload": "gate",
    "service": "gate",
    "pod": "gate-1",
    "is_gateway": 1,
}
CLUSTER_IP: Row = {"kind": "service_ip", "name": "10.96.0.9", "namespace": "shop", "service": "b"}
SERVICE: Row = {"kind": "service", "name_namespace": "shop", "name": "b", "namespace": "shop", "service": "b"}
BOOK = book(FRONT, BACK, GATE, CLUSTER_IP, SERVICE)


def proxied(known: AddressBook = BOOK, **line: Any) -> dict[str, Any]:
    return plain(complete(to_calls(operators([line]), "istio"), known))[0]


def stated(known: AddressBook = BOOK, **row: Any) -> dict[str, Any]:
    return plain(complete(calls(row), known))[0]


def end(row: Row, side: str) -> list[Any]:
    return [row.get(f"{side}_{part}", "") for part in ("namespace", "service", "workload", "pod", "version")]


FRONT_END = ["web", "front", "front-v1", "front-1", "v1"]
BACK_END = ["shop", "b", "b-v2", "b-1", "v2"]
NOBODY = [""] * 5


def test_both_ends_of_an_inbound_line() -> None:
    found = proxied(**INBOUND)
    assert end(found, "source") == FRONT_END
    assert end(found, "destination") == BACK_END
    assert found["direction"] == "east_west"


def test_a_route_gives_way_to_the_service_at_the_address() -> None:
    line = {**OUTBOUND, "upstream_cluster": "httproute/shop/b-route/rule/0", "upstream_host": "10.0.0.2:8080"}
    assert end(proxied(**line), "destination") == BACK_END
    alone = plain(to_calls(operators([line]), "envoy"))[0]
    assert (alone["destination_namespace"], alone["destination_service"]) == ("shop", "b-route")
    assert (alone["reporter"], alone["direction"], alone["mesh"]) == ("gateway", "ingress", "envoy_gateway")
    assert "destination_service" not in logged_fields(alone["logged"])


def test_filling_in_sets_no_bit() -> None:
    batch = to_calls(operators([INBOUND]), "istio")
    assert complete(batch, BOOK).column("logged") == batch.column("logged")


def test_both_ends_of_an_outbound_line() -> None:
    found = proxied(**OUTBOUND)
    assert end(found, "source") == FRONT_END
    assert end(found, "destination") == BACK_END
    assert (found["source_ip"], found["reporter"]) == ("10.0.0.1", "source")


@pytest.mark.parametrize(
    "operator", ["upstream_local_address", "downstream_remote_address", "downstream_local_address"]
)
def test_the_caller_is_found_at_any_of_its_addresses(operator: str) -> None:
    elsewhere = {
        "upstream_local_address": "192.168.0.1:1",
        "downstream_remote_address": "127.0.0.1:2",
        "downstream_local_address": "192.168.0.2:3",
    }
    assert end(proxied(**OUTBOUND | elsewhere | {operator: "10.0.0.1:4"}), "source") == FRONT_END


def test_the_address_called_is_not_the_caller() -> None:
    line = OUTBOUND | {"upstream_local_address": None, "downstream_remote_address": "192.168.0.1:1"}
    assert end(proxied(**line | {"downstream_local_address": "10.0.0.2:8080"}), "source") == NOBODY


def test_a_certificate_is_completed_only_where_it_agrees() -> None:
    agrees = proxied(**INBOUND, downstream_peer_uri_san="spiffe://td/ns/web/sa/front")
    assert end(agrees, "source") == FRONT_END
    for other in ("spiffe://td/ns/web/sa/other", "spiffe://td/ns/elsewhere/sa/front"):
        found = proxied(**INBOUND, downstream_peer_uri_san=other)
        assert end(found, "source")[1:] == NOBODY[1:]
        assert found["source_principal"] == other


def test_an_address_tells_only_of_its_time() -> None:
    known = book({**FRONT, "valid_from": AT + timedelta(seconds=1)})
    assert end(proxied(known, **INBOUND), "source") == NOBODY
    assert end(proxied(book({**FRONT, "valid_to": AT}), **INBOUND), "source") == NOBODY
    assert end(proxied(book({**FRONT, "valid_from": AT}), **INBOUND), "source") == FRONT_END


def test_a_pod_that_is_a_gateway_turns_its_lines() -> None:
    line = OUTBOUND | {
        "upstream_local_address": "10.0.0.9:33000",
        "downstream_local_address": "10.0.0.9:8443",
        "downstream_remote_address": "203.0.113.7:5555",
        "requested_server_name": None,
    }
    found = proxied(**line)
    assert (found["reporter"], found["direction"]) == ("gateway", "ingress")
    assert end(found, "source")[:2] == ["istio-system", "gate"]
    assert (found["source_ip"], found["source_port"]) == ("203.0.113.7", 5555)
    # The same when its addresses alone had told so, and when it reached no upstream.
    # A line that tells so itself also keeps to which of the gateway's ports its client came.
    told = [("x_forwarded_for", "203.0.113.7"), ("downstream_local_address", "10.0.0.9:8443")]
    kept = {"logged": 0, "attributes": told}
    assert proxied(**line, x_forwarded_for="203.0.113.7") | {"logged": 0} == found | kept
    unreached = proxied(**line | {"upstream_local_address": None, "upstream_host": None, "response_code": 503})
    assert (unreached["reporter"], end(unreached, "source")[1]) == ("gateway", "gate")


def test_a_gateways_client_is_never_taken_for_the_gateway() -> None:
    line = OUTBOUND | {
        "upstream_local_address": "10.0.0.77:33000",
        "downstream_local_address": "10.0.0.77:8443",
        "downstream_remote_address": "10.0.0.1:5555",
        "x_forwarded_for": "10.0.0.1",
    }
    found = proxied(**line)
    assert found["reporter"] == "gateway"
    assert end(found, "source") == NOBODY
    assert found["source_ip"] == "10.0.0.77"


def test_what_is_at_the_address_outranks_what_the_caller_says() -> None:
    passthrough = OUTBOUND | {"upstream_cluster": "PassthroughCluster", "authority": "innocent.example.com"}
    found = proxied(**passthrough)
    assert end(found, "destination") == BACK_END
    assert found["direction"] == "east_west"
    outside = proxied(**passthrough | {"upstream_host": "203.0.113.9:443"})
    assert (outside["direction"], outside["destination_service"]) == ("egress", "innocent.example.com")


def test_a_configured_host_outside_stays_outside_whatever_its_address_is() -> None:
    found = proxied(**OUTBOUND | {"upstream_cluster": "outbound|443||api.example.com"})
    assert (found["direction"], found["destination_service"]) == ("egress", "api.example.com")
    assert "destination_namespace" not in found


def test_nameless_passthrough_is_the_pod_or_service_at_its_address_or_nobody() -> None:
    line = OUTBOUND | {"upstream_cluster": "PassthroughCluster"}
    assert end(proxied(**line), "destination") == BACK_END
    service = proxied(**line | {"upstream_host": "10.96.0.9:80"})
    assert end(service, "destination") == ["shop", "b", "", "", ""]
    assert service["direction"] == "east_west"
    unknown = proxied(**line | {"upstream_host": "203.0.113.9:443"})
    assert (end(unknown, "destination"), unknown["direction"]) == (NOBODY, "egress")


def test_two_label_hosts_are_services_where_one_is_known() -> None:
    line = OUTBOUND | {"upstream_cluster": "outbound|80||b.shop", "upstream_host": None}
    found = proxied(**line)
    assert (found["destination_namespace"], found["destination_service"], found["direction"]) == (
        "shop",
        "b",
        "east_west",
    )
    assert proxied(AddressBook(), **line)["direction"] == "egress"


def test_a_service_in_another_namespace_is_not_the_pod_at_the_address() -> None:
    found = proxied(**OUTBOUND | {"upstream_cluster": "outbound|80||b.other.svc.cluster.local"})
    assert end(found, "destination") == ["other", "b", "", "", ""]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            {
                "source_principal": "spiffe://td/ns/web/sa/front",
                "destination_service": "b",
                "status": 200,
                "method": "GET",
                "path": "/x/7",
            },
            {
                "source_namespace": "web",
                "destination_service": "b",
                "direction": "east_west",
                "protocol": "http",
                "operation": "GET /x/{id}",
                "verdict": "allowed",
                "fault": "none",
                "reporter": "unknown",
                "log_type": "request",
                "tls": "mtls",
            },
        ),
        (
            {"destination_service": "b.shop.svc.cluster.local:80"},
            {
                "destination_service": "b",
                "destination_namespace": "shop",
                "verdict": "unknown",
                "fault": "unknown",
                "protocol": None,
                "tls": "unknown",
            },
        ),
        (
            {"destination_service": "API.Example.com"},
            {"destination_service": "api.example.com", "direction": "egress"},
        ),
        ({"destination_service": "b.shop"}, {"destination_service": "b", "destination_namespace": "shop"}),
        (
            {"destination_service": "b.c", "destination_namespace": "shop", "direction": "egress"},
            {"destination_service": "b.c", "destination_namespace": "shop", "direction": "egress"},
        ),
        ({"authority": "b.shop.svc:80"}, {"destination_service": "b", "destination_namespace": "shop"}),
        (
            {"destination_ip": "10.0.0.2", "source_ip": "10.0.0.1", "protocol": "tcp"},
            {"destination_service": "b", "source_service": "front", "log_type": "connection_end", "fault": "none"},
        ),
        (
            {
                "destination_principal": "spiffe://1.consul/ns/shop/dc/dc1/svc/web",
                "status": 403,
                "response_details": "rbac_access_denied_matched_policy[none]",
            },
            {
                "destination_service": "web",
                "destination_namespace": "shop",
                "verdict": "denied",
                "denied_by": "none",
                "fault": "mesh",
            },
        ),
        (
            {
                "destination_service": "b",
                "verdict": "denied",
                "denied_by": "mine",
                "status": 200,
                "tls": "tls",
                "fault": "caller",
                "protocol": "grpc",
                "operation": "Get",
                "reporter": "source",
            },
            {
                "verdict": "denied",
                "denied_by": "mine",
                "tls": "tls",
                "fault": "caller",
                "protocol": "grpc",
                "operation": "Get",
                "reporter": "source",
            },
        ),
        ({"destination_service": "b", "grpc_status": 14}, {"protocol": "grpc", "fault": "callee"}),
        ({"destination_service": "<b>", "status": 403}, {"destination_service": "<b>", "verdict": "unknown"}),
    ],
)
def test_rows_from_sources_that_state_only_some(row: Row, expected: Row) -> None:
    found = stated(**row)
    assert {name: found.get(name) for name in expected} == expected


def test_both_kinds_of_rows_in_one_batch() -> None:
    lines = complete(to_calls(operators([OUTBOUND]), "istio"), BOOK)
    stated_rows = calls({"destination_service": "b.shop.svc", "status": 200})
    from collector.decode.lines import joined

    mixed = complete(joined([to_calls(operators([OUTBOUND]), "istio"), stated_rows]), BOOK)
    keep = [name for name in lines.schema.names if name not in ("_record",)]
    assert plain(mixed.slice(0, 1).select(keep)) == plain(lines.select(keep))
    assert plain(mixed)[1]["destination_namespace"] == "shop"


@CHEAP
@given(st.lists(LINES, min_size=1, max_size=4))
def test_any_lines_are_completed_whoever_their_neighbours_are(lines: list[dict[str, Any]]) -> None:
    for line in lines:
        line.pop("pod_labels", None)
    drop = ["_message", "_record"]
    together = conform(CALLS, complete(to_calls(operators(lines), "istio"), BOOK).drop_columns(drop))
    for index, line in enumerate(lines):
        alone = conform(CALLS, complete(to_calls(operators([line]), "istio"), BOOK).drop_columns(drop))
        assert alone.to_pylist() == together.slice(index, 1).to_pylist()


TEXT = st.sampled_from(
    [
        "",
        "b",
        "b.shop",
        "shop",
        "web",
        "api.example.com",
        "spiffe://td/ns/web/sa/front",
        "egress",
        "source",
        "tcp",
        "GET",
        "/a/1",
        "rbac_access_denied",
        "UF",
    ]
) | st.text(max_size=8)
STATED = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        (
            "source_namespace",
            "source_principal",
            "source_cluster",
            "destination_service",
            "direction",
            "path",
            "destination_namespace",
            "destination_principal",
            "destination_workload",
            "authority",
            "reporter",
            "protocol",
            "method",
            "response_flags",
            "response_details",
            "verdict",
            "fault",
            "tls",
            "operation",
        ),
        TEXT,
    )
    | {
        name: st.sampled_from(["10.0.0.1", "10.0.0.2", "10.96.0.9", "10.9.9.9"])
        for name in ("source_ip", "destination_ip")
    }
    | {"status": st.integers(0, 999), "grpc_status": st.integers(0, 20)},
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(STATED, st.lists(STATED, max_size=2))
def test_any_stated_rows_are_completed(row: dict[str, Any], others: list[dict[str, Any]]) -> None:
    found = stated(**row)
    for name in ("reporter", "direction", "tls", "verdict", "fault", "log_type"):
        assert found[name] == row[name] if row.get(name) else found[name]
    again = plain(complete(calls({"status": 0} | row, *others), BOOK))
    assert len(again) == 1 + len(others)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        # An address is told apart when the map is read, a pod names its workload, a stated refusal is the mesh's.
        ({"authority": "192.168.7.7:80"}, {"destination_service": "192.168.7.7", "direction": "egress"}),
        ({"authority": "[2001:db8::1]:80"}, {"destination_service": "2001:db8::1", "direction": "egress"}),
        ({"destination_pod": "cart-0", "destination_namespace": "shop"}, {"destination_workload": "cart"}),
        (
            {"source_pod": "web-7d9f8b6c5-x2x4z", "source_namespace": "shop", "destination_service": "b"},
            {"source_workload": "web"},
        ),
        ({"destination_service": "b", "status": 403, "verdict": "denied"}, {"fault": "mesh"}),
    ],
)
def test_what_a_row_says_in_passing(row: dict[str, Any], expected: dict[str, Any]) -> None:
    found = stated(**row)
    assert {name: found.get(name) for name in expected} == expected
