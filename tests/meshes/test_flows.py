"""Cilium and Calico, from flows to edges: what goes around the proxies, and what only looks like it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest

from storage.engine import Engine
from storage.tables import ALIASES, INVENTORY
from tests.analyzers.records import insert
from tests.meshes.scenario import edges, ingested

AT = "2026-03-02T10:00:00Z"
START = 1772445600
ADDRESS = {"web": "10.1.9.4", "orders": "10.1.2.3", "db": "10.1.2.9", "batch": "10.1.7.7"}
HASHES = {
    "web": "64cbf459c4-q4tr9",
    "orders": "6b5b787dc9-ds4j4",
    "db": "7d9f8b6c5d-x2x4z",
    "batch": "5c9d8f7b6d-b4b5z",
}


def pod(name: str) -> dict[str, Any]:
    return {
        "namespace": "shop",
        "pod_name": f"{name}-{HASHES[name]}",
        "labels": [f"k8s:app={name}"],
        "workloads": [{"name": name, "kind": "Deployment"}],
    }


def flow(source: Any, destination: Any, side: str = "EGRESS", **fields: Any) -> str:
    """A connection that opens. Ends are names of pods, or objects as Hubble writes them."""
    ends = [pod(end) if isinstance(end, str) else end for end in (source, destination)]
    ips = [ADDRESS.get(end, "") if isinstance(end, str) else "198.51.100.7" for end in (source, destination)]
    base = {"time": AT, "verdict": "FORWARDED", "traffic_direction": side, "source": ends[0], "destination": ends[1]}
    base |= {"IP": {"source": ips[0], "destination": ips[1]}, "event_type": {"type": 4}, "is_reply": False}
    base |= {"l4": {"TCP": {"source_port": 40000, "destination_port": 8080, "flags": {"SYN": True}}}}
    return json.dumps({"flow": base | fields, "node_name": "prod/node-1", "time": AT})


def both(source: str, destination: str, **fields: Any) -> list[str]:
    """A connection as both sides see it, its acknowledgement, and its answer."""
    ack = {"TCP": {"source_port": 40000, "destination_port": 8080, "flags": {"ACK": True}}}
    answer = {"TCP": {"source_port": 8080, "destination_port": 40000, "flags": {"SYN": True, "ACK": True}}}
    return [
        flow(source, destination, **fields),
        flow(source, destination, "INGRESS", **fields),
        flow(source, destination, l4=ack),
        flow(destination, source, "INGRESS", l4=answer, is_reply=True),
    ]


def line(source: str, destination: str, reporter: str, **fields: Any) -> str:
    """What a sidecar logs."""
    named = {"ts": AT, "reporter": reporter, "mesh": "istio", "status": 200, "method": "GET", "path": "/"}
    named |= {"source_namespace": "shop", "source_workload": source, "destination_namespace": "shop"}
    return json.dumps(named | {"destination_workload": destination} | fields)


def sidecars(engine: Engine, names: Iterable[str]) -> None:
    """An inventory that knows the pods of all names, of which these have sidecars."""
    always = {"valid_from": datetime(1971, 1, 1, tzinfo=UTC), "valid_to": datetime(2200, 1, 1, tzinfo=UTC)}
    wanted = set(names)
    pods = [{"name": f"{name}-{HASHES[name]}", "namespace": "shop", **always} for name in ADDRESS]
    insert(
        engine, INVENTORY, [p | {"kind": "Pod", "has_sidecar": int(p["name"].split("-")[0] in wanted)} for p in pods]
    )
    named = [
        {"kind": "pod_ip", "name": ip, "pod": f"{name}-{HASHES[name]}", "workload": name, "namespace": "shop", **always}
        for name, ip in ADDRESS.items()
    ]
    insert(engine, ALIASES, [row | {"evidence": "inventory"} for row in named])


def test_cilium_gives_edges_of_its_own(engine: Engine) -> None:
    world = {"identity": 2, "labels": ["reserved:world"]}
    denied = {"verdict": "DROPPED", "drop_reason_desc": "POLICY_DENIED", "event_type": {"type": 1}}
    found = ingested(
        engine,
        [
            *both("web", "orders"),
            *both("web", "orders"),
            flow("batch", "db", **denied),
            flow("batch", "db", "INGRESS", verdict="DROPPED", drop_reason_desc="CT_MAP_INSERTION_FAILED"),
            flow("orders", world, destination_names=["api.bank.example"]),
            flow("orders", world),
            flow(world, "web", "INGRESS"),
            flow({"labels": ["reserved:host"]}, "web", "INGRESS"),
        ],
        "hubble_json",
    )
    named = edges(found)
    assert {pair: (edge.requests, edge.attempts, edge.direction) for pair, edge in named.items()} == {
        ("shop/web", "shop/orders"): (2, 2, "east_west"),
        ("shop/batch", "shop/db"): (1, 1, "east_west"),
        ("shop/orders", "external:api.bank.example"): (1, None, "egress"),
        ("shop/orders", "external:198.51.100.7"): (1, None, "egress"),
        ("unknown", "shop/web"): (1, 1, "ingress"),
        ("reserved:host", "shop/web"): (1, 1, "east_west"),
    }
    for edge in found.edges:
        assert (edge.evidence, edge.protocol, edge.mtls_share, edge.principals) == (["flow"], "tcp", None, [])
        # Nobody says that there are proxies.
        assert not edge.bypass and not edge.disagreements
    refused = named["shop/batch", "shop/db"]
    assert (refused.denied, refused.errors, dict(refused.faults)) == (1, 0, {"mesh": 1})
    assert named["shop/web", "shop/orders"].denied == 0


def test_a_connection_counts_once_wherever_it_is_seen(engine: Engine) -> None:
    """On the caller's node as it leaves the pod and the node, on the callee's as it arrives."""
    lines = [
        flow("web", "orders", trace_observation_point="TO_STACK"),
        flow("web", "orders", trace_observation_point="TO_NETWORK", trace_reason="NEW"),
        flow("web", "orders", "INGRESS", trace_observation_point="FROM_NETWORK"),
        flow("web", "orders", "INGRESS", trace_observation_point="TO_ENDPOINT"),
    ]
    edge = edges(ingested(engine, lines, "hubble_json"))["shop/web", "shop/orders"]
    assert (edge.requests, edge.attempts, edge.disagreements) == (1, 1, [])


def test_a_call_that_ciliums_proxy_reads(engine: Engine) -> None:
    http = {"code": 503, "method": "GET", "url": "http://orders.shop:8080/orders/17", "protocol": "HTTP/1.1"}
    l7 = {"type": "RESPONSE", "latency_ns": "12000000", "http": http}
    answer = flow("orders", "web", "INGRESS", Type="L7", is_reply=True, l7=l7)
    edge = edges(ingested(engine, [answer], "hubble_json"))["shop/web", "shop/orders"]
    assert (edge.requests, edge.errors, dict(edge.statuses), dict(edge.faults)) == (1, 1, {"503": 1}, {"callee": 1})
    assert edge.p50_ms == pytest.approx(12, rel=0.05)


def test_calico_counts_the_connections_of_its_summaries(engine: Engine) -> None:
    def summary(side: str, **fields: Any) -> str:
        base = {"start_time": START, "end_time": START + 300, "action": "allow", "reporter": side, "proto": "tcp"}
        for key, name in (("source", "web"), ("dest", "orders")):
            base |= {f"{key}_type": "wep", f"{key}_namespace": "shop", f"{key}_name": "-", f"{key}_ip": None}
            base |= {f"{key}_name_aggr": f"{name}-{HASHES[name].split('-')[0]}-*"}
        base |= {"dest_port": 8080, "num_flows": 50, "num_flows_started": 47, "bytes_in": 100, "bytes_out": 900}
        return json.dumps(base | fields)

    deny = {"action": "deny", "num_flows_started": 3, "policies": {"all_policies": ["0|default|shop/default.db|deny"]}}
    deny |= {"dest_name_aggr": "db-7d9f8b6c5d-*", "bytes_in": 60, "bytes_out": 0}
    outside = {"dest_type": "net", "dest_namespace": "-", "dest_name_aggr": "pub", "num_flows_started": 0}
    found = ingested(
        engine,
        [
            summary("src"),
            summary("dst", bytes_in=900, bytes_out=100),
            summary("dst", **deny),
            summary("src", **outside),
        ],
        "calico_json",
    )
    named = edges(found)
    assert {pair: (edge.requests, edge.denied) for pair, edge in named.items()} == {
        ("shop/web", "shop/orders"): (47, 0),
        ("shop/web", "shop/db"): (3, 3),
        # Connections that were open before: none began, and bytes flow.
        ("shop/web", "external:pub"): (0, 0),
    }
    assert (named["shop/web", "shop/orders"].bytes_sent, named["shop/web", "external:pub"].bytes_received) == (100, 900)
    assert dict(named["shop/web", "shop/db"].faults) == {"mesh": 3}


LOGGED = [line("web", "orders", "source"), line("web", "orders", "destination"), line("web", "db", "destination")]
"""web, orders and db have proxies, and these tell of calls."""


def bypassed(engine: Engine, *messages: str, formats: str = "auto") -> set[tuple[str, str]]:
    return {pair for pair, edge in edges(ingested(engine, messages, formats)).items() if edge.bypass}


def test_what_only_flows_know_between_proxies_goes_around_them(engine: Engine) -> None:
    assert bypassed(engine, *LOGGED, *both("web", "orders"), *both("orders", "db")) == {("shop/orders", "shop/db")}


def test_an_inventory_tells_of_sidecars_that_are_silent(engine: Engine) -> None:
    sidecars(engine, ["web", "orders", "batch"])
    messages = [line("web", "orders", "source"), *both("orders", "batch"), *both("web", "batch"), *both("web", "db")]
    # orders and batch are silent: had the call gone through their proxies, nobody would have told of it either.
    assert bypassed(engine, *messages) == {("shop/web", "shop/batch")}


@pytest.mark.parametrize(
    "messages",
    [
        both("orders", "batch"),  # nobody knows of a proxy at batch
        [flow({"labels": ["reserved:host"]}, "db", "INGRESS")],  # the node itself: kubelet's probes
        [flow("orders", {"labels": ["reserved:world"]}, destination_names=["api.bank.example"])],
        [flow({"labels": ["reserved:world"]}, "db", "INGRESS")],
        both("orders", "db", l4={"UDP": {"source_port": 4000, "destination_port": 53}}),  # no proxy's business
        [flow("orders", "db", verdict="DROPPED", drop_reason_desc="POLICY_DENIED")],  # it did not get through
        [*both("orders", "db"), line("orders", "db", "source")],  # it went through a proxy
        [*both("orders", "db"), line("orders", "db", "destination")],
    ],
    ids=["no proxy", "node", "outside", "from outside", "udp", "denied", "logged by caller", "logged by callee"],
)
def test_what_is_no_bypass(engine: Engine, messages: list[str]) -> None:
    assert bypassed(engine, *LOGGED, *messages) == set()


def test_pods_without_a_sidecar_make_no_bypass(engine: Engine) -> None:
    sidecars(engine, ["web", "orders"])
    assert bypassed(engine, *LOGGED, *both("orders", "batch")) == set()


def test_a_proxy_that_tells_nothing_of_an_edge_is_named(engine: Engine) -> None:
    messages = [
        *LOGGED,
        line("orders", "db", "source"),
        line("orders", "db", "source"),
        line("orders", "batch", "source"),
    ]
    named = edges(ingested(engine, messages))
    told = {pair: [dict(one) for one in edge.disagreements] for pair, edge in named.items()}
    silent = {"what": "requests", "between": ["source", "destination"]}
    assert told == {
        ("shop/web", "shop/orders"): [],
        # web has a proxy that tells of other calls, db has one too; batch may have none.
        ("shop/web", "shop/db"): [silent | {"values": [None, 1]}],
        ("shop/orders", "shop/db"): [silent | {"values": [2, None]}],
        ("shop/orders", "shop/batch"): [],
    }


def test_flows_count_connections_and_are_not_compared(engine: Engine) -> None:
    found = edges(ingested(engine, [*LOGGED, *both("web", "orders"), *both("web", "orders")]))
    edge = found["shop/web", "shop/orders"]
    assert (edge.requests, edge.evidence, list(edge.disagreements), edge.bypass) == (1, ["log", "flow"], [], False)
