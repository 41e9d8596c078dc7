"""Who failed on an edge, from the lines of both its sidecars: Istio's default text, as proxies of a call write it."""

from __future__ import annotations

import json

import pytest

from storage.engine import Engine
from tests.meshes.scenario import edges, ingested

WEB, ORDERS = "10.44.1.23", "10.44.1.27"


def enveloped(line: str, app: str) -> str:
    kubernetes = {"namespace_name": "shop", "pod_name": f"{app}-84975bc778-pxz2w", "labels": {"app": app}}
    return json.dumps({"log": line, "kubernetes": kubernetes})


def sent(outcome: str, second: int = 0) -> str:
    """The caller's line: status, flags, details."""
    upstream = "-" if " UF " in outcome or " NR " in outcome else f"{ORDERS}:8080"
    line = (
        f'[2026-03-02T10:00:{second:02}.409Z] "GET /orders HTTP/1.1" {outcome} - "-" 0 135 4 4 "-" "curl/8" '
        f'"r-{second}" "orders:8080" "{upstream}" outbound|8080||orders.shop.svc.cluster.local {WEB}:37652 '
        f"10.0.45.184:8080 {WEB}:46520 - default"
    )
    return enveloped(line, "web")


def received(outcome: str, second: int = 0) -> str:
    """The callee's line."""
    line = (
        f'[2026-03-02T10:00:{second:02}.410Z] "GET /orders HTTP/1.1" {outcome} - "-" 0 135 3 1 "-" "curl/8" '
        f'"r-{second}" "orders:8080" "127.0.0.1:8080" inbound|8080|| 127.0.0.1:41854 {ORDERS}:8080 {WEB}:37652 '
        "outbound_.8080_._.orders.shop.svc.cluster.local default"
    )
    return enveloped(line, "orders")


FINE = "200 - via_upstream"
PASSED_ON = "503 - via_upstream"
CLOSED = "503 UC upstream_reset_before_response_started{connection_termination}"
UNREACHED = "503 UF upstream_reset_before_response_started{connection_failure}"
REFUSED = "403 - rbac_access_denied_matched_policy[none]"


@pytest.mark.parametrize(
    ("lines", "failed_by"),
    [
        ([sent(PASSED_ON), received(CLOSED)], {"callee_application": 1}),
        ([sent(PASSED_ON), received(UNREACHED)], {"callee_application": 1}),
        ([sent(PASSED_ON), received("503 UO overflow")], {"callee_proxy": 1}),
        ([sent("403 - via_upstream"), received(REFUSED)], {"callee_proxy": 1}),
        ([sent(UNREACHED), received(FINE, 1)], {"network": 1}),
        ([sent("404 NR route_not_found"), received(FINE, 1)], {"caller_proxy": 1}),
        ([sent(PASSED_ON)], {"callee": 1}),
        # A retry made good what the first attempt met.
        ([sent(FINE), received(CLOSED), received(FINE, 1)], {}),
    ],
)
def test_the_fault_side_of_an_edge(engine: Engine, lines: list[str], failed_by: dict[str, int]) -> None:
    edge = edges(ingested(engine, lines))["shop/web", "shop/orders"]
    assert edge.failed_by == failed_by


def test_what_each_side_says_is_told_apart(engine: Engine) -> None:
    lines = [sent(FINE, 1), received(FINE, 1), *(sent(PASSED_ON, 2) for _ in range(3)), received(CLOSED, 2)]
    found = ingested(engine, lines)
    edge = edges(found)["shop/web", "shop/orders"]
    assert edge.faults_by_side == {"source": {"callee": 3}, "destination": {"callee": 1}}
    assert (edge.faults, edge.failed_by) == ({"callee": 3}, {"callee_application": 1, "callee": 2})
    document = found.to_document()["edges"][0]
    assert (document["faults_by_side"], document["failed_by"]) == (edge.faults_by_side, edge.failed_by)


@pytest.mark.parametrize("silent", ["", "source", "destination"])
def test_hours_in_which_a_side_is_silent(engine: Engine, silent: str) -> None:
    """Where another side counts in one of the hours, each side still tells what it saw in all of them."""

    def told(hour: int, reporter: str, status: int) -> str:
        line = {"ts": f"2026-03-02T{hour}:00:00Z", "reporter": reporter, "status": status, "method": "GET"}
        ends = {"source_namespace": "shop", "source_service": "web", "destination_namespace": "shop"}
        return json.dumps(line | ends | {"destination_service": "orders", "response_flags": "UC"})

    hours = [(hour, side) for hour in (10, 11) for side in ("source", "destination") if (hour, side) != (11, silent)]
    edge = edges(ingested(engine, [told(hour, side, 503) for hour, side in hours]))["shop/web", "shop/orders"]
    seen = {side: sum(one == side for _, one in hours) for side in ("source", "destination")}
    assert edge.faults_by_side == {side: {"callee": count} for side, count in seen.items()}
    assert sum(edge.failed_by.values()) == edge.faults["callee"]
