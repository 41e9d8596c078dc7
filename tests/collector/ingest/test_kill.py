"""kill -9 at any point of a batch's way: nothing is lost and nothing is there twice."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from collector.sources.urls import DEFAULT_GROUP
from tests.collector.ingest.kafka_reader import line
from tests.support.feed import produce
from tests.support.kafka_broker import KafkaBroker
from tests.support.poll import poll

pytestmark = pytest.mark.kafka

ROOT = Path(__file__).parents[3]
PARTITIONS = 3
_START = "from eastwatch.cli import main; main()"
_LAST = """
import sys
from eastwatch.cli import run
from storage.connect import open_store
from tests.collector.ingest.kafka_reader import exact
store, *arguments = sys.argv[1:]
assert run(arguments) == 0
engine = open_store(store)
print(exact(engine))
engine.close()
"""
SMALL = "[ingest]\nbatch_messages = 50\nbatch_age_s = 0.05\ncommit_interval_s = 0\n[kafka]\nsession_timeout_s = 1\n"
"""Many small batches, so that a kill hits one at any point."""


@pytest.mark.parametrize(
    ("seed", "kills", "total"),
    [(1, 2, 2000), *[pytest.param(n, 12, 20_000, marks=pytest.mark.long) for n in range(2, 6)]],
)
def test_kill_at_any_point(kafka: KafkaBroker, tmp_path: Path, seed: int, kills: int, total: int) -> None:
    topic, store = kafka.topic(partitions=PARTITIONS), f"chdb:{tmp_path / 'store'}"
    (tmp_path / "small.toml").write_text(SMALL)
    produce(kafka.bootstrap, topic, [line(n) for n in range(total)])
    group = f"{DEFAULT_GROUP}-{topic}"
    arguments = ["ingest", f"kafka://{kafka.bootstrap}/{topic}?format=calls_json&group={group}"]
    arguments += ["--store", store, "--config", str(tmp_path / "small.toml")]
    chance = random.Random(seed)

    def done() -> int:
        return sum(kafka.committed(group, topic, partition) or 0 for partition in range(PARTITIONS))

    for _ in range(kills):
        goal = min(done() + chance.randint(1, total // kills), total)
        process = subprocess.Popen([sys.executable, "-c", _START, *arguments], stderr=subprocess.PIPE, cwd=ROOT)
        try:
            poll(lambda p=process, g=goal: p.poll() is not None or done() >= g, "progress", 120, every_s=0.01)
            assert process.poll() is None
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
    last = subprocess.run(
        [sys.executable, "-c", _LAST, store, *arguments, "--until-idle"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        check=False,
    )
    assert last.returncode == 0, last.stderr
    expected = {"calls": total, "different": total, "requests": total, "dead": 0}
    assert last.stdout.splitlines()[-1] == str(expected)
