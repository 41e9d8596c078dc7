"""Who starts calls, and when: people by the day's curve, jobs on schedule, pools of connections.

Arrivals of one slice are drawn together; what each sets in motion is `walk`'s.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from eastwatch.world.cluster import Cluster
from eastwatch.world.draws import Draws
from eastwatch.world.happenings import Connections, Happenings, Ints, Outcome, Visitors
from eastwatch.world.incidents import Incident
from eastwatch.world.model import Faults, Journey, Pool, Topology
from eastwatch.world.walk import Frame, Walk

AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/144.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Safari/605.1.15",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 19_2 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    "Mozilla/5.0 (X11; Linux x86_64; rv:147.0) Gecko/20100101 Firefox/147.0",
    "ShopApp/5.12 (Android 16)",
    'Mozilla/5.0 (compatible; "Pricebot"/2.1; +https://pricebot.example/about\\bot)',
)
"""User agents seen at the gateway; the last one tests who escapes quotes and backslashes."""
_PUBLIC = (0x0B00_0000, 0x6400_0000)
"""Addresses of visitors: 11.0.0.0 .. 99.255.255.255, where nothing is private or reserved."""
_AGENT_SHARES = np.cumsum([0.38, 0.16, 0.24, 0.08, 0.135, 0.005])


def day_curve(at_us: int) -> float:
    """Traffic at a time of day and week relative to its mean: busiest at 15:00 UTC, calmer at weekends."""
    seconds = at_us / 1e6
    hour = seconds / 3600 % 24
    weekend = int(seconds // 86_400 + 3) % 7 >= 5
    return (1.0 + 0.55 * math.cos(2 * math.pi * (hour - 15) / 24)) * (0.75 if weekend else 1.0)


class Traffic:
    """Draws slices of traffic. The same seed and bounds give the same slice, whatever was drawn before.

    Args:
        changed: from when on (microseconds since 1970) another topology of the same places is in force.
    """

    def __init__(
        self,
        cluster: Cluster,
        seed: int,
        scale: float,
        incidents: Sequence[Incident] = (),
        changed: tuple[int, Topology] | None = None,
    ) -> None:
        self._cluster = cluster
        self._topology = cluster.topology
        self._changed = changed
        self._incidents = incidents
        self._seed = seed
        self._scale = scale
        self._begin(0)

    def slice(self, index: int, start_us: int, end_us: int) -> Happenings:
        """Everything that begins in [start_us, end_us); `index` is the slice's number and part of its seed."""
        if self._changed is not None:
            from_us, topology = self._changed
            self._topology = topology if start_us >= from_us else self._cluster.topology
        self._begin(index)
        for journey in self._topology.journeys:
            if journey.schedule is None:
                self._stream(journey, start_us, end_us)
            else:
                self._job(journey, start_us, end_us)
        for pool in self._topology.pools:
            self._connect(pool, start_us, end_us)
        return self._out

    def _begin(self, index: int) -> None:
        self._draw = Draws(np.random.default_rng([self._seed, 0x7A, index]), self._cluster)
        self._out = Happenings()
        self._walk = Walk(self._cluster, self._topology, self._draw, self._incidents, self._out)

    def _stream(self, journey: Journey, start_us: int, end_us: int) -> None:
        if journey.active_us is not None:
            start_us, end_us = max(start_us, journey.active_us[0]), min(end_us, journey.active_us[1])
            if start_us >= end_us:
                return
        rate = journey.per_second * self._scale
        if journey.diurnal:
            rate *= day_curve((start_us + end_us) // 2)
        for incident in self._incidents:
            rate *= incident.rate(journey, start_us)
        n = int(self._draw.rng.poisson(rate * (end_us - start_us) / 1e6))
        self._start(journey, self._draw.pick(journey.caller, n), np.sort(self._draw.rng.integers(start_us, end_us, n)))

    def _job(self, journey: Journey, start_us: int, end_us: int) -> None:
        for run in self._cluster.runs:
            if run.service.id != journey.caller or not start_us <= run.start_us < end_us:
                continue
            n = int(self._draw.rng.poisson(journey.per_second * self._scale * (run.end_us - run.start_us) / 1e6))
            self._start(journey, np.full(n, run.pod), np.sort(self._draw.rng.integers(run.start_us, run.end_us, n)))

    def _start(self, journey: Journey, pods: Ints, at_us: Ints) -> None:
        n = len(at_us)
        if n == 0:
            return
        caller = self._topology.service(journey.caller)
        frame = Frame(
            caller,
            pods,
            self._draw.ids(n, 2),
            np.minimum(self._draw.rng.zipf(1.25, n), 1_200),
            self._draw.rng.integers(1, 60_000, n),
            self._draw.ids(n, 2) if caller.traced else None,
            self._draw.ids(n) if caller.traced else None,
        )
        if caller.gateway:
            frame.visitors = Visitors(
                self._draw.rng.integers(*_PUBLIC, n, dtype=np.uint32),
                np.searchsorted(_AGENT_SHARES, self._draw.rng.random(n), side="right").clip(0, len(AGENTS) - 1),
                self._draw.rng.random(n) < 0.8,
            )
        self._walk.call(journey.call, frame, at_us)

    def _connect(self, pool: Pool, start_us: int, end_us: int) -> None:
        if pool.active_us is not None:
            start_us, end_us = max(start_us, pool.active_us[0]), min(end_us, pool.active_us[1])
            if start_us >= end_us:
                return
        source, destination = self._topology.service(pool.source), self._topology.service(pool.destination)
        n = int(self._draw.rng.poisson(pool.per_minute * self._scale * (end_us - start_us) / 60e6))
        if n == 0:
            return
        outcome = self._draw.outcomes(Faults(unreachable=pool.unreachable, denied=pool.denied), n)
        used = outcome == Outcome.ANSWERED
        quick_us = self._draw.rng.integers(900, 3_000, n)
        self._out.connections.append(
            Connections(
                source=source,
                destination=destination,
                pool=pool,
                caller_pod=self._draw.pick(source.id, n),
                callee_pod=np.where(outcome == Outcome.UNREACHABLE, -1, self._draw.pick(destination.id, n)),
                outcome=outcome,
                start_us=np.sort(self._draw.rng.integers(start_us, end_us, n)),
                duration_us=np.where(
                    used, (self._draw.rng.gamma(2.0, pool.lasts_s / 2, n) * 1e6).astype(np.int64), quick_us
                ),
                bytes_sent=np.where(used, self._draw.sizes(pool.bytes_sent, n), 0),
                bytes_received=np.where(used, self._draw.sizes(pool.bytes_received, n), 0),
                ports=self._draw.rng.integers(32_768, 61_000, (n, 3)),
            )
        )
