"""Random draws of whole columns, all from one generator."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from eastwatch.world.cluster import Cluster
from eastwatch.world.happenings import Ids, Ints, Outcome
from eastwatch.world.model import Faults, Operation

Floats = NDArray[np.float64]


class Draws:
    """Columns of n values; the same generator state gives the same columns."""

    def __init__(self, rng: np.random.Generator, cluster: Cluster) -> None:
        self.rng = rng
        self._cluster = cluster

    def ids(self, n: int, words: int = 1) -> Ids:
        """Random ids: shape (n,), or (n, words). Never 0: a zero id means "none" on the wire."""
        ids = self.rng.integers(1, 2**64, (n, words), dtype=np.uint64)
        return ids[:, 0] if words == 1 else ids

    def pick(self, service: str, n: int) -> Ints:
        """Pods of a service, by the share of traffic each gets."""
        members, shares = self._cluster.members(service)
        return members[np.searchsorted(shares, self.rng.random(n), side="right").clip(0, len(members) - 1)]

    def lognormal(self, median: float, spread: float, n: int) -> Floats:
        """Values around `median`; `spread` is sigma."""
        return self.rng.lognormal(math.log(median), spread, n)

    def sizes(self, median: int, n: int) -> Ints:
        """Whole bytes around `median`; 0 stays 0."""
        if median == 0:
            return np.zeros(n, np.int64)
        return self.lognormal(median, 0.3, n).astype(np.int64)

    def answers(self, operation: Operation, n: int) -> Ints:
        """HTTP or gRPC statuses, as often as the operation gives each."""
        code = np.full(n, operation.ok)
        if operation.statuses:
            draw = self.rng.random(n)
            low = 0.0
            for status, share in operation.statuses.items():
                code[(draw >= low) & (draw < low + share)] = status
                low += share
        return code

    def outcomes(self, faults: Faults, n: int) -> Ints:
        """An `Outcome` per call, as often as each fault befalls one."""
        shares = np.cumsum(
            [
                faults.retried,
                faults.no_healthy,
                faults.unreachable,
                faults.reset,
                faults.timed_out,
                faults.denied,
                faults.hung_up,
            ]
        )
        if shares[-1] == 0.0:
            return np.zeros(n, np.int64)
        return (np.searchsorted(shares, self.rng.random(n), side="right") + 1) % len(Outcome)
