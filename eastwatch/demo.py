"""The demo: a simulated mesh through the real pipeline, and the map held against what really happened.

World.messages ──► batches ──► the ingest loop (format=auto) ──► derive ──► service_map ──► compare with the truth
World.policies ──► the set that holds from the world's begin on
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from analyzers.dependencies.derive import GoOn
from analyzers.dependencies.model import ServiceMap, rfc3339
from analyzers.dependencies.service_map import service_map
from analyzers.findings.model import Finding
from analyzers.findings.store import keep
from analyzers.incidents.store import keep_incidents
from analyzers.latency.findings import FAILING, SLOWER
from analyzers.latency.run import run_latency
from analyzers.policy.analysis import policy_findings
from analyzers.policy.policy_set import read_set
from analyzers.policy.store import load_set
from collector.clock import Clock
from collector.contract import Batch, DeadLetter
from collector.ingest.counters import Counts
from collector.ingest.decoders import DecoderCache
from collector.ingest.run import Ingest
from collector.inventory import load
from collector.sources.memory import MemorySource
from collector.sources.source import Cut, Lease, Source
from eastwatch.demo_changes import shape
from eastwatch.follow_up import follow_up, settled
from eastwatch.settings import Settings
from eastwatch.world import Message, World
from eastwatch.world.incidents import Incident
from eastwatch.world.policies import FILE
from eastwatch.world.policy_incident import StolenAccount
from storage.engine import Engine

BATCH_BYTES = 16 << 20
"""A batch is cut when its messages reach this size."""
LIVE_MESSAGES = 2_000
"""Most messages that are handed on at once while running live."""

INCIDENT_AFTER = timedelta(minutes=80)
"""When somebody makes use of a stolen account, from the begin of the demo's world on."""

REGRESSIONS: Mapping[str, str] = {"latency": SLOWER, "errors": FAILING}
"""Kind of a change -> that of the finding that tells it."""
LATE = timedelta(minutes=2)
"""How far the begin of a regression may be off."""

COMPARED = ("requests", "attempts", "errors", "denied", "mtls_share", "statuses", "protocol", "direction")
"""What is compared of an edge beside its existence."""


@dataclass(frozen=True, slots=True)
class Story:
    """What a run did."""

    map: ServiceMap
    counts: Counts
    seconds: float
    """Wall time from the first message to the derived map."""


def run(
    engine: Engine,
    world: World,
    messages: Iterable[Message],
    settings: Settings,
    clock: Clock,
    at: datetime | None = None,
) -> Story:
    """Load policies and the inventory as of `at` (default: the world's end), ingest `messages`, derive, read the map.

    Raises:
        CollectorError, StorageError: what the command line tells in one line.
    """
    began = time.monotonic()
    load_inventory(engine, world, clock, at)
    load_policies(engine, world, clock)
    loop = make_loop(engine, MemorySource("demo", batches(messages)), settings, clock)
    loop.run()
    counts = loop.counters.snapshot()
    return Story(service_map(engine), counts, time.monotonic() - began)


def make_loop(
    engine: Engine, source: Source, settings: Settings, clock: Clock, before_deriving: Callable[[], None] = lambda: None
) -> Ingest:
    """The loop that every other source goes through, with `format=auto` decoders and the derivation job."""

    def derived(store: Engine, final: bool, go_on: GoOn) -> None:
        before_deriving()
        now = clock.now()
        follow_up(store, now=now, until=None if final else settled(now), go_on=go_on)

    decoders = DecoderCache(settings.decode)
    return Ingest(
        engine,
        [source],
        decoders,
        options=settings.ingest,
        operations=settings.operations,
        clock=clock,
        patient=False,
        after=derived,
    )


def load_inventory(engine: Engine, world: World, clock: Clock, at: datetime | None = None) -> None:
    """What the world's API server says, as of `at` (default: the world's end)."""
    load(engine, {"the demo's inventory": world.inventory(at)}, cluster="", loaded_at=clock.now())


def load_policies(engine: Engine, world: World, clock: Clock) -> None:
    """The policies of the world's mesh, as they hold from its begin on."""
    begin = datetime.fromtimestamp(world.start_us / 1e6, UTC)
    load_set(engine, read_set({FILE: world.policies()}), begin, clock.now())


def incidents(start: datetime) -> Sequence[Incident]:
    """What goes wrong on purpose in the demo's world that begins at `start`."""
    return (StolenAccount(start + INCIDENT_AFTER),)


def batches(messages: Iterable[Message], size_bytes: int = BATCH_BYTES) -> Iterator[Batch]:
    """Consecutive messages of each topic, as a broker's client would hand them out."""
    waiting: dict[str, list[bytes]] = defaultdict(list)
    sizes: dict[str, int] = defaultdict(int)
    positions: dict[str, int] = defaultdict(int)
    for message in messages:
        waiting[message.topic].append(message.value)
        sizes[message.topic] += len(message.value)
        if sizes[message.topic] >= size_bytes:
            yield _batch(message.topic, positions, waiting.pop(message.topic))
            del sizes[message.topic]
    for topic, values in waiting.items():
        yield _batch(topic, positions, values)


def _batch(topic: str, positions: dict[str, int], values: list[bytes]) -> Batch:
    first = positions[topic]
    positions[topic] = first + len(values)
    return Batch(
        cluster_id="demo",
        topic=topic,
        topic_id=f"demo/{topic}",
        partition=0,
        values=pa.array(values, pa.large_binary()),
        offsets=pa.array(np.arange(first, first + len(values))),
    )


class LiveSource:
    """Hands the world's messages out when their time has come; simulated time is the wall clock's."""

    label = "demo"

    def __init__(self, messages: Iterator[Message], clock: Clock) -> None:
        self._messages = messages
        self._clock = clock
        self._next = next(messages, None)
        self._positions: dict[str, int] = defaultdict(int)
        self._lease = Lease()

    def poll(self, timeout_s: float, *, room: bool) -> list[Cut]:
        """What is due by now, one batch per topic; else nothing after at most `timeout_s`."""
        now_us = int(self._clock.now().timestamp() * 1e6)
        if self._next is None or not room or self._next.ts_us > now_us:
            time.sleep(timeout_s)
            return []
        due: dict[str, list[bytes]] = defaultdict(list)
        for message in islice(self._due(now_us), LIVE_MESSAGES):
            due[message.topic].append(message.value)
        return [
            Cut(_batch(topic, self._positions, values), "auto", self._lease, None, replayable=False)
            for topic, values in due.items()
        ]

    def _due(self, now_us: int) -> Iterator[Message]:
        while self._next is not None and self._next.ts_us <= now_us:
            # The next one is taken first: islice must not swallow a message.
            message, self._next = self._next, next(self._messages, None)
            yield message

    def stored(self, cut: Cut, dead: Sequence[DeadLetter] = ()) -> None:
        """Nothing is remembered."""

    def rewind(self, cut: Cut) -> None:
        """Cannot happen: nothing is recorded."""

    def failed(self, error: Exception) -> None:
        """Ingestion stops."""

    @property
    def finished(self) -> bool:
        """The world has ended."""
        return self._next is None

    def commit(self, *, final: bool = False) -> None:
        """Nothing is remembered."""

    def close(self) -> None:
        """Nothing is held."""


def analyzed(engine: Engine, now: datetime) -> Sequence[Finding]:
    """What the analyzers find in all that the demo stored; kept in its store, with its incidents."""
    found = [*keep(engine, policy_findings(engine), now), *run_latency(engine, None, None, now).findings]
    keep_incidents(engine, now)
    return found


def found_as(incident: Mapping[str, Any], findings: Iterable[Finding]) -> str | None:
    """The finding of an incident: of its kind and caller, at a time when it went on."""
    for one in findings:
        same = one.kind == incident["kind"] and one.subject.principal == incident.get("principal")
        if same and rfc3339(one.first_seen) < incident["until"] and rfc3339(one.last_seen) > incident["since"]:
            return one.id
    return None


def regression_of(change: Mapping[str, Any], findings: Iterable[Finding]) -> str | None:
    """The finding of a change that makes calls slower or fail: at its edge, begun when it came.

    Of an operation with few calls the edge as a whole tells it.
    """
    for one in findings:
        same = one.kind == REGRESSIONS[change["kind"]] and (one.subject.source, one.subject.destination) == (
            *(change["source"], change["destination"]),
        )
        late = abs(one.first_seen - datetime.fromisoformat(change["at"]))
        here = one.subject.operation is None or shape(one.subject.operation) == shape(change["operation"])
        if same and here and late <= LATE:
            return one.id
    return None


def compare(found: ServiceMap, truth: Mapping[str, Any], findings: Sequence[Finding] = ()) -> dict[str, Any]:
    """The map against the truth.

    Returns the `truth` part of `eastwatch demo --once --json`: `edge_precision` and `edge_recall` (shares of the map's
    edges that are real, and of the real ones that the map has), `request_error` (sum of absolute differences of
    requests over all edges, divided by all real requests), `incidents`, and what exactly differs.
    """
    shown = {(edge.source, edge.destination): edge.to_document() for edge in found.edges}
    real = {(edge["source"], edge["destination"]): edge for edge in truth["edges"]}
    both = shown.keys() & real.keys()
    total = sum(edge["requests"] for edge in real.values())
    off = sum(
        abs(shown.get(pair, {}).get("requests", 0) - real.get(pair, {}).get("requests", 0))
        for pair in shown.keys() | real.keys()
    )
    differences: list[dict[str, Any]] = []
    for source, destination in sorted(both):
        edge, truly = shown[source, destination], real[source, destination]
        differences += [
            {"source": source, "destination": destination, "what": what, "map": edge[what], "truth": truly[what]}
            for what in COMPARED
            if edge[what] != truly[what]
        ]
    injected = [
        {"injected": incident["name"], "found": found_as(incident, findings)} for incident in truth["incidents"]
    ]
    injected += [
        {"injected": change["change"], "found": regression_of(change, findings)}
        for change in truth.get("changes", ())
        if change["kind"] in REGRESSIONS
    ]
    told = {one["found"] for one in injected}
    return {
        "edge_precision": len(both) / len(shown) if shown else 1.0,
        "edge_recall": len(both) / len(real) if real else 1.0,
        "request_error": off / total if total else 0.0,
        "incidents": injected,
        "unexpected_regressions": [
            one.id for one in findings if one.kind in REGRESSIONS.values() and one.id not in told
        ],
        "missing": [list(pair) for pair in sorted(real.keys() - shown.keys())],
        "unexpected": [list(pair) for pair in sorted(shown.keys() - real.keys())],
        "differences": differences,
    }
