"""Random intentions and calls of Consul that have something to do with each other."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from analyzers.policy.consul.model import (
    Defaults,
    Document,
    Header,
    HeaderKind,
    PathKind,
    Peer,
    Permission,
    ServiceIntentions,
    Settings,
    Source,
)
from analyzers.policy.workloads import Workload

OWN, OTHER = "1111.consul", "2222.consul"
PEERS = {"east": Peer(OTHER), "west": Peer("3333.consul", "retail")}
SETTINGS = (
    Settings(default_allow=False, trust_domain=OWN, peers=PEERS),
    Settings(default_allow=False),
    Settings(default_allow=True, trust_domain=OWN),
    Settings(default_allow=True, peers=PEERS),
    Settings(default_allow=True, default_intention_policy="deny", trust_domain=OWN),
    Settings(default_allow=False, default_intention_policy="allow", trust_domain=OWN, namespaces=True, peers=PEERS),
    Settings(default_allow=False, trust_domain=OWN, namespaces=True, partition="retail"),
    Settings(trust_domain=OWN),
    Settings(default_allow=True, trust_domain=OWN, peers=PEERS),
)
DESTINATIONS = (
    Workload("shop", name="api-v1", service="api"),
    Workload("default", name="api"),
    Workload("", service="api"),
)
NAMES = ("web", "web", "web", "web", "we.b", 'it\'s "odd"\\', "batch")
NAMESPACES = ("", "", "", "", "default", "default", "shop", "*")


def _id(domain: str, name: str, namespace: str = "default", partition: str = "", dc: str = "dc1") -> str:
    return f"spiffe://{domain}{f'/ap/{partition}' if partition else ''}/ns/{namespace}/dc/{dc}/svc/{name}"


GATEWAYS = (f"spiffe://{OWN}/gateway/mesh/dc/dc1", f"spiffe://{OWN}/ap/retail/gateway/mesh/dc/dc1")
PRINCIPALS = (
    *(_id(OWN, "web") for _ in range(16)),
    _id(OWN, "web", dc="dc2"),
    _id(OWN, "web", "shop"),
    _id(OWN, "web", partition="retail"),
    _id(OWN, "web", "shop", "retail"),
    _id(OWN, "batch"),
    _id(OWN, 'it\'s "odd"\\'),
    _id(OWN, "weXb"),
    _id(OTHER, "web"),
    _id("3333.consul", "web", partition="retail"),
    _id("4444.consul", "web"),
    *GATEWAYS,
    *GATEWAYS,
    f"spiffe://{OWN}/ns/default/svc/web",
    f"spiffe://{OWN}/ns/default/dc//svc/web",
    f"spiffe://{OWN}/ns/shop/sa/web",
    "web.default.cluster.local",
    "",
)
PATHS: Mapping[PathKind, tuple[str, ...]] = {
    "exact": ("/admin", "/a'b\\", "/orders"),
    "prefix": ("/", "/api", "/orders/", "/a'"),
    "regex": ("/orders/[0-9]+", "/(admin|api).*", "/.*", ".*"),
}
CALL_PATHS = (
    *("/admin", "/admin?x=1", "/api", "/apix", "/api/v1", "/orders", "/orders/17", "/orders/17/items#top"),
    *("/a'b\\", "/orders/a\nb", "", "//"),
)
HEADERS: Mapping[str, tuple[str, ...]] = {
    "x-team": ("red", "Red", "blue", "", "r'e\\d", "bored"),
    "x-debug": ("1", ""),
}
HEADER_TEXTS: Mapping[HeaderKind, tuple[str, ...]] = {
    "present": ("",),
    "exact": ("red", "1", "GET", "r'e\\d"),
    "prefix": ("r", "b", "G"),
    "suffix": ("d", "ed", "T"),
    "contains": ("e", "or", "r'e"),
    "regex": ("r.*", "[0-9]*", ".*", "(?i)red"),
}
METHODS = (("GET",), ("GET", "HEAD"), ("POST",), ("PUT", "DELETE"))
FORWARDED = (
    f"By={GATEWAYS[0]};Hash=aa;URI={_id(OTHER, 'web')}",
    f"By={GATEWAYS[0]};Hash=aa;URI={_id(OTHER, 'web')},By=x;URI={_id(OWN, 'batch')}",
    f"By={GATEWAYS[0]};Hash=aa;URI={_id('3333.consul', 'batch', partition='retail')}",
    f"By={GATEWAYS[0]};Hash=aa;URI={_id(OTHER, 'batch')}",
    f"URI={_id(OTHER, 'web')}",
    "",
)


def call(draw: random.Random, logged: float) -> dict[str, Any]:
    """A call of which each field was logged with this probability."""
    found: dict[str, Any] = {
        "transport": draw.choice(("http", "http", "http", "tcp")),
        "tls": draw.choice((*["mtls"] * 10, "plaintext", "tls", "unknown")),
    }
    fields: Mapping[str, tuple[Any, ...]] = {
        "source_principal": PRINCIPALS,
        "method": ("GET", "GET", "POST", "HEAD", ""),
        "path": CALL_PATHS,
        "authority": ("red.shop", "Red.shop", ""),
    }
    for name, values in fields.items():
        if draw.random() < logged:
            found[name] = draw.choice(values)
    attributes = {"x-team": HEADERS["x-team"], "x-debug": HEADERS["x-debug"], "x-forwarded-client-cert": FORWARDED}
    found["attributes"] = {
        f"request.headers.{name}": draw.choice(values) for name, values in attributes.items() if draw.random() < logged
    }
    return found


def _header(draw: random.Random) -> Header:
    kind = draw.choice(tuple(HEADER_TEXTS))
    folds = kind not in ("present", "regex") and draw.random() < 0.3
    name = draw.choice(("x-team", "x-team", "x-team", "x-debug", ":method", ":authority"))
    return Header(name, kind, draw.choice(HEADER_TEXTS[kind]), draw.random() < 0.3, folds)


def _permission(draw: random.Random) -> Permission:
    kind: PathKind = draw.choice(("", "exact", "prefix", "prefix", "regex"))
    return Permission(
        allows=draw.random() < 0.6,
        path_kind=kind,
        path=draw.choice(PATHS[kind]) if kind else "",
        headers=tuple(_header(draw) for _ in range(draw.choice((0, 0, 0, 1, 2)))),
        methods=draw.choice(METHODS) if draw.random() < 0.25 else (),
        providers=("okta",) if draw.random() < 0.1 else (),
    )


def _source(draw: random.Random, with_permissions: bool) -> Source:
    kind = draw.random()
    namespace = draw.choice(NAMESPACES)
    name = "*" if namespace == "*" or draw.random() < 0.3 else draw.choice(NAMES)
    count = draw.choice((0, 0, 1, 2, 3)) if with_permissions else 0
    return Source(
        name=name,
        namespace=namespace,
        partition="retail" if kind < 0.08 else "",
        peer=draw.choice(("east", "east", "west", "south")) if 0.1 < kind < 0.25 else "",
        group="everywhere" if 0.25 < kind < 0.29 else "",
        allows=None if count else draw.random() < 0.6,
        permissions=tuple(_permission(draw) for _ in range(count)),
    )


def entry(draw: random.Random, number: int) -> ServiceIntentions:
    """Intentions for one destination."""
    namespace = draw.choice((*["default"] * 6, "shop", "*"))
    destination = "*" if namespace == "*" else draw.choice((*["api"] * 6, "*", "*", "other"))
    sources = {
        (one.name, one.namespace, one.partition, one.peer, one.group): one
        for one in (_source(draw, destination != "*") for _ in range(draw.choice((1, 2, 3, 4))))
    }
    return ServiceIntentions(
        namespace=namespace,
        name=f"{destination}-{number}",
        destination=destination,
        destination_namespace=namespace,
        destination_partition=draw.choice((*["default"] * 9, "retail")),
        sources=tuple(sources.values()),
        providers=("okta", "auth0") if draw.random() < 0.1 else (),
    )


def defaults(draw: random.Random) -> Defaults:
    """What is said of one service, or of all."""
    of_all = draw.random() < 0.4
    return Defaults(
        namespace=draw.choice(("default", "shop")),
        name="global" if of_all else draw.choice(("api", "other")),
        of_all=of_all,
        protocol=draw.choice(("", "http", "grpc", "tcp", "http2")),
        mutual_tls=draw.choice(("", "", "strict", "permissive")),
        exposed_paths=draw.choice(((), (), ("/admin", "/api"))),
        exposes_checks=draw.random() < 0.1,
    )


def documents(draw: random.Random) -> list[Document]:
    """Entries and defaults, in any order."""
    found: list[Document] = [entry(draw, number) for number in range(draw.choice((0, 1, 2, 3, 3)))]
    if draw.random() < 0.35:
        found.extend(defaults(draw) for _ in range(draw.choice((1, 2))))
    draw.shuffle(found)
    return found
