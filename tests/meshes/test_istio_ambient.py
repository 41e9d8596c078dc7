"""Istio's ambient mode, from lines to edges: ztunnel alone, with a waypoint, and beside sidecars.

The lines of `barista` are real (a public walk-through of ambient routing); the others are theirs with other names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from storage.engine import Engine
from tests.meshes.scenario import edges, ingested

SPIFFE = "spiffe://app-blk-east-0.tsb.local/ns/caffeine/sa"
TO_WAYPOINT = (
    "2025-03-20T15:39:06.706095Z\tinfo\taccess\tconnection complete\t"
    'src.addr=10.244.2.106:48664 src.workload="netshoot-f6d9bf8d-md6rj" src.namespace="caffeine" '
    f'src.identity="{SPIFFE}/netshoot" dst.addr=10.244.2.229:15008 dst.hbone_addr=10.0.81.76:8000 '
    'dst.service="barista.caffeine.svc.cluster.local" dst.workload="waypoint-5567b86c58-jtj8k" '
    f'dst.namespace="caffeine" dst.identity="{SPIFFE}/waypoint" direction="outbound" '
    'bytes_sent=84 bytes_recv=416 duration="94ms"'
)
AT_WAYPOINT = (
    '[2025-03-20T15:37:22.311Z] "GET / HTTP/1.1" 503 - via_upstream - "-" 0 208 1 1 "-" "curl/8.7.1" '
    '"a11fbfe7-4014-4f7f-98f9-c939aa6cbd83" "barista.caffeine:8000" "envoy://connect_originate/10.244.2.63:8080" '
    "inbound-vip|8000|http|barista.caffeine.svc.cluster.local; envoy://internal_client_address/ 10.0.81.76:8000 "
    "10.244.2.106:53454 - default"
)
FROM_WAYPOINT = (
    "2025-03-20T15:39:06.614727Z     info    access  connection complete     src.addr=10.244.2.229:56308 "
    f'src.identity="{SPIFFE}/waypoint" dst.addr=10.244.3.101:15008 dst.hbone_addr=10.244.3.101:8080 '
    'dst.service="barista.caffeine.svc.cluster.local" dst.workload="barista-v1-999d89d6f-hz4d8" '
    f'dst.namespace="caffeine" dst.identity="{SPIFFE}/barista" direction="inbound" '
    'bytes_sent=288 bytes_recv=892 duration="1ms"'
)
EDGE = ("caffeine/netshoot", "caffeine/barista")


def connection(direction: str, second: int = 0, fields: Mapping[str, Any] | None = None) -> str:
    """One of the two lines of a connection from netshoot to barista without a waypoint, as JSON."""
    line: dict[str, Any] = {
        "level": "info",
        "time": f"2025-03-20T15:39:{second:02}.000000Z",
        "scope": "access",
        "message": "connection complete",
        "src.addr": f"10.244.2.106:{40000 + second}",
        "src.workload": "netshoot-f6d9bf8d-md6rj",
        "src.namespace": "caffeine",
        "src.identity": f"{SPIFFE}/netshoot",
        "dst.addr": "10.244.3.101:15008",
        "dst.hbone_addr": "10.244.3.101:8080",
        "dst.service": "barista.caffeine.svc.cluster.local",
        "dst.workload": "barista-v1-999d89d6f-hz4d8",
        "dst.namespace": "barista",
        "dst.identity": f"{SPIFFE}/barista",
        "direction": direction,
        "bytes_sent": 84 if direction == "outbound" else 416,
        "bytes_recv": 416 if direction == "outbound" else 84,
        "duration": "94ms",
    }
    return json.dumps({key: value for key, value in {**line, **(fields or {})}.items() if value != ""})


def test_a_connection_is_one_edge_whoever_tells_of_it(engine: Engine) -> None:
    lines = [connection(direction, second) for second in range(3) for direction in ("outbound", "inbound")]
    found = ingested(engine, lines)
    (edge,) = found.edges
    assert (edge.source, edge.destination, edge.direction, edge.protocol) == (*EDGE, "east_west", "tcp")
    assert (edge.requests, edge.attempts, edge.errors, edge.denied, edge.mtls_share) == (3, 3, 0, 0, 1.0)
    assert (edge.bytes_received, edge.bytes_sent, edge.statuses) == (3 * 84, 3 * 416, {})
    assert edge.p50_ms is not None
    assert abs(edge.p50_ms - 94) < 1
    assert edge.principals == [f"{SPIFFE}/netshoot"]
    assert edge.disagreements == []


def test_refused_and_failed_connections(engine: Engine) -> None:
    refused = "connection closed due to policy rejection: explicitly denied by: caffeine/no-netshoot"
    unreached = "connection timed out, maybe a NetworkPolicy is blocking HBONE port 15008: deadline has elapsed"
    nothing = {"bytes_sent": 0, "bytes_recv": 0}
    edge = edges(
        ingested(
            engine,
            [
                connection("outbound", 1, {"error": "http status: 401 Unauthorized", **nothing}),
                connection("inbound", 1, {"error": refused, **nothing}),
                connection("outbound", 2, {"error": unreached, **nothing}),
                connection("outbound", 3),
                connection("inbound", 3),
            ],
        )
    )[EDGE]
    assert (edge.requests, edge.attempts, edge.errors, edge.denied) == (3, 2, 1, 1)
    assert edge.faults == {"mesh": 1, "network": 1}


def test_plaintext_is_seen(engine: Engine) -> None:
    plain = {"src.identity": "", "dst.identity": "", "dst.hbone_addr": "", "dst.addr": "10.244.3.101:8080"}
    edge = edges(ingested(engine, [connection("inbound", 0, plain)]))[EDGE]
    assert (edge.requests, edge.mtls_share, edge.principals) == (1, 0.0, [])


def test_a_waypoint_is_no_node_and_its_requests_count(engine: Engine) -> None:
    found = ingested(engine, [TO_WAYPOINT, AT_WAYPOINT, AT_WAYPOINT.replace(" 503 ", " 200 "), FROM_WAYPOINT])
    (edge,) = found.edges
    assert (edge.source, edge.destination, edge.direction, edge.protocol) == (*EDGE, "east_west", "http")
    assert (edge.requests, edge.attempts, edge.errors, edge.statuses) == (2, None, 1, {"200": 1, "503": 1})
    assert (edge.mtls_share, edge.principals, edge.disagreements) == (1.0, [f"{SPIFFE}/netshoot"], [])


def test_a_waypoint_without_access_log_leaves_the_callers_connection(engine: Engine) -> None:
    (edge,) = ingested(engine, [TO_WAYPOINT, FROM_WAYPOINT]).edges
    assert (edge.source, edge.destination, edge.requests, edge.protocol) == (*EDGE, 1, "tcp")


def test_a_sidecars_requests_count_beside_a_ztunnels_connections(engine: Engine) -> None:
    """One connection, two requests over it: the caller's ztunnel and the callee's sidecar, and the other way round."""
    inbound = (
        '[2025-03-20T15:39:0{}.000Z] "GET /a HTTP/1.1" 200 - via_upstream - "-" 0 9 1 1 "-" "c" "r-{}" "barista:8000" '
        '"10.244.3.101:8080" inbound|8080|| 127.0.0.6:5 10.244.3.101:8080 10.244.2.106:40000 '
        "outbound_.8000_._.barista.caffeine.svc.cluster.local default"
    )
    outbound = (
        '[2025-03-20T16:09:0{}.000Z] "GET /a HTTP/1.1" 200 - via_upstream - "-" 0 9 1 1 "-" "c" "s-{}" "barista:8000" '
        '"10.244.3.101:8080" outbound|8000||barista.caffeine.svc.cluster.local 10.244.2.106:9 10.0.81.76:8000 '
        "10.244.2.106:40000 - default"
    )
    mixed = [connection("outbound"), inbound.format(1, 1), inbound.format(2, 2)]
    later = [connection("inbound").replace("T15:39", "T16:09"), outbound.format(1, 1), outbound.format(2, 2)]
    edge = edges(ingested(engine, [*mixed, *later]))[EDGE]
    assert (edge.requests, edge.attempts, edge.protocol, edge.statuses) == (4, 2, "http", {"200": 4})
    assert edge.disagreements == []


def test_egress_is_named_by_its_service_entry_or_its_address(engine: Engine) -> None:
    outside = {"dst.identity": "", "dst.hbone_addr": "", "dst.workload": "", "dst.namespace": "", "src.identity": ""}
    found = edges(
        ingested(
            engine,
            [
                connection(
                    "outbound", 0, {**outside, "dst.addr": "151.101.195.5:443", "dst.service": "edition.cnn.com"}
                ),
                connection("outbound", 0, {**outside, "dst.addr": "203.0.113.7:443", "dst.service": ""}),
            ],
        )
    )
    assert {pair: edge.direction for pair, edge in found.items()} == {
        ("caffeine/netshoot", "external:edition.cnn.com"): "egress",
        ("caffeine/netshoot", "external:203.0.113.7"): "egress",
    }
