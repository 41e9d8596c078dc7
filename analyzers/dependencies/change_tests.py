"""Change or noise? Tests of rates, shares and latencies between two windows, and the correction for many of them.

Each test asks whether a number moved by more than a margin that people care about, not whether it moved at all: with
enough calls any difference is certain, and the usual drift of a day is no news. On an unchanged system p-values are
near 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, stdtr

ALPHA = 0.01
"""Share of false ones among the changes told (false discovery rate)."""
MIN_CALLS = 10
"""Windows with fewer calls are not tested: of both the greater number for a rate, the smaller one for a share."""
RATE_RATIO = 1.5
"""A rate changed when it is more than so many times the other."""
ERROR_SHARE = 0.005
"""An error share changed when it moved by more than this (half a percentage point)."""
MTLS_SHARE = 0.01
"""The share of mTLS changed when it moved by more than this (one percentage point)."""
LATENCY_RATIO = 1.25
"""A quantile changed when it is more than so many times the other ..."""
LATENCY_FLOOR_US = 1000.0
"""... and this much (us) on top: what proxies print is cut to whole milliseconds."""
LATENCY_QUANTILES = ((0.5, 20), (0.95, 200))
"""The quantiles that are tested, each with the calls that both windows need for it: ten beyond it."""
SILENT_CALLS = 3.0
"""Who was to make at least so many calls and made none has stopped: chance alone is silent once in e^3 = 20 times."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pace:
    """How unevenly calls came, from counts per slot of time (a minute or an hour).

    Attributes:
        calls: all of them.
        slots: from the first with a call to the last.
        squares: sum of the squared steps from slot to slot.
    """

    calls: int = 0
    slots: int = 0
    squares: float = 0.0


@dataclass(frozen=True, slots=True)
class Spread:
    """Durations as (us, count), sorted; `bounded` when they are upper bounds of buckets that lie far apart."""

    values_us: Floats
    counts: Floats
    bounded: bool = False

    @property
    def calls(self) -> float:
        """How many durations there are."""
        return float(self.counts.sum())

    def quantiles_us(self, shares: Floats) -> Floats:
        """Quantiles (us): nearest-rank, or even within a bucket for bounded ones; inf beyond the last bound."""
        cumulated = np.cumsum(self.counts)
        ranks = np.clip(shares, 0.0, 1.0) * cumulated[-1]
        place = np.searchsorted(cumulated, np.maximum(ranks - 1e-9, 1e-9), side="left").clip(0, len(cumulated) - 1)
        if not self.bounded:
            return self.values_us[place]
        below = np.where(place > 0, cumulated[np.maximum(place, 1) - 1], 0.0)
        lower = np.where(place > 0, self.values_us[np.maximum(place, 1) - 1], 0.0)
        upper = self.values_us[place]
        within = np.divide(ranks - below, self.counts[place], out=np.ones(len(ranks)), where=self.counts[place] > 0)
        # 0 x inf is nothing that anybody knows.
        return np.where(np.isinf(upper), np.inf, lower + (np.where(np.isinf(upper), lower, upper) - lower) * within)


def rate_p(calls: tuple[int, int], seconds: tuple[float, float], paces: Sequence[Pace]) -> float | None:
    """p-value of "one rate is at most RATE_RATIO times the other"; None for too few calls.

    Counts are taken to vary `dispersion` times as much as Poisson ones, as their slots do (quasi-Poisson); few slots
    make that uncertain, so the statistic is held against Student's t.
    """
    if max(calls) < MIN_CALLS or min(seconds) <= 0:
        return None
    scale, freedom = dispersion(paces)
    before, after = (n + 0.5 for n in calls)
    ratio = abs(math.log(after / seconds[1]) - math.log(before / seconds[0]))
    z = (ratio - math.log(RATE_RATIO)) / math.sqrt(scale * (1 / before + 1 / after))
    return _two_sided(float(stdtr(freedom, -z)) if freedom else float(ndtr(-z)))


def dispersion(paces: Sequence[Pace]) -> tuple[float, float]:
    """How many times as much as Poisson counts the slots vary (at least 1), and its degrees of freedom (0 = none).

    Half the mean squared step over the mean, of each pace by itself (its level and its slots are its own), weighted by
    their steps. Successive differences carry about two thirds of the information of as many independent squares.
    """
    steps, weighted = 0, 0.0
    for pace in paces:
        if pace.slots > 1 and pace.calls:
            steps += pace.slots - 1
            weighted += pace.squares / 2 * pace.slots / pace.calls
    return (max(1.0, weighted / steps), max(2 * steps / 3, 1.0)) if steps else (1.0, 0.0)


def share_p(hits: tuple[int, int], calls: tuple[int, int], floor: float) -> float | None:
    """p-value of "the two shares lie at most `floor` apart"; None for too few calls.

    Both shares are moved towards a half by two calls (A. Agresti, B. Caffo, 2000), without which none and all have no
    variance.
    """
    if min(calls) < MIN_CALLS:
        return None
    (before, n), (after, m) = (((hit + 1) / (of + 2), of + 2) for hit, of in zip(hits, calls, strict=True))
    # A test must not find what is not there: the shares themselves have to lie apart too.
    apart = min(abs(after - before), abs(hits[1] / calls[1] - hits[0] / calls[0]))
    z = (apart - floor) / math.sqrt(before * (1 - before) / n + after * (1 - after) / m)
    return _two_sided(float(ndtr(-z)))


def latency_p(before: Spread, after: Spread) -> float | None:
    """p-value of "no tested quantile is more than LATENCY_RATIO times the other plus LATENCY_FLOOR_US".

    None for too few calls, or histograms that cannot be compared. The error of a quantile comes from the ranks around
    it (R. Woodruff, 1952), so nothing is assumed of the shape. The least of the quantiles' p-values counts, times their
    number (Bonferroni).
    """
    if before.bounded != after.bounded:
        return None
    found: list[float] = []
    for share, least in LATENCY_QUANTILES:
        if min(before.calls, after.calls) < least:
            continue
        (one, error), (other, other_error) = _quantile(before, share), _quantile(after, share)
        if not all(map(math.isfinite, (one, other, error, other_error))):
            continue
        low, high = ((one, error), (other, other_error)) if one <= other else ((other, other_error), (one, error))
        excess = high[0] - LATENCY_RATIO * low[0] - LATENCY_FLOOR_US
        noise = math.hypot(high[1], LATENCY_RATIO * low[1])
        found.append(float(ndtr(-excess / noise)) if noise else float(excess <= 0))
    return min(1.0, 2 * min(found) * len(found)) if found else None


def _quantile(spread: Spread, share: float) -> tuple[float, float]:
    """A quantile and its standard error (us)."""
    # One standard deviation of the rank to either side, and at least one call: between two calls nobody knows.
    width = max(math.sqrt(share * (1 - share) / spread.calls), 1 / spread.calls)
    low, at, high = spread.quantiles_us(np.array([share - width, share, share + width])).tolist()
    return at, (high - low) / 2


def _two_sided(p: float) -> float:
    return min(1.0, 2 * p)


def adjusted(p_values: Sequence[float]) -> list[float]:
    """q-values: the least false discovery rate at which each is told (Y. Benjamini, Y. Hochberg, 1995)."""
    if not p_values:
        return []
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p)
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    q = np.empty(len(p))
    q[order] = np.minimum(1.0, np.minimum.accumulate(scaled[::-1])[::-1])
    return q.tolist()


def silent(calls: int, seconds: tuple[float, float]) -> bool:
    """Whether a window (length: second) without what the other one (length: first) has `calls` of tells of a change."""
    return seconds[0] > 0 and calls * seconds[1] / seconds[0] >= SILENT_CALLS
