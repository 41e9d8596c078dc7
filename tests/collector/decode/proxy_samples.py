"""Lines of proxies that are no Envoys, and of Google's logs.

Sources: Linkerd's documentation ("Access logging"); Google Cloud's "Request proxy logs" (completed from the golden
files of istio/proxy, testdata/stackdriver); public write-ups that show lines of Spring Cloud Gateway (2020, 2022, 2024)
and of ingress-nginx (2021, 2023, 2026); Kong's documentation ("Log format", 3.8) and the vectors of its serializer's
test.
What was changed or added stands beside the name.
"""

from __future__ import annotations

import json
from typing import Any

LINKERD = (
    "10.42.0.63:51160 traffic.booksapp.serviceaccount.identity.linkerd.cluster.local - "
    '[2022-08-23T20:28:20.071809491Z] "GET http://webapp:7000/ HTTP/2.0" 200'
)
LINKERD_PROBE = '10.42.0.1:43682 - - [2022-08-23T20:28:23.049685223Z] "GET /ping HTTP/1.1" 200'
LINKERD_JSON_RECORD: dict[str, Any] = {
    "client.addr": "10.42.0.70:32996",
    "client.id": "traffic.booksapp.serviceaccount.identity.linkerd.cluster.local",
    "host": "webapp:7000",
    "method": "GET",
    "processing_ns": "39826",
    "request_bytes": "",
    "response_bytes": "19627",
    "status": 200,
    "timestamp": "2022-08-23T20:33:42.321746212Z",
    "total_ns": "14441135",
    "trace_id": "",
    "uri": "http://webapp:7000/",
    "user_agent": "Go-http-client/1.1",
    "version": "HTTP/2.0",
}
LINKERD_JSON = json.dumps(LINKERD_JSON_RECORD, separators=(",", ":"))

GCP_LABELS: dict[str, str] = {
    "source_principal": "spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account",
    "destination_principal": "spiffe://cluster.local/ns/istio-bookinfo-1-68819/sa/bookinfo-productpage",
    "service_authentication_policy": "MUTUAL_TLS",
    "response_flag": "-",
    "source_name": "istio-ingressgateway-5ff85d8dd8-mwplb",
    "source_namespace": "istio-system",
    "source_workload": "istio-ingressgateway",
    "source_app": "istio-ingressgateway",
    "destination_name": "productpage-v1-84975bc778-pxz2w",
    "destination_namespace": "istio-bookinfo-1-68819",
    "destination_workload": "productpage-v1",
    "destination_canonical_service": "productpage",
    "destination_canonical_revision": "v1",
    "destination_service_host": "productpage.istio-bookinfo-1-68819.svc.cluster.local",
    "destination_service_name": "productpage",
    "request_id": "8a3a5b0e-0000-4000-8000-000000000001",
    "upstream_cluster": "inbound|9080|http|productpage.istio-bookinfo-1-68819.svc.cluster.local",
    "response_details": "via_upstream",
    "requested_server_name": "outbound_.9080_._.productpage.istio-bookinfo-1-68819.svc.cluster.local",
    "protocol": "http",
    "log_sampled": "false",
    "mesh_uid": "proj-123",
}
GCP_RECORD: dict[str, Any] = {
    "insertId": "1j84zg8g68vb62z",
    "httpRequest": {
        "requestMethod": "GET",
        "requestUrl": "http://35.235.89.201:80/productpage",
        "requestSize": "795",
        "status": 200,
        "responseSize": "7005",
        "remoteIp": "10.168.0.26:0",
        "serverIp": "10.36.3.153:9080",
        "latency": "0.229384205s",
        "protocol": "http",
    },
    "resource": {
        "type": "k8s_container",
        "labels": {
            "cluster_name": "asm-1",
            "namespace_name": "istio-bookinfo-1-68819",
            "pod_name": "productpage-v1-84975bc778-pxz2w",
            "container_name": "istio-proxy",
            "location": "us-west2-a",
            "project_id": "asm-project",
        },
    },
    "timestamp": "2020-08-13T21:37:42.963881Z",
    "severity": "INFO",
    "labels": GCP_LABELS,
    "trace": "projects/asm-project/traces/466d77d15753cb4d7749ba5413b5f70f",
    "spanId": "633831cb1fda4fd5",
    "traceSampled": True,
    "logName": "projects/asm-project/logs/server-accesslog-stackdriver",
}
GCP_TCP_RECORD: dict[str, Any] = {
    "timestamp": "2021-02-01T10:00:00Z",
    "textPayload": "productpage-v1 --> ratings",
    "resource": {
        "type": "k8s_pod",
        "labels": {"cluster_name": "asm-1", "namespace_name": "default", "pod_name": "ratings-v1-84975bc778-pxz2w"},
    },
    "labels": {
        "source_principal": "spiffe://cluster.local/ns/default/sa/productpage",
        "destination_principal": "spiffe://cluster.local/ns/default/sa/ratings",
        "destination_service_host": "server.default.svc.cluster.local",
        "destination_service_name": "server",
        "response_flag": "-",
        "service_authentication_policy": "MUTUAL_TLS",
        "source_name": "productpage-v1-84975bc778-pxz2w",
        "source_namespace": "default",
        "source_workload": "productpage-v1",
        "source_canonical_service": "productpage",
        "destination_workload": "ratings-v1",
        "destination_namespace": "default",
        "source_ip": "10.36.3.9",
        "source_port": "45012",
        "destination_ip": "10.36.3.10:9080",
        "total_sent_bytes": "912",
        "total_received_bytes": "118",
        "protocol": "tcp",
        "connection_state": "CLOSE",
        "connection_id": "17",
        "upstream_cluster": "inbound|9080|tcp|server.default.svc.cluster.local",
        "requested_server_name": "server.com",
    },
    "logName": "projects/asm-project/logs/server-accesslog-stackdriver",
    "severity": "INFO",
}
GCP = json.dumps(GCP_RECORD)
GCP_TCP = json.dumps(GCP_TCP_RECORD)

NETTY_NEW = '0:0:0:0:0:0:0:1 - - [10/Jan/2024:15:48:18 -0500] "GET /give-me-cats HTTP/1.1" 200 161 1017'
NETTY_OLD = '127.0.0.1 - - [23/Apr/2020:18:18:36 +0900] "GET / HTTP/1.1" 200 36 8080 551 ms'
BOOT_2 = (
    "2020-04-23 18:18:37.193  INFO 13124 --- [or-http-epoll-2] reactor.netty.http.server.AccessLog      : " + NETTY_OLD
)
BOOT_3 = (
    "2024-01-10T15:48:19.020-05:00  INFO 32005 --- [ctor-http-nio-2] reactor.netty.http.server.AccessLog      : "
    + NETTY_NEW
)

NGINX = (
    '172.19.0.1 - - [12/Sep/2026:23:33:09 +0000] "GET / HTTP/1.1" 200 896 "-" "curl/8.7.1" 77 0.031 '
    "[default-nginx-80] [] 10.244.2.4:80 896 0.030 200 a16969f418cf30fd636dc06933e18206"
)
NGINX_DEFAULT_BACKEND = (
    '192.168.64.6 - - [27/Mar/2021:01:55:51 +0000] "GET /apple HTTP/1.1" 404 146 "-" "curl/7.64.1" 78 0.005 '
    "[upstream-default-backend] [] 127.0.0.1:8181 146 0.005 404 b8fce6c55c43933bba328d25f0f2400b"
)
NGINX_DASHES = (
    '192.168.65.4 - - [25/Aug/2023:16:19:14 +0000] "GET /styles.css HTTP/2.0" 200 821 "https://dashboard.com/" '
    '"Mozilla/5.0 (Windows NT 10.0; Win64; x64)" 474 0.004 [kubernetes-dashboard-kubernetes-dashboard-443] [] '
    "10.1.0.29:8443 821 0.005 200 6cf6cbffac279eabf46b423f5d2c29c8"
)
# Made after the documentation of the format and of nginx's upstream variables.
NGINX_RETRIED = (
    '203.0.113.9 - ann [12/Sep/2026:23:33:19 +0000] "POST /pay?x=1 HTTP/1.1" 200 12 "-" "app \\x22q\\x22" 300 7.104 '
    "[shop-pay-http] [shop-canary-80] 10.244.2.4:8080, 10.244.2.5:8080 : 10.244.2.6:8080 0, 0, 12 5.001, 2.000, 0.103 "
    "504, 502, 200 a16969f418cf30fd636dc06933e18207"
)
NGINX_STREAM = "[10.244.0.1] [12/Sep/2026:23:33:20 +0000] TCP 200 4096 512 10.250"

KONG_RECORD: dict[str, Any] = {
    "response": {
        "size": 9982,
        "headers": {"content-type": "text/html; charset=utf-8", "x-kong-upstream-latency": "171"},
        "status": 200,
    },
    "route": {"name": "example_route", "id": "0f1a4101-3327-4274-b1e4-484a4ab0c030", "paths": ["/example-route"]},
    "workspace": "f381e34e-5c25-4e65-b91b-3c0a86cfc393",
    "workspace_name": "default",
    "tries": [
        {
            "balancer_start": 1726783839539,
            "balancer_start_ns": 1.7267838395395e18,
            "ip": "34.237.204.224",
            "balancer_latency": 0,
            "port": 80,
            "balancer_latency_ns": 27904,
        }
    ],
    "client_ip": "192.168.65.1",
    "request": {
        "id": "2f6946328ffc4946b8c9120704a4a155",
        "headers": {"accept": "*/*", "user-agent": "HTTPie/3.2.3", "host": "localhost:8000"},
        "uri": "/example-route",
        "size": 139,
        "method": "GET",
        "querystring": {},
        "url": "http://localhost:8000/example-route",
    },
    "upstream_uri": "/",
    "started_at": 1726783839538,
    "source": "upstream",
    "upstream_status": "200",
    "latencies": {"kong": 1, "proxy": 171, "request": 173, "receive": 1},
    "service": {
        "write_timeout": 60000,
        "read_timeout": 60000,
        "host": "httpbin.konghq.com",
        "protocol": "http",
        "port": 80,
        "name": "example_service",
        "id": "fb4eecf8-dec2-40ef-b779-16de7e2384c7",
    },
}
KONG = json.dumps(KONG_RECORD)
# The serializer's stream form, with the values of its test.
KONG_STREAM_RECORD: dict[str, Any] = {
    "session": {"received": 200, "sent": 99, "status": 200, "server_port": 9000},
    "latencies": {"kong": 0, "session": 2000},
    "tries": [{"ip": "127.0.0.1", "port": 8000}],
    "client_ip": "1.1.1.1",
    "started_at": 1726783839538,
    "service": {"host": "postgres.shop.svc.cluster.local", "port": 5432, "protocol": "tcp", "name": "postgres"},
}
KONG_STREAM = json.dumps(KONG_STREAM_RECORD)

BY_FORMAT: dict[str, tuple[str, ...]] = {
    "linkerd_apache": (LINKERD, LINKERD_PROBE),
    "linkerd_json": (LINKERD_JSON,),
    "gcp_json": (GCP, GCP_TCP),
    "reactor_netty": (NETTY_NEW, NETTY_OLD, BOOT_2, BOOT_3),
    "ingress_nginx": (NGINX, NGINX_DEFAULT_BACKEND, NGINX_DASHES, NGINX_RETRIED, NGINX_STREAM),
    "kong_json": (KONG, KONG_STREAM),
}
