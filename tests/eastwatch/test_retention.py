"""The disk budget as it runs: told once, counted, and by hand with `eastwatch retention`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

import eastwatch.cli.context
import eastwatch.retention_job
from collector.clock import SystemClock
from eastwatch.cli import run
from eastwatch.retention_job import RetentionJob
from eastwatch.telemetry import Telemetry
from storage.disk_budget import Holding, Sweep
from storage.engine import Engine
from storage.errors import EngineUnavailable
from storage.retention import Retention, apply
from tests.support.poll import poll

DAY = date(2026, 11, 1)
GONE = (Holding("calls", DAY, 1_000, 4_000_000_000), Holding("spans", DAY, 10, 500_000_000))


class Counted(Telemetry):
    """What it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[tuple[str, str], float] = {}
        self.levels: dict[str, float] = {}

    def count(self, name: Any, n: int = 1, **labels: Any) -> None:
        key = (name, str(labels["table"]))
        self.counts[key] = self.counts.get(key, 0) + n

    def record(self, name: Any, value: float, **labels: Any) -> None:
        self.levels[name] = value


class Fixed(SystemClock):
    def now(self) -> datetime:
        return datetime(2026, 11, 23, 12, tzinfo=UTC)


def swept(
    engine: Engine, sweeps: Sequence[Sweep | Exception], monkeypatch: pytest.MonkeyPatch
) -> tuple[list[str], Counted]:
    """One run of the job for each of `sweeps`; what it said."""
    said: list[str] = []
    telemetry = Counted()
    results = iter(sweeps)

    def enforce(_: Engine, budget_bytes: int, today: date, *, dropped: Callable[[Sequence[Holding]], None]) -> Sweep:
        assert (budget_bytes, today) == (2_000_000_000, date(2026, 11, 23))
        found = next(results)
        if isinstance(found, Exception):
            raise found
        if found.dropped:
            dropped(found.dropped)
        return found

    monkeypatch.setattr(eastwatch.retention_job, "enforce", enforce)
    job = RetentionJob(engine, 2_000_000_000, Fixed(), telemetry, said.append)
    for _ in sweeps:
        job.sweep()
    return said, telemetry


def test_each_day_that_goes_is_a_line_and_counted(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    said, telemetry = swept(engine, [Sweep(GONE, 1_900_000_000, 2_000_000_000)], monkeypatch)
    assert said == [
        "retention: dropped what arrived on 2026-11-01: 1,000 calls, 10 spans, 4.5 GB on disk, to fit into 2.0 GB"
    ]
    assert telemetry.counts == {
        ("eastwatch.retention.dropped", "calls"): 4_000_000_000,
        ("eastwatch.retention.dropped", "spans"): 500_000_000,
    }
    assert telemetry.levels == {"eastwatch.store.disk": 1_900_000_000, "eastwatch.store.over_budget": 0}


def test_a_budget_that_cannot_be_kept_is_told_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    over = [Sweep((), 3_000_000_000 + more, 2_000_000_000) for more in (0, 1_000_000_000)]
    fits = Sweep((), 1, 2_000_000_000)
    said, telemetry = swept(engine, [*over, fits, *over], monkeypatch)
    assert [text.partition(",")[0] for text in said] == ["retention: the store takes 3.0 GB"] * 2
    assert "1.0 GB more than retention.disk_bytes" in said[0]
    assert telemetry.levels["eastwatch.store.over_budget"] == 2_000_000_000


def test_an_engine_that_fails_is_asked_again(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    away = EngineUnavailable("nobody at db:9000")
    said, _ = swept(engine, [away, away, Sweep((), 1, 2_000_000_000), away], monkeypatch)
    assert said == ["retention: nobody at db:9000; it is tried again"] * 2


def test_what_is_really_held_is_measured(engine: Engine) -> None:
    counted = Counted()
    job = RetentionJob(engine, 0, SystemClock(), counted, lambda text: pytest.fail(text))
    job.start()
    poll(lambda: "eastwatch.store.over_budget" in counted.levels, "a sweep", 30)
    job.stop()
    assert job.join(30)
    assert job.defect is None
    assert counted.levels["eastwatch.store.disk"] > 0


def test_a_rehearsal_and_a_command_without_settings_leave_retention_as_it_is(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    settings = tmp_path / "eastwatch.toml"
    settings.write_text("[retention]\ncalls_days = 90\n")
    monkeypatch.setattr(eastwatch.cli.context, "open_store", lambda *_, **__: engine)  # pyright: ignore[reportUnknownArgumentType, reportUnknownLambdaType]
    monkeypatch.setattr(engine, "close", lambda: None)

    def kept(*command: str) -> tuple[list[str], str]:
        run([*command, "--store", f"chdb:{tmp_path}"])
        ddl = engine.query("SELECT create_table_query AS ddl FROM system.tables WHERE name = 'calls'")["ddl"]
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("retention: calls")]
        return re.findall(r" TTL toDate\(received_at\) \+ toIntervalDay\((\d+)\) SETT", ddl[0].as_py()), "".join(said)

    apply(engine, Retention(calls_days=7))
    try:
        assert kept("retention", "--dry-run", "--config", str(settings)) == (["8"], "")
        assert kept("retention", "--config", str(settings)) == (
            ["91"],
            "retention: calls kept 90 days, 7 days until now",
        )
        assert kept("retention") == (["91"], "")
    finally:
        apply(engine, Retention(calls_days=0, raw_days=0, minutes_days=0, hours_days=0, days_days=0))
        engine.execute("ALTER TABLE ingest_positions REMOVE TTL")
