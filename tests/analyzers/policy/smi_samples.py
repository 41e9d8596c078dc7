"""Random targets, routes and calls of Open Service Mesh that have something to do with each other."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from analyzers.policy.smi.model import (
    Account,
    Document,
    HTTPRouteGroup,
    Match,
    MeshConfig,
    Rule,
    RuleKind,
    Settings,
    TCPRoute,
    TrafficTarget,
)
from analyzers.policy.workloads import Cluster, Workload

SETTINGS = (
    *(Settings(permissive=False) for _ in range(8)),
    Settings(permissive=False, trust_domain="mesh.example"),
    Settings(),
    Settings(permissive=True),
)
DESTINATIONS = (
    *(Workload("shop", "orders", accounts=("orders",)) for _ in range(4)),
    Workload("shop", "orders", accounts=("default", "orders")),
    Workload("shop", "orders"),
)
ACCOUNTS = (
    *(Account("shop", "web") for _ in range(6)),
    Account("front", "web"),
    Account("shop", "it's.odd\\"),
    Account("", "web"),
)
CLUSTER = Cluster(
    {
        (one.namespace, one.name): one
        for one in (
            Workload("shop", "web", accounts=("web",)),
            Workload("front", "web", accounts=("web",)),
            Workload("shop", "batch", accounts=("batch", "web")),
            Workload("shop", "other", accounts=("other",)),
            Workload("shop", "unknown"),
        )
    }
)
PRINCIPALS = (
    *("web.shop.cluster.local" for _ in range(8)),
    "web.front.cluster.local",
    "web.shop.mesh.example",
    "it's.odd\\.shop.cluster.local",
    "web..cluster.local",
    "spiffe://cluster.local/ns/shop/sa/web",
    "workload",
    "",
    "",
    "",
)
WORKLOADS = (
    ("shop", "web"),
    ("shop", "web"),
    ("front", "web"),
    ("shop", "batch"),
    ("shop", "other"),
    ("shop", "unknown"),
)
GROUPS, ROUTES = ("routes", "more"), ("tcp", "other-tcp")
PATHS = ("/orders.*", "/orders/[0-9]+", "/admin", "/(admin|orders).*", "/.*", ".*", ".*", "/a'b\\\\")
CALL_PATHS = ("/orders", "/orders/17", "/orders/17?x=1", "/admin", "/administer", "/a'b\\", "/orders/a\nb", "")
HEADERS: Mapping[str, tuple[str, ...]] = {
    "host": ("orders.shop.*", "Orders.shop", ".*"),
    "X-Team": ("red|blue", "r.*", ".*", "[A-Z]+"),
    ":method": ("GET|PUT",),
}


def call(draw: random.Random, logged: float) -> dict[str, Any]:
    """A call of which each field was logged with this probability."""
    found: dict[str, Any] = {
        "transport": draw.choice(("http", "http", "http", "tcp")),
        "tls": draw.choice(("mtls", "mtls", "mtls", "unknown", "unknown", "unknown", "tls", "plaintext")),
    }
    fields: Mapping[str, tuple[Any, ...]] = {
        "source_principal": PRINCIPALS,
        "destination_port": (8080, 9090),
        "method": ("GET", "GET", "POST", "PUT", ""),
        "path": CALL_PATHS,
        "authority": ("orders.shop", "Orders.shop", "orders.shop:8080", ""),
    }
    for name, values in fields.items():
        if draw.random() < logged:
            found[name] = draw.choice(values)
    if draw.random() < logged:
        found["source_namespace"], found["source_workload"] = draw.choice(WORKLOADS)
    team = {"request.headers.x-team": draw.choice(("red", "blue", "RED", ""))}
    found["attributes"] = team if draw.random() < logged else {}
    return found


def _match(draw: random.Random, name: str) -> Match:
    header = draw.choice(tuple(HEADERS))
    return Match(
        name=name,
        path=draw.choice(PATHS),
        methods=draw.choice((("*",), ("*",), ("GET",), ("GET", "POST"), ("*", "GET"))),
        headers=((header, draw.choice(HEADERS[header])),) if draw.random() < 0.2 else (),
    )


def _rule(draw: random.Random) -> Rule:
    kinds: tuple[RuleKind, ...] = ("HTTPRouteGroup", "TCPRoute", "UDPRoute")
    kind = draw.choices(kinds, (14, 5, 1))[0]
    if kind != "HTTPRouteGroup":
        return Rule(kind, draw.choice((*ROUTES, *ROUTES, "missing")))
    matches = tuple(draw.sample(("a", "b", "c", "missing"), draw.choice((0, 1, 2, 2, 3))))
    return Rule(kind, draw.choice((*GROUPS, *GROUPS, *GROUPS, "missing")), matches)


def target(draw: random.Random, number: int) -> TrafficTarget:
    """One target, mostly of the destination's account."""
    return TrafficTarget(
        namespace=draw.choice((*["shop"] * 9, "front")),
        name=f"t{number}",
        account=draw.choice((*["orders"] * 9, "default", "other")),
        sources=tuple(draw.choices(ACCOUNTS, k=draw.choice((0, 1, 1, 1, 2)))),
        rules=tuple(_rule(draw) for _ in range(draw.choices((0, 1, 2, 3), (1, 4, 8, 4))[0])),
    )


def documents(draw: random.Random) -> list[Document]:
    """Targets and routes, in any order."""
    found: list[Document] = [target(draw, number) for number in range(draw.choice((1, 2, 2, 3, 4)))]
    for name in GROUPS:
        matches = tuple(_match(draw, name) for name in "abc")
        found.append(HTTPRouteGroup("shop", name, matches))
    found.extend(TCPRoute("shop", name, draw.choice(((8080,), (8080, 9090), (1,), ()))) for name in ROUTES)
    if draw.random() < 0.15:
        found.append(MeshConfig("osm-system", "osm-mesh-config", draw.random() < 0.4))
    draw.shuffle(found)
    return found
