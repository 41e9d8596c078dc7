"""How fast the map of a large mesh is read, and that the number of calls does not matter: `python -m benchmarks.map`.

For each number of calls a process of its own fills an embedded store (`benchmarks.map_store`) and measures
`service_map` there: the first map of the process, then the median of `--runs` for windows of 1 hour, 24 hours, 7 and
30 days that end in the middle of an hour. Fresh: rows lie as they were inserted, with no merge. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.map_store import DAYS, EDGES, END, OPERATIONS, SERVICES, fill, fill_calls
from storage.engine import Engine

ROOT = Path(__file__).parent.parent
WINDOWS = {
    "1 h": timedelta(hours=1),
    "24 h": timedelta(hours=24),
    "7 d": timedelta(days=7),
    "30 d": timedelta(days=DAYS),
}
ROLLUPS = ("base_edges_1m", "base_edges_10m", "base_edges_1h", "base_edges_6h", "edges_1d", "edge_keys")


def measure(engine: Engine, runs: int) -> dict[str, Any]:
    """Milliseconds of wall and CPU time of `service_map`: the first call, then medians by window."""
    from analyzers.dependencies.service_map import service_map

    def once(window: timedelta) -> tuple[float, float, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        found = service_map(engine, END - window, END)
        took = time.perf_counter() - wall, time.process_time() - cpu
        assert len(found.edges) > 0.99 * EDGES, len(found.edges)
        return took[0] * 1000, took[1] * 1000, found.edges[0].p95_ms or 0

    measured: dict[str, Any] = {"first": once(WINDOWS["1 h"])[:2]}
    for name, window in WINDOWS.items():
        took = [once(window) for _ in range(runs)]
        measured[name] = [statistics.median(times) for times in zip(*took, strict=True)][:2]
    return measured


def run_here(calls: int, stored: int, runs: int, directory: str) -> None:
    """Body of a measuring process: prints one JSON line."""
    from storage.embedded import EmbeddedEngine
    from storage.migrate import migrate

    engine = EmbeddedEngine(Path(directory) / "store")
    migrate(engine)
    for table in ROLLUPS:
        engine.execute(f"SYSTEM STOP MERGES {table}")
    began = time.monotonic()
    fill(engine, calls)
    fill_calls(engine, stored)
    result: dict[str, Any] = {"fill_s": time.monotonic() - began, "fresh": measure(engine, runs)}
    for table in ROLLUPS:
        engine.execute(f"SYSTEM START MERGES {table}")
        engine.execute(f"OPTIMIZE TABLE {table} FINAL")
    result["merged"] = measure(engine, runs)
    counted = engine.query("SELECT table, sum(rows) AS rows FROM system.parts WHERE active GROUP BY table").to_pylist()
    result["rows"] = {row["table"]: row["rows"] for row in counted}
    engine.close()
    print(json.dumps(result))


def measured_apart(calls: int, stored: int, runs: int) -> dict[str, Any]:
    """What a fresh process measures."""
    code = "import sys; from benchmarks.map import run_here; run_here(*map(int, sys.argv[1:4]), sys.argv[4])"
    with tempfile.TemporaryDirectory(prefix="eastwatch-bench-") as directory:
        command = [sys.executable, "-c", code, str(calls), str(stored), str(runs), directory]
        done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", default="1e6,1e7,1e8", help="calls in the last 24 hours, each a store of its own")
    parser.add_argument("--stored", default="0,1e6,1e7", help="rows of the table `calls` in each of these stores")
    parser.add_argument("--runs", type=int, default=15, help="maps of which the median is shown")
    arguments = parser.parse_args()
    packages = ", ".join(f"{name} {version(name)}" for name in ("chdb", "chdb-core", "pyarrow", "numpy"))
    print(f"Machine: {os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, {packages}.")
    size = f"{SERVICES} services, {EDGES:,} edges × {OPERATIONS} operations × 2 reporters"
    print(f"{size}; medians of {arguments.runs} runs.\n")
    windows = " | ".join(WINDOWS)
    print(f"| calls in 24 h | rows in `calls` | store | first map | {windows} |\n|---:|---:|---|{'---:|' * 5}")
    sizes = (int(float(size)) for size in arguments.calls.split(","))
    stored = (int(float(size)) for size in arguments.stored.split(","))
    for calls, rows in zip(sizes, stored, strict=True):
        found = measured_apart(calls, rows, arguments.runs)
        for state in ("fresh", "merged"):
            cells = [f"{wall:.0f} ms ({cpu:.0f} CPU)" for wall, cpu in found[state].values()]
            print(f"| {calls:,} | {rows:,} | {state} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
