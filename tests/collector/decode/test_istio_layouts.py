"""Istio's text formats of every age: a real line of each gives its fields (from public documents and notes)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.collector.decode.test_lines import operators_of

OUTBOUND: dict[str, Any] = {"upstream_local_address": None, "requested_server_name": None}

LINES: tuple[tuple[str, str, dict[str, Any], set[str]], ...] = (
    (
        "1.0",  # istio.io, "Enable Istio on productpage"
        '[2019-02-15T09:06:04.079Z] "GET /details/0 HTTP/1.1" 200 - 0 178 5 3 "-" "Mozilla/5.0 (Macintosh; Intel Mac '
        'OS X 10_14) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/12.0 Safari/605.1.15" '
        '"18710783-58a1-9e5f-992c-9ceff05b74c5" "details:9080" "172.30.230.51:9080" '
        "outbound|9080||details.tutorial.svc.cluster.local - 172.21.109.216:9080 172.30.146.104:58698 -",
        {**OUTBOUND, "bytes_sent": 178, "duration_ms": 5.0, "downstream_remote_address": "172.30.146.104:58698"},
        {"upstream_transport_failure_reason", "route_name", "response_code_details"},
    ),
    (
        "1.1",  # istio.io, "Egress Gateways for TCP"
        '[2019-04-14T06:12:07.636Z] "- - -" 0 - "-" 1591 4393 94 - "-" "-" "-" "-" "172.30.9.9:27017" '
        "outbound|27017||my-mongo.tcp.svc 172.30.146.119:59924 172.30.146.119:443 172.30.230.1:59206 -",
        {"bytes_received": 1591, "bytes_sent": 4393, "duration_ms": 94.0, "method": None},
        {"upstream_transport_failure_reason", "route_name", "response_code_details"},
    ),
    (
        "1.2",
        '[2019-09-11T20:39:25.076Z] "GET /details/0 HTTP/1.1" 200 - "-" "-" 0 178 4 3 "-" "curl/7.58.0" '
        '"428d7571-1d87-98c9-bf85-311979c228e5" "details:9080" "10.48.2.10:9080" '
        "outbound|9080||details.default.svc.cluster.local - 10.51.252.180:9080 10.48.1.14:36948 -",
        {**OUTBOUND, "downstream_local_address": "10.51.252.180:9080"},
        {"route_name", "response_code_details"},
    ),
    (
        "1.5",
        '[2020-10-12T14:19:35.996Z] "GET /reviews/0 HTTP/1.1" 200 - "-" "-" 0 295 6 6 "-" "Mozilla/5.0 (X11; Linux '
        'x86_64)" "d18da89b-8682-4e8d-9284-b3d5ff78f2f7" "reviews:9080" "127.0.0.1:9080" '
        "inbound|9080|http|reviews.default.svc.cluster.local 127.0.0.1:41542 192.168.163.201:9080 "
        "192.168.163.221:42110 outbound_.9080_.version-v1_.reviews.default.svc.cluster.local default",
        {
            "route_name": "default",
            "upstream_cluster": "inbound|9080|http|reviews.default.svc.cluster.local",
            "upstream_transport_failure_reason": None,
        },
        {"response_code_details", "connection_termination_details"},
    ),
    (
        "1.5, failed",
        '[2020-09-12T13:38:23.077Z] "- - -" 0 UF,URX "-" "-" 0 0 1001 - "-" "-" "-" "-" "10.1.1.24:6379" '
        "outbound|6379||redis.default.svc.cluster.local - 10.1.1.24:6379 10.1.1.25:45940 - -",
        {
            "response_flags": "UF,URX",
            "duration_ms": 1001.0,
            "route_name": None,
            "upstream_transport_failure_reason": None,
        },
        {"response_code_details"},
    ),
    (
        "1.8",
        '[2021-01-07T10:24:37.571Z] "GET /details/0 HTTP/1.1" 200 - "-" 0 178 1 1 "-" "Mozilla/5.0 (Macintosh; Intel '
        'Mac OS X 10_14_6) Version/13.0.5 Safari/605.1.15" "ee2a4bcb-ed3a-923e-8dc7-663f861ef2c6" "details:9080" '
        '"127.0.0.1:9080" '
        "inbound|9080|| 127.0.0.1:40030 10.1.1.64:9080 10.1.1.71:43828 "
        "outbound_.9080_._.details.default.svc.cluster.local default",
        {"upstream_transport_failure_reason": None, "upstream_local_address": "127.0.0.1:40030"},
        {"response_code_details"},
    ),
)


@pytest.mark.parametrize(("line", "fields", "unsaid"), [case[1:] for case in LINES], ids=[case[0] for case in LINES])
def test_lines_of_every_age(line: str, fields: dict[str, Any], unsaid: set[str]) -> None:
    (row,) = operators_of(line, format="istio_text")
    assert {name: row[name] for name in fields} == fields
    assert not unsaid & row["carried"]
    assert {"upstream_cluster", "downstream_remote_address", "requested_server_name"} <= row["carried"]


def test_mixers_status_is_no_beginning_of_a_reason() -> None:
    line = next(line for age, line, *_ in LINES if age == "1.5").replace("/reviews/0", '/reviews/0?q="x"')
    (row,) = operators_of(line, format="istio_text")
    assert (row["path"], row["upstream_transport_failure_reason"]) == ('/reviews/0?q="x"', None)
