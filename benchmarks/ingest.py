"""How fast records come in, and what each costs: `python -m benchmarks.ingest`.

Prints a Markdown table with events/s and CPU seconds per million events for each decoder alone (to rows ready for the
engine), for the bare insert of decoded Arrow (the limit; at once, and in batches as large as the ingester's, merged as
they come), and end to end: `eastwatch ingest` from a real Kafka broker (topic filled beforehand) into the embedded
engine with all rollup views on, the broker's CPU shown apart. For spans there is one row more, which counts the
derivation of their edges at the end too. Medians of `--runs`; the machine is shared, so compare within one run only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
from kafka import KafkaProducer

from benchmarks.workload import START, inventory, lines, messages, span_messages
from collector.contract import Batch
from collector.decode.registry import decoder
from collector.identity.address_book import AddressBook
from collector.ingest.options import IngestOptions
from collector.ingest.prepare import Prepared, prepare
from collector.inventory import parse_inventory
from collector.sources.source import Bounds, Cut, Lease

ROOT = Path(__file__).parent.parent
LINES_PER_MESSAGE = 300
STORED = "Kafka → embedded engine: "
AS_INGESTED = "insert of decoded Arrow, in the ingester's batches: "


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; CPU is in seconds per million events."""

    what: str
    events: int
    seconds: float
    cpu_s: float
    broker_cpu_s: float | None = None

    def text(self) -> str:
        broker = "" if self.broker_cpu_s is None else f"{self.broker_cpu_s * 1e6 / self.events:.2f}"
        rate, cost = self.events / self.seconds, self.cpu_s * 1e6 / self.events
        return f"| {self.what} | {rate:,.0f} | {cost:.2f} | {broker} |"


def workloads(events: int, one_each: int) -> Mapping[str, Callable[[], Iterator[bytes]]]:
    """Message bodies by name; the last part of a name is how it is shown."""
    return {
        "otlp_proto spans, many a message": lambda: span_messages(events),
        "envoy_json lines, many a message": lambda: messages(lines(events, "json"), LINES_PER_MESSAGE),
        "istio_text lines, many a message": lambda: messages(lines(events, "text"), LINES_PER_MESSAGE),
        "envoy_json lines, one a message": lambda: lines(one_each, "json"),
    }


def middle(found: Sequence[Row]) -> Row:
    """The run whose rate is the median one."""
    return sorted(found, key=lambda row: row.seconds)[len(found) // 2]


def decode_alone(name: str, bodies: Sequence[bytes], events: int) -> tuple[Row, Prepared]:
    """Decode, name, hash and conform one batch on one thread."""
    form = name.split()[0]
    prepared_batch(form, bodies, 0)
    wall, cpu = time.perf_counter(), time.process_time()
    prepared = prepared_batch(form, bodies, 1)
    row = Row(f"decode alone: {name}", events, time.perf_counter() - wall, time.process_time() - cpu)
    assert sum(prepared.rows.values()) == events, (name, prepared.rows, prepared.sample)
    return row, prepared


def prepared_batch(form: str, bodies: Sequence[bytes], number: int) -> Prepared:
    """`bodies` as the batch with this number, decoded and ready for the engine."""
    offsets = pa.array(range(number * len(bodies), (number + 1) * len(bodies)), pa.int64())
    batch = Batch("bench", "bench", "id", 0, pa.array(bodies, pa.large_binary()), offsets)
    bounds = Bounds(batch.first, batch.last, datetime(2026, 11, 1, tzinfo=UTC), "bench")
    prepared = prepare(_cut(batch), bounds, decoder(form), addresses())
    for insert in prepared.inserts:
        if insert.table == "calls":
            # What is known by its address only is in no rollup: it would be less work than what ingestion does.
            assert insert.batch["edge_id"].to_numpy().all(), "a call without an edge"
    return prepared


@cache
def addresses() -> AddressBook:
    """Who has the addresses of the lines, as the ingester knows from the inventory."""
    _, aliases = parse_inventory(inventory(), loaded_at=START)
    return AddressBook.from_aliases(pa.Table.from_batches([aliases]))


def _cut(batch: Batch) -> Cut:
    return Cut(batch=batch, format="auto", lease=Lease())


def batches_of(name: str, bodies: Sequence[bytes]) -> Iterator[Prepared]:
    """Bodies decoded in batches as large as the ingester's behind a backlog."""
    most = IngestOptions().within_memory().batch_bytes
    held: list[bytes] = []
    number, size = 0, 0
    for body in bodies:
        held.append(body)
        size += len(body)
        if size >= most:
            yield prepared_batch(name.split()[0], held, number)
            held, size, number = [], 0, number + 1
    if held:
        yield prepared_batch(name.split()[0], held, number)


def bare_insert(label: str, prepared: Iterable[Prepared], events: int, runs: int) -> Row:
    """Insert decoded batches into a fresh store with all views on, in a process of its own (one store a process)."""
    with tempfile.TemporaryDirectory(prefix="eastwatch-bench-") as directory:
        for number, one in enumerate(prepared):
            if one.edge_keys is not None:
                _write(Path(directory) / f"{number:03d}.0.edge_keys.arrow", one.edge_keys)
            for place, insert in enumerate(one.inserts, 1):
                _write(Path(directory) / f"{number:03d}.{place}.{insert.table}.arrow", insert.batch)
        code = "from benchmarks.ingest import insert_files; insert_files()"
        command = [sys.executable, "-c", code, directory]
        found = []
        for _ in range(runs):
            out = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
            measured = json.loads(out.stdout)
            found.append(Row(label, events, measured["seconds"], measured["cpu_s"]))
        return middle(found)


def insert_files() -> None:
    """Body of the inserting process: time the insert of every Arrow file of a directory."""
    from storage.embedded import EmbeddedEngine
    from storage.migrate import migrate

    directory = Path(sys.argv[1])
    batches = []
    for path in sorted(directory.glob("*.arrow")):
        with pa.OSFile(str(path)) as file:
            batches.append((path.name.split(".")[2], pa.ipc.open_file(file).get_batch(0)))
    with tempfile.TemporaryDirectory(dir=directory) as store:
        engine = EmbeddedEngine(Path(store) / "store")
        migrate(engine)
        wall, cpu = time.perf_counter(), time.process_time()
        for number, (table, batch) in enumerate(batches):
            engine.insert(table, batch, token=str(number))
        print(json.dumps({"seconds": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}))
        engine.close()


def _write(path: Path, batch: pa.RecordBatch) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)


def end_to_end(name: str, broker: Any, topic: str, events: int) -> tuple[Row, Row]:
    """`eastwatch ingest` of a filled topic until all is stored, rollups included; and with what is derived then."""
    before = _cpu_of(broker.pid)
    report = _ingest(broker.bootstrap, topic, name.split()[0])
    spent = _cpu_of(broker.pid) - before
    stored = sum(report["rows"].values())
    assert stored == events, (name, report)
    seconds, cpu_s = report["seconds"], report["cpu_seconds"]
    return (
        Row(
            STORED + name,
            events,
            seconds - report["derive_seconds"],
            cpu_s - report["derive_cpu_seconds"],
            spent,
        ),
        Row(f"the same, and derived from them: {name}", events, seconds, cpu_s, spent),
    )


def _ingest(bootstrap: str, topic: str, form: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="eastwatch-bench-") as store:
        url = f"kafka://{bootstrap}/{topic}?format={form}&group=bench-{time.time_ns()}"
        pods = Path(store) / "pods.json"
        pods.write_bytes(inventory())
        known = [sys.executable, "-m", "eastwatch", "inventory", "load", str(pods), "--store", f"chdb:{store}/d"]
        subprocess.run(known, cwd=ROOT, check=True, capture_output=True)
        out = subprocess.run(
            [sys.executable, "-m", "eastwatch", "ingest", url, "--until-idle", "--json", "--store", f"chdb:{store}/d"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
        return json.loads(out.stdout)


def _cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def fill(bootstrap: str, topic: str, bodies: Sequence[bytes]) -> None:
    """Write message bodies to a topic."""
    producer = KafkaProducer(
        bootstrap_servers=bootstrap, linger_ms=20, batch_size=1 << 20, max_request_size=16 << 20, acks=1
    )
    for body in bodies:
        producer.send(topic, body)
    producer.flush()
    producer.close()


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000, help="records of each workload, end to end")
    parser.add_argument("--one-each", type=int, default=300_000, help="records of the one-a-message workload")
    parser.add_argument("--runs", type=int, default=5, help="runs of which the median is shown")
    parser.add_argument("--only", default="", help="only workloads whose name contains this")
    parser.add_argument("--no-kafka", action="store_true", help="leave out the end-to-end rows")
    arguments = parser.parse_args()
    rows: list[Row] = []
    names = [name for name in workloads(0, 0) if arguments.only in name]
    small = min(arguments.events, 300_000)
    for name in names:
        bodies = list(workloads(small, small)[name]())
        found = [decode_alone(name, bodies, small) for _ in range(arguments.runs)]
        rows.append(middle([row for row, _ in found]))
        if "one a message" not in name:
            at_once = f"insert of decoded Arrow, {small:,} at once: {name}"
            rows.append(bare_insert(at_once, [found[0][1]], small, arguments.runs))
            del found
            bodies = list(workloads(arguments.events, arguments.events)[name]())
            rows.append(bare_insert(AS_INGESTED + name, batches_of(name, bodies), arguments.events, arguments.runs))
    if not arguments.no_kafka:
        rows.extend(_kafka_rows(names, arguments.events, arguments.one_each, arguments.runs))
    _print(rows, arguments)


def _kafka_rows(names: Sequence[str], events: int, one_each: int, runs: int) -> Iterator[Row]:
    from tests.support.kafka_broker import kafka_broker

    with tempfile.TemporaryDirectory(prefix="eastwatch-bench-") as directory, kafka_broker(Path(directory)) as broker:
        for name in names:
            topic = broker.topic(partitions=2)
            bodies = list(workloads(events, one_each)[name]())
            fill(broker.bootstrap, topic, bodies)
            count = one_each if "one a message" in name else events
            del bodies
            found = [end_to_end(name, broker, topic, count) for _ in range(runs)]
            stored, derived = zip(*found, strict=True)
            yield middle(stored)
            if name.startswith("otlp_proto"):
                yield middle(derived)


def _print(rows: Sequence[Row], arguments: argparse.Namespace) -> None:
    cpus = os.cpu_count()
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("chdb", "chdb-core", "pyarrow", "kafka-python", "ptars")
    )
    print(f"Machine: {cpus} cores ({platform.machine()}), Python {platform.python_version()}, {packages}.")
    print(f"Medians of {arguments.runs}; {arguments.events:,} records end to end, 2 000 edges × 5 operations.\n")
    print("| what | events/s | CPU s per million | broker's CPU s per million |\n|---|---:|---:|---:|")
    for row in rows:
        print(row.text())
    print("\n| rows | end to end, CPU over that of the insert as ingested | aim |\n|---|---:|---:|")
    cost = {row.what: row.cpu_s / row.events for row in rows}
    for what, each in cost.items():
        name = what.removeprefix(STORED)
        if name != what and (limit := cost.get(AS_INGESTED + name)):
            print(f"| {name} | {each / limit:.1f} | 2.5 |")


if __name__ == "__main__":
    main()
