"""E-divisive as published: the oracle of tests, far too slow for more than some hundred points.

D. Matteson, N. James, "A Nonparametric Approach for Multiple Change Point Analysis of Multivariate Data" (JASA 2014),
with exponent 1: the energy distance of the two parts, scaled by their sizes, held against random permutations.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def energy(before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]) -> float:
    """n m / (n + m) times the energy distance of two samples."""
    n, m = len(before), len(after)
    across = np.abs(before[:, None] - after[None, :]).mean()
    within = [np.abs(one[:, None] - one[None, :]).sum() / max(len(one) * (len(one) - 1), 1) for one in (before, after)]
    return float(n * m / (n + m) * (2 * across - within[0] - within[1]))


def best_split(values: npt.NDArray[np.float64], shortest: int) -> tuple[int, float]:
    """(index of the first point of the new level, statistic) of the best split."""
    found = [(energy(values[:at], values[at:]), at) for at in range(shortest, len(values) - shortest + 1)]
    score, at = max(found)
    return at, score


def e_divisive(
    values: npt.NDArray[np.float64], shortest: int, permutations: int = 99, alpha: float = 0.05, seed: int = 0
) -> list[int]:
    """Change points in order; each split is tested by shuffling the points of its part."""
    rng = np.random.default_rng(seed)

    def within(low: int, high: int) -> list[int]:
        part = values[low:high]
        if len(part) < 2 * shortest:
            return []
        at, score = best_split(part, shortest)
        larger = sum(best_split(rng.permutation(part), shortest)[1] >= score for _ in range(permutations))
        if (larger + 1) / (permutations + 1) > alpha:
            return []
        return [*within(low, low + at), low + at, *within(low + at, high)]

    return within(0, len(values))
