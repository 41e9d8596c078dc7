"""How long the store keeps what: TTLs from settings, counted from arrival (design, section 8).

ClickHouse drops expired rows when it merges; `apply` only declares. It changes a table only when what stands differs,
as each change rewrites the table's metadata.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from storage.arrow_types import quoted
from storage.engine import Engine
from storage.placement import LOCAL

_TTL = re.compile(r"(?<=\s)TTL\s+(.*?)(?=\s+SETTINGS\b|$)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Retention:
    """Days that each kind of data is kept; 0 = for ever. The bounds are held where these are read as settings.

    `disk_bytes` is enforced by `storage.disk_budget`.
    """

    calls_days: Annotated[int, Field(ge=0, le=36_500)] = 7
    """Calls, spans, metric points and dead letters."""
    raw_days: Annotated[int, Field(ge=0, le=36_500)] = 2
    """The original line of a call."""
    minutes_days: Annotated[int, Field(ge=0, le=36_500)] = 3
    """Rollups by minute."""
    hours_days: Annotated[int, Field(ge=0, le=36_500)] = 30
    """Rollups by hour."""
    days_days: Annotated[int, Field(ge=0, le=36_500)] = 365
    """Rollups by day, the ledger of edges and their keys."""
    disk_bytes: Annotated[int, Field(ge=0)] = 0
    """What the store may take on disk; 0 = no bound. The oldest days of calls, spans, points and dead letters go."""


@dataclass(frozen=True, slots=True)
class Change:
    """A retention that was set: `column` is empty for whole rows."""

    table: str
    column: str
    days: int


# Table → the column that retention counts from, and the setting. A table that is not in the store is skipped.
_ROWS: Mapping[str, tuple[str, str]] = {
    "calls": ("received_at", "calls_days"),
    "spans": ("received_at", "calls_days"),
    "metric_points": ("received_at", "calls_days"),
    "dead_letters": ("received_at", "calls_days"),
    "dead_letter_replays": ("received_at", "days_days"),
    "address_sightings": ("received_on", "calls_days"),
    "ingest_positions": ("received_at", "hours_days"),
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
}
_COLUMNS: Mapping[tuple[str, str], tuple[str, str]] = {("calls", "raw"): ("received_at", "raw_days")}


def apply(engine: Engine, retention: Retention) -> list[Change]:
    """Declare `retention` on every table of the store that it concerns; returns what was changed."""
    standing = engine.query(
        "SELECT name, create_table_query AS ddl FROM system.tables WHERE database = currentDatabase()"
    ).to_pylist()
    ddl = {row["name"]: row["ddl"] for row in standing}
    # On a cluster it is the local table that has the rows, and their TTL.
    ddl |= {name.removesuffix(LOCAL): text for name, text in ddl.items() if name.endswith(LOCAL)}
    changes = list[Change]()
    for table, (counted_from, setting) in _ROWS.items():
        days: int = getattr(retention, setting)
        if table in ddl and _days(_row_ttl(ddl[table])) != days:
            expression = f"MODIFY TTL {_expression(counted_from, days)}" if days else "REMOVE TTL"
            _alter(engine, table, expression)
            changes.append(Change(table, "", days))
    for (table, column), (counted_from, setting) in _COLUMNS.items():
        days = getattr(retention, setting)
        if table in ddl and _days(_column_ttl(ddl[table], column)) != days:
            change = f"TTL {_expression(counted_from, days)}" if days else "REMOVE TTL"
            _alter(engine, table, f"MODIFY COLUMN {quoted(column)} {change}")
            changes.append(Change(table, column, days))
    return changes


def _alter(engine: Engine, table: str, change: str) -> None:
    # Rows that stand already expire with their next merge: rewriting every part at once would cost a full pass.
    engine.execute(f"ALTER TABLE {quoted(table)} {change}", settings={"materialize_ttl_after_modify": 0})


def _expression(counted_from: str, days: int) -> str:
    return f"toDate({counted_from}) + INTERVAL {days:d} DAY"


def _row_ttl(ddl: str) -> str:
    """The TTL clause after ORDER BY, empty when there is none."""
    match = _TTL.search(ddl[ddl.rfind(" ORDER BY ") :])
    return match[1] if match else ""


def _column_ttl(ddl: str, column: str) -> str:
    match = re.search(rf"`{re.escape(column)}` [^`]*?\bTTL ([^`]*?)(?=, `|, INDEX|\) ENGINE)", ddl)
    return match[1] if match else ""


def _days(ttl: str) -> int:
    match = re.search(r"toIntervalDay\((\d+)\)|INTERVAL (\d+) DAY", ttl)
    return int(match[1] or match[2]) if match else 0
