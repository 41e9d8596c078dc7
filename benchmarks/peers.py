"""What a span costs beside the compiled agents: `python -m benchmarks.peers`.

Fills a topic of a real Kafka broker with spans and lets each of these take them, one after the other, `--runs` times
round:

  collector        OpenTelemetry Collector: Kafka receiver -> ClickHouse exporter, as its documentation recommends
  collector-acked  the same with offsets marked after the export, which is what keeps spans when it is killed
  eastwatch        `eastwatch ingest` into the embedded engine, with all tables and rollup views
  rotel            the agent from PyPI: OTLP/HTTP (it is sent the topic's messages) -> ClickHouse exporter

The agents export over HTTP into a sink that answers as ClickHouse does and drops what comes (`benchmarks.peers_sink`).
Rows and distinct spans are counted when the clock has stopped, and a run that exported anything but every span once
fails. CPU is that of the process measured alone, without its start: not that of broker, sink and sender. Prints
Markdown tables: medians, and what each does for it. Compare within one run only, the machine is shared.

The Collector is built from its components with Go (minutes, once), or EASTWATCH_PEERS_OTELCOL names one that has the
`kafka` receiver and the `clickhouse` exporter. rotel is installed from PyPI into an environment of its own, once. Both
are kept below ~/.cache/eastwatch.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import peers_agents as agents
from benchmarks.ingest import end_to_end, fill
from benchmarks.peers_sink import RunningSink, running_sink
from benchmarks.workload import span_messages
from collector.ingest.options import IngestOptions
from tests.support.kafka_broker import kafka_broker

SPANS = "otlp_proto spans, many a message"
PEERS = ("collector", "collector-acked", "eastwatch", "rotel")
BASE = "collector"
PER_MESSAGE = 1_000
BATCH_MB = IngestOptions().within_memory().batch_bytes >> 20

UNSTORED = ("spans given up as delivered while the destination refused all",)
DOES = (
    ("", "Collector", "Collector, acked", "eastwatch", "rotel"),
    ("reads", "Kafka", "Kafka", "Kafka", "OTLP/HTTP (the package's agent has no Kafka receiver)"),
    (
        "marks offsets",
        "when a span is in the exporter's queue: **before** it is stored",
        "after the export",
        "after the engine has the rows",
        "none: answers 200 before the export",
    ),
    (
        "killed while it runs",
        "its queue is lost",
        "spans come again, stored twice",
        "spans come again, stored once",
        "what was answered and not exported is lost",
    ),
    UNSTORED,
    (
        "batches",
        "8 192 spans",
        "one message (1 000 spans)",
        f"up to {BATCH_MB} MiB of messages",
        "8 192 spans",
    ),
    ("each span as", "texts and maps of texts", "the same", "typed columns, and a map", "texts and maps of texts"),
    ("caller, callee, operation, edge", "no", "no", "yes", "no"),
    ("rollups, client and server paired", "no", "no", "yes, in the figure", "no"),
    ("writes", "LZ4 blocks to HTTP", "LZ4 blocks to HTTP", "sorted parts on disk, merged", "LZ4 blocks to HTTP"),
    ("the engine's CPU", "not in the figure", "not in the figure", "in the figure", "not in the figure"),
)
"""What each does for its CPU, read in its documentation and seen in its runs; `unstored` is tried."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: how long it took, and CPU seconds."""

    seconds: float
    cpu_s: float


def table(results: Mapping[str, Sequence[Measured]], events: int) -> Iterator[str]:
    """The lines of a Markdown table: medians of the runs of each, and CPU against the Collector's."""
    yield "| who | events/s | CPU s per million | CPU against the Collector's | CPU s per million, each run |"
    yield "|---|---:|---:|---:|---|"
    base = median_cpu(results.get(BASE, ()))
    for name, runs in results.items():
        rate = events / statistics.median(run.seconds for run in runs)
        cost = median_cpu(runs)
        ratio = f"{cost / base:.2f}" if base else ""
        each = ", ".join(f"{run.cpu_s * 1e6 / events:.2f}" for run in runs)
        yield f"| {name} | {rate:,.0f} | {cost * 1e6 / events:.2f} | {ratio} | {each} |"


def promises(unstored: Mapping[str, int]) -> Iterator[str]:
    """The lines of a Markdown table: what each does, with the spans of `unstored` by name."""
    tried = (f"{unstored[name]:,}" if name in unstored else "not tried" for name in PEERS if name != "eastwatch")
    collector, acked, rotel = tried
    rows = [
        (*UNSTORED, collector, acked, "0 (`tests/collector/ingest`)", rotel) if row is UNSTORED else row for row in DOES
    ]
    head, *others = (f"| {' | '.join(row)} |" for row in rows)
    yield from (head, "|---" * len(PEERS) + "|---|", *others)


def median_cpu(runs: Sequence[Measured]) -> float:
    """The median of the runs' CPU seconds, 0 where there is none."""
    return statistics.median(run.cpu_s for run in runs) if runs else 0.0


def checked(name: str, sink: RunningSink, events: int, run: agents.Run) -> Measured:
    """What a run took. Raises RuntimeError where it did not export every span once."""
    counted = sink.count()
    sink.forget()
    if counted != {"rows": events, "spans": events}:
        raise RuntimeError(f"{name} exported {counted['rows']} rows of {counted['spans']} spans, {events} were sent")
    return Measured(run.seconds, run.cpu_s)


class Field:
    """Broker, topic and sink that all of them meet on, and a way to run each."""

    def __init__(self, broker: Any, sink: RunningSink, work: Path, bodies: Sequence[bytes], events: int) -> None:
        self._broker, self._sink, self._work = broker, sink, work
        self._bodies, self._events = bodies, events
        self._topic, self._empty = broker.topic(agents.PARTITIONS), broker.topic(agents.PARTITIONS)
        fill(broker.bootstrap, self._topic, bodies)
        self._idle: dict[str, float] = {}
        self.peers: Mapping[str, Callable[[], Measured]] = {
            "collector": lambda: self._collector("collector", stored_first=False),
            "collector-acked": lambda: self._collector("collector-acked", stored_first=True),
            "eastwatch": self._eastwatch,
            "rotel": self._rotel,
        }
        self.unstored: Mapping[str, Callable[[], int]] = {
            "collector": lambda: self._marked(stored_first=False),
            "collector-acked": lambda: self._marked(stored_first=True),
            "rotel": lambda: PER_MESSAGE * agents.answered_unstored(bodies, sink, work),
        }

    def _collector(self, name: str, *, stored_first: bool) -> Measured:
        if name not in self._idle:
            self._idle[name] = agents.idle_collector(self._config(self._empty, stored_first=stored_first), self._work)
        config = self._config(self._topic, stored_first=stored_first)
        run = agents.run_collector(config, self._sink, self._work, self._idle[name])
        return checked(name, self._sink, self._events, run)

    def _marked(self, *, stored_first: bool) -> int:
        config = self._config(self._topic, stored_first=stored_first)
        return PER_MESSAGE * agents.marked_unstored(config, self._broker, self._sink, self._work)

    def _config(self, topic: str, *, stored_first: bool) -> dict[str, Any]:
        group = f"peers-{time.time_ns()}"
        return agents.collector_config(self._broker.bootstrap, topic, group, self._sink.url, stored_first=stored_first)

    def _eastwatch(self) -> Measured:
        _, row = end_to_end(SPANS, self._broker, self._topic, self._events)
        return Measured(row.seconds, row.cpu_s)

    def _rotel(self) -> Measured:
        return checked("rotel", self._sink, self._events, agents.run_rotel(self._bodies, self._sink, self._work))


def spans(text: str) -> int:
    """A number of spans that fills whole messages, as an argument of the command."""
    number = int(text)
    if number < 1 or number % PER_MESSAGE:
        raise argparse.ArgumentTypeError(f"{number:,}: expected a multiple of {PER_MESSAGE:,}")
    return number


def versions(names: Sequence[str]) -> str:
    """What will run, in words; builds and installs what is not there yet.

    Raises:
        OSError, subprocess.SubprocessError: something cannot be had.
    """
    parts = [f"Python {platform.python_version()}", f"chdb-core {version('chdb-core')}"]
    if any(name.startswith("collector") for name in names):
        said = subprocess.run(
            [agents.collector_binary(), "--version"], check=True, capture_output=True, text=True
        ).stdout
        exporter = "" if os.environ.get("EASTWATCH_PEERS_OTELCOL") else f" with clickhouseexporter {agents.EXPORTER}"
        parts.append(f"{said.strip()}{exporter}")
    if "rotel" in names:
        said = subprocess.run([agents.rotel_agent(), "--version"], check=True, capture_output=True, text=True).stdout
        parts.append(f"rotel {agents.ROTEL} ({said.strip()})")
    return ", ".join(parts)


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=spans, default=1_000_000, help="spans in the topic, a multiple of 1 000")
    parser.add_argument("--runs", type=int, default=3, help="rounds, of which the medians are shown")
    parser.add_argument(
        "--only", nargs="+", choices=PEERS, default=PEERS, metavar="NAME", help="leave out the others of the list"
    )
    arguments = parser.parse_args()
    names: Sequence[str] = [name for name in PEERS if name in arguments.only]
    try:
        ran = versions(names)
    except (OSError, subprocess.SubprocessError) as error:
        parser.exit(2, f"cannot be had here: {error}; {getattr(error, 'stderr', None) or 'see --help'}\n")
    print(f"Machine: {os.cpu_count()} cores ({platform.machine()}), {ran}.")
    print(f"Medians of {arguments.runs} rounds; {arguments.events:,} spans, 1 000 to a message.\n", flush=True)
    results: dict[str, list[Measured]] = {name: [] for name in names}
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="eastwatch-peers-")))
        for name in ("broker", "sink"):
            (work / name).mkdir()
        broker = stack.enter_context(kafka_broker(work / "broker"))
        sink = stack.enter_context(running_sink(work / "sink"))
        bodies = list(span_messages(arguments.events, PER_MESSAGE))
        field = Field(broker, sink, work, bodies, arguments.events)
        for number in range(1, arguments.runs + 1):
            for name in names:
                results[name].append(field.peers[name]())
                told = (
                    f"round {number}, {name}: {results[name][-1].seconds:.1f} s, {results[name][-1].cpu_s:.1f} s of CPU"
                )
                print(told, file=sys.stderr, flush=True)
        unstored = {name: field.unstored[name]() for name in names if name in field.unstored}
    for line in (*table(results, arguments.events), "", *promises(unstored)):
        print(line)


if __name__ == "__main__":
    main()
