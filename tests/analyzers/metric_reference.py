"""The slow, obvious way from metric points to edges: one point at a time, as docs/counting.md tells it.

Only Istio's request counter and duration histogram: how the labels of other systems are read has tests of its own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from analyzers.dependencies.histograms import NO_BOUND

HORIZON = timedelta(seconds=900)
KNOWN = datetime.fromisoformat("1970-01-02T00:00:00Z")

Point = Mapping[str, Any]
Key = tuple[datetime, str, str, str, str]


@dataclass
class Numbers:
    """What one minute says of one edge, as one reporter with one transport sees it."""

    requests: int = 0
    errors: int = 0
    statuses: Counter[int] = field(default_factory=Counter[int])
    buckets: Counter[int] = field(default_factory=Counter[int])


def metric_rows(points: Iterable[Point]) -> dict[Key, Numbers]:
    """Numbers by (minute, reporter, tls, source workload, destination service), none of them empty."""
    series: dict[Any, dict[datetime, Point]] = defaultdict(dict)
    for point in points:
        key = (point["name"], point["pod"], tuple(sorted(point["attributes"].items())))
        at = series[key].get(point["ts"])
        if at is None or _weight(point) > _weight(at):
            series[key][point["ts"]] = point
    before: dict[int, Point | None] = {}
    chosen: list[Point] = []
    for by_time in series.values():
        ordered = [by_time[ts] for ts in sorted(by_time)]
        for earlier, point in zip([None, *ordered], ordered, strict=False):
            near = earlier is not None and earlier["ts"] >= point["ts"] - HORIZON
            before[id(point)] = earlier if near and point["temporality"] == "cumulative" else None
            chosen.append(point)
    going_on = {(point["pod"], point["ts"]) for point in chosen if before[id(point)] is not None}
    counters = {(_minute(p), p["pod"]) for p in chosen if p["name"] == "istio_requests_total"}
    found: dict[Key, Numbers] = defaultdict(Numbers)
    for point in chosen:
        old = before[id(point)]
        if not _counts(point, old, (point["pod"], point["ts"]) in going_on):
            continue
        since = None if old is None or point["temporality"] == "delta" or _was_reset(point, old) else old
        labels = point["attributes"]
        grown = _amount(point) - (_amount(since) if since else 0)
        if not grown:
            continue
        policy = {"mutual_tls": "mtls", "none": "plaintext"}
        tls = policy.get(labels["connection_security_policy"], "unknown")
        ends = (labels["source_workload"], labels["destination_service_name"])
        numbers = found[_minute(point), labels["reporter"], tls, *ends]
        if point["name"] == "istio_requests_total" or (_minute(point), point["pod"]) not in counters:
            status = int(labels["response_code"])
            numbers.requests += grown
            numbers.statuses[status] += grown
            if status >= 500 or (status == 0 and labels["response_flags"] not in ("-", "DC")):
                numbers.errors += grown
        numbers.buckets += _buckets(point, since)
    return {key: numbers for key, numbers in found.items() if numbers.requests}


def _weight(point: Point) -> tuple[Any, ...]:
    histogram = (point.get("bounds", []), point.get("bucket_counts", []))
    return point["start_ts"], _amount(point), point["temporality"] == "cumulative", *histogram


def _amount(point: Point) -> int:
    return int(point["value"]) if point["type"] == "sum" else point["count"]


def _minute(point: Point) -> datetime:
    return (point["ts"] - timedelta(microseconds=1)).replace(second=0, microsecond=0)


def _counts(point: Point, old: Point | None, others_go_on: bool) -> bool:
    """Whether it is known which part of the point's value is new."""
    if point["temporality"] == "delta" or old is not None or others_go_on:
        return True
    return KNOWN < point["start_ts"] < point["ts"] and point["start_ts"] >= point["ts"] - HORIZON


def _was_reset(point: Point, old: Point) -> bool:
    if _amount(point) < _amount(old):
        return True
    start = point["start_ts"]
    return KNOWN < start < point["ts"] and start != old["start_ts"] and start >= old["ts"]


def _buckets(point: Point, since: Point | None) -> Counter[int]:
    """What each bucket grew by, by upper bound (us)."""
    now = _uppers(point)
    old = Counter[int]()
    for upper, count in zip(_uppers(since), since.get("bucket_counts", ()), strict=True) if since else ():
        old[min(bound for bound in now if bound >= upper)] += count
    grown = {
        upper: max(count - old[upper], 0) for upper, count in zip(now, point.get("bucket_counts", ()), strict=True)
    }
    return +Counter(grown)


def _uppers(point: Point) -> Sequence[int]:
    if point["type"] == "sum":
        return ()
    return [*(int(bound * 1000) for bound in point["bounds"]), NO_BOUND]
