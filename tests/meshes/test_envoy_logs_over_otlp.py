"""Envoy's access logs as OTLP log records, from wire bytes to edges: its own OTLP logger, and the Collector's envoyals.

Shapes: Envoy's open_telemetry access logger (every value a string, `-` for what is missing, resource of log_name, zone,
cluster and node), and open-telemetry/opentelemetry-collector-contrib, receiver/envoyalsreceiver (a protobuf as text).
"""

from __future__ import annotations

from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from storage.engine import Engine
from tests.meshes.scenario import edges, ingested

SECOND = 1_606_339_578
WEB, ORDERS = "spiffe://cluster.local/ns/shop/sa/web", "spiffe://cluster.local/ns/shop/sa/orders"
EDGE = ("shop/web", "shop/orders")


def attributes(values: dict[str, str]) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"string_value": value}} for key, value in values.items()]


def request(resource: dict[str, str], *records: dict[str, Any]) -> bytes:
    logs: Any = [{"resource": {"attributes": attributes(resource)}, "scope_logs": [{"log_records": list(records)}]}]
    return ExportLogsServiceRequest(resource_logs=logs).SerializeToString()


def record(number: int, **values: str) -> dict[str, Any]:
    """What orders' proxy logs of a call from web; `number` tells calls apart."""
    line = {
        "method": "GET",
        "path": f"/orders/{number}",
        "protocol": "HTTP/2",
        "response_code": "200",
        "response_flags": "-",
        "response_code_details": "via_upstream",
        "duration": "3",
        "bytes_received": "0",
        "bytes_sent": "135",
        "request_id": f"84961386-6d84-4000-8000-{number:012}",
        "authority": "orders:8080",
        "upstream_host": "127.0.0.1:8080",
        "upstream_cluster": "inbound|8080||",
        "downstream_local_address": "10.1.2.3:8080",
        "downstream_remote_address": "10.1.9.4:37652",
        "requested_server_name": "outbound_.8080_._.orders.shop.svc.cluster.local",
        "downstream_peer_uri_san": WEB,
        "downstream_local_uri_san": ORDERS,
        "grpc_status": "-",
    }
    return {
        "time_unix_nano": (SECOND + number) * 10**9,
        "attributes": attributes({**line, **values}),
        "trace_id": bytes([number] * 16),
        "span_id": bytes([number] * 8),
    }


def test_envoys_own_otlp_logger(engine: Engine) -> None:
    resource = {"log_name": "otel_envoy_accesslog", "zone_name": "z", "cluster_name": "orders.shop", "node_name": "n"}
    refused = {"response_code": "403", "response_code_details": "rbac_access_denied_matched_policy[none]"}
    lines = [
        record(1),
        record(2, response_code="503", response_flags="UF", response_code_details="upstream_reset"),
        record(3, upstream_host="-", **refused),
        record(4, grpc_status="14", path="/shop.Orders/Get"),
    ]
    edge = edges(ingested(engine, [request(resource, *lines)], "otlp_proto"))[EDGE]
    assert (edge.requests, edge.attempts, edge.errors, edge.denied, edge.mtls_share) == (4, 4, 2, 1, 1.0)
    assert (edge.statuses, edge.grpc_statuses) == ({"200": 2, "403": 1, "503": 1}, {"14": 1})
    assert (edge.direction, edge.principals) == ("east_west", [WEB])
    traces = engine.query("SELECT trace_id FROM calls ORDER BY ts").to_pylist()
    assert [row["trace_id"] for row in traces] == [f"{number:02x}" * 16 for number in (1, 2, 3, 4)]


def entry(number: int, **fields: str) -> dict[str, Any]:
    """The same call as the receiver envoyals prints it."""
    parts = {
        "request": f'request_method:GET authority:"orders:8080" path:"/orders/{number}" request_id:"r-{number}"',
        "response": 'response_code:{value:200} response_code_details:"via_upstream"',
        "flags": "",
        **fields,
    }
    text = (
        'common_properties:{downstream_remote_address:{socket_address:{address:"10.1.9.4"  port_value:37652}} '
        'downstream_local_address:{socket_address:{address:"10.1.2.3" port_value:8080}}  '
        'tls_properties:{tls_version:TLSv1_3 tls_sni_hostname:"outbound_.8080_._.orders.shop.svc.cluster.local" '
        f'local_certificate_properties:{{subject_alt_name:{{uri:"{ORDERS}"}}}} '
        f'peer_certificate_properties:{{subject_alt_name:{{uri:"{WEB}"}}}}}}  '
        f"start_time:{{seconds:{SECOND + number}}} duration:{{nanos:3500000}} "
        f'upstream_cluster:"inbound|8080||"  {parts["flags"]}}}  protocol_version:HTTP2  '
        f"request:{{{parts['request']}}} response:{{{parts['response']}}}"
    )
    return {
        "time_unix_nano": (SECOND + number) * 10**9,
        "body": {"string_value": text},
        "attributes": attributes({"api_version": "v3", "log_type": "http"}),
    }


def test_the_receiver_envoyals(engine: Engine) -> None:
    trailers = 'response_code:{value:200} response_trailers:{key:"grpc-status"  value:"14"}'
    refused = 'response_code:{value:403} response_code_details:"rbac_access_denied_matched_policy[none]"'
    failed = {
        "response": "response_code:{value:503}",
        "flags": "response_flags:{upstream_connection_failure:true}",
    }
    lines = [entry(1), entry(2, **failed), entry(3, response=refused), entry(4, response=trailers)]
    edge = edges(ingested(engine, [request({}, *lines)], "otlp_proto"))[EDGE]
    assert (edge.requests, edge.attempts, edge.errors, edge.denied, edge.mtls_share) == (4, 4, 2, 1, 1.0)
    assert (edge.statuses, edge.grpc_statuses) == ({"200": 2, "403": 1, "503": 1}, {"14": 1})
    assert edge.principals == [WEB]
