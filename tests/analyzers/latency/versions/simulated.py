"""Two versions drawn call by call: cells as read.py makes them of a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analyzers.dependencies.histograms import bucket_of
from analyzers.latency.stack import scattered
from analyzers.latency.versions.parts import Cells


@dataclass
class Drawn:
    """One operation: calls a slot of each side, median (ms), and what the canary does otherwise."""

    rates: tuple[float, float] = (20.0, 5.0)
    median_ms: float = 20.0
    sigma: float = 0.5
    ratio: float = 1.0
    tail: tuple[float, float] = (0.0, 1.0)
    """Share of the canary's calls that take so many times as long."""
    failing: tuple[float, float] = (0.0, 0.0)
    hours: bool = False
    """All durations double over the time, and the canary's share of the calls grows."""
    restless: float = 0.0
    """Standard deviation of the log of each side's own pace, slot by slot."""


def cells(drawn: Sequence[Drawn], slots: int = 40, seed: int = 1, whole_ms: bool = False) -> Cells:
    rng = np.random.default_rng(seed)
    rows = len(drawn) * slots
    calls, errors = np.zeros((rows, 2)), np.zeros((rows, 2))
    triples: list[list[np.ndarray]] = [[], []]
    for row in range(rows):
        number, slot = divmod(row, slots)
        one = drawn[number]
        way = slot / max(slots - 1, 1)
        for side in (0, 1):
            rate = one.rates[side] * ((2 * way if side else 2 - 2 * way) if one.hours else 1.0)
            n = int(rng.poisson(rate))
            taken = rng.lognormal(np.log(one.median_ms * 1000), one.sigma, n) * (one.ratio if side else 1.0)
            taken *= 1 + way if one.hours else 1.0
            taken *= np.exp(rng.normal(0, one.restless)) if one.restless else 1.0
            if side:
                taken = np.where(rng.random(n) < one.tail[0], taken * one.tail[1], taken)
            taken = taken // 1000 * 1000 if whole_ms else taken
            triples[side].append(np.stack([np.full(n, row), bucket_of(taken.astype(np.uint64))]))
            calls[row, side], errors[row, side] = n, rng.binomial(n, one.failing[side])
    stacks = [
        scattered(*np.concatenate(each, axis=1), np.ones(sum(e.shape[1] for e in each)), rows) for each in triples
    ]
    operation, slot = np.divmod(np.arange(rows), slots)
    names = [f"GET /{number}" for number in range(len(drawn))]
    return Cells(names, operation, np.zeros(rows, np.int64), slot, stacks[0], stacks[1], calls, errors, slots * 60.0)
