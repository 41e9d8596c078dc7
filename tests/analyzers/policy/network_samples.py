"""Random NetworkPolicies, workloads and calls that have something to do with each other."""

from __future__ import annotations

import ipaddress
import random
from typing import Any

from analyzers.policy.kubernetes.model import NAME_LABEL, Block, NetworkPolicy, Peer, Port, Rule
from analyzers.policy.selectors import Requirement, Selector
from analyzers.policy.workloads import Cluster, Labels, Workload

ODD = 'it\'s "odd"\\{p0:String}'
"""Names come from log lines, so from strangers."""


def _workload(namespace: str, name: str, *labels: Labels, **ports: tuple[int, ...]) -> Workload:
    return Workload(namespace, name, labels=labels, ports=ports)


ORDERS = _workload("shop", "orders", {"app": "orders", "version": "v1"}, http=(8080,), admin=(9090, 9091))
_KNOWN = (
    ORDERS,
    _workload("shop", "web", {"app": "web", "tier": "front"}),
    _workload("shop", "cart", {"app": "cart", "version": "v1"}, {"app": "cart", "version": "v2"}, http=(8080,)),
    _workload("shop", "ghost"),
    _workload("shop", ODD, {"app": "web"}),
    _workload("bank", "ledger", {"app": "ledger", "tier": "back"}, http=(8081,)),
    _workload("bank", "web", {"app": "web"}),
    _workload("lab", "probe", {"app": "web"}),
)
CLUSTERS = (
    Cluster(
        workloads={(one.namespace, one.name): one for one in _KNOWN},
        namespaces={"shop": {"team": "a", NAME_LABEL: "shop"}, "bank": {"team": "b", "env": "prod"}, "idle": {}},
    ),
    Cluster(),
)
DESTINATIONS = (
    *(ORDERS, ORDERS, ORDERS),
    *(_KNOWN[2], _KNOWN[5], _KNOWN[7]),
    Workload("shop", service="orders"),
)
CALLERS: tuple[tuple[str | None, str | None], ...] = (
    *(("shop", "web"), ("shop", "web"), ("shop", "cart"), ("shop", "ghost"), ("shop", ODD), ("shop", "new")),
    *(("bank", "ledger"), ("bank", "web"), ("lab", "probe"), ("gone", "x"), ("idle", "x")),
    *(("shop", None), ("bank", None), ("lab", None), (None, None), (None, "web")),
)
PODS = (
    *(Selector(), Selector(), Selector()),
    *(
        Selector((one,))
        for one in (
            Requirement("app", "In", ("web",)),
            Requirement("app", "In", ("orders", "cart")),
            Requirement("app", "NotIn", ("web",)),
            Requirement("version", "In", ("v2",)),
            Requirement("tier", "Exists"),
            Requirement("tier", "DoesNotExist"),
        )
    ),
    Selector((Requirement("app", "In", ("orders", "ledger")), Requirement("tier", "DoesNotExist"))),
)
NAMESPACES = (
    *(Selector(), Selector()),
    *(
        Selector((one,))
        for one in (
            Requirement("team", "In", ("a",)),
            Requirement("env", "NotIn", ("prod",)),
            Requirement("env", "DoesNotExist"),
            Requirement(NAME_LABEL, "In", ("bank", "gone")),
            Requirement(NAME_LABEL, "NotIn", ("shop", "gone")),
            Requirement(NAME_LABEL, "Exists"),
            Requirement(NAME_LABEL, "DoesNotExist"),
        )
    ),
    Selector((Requirement(NAME_LABEL, "In", ("shop", "lab")), Requirement("team", "Exists"))),
)
NETWORKS = tuple(
    Block(ipaddress.ip_network(whole), tuple(ipaddress.ip_network(one) for one in exceptions))
    for whole, *exceptions in (
        ("10.0.0.0/8", "10.1.0.0/16"),
        ("10.1.2.0/24",),
        ("0.0.0.0/0",),
        ("0.0.0.0/0", "192.0.2.0/24", "10.9.0.0/16"),
        ("::/0", "fd00::/8"),
        ("fd00::/8",),
    )
)
PORTS = (
    *(Port(low=8080, high=8080), Port(low=8000, high=8999), Port(low=9091, high=9091), Port()),
    *(Port(name="http"), Port(name="http"), Port(name="admin"), Port(name="nosuch")),
    *(Port("UDP", 53, 53), Port("SCTP"), Port("UDP", name="http")),
)
CALL_VALUES: dict[str, tuple[Any, ...]] = {
    "source_ip": ("10.1.2.3", "10.2.2.2", "192.0.2.7", "fd00::7", "2001:db8::1"),
    "destination_ip": ("10.9.9.9", "10.1.2.9", "fd00::9"),
    "destination_port": (8080, 8080, 8081, 9090, 9091, 65535),
}


def call(random: random.Random, logged: float) -> dict[str, Any]:
    """A call of which each address and the port was logged with this probability."""
    found: dict[str, Any] = {"transport": random.choice(("http", "tcp")), "attributes": {}}
    namespace, workload = random.choice(CALLERS) if random.random() < logged + 0.2 else (None, None)
    for name, value in (("source_namespace", namespace), ("source_workload", workload)):
        if value is not None:
            found[name] = value
    for name, values in CALL_VALUES.items():
        if random.random() < logged:
            found[name] = random.choice(values)
    return found


def _peer(random: random.Random) -> Peer:
    match random.choice(("pods", "pods", "namespaces", "namespaces", "both", "block", "block")):
        case "pods":
            return Peer(pods=random.choice(PODS))
        case "namespaces":
            return Peer(namespaces=random.choice(NAMESPACES))
        case "both":
            return Peer(random.choice(PODS), random.choice(NAMESPACES))
        case _:
            return Peer(block=random.choice(NETWORKS))


def _rules(random: random.Random, common: float) -> tuple[Rule, ...] | None:
    if random.random() > common:
        return None
    return tuple(
        Rule(
            tuple(_peer(random) for _ in range(random.choice((0, 1, 1, 1, 1, 2)))),
            tuple(random.choice(PORTS) for _ in range(random.choice((0, 0, 1, 2)))),
        )
        for _ in range(random.choice((0, 1, 1, 1, 2)))
    )


def policy(random: random.Random, number: int) -> NetworkPolicy:
    """One policy, of one of three namespaces."""
    return NetworkPolicy(
        namespace=random.choice(("shop", "shop", "shop", "shop", "shop", "bank", "lab")),
        name=f"p{number}",
        pods=random.choice(PODS),
        ingress=_rules(random, 0.85),
        egress=_rules(random, 0.5),
    )
