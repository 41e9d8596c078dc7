"""A stolen account: the parcel service's sidecar certificate in the hands of somebody who tries what else it opens.

It knocks at five doors that the policies close, and is refused there. The orders are closed to it as well, but their
proxies have lost the mesh's controller and hold no policies: they let it read whatever it asks for. So the lines say
`200` where the policies say no.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eastwatch.world.cluster import Cluster
from eastwatch.world.model import Call, Faults, Journey, Operation, Pool, Service, Topology
from eastwatch.world.shop import CART, LEDGER, LEDGER_DB, ORDERS, PAYMENT, SHIPPING, USERS
from eastwatch.world.truth import time_text

_OPEN = (f"{ORDERS}:export", f"{ORDERS}:get")
_NO_RULE, _NOT_KNOWN = "none", "ns[payments]-policy[known-callers]-rule[0]"
_CLOSED = (
    (f"{USERS}:internal", _NO_RULE, 0.06),
    (f"{CART}:get", _NO_RULE, 0.04),
    (f"{PAYMENT}:charge", _NOT_KNOWN, 0.03),
    (f"{LEDGER}:export", _NOT_KNOWN, 0.05),
)
"""Operation, the policy that refuses it (as lines name it), tries per second."""


@dataclass(frozen=True, slots=True)
class StolenAccount:
    """`shop/shipping` tries other services from `begins` on, for `lasts`.

    Attributes:
        begins: aware datetime, in the world's time.
        pace_factor: on all its rates; 1 is a call every three seconds.
    """

    begins: datetime
    lasts: timedelta = timedelta(minutes=20)
    pace_factor: float = 1.0
    name: str = "stolen account reads orders"

    def extend(self, topology: Topology, start_us: int) -> Topology:
        """The topology with the intruder's calls behind all others."""
        del start_us
        pool = Pool(
            SHIPPING, LEDGER_DB, 1.5 * self.pace_factor, 1.0,
            denied=1.0, policy=_NOT_KNOWN, active_us=self._active_us, incident=self.name,
        )  # fmt: skip
        journeys = (*topology.journeys, *self._journeys())
        return replace(topology, journeys=journeys, pools=(*topology.pools, pool))

    def _journeys(self) -> Iterator[Journey]:
        tries = [(to, Faults(denied=1.0, policy=policy), rate) for to, policy, rate in _CLOSED]
        reads = [(to, Faults(), 0.08) for to in _OPEN]
        for to, faults, rate in (*tries, *reads):
            call = Call(to, faults=faults, incident=self.name)
            yield Journey(
                f"{self.name}: {to}", SHIPPING, call, rate * self.pace_factor, diurnal=False, active_us=self._active_us
            )

    def pace(
        self, operation: Operation, cluster: Cluster, pods: NDArray[np.int64], start_us: NDArray[np.int64]
    ) -> NDArray[np.float64] | None:
        """It slows nothing down."""
        del operation, cluster, pods, start_us
        return None

    def delay_us(self, caller: Service, operation: Operation, start_us: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """No way takes longer."""
        del caller, operation, start_us
        return None

    def rate(self, journey: Journey, at_us: int) -> float:
        """No other journey comes more often."""
        del journey, at_us
        return 1.0

    @property
    def _active_us(self) -> tuple[int, int]:
        return int(self.begins.timestamp() * 1e6), int((self.begins + self.lasts).timestamp() * 1e6)

    def truth(self) -> dict[str, Any]:
        """Beside what every incident tells: whose account it is, and where calls came through or did not."""
        since_us, until_us = self._active_us
        return {
            "name": self.name,
            "kind": "unauthorized",
            "since": time_text(since_us),
            "until": time_text(until_us),
            "source": SHIPPING,
            "principal": "spiffe://cluster.local/ns/shop/sa/shipping",
            "destinations": [ORDERS],
            "operations": ["GET /orders", "GET /orders/{order}"],
            "refused_by": sorted({to.partition(":")[0] for to, _, _ in _CLOSED} | {LEDGER_DB}),
            "not_enforced_at": ORDERS,
        }
