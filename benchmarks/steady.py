"""Whether memory stays flat while records keep coming: `python -m benchmarks.steady --minutes 30`.

A real Kafka broker is fed with JSON lines and spans of the present time, by default at two thirds of the most that two
cores keep up with, feeder and broker included (with 13 000 lines and 30 000 spans a second the lag grows by seconds a
minute). `eastwatch up` with an embedded store reads them, derives edges and merges parts all the while. Every ten
seconds its memory, CPU and lag are noted. At the end it gets SIGTERM, and the store must hold what was sent: no row
less, none more, and every span's request among the derived edges, all but the last minutes of which `eastwatch up` must
have derived.

Prints a Markdown table by the minute; `--svg` draws it. Exit code 1 when rows differ, when less was sent than asked for
or samples are missing, or when memory grew from the second third of the run to the last by more than `--growth`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.ingest import ROOT
from benchmarks.steady_feed import Topic, feed, line_topic, span_topic
from benchmarks.steady_plot import plot
from benchmarks.workload import inventory
from tests.support.kafka_broker import KafkaBroker, free_ports, kafka_broker
from tests.support.poll import poll

EVERY_S = 10.0
KEPT = {"retention.bytes": str(2 << 30), "segment.bytes": str(64 << 20)}
"""Of a partition's messages: half an hour of them would fill the disk."""
STOP_LIMIT_S = 60.0
LEAST_DERIVED = 0.8
"""Of the requests, those that were derived when the process ended: all but the last minutes'."""
ENOUGH = 0.95
"""Of what was asked for: less says nothing."""
_COUNTS = """SELECT
    (SELECT count() FROM calls) AS lines, (SELECT count() FROM spans) AS spans,
    (SELECT sum(requests) FROM edges_1m) AS edge_requests,
    (SELECT sum(requests) FROM derived_edges_1m WHERE (kind, minute, generation) IN (
        SELECT kind, period, max(generation) FROM derived_periods WHERE kind = 'trace' AND grain = '1m'
        GROUP BY kind, period
    )) AS derived_requests"""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the process: seconds since the first, resident memory, CPU seconds so far, messages not stored."""

    at_s: float
    memory_mb: float
    cpu_s: float
    lag: int


def look(pid: int, port: int, began: float) -> Sample:
    """Memory and CPU of a process, and the lag it tells."""
    status = Path(f"/proc/{pid}/status").read_text()
    resident = int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) / 1024
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        lags = re.findall(r"^eastwatch_source_lag\{.*\} (\S+)$", answer.read().decode(), re.MULTILINE)
    return Sample(time.monotonic() - began, resident, cpu, int(sum(float(lag) for lag in lags)))


def watch(pid: int, port: int, ended: threading.Event, found: list[Sample]) -> None:
    """Note a sample every ten seconds, until the end; where the process does not answer in time there is none."""
    began = time.monotonic()
    while not ended.wait(EVERY_S):
        try:
            found.append(look(pid, port, began))
        except OSError as error:
            print(f"no sample after {time.monotonic() - began:.0f} s: {error}", file=sys.stderr, flush=True)
            continue
        if len(found) % 6 == 0:
            print(minute_row(found[-6:], len(found) // 6), file=sys.stderr, flush=True)


def minute_row(samples: Sequence[Sample], minute: int) -> str:
    """A line of the table: what one minute was like."""
    memory = [sample.memory_mb for sample in samples]
    cpu = (samples[-1].cpu_s - samples[0].cpu_s) / (samples[-1].at_s - samples[0].at_s)
    return f"| {minute} | {statistics.median(memory):,.0f} | {max(memory):,.0f} | {cpu:.2f} | {samples[-1].lag:,} |"


def run(
    broker: KafkaBroker, topics: Sequence[Topic], minutes: float, directory: Path
) -> tuple[list[Sample], dict[str, int], dict[str, int]]:
    """Feed the topics while `eastwatch up` reads them; samples, records sent, rows found at the end."""
    (port,) = free_ports(1)
    sources = [f"kafka://{broker.bootstrap}/{topic.name}?format=auto&group=steady" for topic in topics]
    settings, pods, store = directory / "eastwatch.toml", directory / "pods.json", f"chdb:{directory}/store"
    pods.write_bytes(inventory())
    settings.write_text(f'store = "{store}"\nsources = {json.dumps(sources)}\n[health]\nlisten = "127.0.0.1:{port}"\n')
    _eastwatch("inventory", "load", str(pods), "--store", store)
    log = directory / "up.log"
    with log.open("wb") as output:
        up = subprocess.Popen(
            [sys.executable, "-m", "eastwatch", "up", "--config", str(settings)], cwd=ROOT, stdout=output, stderr=output
        )
        samples: list[Sample] = []
        ended = threading.Event()
        watcher = threading.Thread(target=watch, args=(up.pid, port, ended, samples))
        try:
            poll(lambda: _ready(port, up, log), "eastwatch up")
            watcher.start()
            sent = feed(broker.bootstrap, list(topics), minutes * 60)
            poll(lambda: look(up.pid, port, 0).lag == 0, "the end of what was sent", 300, 1)
        finally:
            ended.set()
            if watcher.ident is not None:
                watcher.join()
            up.send_signal(signal.SIGTERM)
            try:
                up.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                up.kill()
                raise
    if up.returncode:
        raise RuntimeError(f"eastwatch up ended with {up.returncode}: {log.read_text()[-2000:]}")
    return samples, sent, _counts(directory / "store")


def _ready(port: int, up: subprocess.Popen[bytes], log: Path) -> bool:
    if up.poll() is not None:
        raise RuntimeError(f"eastwatch up ended: {log.read_text()[-2000:]}")
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def _eastwatch(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "eastwatch", *arguments], cwd=ROOT, check=True, capture_output=True)


def _counts(store: Path) -> dict[str, int]:
    code = "from benchmarks.steady import print_counts; print_counts()"
    out = subprocess.run([sys.executable, "-c", code, str(store)], cwd=ROOT, check=True, capture_output=True, text=True)
    return json.loads(out.stdout)


def print_counts() -> None:
    """Body of the counting process (one embedded store a process). Derives what the end came too early for."""
    from analyzers.dependencies.derive import derive
    from storage.embedded import EmbeddedEngine

    engine = EmbeddedEngine(Path(sys.argv[1]))
    live = engine.query(_COUNTS).to_pylist()[0]["derived_requests"]
    derive(engine, now=datetime.now(UTC))
    print(json.dumps(engine.query(_COUNTS).to_pylist()[0] | {"derived_live": live}))
    engine.close()


def growth(samples: Sequence[Sample]) -> float:
    """Median memory of the last third of the samples, over that of the third before."""
    third = len(samples) // 3
    before, last = samples[third : 2 * third], samples[2 * third :]
    return statistics.median(s.memory_mb for s in last) / statistics.median(s.memory_mb for s in before)


def wrong(sent: Mapping[str, int], found: Mapping[str, int]) -> list[str]:
    """What the store does not hold as it was sent; each span is one side's account of a request."""
    expected = {
        "lines": sent["lines"],
        "edge_requests": sent["lines"],
        "spans": sent["spans"],
        "derived_requests": sent["spans"],
    }
    faults = [
        f"{what}: {found[what]:,}, expected {count:,}" for what, count in expected.items() if found[what] != count
    ]
    if found["derived_live"] < LEAST_DERIVED * sent["spans"]:
        faults.append(f"derived_live: {found['derived_live']:,}, expected most of {sent['spans']:,}")
    return faults


def short(samples: int, sent: Mapping[str, int], minutes: float, rates: Mapping[str, float]) -> list[str]:
    """What the run was too short of to say anything: samples, or records."""
    asked = {name: rate * minutes * 60 for name, rate in rates.items()}
    few = [
        f"{sent[name]:,} {name} of {count:,.0f} sent" for name, count in asked.items() if sent[name] < ENOUGH * count
    ]
    wanted = minutes * 60 / EVERY_S
    return few + ([f"{samples} samples of {wanted:.0f}"] if samples < ENOUGH * wanted else [])


def main() -> int:
    """Run, print the table, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--lines", type=float, default=9_000, help="JSON lines a second")
    parser.add_argument("--spans", type=float, default=20_000, help="spans a second")
    parser.add_argument("--growth", type=float, default=1.05, help="most that memory may grow by, as a factor")
    parser.add_argument("--svg", type=Path, help="where to draw memory, CPU and lag")
    parser.add_argument("--samples", type=Path, help="where to write all samples, as JSON lines")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="eastwatch-steady-") as place, kafka_broker(Path(place)) as broker:
        for name in ("lines", "spans"):
            broker.topic(partitions=2, name=name, settings=KEPT)
        topics = [line_topic("lines", arguments.lines), span_topic("spans", arguments.spans)]
        samples, sent, found = run(broker, topics, arguments.minutes, Path(place))
    if arguments.samples:
        arguments.samples.write_text("".join(json.dumps(asdict(sample)) + "\n" for sample in samples))
    if arguments.svg:
        arguments.svg.write_text(plot(samples))
    print("| minute | memory, MB, median | highest | CPU cores | lag, messages |\n|---:|---:|---:|---:|---:|")
    for first in range(0, len(samples) - 5, 6):
        print(minute_row(samples[first : first + 6], first // 6 + 1))
    rates = {"lines": arguments.lines, "spans": arguments.spans}
    factor = growth(samples)
    faults = wrong(sent, found) + short(len(samples), sent, arguments.minutes, rates)
    print(f"\nsent {json.dumps(sent)}, found {json.dumps(found)}: {'; '.join(faults) or 'as sent'}")
    print(f"memory, last third of the run over the third before: {factor:.3f} (at most {arguments.growth})")
    return 1 if faults or factor > arguments.growth else 0


if __name__ == "__main__":
    sys.exit(main())
