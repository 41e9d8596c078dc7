"""Regressions in the store: written once an episode, read by window."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from analyzers.dependencies.windows import EARLIEST, LATEST
from analyzers.findings.model import QUIET
from analyzers.latency.judged import Stage
from analyzers.latency.look import Look
from analyzers.latency.regression import Cause, Level, Regression, stages_document
from storage.conform import conform
from storage.engine import Engine
from storage.sql import load
from storage.tables import LATENCY_LOOKS, REGRESSIONS, Table, arrow_schema

ROW_LIMIT = 100_000
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


def regressions(
    engine: Engine, since: datetime | None = None, until: datetime | None = None, ids: Sequence[str] = ()
) -> Sequence[Regression]:
    """Regressions and anomalies whose episode overlaps [since, until), the latest first.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    window = {"since": since or EARLIEST, "until": until or LATEST}
    rows = engine.query(load("latency/regressions").text, {**window, "ids": list(ids), "row_limit": ROW_LIMIT})
    return [_regression(row) for row in rows.to_pylist()]


def most_tested(engine: Engine, since: datetime | None, until: datetime | None) -> tuple[int, Mapping[str, int]]:
    """Tests of the largest look of a window, and how many candidates went on after each stage; (0, {}) = none.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    rows = engine.query(load("latency/looks").text, {"since": since or EARLIEST, "until": until or LATEST}).to_pylist()
    return (int(rows[0]["tested"]), dict(rows[0]["survivors"])) if rows else (0, {})


def keep_looks(engine: Engine, looks: Sequence[Look], found_at: datetime) -> None:
    """Store what looks counted.

    Raises:
        storage.errors.StorageError: nothing is lost by doing it again.
    """
    rows = [
        {
            "at": datetime.fromtimestamp(one.at, UTC),
            "tested": one.tested,
            "survivors": list(one.survivors.items()),
        }
        for one in looks
    ]
    _insert(engine, LATENCY_LOOKS, rows, found_at)


def keep(engine: Engine, found: Iterable[Regression], found_at: datetime) -> Sequence[Regression]:
    """Store regressions; one of an episode that is stored already gets its id, and grows it.

    Raises:
        storage.errors.StorageError: nothing is lost by doing it again.
    """
    kept = list(found)
    _insert(engine, REGRESSIONS, [_row(one) for one in {one.id: one for one in kept}.values()], found_at)
    return kept


def joined(found: Iterable[Regression], known: Sequence[Regression]) -> Sequence[Regression]:
    """Regressions with the ids of episodes that are known already, and what is known of these."""
    return [_joined(one, known) for one in found]


def _joined(one: Regression, known: Sequence[Regression]) -> Regression:
    for other in known:
        near = abs(one.since - other.since) <= QUIET
        if near and (one.place, one.verdict) == (other.place, other.verdict):
            # Of two views of the episode the one that saw more of the new level stands.
            best = one if one.after.requests >= other.after.requests else other
            return replace(
                best,
                id=other.id,
                last_seen=max(one.last_seen, other.last_seen),
                told_at=min(one.told_at, other.told_at),
                reporters=sorted({*one.reporters, *other.reporters}),
            )
    return one


def _insert(engine: Engine, table: Table, rows: Sequence[Mapping[str, Any]], found_at: datetime) -> None:
    if not rows:
        return
    schema = arrow_schema(table)
    names = [name for name in schema.names if name in rows[0]]
    arrays = [pa.array([row[name] for row in rows], _plain(schema.field(name).type)) for name in names]
    engine.insert(table.name, conform(table, pa.RecordBatch.from_arrays(arrays, names=names), found_at=found_at))


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


_SAME = (
    *("id", "verdict", "what", "shape", "source", "destination", "evidence", "last_seen", "told_at"),
    *("ratio", "ratio_low", "ratio_high", "p_value", "superiority", "distance", "score", "tested"),
)
_LISTS = ("reporters", "explains", "slow_ids", "typical_ids")


def _row(one: Regression) -> dict[str, Any]:
    levels = {
        f"{name}_{what}": value
        for name, level in (("before", one.before), ("after", one.after))
        for what, value in (
            ("us", list(level.quantiles_us or ())),
            ("requests", level.requests),
            ("errors", level.errors),
        )
    }
    return {
        **{name: getattr(one, name) for name in _SAME},
        **{name: list(getattr(one, name)) for name in _LISTS},
        **levels,
        "operation": one.operation or "",
        "since": one.since,
        "ended": one.ended or _NEVER,
        "explained_by": one.explained_by or "",
        "causes": json.dumps([cause.to_document() for cause in one.causes]),
        "stages": json.dumps(stages_document(one.stages)),
    }


def _regression(row: Mapping[str, Any]) -> Regression:
    levels = [
        Level(list(row[f"{name}_us"]) or None, row[f"{name}_requests"], row[f"{name}_errors"])
        for name in ("before", "after")
    ]
    values: dict[str, Any] = {name: row[name] for name in _SAME} | {name: tuple(row[name]) for name in _LISTS}
    return Regression(
        **values,
        operation=row["operation"] or None,
        since=row["began"],
        ended=row["ended"] if row["ended"] > _NEVER else None,
        before=levels[0],
        after=levels[1],
        stages=tuple(Stage(**stage) for stage in json.loads(row["stages"])),
        causes=tuple(Cause(**cause) for cause in json.loads(row["causes"])),
        explained_by=row["explained_by"] or None,
    )
