"""What a series does each day and each week: a profile that is taken away before anything is called unusual."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
DAY_US = 86_400_000_000
PERIODS_US = (7 * DAY_US, DAY_US)
LEAST_PERIODS = 3
"""Periods that must have been seen."""
MOST_SLOTS = 2016
"""Slots of a profile: five minutes of a week."""
WORTH = 0.9
"""A profile is taken where it leaves less than this of the noise, on points that it was not made of."""


def without_habits(times_us: npt.NDArray[np.int64], values: Floats) -> tuple[Floats, str | None]:
    """(values without their profile, its name or None); the longest period that helps is taken."""
    if len(values) < LEAST_PERIODS * 2:
        return values, None
    span = int(times_us[-1] - times_us[0])
    step = max(int(np.median(np.diff(times_us))), 1)
    for period in PERIODS_US:
        slots = min(period // step, MOST_SLOTS)
        if span < LEAST_PERIODS * period or slots < 4:
            continue
        slot = (times_us % period) * slots // period
        number = (times_us - times_us[0]) // period
        middle = _level(number, values)
        away = values - middle
        # Each period against a profile of the others: noise has no profile that helps on what it did not see.
        left = np.concatenate(
            [
                away[number == one]
                - _profile(slot[number != one], away[number != one], int(slots))[slot[number == one]]
                for one in np.unique(number)
            ]
        )
        if _unrest(left) < WORTH * _unrest(away):
            return values - _profile(slot, away, int(slots))[slot], "week" if period > DAY_US else "day"
    return values, None


def _level(number: npt.NDArray[np.int64], values: Floats) -> Floats:
    """The median of each period, by point."""
    unique, place = np.unique(number, return_inverse=True)
    return np.array([np.median(values[number == one]) for one in unique])[place]


def _profile(slot: npt.NDArray[np.int64], away: Floats, slots: int) -> Floats:
    """The median of each slot; 0 where nothing was seen."""
    profile = np.zeros(slots)
    order = np.argsort(slot, kind="stable")
    bounds = np.searchsorted(slot[order], np.arange(slots + 1))
    for one in range(slots):
        inside = away[order[bounds[one] : bounds[one + 1]]]
        if len(inside):
            profile[one] = np.median(inside)
    return profile


def _unrest(values: Floats) -> float:
    return float(np.median(np.abs(values - np.median(values)))) if len(values) else 0.0
