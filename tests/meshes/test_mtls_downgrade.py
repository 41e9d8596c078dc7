"""A workload that begins to call in plaintext: its address, which its certificate came from before, tells who it is."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from analyzers.dependencies.diff import map_diff
from analyzers.dependencies.service_map import service_map
from eastwatch.follow_up import follow_up
from storage.engine import Engine
from tests.meshes.scenario import NOW, edges, ingested

START = datetime(2026, 3, 2, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
WEB = "spiffe://cluster.local/ns/shop/sa/web"
ADS = "spiffe://cluster.local/ns/shop/sa/ads"


def line(minute: float, caller: str, principal: str | None) -> str:
    """The callee's line of one call, as Istio's default JSON has it."""
    server = "outbound_.8080_._.orders.shop.svc.cluster.local"
    return json.dumps(
        {
            "start_time": (START + timedelta(minutes=minute)).isoformat(),
            "method": "GET",
            "path": "/orders",
            "protocol": "HTTP/1.1",
            "response_code": 200,
            "response_flags": "-",
            "duration": 10,
            "authority": "orders:8080",
            "upstream_host": "10.1.2.3:8080",
            "upstream_cluster": "inbound|8080||",
            "downstream_local_address": "10.1.2.3:8080",
            "downstream_remote_address": f"{caller}:41000",
            "requested_server_name": server if principal else None,
            "downstream_peer_uri_san": principal,
        }
    )


def test_a_downgrade_is_a_change_of_mtls_not_a_new_caller(engine: Engine) -> None:
    before = [line(minute / 2, "10.1.1.1", WEB) for minute in range(60)]
    after = [line(60 + minute / 2, "10.1.1.1", WEB if minute % 2 else None) for minute in range(60)]
    ingested(engine, [*before, *after])
    follow_up(engine, now=NOW + HOUR)
    (edge,) = service_map(engine, START, START + 2 * HOUR).edges
    assert (edge.source, edge.requests, edge.mtls_share, edge.principals) == ("shop/web", 120, 0.75, [WEB])
    found = map_diff(engine, (START, START + HOUR), (START + HOUR, START + 2 * HOUR))
    assert [(change.what, change.source, change.operation) for change in found.changed] == [("mtls", "shop/web", None)]
    assert (found.appeared, found.disappeared) == ([], [])


def test_plaintext_from_an_address_that_several_share_is_nobodys(engine: Engine) -> None:
    """A node's address in front of its pods."""
    lines = [line(minute, "10.0.0.1", (WEB, ADS, None)[minute % 3]) for minute in range(30)]
    ingested(engine, lines)
    follow_up(engine, now=NOW + HOUR)
    found = edges(service_map(engine))
    assert {pair[0]: edge.requests for pair, edge in found.items()} == {"shop/web": 10, "shop/ads": 10, "unknown": 10}
    assert {pair[0]: edge.mtls_share for pair, edge in found.items()} == {"shop/web": 1, "shop/ads": 1, "unknown": 0}
