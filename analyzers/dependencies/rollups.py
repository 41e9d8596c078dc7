"""Which rollups make up a window, and what each says of the base edges, read one by one.

Window ──► parts() ──► edge_sums.sql, edge_spread.sql (derived_edge_... for derived edges): one statement per rollup

What retention left only in coarser rollups is taken from there: their rows that arrived before the finer rollup's first
arrival day.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
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


@dataclass(frozen=True, slots=True)
class Part:
    """Two ranges of a window that one rollup answers for.

    Attributes:
        rollup, time, edge, arrived: the table; its columns of the period's start, the base edge and the arrival day.
        grain: how derived_periods calls the rollup; empty where edges are not derived.
        ranges: [since, until) of the starts of periods, twice.
        finer: the rollup whose lost rows this part stands in for; empty where it stands for itself.
        before: rows that arrived before this day only.
    """

    rollup: str
    time: str
    edge: str
    arrived: str
    grain: str
    ranges: tuple[Range, Range]
    finer: str = ""
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
    for part in (*_base(window), *_derived(window)):
        if part.finer:
            # A finer rollup that is empty keeps nothing.
            part = replace(part, before=kept.get(part.finer, ALWAYS))
        first = kept.get(part.rollup)
        if first is not None and first < part.before and any(start < end for start, end in part.ranges):
            found.append(part)
    return found


def _base(window: Window) -> Iterator[Part]:
    columns = ("edge_id", "received_on", "")
    hours, days = _around_hours(window), _around_days(window)
    yield _part(
        "base_edges_1m", "minute", columns, (window.since, window.tens_since), (window.tens_until, window.until)
    )
    yield _part(
        "base_edges_10m",
        "start",
        columns,
        (window.tens_since, window.hours_since),
        (window.hours_until, window.tens_until),
    )
    yield _part(
        "base_edges_1h",
        "hour",
        columns,
        (window.hours_since, window.sixes_since),
        (window.sixes_until, window.hours_until),
    )
    yield _part(
        "base_edges_6h",
        "start",
        columns,
        (window.sixes_since, window.days_since),
        (window.days_until, window.sixes_until),
    )
    yield _part("edges_1d", "day", columns, (window.days_since, window.days_until))
    yield _part("base_edges_1h", "hour", columns, *hours, finer="base_edges_1m")
    yield _part("edges_1d", "day", columns, *days, finer="base_edges_1h")


def _derived(window: Window) -> Iterator[Part]:
    minutes, hours, days = (
        ("base_edge_id", "derived_on", "1m"),
        ("base_edge_id", "derived_on", "1h"),
        ("edge_id", "derived_on", "1d"),
    )
    around_hours, around_days = _around_hours(window), _around_days(window)
    yield _part(
        "derived_edges_1m", "minute", minutes, (window.since, window.hours_since), (window.hours_until, window.until)
    )
    yield _part(
        "derived_edges_1h",
        "hour",
        hours,
        (window.hours_since, window.days_since),
        (window.days_until, window.hours_until),
    )
    yield _part("derived_edges_1d", "day", days, (window.days_since, window.days_until))
    yield _part("derived_edges_1h", "hour", hours, *around_hours, finer="derived_edges_1m")
    yield _part("derived_edges_1d", "day", days, *around_days, finer="derived_edges_1h")


def _part(
    rollup: str, time: str, columns: tuple[str, str, str], first: Range, second: Range | None = None, *, finer: str = ""
) -> Part:
    edge, arrived, grain = columns
    return Part(rollup, time, edge, arrived, grain, (first, second or (first[1], first[1])), finer)


def _around_hours(window: Window) -> tuple[Range, Range]:
    """The hours in which the minutes at both ends of the window lie."""
    return (floor(window.since, _HOUR), window.hours_since), (window.hours_until, window.until)


def _around_days(window: Window) -> tuple[Range, Range]:
    """The days in which what lies around the window's whole days lies."""
    return (floor(window.since, _DAY), window.days_since), (window.days_until, window.until)
