"""Service maps for the tests of the drawings: a small shop as people will meet it, and a large one made from a seed."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

from analyzers.dependencies.model import Edge, Node, NodeKind, ServiceMap

SINCE = datetime(2026, 3, 2, 10, tzinfo=UTC)
UNTIL = datetime(2026, 3, 2, 12, tzinfo=UTC)


def node(name: str, kind: NodeKind = "service", versions: tuple[str, ...] = ("v1",)) -> Node:
    """A node by its id, with a principal where it can have one."""
    namespace, slash, service = name.partition("/")
    if not slash:
        host = name.removeprefix("external:")
        return Node(name, kind, None, host if kind == "external" else None)
    principal = f"spiffe://cluster.local/ns/{namespace}/sa/{service}"
    return Node(name, kind, namespace, service, versions, (principal,))


def edge(source: str, destination: str, requests: int = 1000, **changes: Any) -> Edge:
    """An edge with plausible numbers, any of them changed."""
    errors = changes.get("errors", 0)
    facts: dict[str, Any] = {
        "source": source,
        "destination": destination,
        "direction": "egress" if destination.startswith("external:") else "east_west",
        "protocol": "http",
        "requests": requests,
        "attempts": requests,
        "errors": errors,
        "denied": 0,
        "p50_ms": 4.2,
        "p95_ms": 18.0,
        "p99_ms": 45.5,
        "rps": requests / 7200,
        "statuses": {"200": requests - errors, **({"503": errors} if errors else {})},
        "grpc_statuses": {},
        "faults": {"callee": errors} if errors else {},
        "disagreements": (),
        "bypass": False,
        "mtls_share": 1.0,
        "bytes_sent": 512 * requests,
        "bytes_received": 128 * requests,
        "evidence": ("log", "trace"),
        "first_seen": SINCE,
        "last_seen": UNTIL,
    }
    return Edge(**{**facts, **changes})


def shop() -> ServiceMap:
    """Fourteen nodes in four namespaces, with everything that a drawing can mark."""
    nodes = [
        node("istio-system/ingressgateway", "gateway"),
        node("shop/frontend"),
        node("shop/catalog"),
        node("shop/reviews", versions=("v1", "v2", "v3")),
        node("shop/ratings"),
        node("shop/cart"),
        node("shop/checkout"),
        node("payments/payment"),
        node("payments/fraud"),
        node("platform/mail"),
        node("platform/orders-db", versions=()),
        node("platform/cache", versions=()),
        node("external:api.bank.example", "external"),
        node("unknown", "unknown"),
    ]
    edges = [
        edge("istio-system/ingressgateway", "shop/frontend", 81_230, direction="ingress"),
        edge("shop/frontend", "shop/catalog", 64_000, p95_ms=9.1),
        edge("shop/frontend", "shop/cart", 21_400),
        edge("shop/frontend", "shop/checkout", 4_210, errors=130, p95_ms=780.0, p99_ms=2100.0),
        edge("shop/catalog", "shop/reviews", 60_120),
        edge(
            "shop/reviews",
            "shop/ratings",
            40_000,
            protocol="grpc",
            grpc_statuses={"0": 39_000, "14": 1000},
            errors=3000,
        ),
        edge("shop/catalog", "platform/cache", 120_000, protocol="tcp", statuses={}, p95_ms=0.4, mtls_share=0.0),
        edge("shop/cart", "platform/cache", 30_000, protocol="tcp", statuses={}, p95_ms=0.38, mtls_share=0.5),
        edge("shop/checkout", "shop/cart", 4_100, attempts=4_160),
        edge("shop/checkout", "payments/payment", 4_000, protocol="grpc", errors=1_300, grpc_statuses={"14": 1300}),
        edge("shop/checkout", "platform/orders-db", 3_900, protocol="tcp", statuses={}, mtls_share=None),
        edge("payments/payment", "payments/fraud", 3_990, disagreements=({"what": "requests"},)),
        edge("payments/payment", "external:api.bank.example", 3_700, mtls_share=None, p95_ms=310.0),
        edge("shop/checkout", "platform/mail", 2_400, protocol="messaging", statuses={}, evidence=("trace",)),
        edge("payments/fraud", "shop/checkout", 12, p95_ms=None, p50_ms=None, p99_ms=None),
        edge("unknown", "payments/payment", 7, denied=7, mtls_share=0.0, statuses={"403": 7}, bypass=True),
        edge("shop/cart", "shop/cart", 55),
    ]
    return ServiceMap(SINCE, UNTIL, nodes, edges)


def large(services: int = 60, seed: int = 7) -> ServiceMap:
    """`services` services in a few namespaces, mostly calling downwards, some in circles."""
    draw = random.Random(seed)
    namespaces = ("edge", "shop", "search", "payments", "platform", "data")
    names = [f"{namespaces[index * len(namespaces) // services]}/service-{index:02d}" for index in range(services)]
    edges: dict[tuple[str, str], Edge] = {}
    for place, name in enumerate(names):
        for _ in range(draw.choice((1, 1, 2, 3))):
            reach = draw.randint(1, max(2, services // 4))
            other = names[min(place + reach, services - 1)] if draw.random() < 0.94 else draw.choice(names)
            if other != name:
                requests = int(10 ** draw.uniform(1, 5))
                errors = int(requests * draw.choice((0, 0, 0, 0, 0.002, 0.02, 0.08, 0.4)))
                share = draw.choice((1.0, 1.0, 1.0, None, 0.0, 0.7))
                edges[name, other] = edge(name, other, requests, errors=errors, mtls_share=share)
    return ServiceMap(SINCE, UNTIL, [node(name) for name in names], list(edges.values()))
