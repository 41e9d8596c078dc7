"""`eastwatch up` as its users run it: sources, analyzers, health and metrics in one process, and its end."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from prometheus_client.parser import text_string_to_metric_families

from analyzers.dependencies.derive import GoOn
from collector.clock import SystemClock
from collector.sources.urls import parse_source
from eastwatch.cli import run
from eastwatch.follow_up import SETTLE
from eastwatch.settings import load_settings
from eastwatch.telemetry import Telemetry
from eastwatch.up import GRACE_S, Job, Place, Up
from storage.engine import Engine
from tests.support.cli import eastwatch_json
from tests.support.feed import produce
from tests.support.kafka_broker import KafkaBroker, free_ports
from tests.support.poll import poll

LIMIT_S = 60
SPANS = {
    "resourceSpans": [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "cart"}}]},
            "scopeSpans": [
                {
                    "spans": [
                        {"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "kind": 2}
                        | {"name": "GET /", "startTimeUnixNano": "1772445600000000000"}
                        | {"endTimeUnixNano": "1772445600012000000"}
                    ]
                }
            ],
        }
    ]
}


def call(number: int) -> str:
    names = '"source_service":"web","destination_service":"cart"'
    return f'{{"ts":"2026-03-02T10:00:00Z",{names},"request_id":"r{number}","reporter":"source"}}'


class Running:
    """A running `eastwatch up`."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, port: int) -> None:
        self.process = process
        self.port = port
        self._log = log

    def ask(self, path: str) -> tuple[int, str]:
        """Status and text; (0, "") while nobody listens yet."""
        assert self.process.poll() is None, self.said
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
                connection.request("GET", path)
                answer = connection.getresponse()
                return answer.status, answer.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str, **labels: str) -> float:
        """Sum of the samples with these labels."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.ask("/metrics")[1])
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    @property
    def said(self) -> str:
        """Its log."""
        return self._log.read_text()

    def end(self, limit_s: float = 30) -> float:
        """SIGTERM; returns the seconds it took. It must end well."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(limit_s) == 0, self.said
        return time.monotonic() - began


@contextmanager
def up(place: Path, sources: Sequence[str], store: str = "", **ingest: float) -> Iterator[Running]:
    (port,) = free_ports(1)
    settings = [
        f"store = {json.dumps(store or f'chdb:{place}/store')}",
        f"sources = {json.dumps(sources)}",
        f'[health]\nlisten = "127.0.0.1:{port}"',
        "[ingest]",
        *(f"{name} = {value}" for name, value in ingest.items()),
    ]
    (place / "eastwatch.toml").write_text("\n".join(settings))
    command = [sys.executable, "-c", "from eastwatch.cli import main; main()", "up"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("EASTWATCH_", "OTEL_"))}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    with (place / "log").open("wb") as log:
        # The settings file is found where the process runs.
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=place, env=environment)
    try:
        yield Running(process, place / "log", port)
    finally:
        process.kill()
        process.wait()


def readable(log: str) -> bool:
    """Whether every line says when, and what, and nothing is a traceback."""
    return all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ  \S.*", line) for line in log.splitlines())


def test_sources_analyzers_health_and_metrics_in_one_process(tmp_path: Path) -> None:
    (tmp_path / "calls.jsonl").write_text("".join(f"{call(number)}\n" for number in range(20)) + "nonsense\n")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        otlp_port = taken.getsockname()[1]
        otlp = f"otlp://127.0.0.1:{otlp_port}"
        file = f"file:{tmp_path}/calls.jsonl"
        with up(tmp_path, [f"{file}?format=calls_json&follow=1", otlp]) as running:
            # One source is broken: that is told and makes us unready. The other goes on.
            poll(
                lambda: running.metric("eastwatch_records_stored_total", source=file) == 20, "the file's calls", LIMIT_S
            )
            status, checks = running.ask("/readyz")
            assert status == 503 and f"ok    source {file}\n" in checks
            assert f"wait  source {otlp}: Address already in use, expected a free address of this machine\n" in checks
            assert running.ask("/healthz") == (200, "ok\n")
            assert running.metric("eastwatch_source_failures_total", source=otlp) >= 1
            assert running.metric("eastwatch_source_ready", source=otlp) == 0
            taken.close()
            poll(lambda: running.ask("/readyz")[0] == 200, "readiness after the address came free", LIMIT_S)
            with closing(http.client.HTTPConnection("127.0.0.1", otlp_port, timeout=60)) as sender:
                sender.request("POST", "/v1/traces", json.dumps(SPANS), {"content-type": "application/json"})
                assert sender.getresponse().status == 200
            assert running.metric("eastwatch_rows_stored_total", table="spans") == 1
            counts = {
                name: running.metric(f"eastwatch_records_{name}_total")
                for name in ("accepted", "stored", "dead_lettered", "refused")
            }
            assert counts == {"accepted": 22, "stored": 21, "dead_lettered": 1, "refused": 0}
            poll(lambda: running.metric("eastwatch_analysis_duration_seconds_count") >= 1, "a run of the analyzers")
            # Another command reads beside it.
            edges = eastwatch_json("map", "--store", f"chdb:{tmp_path}/store")["edges"]
            assert [edge["requests"] for edge in edges if edge["source"] == "web"] == [20]
            took_s = running.end()
        assert took_s < 15
        assert readable(running.said), running.said
        assert f"{otlp}: Address already in use, expected a free address of this machine; opening" in running.said
        assert f"{otlp}: open again\n" in running.said
        assert running.said.splitlines()[-1].endswith("ended: 21 records stored in 2 batches, 1 dead letters")


@pytest.mark.kafka
def test_the_lag_of_each_partition_and_no_record_twice(kafka: KafkaBroker, tmp_path: Path) -> None:
    topic = kafka.topic(2)
    source = f"kafka://{kafka.bootstrap}/{topic}"

    def send(numbers: range) -> None:
        produce(kafka.bootstrap, topic, [call(number).encode() for number in numbers])

    @contextmanager
    def process() -> Iterator[Running]:
        with up(tmp_path, [f"{source}?format=calls_json&group=up"], batch_age_s=0.1) as running:
            yield running
            running.end()
            assert readable(running.said), running.said

    stored = "eastwatch_records_stored_total"
    send(range(40))
    with process() as running:
        poll(lambda: running.metric(stored) == 40, "what was there", LIMIT_S)
    with process() as running:
        poll(lambda: running.ask("/readyz")[0] == 200, "readiness", LIMIT_S)
        send(range(40, 60))
        poll(lambda: running.metric(stored) == 20, "what was sent", LIMIT_S)
        labels = [f'partition="{n}",source="{source}",topic="{topic}"' for n in (0, 1)]
        lags = [f"eastwatch_source_lag{{{each}}} 0.0\n" for each in labels]
        poll(lambda: all(lag in running.ask("/metrics")[1] for lag in lags), "no lag", LIMIT_S)
        assert f"ok    source {source}\n" in running.ask("/readyz")[1]
    edges = eastwatch_json("map", "--store", f"chdb:{tmp_path}/store")["edges"]
    assert [edge["requests"] for edge in edges] == [60]


def test_an_engine_that_is_away_is_waited_for(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    (tmp_path / "calls.jsonl").write_text(call(1) + "\n")
    store = f"clickhouse://127.0.0.1:{port}/db"
    with up(tmp_path, [f"file:{tmp_path}/calls.jsonl?format=calls_json"], store) as running:
        poll(lambda: "does not answer" in running.ask("/readyz")[1], "what it waits for", LIMIT_S)
        assert running.ask("/readyz")[0] == 503 and running.ask("/healthz")[0] == 200
        assert running.end() < 10
    assert readable(running.said), running.said
    assert "waiting for it" in running.said


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("", "setting sources: none given, expected such as"),
        ('sources = ["-"]', "standard input is for `eastwatch ingest -`"),
        ('sources = ["kafka://h:1/t?format=xml"]', "unknown format 'xml'"),
        ('sources = ["topic"]', "source 'topic': expected kafka://HOST:PORT/TOPIC"),
        ('sources = ["file:x"]\n[health]\nlisten = "9464"', "setting health.listen = '9464': expected HOST:PORT"),
        ('sources = "file:x"', "setting sources = 'file:x': input should be a valid list"),
    ],
)
def test_settings_that_cannot_be(
    settings: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("EASTWATCH_")]:
        monkeypatch.delenv(name)
    (tmp_path / "eastwatch.toml").write_text(settings)
    assert run(["up"]) == 2
    said = capfd.readouterr().err
    assert says in said and said.count("\n") == 1


# Inside, on the tests' own store.


def parts(engine: Engine, sources: Sequence[str], **ingest: Any) -> tuple[Up, list[str]]:
    """Sources and jobs as `eastwatch up` makes them, and what they say."""
    notices: list[str] = []
    settings = load_settings(None, {"ingest": ingest}, {})
    place = Place(engine, settings, SystemClock(), Telemetry(), notices.append)
    return Up([parse_source(text) for text in sources], place), notices


@contextmanager
def in_thread(running: Up) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=running.run, args=(3600, lambda: None), daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        running.stop()
        thread.join(60)


def troubles(running: Up) -> Mapping[str, str]:
    return {check.name: check.trouble for check in running.checks}


def test_a_source_of_poison_leaves_the_others_alone(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    (tmp_path / "good.jsonl").write_text("".join(f"{call(number)}\n" for number in range(5)))
    (tmp_path / "bad.jsonl").write_text("nonsense\n" * 50)
    good, bad = (f"file:{tmp_path}/{name}.jsonl" for name in ("good", "bad"))
    running, notices = parts(engine, [f"{name}?format=calls_json" for name in (good, bad)], poison_records=20)
    with in_thread(running):
        poll(lambda: any("read to its end" in notice for notice in notices), "the end of the good file")
        poll(lambda: "are not readable as" in troubles(running)[f"source {bad}"], "what is wrong with the bad one")
        assert troubles(running)[f"source {good}"] == ""
        assert running.trouble == ""
    assert engine.query("SELECT count() AS n FROM calls")["n"][0].as_py() == 5
    assert engine.query("SELECT count() AS n FROM dead_letters")["n"][0].as_py() == 0
    assert any(notice.endswith("; opening it again in 1 s") for notice in notices)


class Hanging:
    """An engine whose inserts of calls hang until they are let go."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.hung = threading.Event()
        self.go = threading.Event()
        self.location = engine.location
        self.query = engine.query
        self.execute = engine.execute

    def insert(self, table: str, batch: pa.RecordBatch, *, token: str | None = None) -> None:
        if table == "calls":
            self.hung.set()
            self.go.wait(60)
        self._engine.insert(table, batch, token=token)


def test_the_end_is_bounded_whatever_the_engine_does(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "calls.jsonl").write_text(call(1) + "\n")
    hanging = Hanging(engine)
    source = f"file:{tmp_path}/calls.jsonl"
    running, notices = parts(
        hanging,  # pyright: ignore[reportArgumentType]
        [f"{source}?format=calls_json"],
        drain_s=0.5,
    )
    with in_thread(running) as thread:
        assert hanging.hung.wait(60)
        began = time.monotonic()
        running.stop()
        thread.join(60)
        took_s = time.monotonic() - began
        hanging.go.set()
    assert took_s < 0.5 + GRACE_S + 2
    assert f"{source}: not all was stored within 0.5 s; it comes again" in notices
    poll(lambda: not any(one.name == "eastwatch-store" for one in threading.enumerate()), "the end of the insert")


class Set(SystemClock):
    """A clock whose time of day is set by hand."""

    at = datetime(2026, 3, 2, 10, 0, 30, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at


def test_edges_of_the_last_minute_are_derived_when_it_is_over(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[datetime | None] = []

    def follow_up(_engine: Engine, *, now: datetime, until: datetime | None, go_on: GoOn) -> bool:
        assert now and go_on()
        runs.append(until)
        return True

    monkeypatch.setattr("eastwatch.up.follow_up", follow_up)
    clock, news = Set(), [1]
    settings = load_settings(None, {"ingest": {"derive_interval_s": 1}}, {})
    job = Job(Place(engine, settings, clock, Telemetry(), print), lambda: news[0])
    minute = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
    job.start()
    try:
        poll(lambda: runs == [minute] * len(runs) and runs, "the first run")
        # Over, and its last records may still be on their way.
        clock.at = minute + timedelta(minutes=1, seconds=5)
        before = len(runs)
        poll(lambda: len(runs) > before + 1, "runs in the next minute")
        assert runs == [minute] * len(runs)
        clock.at = minute + timedelta(minutes=1) + SETTLE
        poll(lambda: minute + timedelta(minutes=1) in runs, "a run after the minute")
        told = len(runs)
        clock.at = minute + timedelta(minutes=9) + SETTLE
        news[0] = 2
        poll(lambda: len(runs) > told, "a run after news")
        assert runs[told:] == [minute + timedelta(minutes=9)] * (len(runs) - told)
        assert None not in runs
        job.finish(time.monotonic() + 60)
        assert job.join(60)
        assert runs.count(runs[-1]) == 1 and runs[-1] is None  # all there is, the running minute with it
    finally:
        job.finish(0)
        assert job.join(60)


def test_a_defect_ends_the_process_and_is_told(engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "calls.jsonl").write_text(call(1) + "\n")

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("eastwatch.up.follow_up", broken)
    running, _ = parts(engine, [f"file:{tmp_path}/calls.jsonl?format=calls_json&follow=1"])
    with pytest.raises(ZeroDivisionError, match="a defect"):
        running.run(3600, lambda: None)
    assert running.trouble == "analyzer dependencies has ended"
    assert all(run.join(60) for run in running.sources)
