"""Counters are cumulative, and count what the lines count."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime, timedelta
from typing import Any

from eastwatch.world import World
from tests.eastwatch.world.recount import Account


def _series(labels: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(labels.items()))


def test_counters_never_fall(world: World, account: Account) -> None:
    last: dict[Any, tuple[int, float]] = {}
    started: dict[str, int] = {}
    for metric, pod, labels, point in account.points:
        if metric == "process.memory.usage":
            continue
        value = point.count if metric.endswith("milliseconds") else point.as_double
        key = (metric, pod, _series(labels))
        at, before = last.get(key, (0, 0.0))
        assert point.time_unix_nano > at
        assert value >= before
        assert world.start_us * 1000 <= point.start_time_unix_nano < point.time_unix_nano
        if metric.startswith("istio_"):
            assert started.setdefault(pod, point.start_time_unix_nano) == point.start_time_unix_nano
        last[key] = (point.time_unix_nano, value)
    assert len(last) > 300


def test_histograms_hold_every_request(account: Account) -> None:
    totals: dict[Any, dict[int, float]] = defaultdict(dict)
    for metric, pod, labels, point in account.points:
        if metric == "istio_requests_total":
            totals[pod, _series(labels)][point.time_unix_nano] = point.as_double
    histograms = 0
    for metric, pod, labels, point in account.points:
        if metric == "istio_request_duration_milliseconds":
            histograms += 1
            assert sum(point.bucket_counts) == point.count == totals[pod, _series(labels)][point.time_unix_nano]
            assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
    assert histograms


def test_counts_are_those_of_the_lines(world: World, account: Account) -> None:
    """Requests that had ended by the last scrape, by reporter and edge, where the side logs at all."""
    end = datetime.fromisoformat(world.truth()["until"])
    at_end_ns = int(end.timestamp()) * 10**9
    counted: Counter[tuple[str, str, str]] = Counter()
    for metric, _pod, labels, point in account.points:
        if metric == "istio_requests_total" and point.time_unix_nano == at_end_ns:
            source = f"{labels['source_workload_namespace']}/{labels['source_canonical_service']}"
            destination = f"{labels['destination_service_namespace']}/{labels['destination_service_name']}"
            counted[labels["reporter"], source, destination] += int(point.as_double)
    compared = 0
    for (source, destination), sides in account.sides.items():
        if destination.startswith("external:"):
            continue
        for side, lines in sides.items():
            ended = [line for line in lines if line["method"] and _end(line) <= end]
            name = "unknown/unknown" if source == "legacy/erp" else source
            if not ended:
                continue
            # Lines are rounded to milliseconds, counters are not: at the edge of the window one may differ.
            assert abs(counted[side, name, destination] - len(ended)) <= 1, (side, source, destination)
            compared += 1
    assert compared > 40


def _end(line: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(line["start_time"]) + timedelta(milliseconds=line["duration"])


def test_security_policy_is_known_to_destinations_only(account: Account) -> None:
    policies: dict[str, set[str]] = defaultdict(set)
    for metric, _pod, labels, _point in account.points:
        if metric.startswith("istio_"):
            policies[labels["reporter"]].add(labels["connection_security_policy"])
    assert policies == {"source": {"unknown"}, "destination": {"mutual_tls", "none"}}
