"""How long the store keeps what: TTLs from settings, counted from arrival (design, section 8).

ClickHouse drops expired rows when it merges; `apply` only declares. It changes a table only when what stands differs,
as each change rewrites the table's metadata; and a retention that stands only when another one is asked for by name:
whoever comes along without the settings of the store must not shorten what it keeps.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from storage.arrow_types import quoted
from storage.engine import Engine
from storage.placement import LOCAL
from storage.sql import load

_TTL = re.compile(r"(?<=\s)TTL\s+(.*?)(?=\s+SETTINGS\b|$)", re.DOTALL)


class Retention(BaseModel):
    """Days that each kind of data is kept at least; 0 = for ever. Those that were not given are only defaults.

    `disk_bytes` is enforced by `storage.disk_budget`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    calls_days: int = Field(default=7, ge=0, le=36_500, description="calls, spans, metric points and dead letters")
    raw_days: int = Field(default=2, ge=0, le=36_500, description="the original line of a call")
    minutes_days: int = Field(default=3, ge=0, le=36_500, description="rollups by minute")
    hours_days: int = Field(default=30, ge=0, le=36_500, description="rollups by hour")
    days_days: int = Field(
        default=365, ge=0, le=36_500, description="rollups by day, the ledger of edges and their keys, findings"
    )
    disk_bytes: int = Field(
        default=0,
        ge=0,
        description="what the store may take on disk; 0 = no bound. The oldest days of calls, spans, points and dead "
        "letters go",
    )


POSITIONS_DAYS = 30
"""Bounds of batches, by which a message that comes again is known: as long as the engine knows tokens (design, 4)."""

FOR_EVER = "kept for ever"
"""Comment on what has no TTL because that was asked for."""


@dataclass(frozen=True, slots=True)
class Change:
    """A retention that was set: `column` is empty for whole rows; `before` is None where nobody had set any."""

    table: str
    column: str
    days: int
    before: int | None = None


# Table → the column that retention counts from, and the setting, or days. A table that is not in the store is skipped.
_ROWS: Mapping[str, tuple[str, str | int]] = {
    "calls": ("received_at", "calls_days"),
    "spans": ("received_at", "calls_days"),
    "metric_points": ("received_at", "calls_days"),
    "dead_letters": ("received_at", "calls_days"),
    "dead_letter_replays": ("received_at", "days_days"),
    "address_sightings": ("received_on", "calls_days"),
    "ingest_positions": ("received_at", POSITIONS_DAYS),
    "edges_1m": ("received_on", "minutes_days"),
    "base_edges_1m": ("received_on", "minutes_days"),
    "base_edges_10m": ("received_on", "minutes_days"),
    "span_minutes": ("received_on", "minutes_days"),
    "address_minutes": ("received_on", "minutes_days"),
    "metric_samples": ("received_on", "minutes_days"),
    "metric_minutes": ("received_on", "minutes_days"),
    "derived_edges_1m": ("derived_on", "minutes_days"),
    "edges_1h": ("received_on", "hours_days"),
    "base_edges_1h": ("received_on", "hours_days"),
    "base_edges_6h": ("received_on", "hours_days"),
    "derived_edges_1h": ("derived_on", "hours_days"),
    "edges_1d": ("received_on", "days_days"),
    "derived_edges_1d": ("derived_on", "days_days"),
    "derived_periods": ("derived_on", "days_days"),
    "edge_ledger": ("received_on", "days_days"),
    "edge_keys": ("received_on", "days_days"),
    "findings": ("found_at", "days_days"),
    "regressions": ("found_at", "days_days"),
    "latency_looks": ("found_at", "days_days"),
    "incidents": ("kept_at", "days_days"),
}
_COLUMNS: Mapping[tuple[str, str], tuple[str, str]] = {("calls", "raw"): ("received_at", "raw_days")}


def apply(engine: Engine, retention: Retention) -> list[Change]:
    """Declare `retention` on every table of the store that it concerns; returns what was changed.

    Days that were not given (`model_fields_set`) are declared where no retention was ever set, and change none.
    """
    standing = engine.query(load("storage/table_definitions").text).to_pylist()
    ddl = {row["name"]: row["ddl"] for row in standing}
    # On a cluster it is the local table that has the rows, and their TTL.
    ddl |= {name.removesuffix(LOCAL): text for name, text in ddl.items() if name.endswith(LOCAL)}
    changes = list[Change]()
    for table, (counted_from, setting) in _ROWS.items():
        if table not in ddl:
            continue
        before = _rows_kept(ddl[table])
        if (days := _wanted(retention, setting, before)) is not None:
            _declare(engine, table, "", days, before, counted_from)
            changes.append(Change(table, "", days, before))
    for (table, column), (counted_from, setting) in _COLUMNS.items():
        if table not in ddl:
            continue
        before = _column_kept(ddl[table], column)
        if (days := _wanted(retention, setting, before)) is not None:
            _declare(engine, table, column, days, before, counted_from)
            changes.append(Change(table, column, days, before))
    return changes


def _wanted(retention: Retention, setting: str | int, before: int | None) -> int | None:
    """Days to declare; None = what stands is right, or nobody asked for another."""
    if isinstance(setting, int):
        return None if before == setting else setting
    days: int = getattr(retention, setting)
    given = setting in retention.model_fields_set
    return days if before != days and (given or before is None) else None


def _declare(engine: Engine, table: str, column: str, days: int, before: int | None, counted_from: str) -> None:
    of, change, remark = f"MODIFY COLUMN {quoted(column)} ", "TTL", f"COMMENT COLUMN {quoted(column)}"
    if not column:
        of, change, remark = "", "MODIFY TTL", "MODIFY COMMENT"
    if days:
        _alter(engine, table, f"{of}{change} {_expression(counted_from, days)}")
    elif before:
        _alter(engine, table, f"{of}REMOVE TTL")
    if days == 0 or before == 0:
        _alter(engine, table, f"{remark} '{'' if days else FOR_EVER}'")


def _alter(engine: Engine, table: str, change: str) -> None:
    # Rows that stand already expire with their next merge: rewriting every part at once would cost a full pass.
    engine.execute(f"ALTER TABLE {quoted(table)} {change}", settings={"materialize_ttl_after_modify": 0})


def _expression(counted_from: str, days: int) -> str:
    # From the end of the day: whole days go at once, and what came at 23:59 is kept as long as the rest.
    return f"toDate({counted_from}) + INTERVAL {days + 1:d} DAY"


def _rows_kept(ddl: str) -> int | None:
    """Days that rows are kept; None = nobody has set any."""
    end = ddl[ddl.rfind(" ORDER BY ") :]
    return _days(match[1] if (match := _TTL.search(end)) else "", end)


def _column_kept(ddl: str, column: str) -> int | None:
    match = re.search(rf"`{re.escape(column)}` ([^`]*?)(?=, `|, INDEX|\) ENGINE)", ddl)
    text = match[1] if match else ""
    return _days(text.partition("TTL ")[2], text)


def _days(ttl: str, text: str) -> int | None:
    match = re.search(r"toIntervalDay\((\d+)\)|INTERVAL (\d+) DAY", ttl)
    if match:
        return int(match[1] or match[2]) - 1
    return 0 if f"COMMENT '{FOR_EVER}'" in text else None
