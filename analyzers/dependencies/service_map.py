"""The service dependency map of a window: edge keys are named in Python, their numbers are summed by the engine.

edge_keys + aliases ──► MapKeys ──► totals (sums of the window), edge_numbers.sql (hour by hour) ──► ServiceMap
"""

from __future__ import annotations

import gc
import math
from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from analyzers.dependencies.faults import FaultsTold
from analyzers.dependencies.histograms import QUANTILES, bounded_quantiles_us, milliseconds, quantiles_us
from analyzers.dependencies.map_keys import ROW_LIMIT, Flags, MapKeys, map_keys
from analyzers.dependencies.metric_rows import metric_slack, without_nameless_metrics
from analyzers.dependencies.model import EVIDENCE_RANK, Direction, Edge, Evidence, Node, NodeKind, ServiceMap
from analyzers.dependencies.names import EXTERNAL, UNKNOWN, split_node
from analyzers.dependencies.proxies import Proxies, injected
from analyzers.dependencies.totals import totals
from analyzers.dependencies.windows import Window
from storage.engine import Engine
from storage.sql import load

SIDES = ("source", "destination")
MINUTE_S = 60
"""The shortest window."""


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
    keys = map_keys(engine)
    window = Window.of(*_bounded(engine, since, until))
    with _no_collection():
        settled = totals(engine, keys, window)
        rows = [*settled.rows, *rows_by_hours(engine, keys, window, settled.unsettled)]
        first, last = _extent(rows)
        shown = (window.since if since else first, window.until if until else last)
        known = injected(keys.pods, window.since, window.until)
        return _assemble(rows, keys.nodes, keys.gateways, known, shown, namespace, service)


@contextmanager
def _no_collection() -> Generator[None]:
    """No search for cycles meanwhile: a large map makes 100 000 objects and no cycle, and searching takes a sixth."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _bounded(engine: Engine, since: datetime | None, until: datetime | None) -> tuple[datetime | None, datetime | None]:
    """The window, where it has no end that of what is stored: a short store is then read by hours, not by days."""
    if since and until:
        return since, until
    stored = engine.query(load("dependencies/days_stored").text).to_pylist()[0]
    return since or stored["first"], until or stored["last"] + timedelta(days=1)


def rows_by_hours(engine: Engine, keys: MapKeys, window: Window, chosen: Flags) -> Sequence[Mapping[str, Any]]:
    """Rows of the chosen edges, whose reporter is chosen hour by hour."""
    if not chosen.any():
        return []
    parameters = {**window.by_hours(), "row_limit": ROW_LIMIT}
    external = {"edge_nodes": keys.table(chosen)}
    return engine.query(load("dependencies/edge_numbers").text, parameters, external=external).to_pylist()


def _assemble(
    rows: Sequence[Mapping[str, Any]],
    nodes: Sequence[str],
    known_gateways: frozenset[str],
    known_sidecars: Mapping[str, bool],
    shown: tuple[datetime | None, datetime | None],
    namespace: str | None,
    service: str | None,
) -> ServiceMap:
    by_edge: dict[tuple[str, str], dict[Evidence, Mapping[str, Any]]] = defaultdict(dict)
    rows = without_nameless_metrics(rows, nodes)
    for row in rows:
        by_edge[nodes[int(row["source"])], nodes[int(row["destination"])]][row["evidence"]] = row
    # A gateway whose name is not known says nothing of the other callers without one.
    gateways = (known_gateways | {nodes[int(row["source"])] for row in rows if row["gateway_rows"]}) - {UNKNOWN}
    proxies = Proxies.of(by_edge.items(), known_sidecars)
    seconds = _seconds(shown)
    edges: list[Edge] = []
    traits: dict[str, tuple[set[str], set[str]]] = {}
    for pair, evidence in by_edge.items():
        if not (_matches(pair, 0, namespace) and _matches(pair, 1, service)):
            continue
        for side, node in zip(SIDES, pair, strict=True):
            versions, principals = traits.setdefault(node, (set(), set()))
            for row in evidence.values():
                versions.update(row[f"{side}_versions"])
                principals.update(row[f"{side}_principals"])
        edges.append(_edge(pair, evidence, pair[0] in gateways, proxies, seconds))
    found = [_node(node, gateways, *traits[node]) for node in sorted(traits)]
    return ServiceMap(*shown, found, sorted(edges, key=lambda edge: (edge.source, edge.destination)))


def _matches(pair: tuple[str, str], part: int, wanted: str | None) -> bool:
    """Whether either end has `wanted` as its namespace (part 0) or service (part 1, also as a whole node id)."""
    return wanted is None or any(split_node(node)[part] == wanted or (part == 1 and node == wanted) for node in pair)


def _edge(
    pair: tuple[str, str],
    evidence: Mapping[Evidence, Mapping[str, Any]],
    from_gateway: bool,
    proxies: Proxies,
    seconds: float | None,
) -> Edge:
    kinds: list[Evidence] = [kind for kind in EVIDENCE_RANK if kind in evidence]
    row = evidence[kinds[0]]
    p50, p95, p99 = _quantiles_ms(row)
    told = FaultsTold.of(row)
    return Edge(
        source=pair[0],
        destination=pair[1],
        direction=_direction(pair, row, from_gateway),
        protocol=_commonest(row["protocols"]),
        requests=row["requests"],
        attempts=row["destination_requests"] if row["destination_rows"] else None,
        errors=row["errors"],
        denied=_denied(evidence, kinds[0]),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        rps=round(row["requests"] / seconds, 6) if seconds else None,
        statuses=_statuses(row),
        grpc_statuses={str(status): count for status, count in sorted(row["grpc_statuses"])},
        faults=dict(sorted(row["faults"])),
        disagreements=[*_disagreements(evidence, kinds, seconds), *proxies.silence(pair, evidence)],
        bypass=proxies.is_bypassed(pair, evidence),
        mtls_share=round(row["mtls"] / row["tls_known"], 6) if row["tls_known"] else None,
        bytes_sent=row["bytes_sent"] if row["sized"] else None,
        bytes_received=row["bytes_received"] if row["sized"] else None,
        evidence=kinds,
        first_seen=min([found["first_ts"] for found in evidence.values()]),
        last_seen=max([found["last_ts"] for found in evidence.values()]),
        principals=_named([found["source_principals"] for found in evidence.values()]),
        faults_by_side=told.by_side,
        failed_by=told.failed_by() if kinds[0] == "log" else {},
    )


def _named(lists: Sequence[Sequence[str]]) -> Sequence[str]:
    """The distinct texts of several lists but the empty one, in order."""
    if len(lists) == 1 and len(lists[0]) == 1:
        return [*filter(None, lists[0])]
    return sorted({text for texts in lists for text in texts if text})


def _quantiles_ms(row: Mapping[str, Any]) -> Sequence[float | None]:
    """p50, p95 and p99 (ms), from our own histogram or, for metrics, from one with bounds of its own."""
    if "quantiles_ms" in row:
        return row["quantiles_ms"]
    return milliseconds(
        quantiles_us(row["histogram"], QUANTILES) or bounded_quantiles_us(row["bounds_histogram"], QUANTILES)
    )


def _statuses(row: Mapping[str, Any]) -> Mapping[str, int]:
    """Requests by HTTP status; 0 = none was sent. Envoy prints 0 for a TCP connection too, which has no status."""
    protocols = row["protocols"]
    connections = len(protocols) == 1 and protocols[0][0] == "tcp"
    return {str(status): count for status, count in sorted(row["statuses"]) if status or not connections}


def _direction(pair: tuple[str, str], row: Mapping[str, Any], from_gateway: bool) -> Direction:
    if pair[1].startswith(EXTERNAL):
        return "egress"
    if from_gateway:
        return "ingress"
    # A host outside that turned out to be a node of ours is east-west, whatever the line's cluster name suggested.
    found = [(name, count) for name, count in row["directions"] if name in ("east_west", "ingress")]
    return "ingress" if _commonest(found) == "ingress" else "east_west"


def _denied(evidence: Mapping[Evidence, Mapping[str, Any]], best: Evidence) -> int | None:
    """Calls that the mesh refused: as the best evidence tells, or as a metric does, if that knows of more.

    A proxy has a counter of refusals once it refused something; it counts some that no log tells (Linkerd's gRPC).
    """
    row = evidence[best]
    told: int | None = row["denied"] if row["verdict_rows"] and best in ("log", "flow") else None
    counted: int = evidence["metric"]["denied"] if "metric" in evidence else 0
    return max(told or 0, counted) if counted else told


def _commonest(counts: Sequence[tuple[str, int]]) -> str | None:
    if len(counts) == 1:
        return counts[0][0] or None
    named = [(count, name) for name, count in counts if name]
    return max(named)[1] if named else None


def _disagreements(
    evidence: Mapping[Evidence, Mapping[str, Any]], kinds: Sequence[Evidence], seconds: float | None
) -> Sequence[Mapping[str, Any]]:
    """What the two sides, or two kinds of evidence, say differently about the number of requests.

    Counters are read once in a while, so a metric's count begins and ends at other moments than the window does. Flows
    count connections, which carry any number of requests: they are not compared.
    """
    found: list[Mapping[str, Any]] = []
    best = evidence[kinds[0]]
    sent, received = best["source_requests"], best["destination_requests"]
    slack = metric_slack(sent, seconds) if kinds[0] == "metric" else 0
    if (best["destination_rows"] and sent > received + slack) or _untold(best, kinds[0], seconds):
        found.append({"what": "requests", "between": ["source", "destination"], "values": [sent, received]})
    for other in kinds[1:]:
        if other == "flow":
            continue
        apart = abs(evidence[other]["requests"] - best["requests"])
        if apart > (metric_slack(best["requests"], seconds) if "metric" in (other, kinds[0]) else 0):
            values = [best["requests"], evidence[other]["requests"]]
            found.append({"what": "requests", "between": [kinds[0], other], "values": values})
    return found


def _untold(row: Mapping[str, Any], kind: Evidence, seconds: float | None) -> bool:
    """Whether the callee tells of more than the caller sent and retried.

    What is tried again had failed, so a retried request succeeds once at most: where the callee knows of more successes
    than the caller, requests are missing in what the caller tells.
    """
    sent, received = row["source_requests"], row["destination_requests"]
    if not sent or received <= sent:
        return False
    succeeded, received_well = (row[f"{side}_requests"] - _failed(row, side) for side in SIDES)
    slack = metric_slack(received, seconds) if kind == "metric" else _clock_slack(received, seconds)
    return received_well - succeeded > slack


def _failed(row: Mapping[str, Any], side: str) -> int:
    """How many of a side's requests failed, whoever's fault it was; traces and metrics blame nobody."""
    blamed = sum(count for told in ("met", "told") for _, count in row[f"{side}_{told}"])
    return max(row[f"{side}_errors"], blamed)


def _clock_slack(requests: int, seconds: float | None) -> float:
    """How many requests one side may have in the window, and the other before it: what the edge carries in a second.

    A window has whole minutes; what is shorter is everything stored, which cuts nothing off.
    """
    expected = requests / seconds if seconds and seconds >= MINUTE_S else 0.0
    return expected + 3 * math.sqrt(expected)


def _node(node: str, gateways: frozenset[str], versions: set[str], principals: set[str]) -> Node:
    namespace, service = split_node(node)
    kind: NodeKind = "service"
    if node == UNKNOWN:
        kind = "unknown"
    elif node.startswith(EXTERNAL):
        kind = "external"
    elif node in gateways:
        kind = "gateway"
    return Node(node, kind, namespace, service, sorted(versions - {""}), sorted(principals - {""}))


def _extent(rows: Sequence[Mapping[str, Any]]) -> tuple[datetime | None, datetime | None]:
    if not rows:
        return None, None
    return min(row["first_ts"] for row in rows), max(row["last_ts"] for row in rows)


def _seconds(shown: tuple[datetime | None, datetime | None]) -> float | None:
    """Length of the window that was counted; None when it is a single moment."""
    start, end = shown
    return None if start is None or end is None or end <= start else (end - start).total_seconds()
