"""Slow changes: six hours against the same six hours a day before, and a week before where that is stored.

hours of the rollups ──► grid (series x hours) ──► what rose ──► histograms of both ──► Judged

A drift over a day is no change from one hour to the next, and hides in the day's own course. Held against the same
hours of the day before the course is gone. The noise of that comparison is how much the same hours of neighbouring
days differ, hour by hour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analyzers.dependencies.change_tests import adjusted
from analyzers.latency.comparison import rank_test, shift, smirnov
from analyzers.latency.grid import SUMS, Grid, hourly, with_groups
from analyzers.latency.judged import Judged, Stage
from analyzers.latency.limits import Limits
from analyzers.latency.members import Members
from analyzers.latency.rollups import HourRollups
from analyzers.latency.stack import Flags, Floats, Ints, Stack, is_cut_to_milliseconds, uncut

HOUR_S, DAY_H, WEEK_H = 3600, 24, 168
SPAN_H = 6
"""Hours that are compared with the same ones before."""
HISTORY_H = WEEK_H + SPAN_H + 2
LEAST_DRIFT = 1.1
"""A typical call takes so many times as long as in the same hours before: days differ more than minutes do."""
LEAST_CALLS = 500
LEAST_HOURS = 4
"""Hours with calls, of the six, on both days."""
_FLOOR = 0.02
"""The same hours of two days differ by a fiftieth on any system (log scale)."""


@dataclass(frozen=True, slots=True)
class Drifts:
    """What one moment shows; `tested` series had enough calls on both days."""

    tested: int
    judged: Sequence[Judged]


def history(rollups: HourRollups, members: Members, first: int, last: int) -> Grid:
    """What `drifts` needs for the whole hours `first` to `last` (seconds since 1970), read once."""
    start = first - HISTORY_H * HOUR_S
    hours = hourly(members.series, start, (last - start) // HOUR_S, [rollups.hour_sums(start, last)])
    return with_groups(hours, members)


def drifts(rollups: HourRollups, members: Members, hours: Grid, at: int, limits: Limits) -> Drifts:
    """Look at the whole hour `at` (seconds since 1970).

    Args:
        hours: `history` of it.
    """
    end = (at - hours.start) // HOUR_S
    part = slice(end - HISTORY_H, end)
    of = Grid(at - HISTORY_H * HOUR_S, *(getattr(hours, name)[:, part] for name in SUMS))
    level, known = _levels(of)
    now = slice(HISTORY_H - SPAN_H, HISTORY_H)
    day, week = (slice(now.start - back, now.stop - back) for back in (DAY_H, WEEK_H))
    # Versions come and go within days: an operation is held against itself, whoever answers.
    enough = _enough(of, now) & _enough(of, day) & members.alone
    with np.errstate(invalid="ignore", divide="ignore"):
        rise = _mean(level[:, now] - level[:, day], known[:, now] & known[:, day])
        weekly = _mean(level[:, now] - level[:, week], known[:, now] & known[:, week])
    noise = _noise(level, known)
    has_week = _enough(of, week)
    # What last week's same hours brought as well is a habit of the week.
    least = np.where(has_week & np.isfinite(weekly), np.fmin(rise, weekly), rise)
    candidates = np.flatnonzero(enough & (least > np.log(limits.sure_ratio)) & (least > 3 * noise))
    found = [_judged(int(row), of, rollups, members, at, limits, bool(has_week[row])) for row in candidates]
    tested = int(enough.sum())
    q = adjusted([*(one.p for one in found), *[1.0] * max(tested - len(found), 0)])
    return Drifts(
        tested,
        [
            one.with_q(chance).then("discovery", chance <= limits.alpha, f"q = {chance:.2g} among {tested:,} tests")
            for one, chance in zip(found, q, strict=False)
        ],
    )


def _levels(of: Grid) -> tuple[Floats, Flags]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(of.calls > 0, of.log_sum / of.calls, 0.0), of.calls > 0


def _enough(of: Grid, part: slice) -> Flags:
    calls = of.calls[:, part]
    return (calls.sum(axis=1) >= LEAST_CALLS) & ((calls > 0).sum(axis=1) >= LEAST_HOURS)


def _mean(values: Floats, known: Flags) -> Floats:
    return np.where(known, values, 0.0).sum(axis=1) / known.sum(axis=1)


def _noise(level: Floats, known: Flags) -> Floats:
    """How far six hours lie from the same ones of the day before, as the days up to yesterday show it."""
    steps = level[:, DAY_H : HISTORY_H - DAY_H] - level[:, : HISTORY_H - 2 * DAY_H]
    both = known[:, DAY_H : HISTORY_H - DAY_H] & known[:, : HISTORY_H - 2 * DAY_H]
    many = both.sum(axis=1)
    spread = np.sqrt(np.where(both, steps**2, 0.0).sum(axis=1) / np.maximum(many, 1))
    # Hours next to each other wander together: six of them are not much surer than one.
    return np.maximum(np.where(many >= SPAN_H, spread, _FLOOR), _FLOOR)


def _judged(
    row: int, of: Grid, rollups: HourRollups, members: Members, at: int, limits: Limits, has_week: bool
) -> Judged:
    span = SPAN_H * HOUR_S
    before, after, last = (
        _stack(rollups, members, row, since, until)
        for since, until in (
            (at - span - DAY_H * HOUR_S, at - DAY_H * HOUR_S),
            (at - span, at),
            (at - 2 * HOUR_S, at),
        )
    )
    spread = _dispersion(of, row)
    ranks = rank_test(before, after, spread)
    distance, _ = smirnov(before, after)
    cut = is_cut_to_milliseconds(before + after)
    fine = [uncut(each, cut) for each in (before, after, last)]
    ratio = shift(fine[0], fine[1], spread)
    value, low, high = (float(each[0]) for each in (ratio.ratio, ratio.low, ratio.high))
    level_ms = float(np.exp(fine[0].log_quantiles(np.array([[0.5]]))[0, 0])) / 1000
    now = float(shift(fine[0], fine[2]).ratio[0])
    p = float(ranks.greater_p[0])
    large = value >= LEAST_DRIFT and low >= limits.sure_ratio and level_ms * (value - 1) >= limits.min_ms
    weeks = "and a week" if has_week else "(not enough data: has no week before, needs one)"
    stages = (
        Stage("test", p <= limits.alpha, f"p = {p:.2g}: six hours against the same a day before {weeks}"),
        Stage("effect", large, f"a typical call takes {value:.2f} times as long ({low:.2f} to {high:.2f})"),
        Stage("lasting", now >= value**0.5, f"{now:.2f} times in the last two hours"),
    )
    return Judged(
        row=row,
        what="latency",
        shape="typical",
        since=_begin(of, row, at),
        until=at,
        ratio=value,
        low=low,
        high=high,
        p=p,
        q=1.0,
        superiority=float(ranks.superiority[0]),
        distance=float(distance[0]),
        before=before,
        after=after,
        requests=(int(before.calls[0]), int(after.calls[0])),
        errors=(0, 0),
        spread=spread,
        before_min=SPAN_H * 60,
        stages=stages,
    )


def _stack(rollups: HourRollups, members: Members, row: int, since: int, until: int) -> Stack:
    return rollups.hour_histograms(members.of(row), since, until).stack(members.places(np.array([row])), 1)


def _dispersion(of: Grid, row: int) -> float:
    """How many times as much as independent calls the same hours of neighbouring days vary; at least 1."""
    calls = of.calls[row]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = of.log_sum[row] / calls
        variance = (of.log_sum2[row].sum() - of.log_sum[row].sum() ** 2 / calls.sum()) / calls.sum()
        early, late = slice(0, HISTORY_H - 2 * DAY_H), slice(DAY_H, HISTORY_H - DAY_H)
        step = (mean[late] - mean[early]) ** 2 / (1 / calls[late] + 1 / calls[early]) / variance
    step = step[np.isfinite(step)]
    # Without a second day of history a day differs from the next by `_FLOOR`, whatever the calls.
    usual = _FLOOR**2 * calls[-SPAN_H:].sum() / 2 / max(float(variance), 1e-9)
    return max(1.0, float(np.mean(step)) if len(step) >= SPAN_H else float(usual))


def _begin(of: Grid, row: int, at: int) -> int:
    """The hour from which on a day's difference to the day before is best told from what it was earlier."""
    level, known = _levels(of.take(np.array([row])))
    hours: Ints = np.arange(HISTORY_H - DAY_H, HISTORY_H)
    both = known[0, hours] & known[0, hours - DAY_H]
    rise = np.where(both, level[0, hours] - level[0, hours - DAY_H], 0.0)
    gains = [
        (split * (DAY_H - split) / DAY_H * max(float(rise[split:].mean() - rise[:split].mean()), 0.0) ** 2, split)
        for split in range(1, DAY_H - 1)
    ]
    return at - (DAY_H - max(gains)[1]) * HOUR_S
