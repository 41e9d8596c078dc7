"""Sums of every series by minute, as matrices: what a look screens before it reads any histogram.

rollup rows (series, minute, sums) ──► Grid (series x minutes) ──► screen

A grid moves on with time: `moved` drops what is older and leaves room for what is new, so that each minute is read
once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analyzers.latency.members import Members
from analyzers.latency.stack import Floats, Ints

MINUTE_S = 60
SUMS = ("calls", "log_sum", "log_sum2", "requests", "errors")
"""`calls` are those whose duration is known; `log_sum` and `log_sum2` are of its natural log in us."""


@dataclass(frozen=True, slots=True)
class Sums:
    """Rows of rollups; several may be of one series and minute.

    Attributes:
        series: number of the series.
        minute: begin, seconds since 1970.
    """

    series: Ints
    minute: Ints
    calls: Floats
    log_sum: Floats
    log_sum2: Floats
    requests: Floats
    errors: Floats


@dataclass(frozen=True, slots=True)
class Grid:
    """Matrices of one shape (series, minutes); a minute without calls is 0 everywhere.

    Attributes:
        start: the first minute, seconds since 1970.
    """

    start: int
    calls: Floats
    log_sum: Floats
    log_sum2: Floats
    requests: Floats
    errors: Floats

    @property
    def minutes(self) -> int:
        """How many there are."""
        return self.calls.shape[1]

    @property
    def end(self) -> int:
        """Behind the last minute, seconds since 1970."""
        return self.start + self.minutes * MINUTE_S

    def __len__(self) -> int:
        return len(self.calls)

    def part(self, start: int, end: int) -> Grid:
        """The minutes of [start, end), seconds since 1970; what lies outside is left out."""
        low, high = ((at - self.start) // MINUTE_S for at in (max(start, self.start), min(end, self.end)))
        return Grid(max(start, self.start), *(getattr(self, name)[:, low:high] for name in SUMS))

    def take(self, rows: Ints) -> Grid:
        """Some of the series."""
        return Grid(self.start, *(getattr(self, name)[rows] for name in SUMS))


def grid(series: int, start: int, minutes: int, rows: Sequence[Sums]) -> Grid:
    """The grid of `minutes` from `start` on; rows outside of it are left out."""
    return _placed(series, start, minutes, MINUTE_S, rows)


def hourly(series: int, start: int, hours: int, rows: Sequence[Sums]) -> Grid:
    """The same with a column an hour; `part` and `end` are not for it."""
    return _placed(series, start, hours, 60 * MINUTE_S, rows)


def _placed(series: int, start: int, minutes: int, length_s: int, rows: Sequence[Sums]) -> Grid:
    matrices = {name: np.zeros(series * minutes) for name in SUMS}
    for each in rows:
        column = (each.minute - start) // length_s
        inside = (column >= 0) & (column < minutes) & (each.series >= 0)
        place = each.series[inside] * minutes + column[inside]
        for name in SUMS:
            matrices[name] += np.bincount(place, getattr(each, name)[inside], minlength=series * minutes)
    return Grid(start, *(matrices[name].reshape(series, minutes) for name in SUMS))


@dataclass(slots=True)
class Rolling:
    """A grid of constant length that moves on with time.

    Args:
        members: the series, and the rows behind them.
        minutes: its length.
    """

    members: Members
    minutes: int
    at: Grid | None = None

    def missing(self, end: int) -> tuple[int, int]:
        """The span [since, until) that has to be read before `moved` to `end`."""
        since = end - self.minutes * MINUTE_S
        return (max(since, self.at.end), end) if self.at is not None and since <= self.at.end <= end else (since, end)

    def moved(self, end: int, rows: Sequence[Sums]) -> Grid:
        """The grid that ends at `end`, with `rows` of what was missing."""
        since, until = self.missing(end)
        fresh = with_groups(grid(self.members.series, since, (until - since) // MINUTE_S, rows), self.members)
        keep = self.minutes - fresh.minutes
        if keep and self.at is not None:
            joined = (
                np.concatenate([getattr(self.at, name)[:, self.minutes - keep :], getattr(fresh, name)], axis=1)
                for name in SUMS
            )
            fresh = Grid(end - self.minutes * MINUTE_S, *joined)
        self.at = fresh
        return fresh


def with_groups(plain: Grid, members: Members) -> Grid:
    """A grid of series with the other rows behind them."""
    return Grid(plain.start, *(members.summed(getattr(plain, name)) for name in SUMS))
