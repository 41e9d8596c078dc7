"""Calls of one caller at one callee, cut into episodes, each with what is its own.

sums by minute, of calls with one verdict ──► Part ─┐
the calls themselves, a few each half hour ──► Shown┴─► Episode: its calls, operations, policies, and the earliest calls
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import NamedTuple

from analyzers.findings.model import QUIET
from analyzers.policy.causes import Hint

LISTED = 100
"""Calls that the evidence of an episode lists, at most: the earliest."""
SLOT_S = int(QUIET.total_seconds())
"""Seconds, from whole multiples of it. Calls that are this near each other are of one episode."""


class Shown(NamedTuple):
    """A call, to be found again; `moment` in microseconds since 1970."""

    moment: int
    request_id: str
    trace_id: str


@dataclass(frozen=True, slots=True)
class Part:
    """Calls of one operation and base edge, with one verdict.

    Attributes:
        minutes: calls by minute (seconds since 1970).
        policy: with its rule; empty = none decided.
    """

    minutes: Mapping[int, int]
    operation: str
    edge: int
    policy: str
    hint: Hint


@dataclass(frozen=True, slots=True)
class Episode:
    """Calls without a pause of QUIET between them; `first` and `last` are minutes.

    Attributes:
        hints: by calls.
        listed: the earliest, LISTED at most.
    """

    first: int
    last: int
    calls: int
    operations: Sequence[str]
    edges: Sequence[int]
    policies: Sequence[str]
    hints: Counter[Hint]
    listed: Sequence[Shown]


@dataclass(slots=True)
class Seen:
    """All calls of one caller at one callee."""

    parts: list[Part] = field(default_factory=list[Part])
    slots: dict[int, list[Shown]] = field(default_factory=lambda: defaultdict[int, list[Shown]](list))

    def show(self, slot: int, calls: Iterable[Shown]) -> None:
        """Calls of one slot; the earliest are kept."""
        self.slots[slot] = nsmallest(LISTED, [*self.slots[slot], *calls])

    def episodes(self) -> Iterator[Episode]:
        """The earliest first."""
        for first, last in _runs({minute for part in self.parts for minute in part.minutes}):
            calls = [
                (part, within)
                for part in self.parts
                if (within := sum(many for minute, many in part.minutes.items() if first <= minute <= last))
            ]
            hints: Counter[Hint] = Counter()
            for part, within in calls:
                hints[part.hint] += within
            listed = (
                one
                for slot in range(first // SLOT_S, last // SLOT_S + 1)
                for one in self.slots.get(slot, ())
                if first <= one.moment // 1_000_000 < last + 60
            )
            yield Episode(
                first,
                last,
                sum(hints.values()),
                sorted({part.operation for part, _ in calls}),
                sorted({part.edge for part, _ in calls}),
                sorted({part.policy for part, _ in calls if part.policy}),
                hints,
                nsmallest(LISTED, listed),
            )


def _runs(minutes: Iterable[int]) -> Iterator[tuple[int, int]]:
    """First and last minute of each run of minutes without a pause of QUIET between."""
    ordered = sorted(minutes)
    first = last = ordered[0]
    for minute in ordered[1:]:
        if minute - last > SLOT_S:
            yield first, last
            first = minute
        last = minute
    yield first, last
