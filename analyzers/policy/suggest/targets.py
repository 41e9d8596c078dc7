"""Destinations as policies name them, each with what was seen there; and what no policy can be made of, and why.

Observed ──► Target (one for each selector of pods, or service behind a waypoint) ──► an engine's documents
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from analyzers.policy.engines import Place
from analyzers.policy.suggest.labels import Selector, own_labels
from analyzers.policy.suggest.observed import Observed, Seen
from analyzers.policy.workloads import Cluster

Reason = Literal[
    "gateway",
    "no_labels",
    "flagged",
    "plaintext",
    "no_identity",
    "foreign_identity",
    "caller_not_known",
    "not_logged",
    "port_not_logged",
    "path",
    "method",
]
SAID: Mapping[Reason, str] = {
    "gateway": "arrived at a gateway: who calls from outside has no name, its policies stay as they are",
    "no_labels": "no labels in the inventory that only this destination's pods bear",
    "flagged": "findings are about this caller",
    "plaintext": "the caller came without mutual TLS and has no identity",
    "no_identity": "the caller's identity was not logged",
    "foreign_identity": "an identity that these policies cannot name",
    "caller_not_known": "the caller's pods and their labels are not in the inventory",
    "not_logged": "method or path was not logged",
    "port_not_logged": "the port was not logged",
    "path": "a path that these policies cannot write, or too many of no known template",
    "method": "a method that these policies cannot write",
}
_DNS = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_MAX_NAME = 50


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Calls of one caller of which nothing was learnt."""

    reason: Reason
    source: str
    principal: str
    destination: str
    calls: int

    def to_document(self) -> dict[str, Any]:
        """The calls as JSON-ready values."""
        return {
            "reason": self.reason,
            "source": self.source,
            "source_principal": self.principal or None,
            "destination": self.destination,
            "calls": self.calls,
        }


@dataclass(frozen=True, slots=True)
class Target:
    """One destination.

    Attributes:
        name: of its policies; no other target of the namespace has it.
        selector: of its pods; empty for a service behind a waypoint.
        service: the service that a waypoint stands before, else what calls name, which may be empty.
        learnt: calls that a policy can be made of; none where none was in order: nobody is to be let in.
    """

    namespace: str
    name: str
    place: Place
    selector: Selector
    service: str
    learnt: tuple[Seen, ...]

    @property
    def labels(self) -> dict[str, str]:
        """The selector as an object."""
        return dict(self.selector)


Usable = Callable[[Seen], Reason | None]
"""Why an engine can make nothing of a call; None = it can."""


@dataclass(slots=True)
class _Found:
    names: set[str] = field(default_factory=set[str])
    services: set[str] = field(default_factory=set[str])
    seen: list[Seen] = field(default_factory=list[Seen])


def targets(
    observed: Observed, usable: Usable, governs: Callable[[Place], bool], namespaces: Collection[str]
) -> tuple[Sequence[Target], Sequence[LeftOut]]:
    """The destinations of which policies can be made.

    Args:
        usable: what the engine can make of a call.
        governs: whether the engine decides about what arrives there.
        namespaces: of destinations; none = all.

    Returns: targets by namespace and name; and what was left out, most calls first. A destination of whose calls in
    order none can be written gets no policy: it would refuse them all.
    """
    cluster = observed.inventory.cluster
    found: dict[Any, _Found] = defaultdict(_Found)
    left: Counter[tuple[Reason, str, str, str]] = Counter()
    for one in observed.seen:
        place = one.place
        if not governs(place) or (namespaces and place.workload.namespace not in namespaces):
            continue
        if one.gateway:
            _leave(left, one, "gateway")
            continue
        key = _key(place, cluster)
        if key is None:
            _leave(left, one, "no_labels")
            continue
        of = found[key]
        of.names.add(place.workload.name or place.workload.service)
        of.services.add(place.workload.service)
        of.seen.append(one)
    made: list[Target] = []
    taken: set[tuple[str, str]] = set()
    for key, of in sorted(found.items(), key=lambda item: item[0]):
        namespace, _, service, selector = key
        learnt = _learnt(of.seen, usable, left)
        if learnt is None:
            continue
        name = _name(min(of.names), key, {one for where, one in taken if where == namespace})
        taken.add((namespace, name))
        services = of.services - {""}
        service = service or (services.pop() if len(services) == 1 else "")
        made.append(Target(namespace, name, of.seen[0].place, selector, service, learnt))
    made.sort(key=lambda one: (one.namespace, one.name))
    return made, left_out(left)


def _key(place: Place, cluster: Cluster) -> tuple[str, str, str, Selector] | None:
    workload = place.workload
    if not _DNS.fullmatch(workload.namespace):
        return None
    if place.judge == "waypoint":
        known = (workload.namespace, workload.service)
        return (workload.namespace, place.judge, workload.service, ()) if all(map(_DNS.fullmatch, known)) else None
    selector = own_labels(workload, cluster)
    return (workload.namespace, "sidecar", "", selector) if selector else None


def _learnt(seen: Iterable[Seen], usable: Usable, left: Counter[tuple[Reason, str, str, str]]) -> Any:
    """Calls that a policy can be made of; None where there are calls in order, or perhaps, but none of those."""
    learnt: list[Seen] = []
    open_ones = 0
    for one in seen:
        if one.legitimate:
            reason = usable(one)
            if reason is None:
                learnt.append(one)
            else:
                open_ones += 1
                _leave(left, one, reason)
        elif one.verdict == "allowed":
            _leave(left, one, "flagged")
        elif one.verdict != "denied":
            open_ones += 1
    return tuple(learnt) if learnt or not open_ones else None


def _leave(left: Counter[tuple[Reason, str, str, str]], one: Seen, reason: Reason) -> None:
    if one.verdict == "allowed":
        left[reason, one.source, one.principal, one.destination] += one.calls


def left_out(left: Counter[tuple[Reason, str, str, str]]) -> Sequence[LeftOut]:
    """What was left out, most calls first."""
    found = [LeftOut(*key, calls) for key, calls in left.items()]
    return sorted(found, key=lambda one: (-one.calls, one.destination, one.source, one.principal, one.reason))


def _name(text: str, key: Any, taken: Collection[str]) -> str:
    """A name that Kubernetes takes, the same whenever the target is."""
    plain = re.sub(r"[^a-z0-9-]+", "-", text.lower())[:_MAX_NAME].strip("-")
    name = f"seen-{plain}" if plain else "seen"
    if plain == text and name not in taken:
        return name
    return f"{name}-{hashlib.sha256(repr(key).encode()).hexdigest()[:8]}"
