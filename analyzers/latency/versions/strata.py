"""Rank statistics in strata: calls are compared only with those of the same operation, caller and time.

counts by slot ──► strata_of ──► ranks (one operation) ──► together (several, by given weights) ──► ratio_of

So neither the hour nor the mix of calls nor the way a canary's share of them grew can look like a difference.

Sources: P. van Elteren (1960) for the stratified rank test, each stratum weighed by what it knows; J. Hodges,
E. Lehmann (1963) for the ratio; the spread of the strata about their mean, where it is larger than that of independent
calls, as in quasi-likelihood (R. Wedderburn, 1974), with F. Satterthwaite's (1946) degrees of freedom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.special import ndtri, stdtr, stdtrit

from analyzers.dependencies.histograms import GAMMA
from analyzers.latency.stack import Floats, Ints, Stack, aligned

CALLS = 10
"""A stratum is made long enough that each side has so many calls: the ranks of fewer are far from normal."""
_LOG_GAMMA = float(np.log(GAMMA))
_KNOWN = float("inf")
"""Degrees of freedom of a variance that is known: Student's t is then normal."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """What the ranks of two sides tell.

    Attributes:
        superiority: the chance that a canary's call takes longer than a baseline's, ties counting half.
        error: its standard error where nothing differs.
        pairs: share of all pairs by how many buckets the canary's call lies above; column k is k - width // 2.
        dispersion: how many times as much as independent calls the strata vary, at least 1; `error` has it in.
        freedom: degrees of freedom of the error: few where few strata tell how much they vary.
        design: how many times the variance of one stratum of independent calls without ties the error is.
        calls: those of both sides that were compared.
    """

    superiority: float
    error: float
    pairs: Floats
    dispersion: float
    freedom: float
    design: float
    calls: tuple[float, float]

    @property
    def z(self) -> float:
        """Standardized; positive = the canary is slower."""
        return (self.superiority - 0.5) / self.error if self.error > 0 else 0.0

    @property
    def two_sided_p(self) -> float:
        """p-value of "no difference"."""
        return float(min(1.0, 2 * stdtr(self.freedom, -abs(self.z))))


@dataclass(frozen=True, slots=True)
class Estimate:
    """A ratio (or a difference) with its interval."""

    value: float
    low: float
    high: float


def strata_of(group: Ints, slot: Ints, calls: Floats) -> Ints:
    """The stratum of each row, from 0: neighbouring slots of one group, until each side has `CALLS` calls in it.

    What is left at the end of a group joins its last stratum.

    Args:
        group: what is never mixed (operation and caller), by row.
        slot: of time, by row.
        calls: shape (rows, 2), of both sides.
    """
    found = np.zeros(len(group), np.int64)
    number = -1
    for one in np.unique(group).tolist():
        rows = np.flatnonzero(group == one)
        gathered: list[int] = []
        seen, closed = np.zeros(2), False
        for row in rows[np.argsort(slot[rows], kind="stable")].tolist():
            gathered.append(row)
            seen = seen + calls[row]
            if seen.min() >= CALLS:
                number, closed = number + 1, True
                found[gathered] = number
                gathered, seen = [], np.zeros(2)
        if gathered:
            number += 0 if closed else 1
            found[gathered] = number
    return found


def weights_of(calls: Floats) -> Floats:
    """What each stratum weighs, summing to 1: what it knows of a difference, n m / (n + m); 0 where a side is empty.

    Args:
        calls: shape (strata, 2), of both sides.
    """
    known = np.divide(calls.prod(axis=1), calls.sum(axis=1), out=np.zeros(len(calls)), where=calls.min(axis=1) > 0)
    return known / max(float(known.sum()), 1e-300)


def ranks(baseline: Stack, canary: Stack) -> Ranks | None:
    """Both sides of one operation, a row per stratum; None where no stratum has calls of both."""
    one, two = aligned(baseline, canary)
    calls = np.stack([one.calls, two.calls], axis=1)
    both = np.flatnonzero(calls.min(axis=1) > 0)
    if not len(both):
        return None
    one, two, calls = one.take(both), two.take(both), calls[both]
    weight = weights_of(calls)
    n, m = calls.T
    below = np.cumsum(one.counts, axis=1) - one.counts / 2
    each = (two.counts * below).sum(axis=1) / (n * m)
    superiority = float(weight @ each)
    # Of independent calls where nothing differs, with correction for ties (E. Lehmann, Nonparametrics, 1975).
    ties = ((one.counts + two.counts) ** 3 - one.counts - two.counts).clip(0).sum(axis=1)
    total = n + m
    variance = (total + 1 - ties / (total * np.maximum(total - 1, 1))).clip(0) / (12 * n * m)
    known = variance > 0
    strata = int(known.sum())
    apart = float(((each[known] - superiority) ** 2 / variance[known]).sum())
    dispersion = max(1.0, apart / (strata - 1)) if strata > 1 else 1.0
    squared = float(weight**2 @ variance) * dispersion
    sums = float(n.sum()), float(m.sum())
    design = squared * 12 * sums[0] * sums[1] / (sums[0] + sums[1])
    freedom = freedom_of(strata, dispersion)
    return Ranks(superiority, squared**0.5, _pairs(one, two, weight), dispersion, freedom, design, sums)


def freedom_of(strata: int, dispersion: float) -> float:
    """Degrees of freedom of a variance `dispersion` times the known one, of which the strata tell what is beyond it."""
    beyond = 1 - 1 / dispersion
    return (strata - 1) / beyond**2 if beyond > 0 and strata > 1 else _KNOWN


def widened(strata: int, dispersion: float, level: float = 0.95) -> float:
    """The dispersion that gives normal intervals the width of Student's."""
    tail = 0.5 + level / 2
    return dispersion * float(stdtrit(freedom_of(strata, dispersion), tail) / ndtri(tail)) ** 2


def _pairs(one: Stack, two: Stack, weight: Floats) -> Floats:
    """Share of all pairs by their difference in buckets, all strata together: one convolution in Fourier space."""
    width = one.counts.shape[1]
    size = fft.next_fast_len(2 * width - 1, real=True)
    spectra = [np.asarray(fft.rfft(side.counts / side.calls[:, None], size)) for side in (one, two)]
    mean = (weight[:, None] * spectra[1] * np.conj(spectra[0])).sum(axis=0)
    found = np.roll(np.asarray(fft.irfft(mean, size)), width - 1)[: 2 * width - 1]
    return np.where(found > 1e-12, found, 0.0)


def together(parts: Sequence[Ranks], weight: Floats) -> Ranks:
    """Several operations as one, each with its weight; their widths must be the same.

    Args:
        weight: shares that sum to 1.
    """
    each = [share**2 * part.error**2 for share, part in zip(weight.tolist(), parts, strict=True)]
    squared = sum(each)
    unsure = sum(one**2 / part.freedom for one, part in zip(each, parts, strict=True))
    n, m = (sum(part.calls[side] for part in parts) for side in (0, 1))
    return Ranks(
        float(sum(share * part.superiority for share, part in zip(weight, parts, strict=True))),
        squared**0.5,
        np.asarray(sum(share * part.pairs for share, part in zip(weight, parts, strict=True))),
        max(part.dispersion for part in parts),
        squared**2 / unsure if unsure > 0 else _KNOWN,
        squared * 12 * n * m / (n + m),
        (n, m),
    )


def ratio_of(of: Ranks, level: float) -> Estimate:
    """Hodges-Lehmann: the median of all ratios of a canary's call to a baseline's, with the rank test's interval."""
    half = float(stdtrit(of.freedom, 0.5 + level / 2)) * of.error
    return Estimate(*(_ratio_at(of.pairs, share) for share in (0.5, 0.5 - half, 0.5 + half)))


def _ratio_at(pairs: Floats, share: float) -> float:
    """The ratio below which `share` of all pairs lie, even within half a bucket to either side."""
    cumulated = np.cumsum(pairs)
    rank = float(np.clip(share, 0.0, 1.0)) * cumulated[-1]
    column = min(int(np.searchsorted(cumulated, rank - 1e-12)), len(pairs) - 1)
    inside = pairs[column]
    part = (rank - (cumulated[column] - inside)) / inside if inside > 0 else 0.5
    return float(np.exp((column - 0.5 + np.clip(part, 0.0, 1.0) - len(pairs) // 2) * _LOG_GAMMA))


def superiority_at(of: Ranks, ratio: float) -> float:
    """What the superiority would be if the canary's durations were `ratio` times the baseline's, at the seen spread.

    A canary that is otherwise like the baseline is taken from the pairs themselves, shifted by their own median.
    """
    middle = np.log(_ratio_at(of.pairs, 0.5)) / _LOG_GAMMA
    edges = np.arange(len(of.pairs) + 1) - 0.5 - len(of.pairs) // 2
    below = np.concatenate([[0.0], np.cumsum(of.pairs)])
    step = np.log(ratio) / _LOG_GAMMA
    up, down = np.interp([middle + step, middle - step], edges, below / below[-1])
    # Seen from both sides: the pairs need not be symmetric.
    return float(0.5 + (up - down) / 2)


def standardized(stack: Stack, weight: Floats | None) -> Stack:
    """One row: the strata of one side by given weights, with as many calls as it is worth (L. Kish, 1965).

    Args:
        weight: None = as they are.
    """
    calls = stack.calls
    if weight is None:
        return Stack(stack.counts.sum(axis=0, keepdims=True), stack.first)
    used = (calls > 0) & (weight > 0)
    if not used.any():
        return Stack(np.zeros((1, stack.counts.shape[1])), stack.first)
    share = weight[used] / weight[used].sum()
    worth = 1 / float((share**2 / calls[used]).sum())
    return Stack((stack.counts[used] * (share / calls[used])[:, None]).sum(axis=0, keepdims=True) * worth, stack.first)
