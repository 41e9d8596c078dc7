"""The slow, obvious way from calls to the numbers of the map: one call at a time, as docs/counting.md tells it.

Endpoints are taken as already named (namespace and service known): names have tests of their own.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Call = Mapping[str, Any]


@dataclass
class Numbers:
    """What the map says of one edge."""

    requests: int
    attempts: int | None
    denied: int | None
    errors: int
    statuses: dict[str, int]
    faults: dict[str, int]
    mtls_share: float | None
    bytes_sent: int
    quantiles_us: list[float]


def numbers(calls: Iterable[Call]) -> dict[tuple[str, str], Numbers]:
    """The numbers of every edge (source, destination)."""
    edges: dict[tuple[str, str], list[Call]] = defaultdict(list)
    for call in calls:
        edges[_node(call, "source"), _node(call, "destination")].append(call)
    return {edge: _numbers(lines) for edge, lines in edges.items()}


def _numbers(lines: Sequence[Call]) -> Numbers:
    hours: dict[Any, list[Call]] = defaultdict(list)
    for line in lines:
        hours[line["ts"].replace(minute=0, second=0, microsecond=0)].append(line)
    counted = [line for hour in hours.values() for line in _counted(hour)]
    destination = [line for hour in hours.values() for line in _comparable(hour) if line["reporter"] == "destination"]
    # A row that stands for several calls is so many lines; its bytes are those of all of them.
    sent = sum(line["bytes_sent"] for line in counted)
    lines, counted = _weighted(lines), _weighted(counted)
    destination = _weighted(destination)
    refusing = [line for line in lines if line["reporter"] in ("destination", "gateway", "waypoint")]
    known = [line for line in refusing if line["tls"] in ("mtls", "tls", "plaintext")]
    durations = sorted(line["duration_us"] for line in counted)
    return Numbers(
        requests=len(counted),
        attempts=len(destination) if destination else None,
        denied=sum(line["verdict"] == "denied" for line in refusing) if refusing else None,
        errors=sum(_failed(line) for line in counted),
        statuses={str(k): v for k, v in sorted(Counter(_statuses(counted)).items())},
        faults=dict(sorted(Counter(line["fault"] for line in counted if line["fault"] != "none").items())),
        mtls_share=sum(line["tls"] == "mtls" for line in known) / len(known) if known else None,
        bytes_sent=sent,
        quantiles_us=[durations[max(math.ceil(q * len(durations)), 1) - 1] for q in (0.5, 0.95, 0.99)],
    )


def _statuses(lines: Iterable[Call]) -> Iterable[int]:
    """A connection has none."""
    return (line["status"] for line in lines if line["protocol"] != "tcp")


def _weighted(lines: Iterable[Call]) -> Sequence[Call]:
    return [line for line in lines for _ in range(line.get("weight", 1))]


def _comparable(lines: Sequence[Call]) -> Sequence[Call]:
    """Lines of the reporters that see requests, where one does: others see the connections under them."""
    see_requests = {line["reporter"] for line in lines if line["protocol"] != "tcp"}
    return [line for line in lines if line["reporter"] in see_requests] or lines


def _counted(lines: Sequence[Call]) -> Sequence[Call]:
    lines = _comparable(lines)
    for reporters in (("source", "gateway"), ("destination",), ("waypoint",)):
        if chosen := [line for line in lines if line["reporter"] in reporters]:
            return chosen
    return lines


def _failed(line: Call) -> bool:
    if line["status"] >= 500 or line["grpc_status"] in (2, 4, 13, 14, 15):
        return True
    return line["status"] == 0 and (line["response_flags"] not in ("", "-", "DC") or line["fault"] == "network")


def _node(call: Call, side: str) -> str:
    return f"{call[f'{side}_namespace']}/{call[f'{side}_service']}"
