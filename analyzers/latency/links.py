"""What every link of the map did before and after a moment: the numbers that blame is reckoned with.

Link (one operation between two nodes, as either side saw it) ──► `attribution`
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Place(NamedTuple):
    """An operation between two nodes; `operation` is empty where none is known."""

    source: str
    destination: str
    operation: str


@dataclass(frozen=True, slots=True)
class Side:
    """One side's view of calls in a span of time.

    Attributes:
        calls: per minute.
        mean_us: of their durations.
        error_us: standard error of that mean.
        failed: share of calls that failed.
        counted: calls in all.
    """

    calls: float
    mean_us: float
    error_us: float
    failed: float = 0.0
    counted: float = 0.0


Views = tuple[Side | None, Side | None]
"""Before and after."""


@dataclass(frozen=True, slots=True)
class Link:
    """One place as the caller's side and as the callee's side saw it; (None, None) where a side says nothing."""

    place: Place
    caller: Views
    callee: Views

    @property
    def outside(self) -> Views:
        """As whoever waits sees it."""
        return self.caller if _known(self.caller) else self.callee

    @property
    def inside(self) -> Views:
        """As whoever answers sees it."""
        return self.callee if _known(self.callee) else self.caller

    @property
    def new(self) -> bool:
        """Whether nobody made these calls before."""
        return self.outside[0] is None and self.outside[1] is not None


@dataclass(frozen=True, slots=True)
class Rise:
    """How much longer calls take (us), and its standard error."""

    us: float
    error_us: float

    @property
    def clear(self) -> bool:
        """Whether chance is no explanation: three standard errors."""
        return self.us > 3 * self.error_us

    @property
    def sure_us(self) -> float:
        """The rise, 0 where chance explains it."""
        return self.us if self.clear else 0.0


NO_RISE = Rise(0.0, 0.0)


def _known(views: Views) -> bool:
    return views[1] is not None


def rise(views: Views) -> Rise:
    """How much longer one side says that calls take. A call that nobody made before took no time then."""
    before, after = views
    if after is None:
        return NO_RISE
    if before is None:
        return Rise(after.mean_us, after.error_us)
    return Rise(after.mean_us - before.mean_us, math.hypot(after.error_us, before.error_us))


def failing(views: Views) -> Rise:
    """How much larger the share of failed calls is, with its standard error (in place of us)."""
    before, after = views
    if after is None:
        return NO_RISE
    shares = [(side.failed, max(side.counted, 1.0)) for side in (before, after) if side is not None]
    error = math.sqrt(sum(((k * n + 1) / (n + 2)) * (1 - (k * n + 1) / (n + 2)) / n for k, n in shares))
    return Rise(after.failed - (before.failed if before else 0.0), error)


@dataclass(frozen=True, slots=True)
class Links:
    """Links by their ends."""

    into: Mapping[str, Sequence[Link]]
    out_of: Mapping[str, Sequence[Link]]
    at: Mapping[Place, Link]

    @classmethod
    def of(cls, links: Iterable[Link]) -> Links:
        """Index them."""
        into: dict[str, list[Link]] = {}
        out_of: dict[str, list[Link]] = {}
        at: dict[Place, Link] = {}
        for one in links:
            into.setdefault(one.place.destination, []).append(one)
            out_of.setdefault(one.place.source, []).append(one)
            at[one.place] = one
        return cls(into, out_of, at)
