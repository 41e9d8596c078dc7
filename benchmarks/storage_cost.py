"""What a call and a span cost on disk, and how long needle queries take: `python -m benchmarks.storage_cost`.

Fills an embedded store with generated calls (`benchmarks.stored_calls`) over several days of arrival, in batches as an
ingester inserts them, and prints Markdown: bytes per call and span with everything (columns, marks, indexes), columns
by size, and the times of the needle queries with the indexes that they use (`benchmarks.needles`). Rollup views are
left out: they do not grow with single calls. `--variants` prints what other codecs, indexes and order keys cost.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.needles import HEAD, measured, needles
from benchmarks.stored_calls import Arrival, CallShapes, SpanShapes, prepared_batch, rows_of
from benchmarks.workload import ROWS_PER_SECOND, START, inventory, lines, span_messages
from collector.identity.addresses import AddressBook
from collector.inventory import load as load_inventory
from storage import sql
from storage.embedded import EmbeddedEngine
from storage.engine import Engine
from storage.migrate import migrate

FIRST_DAY = datetime(2026, 11, 1, tzinfo=UTC)
TOP_COLUMNS = 12


@dataclass(frozen=True, slots=True)
class Cost:
    """Bytes per row of a table on disk: all, of which columns and indexes; what the columns hold uncompressed."""

    rows: int
    parts: int
    disk: float
    columns: float
    indexes: float
    uncompressed: float

    def text(self, label: str) -> str:
        """A row of the table of costs."""
        ratio = self.uncompressed / self.columns
        return (
            f"| {label} | {self.rows:,} | {self.parts} | {self.disk:.1f} | {self.columns:.1f} | {self.indexes:.2f} "
            f"| {self.uncompressed:.0f} | {ratio:.1f} |"
        )


HEAD_OF_COSTS = """| rows | number | parts | bytes on disk each | columns | skip indexes | uncompressed | ratio |
|---|---:|---:|---:|---:|---:|---:|---:|"""


def cost(engine: Engine, table: str) -> Cost:
    """What the rows of `table` cost now."""
    (row,) = engine.query(
        "SELECT sum(rows) AS rows, count() AS parts, sum(bytes_on_disk) / rows AS disk, "
        "sum(data_compressed_bytes) / rows AS columns, sum(secondary_indices_compressed_bytes) / rows AS indexes, "
        "sum(data_uncompressed_bytes) / rows AS uncompressed "
        "FROM system.parts WHERE active AND database = currentDatabase() AND table = {table:String}",
        {"table": table},
    ).to_pylist()
    return Cost(**row)


def columns_by_size(engine: Engine, table: str) -> list[tuple[str, float, float]]:
    """Column, bytes per row on disk and uncompressed, the largest first."""
    count = cost(engine, table).rows
    rows = engine.query(
        "SELECT name, data_compressed_bytes AS disk, data_uncompressed_bytes AS uncompressed FROM system.columns "
        "WHERE database = currentDatabase() AND table = {table:String} ORDER BY disk DESC",
        {"table": table},
    ).to_pylist()
    return [(row["name"], row["disk"] / count, row["uncompressed"] / count) for row in rows]


@contextmanager
def store(directory: Path) -> Generator[tuple[EmbeddedEngine, AddressBook]]:
    """A fresh store with all tables and no views, and who has the addresses of the workload's lines."""
    engine = EmbeddedEngine(directory)
    try:
        migrate(engine)
        views = engine.query(
            "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine = 'MaterializedView'"
        )
        for name in views["name"].to_pylist():
            engine.execute(f"DROP VIEW {name}")
        load_inventory(engine, {"pods.json": inventory()}, loaded_at=datetime.now(UTC))
        aliases = engine.query(sql.load("collector/address_aliases").text, {"limit": 100_000})
        yield engine, AddressBook.from_aliases(aliases)
    finally:
        engine.close()


def fill(
    engine: Engine, table: str, shapes: CallShapes | SpanShapes, count: int, days: int, batch: int, **more: Any
) -> float:
    """Insert `count` rows, spread evenly over `days`; CPU seconds of the inserts, merges meanwhile included."""
    random = np.random.default_rng(1)
    per_second = count / (days * 86_400)
    spent = 0.0
    for first in range(0, count, batch):
        rows = shapes.rows(Arrival(first, FIRST_DAY, per_second), min(batch, count - first), random, **more)
        before = time.process_time()
        engine.insert(table, rows)
        spent += time.process_time() - before
    return spent


def settle(engine: Engine, table: str, *, whole: bool) -> None:
    """Wait for merges; `whole` = merge what is left into one part a day, as time does with days that are over."""
    if whole:
        engine.execute(f"OPTIMIZE TABLE {table} FINAL")
    running = "SELECT count() AS n FROM system.merges WHERE database = currentDatabase() AND table = {table:String}"
    until = time.monotonic() + 1_200
    while engine.query(running, {"table": table})["n"][0].as_py() and time.monotonic() < until:
        time.sleep(0.5)


def check(engine: Engine, book: AddressBook, calls: CallShapes, spans: SpanShapes, count: int) -> None:
    """Print what `count` decoded lines and spans cost, and as many generated ones, in tables of the same form."""
    random = np.random.default_rng(3)
    arrival = Arrival(0, START, ROWS_PER_SECOND)
    written = [b"\n".join(lines(count, "json"))]
    for table, decoded, generated in (
        (
            "calls",
            rows_of(prepared_batch(written, "envoy_json", book), "calls"),
            calls.rows(arrival, count, random, raw=True),
        ),
        (
            "spans",
            rows_of(prepared_batch(list(span_messages(count)), "otlp_proto", book), "spans"),
            spans.rows(arrival, count, random),
        ),
    ):
        for label, rows in (("decoded", decoded), ("generated", generated)):
            name = f"{table}_{label}"
            engine.execute(f"CREATE TABLE {name} AS {table}")
            engine.insert(name, rows)
            engine.execute(f"OPTIMIZE TABLE {name} FINAL")
            print(cost(engine, name).text(f"{table}, {label}"))
            engine.execute(f"DROP TABLE {name} SYNC")


def report(arguments: argparse.Namespace, directory: Path) -> None:
    """Fill, measure and print."""
    with store(directory) as (engine, book):
        calls, spans = CallShapes(book), SpanShapes(book)
        engine.insert("edge_keys", calls.edge_keys)
        print(_machine(), "\n")
        print("Generated rows beside decoded ones:\n\n" + HEAD_OF_COSTS)
        check(engine, book, calls, spans, min(arguments.calls, 200_000))
        began, cpu = time.monotonic(), time.process_time()
        fill(engine, "spans", spans, arguments.spans, arguments.days, arguments.batch)
        fill(engine, "calls", calls, arguments.calls, arguments.days, arguments.batch)
        for table in ("calls", "spans"):
            settle(engine, table, whole=arguments.whole)
        wall, spent = time.monotonic() - began, time.process_time() - cpu
        print(f"\nFilled in {wall:,.0f} s ({spent:,.0f} s of CPU) in batches of {arguments.batch:,}.\n")
        print(HEAD_OF_COSTS)
        print(cost(engine, "calls").text("calls, raw dropped"))
        print(cost(engine, "spans").text("spans"))
        with_raw(engine, book, arguments)
        _columns(engine, "calls")
        _columns(engine, "spans")
        print(f"\nNeedles over {arguments.calls:,} calls, {arguments.spans:,} spans:\n\n{HEAD}")
        until = FIRST_DAY + timedelta(days=arguments.days)
        for needle in needles(engine, arguments.searches, FIRST_DAY, until):
            print(measured(engine, needle).text(), flush=True)


def with_raw(engine: Engine, book: AddressBook, arguments: argparse.Namespace) -> None:
    """What calls cost with their lines: `--raw` of them on one day, of so few edges that each has its usual rows."""
    calls = CallShapes(book, one_in=max(arguments.calls // arguments.days // arguments.raw, 1))
    engine.execute("CREATE TABLE calls_with_raw AS calls")
    fill(engine, "calls_with_raw", calls, arguments.raw, 1, arguments.batch, raw=True)
    settle(engine, "calls_with_raw", whole=arguments.whole)
    print(cost(engine, "calls_with_raw").text("calls, raw kept"))
    needle = engine.query("SELECT request_id FROM calls_with_raw LIMIT 1 OFFSET 1000")["request_id"][0].as_py()
    hour = {"since": FIRST_DAY + timedelta(hours=6), "until": FIRST_DAY + timedelta(hours=7)}
    text = sql.load("search/calls_by_text").text.replace("FROM calls\n", "FROM calls_with_raw\n")
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        engine.query(text, {"text": needle, "row_limit": 100, **hour})
        times.append((time.perf_counter() - begin) * 1e3)
    rows = engine.query(
        "SELECT count() AS n FROM calls_with_raw WHERE ts >= {since:DateTime64(6)} AND ts < {until:DateTime64(6)}", hour
    )
    print(f"\nA text in `raw`, within an hour of {rows['n'][0].as_py():,} calls: {np.median(times):,.0f} ms.")
    engine.execute("DROP TABLE calls_with_raw SYNC")


def _columns(engine: Engine, table: str) -> None:
    found = columns_by_size(engine, table)
    print(f"\n| column of {table} | bytes each | uncompressed |\n|---|---:|---:|")
    for name, disk, uncompressed in found[:TOP_COLUMNS]:
        print(f"| {name} | {disk:.2f} | {uncompressed:.1f} |")
    rest = found[TOP_COLUMNS:]
    print(f"| {len(rest)} others | {sum(r[1] for r in rest):.2f} | {sum(r[2] for r in rest):.1f} |")


def _machine() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("chdb", "chdb-core", "pyarrow"))
    return f"Machine: {os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, {packages}."


def main() -> None:
    """Read the options, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=100_000_000, help="calls without their lines, over all days")
    parser.add_argument("--spans", type=int, default=10_000_000, help="spans, over all days")
    parser.add_argument("--raw", type=int, default=10_000_000, help="calls with their lines, on one day")
    parser.add_argument("--days", type=int, default=4, help="days of arrival")
    parser.add_argument("--batch", type=int, default=500_000, help="rows of an insert")
    parser.add_argument("--searches", type=int, default=100, help="searches with each needle query")
    parser.add_argument("--whole", action="store_true", help="merge each day into one part before measuring")
    parser.add_argument("--directory", type=Path, help="where the store is made (default: a temporary directory)")
    parser.add_argument("--variants", action="store_true", help="compare codecs, indexes and order keys instead")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="eastwatch-bench-", dir=arguments.directory) as directory:
        if arguments.variants:
            from benchmarks.storage_variants import report as compare

            compare(Path(directory) / "store")
        else:
            report(arguments, Path(directory) / "store")


if __name__ == "__main__":
    main()
