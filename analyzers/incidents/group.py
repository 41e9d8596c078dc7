"""Findings into incidents, each with the id that it had before.

findings, edges of the map, known incidents ──► what closed ones take ──► groups of linked findings ──► Incident
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from heapq import heapify, heappop, heappush

from analyzers.dependencies.names import UNKNOWN
from analyzers.findings.model import SEVERITIES, Finding, Severity
from analyzers.incidents.links import Pair, Roads, keys, linked, order
from analyzers.incidents.model import TOGETHER, Incident, Together


def group(
    findings: Iterable[Finding],
    edges: Iterable[Pair] = (),
    known: Iterable[Incident] = (),
    now: datetime | None = None,
    together: Together = TOGETHER,
) -> Sequence[Incident]:
    """All incidents, the known ones among them; the order of what is given changes nothing.

    An open one grows, and keeps what it has. Of several that turn out to be one, the oldest stays, and the others are
    closed as merged into it. A closed one takes what began before it was closed, and stays closed.

    Args:
        edges: (source, destination) of the map.
        known: those that stand, all that hold one of `findings` among them.
        now: when incidents that are merged away are closed; needed where `known` has several.

    Returns:
        the latest first.
    """
    listed = sorted({one.id: one for one in sorted(findings, key=_content)}.values(), key=order)
    roads = Roads.of(edges)
    before = sorted(known, key=_age)
    standing = {one.id: one for one in before if one.state != "closed"}
    owner = {id_: one.id for one in standing.values() for id_ in one.findings}
    closed, free = _closed(listed, [one for one in before if one.state == "closed"], owner, roads, together)
    found = {one.id: one for one in closed}
    for members in groups(free, roads, together, [one.findings for one in standing.values()]):
        bases = sorted({owner[one.id] for one in members if one.id in owner}, key=lambda id_: _age(standing[id_]))
        oldest = standing[bases[0]] if bases else None
        stays = oldest.id if oldest else members[0].id
        grown = _incident(stays, members, [standing[id_] for id_ in bases])
        if oldest:
            grown = replace(grown, state=oldest.state, note=oldest.note)
        found[stays] = grown
        for id_ in bases[1:]:
            found[id_] = _merged(standing[id_], stays, now)
    return sorted({**standing, **found}.values(), key=lambda one: (one.started, one.id), reverse=True)


def groups(
    findings: Sequence[Finding], roads: Roads, together: Together, sticky: Iterable[Sequence[str]] = ()
) -> Sequence[Sequence[Finding]]:
    """Findings that are linked with one another, directly or over others; each group and all groups in order of time.

    Compared are those alone that share a key and begin within `together.apart`: n findings of one busy day and node
    cost n² comparisons at most.

    Args:
        findings: in order of time.
        sticky: ids that are one group already.
    """
    trees = _Trees(len(findings))
    place = {one.id: n for n, one in enumerate(findings)}
    for ids in sticky:
        present = [place[id_] for id_ in ids if id_ in place]
        for n in present[1:]:
            trees.join(present[0], n)
    shared = defaultdict[tuple[str, str], list[int]](list)
    for n, one in enumerate(findings):
        for key in keys(one, roads, together):
            shared[key].append(n)
    for (kind, _), members in shared.items():
        begin = 0
        for at, n in enumerate(members):
            # What one cause explains is one incident, however late it shows.
            while kind != "cause" and findings[members[begin]].first_seen < findings[n].first_seen - together.apart:
                begin += 1
            for other in members[begin:at]:
                if trees.root(n) != trees.root(other) and linked(findings[n], findings[other], roads, together):
                    trees.join(n, other)
    found = defaultdict[int, list[Finding]](list)
    for n, one in enumerate(findings):
        found[trees.root(n)].append(one)
    return list(found.values())


class _Trees:
    """Union-find: Tarjan, "Efficiency of a good but not linear set union algorithm", JACM 22 (1975), halving paths."""

    def __init__(self, size: int) -> None:
        self._above = list(range(size))

    def root(self, n: int) -> int:
        while self._above[n] != n:
            self._above[n] = n = self._above[self._above[n]]
        return n

    def join(self, one: int, other: int) -> None:
        low, high = sorted((self.root(one), self.root(other)))
        self._above[high] = low


def _closed(
    findings: Sequence[Finding],
    closed: Sequence[Incident],
    open_: Mapping[str, str],
    roads: Roads,
    together: Together,
) -> tuple[Sequence[Incident], Sequence[Finding]]:
    """Closed incidents with what they take, and the findings that are left.

    One that was merged away holds nothing any more. What came to light late, but began before the closing, was closed
    with the rest; what began afterwards is a new story, also where it goes on like the old one.

    Args:
        open_: ids of findings that open incidents hold: nothing is taken from these.
    """
    held = {id_: one.id for one in closed if not one.merged_into for id_ in one.findings}
    free = [one for one in findings if one.id not in held]
    found = list[Incident]()
    for incident in sorted(closed, key=lambda one: (one.closed_at or one.updated, one.id)):
        until = incident.closed_at or incident.updated
        own = [one for one in findings if held.get(one.id) == incident.id]
        late = [one for one in free if one.first_seen <= until and one.id not in open_]
        if incident.merged_into or not own or not late:
            found.append(incident)
            continue
        sticky = [[one.id for one in own]]
        both = sorted([*own, *late], key=order)
        (members,) = (one for one in groups(both, roads, together, sticky) if own[0] in one)
        taken = {one.id for one in members} - {one.id for one in own}
        free = [one for one in free if one.id not in taken]
        if taken:
            grown = _incident(incident.id, members, [incident])
            incident = replace(grown, state="closed", note=incident.note, closed_at=incident.closed_at)
        found.append(incident)
    return found, free


def _merged(one: Incident, into: str, now: datetime | None) -> Incident:
    told = f"merged into {into}"
    note = f"{one.note}; {told}" if one.note else told
    return replace(one, state="closed", note=note, merged_into=into, closed_at=now or one.updated)


def _incident(id_: str, members: Sequence[Finding], bases: Sequence[Incident]) -> Incident:
    """An open incident of `members`, and of what is left of `bases` where findings of theirs are not at hand."""
    present = {one.id for one in members}
    lacking = [one for one in bases if not present.issuperset(one.findings)]
    ids = dict.fromkeys([*(other for one in lacking for other in one.findings), *(one.id for one in members)])
    severities: list[Severity] = [one.severity for one in (*members, *lacking)]
    return Incident(
        id=id_,
        state="open",
        severity=max(severities, key=SEVERITIES.index),
        summary=lacking[0].summary if lacking else _summary(members),
        principals=_texts([{one.subject.principal for one in members}, *(one.principals for one in lacking)]),
        services=_texts([_nodes(members), *(one.services for one in lacking)]),
        path=tuple(dict.fromkeys([*(node for one in lacking for node in one.path), *path_of(members)])),
        findings=tuple(ids),
        started=min([*(one.first_seen for one in members), *(one.started for one in lacking)]),
        updated=max([*(one.last_seen for one in members), *(one.updated for one in lacking)]),
        techniques=_texts([*(one.techniques for one in members), *(one.techniques for one in lacking)]),
    )


def _texts(lists: Iterable[Iterable[str | None]]) -> Sequence[str]:
    return tuple(sorted({text for texts in lists for text in texts if text}))


def _nodes(members: Iterable[Finding]) -> set[str]:
    nodes = {node for one in members for node in (one.subject.source, one.subject.destination) if node}
    return nodes - {UNKNOWN}


def _summary(members: Sequence[Finding]) -> str:
    """The title of the finding that matters most: what explains others, then the gravest, then the earliest."""
    explaining = {one.details.get("explained_by") for one in members} - {None}
    lead = min(
        members, key=lambda one: (one.id not in explaining, -SEVERITIES.index(one.severity), one.first_seen, one.id)
    )
    if len(members) == 1:
        return lead.title
    more, services = len(members) - 1, len(_nodes(members))
    return (
        f"{lead.title}, and {more} more finding{'' if more == 1 else 's'}"
        f" among {services} service{'' if services == 1 else 's'}"
    )


def path_of(members: Iterable[Finding]) -> Sequence[str]:
    """Nodes in the order of the calls (Kahn), of several the one seen first; a circle opens at its earliest."""
    seen: dict[str, datetime] = {}
    into = defaultdict[str, set[str]](set)
    out = defaultdict[str, set[str]](set)
    for one in members:
        source, destination = (
            node if node and node != UNKNOWN else None for node in (one.subject.source, one.subject.destination)
        )
        for node in filter(None, (source, destination)):
            seen[node] = min(one.first_seen, seen.get(node, one.first_seen))
        if source and destination and source != destination:
            into[destination].add(source)
            out[source].add(destination)
    return _ordered(seen, into, out)


def _ordered(seen: Mapping[str, datetime], into: Mapping[str, set[str]], out: Mapping[str, set[str]]) -> Sequence[str]:
    waits = {node: len(into.get(node, ())) for node in seen}
    rest = sorted((moment, node) for node, moment in seen.items())
    ready = [(moment, node) for moment, node in rest if not waits[node]]
    heapify(ready)
    told: dict[str, None] = {}
    while len(told) < len(seen):
        if not ready:
            ready = [next(one for one in rest if one[1] not in told)]
        _, node = heappop(ready)
        if node in told:
            continue
        told[node] = None
        for callee in out.get(node, ()):
            waits[callee] -= 1
            if not waits[callee] and callee not in told:
                heappush(ready, (seen[callee], callee))
    return tuple(told)


def _content(one: Finding) -> tuple[datetime, datetime, float, str]:
    return one.last_seen, one.first_seen, one.score, one.title


def _age(one: Incident) -> tuple[datetime, str]:
    return one.started, one.id
