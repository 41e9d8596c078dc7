"""The demo: the world through the real pipeline gives the map of what happened."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from analyzers.dependencies.derive import derive
from analyzers.dependencies.model import Edge, ServiceMap
from analyzers.dependencies.service_map import service_map
from collector.clock import SystemClock
from collector.sources.memory import MemorySource
from eastwatch.demo import LiveSource, Story, batches, compare, load_inventory, make_loop, run
from eastwatch.settings import load_settings
from eastwatch.world import START, Message, World
from eastwatch.world.shop import SHOP
from storage.embedded import EmbeddedEngine
from storage.engine import Engine
from tests.conftest import empty
from tests.eastwatch.world.conftest import troubled

SHORT = {"start": START + timedelta(minutes=13), "duration": timedelta(minutes=20), "scale": 0.3}


class HeldClock(SystemClock):
    """A wall clock that stands still until it is moved."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at


def edge(source: str, destination: str, **more: object) -> Edge:
    values: dict[str, object] = {
        "direction": "east_west", "protocol": "http", "requests": 10, "attempts": 10, "errors": 0, "denied": 0,
        "p50_ms": 1.0, "p95_ms": 1.0, "p99_ms": 1.0, "rps": 1.0, "statuses": {"200": 10}, "grpc_statuses": {},
        "faults": {}, "disagreements": [], "bypass": False, "mtls_share": 1.0, "bytes_sent": 1, "bytes_received": 1,
        "evidence": ["log"], "first_seen": START, "last_seen": START,
    }  # fmt: skip
    return Edge(source, destination, **{**values, **more})  # type: ignore[arg-type]


def truth(*edges: Edge) -> dict[str, object]:
    return {"edges": [each.to_document() for each in edges], "incidents": []}


@pytest.fixture(scope="module")
def happened(shared_store: EmbeddedEngine) -> tuple[World, Story]:
    """A world, and what the pipeline made of it."""
    empty(shared_store)
    world = World(seed=4, **SHORT)
    return world, run(shared_store, world, world.messages(), load_settings(), SystemClock())


def test_the_map_is_what_happened(happened: tuple[World, Story]) -> None:
    world, story = happened
    verdict = compare(story.map, world.truth())
    assert (verdict["missing"], verdict["unexpected"]) == ([], [])
    assert (verdict["edge_precision"], verdict["edge_recall"], verdict["request_error"]) == (1.0, 1.0, 0.0)
    assert verdict["differences"] == []
    assert story.counts.dead_lettered == 0
    nodes = {node.id: node.kind for node in story.map.nodes}
    assert nodes == {node["id"]: node["kind"] for node in world.truth()["nodes"]}


def test_the_map_is_what_happened_when_much_goes_wrong(engine: Engine) -> None:
    world = World(seed=4, **{**SHORT, "duration": timedelta(minutes=6)}, topology=troubled(SHOP))
    story = run(engine, world, world.messages(), load_settings(), SystemClock())
    verdict = compare(story.map, world.truth())
    assert (verdict["missing"], verdict["unexpected"], verdict["differences"]) == ([], [], [])
    assert story.counts.dead_lettered == 0


def test_an_inventory_that_comes_late_names_what_is_stored(engine: Engine) -> None:
    world, clock = World(seed=5, **SHORT), SystemClock()
    make_loop(engine, MemorySource("world", batches(world.messages())), load_settings(), clock).run()
    before = compare(service_map(engine), world.truth())
    assert ["legacy/erp", "shop/orders"] in before["missing"]
    assert ["unknown", "shop/orders"] in before["unexpected"]
    load_inventory(engine, world, clock)
    derive(engine, now=clock.now())
    after = compare(service_map(engine), world.truth())
    assert (after["missing"], after["unexpected"], after["differences"]) == ([], [], [])


def test_quantiles_are_within_the_histograms_error(happened: tuple[World, Story]) -> None:
    world, story = happened
    real = {(each["source"], each["destination"]): each for each in world.truth()["edges"]}
    for found in story.map.edges:
        if found.evidence[0] != "log":
            continue  # spans have microseconds, the truth is in whole milliseconds
        for name in ("p50_ms", "p95_ms", "p99_ms"):
            wanted = real[found.source, found.destination][name]
            assert getattr(found, name) == pytest.approx(wanted, rel=0.011), (found.source, found.destination, name)


def test_comparison_counts_what_is_missing_invented_and_wrong() -> None:
    shown = ServiceMap(None, None, (), (edge("a", "b"), edge("a", "c", requests=7), edge("a", "x", requests=1)))
    verdict = compare(shown, truth(edge("a", "b"), edge("a", "c"), edge("a", "d", requests=20)))
    assert verdict["edge_precision"] == pytest.approx(2 / 3)
    assert verdict["edge_recall"] == pytest.approx(2 / 3)
    assert verdict["request_error"] == pytest.approx((3 + 20 + 1) / 40)
    assert (verdict["missing"], verdict["unexpected"]) == ([["a", "d"]], [["a", "x"]])
    assert verdict["differences"] == [{"source": "a", "destination": "c", "what": "requests", "map": 7, "truth": 10}]


def test_comparison_of_nothing() -> None:
    verdict = compare(ServiceMap(None, None), truth())
    assert (verdict["edge_precision"], verdict["edge_recall"], verdict["request_error"]) == (1.0, 1.0, 0.0)
    assert compare(ServiceMap(None, None), truth(edge("a", "b")))["request_error"] == 1.0


def test_batches_hold_every_message_once_in_order() -> None:
    messages = [Message("logs" if i % 3 else "spans", b"", bytes([i]) * (i % 7 + 1), i) for i in range(100)]
    told: dict[str, list[bytes]] = {"logs": [], "spans": []}
    for batch in batches(iter(messages), size_bytes=40):
        assert batch.offsets.to_pylist() == list(
            range(len(told[batch.topic]), len(told[batch.topic]) + len(batch.values))
        )
        told[batch.topic] += batch.values.to_pylist()
        assert sum(map(len, batch.values.to_pylist()[:-1])) < 40
    for topic, values in told.items():
        assert values == [message.value for message in messages if message.topic == topic]


def test_live_messages_wait_for_their_time() -> None:
    clock = HeldClock(datetime(2026, 3, 2, 10, 0, tzinfo=UTC))
    now_us = int(clock.at.timestamp() * 1e6)
    messages = [Message("logs", b"", str(i).encode(), now_us + i * 1_000_000) for i in range(5)]
    source = LiveSource(iter(messages), clock)
    told: Counter[bytes] = Counter()

    def poll() -> list[str]:
        values = [value for cut in source.poll(0.0, room=True) for value in cut.batch.values.to_pylist()]
        told.update(values)
        return [value.decode() for value in values]

    assert poll() == ["0"]
    assert poll() == []
    clock.at += timedelta(seconds=2)
    assert source.poll(0.0, room=False) == []
    assert poll() == ["1", "2"]
    assert not source.finished
    clock.at += timedelta(hours=1)
    assert poll() == ["3", "4"]
    assert source.finished
    assert set(told.values()) == {1}


_SHORT_DEMO = """
import sys
from datetime import timedelta
import eastwatch.cli.demo as demo
from eastwatch.cli import run
demo.TOLD = timedelta(minutes=3)
sys.exit(run(sys.argv[1:]))
"""


def test_once_prints_one_document(run_in_process, tmp_path: Path) -> None:
    done = run_in_process(_SHORT_DEMO, "demo", "--once", "--json", "--seed", "3", "--data", tmp_path / "kept")
    document = json.loads(done.stdout)
    assert document["truth"]["edge_precision"] == document["truth"]["edge_recall"] == 1.0
    assert document["truth"]["request_error"] == 0.0
    assert document["truth"]["incidents"] == []
    assert {"since", "until", "nodes", "edges"} <= document["map"].keys()
    assert done.stderr == ""
    again = run_in_process(_SHORT_DEMO, "map", "--json", "--store", f"chdb:{tmp_path / 'kept'}")
    assert json.loads(again.stdout) == document["map"]


def test_once_tells_a_story(run_in_process) -> None:
    done = run_in_process(_SHORT_DEMO, "demo", "--once")
    assert "edges     " in done.stdout and "of" in done.stdout
    assert "counted with an error of 0.0000%" in done.stdout
    assert "istio-system/istio-ingressgateway" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--json",), "expected --once beside it"),
        (("--once", "--data", "{used}"), "expected a new or empty directory"),
        (("--seed", "-1"), "--seed"),
    ],
)
def test_bad_input_is_one_line(run_in_process, tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    used = tmp_path / "used"
    used.mkdir()
    (used / "something").write_text("mine")
    done = run_in_process(_SHORT_DEMO, "demo", *(each.format(used=used) for each in arguments), check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert says in done.stderr and done.stderr.count("\n") == 1


def test_a_store_is_not_taken(run_in_process) -> None:
    done = run_in_process(_SHORT_DEMO, "--store", "chdb:./somewhere", "demo", "--once", check=False)
    assert done.returncode == 2
    assert "expected --data DIR" in done.stderr
