"""What is compared: the calls of both versions in cells, gathered into one part per operation, and all parts together.

Cells (read.py) ──► strata of the same operation, caller and time ──► Part (ranks, shares, sides) ──► compare.py
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc

from analyzers.latency.stack import Floats, Ints, Stack, aligned, is_cut_to_milliseconds, uncut
from analyzers.latency.versions.outcome import Mix, Side
from analyzers.latency.versions.shares import Shares, mixed, shares
from analyzers.latency.versions.strata import Ranks, ranks, standardized, strata_of, together, weights_of

MIX_APART, MIX_ALPHA = 0.1, 0.001
"""Mixes differ where so large a share of calls is of other operations, and chance does so less often than this."""
_QUANTILES = (0.5, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class Cells:
    """Calls of both versions in the time in which both had some; a row per operation, caller and slot of time.

    Attributes:
        operations: names, by number.
        operation, caller, slot: numbers by row.
        baseline, canary: durations, a row each.
        calls, errors: shape (rows, 2), of baseline and canary.
        seconds: how much time the slots hold.
    """

    operations: Sequence[str]
    operation: Ints
    caller: Ints
    slot: Ints
    baseline: Stack
    canary: Stack
    calls: Floats
    errors: Floats
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One operation, or several together: its numbers before anything is judged.

    Attributes:
        operation: None = several.
        calls, errors: of (baseline, canary).
        sides: durations of both, one row each, weighed alike, and of as many calls as that is worth.
        ranked, failing: None where no caller reached both sides.
    """

    operation: str | None
    calls: tuple[int, int]
    errors: tuple[int, int]
    sides: tuple[Stack, Stack]
    ranked: Ranks | None
    failing: Shares | None

    def side(self, number: int) -> Side:
        """What is told of one side."""
        quantiles = self.sides[number].quantiles_us(_QUANTILES)[0] / 1000
        known = [None if np.isnan(each) else float(f"{each:.6g}") for each in quantiles.tolist()]
        return Side(self.calls[number], self.errors[number], *known)


def parts_of(cells: Cells) -> Sequence[Part]:
    """One part per operation with calls, in order of their numbers."""
    baseline, canary = aligned(cells.baseline, cells.canary)
    cut = np.zeros(len(cells.operation), np.bool_)
    known = np.unique(cells.operation).tolist()
    for number in known:
        rows = cells.operation == number
        both = Stack((baseline.counts + canary.counts)[rows].sum(axis=0, keepdims=True), baseline.first)
        cut[rows] = is_cut_to_milliseconds(both)[0]
    baseline, canary = uncut(baseline, cut), uncut(canary, cut)
    return [_part(cells, number, baseline, canary) for number in known]


def _part(cells: Cells, number: int, baseline: Stack, canary: Stack) -> Part:
    rows = np.flatnonzero(cells.operation == number)
    stratum = strata_of(cells.caller[rows], cells.slot[rows], cells.calls[rows])
    strata = int(stratum.max()) + 1
    calls, errors = np.zeros((strata, 2)), np.zeros((strata, 2))
    np.add.at(calls, stratum, cells.calls[rows])
    np.add.at(errors, stratum, cells.errors[rows])
    sides: list[Stack] = []
    for side in (baseline, canary):
        counts = np.zeros((strata, side.counts.shape[1]))
        np.add.at(counts, stratum, side.counts[rows])
        sides.append(Stack(counts, side.first))
    weight = weights_of(calls)
    alike = weight if weight.any() else None
    return Part(
        cells.operations[number],
        _pair(calls.sum(axis=0)),
        _pair(errors.sum(axis=0)),
        (standardized(sides[0], alike), standardized(sides[1], alike)),
        ranks(*sides),
        shares(errors, calls, weight),
    )


def whole(parts: Sequence[Part], chosen: Sequence[Part]) -> Part:
    """All parts together. Ranks and shares are of the chosen ones, mixed as the baseline's calls are."""
    calls = np.array([part.calls for part in parts]).reshape(-1, 2).sum(axis=0)
    errors = np.array([part.errors for part in parts]).reshape(-1, 2).sum(axis=0)
    nothing = Stack(np.zeros((1, 1)), 0)
    timed = [(part, part.ranked) for part in chosen if part.ranked is not None]
    sides, ranked = (nothing, nothing), None
    if timed:
        mix = _shares_of([part.calls[0] for part, _ in timed])
        one, two = (
            Stack(np.concatenate([part.sides[side].counts for part, _ in timed]), timed[0][0].sides[side].first)
            for side in (0, 1)
        )
        sides, ranked = (standardized(one, mix), standardized(two, mix)), together([each for _, each in timed], mix)
    counted = [(part, part.failing) for part in chosen if part.failing is not None]
    failing = (
        mixed([each for _, each in counted], _shares_of([part.calls[0] for part, _ in counted])) if counted else None
    )
    return Part(None, _pair(calls), _pair(errors), sides, ranked, failing)


def mix_of(parts: Sequence[Part], chosen: Sequence[Part]) -> Mix:
    """How the calls of both sides were mixed; `chosen` are those in the verdict on the whole service."""
    calls = np.array([part.calls for part in parts], np.float64).reshape(-1, 2)
    totals = calls.sum(axis=0)
    only = [
        [part.operation or "" for part in parts if part.calls[side] and not part.calls[1 - side]] for side in (0, 1)
    ]
    if not totals.all():
        return Mix(0.0, False, *only, left_out=0.0)
    apart = float(np.abs(np.subtract(*(calls / totals).T)).sum() / 2)
    usual = calls.sum(axis=1, keepdims=True) * totals / totals.sum()
    odd = float(((calls - usual) ** 2 / np.maximum(usual, 1e-9)).sum())
    differs = apart >= MIX_APART and float(chdtrc(max(len(parts) - 1, 1), odd)) < MIX_ALPHA
    left_out = 1 - sum(part.calls[0] for part in chosen) / totals[0]
    return Mix(apart, differs, *only, left_out=float(left_out))


def _shares_of(calls: Sequence[int]) -> Floats:
    many = np.asarray(calls, np.float64)
    return many / many.sum()


def _pair(values: Floats | Ints) -> tuple[int, int]:
    return int(values[0]), int(values[1])
