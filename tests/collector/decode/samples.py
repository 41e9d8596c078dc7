"""Access-log lines as proxies print them (from their documentation and public examples, completed where shortened)."""

from __future__ import annotations

import json

from tests.collector.decode.flow_samples import CALICO, HUBBLE

CLIENT = (
    '[2020-11-25T21:26:18.409Z] "GET /status/418 HTTP/1.1" 418 - via_upstream - "-" 0 135 4 4 "-" "curl/7.73.0-DEV" '
    '"84961386-6d84-929d-98bd-c5aee93b5c88" "httpbin:8000" "10.44.1.27:80" '
    "outbound|8000||httpbin.foo.svc.cluster.local 10.44.1.23:37652 10.0.45.184:8000 10.44.1.23:46520 - default"
)
SERVER = (
    '[2020-11-25T21:26:18.410Z] "GET /status/418 HTTP/1.1" 418 - via_upstream - "-" 0 135 3 1 "-" "curl/7.73.0-DEV" '
    '"84961386-6d84-929d-98bd-c5aee93b5c88" "httpbin:8000" "127.0.0.1:80" inbound|8000|| 127.0.0.1:41854 '
    "10.44.1.27:80 10.44.1.23:37652 outbound_.8000_._.httpbin.foo.svc.cluster.local default"
)
DENIED = (
    '[2025-03-02T10:00:00.001Z] "GET /status/200 HTTP/1.1" 403 - '
    'rbac_access_denied_matched_policy[ns[starfleet]-policy[probe-deny-status]-rule[0]] - "-" 0 19 0 - "-" '
    '"curl/8.11.1" "053c49b6-0000-4000-8000-000000000000" "probe:8000" "-" inbound|8080|| - 10.244.0.14:8080 '
    "10.244.0.12:52784 outbound_.8080_._.probe.starfleet.svc.cluster.local default"
)
TCP = (
    '[2024-01-11T21:09:42.835Z] "- - -" 0 - - - "-" 839 2504306 231 - "-" "-" "-" "-" "151.101.195.5:443" '
    "outbound|443||edition.cnn.com 172.30.239.8:34470 172.30.239.8:443 172.30.239.15:43956 edition.cnn.com -"
)
TCP_DENIED = (
    '[2024-01-11T21:09:43.000Z] "- - -" 0 - - rbac_access_denied_matched_policy[none] "-" 21 0 1 - "-" "-" "-" "-" "-" '
    "inbound|3306|| - 10.0.0.9:3306 10.0.0.7:40112 outbound_.3306_._.mysql.db.svc.cluster.local -"
)
JWT = (
    '[2025-05-10T17:35:04.324Z] "GET /api/catalog HTTP/1.1" 401 - '
    'jwt_authn_access_denied{Jwt_issuer_is_not_configured} - "-" 0 28 0 - "172.18.0.1" "curl/8.5.0" '
    '"b6d14c77-0000-4000-8000-000000000000" "webapp.istioinaction.io:30000" "-" '
    "outbound|80||webapp.istioinaction.svc.cluster.local - 10.10.0.6:8080 172.18.0.1:35358 - -"
)
WAYPOINT = (
    '2025-01-30T12:10:13.682034460Z [2025-01-30T12:10:13.279Z] "GET /details/0 HTTP/1.1" 200 - via_upstream - "-" 0 '
    '178 0 0 "-" "Go-http-client/1.1" "e7d5b6ce-0000-4000-8000-000000000000" "details:9080" '
    '"envoy://connect_originate/10.244.0.32:9080" inbound-vip|9080|http|details.bookinfo.svc.cluster.local '
    "envoy://internal_client_address/ 10.96.185.196:9080 10.244.0.37:52134 - default"
)
EXT_AUTHZ = (
    '[2026-08-09T00:56:18.465Z] "GET /v1/customer/123456789 HTTP/1.1" 403 UAEX ext_authz_denied - "-" 0 125 11 - "-" '
    '"curl/8.2.1" "78adb6f2-0000-4000-8000-000000000000" "dummy-svc-app:8080" "-" inbound|8080|| - 10.244.0.28:8080 '
    "10.244.0.30:36340 outbound_.8080_._.dummy-svc-app.foo.svc.cluster.local default"
)
ISTIO_1_8 = (
    '[2020-06-01T00:00:00.000Z] "GET /a HTTP/2" 200 - "-" 0 1 2 1 "-" "ua" "rid" "b.shop:80" "10.0.0.1:80" '
    "outbound|80||b.shop.svc.cluster.local 10.0.0.2:1 10.0.0.3:80 10.0.0.2:2 - default"
)
ISTIO_1_4 = (
    '[2019-06-01T00:00:00.000Z] "GET /a HTTP/2" 200 - "-" "-" 0 1 2 1 "-" "ua" "rid" "b.shop:80" "10.0.0.1:80" '
    "outbound|80||b.shop.svc.cluster.local 10.0.0.2:1 10.0.0.3:80 10.0.0.2:2 - default"
)
ENVOY = (
    '[2016-04-15T20:17:00.310Z] "POST /api/v1/locations HTTP/2" 204 - 154 0 226 100 "10.0.35.28" "nsq2http" '
    '"cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2" "locations" "tcp://10.0.2.1:80"'
)
ISTIO_TEXT = (CLIENT, SERVER, DENIED, TCP, TCP_DENIED, JWT, WAYPOINT, EXT_AUTHZ, ISTIO_1_8, ISTIO_1_4)

JSON_RECORD: dict[str, object] = {
    "start_time": "2026-01-01T00:00:00.123Z",
    "route_name": "default",
    "method": "GET",
    "path": "/api/v1/orders/17?q=1",
    "protocol": "HTTP/1.1",
    "response_code": 200,
    "response_flags": "-",
    "response_code_details": "via_upstream",
    "connection_termination_details": None,
    "bytes_received": 0,
    "bytes_sent": 37,
    "duration": 12,
    "upstream_service_time": "11",
    "x_forwarded_for": None,
    "user_agent": "Go-http-client/1.1",
    "request_id": "7feeda0a-0000-4000-8000-000000000000",
    "authority": "orders.shop.svc.cluster.local:8080",
    "upstream_host": "10.1.2.3:8080",
    "upstream_cluster": "inbound|8080||",
    "upstream_local_address": "127.0.0.6:33075",
    "downstream_local_address": "10.1.2.3:8080",
    "downstream_remote_address": "10.1.9.4:30928",
    "requested_server_name": "outbound_.8080_._.orders.shop.svc.cluster.local",
    "upstream_transport_failure_reason": None,
}
JSON = json.dumps(JSON_RECORD, separators=(",", ":"))
JSON_SAN = json.dumps(
    {**JSON_RECORD, "downstream_peer_uri_san": "spiffe://cluster.local/ns/shop/sa/web", "tenant": {"id": 7}},
    separators=(",", ":"),
)
OSM = json.dumps(
    {
        "bytes_sent": 0,
        "request_id": "7feeda0a-0000-4000-8000-000000000001",
        "protocol": "HTTP/1.1",
        "method": "HEAD",
        "time_to_first_byte": 504,
        "start_time": "2022-09-08T16:41:31.933Z",
        "response_code_details": "via_upstream",
        "upstream_host": "127.0.0.1:14001",
        "requested_server_name": "httpbin.httpbin.svc.cluster.local",
        "x_forwarded_for": None,
        "response_code": 200,
        "upstream_service_time": "409",
        "path": "/",
        "duration": 508,
        "authority": "httpbin.httpbin:14001",
        "upstream_cluster": "httpbin/httpbin|14001|local",
    },
    separators=(",", ":"),
)
CALL = (
    '{"ts":"2026-01-01T00:00:00.5Z","source_namespace":"shop","source_service":"web","destination_namespace":"shop",'
    '"destination_service":"orders","destination_port":8080,"method":"GET","path":"/x","status":200,"duration_us":1250,'
    '"tls":"mtls","verdict":"allowed","request_id":"r-1","source_ip":"10.1.2.3",'
    '"attributes":{"request.headers.x-user":"ann","request.auth.claims":{"sub":"ann"}}}'
)
EVERY_LINE = (*ISTIO_TEXT, ENVOY, JSON, JSON_SAN, OSM, CALL, *HUBBLE, *CALICO)
