"""The path of one request: its hops as a tree, from the gateway into the mesh.

    sightings (lines of proxies, spans) ──► hops (who called whom, as both sides saw it) ──► tree ──► who failed

A pure function of what was read (`request_sightings` reads it). One hop has at most one sighting of its caller's side
and, where it was retried, several of its callee's; docs/counting.md says which side's word on a failure counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from analyzers.dependencies.model import Direction, Evidence, rfc3339
from analyzers.dependencies.names import EXTERNAL, UNKNOWN

CALLER_SIDE = ("source", "gateway")
"""Reporters that see a call as its caller sent it."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one proxy's line, flow or span says of a call. None and `""` = not said."""

    evidence: Evidence
    reporter: str
    source: str
    destination: str
    at: datetime
    duration_us: int | None = None
    direction: str = ""
    protocol: str = ""
    method: str = ""
    path: str = ""
    operation: str = ""
    status: int | None = None
    grpc_status: int | None = None
    flags: str = ""
    details: str = ""
    verdict: str = ""
    denied_by: str = ""
    fault: str = ""
    """Who failed: `none` = nobody did, `unknown` = it cannot say who, `""` = not even whether."""
    principal: str = ""
    tls: str = ""
    pod: str = ""

    @property
    def ends(self) -> datetime:
        """When it was over; its start where nobody measured it."""
        return self.at + timedelta(microseconds=self.duration_us or 0)

    @property
    def blames(self) -> bool:
        """Whether it says who failed."""
        return self.fault not in ("", "none", "unknown")

    def to_document(self) -> dict[str, Any]:
        """The sighting as JSON-ready values; what is not known is null."""
        return {
            "evidence": self.evidence,
            "reporter": self.reporter,
            "at": rfc3339(self.at),
            "duration_ms": None if self.duration_us is None else self.duration_us / 1000,
            "status": self.status,
            "grpc_status": self.grpc_status,
            "flags": self.flags or None,
            "details": self.details or None,
            "verdict": self.verdict or None,
            "denied_by": self.denied_by or None,
            "fault": self.fault or None,
            "pod": self.pod or None,
        }


@dataclass(slots=True, eq=False)
class Hop:
    """One call of the request. `parent` is the hop within which its caller made it."""

    caller: Sighting | None
    callees: list[Sighting] = field(default_factory=list[Sighting])
    """One for each attempt that the other side saw."""
    spans: list[Sighting] = field(default_factory=list[Sighting])
    """The call as spans tell of it: of the caller, then of the callee."""
    others: list[Sighting] = field(default_factory=list[Sighting])
    """Waypoints, flows, and who does not know on which side it is."""
    parent: Hop | None = None

    @property
    def sightings(self) -> list[Sighting]:
        """All of them, the one that knows most of the call first."""
        return [*([self.caller] if self.caller else ()), *self.callees, *self.spans, *self.others]

    @property
    def source(self) -> str:
        """The calling node: what any sighting knows of it."""
        return next((one.source for one in self.sightings if one.source != UNKNOWN), UNKNOWN)

    @property
    def destination(self) -> str:
        """The called node."""
        return self.sightings[0].destination

    @property
    def at(self) -> datetime:
        """When its first sighting began."""
        return self.sightings[0].at

    @property
    def ends(self) -> datetime:
        """When its first sighting was over."""
        return self.sightings[0].ends

    @property
    def evidence(self) -> list[Evidence]:
        """Kinds of evidence, each once."""
        return list(dict.fromkeys(one.evidence for one in self.sightings))

    def first(self, name: str) -> Any:
        """The first value of a field that a sighting has."""
        return next((value for one in self.sightings if (value := getattr(one, name)) not in (None, "")), None)

    @property
    def direction(self) -> Direction:
        """As on the map."""
        if self.destination.startswith(EXTERNAL):
            return "egress"
        inward = any(one.direction == "ingress" or one.reporter == "gateway" for one in self.sightings)
        return "ingress" if inward else "east_west"

    @property
    def fault(self) -> str | None:
        """Who failed, by the side whose word counts; `none` = nobody, None = nobody says."""
        if self.caller and self.caller.fault == "none":
            return "none"  # what one attempt met, another made good
        callee = self.callees[-1:]
        caller = [self.caller] if self.caller else []
        # The callee's proxy stands nearest to what failed behind it; of a caller that left it does not know why.
        left = any(one.fault == "caller" for one in callee) and any(one.blames for one in caller)
        told = [*caller, *callee] if left else [*callee, *caller]
        told += [*self.others, *self.spans]
        blamed = (one.fault for one in told if one.blames)
        known = {one.fault for one in told}
        return next(blamed, next((fault for fault in ("unknown", "none") if fault in known), None))

    @property
    def contradiction(self) -> bool:
        """Whether both sides name somebody who failed, and not the same."""
        return len({one.fault for one in (self.caller, *self.callees[-1:]) if one and one.blames}) > 1


@dataclass(frozen=True, slots=True)
class RequestPath:
    """Hops of a request in the order of the tree: each stands behind its parent."""

    id: str
    hops: Sequence[Hop]
    request_ids: Sequence[str] = ()
    trace_ids: Sequence[str] = ()
    truncated: bool = False
    """There was more than is read of one request."""

    @property
    def failed(self) -> Hop | None:
        """Where it failed first: the failed hop none of whose own calls failed; of several the earliest."""
        failed = [hop for hop in self.hops if hop.fault not in (None, "none")]
        above = {id(hop.parent) for hop in failed}
        return min((hop for hop in failed if id(hop) not in above), key=lambda hop: hop.at, default=None)

    def depth(self, hop: Hop) -> int:
        """How many hops stand above one."""
        depth = 0
        while hop.parent is not None:
            hop, depth = hop.parent, depth + 1
        return depth

    def to_document(self) -> dict[str, Any]:
        """The path as the JSON document of `eastwatch trace --json`."""
        number = {id(hop): place for place, hop in enumerate(self.hops)}
        failed = self.failed
        return {
            "id": self.id,
            "request_ids": list(self.request_ids),
            "trace_ids": list(self.trace_ids),
            "since": rfc3339(min((hop.at for hop in self.hops), default=None)),
            "truncated": self.truncated,
            "failed": None if failed is None else number[id(failed)],
            "hops": [
                {
                    "parent": None if hop.parent is None else number[id(hop.parent)],
                    "source": hop.source,
                    "destination": hop.destination,
                    "direction": hop.direction,
                    "protocol": hop.first("protocol"),
                    "method": hop.first("method"),
                    "path": hop.first("path"),
                    "operation": hop.first("operation"),
                    "at": rfc3339(hop.at),
                    "duration_ms": None if (us := hop.first("duration_us")) is None else us / 1000,
                    "status": hop.first("status"),
                    "grpc_status": hop.first("grpc_status"),
                    "principal": hop.first("principal"),
                    "fault": hop.fault,
                    "contradiction": hop.contradiction,
                    "attempts": len(hop.callees) or None,
                    "evidence": hop.evidence,
                    "caller": hop.caller.to_document() if hop.caller else None,
                    "callees": [one.to_document() for one in hop.callees],
                    "spans": [one.to_document() for one in hop.spans],
                    "others": [one.to_document() for one in hop.others],
                }
                for hop in self.hops
            ],
        }


def hops_of(sightings: Sequence[Sighting]) -> Sequence[Hop]:
    """Sightings of one request as hops, in the order of their tree."""
    ordered = sorted(sightings, key=lambda one: one.at)
    proxies = [one for one in ordered if one.evidence == "log"]
    hops = [Hop(one) for one in proxies if one.reporter in CALLER_SIDE]
    _join(hops, [one for one in proxies if one.reporter == "destination"], "callees")
    _join(hops, [one for one in proxies if one.reporter not in (*CALLER_SIDE, "destination")], "others")
    for side in CALLER_SIDE, ("destination",):
        _join(hops, [one for one in ordered if one.evidence == "trace" and one.reporter in side], "spans")
    _join(hops, [one for one in ordered if one.evidence == "flow"], "others")
    for hop in sorted(hops, key=lambda hop: hop.at):
        hop.parent = _parent(hop, hops)
    return _tree(hops)


def _join(hops: list[Hop], sightings: Sequence[Sighting], place: str) -> None:
    """Give each sighting to the hop that it saw; what fits none is a hop of its own."""
    between: dict[str, list[Sighting]] = defaultdict(list)
    for one in sightings:
        between[one.destination].append(one)
    for destination, seen in between.items():
        known = [hop for hop in hops if hop.destination == destination]
        for source in dict.fromkeys(one.source for one in seen):
            own = [one for one in seen if one.source == source]
            fitting = [hop for hop in known if source == UNKNOWN or hop.source in (source, UNKNOWN)]
            fitting.sort(key=lambda hop: hop.at)
            for order, one in enumerate(own):
                # As many on both sides: they are in step, whatever the clocks say.
                hop = fitting[order] if len(own) == len(fitting) else _nearest(fitting, one)
                if hop is None:
                    hop = Hop(None)
                    hops.append(hop)
                getattr(hop, place).append(one)


def _nearest(hops: Sequence[Hop], one: Sighting) -> Hop | None:
    """The hop during which a sighting began; else the one that began nearest to it."""
    during = [hop for hop in hops if hop.at <= one.at <= hop.ends]
    return min(during or hops, key=lambda hop: abs(hop.at - one.at), default=None)


def _parent(hop: Hop, hops: Sequence[Hop]) -> Hop | None:
    """The call in whose course the caller made this one: the latest that it was serving, else the nearest in time."""
    served = [other for other in hops if other.destination == hop.source and not _is_above(hop, other)]
    during = [other for other in served if other.at <= hop.at <= other.ends]
    if during:
        return max(during, key=lambda other: other.at)
    return min(served, key=lambda other: abs(other.at - hop.at), default=None)


def _is_above(hop: Hop, other: Hop | None) -> bool:
    while other is not None:
        if other is hop:
            return True
        other = other.parent
    return False


def _tree(hops: Sequence[Hop]) -> list[Hop]:
    below: Mapping[int, list[Hop]] = defaultdict(list)
    for hop in sorted(hops, key=lambda hop: (hop.direction != "ingress", hop.at)):
        below[id(hop.parent)].append(hop)
    for same in below.values():
        same.sort(key=lambda hop: hop.at)
    roots = sorted(below[id(None)], key=lambda hop: (hop.direction != "ingress", hop.at))
    found: list[Hop] = []
    waiting = roots[::-1]
    while waiting:
        hop = waiting.pop()
        found.append(hop)
        waiting += below[id(hop)][::-1]
    return found
