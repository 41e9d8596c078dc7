"""How long a regression lasted: minute by minute from its begin on, until the level before is back.

A regression ended with the first of ten minutes that, together, lie nearer to the level before than to the one after.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from analyzers.latency.grid import MINUTE_S, Grid, grid
from analyzers.latency.limits import Limits
from analyzers.latency.regression import Regression
from analyzers.latency.stack import Floats
from analyzers.latency.stored_rollups import StoredRollups

BACK_MIN = 10
"""Minutes that must lie near the old level together."""


def followed(found: Sequence[Regression], rollups: StoredRollups, end: int, limits: Limits) -> Sequence[Regression]:
    """The regressions with their end, or with the last minute in which they went on (before `end`, s since 1970)."""
    return [_followed(one, rollups, end, limits) if one.verdict == "regression" else one for one in found]


def _followed(one: Regression, rollups: StoredRollups, end: int, limits: Limits) -> Regression:
    since = int(one.since.timestamp())
    series = np.array(
        [
            number
            for number, each in enumerate(rollups.keys.series)
            if (each.source, each.destination) == (one.source, one.destination)
            and each.reporter == one.reporters[0]
            and each.evidence == one.evidence
            and one.operation in (None, each.operation)
        ],
        np.int64,
    )
    start = since - limits.before_min * MINUTE_S
    of = grid(len(rollups.keys.series), start, (end - start) // MINUTE_S, [rollups.sums(start, end, series)])
    values, calls = _signal(of.take(series), one, limits)
    before = slice(0, limits.before_min)
    after = slice(limits.before_min, limits.before_min + limits.reach_min)
    if not calls[before].sum() or not calls[after].sum():
        return one
    low, high = (float(values[part].sum() / calls[part].sum()) for part in (before, after))
    middle = (low + high) / 2
    at = limits.before_min + limits.persist_min
    spoke = np.flatnonzero(calls[limits.before_min :]) + limits.before_min
    last = int(spoke[-1]) if len(spoke) else at
    while high > low and at + BACK_MIN <= of.minutes:
        many = calls[at : at + BACK_MIN].sum()
        if many >= limits.min_calls_after and values[at : at + BACK_MIN].sum() / many < middle:
            ended = _time(start + at * MINUTE_S)
            return replace(one, ended=ended, last_seen=ended)
        at += 1
    return replace(one, last_seen=max(one.last_seen, _time(start + (last + 1) * MINUTE_S)))


def _signal(of: Grid, one: Regression, limits: Limits) -> tuple[Floats, Floats]:
    """What is followed, summed by minute, and the calls that it is of."""
    if one.what == "errors":
        return of.errors.sum(axis=0), of.requests.sum(axis=0)
    calls, sums, squares = (values.sum(axis=0) for values in (of.calls, of.log_sum, of.log_sum2))
    if one.shape == "typical":
        return sums, calls
    level = sums[: limits.before_min].sum() / max(calls[: limits.before_min].sum(), 1.0)
    return squares - 2 * level * sums + level**2 * calls, calls


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(math.floor(seconds), UTC)
