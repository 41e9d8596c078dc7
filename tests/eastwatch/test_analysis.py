"""Findings in a process that runs on: by `eastwatch up`, and by `eastwatch analyze --every`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from analyzers.findings.store import findings
from analyzers.incidents.store import incidents
from analyzers.latency.findings import KINDS as REGRESSIONS
from analyzers.policy.analysis import KINDS
from analyzers.policy.errors import PolicyError
from collector.clock import SystemClock
from collector.sources.urls import parse_source
from eastwatch.analysis_job import REACH, AnalysisJob, every, look
from eastwatch.analysis_options import AnalysisOptions
from eastwatch.cli import run
from eastwatch.cli.findings import Kind
from eastwatch.settings import load_settings
from eastwatch.telemetry import Telemetry
from eastwatch.up import Place, Up
from storage.engine import Engine
from storage.errors import EngineUnavailable
from tests.analyzers.policy.test_check import ONLY_WEB, line, policies
from tests.analyzers.policy.test_unauthorized import BATCH, loaded
from tests.analyzers.records import at, insert_calls
from tests.support.cli import eastwatch, eastwatch_each
from tests.support.poll import poll

HOUR = 3600.0


class Counted(Telemetry):
    """What it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[tuple[str, ...]] = Counter()
        self.measured: list[tuple[str, Any]] = []

    def count(self, name: Any, n: int = 1, **labels: Any) -> None:
        self.counts[name, *(str(labels[key]) for key in sorted(labels))] += n

    def record(self, name: Any, value: float, **labels: Any) -> None:
        self.measured.append((name, labels))


class Set(SystemClock):
    """A clock whose time of day is set by hand."""

    at: datetime = at(0)

    def now(self) -> datetime:
        return self.at


def job(engine: Engine, clock: SystemClock, **options: float) -> tuple[AnalysisJob, list[str], Counted]:
    said: list[str] = []
    telemetry = Counted()
    return AnalysisJob(engine, AnalysisOptions(**options), clock, telemetry, said.append), said, telemetry


def test_windows_that_overlap_keep_an_episode_once(engine: Engine) -> None:
    loaded(engine, policies(ONLY_WEB), -20 * HOUR)
    insert_calls(engine, [line(second, **BATCH) for second in range(0, int(2 * HOUR), 300)])
    clock = Set()
    running, said, telemetry = job(engine, clock, window_s=1800)
    for minute in range(10, 140, 5):
        clock.at = at(60 * minute)
        assert running.look() is not None
    (kept,) = findings(engine)
    # All of its calls count, though no window holds them all.
    assert (kept.first_seen, kept.last_seen, kept.score) == (at(0), at(2 * HOUR - 300 + 60), 24.0)
    assert "24 times" in kept.title and kept.evidence.parameters["since"] == "2026-01-01 10:00:00.000000"
    assert [text.partition(":")[0] for text in said] == [f"finding {kept.id}, high"]
    assert [one.findings for one in incidents(engine)] == [(kept.id,)]
    assert telemetry.counts == {("eastwatch.findings.new", "unauthorized", "high"): 1}
    assert set(telemetry.counts) and telemetry.measured[0] == ("eastwatch.analysis.duration", {"analyzer": "policy"})


def test_an_episode_without_end_is_read_no_further_back_than_its_reach(engine: Engine) -> None:
    loaded(engine, policies(ONLY_WEB), -20 * HOUR)
    insert_calls(engine, [line(second, **BATCH) for second in range(0, int(9 * HOUR), 600)])
    reach = REACH.total_seconds()
    runs = [look(engine, at((hour - 1) * HOUR), at(hour * HOUR), at(hour * HOUR)) for hour in range(1, 10)]
    assert runs[-1].since == at(9 * HOUR - reach)
    (kept,) = findings(engine)
    assert (kept.first_seen, kept.last_seen) == (at(0), at(9 * HOUR - 600 + 60)) and kept.score >= reach / 600


@pytest.mark.parametrize(
    "error", [EngineUnavailable("nobody at db:9000"), PolicyError("bad set"), ZeroDivisionError("x")]
)
def test_a_run_that_fails_is_told_once_and_the_next_one_goes_on(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    results: list[Exception | None] = [error, error, None, error]

    def found(*_: object) -> Sequence[Any]:
        result = results.pop(0)
        if result:
            raise result
        return []

    monkeypatch.setattr("eastwatch.analysis_job.policy_findings", found)
    running, said, telemetry = job(engine, Set())
    for _ in range(4):
        running.look()
    told = str(error) if not isinstance(error, ZeroDivisionError) else "ZeroDivisionError: x"
    failed = f"analyzer policy: {told}; it is tried again"
    assert said == [failed, "analyzer policy: runs again", failed] and running.defect is None
    assert telemetry.counts == {("eastwatch.analysis.failures", "policy", type(error).__name__): 3}
    assert running.check.trouble == told


def test_the_job_runs_until_it_is_stopped_and_not_at_all_when_it_is_off(engine: Engine) -> None:
    loaded(engine, policies(ONLY_WEB), -20 * HOUR)
    insert_calls(engine, [line(10, **BATCH)])
    clock = Set()
    clock.at = at(600)
    off, said, _ = job(engine, clock, interval_s=0)
    off.start()
    assert off.join(30) and said == []
    running, said, _ = job(engine, clock, interval_s=3600)
    running.start()
    poll(lambda: said, "a finding", 30)
    running.stop()
    assert running.join(30)


def test_a_run_is_given_up_when_the_process_ends(engine: Engine) -> None:
    loaded(engine, policies(ONLY_WEB), -20 * HOUR)
    insert_calls(engine, [line(10, **BATCH)])
    clock = Set()
    clock.at = at(600)
    running, said, telemetry = job(engine, clock)
    running.stop()
    assert running.look() is None
    assert said == [] and not telemetry.counts and findings(engine) == []


@pytest.mark.parametrize("interval_s", [0, 3600])
def test_up_looks_for_findings_unless_told_not_to(engine: Engine, tmp_path: Path, interval_s: float) -> None:
    (tmp_path / "calls.jsonl").write_text("")
    loaded(engine, policies(ONLY_WEB), -20 * HOUR)
    insert_calls(engine, [line(10, **BATCH)])
    clock, said = Set(), list[str]()
    clock.at = at(600)
    settings = load_settings(None, {"analysis": {"interval_s": interval_s}}, {})
    place = Place(engine, settings, clock, Telemetry(), said.append)
    running = Up([parse_source(f"file:{tmp_path}/calls.jsonl?format=calls_json")], place)
    thread = threading.Thread(target=running.run, args=(3600, lambda: None), daemon=True)
    thread.start()
    try:
        poll(lambda: any("read to its end" in text for text in said), "the end of the file", 30)
        if interval_s:
            poll(lambda: any(text.startswith("finding ") for text in said), "a finding", 30)
    finally:
        running.stop()
        thread.join(60)
    assert len(findings(engine)) == (1 if interval_s else 0)
    assert "analyzer policy" not in [check.name for check in running.checks]


def test_a_store_without_policies_is_told(tmp_path: Path) -> None:
    store = ("--store", f"chdb:{tmp_path}/store")
    _, ended = eastwatch_each(("migrate", *store), ("analyze", *store))
    assert (ended.code, ended.stdout.splitlines()[-1]) == (0, "0 findings")
    assert ended.stderr.startswith("eastwatch: no policies are stored, so calls were held against none")


def test_runs_follow_each_other_until_told_to_stop() -> None:
    stop, runs = threading.Event(), 0

    def once() -> None:
        nonlocal runs
        runs += 1
        if runs == 3:
            stop.set()

    every(0.001, stop, once)
    assert runs == 3


def call(ago: timedelta, source: str, number: int) -> str:
    ts = (SystemClock().now() - ago).isoformat()
    fields = {
        "ts": ts,
        "reporter": "destination",
        "source_namespace": "shop",
        "source_service": source,
        "source_principal": f"spiffe://cluster.local/ns/shop/sa/{source}",
        "destination_namespace": "shop",
        "destination_service": "orders",
        "tls": "mtls",
        "protocol": "http",
        "method": "GET",
        "path": "/orders",
        "verdict": "allowed",
        "request_id": f"r{number}",
    }
    return json.dumps(fields)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_analyze_again_and_again_until_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    store = f"chdb:{tmp_path}/store"
    (tmp_path / "calls.jsonl").write_text(call(timedelta(minutes=5), "batch", 1) + "\n")
    (tmp_path / "policy.yaml").write_text(ONLY_WEB)
    eastwatch("ingest", f"file:{tmp_path}/calls.jsonl?format=calls_json", "--until-idle", "--store", store)
    loaded_at = ("--valid-from", "2026-01-01T00:00:00Z")
    eastwatch("policy", "load", str(tmp_path / "policy.yaml"), *loaded_at, "--store", store)
    command = [sys.executable, "-m", "eastwatch", "analyze", "--every", "1s", "--store", store]
    environment = {key: text for key, text in os.environ.items() if not key.startswith(("EASTWATCH_", "OTEL_"))}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    out, err = tmp_path / "out", tmp_path / "err"
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("wb")) for path in (out, err)]
        process = subprocess.Popen(command, stdout=files[0], stderr=files[1], cwd=tmp_path, env=environment)
        try:
            poll(lambda: len(out.read_text().splitlines()) >= 2 or process.poll() is not None, "two runs", 60)
            process.send_signal(number)
            assert process.wait(30) == 0, err.read_text()
        finally:
            process.kill()
            process.wait(30)
    lines = out.read_text().splitlines()
    assert lines[0].startswith("1 finding, 1 of them new, in calls from ")
    assert all(text.startswith("1 finding, 0 of them new, ") for text in lines[1:])
    assert err.read_text() == ""


@pytest.mark.parametrize("text", ["0s", "5", "-5m", "1y", "", "99999w"])
def test_spans_that_are_none_are_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["analyze", f"--every={text}", "--store", f"chdb:{tmp_path}/store"]
    assert run(given) == 2
    assert "is no time span" in capsys.readouterr().err


def test_findings_of_a_kind_that_there_is_not_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [one.value for one in Kind] == [*KINDS, *REGRESSIONS]
    for command in (["findings"], ["findings", "list"]):
        assert run([*command, "--kind", "unautorized", "--store", f"chdb:{tmp_path / 'store'}"]) == 2
        told = capsys.readouterr().err
        assert "unautorized" in told and "refused_though_allowed" in told
