"""What it costs to touch memory: `python -m benchmarks.page_faults`.

Decodes and inserts batches of JSON lines, one after the other, in a process with the allocators' own settings and in
one with those of `eastwatch.memory`, and prints pages touched for the first time, system and user time, by line.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
LINES, BATCHES, WARM = 60_000, 8, 2


def run_here() -> None:
    """Body of a measuring process: prints medians per line of pages, system us and user us, as JSON."""
    from benchmarks.ingest import LINES_PER_MESSAGE, prepared_batch
    from benchmarks.workload import lines, messages
    from storage.embedded import EmbeddedEngine
    from storage.migrate import migrate

    bodies = list(messages(lines(LINES, "json"), LINES_PER_MESSAGE))
    found: list[Sequence[float]] = []
    with tempfile.TemporaryDirectory(prefix="eastwatch-bench-") as directory:
        engine = EmbeddedEngine(Path(directory) / "store")
        migrate(engine)
        for number in range(BATCHES):
            before = resource.getrusage(resource.RUSAGE_SELF)
            for insert in prepared_batch("envoy_json", bodies, number).inserts:
                engine.insert(insert.table, insert.batch, token=insert.token)
            after = resource.getrusage(resource.RUSAGE_SELF)
            spent = (
                after.ru_minflt - before.ru_minflt,
                (after.ru_stime - before.ru_stime) * 1e6,
                (after.ru_utime - before.ru_utime) * 1e6,
            )
            found.append([value / LINES for value in spent])
        engine.close()
    print(json.dumps([statistics.median(row) for row in zip(*found[WARM:], strict=True)]))


def main() -> None:
    """Measure and print the table."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print("| allocators | pages a line | system us a line | user us a line |\n|---|---:|---:|---:|")
    for what, first in (
        ("own settings", ""),
        ("keep memory", "from eastwatch.memory import keep_memory; keep_memory(); "),
    ):
        code = f"{first}from benchmarks.page_faults import run_here; run_here()"
        plain = {name: value for name, value in os.environ.items() if "MALLOC" not in name}
        out = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=plain, check=True, capture_output=True, text=True
        )
        pages, system, user = json.loads(out.stdout)
        print(f"| {what} | {pages:.2f} | {system:.2f} | {user:.2f} |")


if __name__ == "__main__":
    main()
