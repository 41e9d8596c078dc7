"""What other codecs, keys and indexes of `calls` would cost: `python -m benchmarks.storage_cost --variants`.

Each variant is the migration with one thing changed. The same rows go into each, as dense as a day of 25 million calls
over 2 000 edges (so of fewer edges), and are merged into one part. CPU seconds are those of the whole process.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.needles import ALWAYS, ROW_LIMIT
from benchmarks.storage_cost import FIRST_DAY, cost, store
from benchmarks.stored_calls import Arrival, CallShapes
from storage import sql
from storage.engine import Engine
from storage.migrate import DIRECTORY

ROWS, BATCHES, ONE_IN = 1_000_000, 4, 25
SEARCHES = 10
Edit = tuple[str, str]
"""Pattern in the migration, and what stands there instead."""

_CODEC = r"(\n    {} +[^\n]*?) CODEC\([^\n]*\),"


def codec(column: str, codecs: str) -> Edit:
    """Another codec of one column."""
    return _CODEC.format(column), rf"\1 CODEC({codecs}),"


VARIANTS: Mapping[str, Sequence[Edit]] = {
    "as it is": (),
    "ts: Delta, ZSTD(1)": (codec("ts", "Delta, ZSTD(1)"),),
    "ts: DoubleDelta, ZSTD(1)": (codec("ts", "DoubleDelta, ZSTD(1)"),),
    "durations: T64, ZSTD(1)": (
        codec("duration_us", "T64, ZSTD(1)"),
        codec("upstream_duration_us", "T64, ZSTD(1)"),
    ),
    "offset: Delta, ZSTD(1)": ((r"(\n    offset +Int64) CODEC\([^\n]*\),", r"\1 CODEC(Delta, ZSTD(1)),"),),
    "path: ZSTD(3)": (codec("path", "ZSTD(3)"),),
    "request_id, trace_id: ZSTD(3)": (codec("request_id", "ZSTD(3)"), codec("trace_id", "ZSTD(3)")),
    "all texts of names: ZSTD(1)": ((r"LowCardinality\(String\),", "LowCardinality(String) CODEC(ZSTD(1)),"),),
    "ORDER BY (edge_id, ts)": ((r"ORDER BY \([^)]*\)", "ORDER BY (edge_id, ts)"),),
    "ORDER BY (toStartOfHour(ts), base_edge_id, edge_id, ts)": (
        (r"ORDER BY \([^)]*\)", "ORDER BY (toStartOfHour(ts), base_edge_id, edge_id, ts)"),
    ),
    "ORDER BY ts": ((r"ORDER BY \([^)]*\)", "ORDER BY ts"),),
    "bloom_filter(0.001)": ((r"bloom_filter\(0\.01\)", "bloom_filter(0.001)"),),
    "bloom_filter(0.05)": ((r"bloom_filter\(0\.01\)", "bloom_filter(0.05)"),),
    "bloom filters of 8 192 rows": ((r"(bloom_filter\(0\.01\)) GRANULARITY \d+", r"\1 GRANULARITY 1"),),
    "no bloom filters": ((r",\n    INDEX by_[^\n]*", ""),),
    "index_granularity = 2048": ((r"\Z", ", index_granularity = 2048"),),
}


HEAD = """| variant | bytes a call | indexes among them | insert, µs of CPU a call | merge, µs | \
trace id, ms of CPU | principal, 1 h | path, 1 h |
|---|---:|---:|---:|---:|---:|---:|---:|"""


def report(directory: Path) -> None:
    """Print the table."""
    with store(directory) as (engine, book):
        shapes = CallShapes(book, one_in=ONE_IN)
        engine.insert("edge_keys", shapes.edge_keys)
        random = np.random.default_rng(1)
        size, per_second = ROWS // BATCHES, ROWS / 86_400
        batches = [
            shapes.rows(Arrival(number * size, FIRST_DAY, per_second), size, random) for number in range(BATCHES)
        ]
        ddl = (DIRECTORY / "0001_calls.sql").read_text(encoding="utf-8").strip()
        print(HEAD)
        for name, edits in VARIANTS.items():
            _measure(engine, name, edited(ddl, edits), batches)


def edited(ddl: str, edits: Sequence[Edit]) -> str:
    """The migration with a variant's edits.

    Raises:
        ValueError: an edit finds nothing to change: the migration has another form now.
    """
    for pattern, replacement in edits:
        ddl, count = re.subn(pattern, replacement, ddl)
        if not count:
            raise ValueError(f"0001_calls.sql has nothing like {pattern!r}, expected what this variant changes")
    return ddl


def _measure(engine: Engine, name: str, ddl: str, batches: Sequence[pa.RecordBatch]) -> None:
    engine.execute("DROP TABLE calls SYNC")
    engine.execute(ddl)
    engine.execute("SYSTEM STOP MERGES calls")
    before = time.process_time()
    for batch in batches:
        engine.insert("calls", batch)
    inserted = time.process_time()
    engine.execute("SYSTEM START MERGES calls")
    engine.execute("OPTIMIZE TABLE calls FINAL")
    merged = time.process_time()
    found = cost(engine, "calls")
    cpu = " | ".join(f"{_cpu_ms(engine, statement, each):.0f}" for statement, each in _searches(engine).items())
    inserting, merging = (inserted - before) * 1e6 / ROWS, (merged - inserted) * 1e6 / ROWS
    print(f"| {name} | {found.disk:.2f} | {found.indexes:.2f} | {inserting:.2f} | {merging:.2f} | {cpu} |", flush=True)


def _searches(engine: Engine) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    noon = FIRST_DAY + timedelta(hours=12)
    hour = {"since": noon, "until": noon + timedelta(hours=1)}
    rows = engine.query(
        "SELECT trace_id, source_principal, destination_namespace, destination_service, path FROM calls "
        "WHERE source_principal != '' AND ts >= {since:DateTime64(6)} AND ts < {until:DateTime64(6)} "
        f"ORDER BY cityHash64(request_id) LIMIT {SEARCHES}",
        hour,
    ).to_pylist()
    return {
        "search/calls_by_trace": [{"trace_id": row["trace_id"], **ALWAYS} for row in rows],
        "search/calls_by_principal": [{"principal": row["source_principal"], **hour} for row in rows],
        "search/calls_by_path": [
            {"namespace": row["destination_namespace"], "service": row["destination_service"], "path": row["path"]}
            | hour
            for row in rows
        ],
    }


def _cpu_ms(engine: Engine, statement: str, searches: Sequence[Mapping[str, Any]]) -> float:
    """The median CPU of a search, of all threads."""
    text = sql.load(statement).text
    times: list[float] = []
    for parameters in searches:
        before = time.process_time()
        engine.query(text, {**parameters, "row_limit": ROW_LIMIT})
        times.append((time.process_time() - before) * 1e3)
    return float(np.median(times))
