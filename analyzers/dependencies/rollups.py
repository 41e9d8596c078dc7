"""Which rollups make up a window, and what each says of the base edges, read one by one.

Window ──► parts() ──► edge_sums.sql, edge_spread.sql (derived_edge_... for derived edges): one statement per rollup

What retention left only in coarser rollups is taken from there: their rows that arrived before the finer rollup's first
arrival day.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import pyarrow as pa

from analyzers.dependencies.windows import Window, floor
from storage.engine import Engine
from storage.errors import StorageError
from storage.sql import load

ROW_LIMIT = 50_000_000
"""Most rows that are read from one rollup."""
ALWAYS = date(2149, 6, 6)
"""The last day that ClickHouse's dates reach: nothing arrives later."""

Range = tuple[datetime, datetime]
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_COLUMNS: Mapping[str, tuple[str, str, str, str]] = {
    "base_edges_1m": ("minute", "edge_id", "received_on", ""),
    "base_edges_10m": ("start", "edge_id", "received_on", ""),
    "base_edges_1h": ("hour", "edge_id", "received_on", ""),
    "base_edges_6h": ("start", "edge_id", "received_on", ""),
    "edges_1d": ("day", "edge_id", "received_on", ""),
    "derived_edges_1m": ("minute", "base_edge_id", "derived_on", "1m"),
    "derived_edges_1h": ("hour", "base_edge_id", "derived_on", "1h"),
    "derived_edges_1d": ("day", "edge_id", "derived_on", "1d"),
}
"""Rollup -> `time`, `edge`, `arrived` and `grain` of its parts."""


@dataclass(frozen=True, slots=True)
class Part:
    """Two ranges of a window that one rollup answers for.

    Attributes:
        rollup, time, edge, arrived: the table; its columns of the period's start, the base edge and the arrival day.
        grain: how derived_periods calls the rollup; empty where edges are not derived.
        ranges: [since, until) of the starts of periods, twice.
        before: rows that arrived before this day only: where the part stands in for a finer rollup, what that lost.
    """

    rollup: str
    time: str
    edge: str
    arrived: str
    grain: str
    ranges: tuple[Range, Range]
    before: date = ALWAYS

    @property
    def coarse(self) -> bool:
        """Whether its histograms have the wider buckets of days."""
        return self.time == "day"

    def read(self, engine: Engine, statement: str, **parameters: Any) -> pa.Table:
        """The rows of `statement` (edge_sums, edge_spread or edge_faults) for this part.

        Raises:
            storage.errors.StorageError: the engine cannot answer, or has more than `ROW_LIMIT` rows.
        """
        names = {"rollup": self.rollup, "time": self.time, "edge": self.edge, "arrived": self.arrived}
        (since, until), (again_since, again_until) = self.ranges
        times = {"since": since, "until": until, "again_since": again_since, "again_until": again_until}
        if self.grain:
            statement, parameters = f"derived_{statement}", {**parameters, "grain": self.grain}
        given: Mapping[str, Any] = {**names, **times, **parameters, "before": self.before, "row_limit": ROW_LIMIT}
        rows = engine.query(load(f"dependencies/{statement}").text, given)
        if rows.num_rows >= ROW_LIMIT:
            raise StorageError(f"{self.rollup} has more than {ROW_LIMIT} rows for this window: a shorter one expected")
        return rows


def parts(engine: Engine, window: Window) -> list[Part]:
    """What has to be read for `window`: parts of rollups that have rows.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    kept = {row["rollup"]: row["kept_from"] for row in engine.query(load("dependencies/rollups_kept").text).to_pylist()}
    found: list[Part] = []
    for rollup, first, second, finer in _asked(window):
        # A finer rollup that is empty keeps nothing.
        before = kept.get(finer, ALWAYS)
        if rollup in kept and kept[rollup] < before and any(start < end for start, end in (first, second)):
            found.append(Part(rollup, *_COLUMNS[rollup], (first, second), before))
    return found


_Asked = tuple[str, Range, Range, str]
"""Rollup, its two ranges, and the finer rollup that it stands in for."""


def _asked(window: Window) -> Iterator[_Asked]:
    w, none = window, (window.until, window.until)
    yield "base_edges_1m", (w.since, w.tens_since), (w.tens_until, w.until), ""
    yield "base_edges_10m", (w.tens_since, w.hours_since), (w.hours_until, w.tens_until), ""
    yield "base_edges_1h", (w.hours_since, w.sixes_since), (w.sixes_until, w.hours_until), ""
    yield "base_edges_6h", (w.sixes_since, w.days_since), (w.days_until, w.sixes_until), ""
    yield "edges_1d", (w.days_since, w.days_until), none, ""
    yield "derived_edges_1m", (w.since, w.hours_since), (w.hours_until, w.until), ""
    yield "derived_edges_1h", (w.hours_since, w.days_since), (w.days_until, w.hours_until), ""
    yield "derived_edges_1d", (w.days_since, w.days_until), none, ""
    for hours, days, minutes in (
        ("base_edges_1h", "edges_1d", "base_edges_1m"),
        ("derived_edges_1h", "derived_edges_1d", "derived_edges_1m"),
    ):
        yield hours, *_around_hours(window), minutes
        yield days, *_around_days(window), hours


def _around_hours(window: Window) -> tuple[Range, Range]:
    """The hours in which the minutes at both ends of the window lie."""
    return (floor(window.since, _HOUR), window.hours_since), (window.hours_until, window.until)


def _around_days(window: Window) -> tuple[Range, Range]:
    """The days in which what lies around the window's whole days lies."""
    return (floor(window.since, _DAY), window.days_since), (window.days_until, window.until)
