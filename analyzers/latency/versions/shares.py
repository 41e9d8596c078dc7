"""Shares of failed calls of two sides in strata: their difference with an interval, and how sure it is.

Sources: E. Wilson (1927) for the interval of one share; R. Newcombe (1998, method 10) for that of a difference;
A. Agresti, B. Caffo (2000) for the test; L. Kish (1965) for what a weighted side is worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from analyzers.latency.comparison import share_test
from analyzers.latency.stack import Floats
from analyzers.latency.versions.strata import Estimate, widened


@dataclass(frozen=True, slots=True)
class Shares:
    """Failed calls of both sides, the strata weighed alike.

    Attributes:
        hits, calls: of (baseline, canary): what the weighed sides are worth, so not whole numbers.
    """

    hits: tuple[float, float]
    calls: tuple[float, float]

    @property
    def difference(self) -> float:
        """The canary's share less the baseline's."""
        return self.hits[1] / self.calls[1] - self.hits[0] / self.calls[0]

    @property
    def two_sided_p(self) -> float:
        """p-value of "no difference"."""
        (k, j), (n, m) = self.hits, self.calls
        z = max(float(share_test(k, n, j, m)), float(share_test(j, m, k, n)))
        return float(min(1.0, 2 * ndtr(-z)))

    def scaled(self, factor: float) -> Shares:
        """The same shares of `factor` times as many calls."""
        (k, j), (n, m) = self.hits, self.calls
        return Shares((k * factor, j * factor), (n * factor, m * factor))


def shares(hits: Floats, calls: Floats, weight: Floats) -> Shares | None:
    """Both sides by given weights of the strata; None where no stratum with calls of both has a weight.

    Errors come in bursts: where the strata's differences lie further apart than those of independent calls, both sides
    are worth less.

    Args:
        hits, calls: shape (strata, 2).
        weight: by stratum, summing to 1.
    """
    used = (calls.min(axis=1) > 0) & (weight > 0)
    if not used.any():
        return None
    k, n, share = hits[used], calls[used], weight[used] / weight[used].sum()
    each = k / n
    worth = 1 / (share[:, None] ** 2 / n).sum(axis=0) / _dispersion(each, n, k)
    found = share @ each * worth
    return Shares((float(found[0]), float(found[1])), (float(worth[0]), float(worth[1])))


def _dispersion(each: Floats, calls: Floats, hits: Floats) -> float:
    """How many times as much as independent calls the differences of the strata vary, at least 1, told carefully."""
    typical = hits.sum() / calls.sum()
    if len(each) < 2 or not 0 < typical < 1:
        return 1.0
    known = calls.prod(axis=1) / calls.sum(axis=1)
    apart = each[:, 1] - each[:, 0]
    mean = known @ apart / known.sum()
    found = float(known @ (apart - mean) ** 2 / (typical * (1 - typical)) / (len(each) - 1))
    return widened(len(each), max(1.0, found))


def difference_of(of: Shares, level: float) -> Estimate:
    """The canary's share less the baseline's, with Newcombe's interval."""
    one, two = (hit / many for hit, many in zip(of.hits, of.calls, strict=True))
    (low, high), (bottom, top) = (_wilson(hit, many, level) for hit, many in zip(of.hits, of.calls, strict=True))
    apart = two - one
    down, up = float(np.hypot(two - bottom, high - one)), float(np.hypot(top - two, one - low))
    return Estimate(apart, apart - down, apart + up)


def _wilson(hits: float, calls: float, level: float) -> tuple[float, float]:
    z = float(ndtri(0.5 + level / 2))
    share = hits / calls
    middle = (share + z * z / (2 * calls)) / (1 + z * z / calls)
    half = z * np.sqrt(share * (1 - share) / calls + z * z / (4 * calls * calls)) / (1 + z * z / calls)
    # The ends are exact where there are none or all; rounding must not move them.
    return (0.0 if hits <= 0 else float(middle - half), 1.0 if hits >= calls else float(middle + half))


def mixed(parts: Sequence[Shares], weight: Floats) -> Shares:
    """Several operations as one, each with its weight (shares that sum to 1)."""
    each = np.array([[hit / many for hit, many in zip(part.hits, part.calls, strict=True)] for part in parts])
    worth = 1 / (weight[:, None] ** 2 / np.array([part.calls for part in parts])).sum(axis=0)
    found = weight @ each * worth
    return Shares((float(found[0]), float(found[1])), (float(worth[0]), float(worth[1])))
