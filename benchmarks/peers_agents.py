"""The compiled agents of `benchmarks.peers`: started, fed, watched until the last span is exported, and stopped.

Both export to the ClickHouse that `benchmarks.peers_sink` plays, over HTTP, LZ4, in batches of 8 192 spans. CPU is that
of the agent's process alone.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import threading
import time
import venv
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.peers_sink import Inserts, RunningSink
from tests.support import otelcol
from tests.support.kafka_broker import KafkaBroker, free_ports
from tests.support.poll import poll

CORE = "0.158.0"
EXPORTER = "0.149.0"
MANIFEST = f"""dist:
  name: otelcol
  description: Collector for the benchmarks
  version: {CORE}
  output_path: build
receivers:
  - gomod: github.com/open-telemetry/opentelemetry-collector-contrib/receiver/kafkareceiver v{CORE}
exporters:
  - gomod: github.com/open-telemetry/opentelemetry-collector-contrib/exporter/clickhouseexporter v{EXPORTER}
"""
"""The Collector asked for is 0.149.0; its Kafka receiver cannot be fetched everywhere, its exporter can."""
ROTEL = "0.0.1a15"
ROTEL_CACHE = Path.home() / ".cache" / "eastwatch" / "rotel"
BATCH_SPANS = 8192
BATCH_S = 0.2
QUIET_S = 2.0
"""An agent is done when nothing was exported for so long, ten times its batch timeout."""
IDLE_S = 4.0
LIMIT_S = 600.0
SENDERS = 2
PARTITIONS = 2
OTLP = {"Content-Type": "application/x-protobuf"}
REFUSED_S = 5.0
"""How long a destination refuses everything, from the first refusal on; five times the Collector's commit interval."""


@dataclass(frozen=True, slots=True)
class Run:
    """One agent over all spans: CPU of its process, and wall time from the first to the last export."""

    cpu_s: float
    seconds: float
    inserts: Inserts


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has taken, all its threads, user and system."""
    return cpu_of_stat(Path(f"/proc/{pid}/stat").read_text(), os.sysconf("SC_CLK_TCK"))


def cpu_of_stat(stat: str, ticks_per_s: int) -> float:
    """User and system CPU seconds from the text of /proc/PID/stat (proc(5)); the name may hold anything."""
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / ticks_per_s


def exported(sink: RunningSink, pid: int) -> tuple[Inserts, float]:
    """Wait until an agent has exported something and then nothing for `QUIET_S`; what came, and the agent's CPU."""
    poll(lambda: sink.inserts().count, "first export", LIMIT_S, every_s=0.05)
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() - (inserts := sink.inserts()).last_s < QUIET_S:
        if time.monotonic() > deadline:
            raise TimeoutError(f"exports go on after {LIMIT_S:.0f} s")
        threading.Event().wait(0.1)
    return inserts, cpu_s(pid)


# --- the Collector


def collector_binary() -> Path:
    """`EASTWATCH_PEERS_OTELCOL`, or what the Collector Builder makes of `MANIFEST` (minutes, once).

    Raises:
        FileNotFoundError: there is neither that nor Go.
        subprocess.SubprocessError: the build failed.
    """
    if given := os.environ.get("EASTWATCH_PEERS_OTELCOL"):
        return Path(given)
    return otelcol.build(MANIFEST, CORE)


def collector_config(bootstrap: str, topic: str, group: str, sink_url: str, *, stored_first: bool) -> dict[str, Any]:
    """The Collector's configuration.

    Args:
        stored_first: offsets are marked after the export, which takes the queue (and its batches) away: the receiver
            waits for each message. Otherwise as the exporter's documentation recommends, batching in its queue; the
            receiver waits where that is full, as nothing may be dropped here.
    """
    queue: dict[str, Any] = {"enabled": False}
    if not stored_first:
        queue = {"block_on_overflow": True, "batch": {"min_size": BATCH_SPANS, "flush_timeout": f"{BATCH_S}s"}}
    return {
        "receivers": {
            "kafka": {
                "brokers": [bootstrap],
                "group_id": group,
                "initial_offset": "earliest",
                "traces": {"topics": [topic], "encoding": "otlp_proto"},
                "message_marking": {"after": stored_first},
            }
        },
        "exporters": {
            "clickhouse": {"endpoint": sink_url, "database": "otel", "compress": "lz4", "sending_queue": queue}
        },
        "service": {
            "telemetry": {"metrics": {"level": "none"}, "logs": {"level": "warn"}},
            "pipelines": {"traces": {"receivers": ["kafka"], "exporters": ["clickhouse"]}},
        },
    }


@contextlib.contextmanager
def collector(config: Mapping[str, Any], work: Path) -> Generator[int]:
    """A running Collector; its process id."""
    path = work / "otelcol.yaml"
    path.write_text(yaml.safe_dump(config))
    with _process([str(collector_binary()), "--config", str(path)], {}, work / "otelcol.log") as pid:
        yield pid


def run_collector(config: Mapping[str, Any], sink: RunningSink, work: Path, idle_cpu_s: float) -> Run:
    """The Collector over a filled topic, CPU without that of `idle_collector`."""
    sink.forget()
    with collector(config, work) as pid:
        inserts, taken = exported(sink, pid)
    return Run(taken - idle_cpu_s, inserts.last_s - inserts.first_s, inserts)


def idle_collector(config: Mapping[str, Any], work: Path) -> float:
    """CPU seconds that a Collector takes to start, join its group and find nothing for `IDLE_S`."""
    with collector(config, work) as pid:
        threading.Event().wait(IDLE_S)
        return cpu_s(pid)


def marked_unstored(config: Mapping[str, Any], broker: KafkaBroker, sink: RunningSink, work: Path) -> int:
    """Messages whose offsets the Collector's group has committed while the destination refused everything."""
    kafka = config["receivers"]["kafka"]
    sink.refuse()
    with collector(config, work):
        poll(lambda: sink.inserts().refused, "first refusal", LIMIT_S, every_s=0.05)
        threading.Event().wait(REFUSED_S)
        (topic,) = kafka["traces"]["topics"]
        marked = sum(broker.committed(kafka["group_id"], topic, partition) or 0 for partition in range(PARTITIONS))
    sink.forget()
    return marked


# --- rotel


def rotel_agent() -> Path:
    """The agent that the package `rotel` brings, installed into an environment of its own, once.

    Raises:
        FileNotFoundError: the package has no agent for this platform.
        subprocess.SubprocessError: it cannot be installed.
    """
    home = ROTEL_CACHE / ROTEL
    found = sorted(home.glob("lib/python*/site-packages/rotel/rotel-agent"))
    if not found:
        venv.create(home, with_pip=True, clear=True)
        command = [str(home / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*command, f"rotel=={ROTEL}"], check=True, capture_output=True, text=True, timeout=300)
        found = sorted(home.glob("lib/python*/site-packages/rotel/rotel-agent"))
    if not found:
        raise FileNotFoundError(f"rotel {ROTEL} has no agent for this platform")
    return found[0]


def rotel_environment(sink_url: str, http_port: int, grpc_port: int, work: Path) -> dict[str, str]:
    """rotel's configuration: its defaults, with addresses and files of ours."""
    return {
        "ROTEL_OTLP_HTTP_ENDPOINT": f"127.0.0.1:{http_port}",
        "ROTEL_OTLP_GRPC_ENDPOINT": f"127.0.0.1:{grpc_port}",
        "ROTEL_EXPORTER": "clickhouse",
        "ROTEL_CLICKHOUSE_EXPORTER_ENDPOINT": sink_url,
        "ROTEL_CLICKHOUSE_EXPORTER_DATABASE": "otel",
        "ROTEL_CLICKHOUSE_EXPORTER_COMPRESSION": "lz4",
        "ROTEL_BATCH_MAX_SIZE": str(BATCH_SPANS),
        "ROTEL_BATCH_TIMEOUT": f"{BATCH_S * 1000:.0f}ms",
        "ROTEL_PID_FILE": str(work / "rotel.pid"),
        "ROTEL_LOG_FILE": str(work / "rotel-agent.log"),
    }


def run_rotel(bodies: Sequence[bytes], sink: RunningSink, work: Path) -> Run:
    """rotel over export requests that `SENDERS` connections bring it; CPU from the first request on."""
    sink.forget()
    with rotel(sink, work) as (pid, port):
        before = cpu_s(pid)
        send(bodies, port)
        inserts, taken = exported(sink, pid)
    return Run(taken - before, inserts.last_s - inserts.first_s, inserts)


def answered_unstored(bodies: Sequence[bytes], sink: RunningSink, work: Path) -> int:
    """Export requests that rotel has answered with 200 while the destination refused everything."""
    sink.refuse()
    answered = 0
    with rotel(sink, work) as (_, port), contextlib.suppress(OSError, http.client.HTTPException):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=REFUSED_S)
        deadline = time.monotonic() + REFUSED_S
        for body in bodies:
            connection.request("POST", "/v1/traces", body, OTLP)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200 or time.monotonic() > deadline:
                break
            answered += 1
    sink.forget()
    return answered


@contextlib.contextmanager
def rotel(sink: RunningSink, work: Path) -> Generator[tuple[int, int]]:
    """A running rotel; its process id and its OTLP/HTTP port."""
    http_port, grpc_port = free_ports(2)
    environment = rotel_environment(sink.url, http_port, grpc_port, work)
    with _process([str(rotel_agent()), "start"], environment, work / "rotel.log") as pid:
        poll(lambda: _listens(http_port), "rotel", 30)
        yield pid, http_port


def send(bodies: Sequence[bytes], port: int) -> None:
    """Export requests over OTLP/HTTP, one at a time on each connection; a 429 or 503 is sent again.

    Raises:
        RuntimeError: another answer than that and 200.
    """
    failed: list[str] = []
    threads = [
        threading.Thread(target=_sender, args=(bodies[first::SENDERS], port, failed.append)) for first in range(SENDERS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise RuntimeError(f"rotel answered {failed[0]}")


def _sender(bodies: Sequence[bytes], port: int, fail: Callable[[str], None]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        for body in bodies:
            while True:
                connection.request("POST", "/v1/traces", body, OTLP)
                answer = connection.getresponse()
                said = answer.read()
                if answer.status == 200:
                    break
                if answer.status not in (429, 503):
                    fail(f"{answer.status} {said[:200]!r}")
                    return
                threading.Event().wait(0.05)
    except (OSError, http.client.HTTPException) as error:
        fail(repr(error))
    finally:
        connection.close()


def _listens(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    with contextlib.suppress(OSError):
        connection.connect()
        connection.close()
        return True
    return False


@contextlib.contextmanager
def _process(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Generator[int]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], **environment},
        )
    try:
        yield process.pid
    except BaseException:
        sys.stderr.write(log.read_text(errors="replace")[-3000:])
        raise
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
