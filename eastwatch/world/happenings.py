"""What happened in one slice of simulated time, as columns: the facts from which every wire format is printed.

`traffic` makes them; `access_log`, `spans`, `metrics` and `truth` read them. All times are microseconds since 1970, all
durations microseconds, before anybody rounds them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from eastwatch.world.model import Operation, Place, Pool, Publish, Query, Service

Ints = NDArray[np.int64]
Ids = NDArray[np.uint64]
"""Span ids as one word each, shape (n,); trace and request ids as two, shape (n, 2)."""


class Outcome(IntEnum):
    """How a call ended, as the two sidecars know it."""

    ANSWERED = 0
    RETRIED = 1
    NO_HEALTHY = 2
    UNREACHABLE = 3
    RESET = 4
    TIMED_OUT = 5
    DENIED = 6
    HUNG_UP = 7


def one_of(*codes: int) -> NDArray[np.bool_]:
    """A table to index with small codes (-1 .. 30): is it one of these? Much faster than `np.isin` on short columns."""
    table = np.zeros(32, np.bool_)
    table[list(codes)] = True
    return table


NOT_REACHED = one_of(Outcome.NO_HEALTHY, Outcome.UNREACHABLE)
ANSWERED = one_of(Outcome.ANSWERED, Outcome.RETRIED)
HANDLED = one_of(Outcome.ANSWERED, Outcome.RETRIED, Outcome.TIMED_OUT, Outcome.HUNG_UP)
"""The application ran, whoever still waited for it."""

GRPC_ERRORS = one_of(2, 4, 13, 14, 15)
"""gRPC statuses that count as errors."""


@dataclass(slots=True)
class Visitors:
    """People outside, as the gateway sees them."""

    address: NDArray[np.uint32]
    agent: Ints
    """Index into `traffic.AGENTS`."""
    http2: NDArray[np.bool_]


@dataclass(slots=True)
class ClientSpans:
    """The caller's own view: its span around each call."""

    trace: Ids
    span: Ids
    parent: Ids
    start_us: Ints
    duration_us: Ints


@dataclass(slots=True)
class ServerSpans:
    """The callee's own view. Only the rows that its code handled: `row` are indices into the calls."""

    row: Ints
    trace: Ids
    span: Ids
    parent: Ids
    """0 = a root: the caller passed no context on."""
    start_us: Ints
    duration_us: Ints
    code: Ints


@dataclass(slots=True)
class Calls:
    """Calls of one service to one operation, one row each.

    `start_us` and `duration_us` are the caller's sidecar's (the caller's own, outside the mesh), `server_*` the
    callee's sidecar's. `status` and `grpc` (-1 = none) are what each side logs.
    """

    source: Service
    destination: Place
    operation: Operation
    policy: str
    caller_pod: Ints
    callee_pod: Ints
    """-1 where nothing of the cluster was reached."""
    outcome: Ints
    start_us: Ints
    duration_us: Ints
    server_start_us: Ints
    server_duration_us: Ints
    status: Ints
    grpc: Ints
    server_status: Ints
    server_grpc: Ints
    bytes_sent: Ints
    bytes_received: Ints
    attempts: Ints
    request: Ids
    paths: list[str]
    ports: Ints
    """Shape (n, 3): application to its sidecar, sidecar to sidecar, sidecar to application."""
    visitors: Visitors | None = None
    client_spans: ClientSpans | None = None
    server_spans: ServerSpans | None = None
    plaintext: bool = False
    """The caller's sidecar used no mutual TLS, although it could."""
    failed_attempt: bool = False
    """First attempts that the caller's sidecar repeated: only the callee's side speaks of them."""
    incident: str = ""
    """Name of the incident that they belong to."""

    @property
    def secured(self) -> bool:
        """Whether the callee saw the caller's certificate."""
        return self.source.meshed and not self.plaintext

    def __len__(self) -> int:
        return len(self.start_us)


@dataclass(slots=True)
class Queries:
    """Statements over pooled connections, as spans of a traced caller."""

    source: Service
    query: Query
    pod: Ints
    trace: Ids
    span: Ids
    parent: Ids
    start_us: Ints
    duration_us: Ints


@dataclass(slots=True)
class Deliveries:
    """Messages through a broker: a producer's span and the consumer's below it."""

    source: Service
    destination: Service
    operation: Operation
    publish: Publish
    producer_pod: Ints
    consumer_pod: Ints
    trace: Ids
    parent: Ids
    producer_span: Ids
    producer_start_us: Ints
    producer_duration_us: Ints
    consumer_span: Ids
    consumer_start_us: Ints
    consumer_duration_us: Ints


@dataclass(slots=True)
class Inner:
    """Internal spans around an operation's steps."""

    service: Service
    name: str
    pod: Ints
    trace: Ids
    span: Ids
    parent: Ids
    start_us: Ints
    duration_us: Ints


@dataclass(slots=True)
class Connections:
    """TCP connections of one pool."""

    source: Service
    destination: Service
    pool: Pool
    caller_pod: Ints
    callee_pod: Ints
    outcome: Ints
    start_us: Ints
    duration_us: Ints
    bytes_sent: Ints
    bytes_received: Ints
    ports: Ints

    def __len__(self) -> int:
        return len(self.start_us)


@dataclass(slots=True)
class Happenings:
    """Everything that began in one slice of time (and what followed from it, even later)."""

    calls: list[Calls] = field(default_factory=list[Calls])
    queries: list[Queries] = field(default_factory=list[Queries])
    deliveries: list[Deliveries] = field(default_factory=list[Deliveries])
    inner: list[Inner] = field(default_factory=list[Inner])
    connections: list[Connections] = field(default_factory=list[Connections])
