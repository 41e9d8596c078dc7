"""Thirty days in which nothing happens: what is told all the same.

    python -m benchmarks.latency_quiet [--days 30] [--edges 200] [--seed 1] [--step 5]

Rollups are drawn here, bucket by bucket (a day of 200 edges at 5 calls/s is 170 million calls: too many to send through
the pipeline), and looked at every `--step` minutes by the product's own stages. What is in them and is no regression:

- calls per minute are Poisson around a daily curve, less at weekends, with bursts (for ten to sixty minutes up to three
  times as many) and a lasting change of load by a fifth on some days;
- durations are lognormal, with medians of 2 to 500 ms and sigmas of 0.2 to 0.8, a fifth of them with a second mode,
  cut to whole milliseconds;
- a third of the edges get up to 15 % slower with the day's load; every level wanders (AR(1) by the hour, standard
  deviation 1.5 %);
- one call in ten thousand hangs for seconds; 0 to 0.5 % of calls fail;
- a deploy without effect is no change of what is drawn: versions of one service are one series.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import ndtr

from analyzers.dependencies.histograms import bucket_of, value_us
from analyzers.latency.episodes import Episodes
from analyzers.latency.grid import MINUTE_S, Sums
from analyzers.latency.limits import LIMITS, Limits
from analyzers.latency.look import Looker
from analyzers.latency.rollups import MinuteHistograms
from analyzers.latency.series_keys import Series

START = 1_772_409_600
"""2026-03-02 00:00 UTC, a Monday."""
DAY_MIN = 1440
_TOP_MS = 60_000


@dataclass(frozen=True, slots=True)
class Edge:
    """How one series behaves."""

    median_ms: float
    sigma: float
    second: float
    with_load: float
    rate: float
    failing: float


class QuietDays:
    """Rollups of `edges` edges, both reporters, one operation each; any minute may be asked for in any order."""

    def __init__(self, edges: int, days: int, seed: int, rate: float = 5.0) -> None:
        rng = np.random.default_rng([seed, 0x9])
        self.days = days
        self._seed = seed
        self._edges = [
            Edge(
                float(np.exp(rng.uniform(np.log(2), np.log(500)))),
                float(rng.uniform(0.2, 0.8)),
                float(rng.uniform(2, 5)) if rng.random() < 0.2 else 0.0,
                float(rng.uniform(0.03, 0.15)) if rng.random() < 1 / 3 else 0.0,
                rate * 60 * float(rng.uniform(0.5, 1.5)),
                float(rng.uniform(0, 0.005)),
            )
            for _ in range(edges)
        ]
        hours = days * 24 + 2
        wander = np.zeros((edges, hours))
        for hour in range(1, hours):
            wander[:, hour] = 0.8 * wander[:, hour - 1] + rng.normal(0, 0.015 * 0.6, edges)
        self._wander = wander
        self._buckets, self._edge_ms = _whole_milliseconds()
        self._counts = lru_cache(maxsize=64)(self._drawn)
        self._sums: dict[int, tuple[np.ndarray, ...]] = {}

    @property
    def families(self) -> np.ndarray:
        return np.arange(2 * len(self._edges))

    operations = families

    @property
    def names(self) -> list[Series]:
        """What each series stands for."""
        return [
            Series(f"quiet/caller-{n}", f"quiet/callee-{n}", "GET /", side, "log")
            for n in range(len(self._edges))
            for side in ("source", "destination")
        ]

    def _drawn(self, series: int, day: int) -> tuple[np.ndarray, np.ndarray]:
        """(calls by minute and bucket, failed calls by minute) of one day."""
        edge, side = self._edges[series // 2], series % 2
        shared = np.random.default_rng([self._seed, series // 2, day, 0x5])
        rng = np.random.default_rng([self._seed, series, day, 0x6])
        minute = np.arange(DAY_MIN)
        load = (1 + 0.55 * np.cos(2 * np.pi * (minute / 60 - 15) / 24)) * (0.75 if day % 7 >= 5 else 1.0)
        load = load * (1.2 if shared.random() < 0.1 else 1.0)
        if shared.random() < 0.3:
            begin, length = int(shared.integers(0, DAY_MIN - 60)), int(shared.integers(10, 60))
            load[begin : begin + length] *= float(shared.uniform(1.3, 3.0))
        place = (day * DAY_MIN + minute) / 60
        hour = place.astype(int)
        wander = self._wander[series // 2]
        level = wander[hour] + (wander[hour + 1] - wander[hour]) * (place - hour)
        usual = (1 + 0.55 * np.cos(2 * np.pi * (minute / 60 - 15) / 24)) / 1.55
        level = level + np.log1p(edge.with_load * usual)
        # The callee sees a little less than its caller.
        middle = np.log(edge.median_ms) + level + (np.log(0.97) if side else 0.0)
        # Levels differ by little within ten minutes: probabilities are made for each ten.
        calls = edge.rate * load
        found = np.zeros((DAY_MIN, len(self._buckets)), np.uint16)
        for low in range(0, DAY_MIN, 10):
            at = middle[low : low + 10].mean()
            share = _mass(self._edge_ms, at, edge.sigma)
            if edge.second:
                share = 0.8 * share + 0.2 * _mass(self._edge_ms, at + np.log(edge.second), edge.sigma)
            share = 0.9999 * share
            share[-60:] += 0.0001 / 60
            found[low : low + 10] = rng.poisson(calls[low : low + 10, None] * share[None, :])
        total = found.sum(axis=1, dtype=np.int64)
        return found, np.random.default_rng([self._seed, series // 2, day, 0x7]).binomial(total, edge.failing)

    def sums(self, since: int, until: int) -> Sums:
        columns: list[tuple[np.ndarray, ...]] = []
        many = 2 * len(self._edges)
        for day, low, high in _days(since, until, self.days):
            calls, log_sum, log_sum2, failed = self._whole(day)
            minutes = START + (day * DAY_MIN + np.arange(low, high)) * MINUTE_S
            part = (calls[:, low:high], log_sum[:, low:high], log_sum2[:, low:high], failed[:, low:high])
            columns.append(
                (
                    np.repeat(np.arange(many), high - low),
                    np.tile(minutes, many),
                    *(each.ravel().astype(np.float64) for each in part),
                )
            )
        if not columns:
            empty = np.zeros(0)
            return Sums(empty.astype(np.int64), empty.astype(np.int64), empty, empty, empty, empty, empty)
        series, minute, calls, log_sum, log_sum2, failed = (
            np.concatenate(column) for column in zip(*columns, strict=True)
        )
        return Sums(series, minute, calls, log_sum, log_sum2, calls, failed)

    def _whole(self, day: int) -> tuple[np.ndarray, ...]:
        if day not in self._sums:
            logs = np.log(np.maximum(value_us(self._buckets), 1))
            rows: list[tuple[np.ndarray, ...]] = []
            for series in range(2 * len(self._edges)):
                counts, failed = self._drawn(series, day)
                plain = counts.astype(np.float64)
                rows.append((plain.sum(axis=1), plain @ logs, plain @ logs**2, failed))
            self._sums = {key: value for key, value in self._sums.items() if key >= day - 1}
            self._sums[day] = tuple(np.stack(column) for column in zip(*rows, strict=True))
        return self._sums[day]

    def histograms(self, series: np.ndarray, since: int, until: int) -> MinuteHistograms:
        parts: list[tuple[np.ndarray, ...]] = []
        for day, low, high in _days(since, until, self.days):
            for number in series.tolist():
                counts = self._counts(number, day)[0][low:high]
                minute, bucket = np.nonzero(counts)
                at = START + (day * DAY_MIN + low + minute) * MINUTE_S
                parts.append((np.full(len(minute), number), at, self._buckets[bucket], counts[minute, bucket]))
        columns = zip(*parts, strict=True) if parts else ([], [], [], [])
        return MinuteHistograms(
            *(np.concatenate(column).astype(np.int64) if len(column) else np.zeros(0, np.int64) for column in columns)
        )


def _whole_milliseconds() -> tuple[np.ndarray, np.ndarray]:
    """Buckets that hold whole milliseconds, and the first millisecond of each and of what is behind them."""
    milliseconds = np.arange(_TOP_MS)
    bucket = bucket_of((milliseconds * 1000).astype(np.uint64)).astype(np.int64)
    buckets, first = np.unique(bucket, return_index=True)
    return buckets, np.append(milliseconds[first], _TOP_MS).astype(np.float64)


def _mass(edge_ms: np.ndarray, log_median_ms: float, sigma: float) -> np.ndarray:
    with np.errstate(divide="ignore"):
        below = ndtr((np.log(edge_ms) - log_median_ms) / sigma)
    below[-1] = 1.0
    return np.diff(below)


def _days(since: int, until: int, days: int) -> list[tuple[int, int, int]]:
    """(day, first minute, last minute + 1) of a span."""
    low, high = max((since - START) // MINUTE_S, 0), min((until - START) // MINUTE_S, days * DAY_MIN)
    found: list[tuple[int, int, int]] = []
    while low < high:
        day = low // DAY_MIN
        end = min(high, (day + 1) * DAY_MIN)
        found.append((day, low - day * DAY_MIN, end - day * DAY_MIN))
        low = end
    return found


def watch(days: int, edges: int, seed: int, step_min: int, limits: Limits = LIMITS) -> Mapping[str, object]:
    """Look at all of it; what was told, and how much was tested."""
    quiet = QuietDays(edges, days, seed)
    looker = Looker(quiet, limits)
    names = quiet.names
    told = Episodes(lambda row: names[row])
    stages: Counter[str] = Counter()
    tested = looks = 0
    began = time.monotonic()
    for minute in range(step_min, days * DAY_MIN + 1, step_min):
        look = looker.look(START + minute * MINUTE_S, step_min)
        told.add(look)
        stages.update(look.survivors)
        tested, looks = tested + look.tested, looks + 1
        if minute % DAY_MIN == 0:
            print(f"day {minute // DAY_MIN}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    found = told.regressions()
    return {
        "regressions": [one for one in found if one.verdict == "regression"],
        "anomalies": [one for one in found if one.verdict == "anomaly"],
        "tested": tested,
        "looks": looks,
        "stages": stages,
        "seconds": time.monotonic() - began,
    }


def report(days: int = 30, edges: int = 200, seed: int = 1, step_min: int = 5) -> str:
    """The table, in markdown."""
    found = watch(days, edges, seed, step_min)
    false = found["regressions"]
    lines = [
        f"{days} quiet days, {edges} edges at 5 calls/s, seed {seed}, a look every {step_min} minutes.",
        "",
        "| looks | tests | false regressions | of them errors | per week | anomalies |",
        "|---:|---:|---:|---:|---:|---:|",
        f"| {found['looks']:,} | {found['tested']:,} | {len(false)} | {sum(one.what == 'errors' for one in false)} "
        f"| {len(false) / days * 7:.2f} | {len(found['anomalies'])} |",
        "",
        "Went on after each stage, all looks together: "
        + ", ".join(f"{name} {many:,}" for name, many in found["stages"].items()),
    ]
    lines += [f"- {one.source} {one.what} {one.shape} {one.ratio:.2f} at {one.since:%m-%d %H:%M}" for one in false[:20]]
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--edges", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--step", type=int, default=5)
    given = parser.parse_args()
    print(report(given.days, given.edges, given.seed, given.step))
