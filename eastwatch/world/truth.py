"""What really happened, counted from the happenings themselves and never from what was printed about them.

Counting follows eastwatch's definition of an edge: `requests`, `errors`, `statuses`, quantiles and bytes are the
caller's proxy's where that side reports, else the callee's, else the spans'; `attempts` and `denied` are the callee's,
null where it never reports; `mtls_share` is null where nobody can know it.
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


@dataclass(slots=True)
class _Edge:
    direction: str
    requests: int = 0
    errors: int = 0
    attempts: int | None = None
    denied: int | None = None
    mtls: int = 0
    plaintext: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    statuses: Counter[str] = field(default_factory=Counter[str])
    protocols: Counter[str] = field(default_factory=Counter[str])
    took_ms: Counter[int] = field(default_factory=Counter[int])
    evidence: set[str] = field(default_factory=set[str])
    first_us: int = 2**62
    last_us: int = 0


class Truth:
    """Accumulates the truth over slices."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._edges: dict[tuple[str, str], _Edge] = {}

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
        ids = sorted({end for edge in self._edges for end in edge})
        return [_node(places[id]) for id in ids]

    def edges(self) -> list[dict[str, Any]]:
        """Every edge with its numbers, ordered by its ends."""
        return [_document(source, destination, edge) for (source, destination), edge in sorted(self._edges.items())]

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
        if calls.client_spans is not None:
            edge.evidence.add("trace")
        source_reports = source.meshed and source.logs
        callee_reports = isinstance(destination, Service) and destination.meshed and destination.logs
        if source_reports or callee_reports:
            edge.evidence.add("log")
        if callee_reports:
            reached = calls.callee_pod >= 0
            lines = int(reached.sum())
            edge.attempts = (edge.attempts or 0) + lines
            edge.denied = (edge.denied or 0) + int((calls.outcome[reached] == Outcome.DENIED).sum())
            if source.meshed:
                edge.mtls += lines
            else:
                edge.plaintext += lines
        if calls.failed_attempt and source_reports:
            return
        if source_reports or not callee_reports:
            start_us, took_us, status, grpc = calls.start_us, calls.duration_us, calls.status, calls.grpc
            counted = np.ones(len(calls), np.bool_)
        else:
            start_us, took_us = calls.server_start_us, calls.server_duration_us
            status, grpc = calls.server_status, calls.server_grpc
            counted = calls.callee_pod >= 0
        sealed = isinstance(destination, External) and destination.way == "sealed"
        if sealed:
            edge.protocols["tcp"] += int(counted.sum())
            edge.errors += int((calls.outcome[counted] == Outcome.UNREACHABLE).sum())
        else:
            # Nothing of ours ends without a status except by DC, which is the client's doing.
            errors = (status >= 500) | GRPC_ERRORS[grpc]
            edge.errors += int(errors[counted].sum())
            edge.statuses.update(map(str, status[counted].tolist()))
            if isinstance(destination, Service) and destination.protocol == "grpc":
                edge.protocols["grpc"] += int(counted.sum())
            elif calls.visitors is not None:
                http2 = int(calls.visitors.http2.sum())
                edge.protocols.update({"http2": http2, "http": len(calls) - http2})
            else:
                edge.protocols["http"] += int(counted.sum())
        _count(edge, start_us[counted], took_us[counted], calls.bytes_sent[counted], calls.bytes_received[counted])

    def _connections(self, connections: Connections) -> None:
        source, destination = connections.source, connections.destination
        edge = self._edge(source, destination)
        edge.evidence |= {"log", "metric"}
        edge.protocols["tcp"] += len(connections)
        edge.errors += int((connections.outcome == Outcome.UNREACHABLE).sum())
        if destination.meshed and destination.logs:
            reached = connections.callee_pod >= 0
            edge.attempts = (edge.attempts or 0) + int(reached.sum())
            edge.denied = (edge.denied or 0) + int((connections.outcome == Outcome.DENIED).sum())
            edge.mtls += int(reached.sum())
        _count(
            edge,
            connections.start_us,
            connections.duration_us,
            connections.bytes_sent,
            connections.bytes_received,
        )

    def _queries(self, queries: Queries) -> None:
        store = self._topology.service(queries.query.store)
        edge = self._edge(queries.source, store)
        edge.evidence.add("trace")
        pooled = any(p.source == queries.source.id and p.destination == store.id for p in self._topology.pools)
        if not pooled:
            # No proxy speaks of it: the spans are all there is.
            edge.protocols["database"] += len(queries.pod)
            _count(edge, queries.start_us, queries.duration_us, None, None)

    def _deliveries(self, deliveries: Deliveries) -> None:
        edge = self._edge(deliveries.source, deliveries.destination)
        edge.evidence.add("trace")
        edge.protocols["messaging"] += len(deliveries.producer_pod)
        _count(edge, deliveries.consumer_start_us, deliveries.consumer_duration_us, None, None)


def _count(edge: _Edge, start_us: Ints, took_us: Ints, sent: Ints | None, received: Ints | None) -> None:
    if len(start_us) == 0:
        return
    edge.requests += len(start_us)
    whole_ms, counts = np.unique(took_us // 1000, return_counts=True)
    edge.took_ms.update(dict(zip(whole_ms.tolist(), counts.tolist(), strict=True)))
    if sent is not None and received is not None:
        edge.bytes_sent += int(sent.sum())
        edge.bytes_received += int(received.sum())
    edge.first_us = min(edge.first_us, int(start_us.min()))
    edge.last_us = max(edge.last_us, int(start_us.max()))


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
    known = edge.mtls + edge.plaintext
    values: NDArray[np.int64] = np.array(sorted(edge.took_ms), np.int64)
    ranks = np.cumsum([edge.took_ms[value] for value in values.tolist()])
    proxied = "log" in edge.evidence
    return {
        "source": source,
        "destination": destination,
        "direction": edge.direction,
        "protocol": edge.protocols.most_common(1)[0][0] if edge.protocols else None,
        "requests": edge.requests,
        "attempts": edge.attempts,
        "errors": edge.errors,
        "denied": edge.denied,
        "mtls_share": edge.mtls / known if known else None,
        "statuses": dict(sorted(edge.statuses.items())),
        **{f"p{p}_ms": _nearest_rank(values, ranks, p) for p in (50, 95, 99)},
        "bytes_sent": edge.bytes_sent if proxied else None,
        "bytes_received": edge.bytes_received if proxied else None,
        "evidence": [kind for kind in ("log", "metric", "trace") if kind in edge.evidence],
        "first_seen": time_text(edge.first_us),
        "last_seen": time_text(edge.last_us),
    }


def _nearest_rank(values: NDArray[np.int64], ranks: NDArray[np.int64], percent: int) -> int | None:
    if len(values) == 0:
        return None
    rank = -(-percent * int(ranks[-1]) // 100)
    return int(values[np.searchsorted(ranks, rank)])


def time_text(at_us: int) -> str:
    """RFC 3339, UTC, microseconds."""
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{at_us % 1_000_000:06d}Z"
