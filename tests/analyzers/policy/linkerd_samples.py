"""Random documents and calls of Linkerd that have something to do with each other."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from analyzers.policy.linkerd.model import (
    DEFAULT_POLICIES,
    GATEWAY,
    LINKERD,
    PROTOCOLS,
    Authentication,
    AuthorizationPolicy,
    Block,
    Clients,
    Document,
    GrpcMatch,
    HttpMatch,
    MeshTLSAuthentication,
    NetworkAuthentication,
    Pair,
    Route,
    RouteKind,
    Server,
    ServerAuthorization,
    Settings,
    Target,
)
from analyzers.policy.selectors import Requirement, Selector
from analyzers.policy.workloads import Cluster, Workload

T = TypeVar("T")
SETTINGS = (
    Settings(),
    Settings("deny", trust_domain="prod.example"),
    Settings("cluster-authenticated", (ipaddress.ip_network("10.1.0.0/16"),), "mesh"),
    Settings("audit"),
)
_APP = {"app": "orders", "version": "v1"}
_DEFAULT = "config.linkerd.io/default-inbound-policy"
_PORTS = "config.linkerd.io/proxy-require-identity-inbound-ports"
WORKLOADS = (
    *(Workload("shop", labels=(_APP,), ports={"http": (8080,), "admin": (9090, 9091)}),) * 4,
    Workload("shop", labels=(_APP,), ports={"http": (8080,), "admin": (9090, 9091)}, annotations=({_DEFAULT: "deny"},)),
    Workload("shop", labels=(_APP, {"app": "orders", "version": "v2"}), ports={"http": (8080,)}, annotations=({},)),
    Workload(
        "shop",
        labels=(_APP,),
        annotations=({_DEFAULT: "deny"}, {_DEFAULT: "all-authenticated", _PORTS: "8080,9000-9100"}),
    ),
    Workload("shop", labels=(_APP,), ports={"http": (8080,)}, annotations=({_PORTS: "8080, 9000-9100"},)),
    Workload("shop", labels=(_APP,), annotations=({_DEFAULT: "whatever", _PORTS: "80-"},)),
    Workload("shop"),
    Workload("bare", labels=(_APP,)),
)
CLUSTERS = (
    Cluster(),
    Cluster(namespace_annotations={"shop": {_DEFAULT: "cluster-unauthenticated"}}),
    Cluster(namespace_annotations={"shop": {_DEFAULT: "all-authenticated"}, "bare": {_DEFAULT: "deny"}}),
)
PRINCIPALS = (
    "web.shop.serviceaccount.identity.linkerd.cluster.local",
    "web.shop.serviceaccount.identity.linkerd.cluster.local",
    "report.batch.serviceaccount.identity.linkerd.cluster.local",
    "web.shop.serviceaccount.identity.linkerd.prod.example",
    "web.shop.serviceaccount.identity.mesh.cluster.local",
    "shop.serviceaccount.identity.linkerd.cluster.local",
    "spiffe://prod.example/ns/shop/sa/web",
    "spiffe://root/x.shop.serviceaccount.identity.linkerd.cluster.local",
    'it\'s "odd"\\',
    "",
)
IDENTITIES = (
    *("*", "*.shop.serviceaccount.identity.linkerd.cluster.local", "*.cluster.local", "*.*.local", "**.local"),
    *("web.*.local", "*.", "", *PRINCIPALS),
)
_NETWORKS = tuple(
    Block(ipaddress.ip_network(network), tuple(map(ipaddress.ip_network, excepted)))
    for network, excepted in (
        ("10.0.0.0/8", ()),
        ("10.0.0.0/8", ("10.1.0.0/16",)),
        ("0.0.0.0/0", ("10.0.0.0/8", "192.0.2.7/32")),
        ("::/0", ()),
        ("fd00::/8", ("fd00::7/128",)),
    )
)
_PATHS = ("/", "/orders", "/orders/", "/orders/17", "//", "/a'b\\", "/o.ders", "/shop.Orders/List")
_REGEXES = ("/orders/[0-9]+", "/(orders|admin)(/.*)?", ".*", "/o.ders", "/")
_VALUES = ("red", "r'e\\d", "a b", "x=y", "é&#+", "100%")
CALL_VALUES: dict[str, Sequence[Any]] = {
    "source_principal": PRINCIPALS,
    "source_ip": ("10.1.2.3", "10.2.2.3", "192.0.2.7", "fd00::7", "fd00::8", "::1", "127.0.0.1"),
    "destination_port": (8080, 8080, 8080, 9090, 9091, 65535),
    "authority": (
        *("orders.shop:8080", "orders.shop", "Orders.Shop.", "orders.shop.:80", "a.orders.shop", "other.example", ""),
        *("a.orders.shop.:", ".shop", "ordersXshop"),
    ),
    "method": ("GET", "POST", "POST", "POST", "GET", "get", ""),
    "path": (
        *("/orders", "/orders/17", "/shop.Orders/List"),
        *("/", "/orders", "/orders/", "/orders/17", "/orders//", "/ordersX", "/orders/17#top?team=red", "", "//x"),
        *("/orders?team=red", "/?x=1&team=r%27e%5cd&y", "/orders?team=a+b&team=x%3dy", "/a'b\\?te%61m=%72ed"),
        *(
            "/oXders?team",
            "/orders?team=%C3%A9%26%23%2B",
            "/orders?team=x=y&&",
            "/orders?team=100%",
            "/o.ders?Team=red",
        ),
        *(
            "/shop.Orders/List",
            "/shop.Orders/",
            "/shop.Orders",
            "/shop.Orders/List/more",
            "/shopXOrders/List",
            "/admin",
        ),
    ),
}
_HEADERS = {"request.headers.x-team": ("red", "r'e\\d", "", "a b", "red\nblue")}


def call(random: random.Random, logged: float) -> dict[str, Any]:
    """A call of which each field was logged with this probability."""
    tls = random.choice(("mtls", "mtls", "mtls", "plaintext", "plaintext", "tls", "unknown"))
    found: dict[str, Any] = {"transport": random.choice(("http", "http", "http", "http", "tcp")), "tls": tls}
    for name, values in CALL_VALUES.items():
        if random.random() < logged:
            found[name] = random.choice(values)
    found["attributes"] = {name: random.choice(some) for name, some in _HEADERS.items() if random.random() < logged}
    return found


def _some(random: random.Random, values: Sequence[T], *numbers: int) -> tuple[T, ...]:
    return tuple(random.choices(values, k=random.choice(numbers)))


def _created(random: random.Random) -> datetime | None:
    return random.choice((None, datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)))


def _selector(random: random.Random) -> Selector:
    return random.choice(
        (
            Selector(),
            Selector((Requirement("app", "In", ("orders",)),)),
            Selector((Requirement("version", "In", ("v2",)),)),
            Selector((Requirement("tier", "DoesNotExist"),)),
        )
    )


def _server(random: random.Random, number: int, kind: RouteKind) -> Server:
    first = number == 0
    protocols = ("gRPC",) if kind == "GRPCRoute" else ("unknown", "HTTP/1", "HTTP/2")
    return Server(
        namespace="shop" if first else random.choice(("shop", "shop", "shop", "other")),
        name=f"s{number}",
        selector=None if random.random() < 0.05 else Selector() if first else _selector(random),
        port=random.choice((8080, 8080, "http") if first else (8080, 9090, "http", "admin", "none")),
        protocol=random.choice((*protocols, *protocols, *(() if first else PROTOCOLS))),  # pyright: ignore[reportArgumentType]
        access=random.choice(("deny", "deny", "deny", "deny", *DEFAULT_POLICIES)),  # pyright: ignore[reportArgumentType]
        labels=random.choice(((), (("app", "orders"),), (("version", "v2"),))),
        created=_created(random),
    )


def _clients(random: random.Random) -> Clients:
    return Clients(
        _some(random, IDENTITIES, 0, 1, 1, 2),
        _some(random, (("shop", "web"), ("batch", "report")), 0, 0, 1),
        _some(random, ("shop", "batch"), 0, 0, 0, 1),
    )


def _server_authorization(random: random.Random, number: int) -> ServerAuthorization:
    return ServerAuthorization(
        namespace="shop",
        name=f"a{number}",
        server=random.choice(("s0", "s1", _selector(random))),
        networks=_some(random, _NETWORKS, 0, 0, 1, 2),
        clients=random.choice(("anybody", "tls", "nobody", *(_clients(random) for _ in range(4)))),
    )


def _policy(random: random.Random, number: int, kind: RouteKind) -> AuthorizationPolicy:
    target = random.choice(
        (
            *(Target(LINKERD, "Server", "s0"), Target(LINKERD, "Server", "s1"), Target("", "Namespace", "shop")),
            *(Target(group, kind, name) for group in (LINKERD, GATEWAY) for name in ("r0", "r1", "r2")),
        )
    )
    required = [
        Authentication("MeshTLSAuthentication", "shop", random.choice(("m0", "m0", "m1", "gone"))),
        Authentication("NetworkAuthentication", "ops", random.choice(("n0", "n0", "n0", "gone"))),
        Authentication("ServiceAccount", "shop", "web"),
    ]
    return AuthorizationPolicy(
        "shop", f"p{number}", target, tuple(random.sample(required, random.choice((0, 1, 1, 1, 2))))
    )


def _pairs(random: random.Random, name: str) -> tuple[Pair, ...]:
    if random.random() < 0.8:
        return ()
    return (Pair(name, ".*d", True),) if random.random() < 0.2 else (Pair(name, random.choice(_VALUES)),)


def _match(random: random.Random, kind: RouteKind) -> HttpMatch | GrpcMatch:
    headers = _pairs(random, "x-team")
    if kind == "GRPCRoute":
        return GrpcMatch(random.choice(("shop.Orders", "")), random.choice(("List", "")), headers)
    path_type = random.choice(("PathPrefix", "PathPrefix", "Exact", "RegularExpression"))
    return HttpMatch(
        path_type=path_type,
        path=random.choice(_REGEXES if path_type == "RegularExpression" else ("/", "/", *_PATHS)),
        headers=headers,
        parameters=_pairs(random, "team"),
        method=random.choice(("", "", "GET", "POST")),
    )


def _route(random: random.Random, number: int, kind: RouteKind) -> Route:
    other: RouteKind = "HTTPRoute" if kind == "GRPCRoute" else "GRPCRoute"
    kind = other if random.random() < 0.05 else kind
    return Route(
        namespace="shop",
        name=f"r{number}",
        group=GATEWAY if kind == "GRPCRoute" else random.choice((LINKERD, GATEWAY)),
        kind=kind,
        servers=random.choice((("s0",), ("s0",), ("s0",), ("s0", "s1"), ())),
        hostnames=_some(random, ("orders.shop", "*.shop", "*.orders.shop", "other.example"), 0, 0, 0, 0, 1, 2),
        rules=tuple(
            tuple(_match(random, kind) for _ in range(random.choice((0 if kind == "GRPCRoute" else 1, 1, 2))))
            for _ in range(random.choice((1, 1, 2)))
        ),
        created=_created(random),
    )


def documents(random: random.Random) -> list[Document]:
    """Some of each kind."""
    kind: RouteKind = random.choice(("HTTPRoute", "HTTPRoute", "GRPCRoute"))
    found: list[Document] = [
        _server(random, number, kind) for number in range(random.choice((0, 1, 1, 1, 1, 1, 2, 2, 3)))
    ]
    found += [_server_authorization(random, number) for number in range(random.choice((0, 0, 1, 1, 2)))]
    found += [_policy(random, number, kind) for number in range(random.choice((0, 1, 2, 3)))]
    found += [_route(random, number, kind) for number in range(random.choice((0, 1, 2, 3)))]
    found.append(MeshTLSAuthentication("shop", "m0", _clients(random)))
    found.append(MeshTLSAuthentication("shop", "m1", Clients(namespaces=("shop",))))
    found.append(NetworkAuthentication("ops", "n0", _some(random, _NETWORKS, 1, 2)))
    random.shuffle(found)
    return found
