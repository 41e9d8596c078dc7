"""Rollups in memory, drawn call by call: what looks read, with whatever change a test wants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from analyzers.dependencies.histograms import bucket_of
from analyzers.latency.grid import MINUTE_S, Sums
from analyzers.latency.rollups import MinuteHistograms

START = 1_772_445_600
"""2026-03-02 10:00 UTC."""

Durations = Callable[[np.random.Generator, int, int], np.ndarray]
"""(generator, minute, calls) -> durations in us."""


def lognormal(median_ms: float, sigma: float = 0.4) -> Durations:
    return lambda rng, minute, n: rng.lognormal(np.log(median_ms * 1000), sigma, n)


def stepped(of: Durations, at: int, factor: float, until: int = 1 << 40) -> Durations:
    return lambda rng, minute, n: of(rng, minute, n) * (factor if at <= minute < until else 1.0)


def tailed(of: Durations, at: int, share: float, factor: float) -> Durations:
    def drawn(rng: np.random.Generator, minute: int, n: int) -> np.ndarray:
        slow = rng.random(n) < (share if minute >= at else 0.0)
        return of(rng, minute, n) * np.where(slow, factor, 1.0)

    return drawn


@dataclass
class Drawn:
    """One series: calls a minute (or a function of the minute), durations, share of failed calls by minute."""

    durations: Durations
    rate: float | Callable[[int], float] = 300.0
    failed: Callable[[int], float] = field(default=lambda minute: 0.0)
    family: int | None = None
    operation: int | None = None
    whole_ms: bool = True


class Simulated:
    """Draws every minute of every series once, from a seed of its own."""

    def __init__(self, drawn: list[Drawn], minutes: int, first: int = 0, seed: int = 1) -> None:
        columns: list[tuple[int, int, np.ndarray, int]] = []
        for number, one in enumerate(drawn):
            for minute in range(first, minutes):
                rng = np.random.default_rng([seed, number, minute - first])
                n = int(rng.poisson(one.rate(minute) if callable(one.rate) else one.rate))
                taken = np.maximum(one.durations(rng, minute, n), 0)
                taken = (taken // 1000 * 1000 if one.whole_ms else taken).astype(np.uint64)
                columns.append((number, START + minute * MINUTE_S, taken, int(rng.binomial(n, one.failed(minute)))))
        self._columns = columns
        self._families = np.array([one.family if one.family is not None else 1000 + n for n, one in enumerate(drawn)])
        self._families = np.unique(self._families, return_inverse=True)[1].astype(np.int64)
        operations = [1000 + n if one.operation is None else one.operation for n, one in enumerate(drawn)]
        self._operations = np.unique(operations, return_inverse=True)[1].astype(np.int64)

    @property
    def families(self) -> np.ndarray:
        return self._families

    @property
    def operations(self) -> np.ndarray:
        return self._operations

    def _in(self, since: int, until: int) -> list[tuple[int, int, np.ndarray, int]]:
        return [one for one in self._columns if since <= one[1] < until and len(one[2])]

    def sums(self, since: int, until: int) -> Sums:
        rows = self._in(since, until)
        logs = [np.log(np.maximum(one[2], 1).astype(float)) for one in rows]
        counts = np.array([len(one[2]) for one in rows], float)
        return Sums(
            np.array([one[0] for one in rows], np.int64),
            np.array([one[1] for one in rows], np.int64),
            counts,
            np.array([each.sum() for each in logs]),
            np.array([(each**2).sum() for each in logs]),
            counts,
            np.array([one[3] for one in rows], float),
        )

    def histograms(self, series: np.ndarray, since: int, until: int) -> MinuteHistograms:
        wanted = set(series.tolist())
        parts: list[tuple[int, int, int, int]] = []
        for number, minute, taken, _ in self._in(since, until):
            if number in wanted:
                buckets, counts = np.unique(bucket_of(taken), return_counts=True)
                parts += [(number, minute, int(b), int(c)) for b, c in zip(buckets, counts, strict=True)]
        columns = zip(*parts, strict=True) if parts else ([], [], [], [])
        return MinuteHistograms(*(np.array(list(column), np.int64) for column in columns))
