"""Something of the mesh becomes slower: an operation, its slowest calls, one version, or the wire between two services.

`factor` is what the duration of the operation as its own proxy sees it grows to, where the operation waits for nobody
(a leaf): its own time is multiplied. Of the wire it is the caller's duration at the median, in which the callee's
stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eastwatch.world.cluster import Cluster
from eastwatch.world.model import Journey, Operation, Service, Topology
from eastwatch.world.truth import time_text

Kind = Literal["step", "ramp", "tail", "network", "version", "load"]
TAIL_SHARE, TAIL_FACTOR = 0.05, 10.0
"""Of `tail`: so many of the calls take so many times as long, times `factor`."""
LEAD = timedelta(minutes=3)
"""Of `load`: so long before the calls become slower there are twice as many."""


@dataclass(frozen=True, slots=True)
class Slowdown:
    """One slow-down, from `begin` on.

    Attributes:
        operation: `namespace/service:name`.
        caller: of `network`: the service whose calls of it take longer on the way.
        version: of `version`: the callee's version that is slower.
        journey: of `load`: the one that comes twice as often, LEAD before.
        length: it goes away after this; None = it stays.
    """

    begin: datetime
    kind: Kind
    operation: str
    factor: float
    caller: str = ""
    version: str = ""
    journey: str = ""
    length: timedelta | None = None
    ramp: timedelta = timedelta(minutes=30)
    seed: int = 1

    @property
    def name(self) -> str:
        """What the truth calls it."""
        return f"{self.kind} of {self.factor:g} at {self.operation}"

    def extend(self, topology: Topology, start_us: int) -> Topology:
        """Nothing is added: what is there becomes slower."""
        del start_us
        return topology

    def pace(
        self, operation: Operation, cluster: Cluster, pods: NDArray[np.int64], start_us: NDArray[np.int64]
    ) -> NDArray[np.float64] | None:
        """Factors on the own time of the operation's invocations."""
        if operation.id != self.operation or self.kind == "network":
            return None
        on = self._on(start_us)
        if self.kind == "ramp":
            way = (start_us - self._us(self.begin)) / (self.ramp.total_seconds() * 1e6)
            return np.where(on, 1 + (self.factor - 1) * np.clip(way, 0, 1), 1.0)
        if self.kind == "tail":
            # The same invocation is slow whoever asks: drawn from its time and pod.
            drawn = (start_us * 2_654_435_761 + pods * 40_503 + self.seed) % 1_000_003 / 1_000_003
            return np.where(on & (drawn < TAIL_SHARE), TAIL_FACTOR * self.factor, 1.0)
        if self.kind == "version":
            slow = np.array([pod.version.name == self.version for pod in cluster.pods])
            on = on & slow[pods]
        return np.where(on, self.factor, 1.0)

    def delay_us(self, caller: Service, operation: Operation, start_us: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Half of what the caller waits longer, for either direction."""
        if self.kind != "network" or (caller.id, operation.id) != (self.caller, self.operation):
            return None
        half_us = int((self.factor - 1) * operation.own_ms * 1000 / 2)
        return np.where(self._on(start_us), half_us, 0)

    def rate(self, journey: Journey, at_us: int) -> float:
        """Twice as many, of `load`."""
        surge = self.kind == "load" and journey.name == self.journey and at_us >= self._us(self.begin - LEAD)
        return 2.0 if surge else 1.0

    def truth(self) -> dict[str, Any]:
        """What was done: `name`, `kind`, `since`, `until`, `service`, `caller` and `operation`."""
        until = self.begin + self.length if self.length else None
        return {
            "name": self.name,
            "kind": self.kind,
            "since": time_text(self._us(self.begin)),
            "until": time_text(self._us(until)) if until else None,
            "service": self.operation.partition(":")[0],
            "caller": self.caller or None,
            "operation": self.operation,
        }

    def _on(self, start_us: NDArray[np.int64]) -> NDArray[np.bool_]:
        begin = self._us(self.begin)
        end = self._us(self.begin + self.length) if self.length else np.iinfo(np.int64).max
        return (start_us >= begin) & (start_us < end)

    def _us(self, moment: datetime) -> int:
        return int(moment.timestamp() * 1e6)
