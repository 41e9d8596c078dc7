"""How wrong the map gets when telemetry is: `python -m benchmarks.map_accuracy`.

The demo's world writes wire bytes, `eastwatch.world.degrade` damages them, and the pipeline makes a map of what is
left, which is compared with what really happened. Every row is a run in a process and a store of its own. Prints the
Markdown table of docs/accuracy.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from analyzers.dependencies.service_map import service_map
from collector.clock import SystemClock
from collector.inventory import load
from collector.sources.memory import MemorySource
from eastwatch.demo import batches, compare, load_inventory, make_loop
from eastwatch.settings import load_settings
from eastwatch.world import ACCESS_LOGS, METRICS, START, TOPICS, TRACES, Message, World
from eastwatch.world.degrade import (
    head_sampled,
    one_side,
    readdressed,
    repeated,
    replaced,
    shuffled,
    skewed,
    spans_lost,
    topics,
)
from eastwatch.world.model import Topology
from eastwatch.world.shop import SHOP
from storage.engine import Engine

ROOT = Path(__file__).parent.parent
BEGIN = START + timedelta(minutes=20)
SEED = 11

Damage = Callable[..., Iterator[Message]]
"""A function of `eastwatch.world.degrade` with all but the messages and the seed filled in."""

TELEMETRY: Mapping[str, Sequence[str]] = {
    "all": TOPICS,
    "logs": (ACCESS_LOGS,),
    "traces": (TRACES,),
    "metrics": (METRICS,),
}
BARE = "shop/cart"
"""The service that has no sidecar, where one has none."""
MOVED, HEIR = "legacy/erp", "shop/web"
"""Half-way a pod of HEIR gets the address that MOVED had, a caller known by nothing else; MOVED gets a new one."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row: which telemetry there is (a key of TELEMETRY), and what befell it."""

    telemetry: str
    what: str
    damage: Damage | None = None
    topology: Topology = SHOP
    reuse: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """The map of one run held against the truth; all but the names of edges are shares.

    `request_error`: sum of absolute differences of requests over all edges, divided by all real requests.
    `found_error`: the same over the edges that the map has and that are real.
    """

    edge_precision: float
    edge_recall: float
    request_error: float
    found_error: float
    missing: Sequence[Sequence[str]]
    unexpected: Sequence[Sequence[str]]


def scenarios() -> Sequence[Scenario]:
    """Every row of the table, in order."""
    everywhere, logs, traces = ("all",), ("all", "logs"), ("all", "traces")
    damages: Sequence[tuple[str, Sequence[str], Damage]] = (
        *(
            (f"traces are head sampled at {share:.0%}", traces, partial(head_sampled, share=share))
            for share in (1.0, 0.1, 0.01)
        ),
        *((f"{share:.0%} of spans are lost", traces, partial(spans_lost, share=share)) for share in (0.01, 0.05, 0.2)),
        ("callees' proxies do not log", logs, partial(one_side, missing="callee")),
        ("callers' proxies do not log", logs, partial(one_side, missing="caller")),
        ("two thirds of the clocks are 5 s early or late", traces, partial(skewed, skew=timedelta(seconds=5))),
        ("messages arrive up to 500 places out of order", everywhere, partial(shuffled, within=500)),
        *(
            (f"a producer sends {share:.0%} of its messages twice", logs, partial(repeated, share=share))
            for share in (0.01, 0.05)
        ),
    )
    bare = tuple(replace(service, meshed=service.meshed and service.id != BARE) for service in SHOP.services)
    return (
        *(Scenario(telemetry, "nothing") for telemetry in TELEMETRY),
        *(Scenario(telemetry, what, damage) for what, having, damage in damages for telemetry in having),
        Scenario("all", f"no sidecar on {BARE}", topology=replace(SHOP, services=bare)),
        Scenario("all", f"{MOVED}'s address goes to a pod of {HEIR} half-way", reuse=True),
    )


def run(engine: Engine, scenario: Scenario, duration: timedelta, scale: float, seed: int = SEED) -> Outcome:
    """Simulate, damage, ingest, derive, and compare the map with the truth; the store must be empty."""
    world = World(seed, BEGIN, duration, scale, topology=scenario.topology)
    clock, settings = SystemClock(), load_settings()
    messages: Iterator[Message] = world.messages()
    half_us = (world.start_us + world.end_us) // 2
    load_inventory(engine, world, clock)
    if scenario.reuse:
        moves = _moves(world)
        messages = readdressed(messages, moves, half_us)
        later = _later_inventory(world.inventory(), moves, half_us)
        load(engine, {"the inventory after the move": later}, cluster="", loaded_at=clock.now())
    messages = topics(messages, TELEMETRY[scenario.telemetry])
    if scenario.damage:
        messages = scenario.damage(messages, seed=seed)
    make_loop(engine, MemorySource("world", batches(messages)), settings, clock).run()
    return outcome(engine, world.truth())


def outcome(engine: Engine, truth: Mapping[str, Any]) -> Outcome:
    """The map of everything stored against the truth."""
    found = service_map(engine)
    verdict = compare(found, truth)
    shown = {(edge.source, edge.destination): edge.requests for edge in found.edges}
    real = {(edge["source"], edge["destination"]): edge["requests"] for edge in truth["edges"]}
    both = shown.keys() & real.keys()
    off, total = sum(abs(shown[pair] - real[pair]) for pair in both), sum(real[pair] for pair in both)
    return Outcome(
        verdict["edge_precision"],
        verdict["edge_recall"],
        verdict["request_error"],
        off / total if total else 0.0,
        verdict["missing"],
        verdict["unexpected"],
    )


def _moves(world: World) -> Mapping[str, str]:
    """The address of a pod of HEIR becomes that of MOVED's pod, whose own becomes one that nobody had."""
    address = {pod.service.id: pod.address for pod in world.cluster.pods}
    taken = {pod.address for pod in world.cluster.pods}
    free = next(a for a in (f"10.244.250.{host}" for host in range(1, 255)) if a not in taken)
    return {address[HEIR]: address[MOVED], address[MOVED]: free}


def _later_inventory(inventory: bytes, moves: Mapping[str, str], since_us: int) -> bytes:
    """The pods that have other addresses now, as new pods that began at `since_us`."""
    since = f"{datetime.fromtimestamp(since_us / 1e6, UTC):%Y-%m-%dT%H:%M:%SZ}"
    listed = json.loads(replaced(inventory, moves))
    pods = [item for item in listed["items"] if item["kind"] == "Pod" and item["status"]["podIP"] in moves.values()]
    for pod in pods:
        pod["metadata"]["name"] += "-moved"
        pod["metadata"]["creationTimestamp"] = pod["status"]["startTime"] = since
    return json.dumps({**listed, "items": pods}).encode()


def table(rows: Iterable[tuple[Scenario, Outcome]]) -> Iterator[str]:
    """The lines of the Markdown table."""
    yield "| telemetry | what befell it | edge precision | edge recall | request error | of the edges found |"
    yield "|---|---|---:|---:|---:|---:|"
    for scenario, found in rows:
        shares = (found.edge_precision, found.edge_recall)
        errors = (found.request_error, found.found_error)
        cells = [*(f"{share:.3f}" for share in shares), *(f"{error:.2%}" for error in errors)]
        yield f"| {scenario.telemetry} | {scenario.what} | {' | '.join(cells)} |"


def run_here() -> None:
    """Body of a process (arguments: number of the scenario, minutes, scale, directory): prints its outcome as JSON."""
    from storage.embedded import EmbeddedEngine
    from storage.migrate import migrate

    number, minutes, scale, directory = sys.argv[1:]
    engine = EmbeddedEngine(Path(directory) / "store")
    migrate(engine)
    found = run(engine, scenarios()[int(number)], timedelta(minutes=float(minutes)), float(scale))
    engine.close()
    print(json.dumps(asdict(found)))


def main() -> None:
    """Run every scenario and print the table; edges that are missing or not real go to stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=50, help="length of the world, from 10:20 on a Monday")
    parser.add_argument("--scale", type=float, default=0.3, help="factor on its traffic; 1 is about 35 calls a second")
    parser.add_argument("--only", default="", help="only rows in which this occurs")
    arguments = parser.parse_args()
    packages = ", ".join(f"{name} {version(name)}" for name in ("chdb", "chdb-core", "pyarrow"))
    print(f"Machine: {os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, {packages}.")
    print(f"The demo's world, seed {SEED}, {arguments.minutes:g} minutes at scale {arguments.scale:g}.\n")
    done: list[tuple[Scenario, Outcome]] = []
    code = "from benchmarks.map_accuracy import run_here; run_here()"
    for number, scenario in enumerate(scenarios()):
        if arguments.only not in f"{scenario.telemetry} {scenario.what}":
            continue
        with tempfile.TemporaryDirectory(prefix="eastwatch-accuracy-") as directory:
            command = [sys.executable, "-c", code, *map(str, (number, arguments.minutes, arguments.scale)), directory]
            out = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
        found = Outcome(**json.loads(out.splitlines()[-1]))
        done.append((scenario, found))
        name = f"{scenario.telemetry}, {scenario.what}"
        print(f"{name}: missing {found.missing}, unexpected {found.unexpected}", file=sys.stderr)
    print("\n".join(table(done)))


if __name__ == "__main__":
    main()
