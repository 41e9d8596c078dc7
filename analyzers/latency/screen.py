"""The first stage: which series may have become slower or more often wrong, from sums alone.

Grid of one look ──► screen ──► Candidates; a spike ──► spikes

Every moment of the last `reach_min` minutes is tried as the one from which on things are otherwise. A series goes on to
the next stage where one of three means rose by more than `screen_z` standard errors: of the log duration, of its
squared distance from the level before (a longer tail), or the share of failed calls. The noise of a mean is taken from
the minutes themselves, which vary more than independent calls would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analyzers.latency.grid import MINUTE_S, Grid
from analyzers.latency.limits import Limits
from analyzers.latency.stack import Flags, Floats, Ints

UNSURE_STEPS = 6
"""A variance of so many steps may be half of what it is."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Series that go on to the next stage.

    Attributes:
        tested, tested_errors: series with enough calls to say something (latency, errors).
        slower: rows of the grid that may have become slower.
        failing: rows whose calls may fail more often.
    """

    tested: int
    tested_errors: int
    slower: Ints
    failing: Ints


@dataclass(frozen=True, slots=True)
class Spike:
    """Minutes that stood out and went back.

    Attributes:
        row: of the grid.
        since, until: [since, until), seconds since 1970.
        score: of the worst minute, in standard errors.
        ratio: of the geometric means.
    """

    row: int
    since: int
    until: int
    score: float
    ratio: float


def splits(minutes: int, limits: Limits) -> Ints:
    """The columns that are tried as the first minute of a new level."""
    return np.arange(limits.before_min, minutes - limits.persist_min + 1)


def screen(of: Grid, limits: Limits) -> Candidates:
    """Which series to look at more closely; `of` has `limits.look_min` minutes."""
    at = splits(of.minutes, limits)
    known = _enough(of.calls, at, limits)
    center = _level(of, limits)
    q = of.log_sum2 - 2 * center[:, None] * of.log_sum + center[:, None] ** 2 * of.calls
    slower = np.zeros(len(of), np.bool_)
    for values in (of.log_sum, q):
        slower |= (_rise(values, of.calls, at, known, limits.before_min) > limits.screen_z).any(axis=1)
    counted = _enough(of.requests, at, limits)
    rise = _rise(of.errors, of.requests, at, counted, limits.before_min, least=True)
    return Candidates(
        int(known.any(axis=1).sum()),
        int(counted.any(axis=1).sum()),
        np.flatnonzero(slower),
        np.flatnonzero((rise > limits.screen_z).any(axis=1)),
    )


def _enough(calls: Floats, at: Ints, limits: Limits) -> Flags:
    """Whether both sides of each split have enough calls in enough minutes, shape (series, splits)."""
    before, after = _sides(calls, at, limits.before_min)
    minutes_before, minutes_after = _sides((calls > 0).astype(np.float64), at, limits.before_min)
    return (
        (before >= limits.min_calls_before)
        & (after >= limits.min_calls_after)
        & (minutes_before >= limits.min_minutes_before)
        & (minutes_after >= limits.min_minutes_after)
    )


def _sides(values: Floats, at: Ints, before: int) -> tuple[Floats, Floats]:
    """Sums over the `before` minutes up to each split, and from it to the end."""
    total = np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)
    return total[:, at] - total[:, at - before], total[:, -1:] - total[:, at]


def _level(of: Grid, limits: Limits) -> Floats:
    """Mean log duration of the minutes that are before every split; of a young store of all there are."""
    calls = of.calls[:, : limits.before_min].sum(axis=1)
    sums = of.log_sum[:, : limits.before_min].sum(axis=1)
    young = calls < limits.min_calls_before
    calls, sums = np.where(young, of.calls.sum(axis=1), calls), np.where(young, of.log_sum.sum(axis=1), sums)
    return sums / np.maximum(calls, 1)


def _rise(values: Floats, calls: Floats, at: Ints, known: Flags, before: int, *, least: bool = False) -> Floats:
    """By how many standard errors the mean of `values` per call is higher from each split on; 0 where not `known`.

    Args:
        least: values are 0 or 1 per call: they vary at least as independent ones do.
    """
    n, m = _sides(calls, at, before)
    one, two = _sides(values, at, before)
    with np.errstate(invalid="ignore", divide="ignore"):
        rise = two / m - one / n
        spread = _spread(values, calls)[:, None]
        if least:
            share = (one + two + 1) / (n + m + 2)
            spread = np.maximum(spread, share * (1 - share))
        z = rise / np.sqrt(spread * (1 / n + 1 / m))
    return np.where(known & np.isfinite(z), z, np.where(known & (rise > 0), np.inf, 0.0))


def _spread(values: Floats, calls: Floats) -> Floats:
    """Variance of one call as the minutes show it, by the steps from minute to minute, the largest step left out.

    Steps and not distances from a mean: a level that drifts slowly is no noise (J. von Neumann, 1941).
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(calls > 0, values / calls, np.nan)
        step = (mean[:, 1:] - mean[:, :-1]) ** 2 / (1 / calls[:, 1:] + 1 / calls[:, :-1])
    known = np.isfinite(step)
    step = np.where(known, step, 0.0)
    steps = known.sum(axis=1)
    rest = (step.sum(axis=1) - step.max(axis=1, initial=0.0)) / np.maximum(steps - 1, 1)
    # Few steps tell little, and the largest is left out.
    return np.where(steps > UNSURE_STEPS, rest * (1 + UNSURE_STEPS / np.maximum(steps, 1)), np.inf)


def spikes(of: Grid, since: int, until: int, limits: Limits) -> Sequence[Spike]:
    """What stood out in the minutes of [since, until) and was back to where it had been before the grid's end.

    Each minute is held against the hour before it. The last `persist_min` minutes of the grid must be quiet again.
    """
    first, last = ((moment - of.start) // MINUTE_S for moment in (since, until))
    before, after = of.part(of.start, since), of.part(of.end - limits.persist_min * MINUTE_S, of.end)
    calls = before.calls.sum(axis=1)
    enough = (calls >= limits.min_calls_before) & ((before.calls > 0).sum(axis=1) >= limits.min_minutes_before)
    with np.errstate(invalid="ignore", divide="ignore"):
        level = before.log_sum.sum(axis=1) / calls
        spread = _spread(before.log_sum, before.calls)
        mean = of.log_sum[:, first:last] / of.calls[:, first:last]
        away = mean - level[:, None]
        z = away / np.sqrt(spread[:, None] / of.calls[:, first:last])
        now = after.log_sum.sum(axis=1) / after.calls.sum(axis=1) - level
    standing = enough[:, None] & (z > limits.spike_z) & (away > np.log(limits.spike_ratio))
    found: list[Spike] = []
    for row in np.flatnonzero(standing.any(axis=1)).tolist():
        columns = np.flatnonzero(standing[row])
        worst = float(away[row, columns].max())
        if not now[row] < worst / 2:
            continue
        for run in np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1):
            best = run[np.argmax(z[row, run])]
            found.append(
                Spike(
                    row,
                    since + int(run[0]) * MINUTE_S,
                    since + (int(run[-1]) + 1) * MINUTE_S,
                    float(z[row, best]),
                    float(np.exp(away[row, best])),
                )
            )
    return found
