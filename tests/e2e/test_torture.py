"""The short form of `benchmarks.torture`: kills and faults, and every table and rollup equals the truth."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.torture import Plan, table, torture
from benchmarks.torture_truth import Multiset, compare
from tests.support.kafka_broker import KafkaBroker
from tests.support.require import require

ROOT = Path(__file__).parents[2]


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
def test_the_command_on_the_embedded_engine(kafka: KafkaBroker) -> None:
    require("kafka", not kafka.external, "the broker of EASTWATCH_TEST_KAFKA is not ours to restart")
    command = [sys.executable, "-m", "benchmarks.torture", "--engine", "embedded", "--kills", "12", "--seed", "6"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lost: 0; duplicated: 0; ended by themselves: 0" in done.stdout


@pytest.mark.parametrize(
    ("found", "lost", "duplicated"),
    [({"a": 1, "b": 2}, 0, 0), ({"a": 1, "b": 1}, 1, 0), ({"a": 2, "b": 2}, 0, 1), ({"a": 1, "b": 1, "c": 1}, 1, 1)],
)
def test_a_verdict(found: dict[str, int], lost: int, duplicated: int) -> None:
    verdict = compare("t", Multiset({"a": 1, "b": 2}), Multiset(found))
    assert (verdict.lost, verdict.duplicated) == (lost, duplicated)
