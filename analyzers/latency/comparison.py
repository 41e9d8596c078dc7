"""Two stacks of latency histograms against each other, row by row: tests, effect sizes, ratios with intervals.

before, after (Stack) ──► compare ──► Comparison

All statistics are exact on the buckets; of the durations themselves they are within the width of one (2 %). The slow
references are SciPy's functions on raw samples (tests/analyzers/latency/test_comparison.py).

Sources: H. Mann, D. Whitney (1947), with ties as in E. Lehmann, Nonparametrics (1975); N. Cliff (1993) for the effect
size; J. Hodges, E. Lehmann (1963) for the shift, whose interval inverts the rank test; R. Woodruff (1952) for
quantiles; N. Smirnov (1948).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft
from scipy.special import kolmogorov, ndtr, ndtri

from analyzers.dependencies.histograms import GAMMA
from analyzers.latency.stack import Floats, Stack, aligned

LEVEL = 0.95
"""Of intervals."""
_LOG_GAMMA = float(np.log(GAMMA))


@dataclass(frozen=True, slots=True)
class RankTest:
    """Mann-Whitney's test, one entry per row; NaN where a side is empty.

    Attributes:
        superiority: the chance that a call after takes longer than one before, ties counting half. 0.5 = no difference.
        z: standardized; positive = slower after.
        greater_p: p-value of "not slower after".
        two_sided_p: p-value of "the same".
    """

    superiority: Floats
    z: Floats
    greater_p: Floats
    two_sided_p: Floats

    @property
    def cliffs_delta(self) -> Floats:
        """Effect size in -1..1: 0 = no difference, 1 = every call after takes longer than every one before."""
        return 2 * self.superiority - 1


@dataclass(frozen=True, slots=True)
class Ratio:
    """Duration after divided by duration before, with a `LEVEL` interval; one entry per row."""

    ratio: Floats
    low: Floats
    high: Floats


def rank_test(before: Stack, after: Stack, dispersion: float | Floats = 1.0) -> RankTest:
    """Mann-Whitney's test with correction for ties and continuity.

    Args:
        dispersion: how many times as much as independent calls the rows vary (at least 1), a number or one per row.
    """
    one, two = aligned(before, after)
    n, m = one.calls, two.calls
    below = np.cumsum(one.counts, axis=1) - one.counts / 2
    pairs = n * m
    with np.errstate(invalid="ignore", divide="ignore"):
        superiority = (two.counts * below).sum(axis=1) / pairs
        error = _rank_error(one, two) * np.sqrt(dispersion)
        away = superiority - 0.5
        # Half a pair to continuity, as SciPy does.
        z = np.where(error > 0, np.sign(away) * np.maximum(np.abs(away) - 0.5 / pairs, 0) / error, 0.0)
        up = np.where(error > 0, (away - 0.5 / pairs) / error, 0.0)
    z, up = (np.where(pairs > 0, each, np.nan) for each in (z, up))
    return RankTest(superiority, z, ndtr(-up), np.minimum(1.0, 2 * ndtr(-np.abs(z))))


def _rank_error(one: Stack, two: Stack) -> Floats:
    """Standard error of `superiority` when nothing changed."""
    n, m = one.calls, two.calls
    total = n + m
    ties = one.counts + two.counts
    with np.errstate(invalid="ignore", divide="ignore"):
        correction = (ties**3 - ties).clip(0).sum(axis=1) / (total * (total - 1))
        return np.sqrt(np.maximum((total + 1 - correction) / (12 * n * m), 0))


def smirnov(before: Stack, after: Stack, dispersion: float | Floats = 1.0) -> tuple[Floats, Floats]:
    """(distance, p-value) per row: the largest difference of the two distributions, on any scale of time.

    The p-value is the asymptotic one; ties (buckets) make it too large, never too small.
    """
    one, two = aligned(before, after)
    n, m = one.calls, two.calls
    with np.errstate(invalid="ignore", divide="ignore"):
        gap = np.cumsum(one.counts, axis=1) / n[:, None] - np.cumsum(two.counts, axis=1) / m[:, None]
        distance = np.abs(gap).max(axis=1)
        size = n * m / (n + m) / dispersion
    p = kolmogorov(np.sqrt(np.where(size > 0, size, 0)) * np.where(np.isnan(distance), 0, distance))
    return distance, np.where((n > 0) & (m > 0), p, np.nan)


def shift(before: Stack, after: Stack, dispersion: float | Floats = 1.0, level: float = LEVEL) -> Ratio:
    """Hodges-Lehmann: the median of all ratios of a call after to one before, with the rank test's interval.

    All n x m ratios are counted by a convolution of the two histograms. Even within a bucket's width of ratios.
    """
    one, two = aligned(before, after)
    width = one.counts.shape[1]
    size = fft.next_fast_len(2 * width - 1, real=True)
    scale = [np.maximum(each.calls, 1.0)[:, None] for each in (one, two)]
    spectra = [np.asarray(fft.rfft(s.counts / of, size)) for s, of in zip((one, two), scale, strict=True)]
    # Column k is a difference of k - (width - 1) buckets.
    found = np.roll(np.asarray(fft.irfft(spectra[1] * np.conj(spectra[0]), size)), width - 1, axis=1)[
        :, : 2 * width - 1
    ]
    found = np.where(found > 1e-12, found, 0.0)
    cumulated = np.cumsum(found, axis=1)
    half = float(ndtri(0.5 + level / 2)) * _rank_error(one, two) * np.sqrt(dispersion)
    total = cumulated[:, -1]
    half = np.where(np.isfinite(half), half, 0.5)
    places = [_place(found, cumulated, share * total) for share in (np.full(len(total), 0.5), 0.5 - half, 0.5 + half)]
    middle, low, high = (np.exp((place - width + 1) * _LOG_GAMMA) for place in places)
    known = (one.calls > 0) & (two.calls > 0)
    return Ratio(*(np.where(known, each, np.nan) for each in (middle, low, high)))


def _place(found: Floats, cumulated: Floats, rank: Floats) -> Floats:
    """Where `rank` is reached, in columns, even within half a column to either side."""
    column = np.minimum((cumulated < rank[:, None] - 1e-12).sum(axis=1), found.shape[1] - 1)
    rows = np.arange(len(found))
    inside = found[rows, column]
    part = np.divide(rank - (cumulated[rows, column] - inside), inside, out=np.full(len(rows), 0.5), where=inside > 0)
    return column - 0.5 + np.clip(part, 0.0, 1.0)


def quantile_ratio(
    before: Stack, after: Stack, share: float, dispersion: float | Floats = 1.0, level: float = LEVEL
) -> Ratio:
    """The ratio of one quantile, with Woodruff's interval (nothing is assumed of the shape)."""
    reach = float(ndtri(0.5 + level / 2))
    at: list[Floats] = []
    wide: list[Floats] = []
    for stack in (before, after):
        with np.errstate(divide="ignore"):
            step = np.sqrt(share * (1 - share) * dispersion / stack.calls)
            step = np.maximum(np.where(np.isfinite(step), step, 0.5), 1 / np.maximum(stack.calls, 1))
        logs = stack.log_quantiles(np.stack([np.full(len(stack), share), share - step, share + step], axis=1))
        at.append(logs[:, 0])
        wide.append((logs[:, 2] - logs[:, 1]) / 2)
    middle, error = at[1] - at[0], reach * np.hypot(*wide)
    return Ratio(np.exp(middle), np.exp(middle - error), np.exp(middle + error))


def share_test(
    hits_before: npt.ArrayLike,
    before: npt.ArrayLike,
    hits_after: npt.ArrayLike,
    after: npt.ArrayLike,
    dispersion: float | Floats = 1.0,
    margin: float | Floats = 0.0,
) -> Floats:
    """z of "the share after is larger by more than `margin`".

    Both shares are moved towards a half by two calls (A. Agresti, B. Caffo, 2000).
    """
    k, n, j, m = (np.asarray(each, np.float64) for each in (hits_before, before, hits_after, after))
    one, two = (k + 1) / (n + 2), (j + 1) / (m + 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        plain = np.minimum(two - one, np.where((n > 0) & (m > 0), j / m - k / n, 0.0))
        error = np.sqrt((one * (1 - one) / (n + 2) + two * (1 - two) / (m + 2)) * dispersion)
        return np.asarray((plain - margin) / error, np.float64)
