"""Needle queries over a filled store: `storage/sql/search/*.sql` with many random needles, and the indexes each uses.

Needles are drawn from stored rows. Times are those of whole queries by the engine's Python interface, result included.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from storage import sql
from storage.engine import Engine

ALWAYS = {"since": datetime(1971, 1, 1, tzinfo=UTC), "until": datetime(2100, 1, 1, tzinfo=UTC)}
ROW_LIMIT = 100
_INDEXES = ("PrimaryKey", "Skip", "Min-Max", "Partition")
_TREE = " │├└─"


@dataclass(frozen=True, slots=True)
class IndexUse:
    """One index of a plan: granules that it was asked about, and those left. That of the primary key is PrimaryKey."""

    name: str
    selected: int
    total: int


@dataclass(frozen=True, slots=True)
class Needle:
    """One query: its label, its statement and parameters for as many searches as wanted."""

    label: str
    statement: str
    parameters: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds of a needle's searches, rows found in all, and what EXPLAIN said of the first."""

    label: str
    milliseconds: Sequence[float]
    rows: int
    indexes: Sequence[IndexUse]

    def text(self) -> str:
        """A row of the table: times, rows a search, indexes with the granules left of those asked."""
        p50, p95, most = np.percentile(self.milliseconds, [50, 95, 100])
        used = ", ".join(
            f"{use.name} {use.selected:,}/{use.total:,}" for use in self.indexes if use.selected < use.total
        )
        searches, each = len(self.milliseconds), self.rows / len(self.milliseconds)
        return f"| {self.label} | {searches} | {each:,.1f} | {p50:,.0f} | {p95:,.0f} | {most:,.0f} | {used} |"


HEAD = """| by | searches | rows each | p50 ms | p95 ms | slowest ms | indexes: granules left of granules asked |
|---|---:|---:|---:|---:|---:|---|"""


def index_use(engine: Engine, statement: str, parameters: Mapping[str, Any]) -> list[IndexUse]:
    """The indexes that a statement of `storage/sql` uses, from `EXPLAIN indexes = 1`; summed over its reads."""
    # By default the engine looks at skip indexes while it reads, which no plan can tell.
    settings = {"use_skip_indexes_on_data_read": 0}
    plan = engine.query(f"EXPLAIN indexes = 1\n{sql.load(statement).text}", parameters, settings=settings)
    name = ""
    found: dict[str, IndexUse] = {}
    for line in plan["explain"].to_pylist():
        text = line.strip(_TREE)
        if text in _INDEXES:
            name = text
        elif name == "Skip" and (match := re.fullmatch(r"Name: (\w+)", text)):
            name = match[1]
        elif name and (match := re.fullmatch(r"Granules: (\d+)/(\d+)", text)):
            before = found.get(name, IndexUse(name, 0, 0))
            found[name] = IndexUse(name, before.selected + int(match[1]), before.total + int(match[2]))
            name = ""
    return list(found.values())


def needles(engine: Engine, searches: int, since: datetime, until: datetime, seed: int = 5) -> Iterator[Needle]:
    """Every needle query, its needles drawn from what is stored between `since` and `until`."""
    random = np.random.default_rng(seed)
    rows = _sample(engine, "calls", "trace_id, request_id, ts", searches, since, until, random)
    days = [_around(row["ts"], timedelta(days=1)) for row in rows]
    by_day = [{"trace_id": row["trace_id"], **day} for row, day in zip(rows, days, strict=True)]
    yield Needle("trace id, in 24 h", "search/calls_by_trace", by_day)
    yield Needle("trace id", "search/calls_by_trace", [{"trace_id": row["trace_id"], **ALWAYS} for row in rows])
    yield Needle("request id", "search/calls_by_request", [{"request_id": row["request_id"], **ALWAYS} for row in rows])
    absent = [{"request_id": f"{random.bytes(4).hex()}-absent", **ALWAYS} for _ in range(searches)]
    yield Needle("request id that is not there", "search/calls_by_request", absent)
    named = "source_principal, source_ip, destination_ip, destination_namespace, destination_service, path, ts"
    rows = [
        row for row in _sample(engine, "calls", named, 4 * searches, since, until, random) if row["source_principal"]
    ][:searches]
    for hours, label in ((1, "1 h"), (24, "24 h")):
        spans = [_around(row["ts"], timedelta(hours=hours)) for row in rows]
        yield Needle(
            f"principal, in {label}",
            "search/calls_by_principal",
            [{"principal": row["source_principal"], **span} for row, span in zip(rows, spans, strict=True)],
        )
        sides = ("destination_ip", "source_ip")
        addresses = [".".join(str(byte) for byte in row[sides[place % 2]][12:]) for place, row in enumerate(rows)]
        yield Needle(
            f"address, in {label}",
            "search/calls_by_address",
            [{"address": address, **span} for address, span in zip(addresses, spans, strict=True)],
        )
        yield Needle(
            f"service and path, in {label}",
            "search/calls_by_path",
            [
                {
                    "namespace": row["destination_namespace"],
                    "service": row["destination_service"],
                    "path": row["path"],
                    **span,
                }
                for row, span in zip(rows, spans, strict=True)
            ],
        )
    yield Needle(
        "service and path, always",
        "search/calls_by_path",
        [
            {
                "namespace": row["destination_namespace"],
                "service": row["destination_service"],
                "path": row["path"],
                **ALWAYS,
            }
            for row in rows
        ],
    )
    if spans := _sample(engine, "spans", "trace_id", searches, since, until, random):
        yield Needle(
            "trace id (spans)", "search/spans_by_trace", [{"trace_id": s["trace_id"], **ALWAYS} for s in spans]
        )


def measured(engine: Engine, needle: Needle) -> Timing:
    """Time every search of a needle, after one to warm up."""
    text = sql.load(needle.statement).text
    limit = {"row_limit": ROW_LIMIT}
    engine.query(text, {**needle.parameters[0], **limit})
    times: list[float] = []
    rows = 0
    for parameters in needle.parameters:
        begin = time.perf_counter()
        rows += engine.query(text, {**parameters, **limit}).num_rows
        times.append((time.perf_counter() - begin) * 1e3)
    return Timing(needle.label, times, rows, index_use(engine, needle.statement, {**needle.parameters[0], **limit}))


def _around(ts: datetime, length: timedelta) -> Mapping[str, datetime]:
    return {"since": ts - length / 2, "until": ts + length / 2}


def _sample(
    engine: Engine, table: str, columns: str, count: int, since: datetime, until: datetime, random: np.random.Generator
) -> list[dict[str, Any]]:
    """About `count` rows from random places between two times."""
    found: list[dict[str, Any]] = []
    seconds = (until - since).total_seconds()
    for _ in range(20):
        # A few seconds from each of some places: a sample of the whole table would read all of it.
        at = since + timedelta(seconds=float(random.uniform(0, max(seconds - 5, 1))))
        rows = engine.query(
            f"SELECT {columns} FROM {table} WHERE ts >= {{a:DateTime64(6)}} AND ts < {{b:DateTime64(6)}} "
            f"ORDER BY cityHash64(*) LIMIT {-(-count // 20)}",
            {"a": at, "b": at + timedelta(seconds=5)},
        )
        found += rows.to_pylist()
    return found[:count]
