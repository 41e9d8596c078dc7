"""Slow-downs injected into the demo's world: how many are told, how soon, at the right edge, with the right cause.

    python -m benchmarks.latency_demo [--seeds 200] [--jobs 2]

Every seed is a world of its own: a kind of slow-down, its size and its place are drawn from the seed. Access logs go
through the pipeline as bytes; then the analyzer looks each minute, as `eastwatch up` does. The place has about five
requests a second: the journeys that lead there are made as frequent as that takes, the others are left out.

Told: a regression that nothing explains, at the place's service, begun within 5 minutes of the change (of a ramp, while
it grows). Right edge: the place's callers, callee and operation. Right cause: kind and service of the first cause. Any
other regression that nothing explains is a false one.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from analyzers.latency.analysis import analyze_latency
from collector.clock import SystemClock
from eastwatch.demo import run
from eastwatch.demo_changes import shape
from eastwatch.settings import load_settings
from eastwatch.world import START, World
from eastwatch.world.model import Call, Operation, Service, Topology
from eastwatch.world.shop import REVIEWS, SHOP
from eastwatch.world.slowdown import Kind, Slowdown
from eastwatch.world.world import ACCESS_LOGS
from storage.connect import open_store
from storage.migrate import migrate

KINDS: tuple[Kind, ...] = ("step", "ramp", "tail", "network", "version", "load")
FACTORS = (1.1, 1.2, 1.5, 2.0)
RATE = 5.0
CALM, AFTER = timedelta(minutes=40), timedelta(minutes=16)
RAMP = timedelta(minutes=12)
SOON = timedelta(minutes=10)
_LEAST_MS = 2.0


@dataclass(frozen=True, slots=True)
class Place:
    """An operation that waits for nobody, and one of its callers; `rate` is per second at scale 1."""

    caller: str
    operation: str
    rate: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one seed."""

    seed: int
    kind: Kind
    factor: float
    place: str
    delay_min: float | None
    edge: bool
    cause: bool
    named: str
    false: int


def rates(topology: Topology) -> Mapping[tuple[str, str], float]:
    """Calls per second at scale 1 by (caller, operation), of the journeys that come all day."""
    found: dict[tuple[str, str], float] = defaultdict(float)
    operations = topology.by_operation

    def walk(caller: str, call: Call, rate: float) -> None:
        found[caller, call.to] += rate * call.share
        for step in operations[call.to].steps:
            if isinstance(step, Call):
                walk(operations[call.to].service, step, rate * call.share)

    for journey in topology.journeys:
        if journey.schedule is None:
            walk(journey.caller, journey.call, journey.per_second)
    return found


def places(topology: Topology, known: Mapping[tuple[str, str], float]) -> list[Place]:
    """Operations of at least 2 ms that call nobody, where both proxies log."""
    found: list[Place] = []
    for (caller, operation), rate in sorted(known.items()):
        one = topology.by_operation[operation]
        ends = [topology.places.get(caller), topology.places.get(one.service)]
        logged = all(isinstance(end, Service) and end.meshed and end.logs and not end.gateway for end in ends)
        if logged and not one.steps and one.own_ms >= _LEAST_MS and rate > 0.2:
            found.append(Place(caller, operation, rate))
    return found


def world_of(seed: int) -> tuple[World, Slowdown, Place]:
    """The world of a seed, with its slow-down."""
    rng = np.random.default_rng([seed, 0x51])
    kind, factor = KINDS[seed % len(KINDS)], FACTORS[seed // len(KINDS) % len(FACTORS)]
    topology = replace(SHOP, journeys=tuple(one for one in SHOP.journeys if one.schedule is None))
    known = rates(topology)
    choice = places(topology, known)
    if kind == "version":
        choice = [Place(caller, to, rate) for (caller, to), rate in sorted(known.items()) if to == f"{REVIEWS}:list"]
    place = choice[int(rng.integers(len(choice)))]
    leading = [one for one in topology.journeys if _leads(topology, one.call, place)]
    topology = replace(topology, journeys=tuple(leading))
    here = rates(topology)[place.caller, place.operation]
    begin = START + CALM
    slow = Slowdown(
        begin=begin,
        kind=kind,
        operation=place.operation,
        factor=factor,
        caller=place.caller,
        version="v2" if kind == "version" else "",
        journey=max(leading, key=lambda one: one.per_second).name if kind == "load" else "",
        ramp=RAMP,
        seed=seed,
    )
    # Traffic follows the day: at this hour it is 1.1 to 1.2 times its mean.
    world = World(seed, START, CALM + AFTER, RATE / here / 1.15, topology=topology, incidents=(slow,))
    return world, slow, place


def _leads(topology: Topology, call: Call, place: Place) -> bool:
    operation: Operation = topology.by_operation[call.to]
    below = [step for step in operation.steps if isinstance(step, Call)]
    return any(
        (operation.service == place.caller and step.to == place.operation) or _leads(topology, step, place)
        for step in below
    )


def judged(seed: int) -> Outcome:
    """One world through the pipeline."""
    world, slow, place = world_of(seed)
    settings = load_settings()
    with tempfile.TemporaryDirectory(prefix="eastwatch-latency-") as directory:
        engine = open_store(f"chdb:{Path(directory) / 'store'}")
        try:
            migrate(engine)
            messages = (message for message in world.messages() if message.topic == ACCESS_LOGS)
            run(engine, replace_policies(world), messages, settings, SystemClock())
            since, until = slow.begin - timedelta(minutes=6), START + CALM + AFTER
            found = analyze_latency(engine, since, until, settings.regressions.limits(), step_min=1).regressions
        finally:
            engine.close()
    roots = [one for one in found if one.verdict == "regression" and one.explained_by is None and one.what == "latency"]
    one = world.cluster.topology.by_operation[place.operation]
    window = timedelta(minutes=5), RAMP if slow.kind == "ramp" else timedelta(minutes=5)
    real = [
        each
        for each in roots
        if one.service in (each.destination, *(cause.service for cause in each.causes[:1]))
        and slow.begin - window[0] <= each.since <= slow.begin + window[1]
    ]
    best = min(real, key=lambda each: each.told_at, default=None)
    name = f"{one.method} {one.path.partition('?')[0]}"
    edge = best is not None and best.destination == one.service and shape(best.operation or "") == shape(name)
    cause = best.causes[0] if best and best.causes else None
    return Outcome(
        seed,
        slow.kind,
        slow.factor,
        f"{place.caller} -> {place.operation}",
        (best.told_at - slow.begin).total_seconds() / 60 if best else None,
        edge,
        cause is not None and right(cause.kind, cause.service, slow, one.service),
        f"{cause.kind} {cause.service}" if cause else "-",
        len(roots) - len(real),
    )


def right(kind: str, service: str | None, slow: Slowdown, callee: str) -> bool:
    """Whether a cause is that of the slow-down."""
    wanted = {"network": ("network",), "load": ("load",), "version": ("self", "deploy")}.get(slow.kind, ("self",))
    return kind in wanted and (slow.kind == "load" or service == callee)


def replace_policies(world: World) -> World:
    """The world; its policies name services that a part of the shop has as well."""
    return world


def table(outcomes: list[Outcome]) -> str:
    """Markdown: by kind and size, then which cause was named for which."""
    lines = [
        "| slow-down | size | worlds | told | within 10 min | median delay | right edge | right cause | false |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    groups: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for one in outcomes:
        for key in ((one.kind, f"{one.factor - 1:.0%}"), (one.kind, "all"), ("all", f"{one.factor - 1:.0%}")):
            groups[key].append(one)
        groups["all", "all"].append(one)
    order = [(kind, size) for kind in (*KINDS, "all") for size in ("10%", "20%", "50%", "100%", "all")]
    for kind, size in order:
        if not (group := groups.get((kind, size))):
            continue
        told = [one for one in group if one.delay_min is not None]
        soon = sum(one.delay_min <= SOON.total_seconds() / 60 for one in told if one.delay_min is not None)
        delay = f"{np.median([one.delay_min for one in told]):.0f} min" if told else "-"
        of = max(len(told), 1)
        lines.append(
            f"| {kind} | {size} | {len(group)} | {len(told) / len(group):.2f} | {soon / len(group):.2f} | {delay} "
            f"| {sum(one.edge for one in told) / of:.2f} | {sum(one.cause for one in told) / of:.2f} "
            f"| {sum(one.false for one in group)} |"
        )
    lines += ["", "Which cause was named (worlds in which it was told):", ""]
    named = sorted({one.named.partition(" ")[0] for one in outcomes if one.delay_min is not None})
    lines += [f"| injected | {' | '.join(named)} |", f"|---|{'---:|' * len(named)}"]
    for kind in KINDS:
        told = [one for one in outcomes if one.kind == kind and one.delay_min is not None]
        counts = (sum(one.named.partition(" ")[0] == name for one in told) for name in named)
        lines.append(f"| {kind} | {' | '.join(map(str, counts))} |")
    return "\n".join(lines)


def report(seeds: int, jobs: int, first: int = 0) -> str:
    """Run the worlds and give their tables."""
    outcomes: list[Outcome] = []
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for done, one in enumerate(pool.map(judged, range(first, first + seeds)), 1):
            outcomes.append(one)
            wrong = one.delay_min is None or not one.cause or one.false
            print(f"{done}/{seeds} {datetime.now(UTC):%H:%M:%S}{' ' + str(one) if wrong else ''}", flush=True)
    return table(outcomes)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    print(report(given.seeds, given.jobs, given.first))


if __name__ == "__main__":
    main()
