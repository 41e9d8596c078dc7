"""The words in which a world is written down: services, operations, the calls between them, who starts them.

A `Topology` is data only. `cluster` gives it pods and addresses, `traffic` walks it. Times are in the unit of their
name; shares are probabilities in 0..1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Protocol = Literal["http", "grpc", "tcp"]
Runtime = Literal["go", "java", "node", "python", "envoy", "native"]
Shipper = Literal["fluentbit", "plain"]
Kind = Literal["Deployment", "StatefulSet", "CronJob"]


@dataclass(frozen=True, slots=True)
class Version:
    """One workload behind a service name. `pace` multiplies the time its own code takes."""

    name: str = "v1"
    share: float = 1.0
    replicas: int = 2
    pace: float = 1.0


@dataclass(frozen=True, slots=True)
class Service:
    """A service of the cluster, in or out of the mesh."""

    namespace: str
    name: str
    protocol: Protocol = "http"
    port: int = 8080
    target_port: int = 8080
    runtime: Runtime = "go"
    kind: Kind = "Deployment"
    versions: tuple[Version, ...] = (Version(),)
    account: str = ""
    """Service account; empty = named like the service."""
    meshed: bool = True
    """Has a sidecar (or is one: a gateway)."""
    logs: bool = True
    """The sidecar writes an access log."""
    traced: bool = False
    """The application sends spans and passes `traceparent` on."""
    gateway: bool = False
    served: bool = True
    """Has a Kubernetes Service, that is: somebody may call it."""
    shipper: Shipper = "fluentbit"

    @property
    def id(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"

    @property
    def host(self) -> str:
        """Its name in the cluster's DNS."""
        return f"{self.name}.{self.namespace}.svc.cluster.local"

    @property
    def principal(self) -> str:
        """The SPIFFE id in the certificate of its sidecar."""
        return f"spiffe://cluster.local/ns/{self.namespace}/sa/{self.account or self.name}"


@dataclass(frozen=True, slots=True)
class External:
    """A host outside.

    `way` is how the mesh sees it: `opened` (a ServiceEntry, HTTP visible to the sidecar), `sealed` (the application
    itself speaks TLS, the sidecar sees a connection with an SNI) or `passthrough` (nobody declared the host).
    """

    host: str
    address: str
    port: int
    way: Literal["opened", "sealed", "passthrough"]

    @property
    def id(self) -> str:
        """`external:HOST`."""
        return f"external:{self.host}"


Place = Service | External


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong with a call, each as the share of calls it befalls; at most one does."""

    retried: float = 0.0
    """The first attempt meets a 503 of the application, the caller's sidecar tries again."""
    no_healthy: float = 0.0
    """UH: no healthy endpoint, nothing leaves the caller's sidecar."""
    unreachable: float = 0.0
    """UF and URX: connecting fails, however often it is tried."""
    reset: float = 0.0
    """UC: the application closes the connection under its own sidecar."""
    timed_out: float = 0.0
    """UT: the caller's sidecar gives up after `timeout_ms`."""
    denied: float = 0.0
    """The destination's sidecar refuses by `policy`."""
    hung_up: float = 0.0
    """DC: the client outside goes away (journeys through a gateway only)."""
    policy: str = "none"
    """What stands in `rbac_access_denied_matched_policy[...]`; `none` = no ALLOW rule matched."""
    timeout_ms: int = 2000


NOTHING_WRONG = Faults()


@dataclass(frozen=True, slots=True)
class Call:
    """A request to another operation."""

    to: str
    share: float = 1.0
    alongside: bool = False
    """Runs in parallel with the step before it."""
    required: bool = False
    """When it fails, the caller's own operation fails."""
    faults: Faults = NOTHING_WRONG
    plaintext: bool = False
    """The caller's sidecar is told to do without mutual TLS."""
    incident: str = ""
    """Name of the incident that it belongs to."""


@dataclass(frozen=True, slots=True)
class Query:
    """A statement over a pooled connection: a client span if the caller is traced, never an access-log line."""

    system: Literal["postgresql", "redis"]
    store: str
    verb: str
    subject: str
    took_ms: float
    share: float = 1.0
    alongside: bool = False
    required: bool = False


@dataclass(frozen=True, slots=True)
class Publish:
    """A message to a topic; `to` is the operation that consumes it, after `lag_ms`."""

    topic: str
    broker: str
    to: str
    lag_ms: float = 40.0
    share: float = 1.0
    alongside: bool = False
    required: bool = False


Step = Call | Query | Publish


@dataclass(frozen=True, slots=True)
class Operation:
    """What a service does when asked.

    `path` may hold `{product}`, `{user}`, `{order}` (a UUID), `{word}` and `{page}`; for gRPC it is
    `/package.Service/Method`. `statuses` are the answers other than the usual one (HTTP status, or gRPC status for a
    gRPC service) with their shares. `own_ms` is the median of the time its own code takes, `spread` the sigma of that
    lognormal.
    """

    service: str
    name: str
    method: str
    path: str
    own_ms: float
    spread: float = 0.35
    ok: int = 200
    statuses: Mapping[int, float] = field(default_factory=dict[int, float])
    steps: tuple[Step, ...] = ()
    request_bytes: int = 0
    response_bytes: int = 900
    inner: str = ""
    """Name of an internal span around the steps, if the service is traced."""

    @property
    def id(self) -> str:
        """`namespace/service:name`."""
        return f"{self.service}:{self.name}"


@dataclass(frozen=True, slots=True)
class Pool:
    """Pooled TCP connections between two services, opened independently of requests."""

    source: str
    destination: str
    per_minute: float
    lasts_s: float
    bytes_sent: int = 20_000
    bytes_received: int = 6_000
    unreachable: float = 0.0
    denied: float = 0.0
    policy: str = "none"
    active_us: tuple[int, int] | None = None
    """Opened only between these times (microseconds since 1970); None = always."""
    incident: str = ""
    """Name of the incident that it belongs to."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a job runs: every `every_s` seconds of epoch time, shifted by `offset_s`, for about `lasts_s`."""

    every_s: int
    offset_s: int
    lasts_s: float


@dataclass(frozen=True, slots=True)
class Journey:
    """Something that starts calls: people through the gateway, an old system, a job.

    With a `schedule`, `per_second` counts only while a run lasts; without, it follows the day's curve
    when `diurnal`.
    """

    name: str
    caller: str
    call: Call
    per_second: float
    diurnal: bool = True
    schedule: Schedule | None = None
    active_us: tuple[int, int] | None = None
    """Only between these times (microseconds since 1970); None = always."""


@dataclass(frozen=True)
class Topology:
    """A whole world as data. References are checked when it is made.

    Raises:
        ValueError: naming the reference that leads nowhere.
    """

    name: str
    services: tuple[Service, ...]
    externals: tuple[External, ...]
    operations: tuple[Operation, ...]
    pools: tuple[Pool, ...]
    journeys: tuple[Journey, ...]

    def __post_init__(self) -> None:
        places = self.places
        operations = self.by_operation
        for operation in self.operations:
            if operation.service not in places:
                raise ValueError(f"operation {operation.id}: no service or host {operation.service}")
            for step in operation.steps:
                self._check(operation.id, step, places, operations)
        for pool in self.pools:
            for end in (pool.source, pool.destination):
                if not isinstance(places.get(end), Service):
                    raise ValueError(f"pool {pool.source} -> {pool.destination}: no service {end}")
        for journey in self.journeys:
            if not isinstance(places.get(journey.caller), Service):
                raise ValueError(f"journey {journey.name}: no service {journey.caller}")
            self._check(f"journey {journey.name}", journey.call, places, operations)

    @staticmethod
    def _check(where: str, step: Step, places: Mapping[str, Place], operations: Mapping[str, Operation]) -> None:
        if isinstance(step, Query):
            if not isinstance(places.get(step.store), Service):
                raise ValueError(f"{where}: no service {step.store}")
            return
        if step.to not in operations:
            raise ValueError(f"{where}: no operation {step.to}")
        if isinstance(step, Publish) and not isinstance(places.get(step.broker), Service):
            raise ValueError(f"{where}: no service {step.broker}")

    @property
    def places(self) -> dict[str, Place]:
        """Services by `namespace/name` and hosts outside by `external:HOST`."""
        return {place.id: place for place in (*self.services, *self.externals)}

    @property
    def by_operation(self) -> dict[str, Operation]:
        """Operations by `namespace/service:name`."""
        return {operation.id: operation for operation in self.operations}

    def service(self, id: str) -> Service:
        """The service `namespace/name`.

        Raises:
            KeyError: when there is none.
        """
        return next(service for service in self.services if service.id == id)
