"""Meshes that keep access logs off: metrics over OTLP, from wire bytes to the map.

Labels: istio.io "Istio Standard Metrics" (and the goldens of istio/proxy, testdata/metric); linkerd.io "Proxy Metrics"
(and the vectors of linkerd2-proxy, labels.rs); envoyproxy.io "Cluster manager: Statistics"; Spring Framework reference,
"Observability support"; opentelemetry.io "Semantic conventions for HTTP metrics".
"""

from __future__ import annotations

import json

import pytest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from storage.engine import Engine
from tests.meshes.scenario import edges, ingested
from tests.support.otlp_metrics import counter, histogram, request

FRONT = "spiffe://cluster.local/ns/shop/sa/front"
CART = "spiffe://cluster.local/ns/shop/sa/cart"


def istio_labels(reporter: str, code: str, flags: str = "-", **more: str) -> dict[str, str]:
    """Labels of a call from front to cart, as the sidecar of `reporter` writes them."""
    return {
        "reporter": reporter,
        "source_workload": "front",
        "source_workload_namespace": "shop",
        "source_principal": FRONT,
        "source_version": "v1",
        "source_cluster": "Kubernetes",
        "source_app": "front",
        "destination_workload": "cart-v2",
        "destination_workload_namespace": "shop",
        "destination_principal": CART,
        "destination_service": "cart.shop.svc.cluster.local",
        "destination_service_name": "cart",
        "destination_service_namespace": "shop",
        "destination_version": "v2",
        "destination_cluster": "Kubernetes",
        "request_protocol": "http",
        "response_code": code,
        "response_flags": flags,
        "grpc_response_status": "",
        "connection_security_policy": "unknown" if reporter == "source" else "mutual_tls",
        **more,
    }


def pod(name: str, namespace: str = "shop", job: str = "envoy-stats") -> dict[str, str]:
    return {"service.name": job, "k8s.namespace.name": namespace, "k8s.pod.name": name}


def test_istio(engine: Engine) -> None:
    """Both sidecars; errors by status, by flag and by trailer; a host outside; a database; a catch-all cluster."""
    duration, bounds = "istio_request_duration_milliseconds", [5.0, 10.0, 25.0]
    ok, failed = istio_labels("source", "200"), istio_labels("source", "503", "UC")
    trailer = istio_labels("source", "200", request_protocol="grpc", grpc_response_status="14")
    outside = istio_labels(
        "source",
        "200",
        **dict.fromkeys(("destination_workload", "destination_workload_namespace"), "unknown"),
        destination_principal="unknown",
        destination_service_namespace="unknown",
        destination_service="api.pay.example:443",
        destination_service_name="PassthroughCluster",
    )
    mysql = istio_labels(
        "source",
        "",
        destination_workload="mysql",
        destination_service="mysql.data.svc.cluster.local",
        destination_service_name="mysql",
        destination_service_namespace="data",
        request_protocol="tcp",
    )
    front = [
        *(counter("istio_requests_total", ok, at, value) for at, value in ((60, 40.0), (120, 90.0))),
        counter("istio_requests_total", failed, 120, 6.0),
        counter("istio_requests_total", trailer, 120, 4.0),
        *(histogram(duration, ok, at, bounds, counts) for at, counts in ((60, [40, 0, 0, 0]), (120, [80, 10, 0, 0]))),
        histogram(duration, failed, 120, bounds, [0, 0, 6, 0]),
        histogram(duration, trailer, 120, bounds, [0, 0, 0, 4]),
        counter("istio_requests_total", outside, 60, 3.0),
        counter("istio_tcp_connections_opened_total", mysql, 60, 5.0),
        counter("istio_tcp_connections_closed_total", mysql, 60, 4.0),
        counter("istio_tcp_connections_closed_total", {**mysql, "response_flags": "UF"}, 60, 1.0),
        counter("istio_tcp_sent_bytes_total", mysql, 60, 7000.0),
        counter("istio_tcp_received_bytes_total", mysql, 60, 900.0),
    ]
    cart = [counter("istio_requests_total", istio_labels("destination", "200"), 120, 101.0)]
    found = edges(
        ingested(engine, [request(pod("front-6d8bcd654d-t88gp"), front), request(pod("cart-v2-5f7b9c8d4-x2x4z"), cart)])
    )
    assert found.keys() == {
        ("shop/front", "shop/cart"),
        ("shop/front", "data/mysql"),
        ("shop/front", "external:api.pay.example"),
    }
    http = found["shop/front", "shop/cart"]
    assert (http.requests, http.attempts, http.errors, http.denied) == (100, 101, 10, None)
    assert (http.evidence, http.direction, http.protocol, http.mtls_share) == (["metric"], "east_west", "http", 1.0)
    assert (http.statuses, http.grpc_statuses) == ({"200": 94, "503": 6}, {"14": 4})
    assert (http.p50_ms, http.p95_ms, http.p99_ms) == (3.125, 22.5, None)
    assert http.principals == [FRONT]
    tcp = found["shop/front", "data/mysql"]
    assert (tcp.protocol, tcp.requests, tcp.errors, tcp.mtls_share) == ("tcp", 5, 1, None)
    assert (tcp.bytes_sent, tcp.bytes_received, tcp.statuses) == (7000, 900, {})
    assert found["shop/front", "external:api.pay.example"].direction == "egress"


def test_istio_gateways_and_waypoints(engine: Engine) -> None:
    """A gateway's edge is ingress; a waypoint's requests count before the connections that ztunnel sees under them."""
    gateway = istio_labels("source", "200", source_workload="istio-ingressgateway")
    through = istio_labels("waypoint", "200", destination_service_name="stock", destination_workload="stock")
    tunnel = {
        **istio_labels("destination", "", destination_service_name="stock", destination_workload="stock"),
        "request_protocol": "tcp",
    }
    found = edges(
        ingested(
            engine,
            [
                request(pod("istio-ingressgateway-0"), [counter("istio_requests_total", gateway, 60, 7.0)]),
                request(pod("waypoint-0"), [counter("istio_requests_total", through, 60, 9.0)]),
                request(pod("ztunnel-abcde"), [counter("istio_tcp_connections_opened_total", tunnel, 60, 2.0)]),
            ],
        )
    )
    assert found["shop/istio-ingressgateway", "shop/cart"].direction == "ingress"
    stock = found["shop/front", "shop/stock"]
    assert (stock.requests, stock.protocol, stock.mtls_share) == (9, "http", 1.0)


def test_linkerd(engine: Engine) -> None:
    """Outbound by workload, inbound by identity; a connection under requests is none of them; probes are no calls."""
    web = {"namespace": "emojivoto", "deployment": "web", "pod": "web-6d8bcd654d-t88gp"}
    emoji = {"namespace": "emojivoto", "deployment": "emoji", "pod": "emoji-5f7b9c8d4-x2x4z"}
    web_id = "web.emojivoto.serviceaccount.identity.linkerd.cluster.local"
    to_emoji = {
        "direction": "outbound",
        "peer": "dst",
        "tls": "true",
        "authority": "emoji.emojivoto.svc.cluster.local:8080",
        "dst_namespace": "emojivoto",
        "dst_deployment": "emoji",
        "dst_service": "emoji",
        **web,
        "server_id": "emoji.emojivoto.serviceaccount.identity.linkerd.cluster.local",
    }
    to_db = {
        "direction": "outbound",
        "peer": "dst",
        "tls": "no_identity",
        "no_tls_reason": "not_provided_by_service_discovery",
        "dst_namespace": "data",
        "dst_statefulset": "pg",
        "target_addr": "10.4.0.9:5432",
        **web,
    }
    outside = {
        "direction": "outbound",
        "peer": "dst",
        "tls": "no_identity",
        "authority": "api.pay.example:443",
        "target_addr": "203.0.113.9:443",
        **web,
    }
    inbound = {
        "direction": "inbound",
        "peer": "src",
        "tls": "true",
        "client_id": web_id,
        "target_addr": "10.4.0.7:8080",
    }
    done = {"classification": "success", "status_code": "200"}
    lost = {"classification": "failure"}
    found = edges(
        ingested(
            engine,
            [
                request(
                    {"service.name": "linkerd-proxy", "service.instance.id": "10.4.0.6:4191"},
                    [
                        counter("request_total", to_emoji, 60, 31.0),
                        counter("response_total", {**to_emoji, **done}, 60, 28.0),
                        counter("response_total", {**to_emoji, **lost}, 60, 2.0),
                        histogram("response_latency_ms", {**to_emoji, **done}, 60, [1.0, 2.0], [14, 14, 0]),
                        counter("tcp_open_total", to_emoji, 60, 3.0),
                        counter("tcp_open_total", to_db, 60, 4.0),
                        counter("tcp_open_total", {**to_db, "peer": "src"}, 60, 9.0),
                        counter("tcp_write_bytes_total", to_db, 60, 100.0),
                        counter("tcp_read_bytes_total", to_db, 60, 5000.0),
                        counter("response_total", {**outside, **done}, 60, 1.0),
                    ],
                ),
                request(
                    {"service.name": "linkerd-proxy", "service.instance.id": "10.4.0.7:4191"},
                    [
                        counter("response_total", {**inbound, **emoji, **done}, 60, 30.0),
                        counter(
                            "response_total",
                            {**emoji, **done, "direction": "inbound", "tls": "no_identity", "route_name": "probe"},
                            60,
                            6.0,
                        ),
                    ],
                ),
            ],
        )
    )
    assert found.keys() == {
        ("emojivoto/web", "emojivoto/emoji"),
        ("emojivoto/web", "data/pg"),
        ("emojivoto/web", "external:api.pay.example"),
    }
    http = found["emojivoto/web", "emojivoto/emoji"]
    assert (http.requests, http.attempts, http.errors, http.mtls_share) == (30, 30, 2, 1.0)
    assert (http.statuses, http.p50_ms, http.p95_ms, http.principals) == ({"200": 28}, 1.0, 1.9, [web_id])
    tcp = found["emojivoto/web", "data/pg"]
    assert (tcp.protocol, tcp.requests, tcp.bytes_sent, tcp.bytes_received) == ("tcp", 4, 5000, 100)


def test_envoy_clusters(engine: Engine) -> None:
    """The caller is the pod, the callee its cluster's name; what Envoy talks to for itself is no edge."""

    def labels(cluster: str, **more: str) -> dict[str, str]:
        return {"envoy_cluster_name": cluster, **more}

    istio, consul = (
        "outbound|8080|v1|cart.shop.svc.cluster.local;",
        "v2.stock.default.dc1.internal.11111111-2222.consul",
    )
    metrics = [
        *(
            counter("envoy_cluster_upstream_rq_total", labels(name), 60, 10.0)
            for name in (istio, consul, "pay/bank|443")
        ),
        counter("envoy_cluster_upstream_rq_xx", labels(istio, envoy_response_code_class="2"), 60, 7.0),
        counter("envoy_cluster_upstream_rq_xx", labels(istio, envoy_response_code_class="5"), 60, 3.0),
        counter("envoy_cluster_upstream_rq", labels(istio, envoy_response_code="200"), 60, 7.0),
        counter("envoy_cluster_upstream_rq", labels(istio, envoy_response_code="503"), 60, 3.0),
        counter("envoy_cluster_upstream_rq_xx", labels(consul, envoy_response_code_class="5"), 60, 1.0),
        histogram("envoy_cluster_upstream_rq_time", labels(istio), 60, [5.0, 10.0], [0, 10, 0]),
        counter("envoy_cluster_upstream_rq_total", labels("api.pay.example"), 60, 2.0),
        *(
            counter("envoy_cluster_upstream_rq_total", labels(name), 60, 99.0)
            for name in ("xds-grpc", "inbound|8080||", "pay/bank|443|local", "PassthroughCluster", "")
        ),
    ]
    found = edges(ingested(engine, [request(pod("front-6d8bcd654d-t88gp"), metrics)]))
    assert {target for _, target in found} == {"shop/cart", "stock", "pay/bank", "external:api.pay.example"}
    assert {source for source, _ in found} == {"shop/front"}
    cart = found["shop/front", "shop/cart"]
    assert (cart.requests, cart.errors, cart.statuses, cart.p50_ms) == (10, 3, {"200": 7, "503": 3}, 7.5)
    assert (cart.mtls_share, cart.attempts, cart.evidence) == (None, None, ["metric"])


@pytest.mark.parametrize("scope", ["", "otelcol/prometheusreceiver", "of.another.scraper"])
def test_a_scrape_job_names_nobody(scope: str, engine: Engine) -> None:
    """Whoever scraped: one point of Envoy's, or of an application in Prometheus' form, renames no workload."""
    job = pod("front-6d8bcd654d-t88gp", job="kubernetes-pods")
    cluster = {"envoy_cluster_name": "outbound|8080||stock.shop.svc.cluster.local"}
    application = {"client_name": "pay.shop.svc", "method": "GET", "status": "200"}
    points = [
        counter("istio_requests_total", istio_labels("source", "200"), 60, 4.0),
        counter("envoy_cluster_upstream_rq_total", cluster, 60, 5.0),
        histogram("http_client_requests_seconds", application, 60, [0.1], [6, 0]),
    ]
    found = edges(ingested(engine, [request(job, points, scope)]))
    assert {pair: edge.requests for pair, edge in found.items()} == {
        ("shop/front", "shop/cart"): 4,
        ("shop/front", "shop/stock"): 5,
        ("shop/front", "shop/pay"): 6,
    }


def test_micrometer_and_opentelemetry_clients(engine: Engine) -> None:
    """An application's own metrics name the host that it calls; those of its server name nobody and yield to others."""
    spring = {"method": "GET", "uri": "/stock/{id}", "outcome": "SUCCESS", "client.name": "stock", "exception": "none"}
    failed = {**spring, "outcome": "UNKNOWN", "status": "IO_ERROR", "exception": "ConnectException"}
    semconv = {"http.request.method": "GET", "server.address": "stock.shop.svc.cluster.local", "server.port": "8080"}
    bounds = [5.0, 10.0]
    orders = [
        histogram("http.client.requests", {**spring, "status": "200"}, 60, bounds, [8, 0, 0], unit="milliseconds"),
        histogram("http.client.requests", failed, 60, bounds, [0, 2, 0], unit="milliseconds"),
        histogram(
            "http.server.requests", {"method": "GET", "status": "200"}, 60, bounds, [3, 0, 0], unit="milliseconds"
        ),
    ]
    web = [
        histogram(
            "http.client.request.duration",
            {**semconv, "http.response.status_code": "200"},
            at,
            [0.005, 0.01],
            [4, 0, 0],
            at - 60,
            unit="s",
            delta=True,
        )
        for at in (60, 120)
    ]
    stock = [histogram("http.server.requests", {"method": "GET", "status": "200"}, 60, bounds, [18, 0, 0])]

    def app(name: str) -> dict[str, str]:
        return {"service.name": name, "service.namespace": "shop"}

    found = edges(
        ingested(
            engine,
            [
                request(app("orders"), orders, "io.micrometer"),
                request(app("web"), web, "io.opentelemetry"),
                request(app("stock"), stock, "io.micrometer"),
            ],
        )
    )
    assert found.keys() == {("shop/orders", "shop/stock"), ("shop/web", "shop/stock"), ("unknown", "shop/orders")}
    spring_edge = found["shop/orders", "shop/stock"]
    assert (spring_edge.requests, spring_edge.errors, spring_edge.statuses) == (10, 2, {"0": 2, "200": 8})
    assert (spring_edge.p50_ms, spring_edge.p95_ms) == (3.125, 8.75)
    assert (found["shop/web", "shop/stock"].requests, found["shop/web", "shop/stock"].p50_ms) == (8, 2.5)
    assert found["unknown", "shop/orders"].requests == 3


def test_hostile_labels_make_no_edge_and_harm_no_neighbour(engine: Engine) -> None:
    odd = ["'); DROP TABLE calls; --", "\x1f", "a" * 5000, "\u202e", "{since:String}"]
    good = counter("istio_requests_total", istio_labels("source", "200"), 60, 5.0)
    strange = [
        counter("istio_requests_total", istio_labels(text, text, text, connection_security_policy=text), 60, 1.0)
        for text in odd
    ]
    nothing = counter("istio_requests_total", {"reporter": "source"}, 60, 9.0)
    clusters = [counter("envoy_cluster_upstream_rq_total", {"envoy_cluster_name": text}, 60, 1.0) for text in odd]
    found = ingested(engine, [request(pod("front-0"), [good, *strange, nothing]), request(pod("front-0"), clusters)])
    assert edges(found)["shop/front", "shop/cart"].requests == 5
    assert json.dumps(found.to_document())


def test_what_linkerds_policies_refuse(engine: Engine) -> None:
    """The proxy's own counters of refusals, HTTP and gRPC alike: neither log nor `response_total` tells the latter."""
    emoji = {"namespace": "emojivoto", "deployment": "emoji", "pod": "emoji-5f7b9c8d4-x2x4z"}
    client = "{}.emojivoto.serviceaccount.identity.linkerd.cluster.local"
    target = {"target_addr": "10.4.0.7:8080", "target_ip": "10.4.0.7", "target_port": "8080", "srv_name": "emoji-grpc"}

    def told(name: str, caller: str, value: float, **more: str) -> Metric:
        return counter(name, {**emoji, **target, "tls": "true", "client_id": client.format(caller), **more}, 60, value)

    inbound = {"direction": "inbound", "peer": "src"}
    metrics = [
        told("response_total", "web", 30.0, **inbound, classification="success", status_code="200", grpc_status="0"),
        told("inbound_http_authz_allow_total", "web", 30.0, route_name="default", authz_name="web"),
        told("inbound_http_authz_deny_total", "vote-bot", 4.0, route_name="default"),
        told("inbound_http_authz_deny_total", "web", 2.0, route_name="admin"),
        told("inbound_http_authz_deny_total", "web", 50.0, route_name="probe"),
        told("tcp_open_total", "batch", 5.0, **inbound),
        told("inbound_tcp_authz_deny_total", "batch", 3.0),
        told("inbound_tcp_authz_terminate_total", "batch", 1.0),
        told("inbound_tcp_authz_deny_total", "stranger", 6.0),
    ]
    resource = {"service.name": "linkerd-proxy", "service.instance.id": "10.4.0.7:4191"}
    found = edges(ingested(engine, [request(resource, metrics)]))
    assert {source: (edge.requests, edge.denied, edge.errors) for (source, _), edge in found.items()} == {
        "emojivoto/web": (32, 2, 0),
        "emojivoto/vote-bot": (4, 4, 0),
        "emojivoto/batch": (5, 4, 0),
        "emojivoto/stranger": (6, 6, 0),
    }
    assert found["emojivoto/vote-bot", "emojivoto/emoji"].principals == [client.format("vote-bot")]
    assert found["emojivoto/vote-bot", "emojivoto/emoji"].mtls_share == 1.0
