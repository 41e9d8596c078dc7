"""How long a look takes: 10 000 series of a day, and one look of a process that runs on.

    python -m benchmarks.latency_speed [--edges 1000] [--operations 5] [--hours 24] [--keep DIR]

The rollups are written by statements (1 000 edges x 5 operations x 2 reporters, 30 calls a minute each, 12 buckets a
minute), with a slow-down on one operation in the last hour. Then, from rollups alone: the whole day (a look every five
minutes), and one look at its end as `eastwatch up` makes it each minute, three times each.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from analyzers.latency.analysis import analyze_latency
from analyzers.latency.run import run_latency
from storage.connect import open_store
from storage.engine import Engine
from storage.migrate import migrate
from storage.tables import EDGE_KEY_FIELDS

BEGIN = datetime(2026, 3, 2, tzinfo=UTC)
_TEXTS = {
    "evidence": "'log'",
    "reporter": "if(side = 0, 'source', 'destination')",
    "direction": "'east_west'",
    "protocol": "'http'",
    "tls": "'mtls'",
    "source_namespace": "'shop'",
    "source_service": "concat('caller-', toString(edge))",
    "destination_namespace": "'shop'",
    "destination_service": "concat('callee-', toString(edge))",
    "operation": "if(place = 0, '', concat('GET /', toString(place)))",
}
_VIEWS = "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine = 'MaterializedView'"
_KEYS = """INSERT INTO edge_keys
SELECT cityHash64(concatWithSeparator('\\x1f', {fields})) AS edge_id, {fields}, today() AS received_on
FROM (SELECT {named} FROM (
    SELECT number % 2 AS side, intDiv(number, 2) % ({operations} + 1) AS place,
        intDiv(number, 2 * ({operations} + 1)) AS edge
    FROM numbers({edges} * 2 * ({operations} + 1))))"""
_ROWS = """INSERT INTO edges_1m
    (received_on, minute, edge_id, base_edge_id, requests, timed, log_us_sum, log_us_sum2, histogram, first_ts, last_ts)
WITH
    toInt32(400 + cityHash64(edge_id) % 200 + if(slow AND t >= {hours} * 60 - 60, 20, 0)) AS middle,
    arrayMap(i -> toInt16(middle - 60 + 10 * i + toInt32(cityHash64(edge_id, t, i) % 5)), range(12)) AS buckets,
    arrayMap(i -> toUInt64([1, 1, 2, 3, 4, 5, 5, 4, 2, 1, 1, 1][i + 1]), range(12)) AS many,
    arrayMap(b -> b * 0.020000666706669542 - 0.01, buckets) AS logs
SELECT
    toDate(minute), toDateTime('2026-03-02 00:00:00', 'UTC') + t * 60 AS minute, edge_id, base, 30, 30,
    arraySum(arrayMap((l, n) -> l * n, logs, many)), arraySum(arrayMap((l, n) -> l * l * n, logs, many)),
    mapFromArrays(buckets, many), minute, minute
FROM (
    SELECT edge_id, cityHash64(concatWithSeparator('\\x1f', {without})) AS base,
        source_service = 'caller-0' AND operation = 'GET /1' AS slow
    FROM edge_keys WHERE operation != '') AS k
CROSS JOIN (SELECT number + {first} AS t FROM numbers({minutes})) AS m"""


def fill(engine: Engine, edges: int, operations: int, hours: int) -> int:
    """Write keys and rollups; returns the rows. Views are dropped: only the minutes are read here."""
    for view in engine.query(_VIEWS).to_pylist():
        engine.execute(f"DROP VIEW {view['name']}")
    named = ", ".join(f"toString({_TEXTS.get(name, chr(39) * 2)}) AS {name}" for name in EDGE_KEY_FIELDS)
    fields = ", ".join(EDGE_KEY_FIELDS)
    engine.execute(_KEYS.format(fields=fields, named=named, edges=edges, operations=operations))
    without = ", ".join("''" if name == "operation" else f"toString({name})" for name in EDGE_KEY_FIELDS)
    for first in range(0, hours * 60, 60):
        engine.execute(_ROWS.format(without=without, first=first, minutes=60, hours=hours))
    return engine.query("SELECT count() AS n FROM edges_1m").to_pylist()[0]["n"]


def timed(work: Callable[[], object], times: int = 3) -> tuple[float, float, float]:
    """Median, least and most seconds."""
    taken: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken), min(taken), max(taken)


def report(edges: int, operations: int, hours: int, directory: Path) -> str:
    """The table, in markdown."""
    engine = open_store(f"chdb:{directory / 'store'}")
    try:
        migrate(engine)
        began = time.perf_counter()
        rows = fill(engine, edges, operations, hours)
        filled = time.perf_counter() - began
        end = BEGIN + timedelta(hours=hours)
        whole = analyze_latency(engine, BEGIN, end)
        found = [one for one in whole.regressions if one.verdict == "regression"]
        day = timed(lambda: analyze_latency(engine, BEGIN, end))
        now = timed(lambda: run_latency(engine, end - timedelta(minutes=1), end, end, step_min=1))
    finally:
        engine.close()
    series = edges * operations * 2
    told = sorted({f"{one.source} -> {one.destination} {one.operation} {one.ratio:.2f}" for one in found})
    looks = f"{len(whole.looks)} looks, {whole.tested:,} tests in the largest"
    return "\n".join(
        [
            f"{series:,} series, {hours} hours, {rows:,} rows of minutes (written in {filled:.0f} s); "
            f"{platform.machine()}, 2 cores, Python {platform.python_version()}.",
            "",
            "| what | median | least | most |",
            "|---|---:|---:|---:|",
            f"| {hours} hours, a look every 5 minutes ({looks}) | {day[0]:.1f} s | {day[1]:.1f} s | {day[2]:.1f} s |",
            f"| one look each minute, kept in the store | {now[0]:.2f} s | {now[1]:.2f} s | {now[2]:.2f} s |",
            "",
            f"Injected: one operation 1.5 times as slow in the last hour. Told: {len(found)} ({', '.join(told)}).",
        ]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edges", type=int, default=1000)
    parser.add_argument("--operations", type=int, default=5)
    parser.add_argument("--hours", type=int, default=24)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="eastwatch-speed-") as place:
        print(report(given.edges, given.operations, given.hours, Path(place)))
