"""Which two findings have one cause: what they share, weighed by how easily two strangers would share it (ADR 012).

Blame has already measured which slow edge shows another one, and says so (`explained_by`): that always counts. All else
is a guess from who, whom and when. A caller seldom does two odd things by chance; a callee that everybody calls does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from analyzers.dependencies.names import UNKNOWN
from analyzers.findings.model import Finding
from analyzers.incidents.model import Together
from analyzers.latency.findings import KINDS as SLOW_OR_FAILING

Pair = tuple[str, str]
REFUSED = frozenset({"refused_though_allowed", "repeated_denials"})
"""Kinds of calls that the mesh did not let in: nobody goes on from there."""


@dataclass(frozen=True, slots=True)
class Roads:
    """Who calls whom, by the map: callers and callees of each node."""

    callers: Mapping[str, frozenset[str]]
    callees: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, edges: Iterable[Pair]) -> Roads:
        """From (source, destination) of the map's edges."""
        into, out = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
        for source, destination in edges:
            into[destination].add(source)
            out[source].add(destination)
        return cls(
            {node: frozenset(callers) for node, callers in into.items()},
            {node: frozenset(callees) for node, callees in out.items()},
        )

    def few_call(self, node: str, few: int) -> bool:
        """Whether the map knows callers of `node`, and not many."""
        return 0 < len(self.callers.get(node, ())) <= few

    def narrow(self, source: str, destination: str, few: int) -> bool:
        """Whether few ways lead over what `source` calls and what calls `destination`; known ones only."""
        ways = len(self.callees.get(source, ())) * len(self.callers.get(destination, ()))
        return 0 < ways <= few * few


def order(one: Finding) -> tuple[datetime, str]:
    """The earliest first; of equals by id."""
    return one.first_seen, one.id


def causes(one: Finding) -> frozenset[str]:
    """Ids that name the cause of a finding: its own, its regression's, and the one that explains it."""
    named = (one.id, one.details.get("regression"), one.details.get("explained_by"))
    return frozenset(filter(None, named))


def linked(one: Finding, other: Finding, roads: Roads, together: Together) -> bool:
    """Whether two findings are of one incident; the same whichever comes first."""
    if causes(one) & causes(other):
        return True
    first, later = sorted((one, other), key=order)
    since = later.first_seen - first.first_seen
    if since > together.apart:
        return False
    goes_on = later.first_seen <= first.last_seen + together.near
    if goes_on and (_same_caller(first, later) or _moves_on(first, later, roads, together.few)):
        return True
    return since <= together.near and (
        _same_edge(first, later)
        or _shows(first, later, roads, together.few)
        or _shows(later, first, roads, together.few)
        or _same_callee(first, later, roads, together.few)
    )


def keys(one: Finding, roads: Roads, together: Together) -> Iterator[tuple[str, str]]:
    """What two findings must have in common to be `linked`: pairs without a common key need not be compared."""
    for cause in causes(one):
        yield "cause", cause
    subject = one.subject
    if subject.principal:
        yield "principal", subject.principal
    nodes = {node for node in (subject.source, subject.destination) if _named(node)}
    if subject.destination and _named(subject.destination) and _let_in(one):
        nodes |= set(_next(subject.destination, roads, together.few))
    for node in nodes:
        if node:
            yield "node", node


def _named(node: str | None) -> bool:
    return bool(node) and node != UNKNOWN


def _about_caller(one: Finding) -> bool:
    """Whether it tells of what somebody did, not of how long a call took."""
    return one.kind not in SLOW_OR_FAILING


def _let_in(one: Finding) -> bool:
    return _about_caller(one) and one.kind not in REFUSED


def _same_caller(one: Finding, other: Finding) -> bool:
    a, b = one.subject, other.subject
    if a.principal and a.principal == b.principal:
        return True
    return _about_caller(one) and _about_caller(other) and _named(a.source) and a.source == b.source


def _moves_on(first: Finding, later: Finding, roads: Roads, few: int) -> bool:
    """Whether the later one begins where the first got in, or one quiet call further on, where few ways lead."""
    reached, begins = first.subject.destination, later.subject.source
    if not (reached and begins and _let_in(first) and _about_caller(later) and _named(reached) and _named(begins)):
        return False
    return reached == begins or begins in set(_next(reached, roads, few))


def _next(node: str, roads: Roads, few: int) -> Iterator[str]:
    return (callee for callee in roads.callees.get(node, ()) if roads.narrow(node, callee, few))


def _same_edge(one: Finding, other: Finding) -> bool:
    a, b = one.subject, other.subject
    return _named(a.source) and _named(a.destination) and (a.source, a.destination) == (b.source, b.destination)


def _shows(above: Finding, below: Finding, roads: Roads, few: int) -> bool:
    """Whether callers wait or fail above for what happens below: one path, few ways lead through its middle."""
    middle = above.subject.destination
    if _about_caller(above) or not middle or not _named(middle) or middle != below.subject.source:
        return False
    return roads.narrow(middle, middle, few)


def _same_callee(one: Finding, other: Finding, roads: Roads, few: int) -> bool:
    """Whether one callee is the likelier cause: few call it, or it treats several callers alike for one reason."""
    callee = one.subject.destination
    if not callee or not _named(callee) or callee != other.subject.destination:
        return False
    return roads.few_call(callee, few) or (_reason(one) is not None and _reason(one) == _reason(other))


def _reason(one: Finding) -> tuple[str, str, str] | None:
    """Why calls were let in or refused against the policies: all causes that are told of that lie with the callee."""
    policies, cause = one.details.get("policies"), one.details.get("cause")
    return (one.kind, policies, cause) if policies and cause else None
