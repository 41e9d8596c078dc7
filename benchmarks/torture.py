"""Kill ingesters, break what they depend on, and count: `python -m benchmarks.torture`.

A known multiset of lines, spans and metric points goes into topics of a real Kafka broker, a slice each round. In each
round one `eastwatch ingest` is killed with SIGKILL at a random point, and another is started with other sizes of
batches; in some rounds the broker is restarted or killed, the engine's connections are cut, stalled, slowed or refused,
the engine is killed or has no space left, or an ingester is frozen for longer than its session. At the end every table
and every rollup is compared with the truth. Exit code 1 where anything is lost or there twice, or where an ingester
ended by itself.

Embedded engine: one ingester, and killing it kills the engine. Server engine: several in one consumer group, and chDB
behind ClickHouse's native protocol (`tests.support.native_server`).
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from kafka.errors import KafkaError

from benchmarks.torture_faults import EVERYWHERE, SERVER, EmbeddedStore, Fault, ServerStore, Victims
from benchmarks.torture_ingesters import Ingesters
from benchmarks.torture_truth import MINUTES, Message, Truth, Verdict, verdicts
from storage.connect import open_store
from tests.support.cli import eastwatch_json
from tests.support.feed import produce
from tests.support.kafka_broker import KafkaBroker, kafka_broker, missing

PARTITIONS = 3
LINES, SPANS, POINTS = 300, 60, 10
"""Records of one round."""
EARLY_SHARE = 0.3
STARTING_S = 4.0
"""A process reads its first message within about this time of its start."""
PROGRESS_LIMIT_S = 60.0
"""A kill comes at the latest so long after the round's records, also where a fault keeps them from being stored."""
DRAIN_LIMIT_S = 300.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for."""

    engine: str
    kills: int
    ingesters: int
    seed: int
    limit_s: float = float("inf")
    """No round begins later."""
    faults: Sequence[str] = ()
    """Only these, one in each of the last rounds; by default all that the engine knows, in every third."""
    minutes: int = MINUTES
    """In which event times lie: each that has news is derived anew."""


@dataclass(frozen=True, slots=True)
class Report:
    """What came of it."""

    plan: Plan
    kills: int
    struck: int
    """Kills of an ingester, or beside one, that had stored something since the kill before: others show little."""
    torn: int
    faults: Mapping[str, int]
    missed: Mapping[str, int]
    """Those of the faults that nothing met before they ended."""
    verdicts: Sequence[Verdict]
    broken: Sequence[str]
    gave_up: int
    stop_s: float
    seconds: float

    @property
    def failed(self) -> bool:
        """Whether anything was lost, is there twice or ended by itself, or too few kills struck to say so."""
        return (
            bool(self.broken)
            or self.struck < self.kills // 2
            or any(one.lost or one.duplicated for one in self.verdicts)
        )


def torture(plan: Plan, broker: KafkaBroker, directory: Path) -> Report:
    """One run on one engine; everything random but the moments comes from the plan's seed."""
    chance, began = random.Random(plan.seed), time.monotonic()
    truth = Truth(random.Random(f"truth {plan.seed}"), plan.minutes)
    schedule, faults, missed = _schedule(plan, chance), Counter[str](), Counter[str]()
    struck = stored = 0
    topics = {kind: broker.topic(PARTITIONS) for kind in ("lines", "otlp")}
    with closing(ServerStore(directory) if plan.engine == "server" else EmbeddedStore(directory)) as store:
        arguments = [
            "ingest",
            f"kafka://{broker.bootstrap}/{topics['lines']}?format=calls_json&group=lines-{topics['lines']}",
            f"kafka://{broker.bootstrap}/{topics['otlp']}?format=otlp_proto&group=otlp-{topics['otlp']}",
            "--store",
            store.store,
        ]
        ingesters = Ingesters(directory, arguments, chance)
        victims = Victims(broker, ingesters, store, chance)
        try:
            for _ in range(plan.ingesters):
                ingesters.start()
            for number in range(plan.kills):
                if (at_s := time.monotonic() - began) > plan.limit_s:
                    break
                _send(broker, topics, list(truth.messages(LINES, SPANS, POINTS)))
                name, fault = schedule.get(number, ("", None))
                _say(f"{at_s:.0f} s, {plan.engine}: round {number + 1} of {plan.kills}" + (f", {name}" if name else ""))
                lift = fault(victims) if fault else None
                _wait(chance, broker, topics["lines"])
                reached = max(stored, _committed(broker, topics["lines"]))
                struck, stored = struck + (reached > stored), reached
                ingesters.kill()
                if lift:
                    time.sleep(chance.uniform(0, STARTING_S))
                    missed[name] += lift() is False
                    faults[name] += 1
            _say(f"{plan.engine}: {ingesters.kills} killed; reading the rest")
            ingesters.stop()
            ingesters.drain(DRAIN_LIMIT_S)
        finally:
            ingesters.end()
        edges = eastwatch_json("map", "--store", store.direct)["edges"]
        with closing(open_store(store.direct)) as engine:
            found = verdicts(engine, truth, edges)
    seconds = time.monotonic() - began
    return Report(
        plan,
        ingesters.kills,
        struck,
        ingesters.torn,
        faults,
        +missed,
        found,
        ingesters.broken,
        ingesters.gave_up,
        ingesters.stop_s,
        seconds,
    )


def _schedule(plan: Plan, chance: random.Random) -> Mapping[int, tuple[str, Fault]]:
    """Round -> fault: every third round one, each kind as often as the others, never in the first."""
    known = EVERYWHERE | SERVER if plan.engine == "server" else EVERYWHERE
    if plan.faults:
        return {number: (name, known[name]) for number, name in enumerate(plan.faults, plan.kills - len(plan.faults))}
    kinds = list(known.items())
    rounds = [number for number in range(1, plan.kills) if number % 3 == 1 or plan.kills <= len(kinds)]
    chance.shuffle(kinds)
    faults = (kinds * (len(rounds) // len(kinds) + 1))[: len(rounds)]
    return dict(zip(rounds, faults, strict=True))


def _send(broker: KafkaBroker, topics: Mapping[str, str], messages: Sequence[Message]) -> None:
    for kind, topic in topics.items():
        produce(broker.bootstrap, topic, [body for of, body in messages if of == kind])


def _wait(chance: random.Random, broker: KafkaBroker, topic: str) -> None:
    """Until an ingester has stored a random part of what was sent, or, for a third, for some time after it started."""
    share, pause_s = chance.random(), chance.uniform(0, STARTING_S)
    began = time.monotonic()
    if chance.random() < EARLY_SHARE or broker.stopped:
        time.sleep(pause_s)
        return
    goal = _committed(broker, topic) + 1 + int(share * LINES)
    while time.monotonic() < began + PROGRESS_LIMIT_S and _committed(broker, topic) < goal:
        time.sleep(0.02)


def _committed(broker: KafkaBroker, topic: str) -> int:
    try:
        return sum(broker.committed(f"lines-{topic}", topic, partition) or 0 for partition in range(PARTITIONS))
    except KafkaError:
        return 0


def table(report: Report) -> str:
    """A report as Markdown."""
    plan = report.plan
    faults = ", ".join(f"{name} {count}" for name, count in sorted(report.faults.items())) or "none"
    lost, twice = (sum(getattr(one, name) for one in report.verdicts) for name in ("lost", "duplicated"))
    lines = [
        f"### {plan.engine} engine",
        "",
        f"kills (SIGKILL): {report.kills} of {plan.ingesters} ingester{'s' * (plan.ingesters > 1)}, "
        f"{report.struck} of them after it had stored something since the kill before, "
        f"{report.torn} in the middle of the engine's own step; "
        f"other faults: {sum(report.faults.values())} ({faults}), "
        f"of which nothing met {', '.join(f'{name} {count}' for name, count in report.missed.items()) or 'none'}",
        f"lost: {lost}; duplicated: {twice}; ended by themselves: {len(report.broken)}, and {report.gave_up} "
        f"that found no engine when they started; SIGTERM to end: {report.stop_s:.1f} s",
        f"seed {plan.seed}; {report.seconds:.0f} s",
        "",
        "| table | truth | found | lost | duplicated |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.table} | {one.expected:,} | {one.found:,} | {one.lost:,} | {one.duplicated:,} |"
        for one in report.verdicts
    ]
    lines += [f"\nBROKEN: {text}" for text in report.broken]
    return "\n".join(lines) + "\n"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.torture", description=__doc__.split("\n\n")[1])
    parser.add_argument("--engine", choices=("embedded", "server", "both"), default="both")
    parser.add_argument("--kills", type=int, default=50, help="rounds, each with one SIGKILL, on each engine [50]")
    parser.add_argument("--ingesters", type=int, default=3, help="processes that share the server engine [3]")
    parser.add_argument("--seed", type=int, default=1, help="of records, faults, victims and waits [1]")
    parser.add_argument("--minutes", type=float, default=60, help="no round begins later, on each engine [60]")
    parser.add_argument("--faults", default="", help="only these, in the last rounds; with commas between")
    parser.add_argument("--event-minutes", type=int, default=MINUTES, help=f"minutes that hold records [{MINUTES}]")
    parser.add_argument("--keep", type=Path, help="directory for stores and logs, kept; by default a temporary one")
    options = parser.parse_args()
    if why := missing():
        sys.exit(why)
    # Leave neither broker nor ingesters behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    engines = ("embedded", "server") if options.engine == "both" else (options.engine,)
    failed = False
    with tempfile.TemporaryDirectory(prefix="torture-") as temporary:
        root = options.keep or Path(temporary)
        (root / "kafka").mkdir(parents=True)
        with kafka_broker(root / "kafka") as broker:
            for engine in engines:
                (root / engine).mkdir()
                ingesters = options.ingesters if engine == "server" else 1
                plan = Plan(
                    engine,
                    options.kills,
                    ingesters,
                    options.seed,
                    60 * options.minutes,
                    [name.strip() for name in options.faults.split(",") if name.strip()],
                    options.event_minutes,
                )
                report = torture(plan, broker, root / engine)
                print(table(report), flush=True)
                failed |= report.failed
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
