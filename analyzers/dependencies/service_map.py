"""The service dependency map of a window: edge keys are named in Python, their numbers are summed by the engine.

endpoints + aliases ──► Names ──► endpoint_nodes (external table) ──► edge_numbers.sql ──► ServiceMap
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from analyzers.dependencies.histograms import quantiles_us
from analyzers.dependencies.model import EVIDENCE_RANK, Direction, Edge, Evidence, Node, NodeKind, ServiceMap
from analyzers.dependencies.names import EXTERNAL, UNKNOWN, Alias, Endpoint, Names, split_node
from storage.engine import Engine
from storage.sql import load

ROW_LIMIT = 1_000_000
"""Most endpoints, aliases and edges that one map reads."""

EARLIEST = datetime(1971, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE = timedelta(minutes=1)

SIDES = ("source", "destination")


def service_map(
    engine: Engine,
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    namespace: str | None = None,
    service: str | None = None,
) -> ServiceMap:
    """The map of the calls that began in [since, until), by default of everything stored.

    Minutes are the finest grain of the rollups: `since` is rounded down to one and `until` up, and the map says so.

    Args:
        namespace: keep edges with an end in this namespace.
        service: keep edges with an end at this service (its name, or `namespace/name`).

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    endpoints = _endpoints(engine)
    names = Names(_aliases(engine), endpoints.values())
    placed, nodes = _place(endpoints, names)
    window = _Window.of(since, until)
    rows = engine.query(
        load("dependencies/edge_numbers").text,
        {**window.parameters(), "row_limit": ROW_LIMIT},
        external={"endpoint_nodes": placed},
    ).to_pylist()
    first, last = _extent(rows)
    shown = (window.head_since if since else first, window.tail_until if until else last)
    return _assemble(rows, nodes, names.gateways, shown, namespace, service)


def _endpoints(engine: Engine) -> Mapping[int, Endpoint]:
    """Every side of an edge key of the store, by its hash."""
    rows = engine.query(load("dependencies/endpoints").text, {"row_limit": ROW_LIMIT}).to_pylist()
    return {row.pop("endpoint"): Endpoint(**row) for row in rows}


def _aliases(engine: Engine) -> Sequence[Alias]:
    table = engine.query(load("dependencies/aliases").text, {"row_limit": ROW_LIMIT})
    return [
        Alias(
            kind=row["kind"],
            cluster=row["cluster"],
            name_namespace=row["name_namespace"],
            name=row["name"],
            valid_from=_micros(row["valid_from"]),
            valid_to=_micros(row["valid_to"]),
            namespace=row["namespace"],
            workload=row["workload"],
            service=row["service"],
            is_gateway=bool(row["is_gateway"]),
        )
        for row in table.to_pylist()
    ]


@dataclass(frozen=True, slots=True)
class _Window:
    """A window cut into a ragged head in minutes, whole hours, and a ragged tail in minutes."""

    head_since: datetime
    hours_since: datetime
    hours_until: datetime
    tail_until: datetime

    @classmethod
    def of(cls, since: datetime | None, until: datetime | None) -> _Window:
        start = max(since or EARLIEST, EARLIEST).astimezone(UTC).replace(second=0, microsecond=0)
        end = min(until or LATEST, LATEST).astimezone(UTC)
        if end.second or end.microsecond:
            end = end.replace(second=0, microsecond=0) + _MINUTE
        first_hour = start if start.minute == 0 else start.replace(minute=0) + timedelta(hours=1)
        last_hour = end.replace(minute=0)
        if last_hour <= first_hour:
            return cls(start, end, end, end)
        return cls(start, first_hour, last_hour, end)

    def parameters(self) -> dict[str, datetime]:
        return {
            "head_since": self.head_since,
            "head_until": self.hours_since,
            "hours_since": self.hours_since,
            "hours_until": self.hours_until,
            "tail_since": self.hours_until,
            "tail_until": self.tail_until,
        }


def _place(endpoints: Mapping[int, Endpoint], names: Names) -> tuple[pa.Table, Sequence[str]]:
    """The external table endpoint_nodes, and the id of each of its node numbers."""
    numbers: dict[str, int] = {}
    rows = [
        (endpoint, numbers.setdefault(segment.node, len(numbers)), segment.valid_from, segment.valid_to)
        for endpoint, described in endpoints.items()
        for segment in names.segments(described)
    ]
    schema = pa.schema(
        [
            ("endpoint", pa.uint64()),
            ("node", pa.uint32()),
            ("valid_from", pa.timestamp("us", "UTC")),
            ("valid_to", pa.timestamp("us", "UTC")),
        ]
    )
    end = _micros(LATEST)
    columns = [
        [row[0] for row in rows],
        [row[1] for row in rows],
        [min(row[2], end) for row in rows],
        [min(row[3], end) for row in rows],
    ]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema), list(numbers)


def _assemble(
    rows: Sequence[Mapping[str, Any]],
    nodes: Sequence[str],
    known_gateways: set[str],
    shown: tuple[datetime | None, datetime | None],
    namespace: str | None,
    service: str | None,
) -> ServiceMap:
    by_edge: dict[tuple[str, str], dict[Evidence, Mapping[str, Any]]] = defaultdict(dict)
    for row in rows:
        by_edge[nodes[int(row["source"])], nodes[int(row["destination"])]][row["evidence"]] = row
    gateways = known_gateways | {nodes[int(row["source"])] for row in rows if row["gateway_rows"]}
    seconds = _seconds(shown)
    edges: list[Edge] = []
    traits: dict[str, tuple[set[str], set[str]]] = {}
    for pair, evidence in by_edge.items():
        if not (_matches(pair, 0, namespace) and _matches(pair, 1, service)):
            continue
        for side, node in zip(SIDES, pair, strict=True):
            versions, principals = traits.setdefault(node, (set(), set()))
            for row in evidence.values():
                versions.update(filter(None, row[f"{side}_versions"]))
                principals.update(filter(None, row[f"{side}_principals"]))
        edges.append(_edge(pair, evidence, pair[0] in gateways, seconds))
    found = [_node(node, gateways, *traits[node]) for node in sorted(traits)]
    return ServiceMap(*shown, found, sorted(edges, key=lambda edge: (edge.source, edge.destination)))


def _matches(pair: tuple[str, str], part: int, wanted: str | None) -> bool:
    """Whether either end has `wanted` as its namespace (part 0) or service (part 1, also as a whole node id)."""
    return wanted is None or any(split_node(node)[part] == wanted or (part == 1 and node == wanted) for node in pair)


def _edge(
    pair: tuple[str, str],
    evidence: Mapping[Evidence, Mapping[str, Any]],
    from_gateway: bool,
    seconds: float | None,
) -> Edge:
    kinds: list[Evidence] = [kind for kind in EVIDENCE_RANK if kind in evidence]
    row = evidence[kinds[0]]
    quantiles = quantiles_us(row["histogram"], (0.5, 0.95, 0.99))
    p50, p95, p99 = (None, None, None) if quantiles is None else [round(q / 1000, 6) for q in quantiles]
    return Edge(
        source=pair[0],
        destination=pair[1],
        direction=_direction(pair, row, from_gateway),
        protocol=_commonest(row["protocols"]),
        requests=row["requests"],
        attempts=row["destination_requests"] if row["destination_rows"] else None,
        errors=row["errors"],
        denied=row["denied"] if row["verdict_rows"] and kinds[0] == "log" else None,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        rps=round(row["requests"] / seconds, 6) if seconds else None,
        statuses=_statuses(row),
        grpc_statuses={str(status): count for status, count in sorted(row["grpc_statuses"])},
        faults=dict(sorted(row["faults"])),
        disagreements=_disagreements(evidence, kinds),
        bypass=False,
        mtls_share=round(row["mtls"] / row["tls_known"], 6) if row["tls_known"] else None,
        bytes_sent=row["bytes_sent"] if row["sized"] else None,
        bytes_received=row["bytes_received"] if row["sized"] else None,
        evidence=kinds,
        first_seen=min(found["first_ts"] for found in evidence.values()),
        last_seen=max(found["last_ts"] for found in evidence.values()),
        principals=sorted({p for found in evidence.values() for p in found["source_principals"] if p}),
    )


def _statuses(row: Mapping[str, Any]) -> Mapping[str, int]:
    """Requests by HTTP status; 0 = none was sent. Envoy prints 0 for a TCP connection too, which has no status."""
    connections = {protocol for protocol, _ in row["protocols"]} == {"tcp"}
    return {str(status): count for status, count in sorted(row["statuses"]) if status or not connections}


def _direction(pair: tuple[str, str], row: Mapping[str, Any], from_gateway: bool) -> Direction:
    if pair[1].startswith(EXTERNAL):
        return "egress"
    if from_gateway:
        return "ingress"
    # A host outside that turned out to be a node of ours is east-west, whatever the line's cluster name suggested.
    found = [(name, count) for name, count in row["directions"] if name in ("east_west", "ingress")]
    return "ingress" if _commonest(found) == "ingress" else "east_west"


def _commonest(counts: Sequence[tuple[str, int]]) -> str | None:
    named = [(count, name) for name, count in counts if name]
    return max(named)[1] if named else None


def _disagreements(
    evidence: Mapping[Evidence, Mapping[str, Any]], kinds: Sequence[Evidence]
) -> Sequence[Mapping[str, Any]]:
    """What the two sides, or two kinds of evidence, say differently about the number of requests."""
    found: list[Mapping[str, Any]] = []
    best = evidence[kinds[0]]
    sent, received = best["source_requests"], best["destination_requests"]
    if best["destination_rows"] and sent > received:
        found.append({"what": "requests", "between": ["source", "destination"], "values": [sent, received]})
    for other in kinds[1:]:
        if evidence[other]["requests"] != best["requests"]:
            values = [best["requests"], evidence[other]["requests"]]
            found.append({"what": "requests", "between": [kinds[0], other], "values": values})
    return found


def _node(node: str, gateways: set[str], versions: set[str], principals: set[str]) -> Node:
    namespace, service = split_node(node)
    kind: NodeKind = "service"
    if node == UNKNOWN:
        kind = "unknown"
    elif node.startswith(EXTERNAL):
        kind = "external"
    elif node in gateways:
        kind = "gateway"
    return Node(node, kind, namespace, service, sorted(versions), sorted(principals))


def _extent(rows: Sequence[Mapping[str, Any]]) -> tuple[datetime | None, datetime | None]:
    if not rows:
        return None, None
    return min(row["first_ts"] for row in rows), max(row["last_ts"] for row in rows)


def _seconds(shown: tuple[datetime | None, datetime | None]) -> float | None:
    """Length of the window that was counted; None when it is a single moment."""
    start, end = shown
    return None if start is None or end is None or end <= start else (end - start).total_seconds()


def _micros(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)
