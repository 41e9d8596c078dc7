"""The mesh of the end-to-end tests: which services there are, who calls whom and how, what must be seen of it.

`SHOP` is declared here and nowhere else. `envoy_config` makes Envoy configurations from it, `envoy_apps` the programs
behind the sidecars, `envoy_inventory` the Kubernetes documents. The truth is counted by the programs themselves
(`Ledger`): what they called and what reached them, never what a proxy logged.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Protocol = Literal["http", "grpc", "tcp"]
Transport = Literal["mtls", "plaintext", "tls_origination", "passthrough"]

RBAC_BODY = b"RBAC: access denied"


@dataclass(frozen=True, slots=True)
class Service:
    """One workload: a program, its address and, unless `sidecar` is off, its Envoy.

    `namespace` is empty for a host outside the mesh, whose `name` is then the host name.
    """

    name: str
    namespace: str = ""
    version: str = "v1"
    protocol: Protocol = "http"
    port: int = 8080
    sidecar: bool = True
    logs: bool = True
    gateway: bool = False
    down: bool = False
    """Known to the cluster, but nothing listens at its address."""
    allowed_callers: tuple[str, ...] = ()
    """Service ids that an authorization policy lets in; empty = no policy."""

    @property
    def id(self) -> str:
        """The node's name in the map."""
        return f"{self.namespace}/{self.name}" if self.namespace else f"external:{self.name}"

    @property
    def outside(self) -> bool:
        """True for a host that is no part of the cluster."""
        return not self.namespace

    @property
    def host(self) -> str:
        """The name by which it is called."""
        return f"{self.name}.{self.namespace}.svc.cluster.local" if self.namespace else self.name

    @property
    def service_account(self) -> str:
        """Istio's gateways have an account of their own name."""
        return f"{self.name}-service-account" if self.gateway else self.name

    @property
    def principal(self) -> str:
        """SPIFFE id in its certificate."""
        return f"spiffe://cluster.local/ns/{self.namespace}/sa/{self.service_account}"

    @property
    def proxied(self) -> bool:
        """True when an Envoy stands before it or is it."""
        return (self.sidecar or self.gateway) and not self.down

    @property
    def reports(self) -> bool:
        """True when its proxy writes an access log."""
        return self.proxied and self.logs

    @property
    def reports_inbound(self) -> bool:
        """True when its proxy logs the calls it receives from the mesh (a gateway's callers are outside)."""
        return self.reports and not self.gateway


@dataclass(frozen=True, slots=True)
class Call:
    """`source` calls `destination` while it works on an entry request (numbered from 0) that `every` divides."""

    source: str
    destination: str
    method: str = "GET"
    path: str = "/"
    """`{n}` is the entry request's number."""
    every: int = 1
    transport: Transport = "mtls"
    status: int = 200
    failed_status: int = 500
    fails_every: int = 0
    """Entry requests divisible by this are answered with `failed_status` (gRPC: that code in `grpc-status`)."""
    retried_every: int = 0
    """Entry requests divisible by this get a 503 at first, and the answer when the caller's proxy tries again."""

    def answers(self, entry: int) -> tuple[int, ...]:
        """What the callee answers to each attempt in turn."""
        final = self.failed_status if self.fails_every and entry % self.fails_every == 0 else self.status
        return (503, final) if self.retried_every and entry % self.retried_every == 0 else (final,)


@dataclass(frozen=True, slots=True)
class Topology:
    """Services by id and the calls between them; the calls of one source are made in the given order."""

    services: Mapping[str, Service]
    calls: tuple[Call, ...]
    entry: str

    @classmethod
    def of(cls, entry: str, services: tuple[Service, ...], calls: tuple[Call, ...]) -> Topology:
        """Check that every call is between declared services and build the topology."""
        by_id = {service.id: service for service in services}
        for call in calls:
            if call.source not in by_id or call.destination not in by_id:
                raise ValueError(f"call {call.source} -> {call.destination} names a service that is not declared")
        pairs = Counter((call.source, call.destination) for call in calls)
        if twice := [pair for pair, n in pairs.items() if n > 1]:
            raise ValueError(
                f"{twice[0][0]} calls {twice[0][1]} twice: attempts are told apart by caller and entry only"
            )
        return cls(by_id, calls, entry)

    def calls_from(self, source: str) -> tuple[Call, ...]:
        """Calls that `source` makes."""
        return tuple(call for call in self.calls if call.source == source)


GATEWAY = "istio-system/istio-ingressgateway"
LEGACY = "legacy/batch"

SHOP = Topology.of(
    GATEWAY,
    (
        Service("istio-ingressgateway", "istio-system", gateway=True, sidecar=False),
        Service("frontend", "shop"),
        Service("catalog", "shop"),
        Service("cart", "shop", version="v2"),
        Service("recommendations", "shop", logs=False),
        Service("currency", "shop", protocol="grpc"),
        Service("checkout", "shop"),
        Service("redis", "shop", protocol="tcp", port=6379),
        Service("ads", "shop", down=True),
        Service("payment", "payments", allowed_callers=("shop/checkout",)),
        Service("batch", "legacy", sidecar=False),
        Service("api.fraud.example", port=443, sidecar=False),
        Service("cdn.example", port=80, sidecar=False),
        Service("telemetry.example", protocol="tcp", port=443, sidecar=False),
    ),
    (
        Call(GATEWAY, "shop/frontend"),
        Call("shop/frontend", "shop/catalog", path="/products/{n}", fails_every=8),
        Call("shop/frontend", "shop/cart", method="POST", path="/cart/{n}/items?source=page", transport="plaintext"),
        Call("shop/frontend", "shop/recommendations", path="/recommendations?user={n}"),
        Call("shop/frontend", "shop/currency", "POST", "/shop.Currency/Convert", fails_every=10, failed_status=13),
        Call("shop/frontend", "shop/checkout", "POST", "/checkout", every=2),
        Call("shop/frontend", "shop/ads", path="/ads", every=10),
        Call("shop/cart", "shop/redis"),
        Call("shop/cart", "external:telemetry.example", every=5, transport="passthrough"),
        Call("shop/recommendations", "shop/catalog", path="/products/{n}", status=404),
        Call("shop/recommendations", "payments/payment", path="/cards/{n}", every=10),
        Call("shop/recommendations", "external:cdn.example", path="/img/{n}.png", every=4, transport="plaintext"),
        Call("shop/checkout", "payments/payment", "POST", "/charge", every=2, retried_every=4),
        Call("shop/checkout", "external:api.fraud.example", "POST", "/score", every=2, transport="tls_origination"),
        Call(LEGACY, "shop/catalog", path="/export/{n}", every=3, transport="plaintext"),
    ),
)


@dataclass(frozen=True, slots=True)
class TrueEdge:
    """What the map must say of one edge. `None` where nobody who reports can know."""

    source: str
    destination: str
    direction: str
    protocol: str
    requests: int
    attempts: int | None
    errors: int
    denied: int
    statuses: Mapping[str, int] | None
    mtls_share: float | None
    evidence: frozenset[str]


@dataclass
class Ledger:
    """What the programs did: calls by caller, callee and final answer, and arrivals at each callee. Thread-safe."""

    made: Counter[tuple[str, str, int, int]] = field(default_factory=Counter)
    """(source, destination, HTTP status, gRPC status): calls; both 0 for a TCP connection."""
    denied: Counter[tuple[str, str]] = field(default_factory=Counter)
    arrived: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Attempts that reached the callee's program (a denied one does not)."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def call(self, source: str, destination: str, status: int, grpc_status: int = 0, *, denied: bool = False) -> None:
        """Note one call and how it ended for the caller."""
        with self._lock:
            self.made[source, destination, status, grpc_status] += 1
            if denied:
                self.denied[source, destination] += 1

    def arrival(self, source: str, destination: str) -> None:
        """Note one attempt that reached a program."""
        with self._lock:
            self.arrived[source, destination] += 1

    def requests(self, source: str, destination: str) -> int:
        """Calls made."""
        return sum(n for (s, d, _, _), n in self.made.items() if (s, d) == (source, destination))

    def attempts(self, source: str, destination: str) -> int:
        """Attempts that reached the callee's side, its proxy included."""
        return self.arrived[source, destination] + self.denied[source, destination]


def truth(topology: Topology, ledger: Ledger) -> dict[tuple[str, str], TrueEdge]:
    """Every edge that the telemetry of this mesh can show, with exact numbers.

    Counting rules of the design: the source's lines where it reports, else the destination's; without any log, spans.
    """
    edges: dict[tuple[str, str], TrueEdge] = {}
    for call in topology.calls:
        source, destination = topology.services[call.source], topology.services[call.destination]
        pair = (source.id, destination.id)
        if not ledger.requests(*pair):
            continue
        by_callee = destination.reports_inbound and not source.reports
        answers: Counter[tuple[int, int]] = Counter()
        for (s, d, status, grpc_status), n in ledger.made.items():
            if (s, d) == pair:
                answers[status, grpc_status] += n
        spans = source.proxied and destination.protocol != "tcp" and call.transport != "passthrough"
        edges[pair] = TrueEdge(
            source=source.id,
            destination=destination.id,
            direction="ingress" if source.gateway else "egress" if destination.outside else "east_west",
            protocol=destination.protocol,
            requests=ledger.attempts(*pair) if by_callee else ledger.requests(*pair),
            attempts=ledger.attempts(*pair) if destination.reports_inbound else None,
            errors=sum(n for (status, grpc), n in answers.items() if status >= 500 or grpc in {2, 4, 13, 14, 15}),
            denied=ledger.denied[pair],
            statuses=None if destination.protocol == "tcp" else _statuses(answers),
            mtls_share=float(call.transport == "mtls") if destination.reports_inbound else None,
            evidence=frozenset({"log"} if source.reports or destination.reports_inbound else set())
            | frozenset({"trace"} if spans else set()),
        )
    return edges


def _statuses(answers: Mapping[tuple[int, int], int]) -> dict[str, int]:
    statuses: Counter[str] = Counter()
    for (status, _), n in answers.items():
        statuses[str(status)] += n
    return dict(statuses)


def expected_lines(topology: Topology, ledger: Ledger, service: Service) -> int:
    """Access-log lines that the proxy of `service` must have written."""
    if not service.reports:
        return 0
    pairs = [(call.source, call.destination) for call in topology.calls]
    out = sum(ledger.requests(s, d) for s, d in pairs if s == service.id)
    return out + (sum(ledger.attempts(s, d) for s, d in pairs if d == service.id) if service.reports_inbound else 0)


def expected_spans(topology: Topology, ledger: Ledger) -> int:
    """Spans that all proxies together must have sent: one per HTTP request as each of them saw it."""
    spans = 0
    for s, d in [(call.source, call.destination) for call in topology.calls]:
        source, destination = topology.services[s], topology.services[d]
        if destination.protocol == "tcp":
            continue
        spans += ledger.requests(s, d) if source.proxied else 0
        spans += ledger.attempts(s, d) if destination.proxied and not destination.gateway else 0
    return spans
