"""Spring Cloud Gateway, ingress-nginx and Kong: real lines as rows, retries, refusals, upstreams, hostile input."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from collector.decode.gateway_outcomes import request_outcome, session_outcome
from collector.decode.ingress_nginx import parse_upstream
from collector.decode.kong_json import upstream_of
from collector.envoy.endpoints import NO_END, End
from tests.collector.decode import proxy_samples as lines
from tests.collector.decode.proxy_rows import decoded, reasons
from tests.collector.identity.rows import book

CONTROLLER = {
    "namespace_name": "ingress-nginx",
    "pod_name": "ingress-nginx-controller-84599cfff-l77nt",
    "labels": {"app.kubernetes.io/name": "ingress-nginx"},
}


def enveloped(text: str, pod: dict[str, Any]) -> str:
    return json.dumps({"log": text, "stream": "stdout", "kubernetes": pod})


def part(row: dict[str, Any], *names: str) -> tuple[Any, ...]:
    return tuple(row.get(name) for name in names)


# Spring Cloud Gateway


def test_reactor_netty_new_and_old_bare_and_behind_the_logger() -> None:
    new, old, boot_2, boot_3 = decoded(lines.NETTY_NEW, lines.NETTY_OLD, lines.BOOT_2, lines.BOOT_3)
    assert new.pop("logged") >= {"ts", "method", "path", "status", "bytes_sent", "duration_us", "source_ip"}
    assert new == {
        "ts": datetime(2024, 1, 10, 20, 48, 18, tzinfo=UTC),
        "mesh": "spring",
        "reporter": "gateway",
        "log_type": "gateway_request",
        "direction": "ingress",
        "protocol": "http",
        "method": "GET",
        "path": "/give-me-cats",
        "operation": "GET /give-me-cats",
        "status": 200,
        "bytes_sent": 161,
        "duration_us": 1017000,
        "source_ip": "::1",
        "destination_service": "spring-cloud-gateway",
        "tls": "unknown",
        "verdict": "allowed",
        "fault": "none",
        "attributes": {},
    }
    assert part(old, "duration_us", "destination_port", "source_ip") == (551000, 8080, "127.0.0.1")
    assert old["ts"] == datetime(2020, 4, 23, 9, 18, 36, tzinfo=UTC)
    for logged, bare in ((boot_2, old), (boot_3, new)):
        assert {**bare, "logged": logged["logged"]} == logged


@pytest.mark.parametrize(
    ("context", "trace", "span"),
    [
        ("[463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312]", "463ac35c9f6413ad48485a3953bb6124", "a2fb4a1d1a96d312"),
        ("[gateway,463ac35c9f6413ad,a2fb4a1d1a96d312,true]", "0000000000000000463ac35c9f6413ad", "a2fb4a1d1a96d312"),
        ("[gateway]", None, None),
    ],
)
def test_the_loggers_prefix_may_hold_the_trace(context: str, trace: str | None, span: str | None) -> None:
    (row,) = decoded(lines.BOOT_2.replace("13124 ---", f"13124 --- {context}"))
    assert part(row, "trace_id", "span_id") == (trace, span)


def test_a_path_cannot_pose_as_the_loggers_prefix() -> None:
    posing = lines.NETTY_NEW.replace("/give-me-cats", f"/AccessLog : {lines.NETTY_OLD}")
    (row,) = decoded(posing)
    assert part(row, "source_ip", "status", "duration_us") == ("::1", 200, 1017000)


def test_the_gateways_pod_is_the_callee() -> None:
    pod = {"namespace_name": "edge", "pod_name": "gateway-6d8bcd654d-t88gp", "labels": {"app": "gateway"}}
    (row,) = decoded(enveloped(lines.NETTY_NEW, pod))
    assert part(row, "destination_namespace", "destination_service", "destination_workload") == (
        "edge",
        "gateway",
        "gateway",
    )
    assert "source_service" not in row


# ingress-nginx


def test_ingress_nginx() -> None:
    (row,) = decoded(lines.NGINX)
    assert row.pop("logged") >= {"attempt", "upstream_cluster", "destination_service", "destination_ip", "verdict"}
    assert row == {
        "ts": datetime(2026, 9, 12, 23, 33, 9, tzinfo=UTC),
        "mesh": "ingress-nginx",
        "reporter": "gateway",
        "log_type": "request",
        "direction": "ingress",
        "protocol": "http",
        "method": "GET",
        "path": "/",
        "operation": "GET /",
        "status": 200,
        "user_agent": "curl/8.7.1",
        "bytes_sent": 896,
        "bytes_received": 77,
        "duration_us": 31000,
        "upstream_duration_us": 30000,
        "attempt": 1,
        "source_ip": "172.19.0.1",
        "source_service": "ingress-nginx",
        "destination_ip": "10.244.2.4",
        "destination_port": 80,
        "destination_namespace": "default",
        "destination_service": "nginx",
        "upstream_cluster": "default-nginx-80",
        "request_id": "a16969f418cf30fd636dc06933e18206",
        "tls": "unknown",
        "verdict": "allowed",
        "fault": "none",
        "attributes": {},
    }


def test_retries_and_canaries_of_nginx() -> None:
    (row,) = decoded(lines.NGINX_RETRIED)
    assert part(row, "attempt", "destination_ip", "destination_port", "upstream_duration_us") == (
        3,
        "10.244.2.6",
        8080,
        103000,
    )
    assert part(row, "destination_namespace", "destination_service") == ("shop", "canary")
    assert row["ts"] == datetime(2026, 9, 12, 23, 33, 12, tzinfo=UTC), "nginx logs the end, in whole seconds"
    assert row["duration_us"] == 7104000
    assert row["attributes"] == {
        "remote_user": "ann",
        "proxy_alternative_upstream_name": "shop-canary-80",
        "upstream_addr": "10.244.2.4:8080, 10.244.2.5:8080 : 10.244.2.6:8080",
        "upstream_status": "504, 502, 200",
        "upstream_response_time": "5.001, 2.000, 0.103",
    }
    assert part(row, "path", "operation") == ("/pay?x=1", "POST /pay")


def test_the_default_backend_is_no_upstream() -> None:
    (row,) = decoded(enveloped(lines.NGINX_DEFAULT_BACKEND, CONTROLLER))
    assert part(row, "source_namespace", "source_service", "source_workload", "destination_service") == (
        "ingress-nginx",
        "ingress-nginx",
        "ingress-nginx-controller",
        None,
    )
    assert "destination_ip" not in row


@pytest.mark.parametrize(
    ("name", "end", "port", "ambiguous"),
    [
        ("shop-orders-80", End(namespace="shop", service="orders"), 80, False),
        ("shop-orders-http", End(namespace="shop", service="orders"), 0, False),
        ("a-b-c-80", End(service="a-b-c-80"), 80, True),
        ("custom-default-backend-shop-errors", End(namespace="shop", service="errors"), 0, False),
        ("upstream-default-backend", NO_END, 0, False),
        ("-", NO_END, 0, False),
        ("", NO_END, 0, False),
        ("x", End(service="x"), 0, True),
        ("a-b-99999", End(namespace="a", service="b"), 0, False),
    ],
)
def test_upstream_names(name: str, end: End, port: int, ambiguous: bool) -> None:
    assert parse_upstream(name) == (end, port, ambiguous)


def test_the_address_of_the_pod_tells_which_reading_of_a_name_is_right() -> None:
    dashboard = "kubernetes-dashboard"
    assert decoded(lines.NGINX_DASHES)[0]["destination_service"] == f"{dashboard}-{dashboard}-443"
    pod = {"name": "10.1.0.29", "namespace": dashboard, "workload": dashboard, "service": dashboard}
    (row,) = decoded(lines.NGINX_DASHES, book=book(pod))
    assert part(row, "destination_namespace", "destination_service") == (dashboard, dashboard)


def test_sessions_of_nginx() -> None:
    (row,) = decoded(enveloped(lines.NGINX_STREAM, CONTROLLER))
    assert part(row, "log_type", "protocol", "duration_us", "bytes_sent", "bytes_received", "status") == (
        "gateway_request",
        "tcp",
        10250000,
        4096,
        512,
        200,
    )
    assert row["ts"] == datetime(2026, 9, 12, 23, 33, 10, tzinfo=UTC)
    assert part(row, "destination_namespace", "destination_service") == ("ingress-nginx", "ingress-nginx")


def test_requests_that_were_none_are_rows() -> None:
    empty = lines.NGINX.replace('"GET / HTTP/1.1" 200', '"" 400').replace("10.244.2.4:80 896 0.030 200", "- - - -")
    hello = empty.replace('"" 400', '"\\x16\\x03\\x01\\x02" 400')
    for row in decoded(empty, hello):
        assert part(row, "status", "method", "path", "attempt", "destination_ip") == (400, None, None, None, None)


@pytest.mark.parametrize(
    ("status", "tried", "verdict", "fault"),
    [
        (403, False, "denied", "mesh"),
        (401, False, "denied", "mesh"),
        (403, True, "allowed", "caller"),
        (502, True, "allowed", "callee"),
        (503, False, "allowed", "unknown"),
        (499, True, "allowed", "caller"),
        (308, False, "allowed", "none"),
    ],
)
def test_outcomes(status: int, tried: bool, verdict: str, fault: str) -> None:
    assert request_outcome(status, tried)[::2] == (verdict, fault)


def test_outcomes_of_sessions() -> None:
    assert [session_outcome(status).fault for status in (200, 400, 403, 500, 502)] == [
        "none",
        "caller",
        "mesh",
        "mesh",
        "network",
    ]


# Kong


def kong(record: dict[str, Any] = lines.KONG_RECORD, **changes: Any) -> str:
    """A line of Kong's with changed keys: `service.host` is written `service__host`; None = without."""
    made = copy.deepcopy(record)
    for path, value in changes.items():
        *parents, name = path.split("__")
        inner = made
        for parent in parents:
            inner = inner.setdefault(parent, {})
        if value is None:
            inner.pop(name, None)
        else:
            inner[name] = value
    return json.dumps(made)


def test_kong() -> None:
    (row,) = decoded(lines.KONG)
    assert row.pop("logged") >= {"attempt", "bytes_sent", "duration_us", "upstream_duration_us", "request_id"}
    assert row.pop("attributes") == {
        "workspace": "f381e34e-5c25-4e65-b91b-3c0a86cfc393",
        "workspace_name": "default",
        "source": "upstream",
        "service": "example_service",
        "route": "example_route",
        "upstream_status": "200",
        "upstream_uri": "/",
    }
    assert row == {
        "ts": datetime(2024, 9, 19, 22, 10, 39, 538000, UTC),
        "mesh": "kong",
        "reporter": "gateway",
        "log_type": "request",
        "direction": "egress",
        "protocol": "http",
        "method": "GET",
        "path": "/example-route",
        "operation": "GET /example-route",
        "authority": "localhost:8000",
        "status": 200,
        "user_agent": "HTTPie/3.2.3",
        "bytes_sent": 9982,
        "bytes_received": 139,
        "duration_us": 173000,
        "upstream_duration_us": 171000,
        "attempt": 1,
        "source_ip": "192.168.65.1",
        "source_service": "kong",
        "destination_ip": "34.237.204.224",
        "destination_port": 80,
        "destination_service": "httpbin.konghq.com",
        "upstream_cluster": "httpbin.konghq.com",
        "request_id": "2f6946328ffc4946b8c9120704a4a155",
        "tls": "unknown",
        "verdict": "allowed",
        "fault": "none",
    }


def test_kongs_sessions() -> None:
    (row,) = decoded(lines.KONG_STREAM)
    assert part(row, "log_type", "protocol", "duration_us", "bytes_sent", "bytes_received") == (
        "connection_end",
        "tcp",
        2000000,
        99,
        200,
    )
    assert part(row, "destination_namespace", "destination_service", "destination_port") == ("shop", "postgres", 8000)


@pytest.mark.parametrize(
    ("host", "inside", "end", "direction"),
    [
        ("orders.shop.svc.cluster.local", False, End(namespace="shop", service="orders"), "ingress"),
        ("orders.shop.8080.svc", False, End(namespace="shop", service="orders"), "ingress"),
        ("orders.shop.pname-http.svc", False, End(namespace="shop", service="orders"), "ingress"),
        ("orders", True, End(service="orders"), "ingress"),
        ("orders.v1.service", True, End(service="orders.v1.service"), "ingress"),
        ("api.example.com", False, End(service="api.example.com"), "egress"),
        ("httproute.shop.orders.0", True, NO_END, "ingress"),
        ("10.0.0.5", True, NO_END, "ingress"),
        ("", False, NO_END, "ingress"),
    ],
)
def test_hosts_of_kongs_services(host: str, inside: bool, end: End, direction: str) -> None:
    assert upstream_of(host, inside) == (end, direction)


def test_retries_of_kong() -> None:
    tries = [
        {"balancer_start": 1, "port": 8001, "ip": "10.0.0.7", "state": "failed", "code": 502},
        {"port": 8002, "balancer_start": 2, "ip": "fd00::7", "balancer_latency": 0},
    ]
    (row,) = decoded(kong(tries=tries, service__host="orders.shop.80.svc", upstream_status="502, 200"))
    assert part(row, "attempt", "destination_ip", "destination_port", "destination_service") == (
        2,
        "fd00::7",
        8002,
        "orders",
    )
    assert row["attributes"]["upstream_status"] == "502, 200"


def test_a_service_may_be_an_address() -> None:
    (row,) = decoded(kong(tries=None, service__host="10.0.0.5", service__port=9000, latencies__proxy=-1))
    assert part(row, "destination_ip", "destination_port", "destination_service") == ("10.0.0.5", 9000, None)


@pytest.mark.parametrize("tries", [[], {}, None, "x"])
def test_a_plugin_refuses_before_any_try(tries: Any) -> None:
    answered = {"response__status": 401, "latencies__proxy": -1, "upstream_status": None, "source": "kong"}
    (row,) = decoded(kong(tries=tries, **answered))
    assert part(row, "status", "verdict", "fault", "attempt") == (401, "denied", "mesh", None)
    assert part(row, "upstream_duration_us", "destination_service") == (None, "httpbin.konghq.com")
    assert "upstream_duration_us" not in row["logged"]


def test_no_route_is_no_destination() -> None:
    (row,) = decoded(kong(service=None, route=None, tries=None, response__status=404))
    assert part(row, "destination_service", "direction", "authority") == (None, "ingress", "localhost:8000")


def test_who_called_kong_and_in_which_trace() -> None:
    (row,) = decoded(
        kong(
            consumer__username="ann",
            consumer__custom_id="7",
            authenticated_entity__id="c0ffee",
            service__protocol="grpcs",
            request__headers__traceparent="00-463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-01",
            **{"request__headers__x-request-id": "r-1"},
        )
    )
    attributes = row["attributes"]
    assert (attributes["consumer"], attributes["consumer_custom_id"], attributes["authenticated_entity"]) == (
        "ann",
        "7",
        "c0ffee",
    )
    assert "source_principal" not in row
    assert part(row, "protocol", "tls", "request_id", "trace_id", "span_id") == (
        "grpc",
        "tls",
        "r-1",
        "463ac35c9f6413ad48485a3953bb6124",
        "a2fb4a1d1a96d312",
    )


def test_headers_sent_several_times_and_sizes_as_text() -> None:
    headers = {"host": ["a", "b"], "user-agent": ["x", "y"], "x-request-id": {}}
    (row,) = decoded(kong(request__headers=headers, response__size="827", request__size="138"))
    assert part(row, "authority", "user_agent", "bytes_sent", "bytes_received") == ("localhost:8000", None, 827, 138)
    assert row["request_id"] == "2f6946328ffc4946b8c9120704a4a155"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (kong(started_at="never"), "started_at is 'never', expected a time"),
        (kong(started_at=None), "started_at is missing, expected a time"),
        (kong(response__status=1000), "status is '1000', expected a status 0..999"),
        (kong(response__size=-3), "size of the response is '-3', expected a count of bytes"),
        (kong(latencies__request=-7), "latencies is '-7', expected a duration"),
        (lines.NGINX.replace("12/Sep/2026", "32/Sep/2026"), "time_local is"),
        (lines.NETTY_NEW.replace("10/Jan", "10/Foo"), "time is"),
    ],
)
def test_refused(text: str, reason: str) -> None:
    assert reasons(text)[0].startswith(reason)


def test_http_log_posts_several_at_once() -> None:
    first, second = decoded(f"[{kong(client_ip='10.0.0.1')},{lines.KONG_STREAM}]", rows=2)
    assert part(first, "source_ip", "log_type") == ("10.0.0.1", "request")
    assert part(second, "log_type", "_record") == ("connection_end", 1)


@pytest.mark.parametrize("value", [[], "text", 7, None, {"a": {}}])
def test_kongs_objects_of_another_shape_lose_no_line(value: Any) -> None:
    made = kong(service=value, route=value, consumer=value, tries=value, request=value, authenticated_entity=value)
    assert decoded(made)[0]["mesh"] == "kong" if value is not None else reasons(made)
