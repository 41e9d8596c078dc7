"""The stage of daily and weekly habits: did the same hours bring the same rise before?

A rise counts only as far as it goes beyond what the same minutes of the day brought, one day and one week earlier.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analyzers.latency.comparison import quantile_ratio, shift
from analyzers.latency.grid import MINUTE_S
from analyzers.latency.judged import Judged
from analyzers.latency.limits import Limits
from analyzers.latency.members import Members
from analyzers.latency.rollups import Rollups
from analyzers.latency.stack import Stack, is_cut_to_milliseconds, uncut

DAY_S = 86_400
SEASONS_S = (DAY_S, 7 * DAY_S)
_SHARES = {"p95": 0.95, "p99": 0.99}


def against_seasons(judged: Sequence[Judged], rollups: Rollups, members: Members, limits: Limits) -> Sequence[Judged]:
    """With the stage `season`. What did not come this far, and failed calls, are let through."""
    return [_against(one, rollups, members, limits) if one.passed and one.what == "latency" else one for one in judged]


def _against(one: Judged, rollups: Rollups, members: Members, limits: Limits) -> Judged:
    usual: list[float] = []
    for season_s in SEASONS_S:
        split, end = one.since - season_s, one.until - season_s
        before, after = (
            _stack(one.row, rollups, members, *span)
            for span in ((split - limits.before_min * MINUTE_S, split), (split, end))
        )
        if before.calls[0] >= limits.min_calls_before and after.calls[0] >= limits.min_calls_after:
            usual.append(_ratio(one, before, after))
    usual = [value for value in usual if np.isfinite(value)]
    if not usual:
        return one.then("season", True, "not enough data: has no earlier day with the same hours, needs one")
    least = limits.min_ratio if one.shape == "typical" else limits.tail_ratio
    beyond = one.ratio / max([*usual, 1.0])
    told = " and ".join(f"{value:.2f}" for value in usual)
    # What the earlier days brought is as uncertain as the rise itself.
    sure = one.low / max([*usual, 1.0]) >= one.ratio / one.low
    return one.then(
        "season", beyond >= least and sure, f"{beyond:.2f} times beyond the same hours before ({told} times)"
    )


def _stack(row: int, rollups: Rollups, members: Members, since: int, until: int) -> Stack:
    read = rollups.histograms(members.of(row), since, until)
    return read.stack(members.places(np.array([row])), 1)


def _ratio(one: Judged, before: Stack, after: Stack) -> float:
    cut = is_cut_to_milliseconds(before + after)
    fine = uncut(before, cut), uncut(after, cut)
    found = shift(*fine) if one.shape == "typical" else quantile_ratio(*fine, _SHARES[one.shape])
    return float(found.ratio[0])
