"""Retention by disk: the oldest days of arrival go until the store fits into a budget.

    system.parts ──► holdings ──► plan (pure) ──► enforce: ALTER TABLE ... DROP PARTITION ──► Sweep (told and counted)

Only raw telemetry goes (`RAW`): rollups have ages of their own (`storage.retention`), and a map of last month is worth
more than its lines. The day that takes what arrives now stays, however large it is: dropping it would lose telemetry
as fast as it comes, in silence. Then the sweep says that it is over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby

from storage.arrow_types import quoted
from storage.engine import Engine
from storage.placement import LOCAL
from storage.sql import load

RAW = ("calls", "spans", "metric_points", "dead_letters")
"""Tables by day of arrival whose rows are telemetry as it came."""
_DAY = re.compile(r"(\d{4})(\d\d)(\d\d)")


@dataclass(frozen=True, slots=True)
class Holding:
    """What a table has on disk of one day of arrival; `day` is None for what is not kept by day."""

    table: str
    day: date | None
    rows: int
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class Sweep:
    """What one run found and dropped. `held_bytes` is what is left (or would be, where nothing was done)."""

    dropped: Sequence[Holding]
    held_bytes: int
    budget_bytes: int
    """0 = none."""

    @property
    def over_bytes(self) -> int:
        """By how much the store does not fit although nothing more may go."""
        return max(self.held_bytes - self.budget_bytes, 0) if self.budget_bytes else 0


def holdings(engine: Engine) -> list[Holding]:
    """What the store has on disk; on a cluster, on the node that answers, whose shards are about equal.

    Parts that were merged or dropped already are not counted: the engine removes their files within minutes.
    """
    rows = engine.query(load("storage/days_on_disk").text).to_pylist()
    return [
        Holding(row["table"].removesuffix(LOCAL), _day(row["partition"]), row["rows"], row["disk_bytes"])
        for row in rows
    ]


def plan(held: Sequence[Holding], budget_bytes: int, today: date) -> Sweep:
    """What has to go, whole days of raw telemetry, the oldest first; `budget_bytes` 0 = nothing.

    Days from `today` on stay; so does the latest day that is stored, as it may be the one that takes what arrives (an
    ingester's clock can be behind).
    """
    left = sum(one.disk_bytes for one in held)
    days = sorted({one.day for one in held if one.table in RAW and one.day is not None})
    dropped = list[Holding]()
    for day in days[:-1] if budget_bytes else ():
        if left <= budget_bytes or day >= today:
            break
        gone = [one for one in held if one.table in RAW and one.day == day]
        dropped += gone
        left -= sum(one.disk_bytes for one in gone)
    return Sweep(dropped, left, budget_bytes)


def enforce(
    engine: Engine,
    budget_bytes: int,
    today: date,
    *,
    dry_run: bool = False,
    dropped: Callable[[Sequence[Holding]], None] = lambda _gone: None,
) -> Sweep:
    """Drop what `plan` says, day by day; with `dry_run` only say it.

    Args:
        dropped: hears of each day as it goes, also of the tables of a day that were through when the engine failed.

    Raises:
        StorageError: the engine failed; days that are gone by then stay gone, the next run goes on.
    """
    sweep = plan(holdings(engine), budget_bytes, today)
    for _, day in groupby(() if dry_run else sweep.dropped, lambda one: one.day):
        gone: list[Holding] = []
        try:
            for one in day:
                _drop(engine, one)
                gone.append(one)
        finally:
            if gone:
                dropped(gone)
    return sweep


def _drop(engine: Engine, held: Holding) -> None:
    # The engine refuses to drop more than 50 GB at once unless it is told that this is meant. A node of a cluster that
    # is away drops its own when it comes back, and is no failure.
    engine.execute(
        f"ALTER TABLE {quoted(held.table)} DROP PARTITION ID '{held.day:%Y%m%d}'",
        settings={"max_partition_size_to_drop": 0, "distributed_ddl_output_mode": "null_status_on_timeout"},
    )


def _day(partition: str) -> date | None:
    match = _DAY.fullmatch(partition)
    return date(int(match[1]), int(match[2]), int(match[3])) if match else None
