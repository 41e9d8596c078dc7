"""What inserting and merging costs a row, by how a table stores its parts: `python -m benchmarks.merges`.

Batches as large as the ingester's are inserted with merges stopped, then merged into one part. Each variant is the
table as it is, but for one setting, in a process of its own; variants take turns; medians of `--runs` are shown.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.ingest import ROOT, batches_of, workloads

VARIANTS = {
    "as it is": "",
    "a column after the other (vertical)": "enable_vertical_merge_algorithm = 1",
    "all columns at once (horizontal)": "enable_vertical_merge_algorithm = 0",
    "blocks of 8 192 rows": "merge_max_block_size = 8192, merge_max_block_size_bytes = 10485760",
    "a file a column from 10 MB on": "min_bytes_for_wide_part = 10485760",
}
TABLE_OF = {
    "envoy_json lines, many a message": "calls",
    "istio_text lines, many a message": "calls",
    "otlp_proto spans, many a message": "spans",
}


def measure(name: str, setting: str, events: int) -> tuple[float, float, float]:
    """Microseconds of CPU a row for inserting and for merging, and the highest resident memory in MB."""
    code = "from benchmarks.merges import run_here; run_here()"
    command = [sys.executable, "-c", code, name, setting, str(events)]
    out = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return tuple(json.loads(out.stdout))


def run_here() -> None:
    """Body of a measuring process."""
    from storage.embedded import EmbeddedEngine
    from storage.migrate import migrate

    name, setting, events = sys.argv[1], sys.argv[2], int(sys.argv[3])
    table = TABLE_OF[name]
    with tempfile.TemporaryDirectory(prefix="eastwatch-bench-") as directory:
        engine = EmbeddedEngine(Path(directory) / "store")
        migrate(engine)
        if setting:
            engine.execute(f"ALTER TABLE {table} MODIFY SETTING {setting}")
        engine.execute(f"SYSTEM STOP MERGES {table}")
        inserting = 0.0
        for prepared in batches_of(name, list(workloads(events, events)[name]())):
            began = _cpu()
            for insert in prepared.inserts:
                engine.insert(insert.table, insert.batch, token=insert.token)
            inserting += _cpu() - began
        engine.execute(f"SYSTEM START MERGES {table}")
        began = _cpu()
        engine.execute(f"OPTIMIZE TABLE {table} FINAL")
        merging = _cpu() - began
        engine.close()
    highest_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([inserting * 1e6 / events, merging * 1e6 / events, highest_mb]))


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _middle(found: Sequence[tuple[float, float, float]], place: int) -> float:
    return statistics.median(one[place] for one in found)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=400_000, help="rows of each table")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    print("| rows | variant | insert, µs | merge, µs | highest memory, MB |\n|---|---|---:|---:|---:|")
    for name in TABLE_OF:
        found: dict[str, list[tuple[float, float, float]]] = {variant: [] for variant in VARIANTS}
        for _ in range(arguments.runs):
            for variant, setting in VARIANTS.items():
                found[variant].append(measure(name, setting, arguments.events))
        for variant, each in found.items():
            insert, merge, memory = (_middle(each, place) for place in range(3))
            print(f"| {name} | {variant} | {insert:.2f} | {merge:.2f} | {memory:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
