"""Short forms of `benchmarks.torture`: kills and faults, and every table and rollup equals the truth."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.torture import Plan, table, torture
from benchmarks.torture_truth import Multiset, compare
from tests.support.kafka_broker import KafkaBroker, missing
from tests.support.require import require

ROOT = Path(__file__).parents[2]


@pytest.mark.kafka
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
def test_a_kill_and_an_insert_that_is_cut(kafka: KafkaBroker, tmp_path: Path) -> None:
    fault = "cut in the middle of an insert"
    report = torture(Plan("server", kills=1, ingesters=1, seed=4, faults=[fault], minutes=3), kafka, tmp_path)
    assert not report.failed, table(report)
    assert (report.kills, dict(report.faults)) == (1, {fault: 1})
    expected = {one.table: one.expected for one in report.verdicts}
    assert expected["calls"] > 250 and expected["spans"] == 60 and expected["metric_points"] == 10
    assert expected["edge_ledger"] == expected["calls"]


@pytest.mark.kafka
def test_two_kills_and_a_broker_that_restarts() -> None:
    """The embedded engine, in processes of their own: this one has a store open."""
    done = embedded("--kills", "2", "--seed", "4", "--faults", "broker restarted", "--event-minutes", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kills (SIGKILL): 2 of 1 ingester," in done.stdout
    assert "other faults: 1 (broker restarted 1)" in done.stdout
    assert "lost: 0; duplicated: 0; ended by themselves: 0" in done.stdout


def embedded(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The torture command on the embedded engine, with a broker of its own."""
    require("kafka", not (why := missing()), why)
    require("kafka", not os.environ.get("EASTWATCH_TEST_KAFKA"), "the broker named there is not ours to restart")
    command = [sys.executable, "-m", "benchmarks.torture", "--engine", "embedded", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.kafka
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("kills", "seed"), [(3, 4), (20, 5)])
@pytest.mark.long
def test_several_ingesters_of_a_server(kafka: KafkaBroker, tmp_path: Path, kills: int, seed: int) -> None:
    require("kafka", not kafka.external, "the broker of EASTWATCH_TEST_KAFKA is not ours to restart")
    report = torture(Plan("server", kills, ingesters=2, seed=seed), kafka, tmp_path)
    assert not report.failed, table(report)
    assert report.kills == kills
    assert sum(report.faults.values()) >= min(kills - 1, 6)
    assert sum(one.expected for one in report.verdicts if one.table == "calls") > 200 * kills


@pytest.mark.kafka
@pytest.mark.long
def test_the_command_on_the_embedded_engine() -> None:
    done = embedded("--kills", "12", "--seed", "6")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lost: 0; duplicated: 0; ended by themselves: 0" in done.stdout


@pytest.mark.parametrize(
    ("found", "lost", "duplicated"),
    [({"a": 1, "b": 2}, 0, 0), ({"a": 1, "b": 1}, 1, 0), ({"a": 2, "b": 2}, 0, 1), ({"a": 1, "b": 1, "c": 1}, 1, 1)],
)
def test_a_verdict(found: dict[str, int], lost: int, duplicated: int) -> None:
    verdict = compare("t", Multiset({"a": 1, "b": 2}), Multiset(found))
    assert (verdict.lost, verdict.duplicated) == (lost, duplicated)
