"""Where the level of a series changes for good: the strongest split first, then within both parts.

values ──► ranks within the part ──► CUSUM ──► p-value under autocorrelation ──► splits

Ranks, so that single wild points move nothing. The largest deviation of the cumulated ranks from a straight line is
held against the Kolmogorov distribution (that of a Brownian bridge); its scale is the long-run variance of what is
left when both levels are taken away, so that neighbours that resemble each other count for less. This is the
binary-segmentation form of what E-divisive (D. Matteson, N. James, 2014; `reference.py`) does by permutations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import kolmogorov
from scipy.stats import rankdata

Floats = npt.NDArray[np.float64]
DEEPEST = 200
"""Most change points that are looked for in one series."""


@dataclass(frozen=True, slots=True)
class Split:
    """`at` is the index of the first point of the new level, `p` its chance in an unchanged part."""

    at: int
    p: float


def splits(values: Floats, shortest: int, hopeless_p: float = 0.05) -> Sequence[Split]:
    """Change points in order of time; no level is shorter than `shortest` points.

    Args:
        hopeless_p: a part whose best split is more likely by chance than this is not cut.
    """
    found: list[Split] = []
    parts = [(0, len(values))]
    while parts and len(found) < DEEPEST:
        low, high = parts.pop()
        split = _best(values[low:high], shortest)
        if split is None or split.p > hopeless_p:
            continue
        found.append(Split(low + split.at, split.p))
        parts += [(low, low + split.at), (low + split.at, high)]
    return _settled(values, sorted(found, key=lambda one: one.at), shortest, hopeless_p)


def _settled(values: Floats, found: Sequence[Split], shortest: int, hopeless_p: float) -> Sequence[Split]:
    """Each split once more, between its neighbours only: what a later cut made superfluous is left out."""
    kept = list(found)
    changed = True
    while changed and kept:
        bounds = [0, *(one.at for one in kept), len(values)]
        again: list[Split] = []
        for place, one in enumerate(kept):
            low, high = bounds[place], bounds[place + 2]
            split = _best(values[low:high], shortest)
            if split is not None and split.p <= hopeless_p:
                again.append(Split(low + split.at, split.p))
            del one
        changed = len(again) < len(kept)
        kept = sorted({one.at: one for one in again}.values(), key=lambda one: one.at)
    return kept


def _best(values: Floats, shortest: int) -> Split | None:
    n = len(values)
    if n < 2 * shortest or values.min() == values.max():
        return None
    ranks = rankdata(values) / n
    total = np.cumsum(ranks - ranks.mean())[:-1]
    before = np.arange(1, n)
    inside = (before >= shortest) & (before <= n - shortest)
    # Weighted for where, plain for whether.
    weight = np.abs(total) / np.sqrt(before * (n - before) / n)
    at = int(before[inside][np.argmax(weight[inside])])
    rest = ranks - np.where(np.arange(n) < at, ranks[:at].mean(), ranks[at:].mean())
    scale = np.sqrt(long_run_variance(rest) * n)
    if scale == 0:
        return Split(at, 0.0)
    # A level that changes near an end bends the line little: there the weighted form tells more (Bonferroni over n).
    plain = float(kolmogorov(np.abs(total).max() / scale))
    z = float(weight[at - 1] / np.sqrt(long_run_variance(rest)))
    local = float(min(1.0, 2 * np.exp(-z * z / 2) * np.log2(max(n / shortest, 2))))
    return Split(at, min(1.0, 2 * min(plain, local)))


def long_run_variance(rest: Floats) -> float:
    """Variance of a mean times its length, of points that may resemble their neighbours (M. Bartlett's kernel).

    Bandwidth: n^(1/3), as W. Newey and K. West (1987) have it up to a constant. Never below the plain variance.
    """
    n = len(rest)
    plain = float(rest @ rest) / n
    width = min(int(np.ceil(n ** (1 / 3))), n - 1)
    lags = [2 * (1 - lag / (width + 1)) * float(rest[lag:] @ rest[:-lag]) / n for lag in range(1, width + 1)]
    return max(plain, plain + sum(lags))
