"""A simulated mesh as a source of messages: seeded, deterministic, in wire formats only.

Time passes in slices of a minute. Each slice is drawn on its own from the seed and its number; what it begins may end
later, and lines, spans and counters leave their pods when they are due.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import reduce
from heapq import merge
from typing import Any

from eastwatch.world.access_log import AccessLog
from eastwatch.world.changes import Change, Sign
from eastwatch.world.cluster import Cluster
from eastwatch.world.incidents import Incident
from eastwatch.world.inventory import kubernetes_list
from eastwatch.world.metrics import MetricShipper
from eastwatch.world.model import Topology
from eastwatch.world.policies import shop_policies
from eastwatch.world.shipping import LogShipper, Message
from eastwatch.world.shop import SHOP
from eastwatch.world.spans import SpanShipper
from eastwatch.world.traffic import Traffic
from eastwatch.world.truth import Truth, time_text

ACCESS_LOGS, TRACES, METRICS = "access-logs", "otlp-traces", "otlp-metrics"
TOPICS = (ACCESS_LOGS, TRACES, METRICS)
"""The topics of a world, with their formats: JSON lines, OTLP protobuf, OTLP protobuf."""

START = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
"""Begin of the default world: a Monday morning, with the weekly job due half an hour later."""

SLICE_US = 60_000_000


class World:
    """A mesh between `start` and `start + duration`.

    Args:
        seed: decides everything: names, addresses, ids, arrivals, times.
        start: aware datetime.
        duration: how long requests begin to arrive; what they started may end a little later.
        scale: factor on all rates; 1 is about 35 calls a second.
        topology: what is simulated.
        incidents: what goes wrong on purpose.
        changes: what is done differently from `changes_after` the start on; the last in the list comes last.

    Raises:
        ValueError: for a naive start, or a duration or scale that is not positive.
    """

    def __init__(
        self,
        seed: int = 1,
        start: datetime = START,
        duration: timedelta = timedelta(hours=2),
        scale: float = 1.0,
        *,
        topology: Topology = SHOP,
        incidents: Sequence[Incident] = (),
        changes: Sequence[Change] = (),
        changes_after: timedelta = timedelta(hours=1),
    ) -> None:
        if start.tzinfo is None:
            raise ValueError("start: expected a datetime with a time zone")
        if duration <= timedelta(0) or scale <= 0:
            raise ValueError("duration and scale: expected more than 0")
        self.seed = seed
        self.start_us = int(start.timestamp()) * 1_000_000
        self.end_us = self.start_us + int(duration.total_seconds() * 1e6)
        self.incidents = tuple(incidents)
        self._scale = scale
        topology = reduce(lambda known, incident: incident.extend(known, self.start_us), self.incidents, topology)
        self.cluster = Cluster(topology, seed, self.start_us, self.end_us)
        self.changes = tuple(changes)
        self.changes_us = self.start_us + int(changes_after.total_seconds() * 1e6)
        self._changed = reduce(lambda known, change: change.apply(known), self.changes, topology)
        self._truth = Truth(topology)
        self._told_us = self.start_us

    def messages(self) -> Iterator[Message]:
        """Every message in order of time. Iterating again begins anew and gives the same bytes."""
        self._truth = Truth(self.cluster.topology)
        self._told_us = self.start_us
        traffic = Traffic(self.cluster, self.seed, self._scale, self.incidents, (self.changes_us, self._changed))
        access_log = AccessLog(self.cluster)
        logs = LogShipper(self.cluster, ACCESS_LOGS)
        spans = SpanShipper(self.cluster, TRACES)
        metrics = MetricShipper(self.cluster, METRICS, self.start_us, self.seed)
        for index, begin_us in enumerate(range(self.start_us, self.end_us, SLICE_US)):
            end_us = min(begin_us + SLICE_US, self.end_us)
            happenings = traffic.slice(index, begin_us, end_us)
            self._truth.add(happenings)
            self._told_us = end_us
            for lines in access_log.lines(happenings):
                logs.add(lines)
            spans.add(happenings)
            metrics.add(happenings)
            yield from _in_order(logs.ship(end_us), spans.ship(end_us), metrics.ship(end_us))
        yield from _in_order(logs.ship(None), spans.ship(None))

    def inventory(self, at: datetime | None = None) -> bytes:
        """The cluster as a Kubernetes `List` in JSON, as of `at` (default: the end of the world)."""
        at_us = self.end_us if at is None else int(at.timestamp() * 1e6)
        return kubernetes_list(self.cluster, at_us)

    def policies(self) -> bytes:
        """The policies that hold from the begin to the end of the world, as YAML: those of the demo's shop.

        Raises:
            KeyError: another topology.
        """
        return shop_policies(self.cluster)

    def _planned(self) -> Iterator[tuple[str, Sign]]:
        """What was changed on purpose."""
        for change in self.changes:
            yield from ((change.name, sign) for sign in change.signs)

    def _incidents(self) -> Iterator[dict[str, Any]]:
        """The incidents that have begun; of those that made calls, what became of them at their callees."""
        for incident in self.incidents:
            truth, done = incident.truth(), self._truth.done(incident.name)
            if (truth["since"] or "") >= time_text(self._told_us):
                continue
            if done:
                truth |= {
                    "let_through": sum(each.let_through for each in done),
                    "refused": sum(each.refused for each in done),
                    "calls": [asdict(each) for each in done],
                }
            yield truth

    def _intruders(self) -> Iterator[tuple[str, Sign]]:
        """Edges that incidents made only before the changes came, or only after."""
        for incident in self.incidents:
            done = self._truth.done(incident.name)
            for source, destination in sorted({(each.source, each.destination) for each in done}):
                first_us, last_us = self._truth.seen_us(source, destination)
                if first_us >= self.changes_us:
                    yield incident.name, Sign("edge came", source, destination)
                elif last_us < self.changes_us:
                    yield incident.name, Sign("edge went", source, destination)

    def _jobs(self) -> Iterator[tuple[str, Sign]]:
        """Jobs that ran only before the changes came, or only after."""
        for journey in self.cluster.topology.journeys:
            begun = [run.start_us for run in self.cluster.runs if run.service.id == journey.caller]
            before, after = any(us < self.changes_us for us in begun), any(us >= self.changes_us for us in begun)
            if before != after:
                callee = self.cluster.topology.by_operation[journey.call.to].service
                kind = "edge went" if before else "edge came"
                yield f"{journey.name} ran {'before' if before else 'after'} only", Sign(kind, journey.caller, callee)

    def truth(self) -> dict[str, Any]:
        """What happened in the slices that `messages` has told so far; the whole world after its last message.

        Keys: `seed`, `since`, `until` (RFC 3339), `nodes`, `edges`, `incidents` and `changes`; an edge has the keys of
        the map's edges that a world can know, a change those of `eastwatch.world.changes.Sign` and when it came, an
        incident those of its own `truth`, and if it made calls `let_through`, `refused` and `calls` with the keys of
        `eastwatch.world.truth.Done`. Incidents that have not begun are left out.
        """
        return {
            "seed": self.seed,
            "since": time_text(self.start_us),
            "until": time_text(self._told_us),
            "nodes": self._truth.nodes(),
            "edges": self._truth.edges(),
            "incidents": list(self._incidents()),
            "changes": [
                {"change": change, "at": time_text(self.changes_us), **asdict(sign)}
                for change, sign in (*self._planned(), *self._jobs(), *self._intruders())
                if self._told_us > self.changes_us
            ],
        }


def _in_order(*shipments: Iterator[Message]) -> Iterator[Message]:
    return merge(*shipments, key=lambda message: message.ts_us)
