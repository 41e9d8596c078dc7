"""Links around a regression, read from the rollups: what happened in the time before its begin and since.

regressions of one moment ──► windows ──► window_histograms.sql ──► Links, and the numbers of each version
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analyzers.dependencies.histograms import value_us
from analyzers.latency.grid import MINUTE_S
from analyzers.latency.limits import Limits
from analyzers.latency.links import Link, Links, Place, Side
from analyzers.latency.regression import Regression
from analyzers.latency.series_keys import Series
from analyzers.latency.stored_rollups import EdgeTotals, StoredRollups

DEEPEST = 12
CAPPED = 0.99
"""Share of calls that are taken as long as they were; the others as long as the longest of these."""


@dataclass(frozen=True, slots=True)
class Window:
    """Times (seconds since 1970) that are compared: [since, begin) with [begin, until)."""

    since: int
    begin: int
    until: int

    @classmethod
    def of(cls, one: Regression, limits: Limits) -> Window:
        """The hour before its begin, and the half hour after it or as much as there is."""
        begin = int(one.since.timestamp())
        last = int((one.ended or one.last_seen).timestamp())
        return cls(
            begin - limits.before_min * MINUTE_S, begin, max(min(last, begin + limits.reach_min * MINUTE_S), begin + 60)
        )


@dataclass(frozen=True, slots=True)
class VersionSide:
    """Calls that one version of a service answered: how many in each window, and their mean duration (us)."""

    calls: tuple[float, float]
    mean_us: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Around:
    """Links around some services, and what each version of them did.

    Attributes:
        versions: (service, version) -> its numbers, of the callee's side where that side tells.
    """

    links: Links
    versions: Mapping[tuple[str, str], VersionSide]


def read_around(rollups: StoredRollups, services: Iterable[str], window: Window) -> Around:
    """The links into and below some services.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    below = _below(rollups.keys.series, services)
    series = np.array(
        [n for n, one in enumerate(rollups.keys.series) if one.destination in below or one.source in below], np.int64
    )
    halves = [rollups.totals(series, *span) for span in ((window.since, window.begin), (window.begin, window.until))]
    minutes = [(window.begin - window.since) / MINUTE_S, (window.until - window.begin) / MINUTE_S]
    sums: dict[tuple[Place, str], list[list[EdgeTotals]]] = defaultdict(lambda: [[], []])
    versions: dict[tuple[str, str, str], list[list[EdgeTotals]]] = defaultdict(lambda: [[], []])
    for half, totals in enumerate(halves):
        for each in totals:
            one = rollups.keys.series[each.series]
            sums[Place(one.source, one.destination, one.operation), one.side][half].append(each)
            if one.destination in below:
                versions[one.destination, each.version, one.side][half].append(each)
    links: list[Link] = []
    for place in dict.fromkeys(place for place, _ in sums):
        sides = [sums.get((place, side), [[], []]) for side in ("caller", "callee")]
        cap = _cap([each for views in sides for half in views for each in half])
        links.append(
            Link(place, *((_side(views[0], minutes[0], cap), _side(views[1], minutes[1], cap)) for views in sides))
        )
    return Around(Links.of(links), _versions(versions))


def _below(series: Sequence[Series], services: Iterable[str]) -> frozenset[str]:
    """The services and all that they call, however far down."""
    calls: dict[str, set[str]] = defaultdict(set)
    for one in series:
        calls[one.source].add(one.destination)
    found = set(services)
    edge = set(found)
    for _ in range(DEEPEST):
        edge = {callee for caller in edge for callee in calls[caller]} - found
        if not edge:
            break
        found |= edge
    return frozenset(found)


def _counts(totals: Sequence[EdgeTotals]) -> dict[int, int]:
    counts: dict[int, int] = defaultdict(int)
    for each in totals:
        for bucket, count in each.histogram:
            counts[bucket] += count
    return counts


def _cap(totals: Sequence[EdgeTotals]) -> int:
    """The bucket of the 99th percentile of all: a mean of what is longer would be one of a few timeouts."""
    counts = sorted(_counts(totals).items())
    total, seen = sum(count for _, count in counts), 0
    for bucket, count in counts:
        seen += count
        if seen >= CAPPED * total:
            return bucket
    return 0


def _side(totals: Sequence[EdgeTotals], minutes: float, cap: int) -> Side | None:
    """All calls together, none longer than `cap`; None where there were none."""
    requests = sum(each.requests for each in totals)
    if not requests:
        return None
    counts = _counts(totals)
    failed = sum(each.errors for each in totals) / requests
    if not counts:
        return Side(requests / minutes, 0.0, 0.0, failed, requests)
    buckets = np.minimum(np.array(list(counts)), cap)
    weight = np.array(list(counts.values()), np.float64)
    values = value_us(buckets)
    n = float(weight.sum())
    mean = float(weight @ values / n)
    variance = float(weight @ (values - mean) ** 2 / n)
    return Side(requests / minutes, mean, math.sqrt(variance / n), failed, requests)


def _versions(
    read: Mapping[tuple[str, str, str], Sequence[Sequence[EdgeTotals]]],
) -> Mapping[tuple[str, str], VersionSide]:
    found: dict[tuple[str, str], VersionSide] = {}
    for (service, version, side), halves in read.items():
        if side == "caller" and any((service, version, "callee") == key for key in read):
            continue
        cap = _cap([each for half in halves for each in half])
        views = [_side(half, 1.0, cap) for half in halves]
        found[service, version] = VersionSide(
            (views[0].counted if views[0] else 0.0, views[1].counted if views[1] else 0.0),
            (views[0].mean_us if views[0] else 0.0, views[1].mean_us if views[1] else 0.0),
        )
    return found
