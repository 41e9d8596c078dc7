"""A window of time cut into the lengths that rollups have: days, six hours, hours, ten minutes and minutes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

EARLIEST = datetime(1971, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
DAYS_FROM = timedelta(hours=48)
"""Longer windows read their whole days from the rollup by day, whose quantiles are within 5 % (others: within 1 %)."""

_MINUTE, _TEN = timedelta(minutes=1), timedelta(minutes=10)
_HOUR, _SIX, _DAY = timedelta(hours=1), timedelta(hours=6), timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Window:
    """[since, until) with whole days in the middle, then six hours, hours, ten minutes and minutes around them.

    since <= tens_since <= hours_since <= sixes_since <= days_since <= days_until <= sixes_until <= hours_until <=
    tens_until <= until. What holds no whole period of a length has none of it: its two ends are then one moment.
    """

    since: datetime
    tens_since: datetime
    hours_since: datetime
    sixes_since: datetime
    days_since: datetime
    days_until: datetime
    sixes_until: datetime
    hours_until: datetime
    tens_until: datetime
    until: datetime

    @classmethod
    def of(cls, since: datetime | None, until: datetime | None) -> Window:
        """The window in whole minutes around [since, until); None is the first or last moment there can be."""
        start = floor(max(since or EARLIEST, EARLIEST).astimezone(UTC), _MINUTE)
        end = max(_ceil(min(until or LATEST, LATEST).astimezone(UTC), _MINUTE), start)
        bounds = [(start, end)]
        for length in (_TEN, _HOUR, _SIX, _DAY):
            low, high = _ceil(bounds[-1][0], length), floor(bounds[-1][1], length)
            whole = low < high and (length != _DAY or end - start > DAYS_FROM)
            bounds.append((low, high) if whole else (bounds[-1][1], bounds[-1][1]))
        starts, ends = zip(*bounds, strict=True)
        return cls(*starts, *reversed(ends))

    def parameters(self) -> dict[str, datetime]:
        """The moments of the window by name: holes of edge_bounds.sql."""
        return {name: getattr(self, name) for name in self.__slots__}

    def by_hours(self) -> dict[str, datetime]:
        """The holes of edge_numbers.sql that tell of time: minutes, whole hours, minutes."""
        return {
            "head_since": self.since,
            "head_until": self.hours_since,
            "hours_since": self.hours_since,
            "hours_until": self.hours_until,
            "tail_since": self.hours_until,
            "tail_until": self.until,
        }


def floor(time: datetime, length: timedelta) -> datetime:
    """The start of the period of `length` in which `time` lies."""
    return time - (time - EARLIEST) % length


def _ceil(time: datetime, length: timedelta) -> datetime:
    return time + (EARLIEST - time) % length
