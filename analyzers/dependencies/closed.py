"""What may no longer be derived again, as what it was derived from has gone. It stays as it is.

    derived_periods (marks), TTLs, raw records ──► Closed ──► derive: only what is open

    minute   closed when of the records that it was derived from some are gone (the disk budget, `calls_days`): what is
             left would take the place of all of them; and when its hour or its day is closed
    hour     closed when it was summed, and edges of one of its minutes have expired since (`minutes_days`): the sum
             would be that of the other minutes
    day      so of its hours (`hours_days`)

A minute that was never derived is open in an open hour, whatever it lacks: there is nothing to lose. A late record of
what is closed is stored, and counts in no derived edge. Its minute is asked about in every run until *_minutes forgets
it, so what is cheap is asked first, and only of the days and minutes concerned.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

from storage.engine import Engine
from storage.kept_days import kept_days
from storage.sql import load

Coarse = Literal["1h", "1d"]

_MINUTE, _DAY = timedelta(minutes=1), timedelta(days=1)
_MARKS_PER_DAY = 1440 + 24 + 1
_MINUTES_PER_COUNT = 20_000
"""So many stand in one statement: it bounds the length of its text."""
_PARTS: Mapping[Coarse, str] = {"1h": "derived_edges_1m", "1d": "derived_edges_1h"}
"""What hours and days are summed from."""


def period_of(minute: datetime, grain: Coarse) -> datetime:
    """The start of the hour or day (UTC) that a minute lies in."""
    return minute.replace(minute=0) if grain == "1h" else minute.replace(hour=0, minute=0)


@dataclass(slots=True)
class _Marks:
    """What stands of one kind, as far as it was read."""

    days: set[date] = field(default_factory=set[date])
    """Those that were read."""
    records: dict[datetime, int] = field(default_factory=dict[datetime, int])
    """From how many records a minute was derived."""
    summed: set[tuple[Coarse, datetime]] = field(default_factory=set[tuple[Coarse, datetime]])
    """Hours and days that were derived."""
    oldest: dict[tuple[Coarse, datetime], date] = field(default_factory=dict[tuple[Coarse, datetime], date])
    """On which day the oldest part of an hour or day was derived."""


class Closed:
    """What is closed on the day `today` (UTC). For one run: what it has read of a day it does not read again."""

    def __init__(self, engine: Engine, today: date) -> None:
        self._engine = engine
        self._today = today
        self._marks: defaultdict[str, _Marks] = defaultdict(_Marks)
        self._kept: dict[str, int] = {}

    def open_minutes(self, kind: str, minutes: Mapping[datetime, int]) -> dict[datetime, int]:
        """Those of `minutes` (start → records, as *_minutes counts them now) that may be derived.

        Returns:
            Start → records to mark it with. Of a minute that was derived before they are those that are stored:
            *_minutes expires too, and from a mark of what is left there nobody would see later that records have gone.
        """
        if not minutes:
            return {}
        marks = self._read(kind, minutes)
        shut: dict[Coarse, set[datetime]] = {
            grain: self.closed(kind, grain, {period_of(minute, grain) for minute in minutes}) for grain in _PARTS
        }
        found = {
            minute: records
            for minute, records in minutes.items()
            if not any(period_of(minute, grain) in periods for grain, periods in shut.items())
        }
        again = sorted(found.keys() & marks.records.keys())
        stored = self._stored(kind, again)
        for minute in again:
            held, mark, records = stored.get(minute, 0), marks.records[minute], found[minute]
            # More than the mark says may have come while others went: *_minutes knows both.
            gone = held < max(mark, records)
            # *_minutes has forgotten some, which makes it look changed.
            nothing_new = held == mark > records
            if gone or nothing_new:
                del found[minute]
            else:
                found[minute] = held
        return found

    def closed(self, kind: str, grain: Coarse, periods: Collection[datetime]) -> set[datetime]:
        """Those of `periods` (starts of hours or days) that are closed."""
        marks = self._read(kind, periods)
        return {
            period
            for period in periods
            if (grain, period) in marks.summed
            and (grain, period) in marks.oldest
            and self._has_expired(_PARTS[grain], marks.oldest[grain, period])
        }

    def _has_expired(self, table: str, derived_on: date) -> bool:
        if derived_on >= self._today:
            return False  # nothing is kept for less than a day: a live run need not ask for how long
        if table not in self._kept:
            self._kept[table] = kept_days(self._engine, table)
        days = self._kept[table]
        return days > 0 and derived_on + timedelta(days=days) <= self._today

    def _read(self, kind: str, periods: Iterable[datetime]) -> _Marks:
        """The marks of all days that `periods` lie in."""
        marks = self._marks[kind]
        if days := sorted({period.date() for period in periods} - marks.days):
            marks.days.update(days)
            parameters = {
                "edge_kind": kind,
                "days": days,
                "since": _midnight(days[0]),
                "until": _midnight(days[-1]) + _DAY,
                "row_limit": _MARKS_PER_DAY * len(days),
            }
            rows = self._engine.query(load("dependencies/marks").text, parameters)
            for row in zip(*(rows[name].to_pylist() for name in _MARK), strict=True):
                _note(marks, *row)
        return marks

    def _stored(self, kind: str, minutes: Sequence[datetime]) -> dict[datetime, int]:
        """How many raw records of `minutes` (sorted) there are; those without any are left out."""
        found: dict[datetime, int] = {}
        for start in range(0, len(minutes), _MINUTES_PER_COUNT):
            some = minutes[start : start + _MINUTES_PER_COUNT]
            parameters = {
                "minutes": some,
                "since": some[0],
                "until": some[-1] + _MINUTE,
                "row_limit": _MINUTES_PER_COUNT,
            }
            rows = self._engine.query(load(f"dependencies/{kind}_records").text, parameters)
            found.update(zip(rows["minute"].to_pylist(), rows["records"].to_pylist(), strict=True))
        return found


_MARK = ("grain", "period", "records", "derived_on")


def _note(marks: _Marks, grain: str, period: datetime, records: int, derived_on: date) -> None:
    if grain == "1m":
        marks.records[period] = records
        if not records:
            return
        whole: tuple[Coarse, datetime] = ("1h", period_of(period, "1h"))
    elif grain == "1h":
        marks.summed.add(("1h", period))
        whole = ("1d", period_of(period, "1d"))
    else:
        marks.summed.add(("1d", period))
        return
    marks.oldest[whole] = min(derived_on, marks.oldest.get(whole, derived_on))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
