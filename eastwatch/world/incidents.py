"""What may go wrong in a world on purpose: the seam at which incidents plug in.

An incident changes the topology before the world starts (a journey that probes, a service nobody knows, a new edge) or
stretches the time that code takes (a slow version), and says in the truth what it did. Calls that bear its name are
counted there. Built: `policy_incident`.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eastwatch.world.cluster import Cluster
from eastwatch.world.model import Journey, Operation, Service, Topology


class Incident(Protocol):
    """One thing that goes wrong. Implementations are pure: the same arguments give the same answer."""

    @property
    def name(self) -> str:
        """What its calls bear, and the truth calls it."""
        ...

    def extend(self, topology: Topology, start_us: int) -> Topology:
        """The topology with what the incident adds; `start_us` is the begin of the world, microseconds since 1970."""
        ...

    def pace(
        self, operation: Operation, cluster: Cluster, pods: NDArray[np.int64], start_us: NDArray[np.int64]
    ) -> NDArray[np.float64] | None:
        """Factors on the time the operation's own code takes, one per invocation; None = untouched."""
        ...

    def delay_us(self, caller: Service, operation: Operation, start_us: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """What the way from the caller's proxy to the callee's takes longer, and the way back (us); None = nothing."""
        ...

    def rate(self, journey: Journey, at_us: int) -> float:
        """Factor on how often a journey begins."""
        ...

    def truth(self) -> dict[str, Any]:
        """What was done, for the truth file: at least `name`, `kind`, `since` and `until` (RFC 3339)."""
        ...
