"""The service dependency map as a document: nodes, edges, and what is known of each.

Units are in the names, times are UTC, what is not known is None (`null` in the document), never 0 or "".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

Direction = Literal["east_west", "ingress", "egress"]
NodeKind = Literal["service", "gateway", "external", "unknown"]
Evidence = Literal["log", "metric", "trace", "flow"]

EVIDENCE_RANK: tuple[Evidence, ...] = ("log", "metric", "trace", "flow")
"""Kinds of evidence, the one whose numbers count first."""


def rfc3339(time: datetime | None) -> str | None:
    """A UTC time as RFC 3339 text with `Z`, microseconds only where there are any."""
    return None if time is None else time.astimezone(UTC).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Node:
    """A service, gateway, host outside (`external:HOST`) or the unknown caller (`unknown`)."""

    id: str
    kind: NodeKind
    namespace: str | None
    service: str | None
    versions: Sequence[str] = ()
    principals: Sequence[str] = ()

    def to_document(self) -> dict[str, Any]:
        """The node as JSON-ready values."""
        return {**asdict(self), "versions": list(self.versions), "principals": list(self.principals)}


class Edge(NamedTuple):
    """All calls from one node to another in the window, counted as docs/counting.md says."""

    source: str
    destination: str
    direction: Direction
    protocol: str | None
    requests: int
    attempts: int | None
    errors: int
    denied: int | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    rps: float | None
    statuses: Mapping[str, int]
    grpc_statuses: Mapping[str, int]
    faults: Mapping[str, int]
    disagreements: Sequence[Mapping[str, Any]]
    bypass: bool
    mtls_share: float | None
    bytes_sent: int | None
    bytes_received: int | None
    evidence: Sequence[Evidence]
    first_seen: datetime
    last_seen: datetime
    principals: Sequence[str] = ()
    faults_by_side: Mapping[str, Mapping[str, int]] = MappingProxyType({})
    failed_by: Mapping[str, int] = MappingProxyType({})

    @property
    def error_rate(self) -> float:
        """Errors divided by requests; 0 for an edge without requests."""
        return self.errors / self.requests if self.requests else 0.0

    def to_document(self) -> dict[str, Any]:
        """The edge as JSON-ready values."""
        document = self._asdict()
        document.update(
            statuses=dict(self.statuses),
            grpc_statuses=dict(self.grpc_statuses),
            faults=dict(self.faults),
            faults_by_side={side: dict(faults) for side, faults in self.faults_by_side.items()},
            failed_by=dict(self.failed_by),
            disagreements=[dict(item) for item in self.disagreements],
            evidence=list(self.evidence),
            principals=list(self.principals),
            first_seen=rfc3339(self.first_seen),
            last_seen=rfc3339(self.last_seen),
        )
        return document


@dataclass(frozen=True, slots=True)
class ServiceMap:
    """Nodes and edges of a window [since, until); both None when the store is empty and no window was asked for."""

    since: datetime | None
    until: datetime | None
    nodes: Sequence[Node] = field(default_factory=tuple[Node, ...])
    edges: Sequence[Edge] = field(default_factory=tuple[Edge, ...])

    def to_document(self) -> dict[str, Any]:
        """The map as the JSON document of `eastwatch map --json`."""
        return {
            "since": rfc3339(self.since),
            "until": rfc3339(self.until),
            "nodes": [node.to_document() for node in self.nodes],
            "edges": [edge.to_document() for edge in self.edges],
        }
