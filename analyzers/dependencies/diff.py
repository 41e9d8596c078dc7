"""What changed between two windows: edges and operations that came or went, and those whose rate, errors, latency or
mTLS moved by more than noise.

service_map, ledger, operation_numbers of both windows ──► `compare` (pure) ──► MapDiff

Thresholds and tests are those of `change_tests`, the same for every edge (docs/counting.md, "Differences").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import numpy as np

from analyzers.dependencies.change_tests import (
    ALPHA,
    ERROR_SHARE,
    MIN_CALLS,
    MTLS_SHARE,
    adjusted,
    latency_p,
    rate_p,
    share_p,
    silent,
)
from analyzers.dependencies.ledger import LedgerEntry, Pair, first_seen, ledger
from analyzers.dependencies.map_keys import map_keys
from analyzers.dependencies.model import EVIDENCE_RANK, Edge, Node, ServiceMap, rfc3339
from analyzers.dependencies.operation_numbers import Key, Numbers, Operations, operation_numbers, together
from analyzers.dependencies.service_map import service_map
from storage.engine import Engine

What = Literal["operation", "rate", "errors", "latency", "mtls"]


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two windows.

    Attributes:
        found: its map; `since` and `until` are those asked for.
        numbers: by edge, evidence and operation.
        seconds: how much of it the store covers: rates are over that.
    """

    found: ServiceMap
    numbers: Mapping[Key, Operations]
    seconds: float

    def to_document(self) -> dict[str, Any]:
        """The window as JSON-ready values."""
        return {
            "since": rfc3339(self.found.since),
            "until": rfc3339(self.found.until),
            "seconds": self.seconds,
            "requests": sum(edge.requests for edge in self.found.edges),
        }


@dataclass(frozen=True, slots=True)
class Change:
    """Something that both windows have, but not alike.

    Attributes:
        operation: None where the whole edge is meant.
        before, after: JSON-ready values with units in their keys; None for an operation that was not there.
        q_value: the false discovery rate at which it is told; None for operations that came or went.
    """

    source: str
    destination: str
    what: What
    operation: str | None
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    q_value: float | None = None

    def to_document(self) -> dict[str, Any]:
        """The change as JSON-ready values."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class MapDiff:
    """The difference of window `b` to window `a`.

    Attributes:
        appeared, disappeared: edges that only one window has.
        changed: ordered by edge, then what.
        rare: edges that only one window has, with so few calls that chance may have left them out of the other.
        known_since: when the ledger saw each edge first.
        tested: number of tests that the false discovery rate is over.
    """

    a: Side
    b: Side
    appeared: Sequence[Edge] = ()
    disappeared: Sequence[Edge] = ()
    changed: Sequence[Change] = ()
    rare: Sequence[tuple[Edge, Literal["a", "b"]]] = ()
    known_since: Mapping[Pair, datetime] = field(default_factory=dict[Pair, datetime])
    tested: int = 0

    def nodes(self) -> Sequence[Node]:
        """The nodes of both maps, as the later knows them."""
        found = {node.id: node for side in (self.a, self.b) for node in side.found.nodes}
        return [found[name] for name in sorted(found)]

    def to_document(self) -> dict[str, Any]:
        """The JSON document of `eastwatch map --diff A..B --json`."""
        return {
            "a": self.a.to_document(),
            "b": self.b.to_document(),
            "appeared": [self._edge(edge) for edge in self.appeared],
            "disappeared": [self._edge(edge) for edge in self.disappeared],
            "changed": [change.to_document() for change in self.changed],
            "rare": [{**self._edge(edge), "only_in": side} for edge, side in self.rare],
            "tested": self.tested,
        }

    def _edge(self, edge: Edge) -> dict[str, Any]:
        since = self.known_since.get((edge.source, edge.destination), edge.first_seen)
        return {**edge.to_document(), "known_since": rfc3339(since)}


def map_diff(
    engine: Engine,
    a: tuple[datetime, datetime],
    b: tuple[datetime, datetime],
    *,
    namespace: str | None = None,
    service: str | None = None,
) -> MapDiff:
    """Compare the windows `a` and `b`, each [since, until) in whole minutes.

    Args:
        namespace: keep edges with an end in this namespace.
        service: keep edges with an end at this service (its name, or `namespace/name`).

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    entries = ledger(engine)
    keys = map_keys(engine)
    sides: list[Side] = []
    for since, until in (a, b):
        found = service_map(engine, since, until, namespace=namespace, service=service)
        pairs = {(edge.source, edge.destination) for edge in found.edges}
        numbers = {k: v for k, v in operation_numbers(engine, keys, since, until).items() if k[:2] in pairs}
        sides.append(Side(found, numbers, _covered(since, until, entries)))
    return compare(sides[0], sides[1], first_seen(entries))


def _covered(since: datetime, until: datetime, entries: Sequence[LedgerEntry]) -> float:
    """Seconds of the window since the first call that the store has."""
    begun = min((entry.first_seen for entry in entries), default=until)
    return max((until - max(since, begun)).total_seconds(), 0.0)


def compare(a: Side, b: Side, known_since: Mapping[Pair, datetime]) -> MapDiff:
    """The difference of two windows."""
    before = {(edge.source, edge.destination): edge for edge in a.found.edges}
    after = {(edge.source, edge.destination): edge for edge in b.found.edges}
    started = b.found.since
    appeared: list[Edge] = []
    disappeared: list[Edge] = []
    rare: list[tuple[Edge, Literal["a", "b"]]] = []
    for pair in sorted(after.keys() - before.keys()):
        never_before = started is not None and pair in known_since and known_since[pair] >= started
        if never_before or silent(after[pair].requests, (b.seconds, a.seconds)):
            appeared.append(after[pair])
        else:
            rare.append((after[pair], "b"))
    for pair in sorted(before.keys() - after.keys()):
        if silent(before[pair].requests, (a.seconds, b.seconds)):
            disappeared.append(before[pair])
        else:
            rare.append((before[pair], "a"))
    changed: list[Change] = []
    tests: list[tuple[Change, float]] = []
    for pair in sorted(before.keys() & after.keys()):
        common = [kind for kind in EVIDENCE_RANK if (*pair, kind) in a.numbers and (*pair, kind) in b.numbers]
        if not common:
            continue
        both = _Both(pair, a.numbers[(*pair, common[0])], b.numbers[(*pair, common[0])], (a.seconds, b.seconds))
        changed += both.operations()
        tests += both.tests()
    q_values = adjusted([p for _, p in tests])
    changed += [_with(change, q) for (change, _), q in zip(tests, q_values, strict=True) if q <= ALPHA]
    changed.sort(key=lambda each: (each.source, each.destination, each.what, each.operation or ""))
    return MapDiff(a, b, appeared, disappeared, changed, rare, known_since, len(tests))


def _with(change: Change, q: float) -> Change:
    return Change(change.source, change.destination, change.what, change.operation, change.before, change.after, q)


@dataclass(frozen=True, slots=True)
class _Both:
    """An edge that both windows have, by the best evidence that both have."""

    pair: Pair
    before: Operations
    after: Operations
    seconds: tuple[float, float]

    def operations(self) -> Iterator[Change]:
        """Operations that came or went."""
        for name in sorted(self._came() | self._went()):
            before, after = (_rate(ops[name], s) if name in ops else None for ops, s in self._sides())
            yield self._change("operation", name, before, after)

    def tests(self) -> Iterator[tuple[Change, float]]:
        """What may have changed, and the p-value of its not having."""
        whole = together(list(self.before.values())), together(list(self.after.values()))
        yield from self._rate_test(None, *whole)
        hits, known = (whole[0].mtls, whole[1].mtls), (whole[0].tls_known, whole[1].tls_known)
        p = share_p(hits, known, MTLS_SHARE)
        if p is not None:
            before, after = ({"mtls_share": round(hit / of, 6)} for hit, of in zip(hits, known, strict=True))
            yield self._change("mtls", None, before, after), p
        # Operation by operation: a changed mix of operations is no changed latency.
        alone = sorted(name for name in self.before.keys() & self.after.keys() if self._enough(name))
        for name in alone:
            before, after = self.before[name], self.after[name]
            if len(self.before.keys() | self.after.keys()) > 1:
                yield from self._rate_test(name or None, before, after)
            yield from self._quality_tests(name or None, before, after)
        set_apart = {*alone, *self._came(), *self._went()}
        rest = [together([n for name, n in ops.items() if name not in set_apart]) for ops, _ in self._sides()]
        yield from self._quality_tests(None, *rest)

    def _enough(self, name: str) -> bool:
        return min(self.before[name].requests, self.after[name].requests) >= MIN_CALLS

    def _sides(self) -> Sequence[tuple[Operations, float]]:
        return ((self.before, self.seconds[0]), (self.after, self.seconds[1]))

    def _came(self) -> set[str]:
        return self._only(self.after, self.before, (self.seconds[1], self.seconds[0]))

    def _went(self) -> set[str]:
        return self._only(self.before, self.after, self.seconds)

    @staticmethod
    def _only(here: Operations, there: Operations, seconds: tuple[float, float]) -> set[str]:
        # Evidence that names no operation on one side says nothing of those on the other.
        if not any(there) or not any(here):
            return set()
        return {name for name in here.keys() - there.keys() if name and silent(here[name].requests, seconds)}

    def _rate_test(self, name: str | None, before: Numbers, after: Numbers) -> Iterator[tuple[Change, float]]:
        p = rate_p((before.requests, after.requests), self.seconds, (before.pace, after.pace))
        if p is not None:
            yield self._change("rate", name, _rate(before, self.seconds[0]), _rate(after, self.seconds[1])), p

    def _quality_tests(self, name: str | None, before: Numbers, after: Numbers) -> Iterator[tuple[Change, float]]:
        p = share_p((before.errors, after.errors), (before.requests, after.requests), ERROR_SHARE)
        if p is not None:
            yield self._change("errors", name, _errors(before), _errors(after)), p
        p = latency_p(before.spread, after.spread)
        if p is not None:
            yield self._change("latency", name, _latency(before), _latency(after)), p

    def _change(
        self, what: What, operation: str | None, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
    ) -> Change:
        return Change(*self.pair, what, operation, before, after)


def _rate(numbers: Numbers, seconds: float) -> Mapping[str, Any]:
    return {
        "rps": round(numbers.requests / seconds, 6) if seconds else None,
        "requests": numbers.requests,
    }


def _errors(numbers: Numbers) -> Mapping[str, Any]:
    share = round(numbers.errors / numbers.requests, 6) if numbers.requests else None
    return {"error_share": share, "errors": numbers.errors, "requests": numbers.requests}


def _latency(numbers: Numbers) -> Mapping[str, Any]:
    found = numbers.spread.quantiles_us(np.array([0.5, 0.95, 0.99])).tolist()
    known = [round(value / 1000, 6) if value != float("inf") else None for value in found]
    return {**dict(zip(("p50_ms", "p95_ms", "p99_ms"), known, strict=True)), "requests": numbers.requests}
