"""What really happened, counted from the happenings themselves and never from what was printed about them.

Counting follows eastwatch's definition of an edge: `requests`, `errors`, `statuses`, quantiles and bytes are the
caller's proxy's where that side reports, else the callee's, else the spans'; `attempts` are the callee's lines (its
spans, where no proxy speaks), `denied` its refusals, both null where it never reports; `mtls_share` is null where
nobody can know it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eastwatch.world.happenings import GRPC_ERRORS, Calls, Connections, Deliveries, Happenings, Ints, Outcome, Queries
from eastwatch.world.model import External, Place, Service, Topology

Mask = NDArray[np.bool_]

_NOTHING = np.zeros(0, np.int64)


@dataclass(slots=True)
class _Tally:
    """Calls counted from one kind of evidence."""

    requests: int = 0
    errors: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    statuses: Counter[str] = field(default_factory=Counter[str])
    protocols: Counter[str] = field(default_factory=Counter[str])
    took_ms: Counter[int] = field(default_factory=Counter[int])
    first_us: int = 2**62
    last_us: int = 0

    def add(self, protocol: str, start_us: Ints, took_us: Ints, sent: Ints, received: Ints) -> None:
        if len(start_us) == 0:
            return
        self.requests += len(start_us)
        self.protocols[protocol] += len(start_us)
        whole_ms, counts = np.unique(took_us // 1000, return_counts=True)
        self.took_ms.update(dict(zip(whole_ms.tolist(), counts.tolist(), strict=True)))
        self.bytes_sent += int(sent.sum())
        self.bytes_received += int(received.sum())
        self.first_us = min(self.first_us, int(start_us.min()))
        self.last_us = max(self.last_us, int(start_us.max()))


@dataclass(slots=True)
class _Edge:
    direction: str
    logged: _Tally = field(default_factory=_Tally)
    """From the lines of the side that counts."""
    traced: _Tally = field(default_factory=_Tally)
    """From spans: these count where no proxy speaks."""
    attempts: int | None = None
    denied: int | None = None
    mtls: int = 0
    plaintext: int = 0
    evidence: set[str] = field(default_factory=set[str])

    @property
    def seen(self) -> bool:
        """Whether anybody could tell: a call that its caller did not log and that reached nobody left no trace."""
        return bool(self.logged.requests or self.traced.requests)


@dataclass(slots=True)
class Done:
    """What an incident did with one operation of one callee: `operation` is `METHOD path`, empty for connections.

    `policy` is what the callee's lines name where they refuse.
    """

    source: str
    destination: str
    operation: str
    policy: str | None
    let_through: int = 0
    refused: int = 0


class Truth:
    """Accumulates the truth over slices."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._edges: dict[tuple[str, str], _Edge] = {}
        self._done: dict[str, dict[tuple[str, str, str], Done]] = {}

    def add(self, happenings: Happenings) -> None:
        """Count what happened."""
        for calls in happenings.calls:
            self._calls(calls)
        for connections in happenings.connections:
            self._connections(connections)
        for queries in happenings.queries:
            self._queries(queries)
        for deliveries in happenings.deliveries:
            self._deliveries(deliveries)

    def nodes(self) -> list[dict[str, Any]]:
        """Every node that an edge touches."""
        places = self._topology.places
        ids = sorted({end for ends, edge in self._edges.items() if edge.seen for end in ends})
        return [_node(places[id]) for id in ids]

    def edges(self) -> list[dict[str, Any]]:
        """Every edge with its numbers, ordered by its ends."""
        return [_document(*ends, edge) for ends, edge in sorted(self._edges.items()) if edge.seen]

    def done(self, incident: str) -> list[Done]:
        """What reached a callee of an incident's calls, by callee and operation; nothing for others."""
        return [done for _, done in sorted(self._done.get(incident, {}).items())]

    def seen_us(self, source: str, destination: str) -> tuple[int, int]:
        """When the first and the last request of an edge began, microseconds since 1970."""
        edge = self._edges[source, destination]
        tally = edge.logged if edge.logged.requests else edge.traced
        return tally.first_us, tally.last_us

    def _note(self, incident: str, source: str, destination: str, operation: str, policy: str, denied: Mask) -> None:
        """The outcomes of an incident's calls that reached the callee."""
        refused = int(denied.sum())
        known = self._done.setdefault(incident, {})
        done = known.setdefault((source, destination, operation), Done(source, destination, operation, None))
        done.policy = policy if refused else done.policy
        done.let_through += len(denied) - refused
        done.refused += refused

    def _edge(self, source: Service, destination: Place) -> _Edge:
        key = (source.id, destination.id)
        if key not in self._edges:
            east_west = "ingress" if source.gateway else "east_west"
            self._edges[key] = _Edge("egress" if isinstance(destination, External) else east_west)
        return self._edges[key]

    def _calls(self, calls: Calls) -> None:
        source, destination = calls.source, calls.destination
        edge = self._edge(source, destination)
        if source.meshed:
            # A caller without a sidecar is `unknown` in the callee's metrics: they name no edge.
            edge.evidence.add("metric")
        source_reports = source.meshed and source.logs
        callee_reports = isinstance(destination, Service) and destination.meshed and destination.logs
        if callee_reports:
            self._received(edge, calls)
        if calls.incident:
            operation = f"{calls.operation.method} {calls.operation.path.partition('?')[0]}"
            denied = calls.outcome[calls.callee_pod >= 0] == Outcome.DENIED
            self._note(calls.incident, source.id, destination.id, operation, calls.policy, denied)
        if calls.client_spans is not None:
            edge.evidence.add("trace")
            self._client_spans(edge, calls)
        if source_reports and not calls.failed_attempt:
            edge.evidence.add("log")
            self._lines(edge, calls, np.arange(len(calls)), calls.status, calls.grpc, calls.start_us, calls.duration_us)
        elif callee_reports and not source_reports:
            rows = np.flatnonzero(calls.callee_pod >= 0)
            edge.evidence.add("log")
            self._lines(
                edge, calls, rows, calls.server_status, calls.server_grpc, calls.server_start_us,
                calls.server_duration_us,
            )  # fmt: skip

    @staticmethod
    def _received(edge: _Edge, calls: Calls) -> None:
        """The callee's lines, one for each attempt that reached it."""
        reached = calls.callee_pod >= 0
        lines = int(reached.sum())
        edge.attempts = (edge.attempts or 0) + lines
        edge.denied = (edge.denied or 0) + int((calls.outcome[reached] == Outcome.DENIED).sum())
        if calls.secured:
            edge.mtls += lines
        else:
            edge.plaintext += lines

    @staticmethod
    def _lines(
        edge: _Edge, calls: Calls, rows: Ints, status: Ints, grpc: Ints, start_us: Ints, took_us: Ints
    ) -> None:  # fmt: skip
        """The lines of the side that counts."""
        tally, destination = edge.logged, calls.destination
        status, start_us, took_us = status[rows], start_us[rows], took_us[rows]
        sent, received = calls.bytes_sent[rows], calls.bytes_received[rows]
        if isinstance(destination, External) and destination.way == "sealed":
            tally.errors += int((calls.outcome[rows] == Outcome.UNREACHABLE).sum())
            tally.add("tcp", start_us, took_us, sent, received)
            return
        # Nothing of ours ends without a status except by DC, which is the client's doing and no error.
        tally.errors += int(((status >= 500) | GRPC_ERRORS[grpc[rows]]).sum())
        tally.statuses.update(map(str, status.tolist()))
        if calls.visitors is not None:
            for protocol, chosen in (("http2", calls.visitors.http2), ("http", ~calls.visitors.http2)):
                tally.add(protocol, start_us[chosen], took_us[chosen], sent[chosen], received[chosen])
            return
        grpc_spoken = isinstance(destination, Service) and destination.protocol == "grpc"
        tally.add("grpc" if grpc_spoken else "http", start_us, took_us, sent, received)

    @staticmethod
    def _client_spans(edge: _Edge, calls: Calls) -> None:
        spans, destination = calls.client_spans, calls.destination
        assert spans is not None
        grpc = isinstance(destination, Service) and destination.protocol == "grpc"
        failed = calls.grpc != 0 if grpc else (calls.status >= 400) | (calls.status == 0)
        edge.traced.errors += int(failed.sum())
        edge.traced.add("grpc" if grpc else "http", spans.start_us, spans.duration_us, _NOTHING, _NOTHING)

    def _connections(self, connections: Connections) -> None:
        destination = connections.destination
        edge = self._edge(connections.source, destination)
        edge.evidence |= {"log", "metric"}
        pool = connections.pool
        if pool.incident:
            denied = connections.outcome[connections.callee_pod >= 0] == Outcome.DENIED
            self._note(pool.incident, pool.source, pool.destination, "", pool.policy, denied)
        edge.logged.errors += int((connections.outcome == Outcome.UNREACHABLE).sum())
        edge.logged.add(
            "tcp",
            connections.start_us,
            connections.duration_us,
            connections.bytes_sent,
            connections.bytes_received,
        )
        if destination.meshed and destination.logs:
            reached = int((connections.callee_pod >= 0).sum())
            edge.attempts = (edge.attempts or 0) + reached
            edge.denied = (edge.denied or 0) + int((connections.outcome == Outcome.DENIED).sum())
            edge.mtls += reached

    def _queries(self, queries: Queries) -> None:
        edge = self._edge(queries.source, self._topology.service(queries.query.store))
        edge.evidence.add("trace")
        edge.traced.add("database", queries.start_us, queries.duration_us, _NOTHING, _NOTHING)

    def _deliveries(self, deliveries: Deliveries) -> None:
        """The producer's span is the request, the consumer's is its arrival."""
        edge = self._edge(deliveries.source, deliveries.destination)
        edge.evidence.add("trace")
        edge.attempts = (edge.attempts or 0) + len(deliveries.consumer_pod)
        edge.traced.add("messaging", deliveries.producer_start_us, deliveries.producer_duration_us, _NOTHING, _NOTHING)


def _node(place: Place) -> dict[str, Any]:
    if isinstance(place, External):
        return {
            "id": place.id, "kind": "external", "namespace": None, "service": place.host, "versions": [],
            "principals": [],
        }  # fmt: skip
    return {
        "id": place.id,
        "kind": "gateway" if place.gateway else "service",
        "namespace": place.namespace,
        "service": place.name,
        "versions": [version.name for version in place.versions],
        "principals": [place.principal] if place.meshed else [],
    }


def _document(source: str, destination: str, edge: _Edge) -> dict[str, Any]:
    tls_known = edge.mtls + edge.plaintext
    proxied = edge.logged.requests > 0
    tally = edge.logged if proxied else edge.traced
    values: NDArray[np.int64] = np.array(sorted(tally.took_ms), np.int64)
    ranks = np.cumsum([tally.took_ms[value] for value in values.tolist()])
    return {
        "source": source,
        "destination": destination,
        "direction": edge.direction,
        "protocol": tally.protocols.most_common(1)[0][0],
        "requests": tally.requests,
        "attempts": edge.attempts,
        "errors": tally.errors,
        "denied": edge.denied,
        "mtls_share": round(edge.mtls / tls_known, 6) if tls_known else None,
        "statuses": dict(sorted(tally.statuses.items())),
        **{f"p{p}_ms": _nearest_rank(values, ranks, p) for p in (50, 95, 99)},
        "bytes_sent": tally.bytes_sent if proxied else None,
        "bytes_received": tally.bytes_received if proxied else None,
        "evidence": [kind for kind in ("log", "metric", "trace") if kind in edge.evidence],
        "first_seen": time_text(tally.first_us),
        "last_seen": time_text(tally.last_us),
    }


def _nearest_rank(values: NDArray[np.int64], ranks: NDArray[np.int64], percent: int) -> int:
    rank = -(-percent * int(ranks[-1]) // 100)
    return int(values[np.searchsorted(ranks, rank)])


def time_text(at_us: int) -> str:
    """RFC 3339, UTC, microseconds."""
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{at_us % 1_000_000:06d}Z"
