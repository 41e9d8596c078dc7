"""North-south gateways from lines to edges: those that are no Envoys, and those that only others speak of."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from storage.engine import Engine
from tests.collector.decode import proxy_samples as lines
from tests.meshes.scenario import edges, ingested
from tests.support.otlp_metrics import counter, request

KONG_POD = {
    "namespace_name": "kong",
    "pod_name": "kong-gateway-6d8bcd654d-t88gp",
    "labels": {"app.kubernetes.io/name": "gateway"},
}
NGINX_POD = {
    "namespace_name": "ingress-nginx",
    "pod_name": "ingress-nginx-controller-84599cfff-l77nt",
    "labels": {"app.kubernetes.io/name": "ingress-nginx"},
}


def enveloped(line: str, pod: dict[str, Any]) -> str:
    return json.dumps({"log": line, "kubernetes": pod})


def kong(status: int = 200, host: str = "orders.shop.80.svc", ips: tuple[str, ...] = ("10.0.0.7",)) -> str:
    made = copy.deepcopy(lines.KONG_RECORD)
    made["service"]["host"] = host
    made["response"]["status"] = status
    made["tries"] = [{"ip": ip, "port": 8080} for ip in ips]
    return json.dumps(made)


def test_kong(engine: Engine) -> None:
    sent = [
        kong(),
        kong(503, ips=("10.0.0.7", "10.0.0.8")),
        kong(401, ips=()),
        kong(host="httpbin.org", ips=("34.1.1.1",)),
    ]
    found = ingested(engine, [enveloped(line, KONG_POD) for line in sent])
    assert set(edges(found)) == {("kong/gateway", "shop/orders"), ("kong/gateway", "external:httpbin.org")}
    edge = edges(found)["kong/gateway", "shop/orders"]
    assert (edge.requests, edge.errors, edge.denied, edge.direction, edge.protocol) == (3, 1, 1, "ingress", "http")
    assert (edge.mtls_share, edge.principals, edge.statuses) == (None, [], {"200": 1, "401": 1, "503": 1})
    assert edges(found)["kong/gateway", "external:httpbin.org"].direction == "egress"
    assert {node.id: node.kind for node in found.nodes}["kong/gateway"] == "gateway"


def test_kong_without_its_pod(engine: Engine) -> None:
    (edge,) = ingested(engine, [kong(), lines.KONG_STREAM.replace("postgres.shop", "orders.shop")]).edges
    assert (edge.source, edge.destination, edge.requests) == ("kong", "shop/orders", 2)


def test_ingress_nginx(engine: Engine) -> None:
    failed = lines.NGINX.replace('" 200 ', '" 502 ').replace(" 0.030 200 ", " 0.030 502 ")
    refused = lines.NGINX.replace('" 200 ', '" 403 ').replace("10.244.2.4:80 896 0.030 200", "- - - -")
    sent = [lines.NGINX, failed, refused, lines.NGINX_DEFAULT_BACKEND, lines.NGINX_RETRIED, lines.NGINX_STREAM]
    found = edges(ingested(engine, [enveloped(line, NGINX_POD) for line in sent]))
    gateway = "ingress-nginx/ingress-nginx"
    assert set(found) == {(gateway, "default/nginx"), (gateway, "shop/canary")}
    edge = found[gateway, "default/nginx"]
    assert (edge.requests, edge.errors, edge.denied, edge.direction) == (3, 1, 1, "ingress")
    assert (edge.statuses, edge.faults) == ({"200": 1, "403": 1, "502": 1}, {"callee": 1, "mesh": 1})


def test_an_upstream_whose_name_holds_dashes_is_the_service_that_others_know(engine: Engine) -> None:
    dashboard = "kubernetes-dashboard"
    known = {"ts": "2023-08-25T16:19:14Z", "destination_namespace": dashboard, "destination_service": dashboard}
    called = {**known, "reporter": "source", "source_namespace": "ops", "source_service": "probe"}
    found = ingested(engine, [enveloped(lines.NGINX_DASHES, NGINX_POD), json.dumps(called)])
    assert ("ingress-nginx/ingress-nginx", f"{dashboard}/{dashboard}") in edges(found)


def test_spring_cloud_gateway_makes_no_edge(engine: Engine) -> None:
    pod = {"namespace_name": "edge", "pod_name": "gateway-6d8bcd654d-t88gp", "labels": {"app": "gateway"}}
    sent = [lines.NETTY_NEW, lines.NETTY_OLD, lines.BOOT_2, lines.BOOT_3]
    found = ingested(engine, [*sent, *(enveloped(line, pod) for line in sent), lines.NGINX])
    assert set(edges(found)) == {("ingress-nginx", "default/nginx")}
    rows = engine.query(
        "SELECT destination_namespace AS ns, destination_service AS service, direction, count() AS n FROM calls "
        "WHERE mesh = 'spring' GROUP BY ns, service, direction ORDER BY ns"
    ).to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        ("", "spring-cloud-gateway", "ingress", 4),
        ("edge", "gateway", "ingress", 4),
    ]


ISTIO_GATEWAY = "spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account"
BY_CERTIFICATE = {
    "start_time": "2026-03-02T10:00:00.123Z",
    "method": "GET",
    "path": "/productpage",
    "protocol": "HTTP/1.1",
    "response_code": 200,
    "response_flags": "-",
    "upstream_host": "10.1.2.3:9080",
    "upstream_cluster": "inbound|9080||",
    "downstream_local_address": "10.1.2.3:9080",
    "downstream_remote_address": "203.0.113.9:0",
    "requested_server_name": "outbound_.9080_._.productpage.bookinfo.svc.cluster.local",
    "downstream_peer_uri_san": ISTIO_GATEWAY,
}
# A real line of kiali's tests (formats.md, ztunnel), its destination named.
BY_ZTUNNEL = (
    "2024-04-12T10:17:44.081519Z\tinfo\taccess\tconnection complete\tsrc.addr=10.244.0.5:45896 "
    "src.workload=istio-ingressgateway-cbdcbb75c-9q9nb src.namespace=istio-system "
    f'src.identity="{ISTIO_GATEWAY}" dst.addr=10.244.0.16:9080 dst.hbone_addr="10.244.0.16:9080" '
    'dst.service="productpage.bookinfo.svc.cluster.local" dst.workload="productpage-v1-cbdcbb75c-9q9nb" '
    'dst.namespace="bookinfo" direction="inbound" bytes_sent=5483 bytes_recv=1551 duration="8ms"'
)
BY_METRIC = {
    "reporter": "destination",
    "source_workload": "istio-ingressgateway",
    "source_workload_namespace": "istio-system",
    "source_principal": ISTIO_GATEWAY,
    "destination_workload": "productpage-v1",
    "destination_workload_namespace": "bookinfo",
    "destination_service": "productpage.bookinfo.svc.cluster.local",
    "destination_service_name": "productpage",
    "destination_service_namespace": "bookinfo",
    "request_protocol": "http",
    "response_code": "200",
    "connection_security_policy": "mutual_tls",
}


@pytest.mark.parametrize("witness", ["certificate", "ztunnel", "metric"])
def test_a_gateway_that_only_others_speak_of(witness: str, engine: Engine) -> None:
    points = [counter("istio_requests_total", BY_METRIC, at, value) for at, value in ((60, 1.0), (120, 2.0))]
    sent: dict[str, str | bytes] = {
        "certificate": json.dumps(BY_CERTIFICATE),
        "ztunnel": BY_ZTUNNEL,
        "metric": request({"service.name": "istio"}, points),
    }
    found = ingested(engine, [sent[witness]])
    (edge,) = found.edges
    assert (edge.source, edge.destination) == ("istio-system/istio-ingressgateway", "bookinfo/productpage")
    assert (edge.direction, edge.mtls_share, edge.principals) == ("ingress", 1.0, [ISTIO_GATEWAY])
    assert {node.id: node.kind for node in found.nodes} == {edge.source: "gateway", edge.destination: "service"}


# A real line of a course's notes (formats.md, JWT denial).
BY_JWT = (
    '[2025-05-10T17:35:04.324Z] "GET /api/catalog HTTP/1.1" 401 - '
    'jwt_authn_access_denied{Jwt_issuer_is_not_configured} - "-" 0 28 0 - "172.18.0.1" "curl/8.5.0" '
    '"b6d14c77-0000-4000-8000-000000000001" "webapp.istioinaction.io:30000" "-" '
    "outbound|80||webapp.istioinaction.svc.cluster.local - 10.10.0.6:8080 172.18.0.1:35358 - -"
)


def test_what_a_gateway_refuses_is_denied_at_it(engine: Engine) -> None:
    (edge,) = ingested(engine, [BY_JWT]).edges
    assert (edge.source, edge.destination) == ("unknown", "istioinaction/webapp")
    assert (edge.direction, edge.requests, edge.denied, edge.errors) == ("ingress", 1, 1, 0)


def test_what_others_say_of_a_gateway_joins_its_own_lines(engine: Engine) -> None:
    pod = {
        "namespace_name": "istio-system",
        "pod_name": "istio-ingressgateway-cbdcbb75c-9q9nb",
        "labels": {"app": "istio-ingressgateway", "istio": "ingressgateway"},
    }
    own = {name: value for name, value in BY_CERTIFICATE.items() if name != "downstream_peer_uri_san"} | {
        "upstream_cluster": "outbound|9080||productpage.bookinfo.svc.cluster.local",
        "upstream_local_address": "10.1.9.9:41000",
        "downstream_local_address": "10.1.9.9:8443",
        "requested_server_name": "shop.example.com",
    }
    found = ingested(engine, [enveloped(json.dumps(own), pod), json.dumps(BY_CERTIFICATE)])
    (edge,) = found.edges
    assert (edge.source, edge.requests, edge.attempts) == ("istio-system/istio-ingressgateway", 1, 1)
