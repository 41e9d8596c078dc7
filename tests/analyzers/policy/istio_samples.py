"""Random policies and calls of Istio that have something to do with each other."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from analyzers.policy.istio.model import GATEWAY, Action, AuthorizationPolicy, Matchers, Mesh, Rule, TargetRef, When
from analyzers.policy.workloads import Workload

MESHES = (
    Mesh(),
    Mesh(trust_domain="prod.example", trust_domain_aliases=("cluster.local", "old.example")),
)
TARGETS = (
    TargetRef("gateway.networking.k8s.io", "Gateway", "edge"),
    TargetRef("gateway.networking.k8s.io", "GatewayClass", "istio-waypoint"),
    TargetRef("", "Service", "orders"),
    TargetRef("", "Service", "cart"),
)
WORKLOADS = (
    Workload("shop", service="orders", labels=({"app": "orders", "version": "v1"},)),
    Workload("shop", labels=({"app": "orders", "version": "v1"}, {"app": "orders", "version": "v2"})),
    Workload("shop"),
    Workload("istio-system", labels=({"app": "gateway"},)),
    Workload("shop", labels=({"app": "edge", GATEWAY: "edge"},)),
)
PRINCIPALS = (
    "spiffe://cluster.local/ns/shop/sa/web",
    'spiffe://cluster.local/ns/shop/sa/it\'s "odd"\\',
    "spiffe://old.example/ns/shop/sa/web",
    "spiffe://prod.example/ns/batch/sa/report",
    "spiffe://cluster.local/ns/shop-a/r/x/sa/web/1",
    "spiffe://cluster.local",
)
VALUES: Mapping[str, tuple[str, ...]] = {
    "principals": (
        *(
            "cluster.local/ns/shop/sa/web",
            "prod.example/ns/batch/sa/report",
            "*",
            "*/sa/web",
            "cluster.local/ns/shop/*",
        ),
        *(
            "spiffe://cluster.local/ns/shop/sa/web",
            "*.example/ns/shop/sa/web",
            "*x*",
            'cluster.local/ns/shop/sa/it\'s "odd"\\',
        ),
    ),
    "namespaces": ("shop", "batch", "shop*", "*", "s*p", "sh.p", "*-a"),
    "serviceAccounts": ("web", "batch/report", "shop/web", "r.port"),
    "trustDomains": ("cluster.local", "*", "*.example", "prod.example", "cluster*", "c.uster.local"),
    "requestPrincipals": (
        *("https://id.example/ann", "*", "*/ann", "https://id.example/*", "*nn", "https://*", "plain"),
        *("*.example/ann", "https://id.example/a*", "pl*"),
    ),
    "ipBlocks": ("10.0.0.0/8", "10.1.2.3", "::/0", "fd00::/8", "0.0.0.0/0"),
    "remoteIpBlocks": ("203.0.113.0/24", "10.0.0.0/8", "2001:db8::/32"),
    "hosts": ("orders.shop:8080", "ORDERS.shop", "*.shop", "orders*", "*"),
    "methods": ("GET", "POST", "P*", "*", "get"),
    "paths": (
        *("/admin", "/admin*", "*.css", "*", "/orders/{*}", "/orders/{**}", "/{**}/items", "/orders/{*}/items/{*}"),
        *("/a'b\\", "/o.ders", "/%41"),
    ),
    "ports": ("8080", "9090", "0"),
}
CALL_VALUES: Mapping[str, tuple[Any, ...]] = {
    "source_principal": (*PRINCIPALS, ""),
    "source_ip": ("10.1.2.3", "192.0.2.7", "fd00::7", "::1"),
    "source_remote_ip": ("203.0.113.9", "10.4.4.4", "2001:db8::9", "::"),
    "destination_ip": ("10.9.9.9", "fd00::9"),
    "destination_port": (8080, 9090, 65535),
    "authority": ("orders.shop:8080", "orders.shop", "Orders.Shop:8080", "other.example", ""),
    "method": ("GET", "POST", "PUT", ""),
    "sni": ("", "outbound_.8080_._.orders.shop.svc.cluster.local", "x'y", "invalid:x_y"),
    "path": (
        *(
            "/admin",
            "/admin?x=1",
            "/administer",
            "/orders/17",
            "/orders/17/items/3#top",
            "/orders/",
            "/orders",
            "//items",
        ),
        *("/style.css", "/a'b\\", "/orders/a=b", "/orders/a b", "/orders/a\nb", "", "/oXders", "/%41", "/x/y/items"),
    ),
}
ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "request.headers.x-team": ("red", "blue", "", "-", "r'e\\d"),
    "request.auth.principal": (
        *("https://id.example/ann", "https://id.example/bob", "", "plain/ann", "noslash"),
        *("-/-", "plain/", "https://id.example/-", "https:/x/ann"),
    ),
    "request.auth.audiences": ("shop", '["shop","bank"]', "", "bank.example", "[]", '[""]', '["x,\\"shop",1,"bak"]'),
    "request.auth.presenter": ("web", "", '["web"]'),
    "experimental.envoy.filters.x[key]": ("on", ""),
    "downstream_peer_fingerprint_256": ("5f3a", "", "-"),
}
KEYS: Mapping[str, tuple[str, ...]] = {
    "request.headers[X-Team]": ("red", "r*", "*d", "*", "r'e\\d"),
    "source.ip": VALUES["ipBlocks"],
    "remote.ip": VALUES["remoteIpBlocks"],
    "destination.ip": ("10.9.0.0/16", "fd00::/16"),
    "source.namespace": VALUES["namespaces"],
    "source.principal": VALUES["principals"],
    "source.serviceAccount": VALUES["serviceAccounts"],
    "source.trustDomain": VALUES["trustDomains"],
    "request.auth.principal": VALUES["requestPrincipals"],
    "request.auth.audiences": ("shop", "b*", "*k", "*", '*"shop'),
    "request.auth.presenter": ("web", "*"),
    "request.auth.claims[group]": ("admin",),
    "destination.port": VALUES["ports"],
    "connection.sni": ("outbound_*", "*", "x'y"),
    "experimental.envoy.filters.x[key]": ("on", "*"),
}
SOURCES = (
    *("principals", "namespaces", "serviceAccounts", "trustDomains", "requestPrincipals", "ipBlocks", "remoteIpBlocks"),
)
OPERATIONS = ("hosts", "methods", "paths", "ports")


def call(random: random.Random, logged: float) -> dict[str, Any]:
    """A call of which each field was logged with this probability."""
    tls = random.choice(("mtls", "mtls", "plaintext", "tls", "unknown"))
    found: dict[str, Any] = {"transport": random.choice(("http", "http", "http", "tcp")), "tls": tls}
    for name, values in CALL_VALUES.items():
        if random.random() < logged:
            found[name] = random.choice(values)
    found["attributes"] = {
        name: random.choice(values) for name, values in ATTRIBUTES.items() if random.random() < logged
    }
    return found


def _matchers(random: random.Random, names: tuple[str, ...]) -> Matchers:
    found: dict[str, tuple[str, ...]] = {}
    for name in random.sample(names, random.choice((1, 1, 1, 2))):
        values = tuple(random.choices(VALUES[name], k=random.choice((1, 1, 2))))
        found[name if random.random() < 0.75 else f"not{name[0].upper()}{name[1:]}"] = values
    return found


def _when(random: random.Random) -> When:
    key = random.choice(tuple(KEYS))
    values = tuple(random.choices(KEYS[key], k=random.choice((1, 2))))
    kind = random.random()
    not_values = tuple(random.choices(KEYS[key], k=1)) if kind < 0.3 else ()
    return When(key, () if 0.15 < kind < 0.3 else values, not_values)


def policy(random: random.Random, number: int, attached: float = 0.15) -> AuthorizationPolicy:
    """One policy, whether its own validation would take it or not; `attached`: how likely to a gateway or service."""
    action: Action = random.choice((*["ALLOW"] * 6, *["DENY"] * 4, "AUDIT", "CUSTOM"))
    rules = tuple(
        Rule(
            tuple(_matchers(random, SOURCES) for _ in range(random.choice((0, 1, 1, 2)))),
            tuple(_matchers(random, OPERATIONS) for _ in range(random.choice((0, 0, 1, 2)))),
            tuple(_when(random) for _ in range(random.choice((0, 0, 0, 1)))),
        )
        for _ in range(random.choice((0, 1, 1, 1, 2, 3) * 3 + (12,)))
    )
    selector = random.choice(({}, {}, {}, {"app": "orders"}, {"app": "orders", "version": "v2"}))
    targets = (random.choice(TARGETS),) if random.random() < attached else ()
    return AuthorizationPolicy(
        namespace=random.choice(("shop", "shop", "shop", "istio-system", "istio-system", "other")),
        name=f"p{number}",
        action=action,
        rules=rules,
        selector={} if targets else selector,
        targets=targets,
        dry_run=random.random() < 0.1,
    )
