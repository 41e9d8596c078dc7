"""Destinations as policies name them, each with what was seen there; and what no policy can be made of, and why.

Observed ──► Target (one for each selector of pods, or service behind a waypoint) ──► an engine's documents
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from analyzers.policy.engines import Place
from analyzers.policy.istio.model import Mesh
from analyzers.policy.suggest.labels import Selector, own_labels
from analyzers.policy.suggest.observed import Observed, Seen
from analyzers.policy.workloads import Cluster

Reason = Literal[
    "gateway",
    "waypoint",
    "no_labels",
    "no_account",
    "no_service",
    "flagged",
    "plaintext",
    "no_identity",
    "foreign_identity",
    "caller_not_known",
    "caller_labels",
    "not_logged",
    "port_not_logged",
    "path",
    "method",
]
SAID: Mapping[Reason, str] = {
    "gateway": "arrived at a gateway: who calls from outside has no name, its policies stay as they are",
    "waypoint": "judged by a waypoint, of which these policies know nothing",
    "no_labels": "no labels in the inventory that only this destination's pods bear",
    "no_account": "the inventory knows no service account, or several, of this destination's pods",
    "no_service": "the destination's service is not known, or no policy can name it",
    "flagged": "findings are about this caller",
    "plaintext": "the caller came without mutual TLS and has no identity",
    "no_identity": "the caller's identity was not logged",
    "foreign_identity": "an identity that these policies cannot name",
    "caller_not_known": "the caller's pods and their labels are not in the inventory",
    "caller_labels": "no labels that only the caller's pods bear",
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
        selector: of its pods; empty where it is found by something else.
        called: the service (behind a waypoint, or of Consul), or the service account that it is found by, else empty.
        learnt: calls that a policy can be made of; none where none was in order: nobody is to be let in.
        shut: ports where nothing was in order.
    """

    namespace: str
    name: str
    place: Place
    selector: Selector
    called: str
    learnt: tuple[Seen, ...]
    shut: tuple[int, ...]

    @property
    def labels(self) -> dict[str, str]:
        """The selector as an object."""
        return dict(self.selector)


Usable = Callable[[Seen], Reason | None]
"""Why an engine can make nothing of a call; None = it can."""
Key = tuple[str, str, Selector]
"""Namespace, what it is called, selector: what tells targets apart."""
Finds = Callable[[Place, Cluster], Key | Reason]
"""How an engine's policies find a destination, or why they cannot."""


def targets(
    observed: Observed, finds: Finds, usable: Usable, is_meant: Callable[[Place], bool]
) -> tuple[Sequence[Target], Sequence[LeftOut]]:
    """The destinations of which policies can be made.

    Args:
        finds: how the engine's policies find them.
        usable: what the engine can make of a call.
        is_meant: whether policies are asked for of what arrives there.

    Returns: targets by namespace and name; and what was left out, most calls first. A destination of whose calls in
    order none can be written gets no policy: it would refuse them all.
    """
    cluster = observed.inventory.cluster
    found: dict[Key, list[Seen]] = defaultdict(list)
    left: Counter[tuple[Reason, str, str, str]] = Counter()
    for one in observed.seen:
        place = one.place
        if not is_meant(place):
            continue
        key = "gateway" if one.gateway else finds(place, cluster)
        if isinstance(key, str):
            _leave(left, one, key)
        else:
            found[key].append(one)
    made: list[Target] = []
    taken: set[tuple[str, str]] = set()
    for key, seen in sorted(found.items()):
        learnt = _learnt(seen, usable, left)
        if learnt is None:
            continue
        namespace, called, selector = key
        place = seen[0].place
        # Consul's services have no namespace: their policies go where the first of them is.
        namespace = namespace or place.workload.namespace
        text = called or min(one.place.workload.name or one.place.workload.service for one in seen)
        name = _name(text, key, {one for where, one in taken if where == namespace})
        taken.add((namespace, name))
        made.append(Target(namespace, name, place, selector, called, learnt, _shut(seen)))
    made.sort(key=lambda one: (one.namespace, one.name))
    return made, left_out(left)


def by_labels(place: Place, cluster: Cluster, everywhere: bool = False) -> Key | Reason:
    """A workload by labels of its pods, which no others of its namespace bear (or `everywhere`)."""
    if place.judge == "waypoint":
        return "waypoint"
    namespace = place.workload.namespace
    selector = own_labels(place.workload, cluster, everywhere) if _DNS.fullmatch(namespace) else None
    return (namespace, "", selector) if selector else "no_labels"


def for_istio(place: Place, cluster: Cluster) -> Key | Reason:
    """The same, but behind a waypoint a service by its name. Selectors of the root namespace reach into all others."""
    if place.judge != "waypoint":
        return by_labels(place, cluster, everywhere=place.workload.namespace == Mesh().root_namespace)
    known = (place.workload.namespace, place.workload.service)
    return (*known, ()) if all(map(_DNS.fullmatch, known)) else "no_service"


def by_service(place: Place, cluster: Cluster) -> Key | Reason:
    """A service of Consul by its name, in whatever namespace of Kubernetes it runs."""
    del cluster
    name = place.workload.service or place.workload.name
    return ("", name, ()) if _DNS.fullmatch(name) and _DNS.fullmatch(place.workload.namespace) else "no_service"


def by_account(place: Place, cluster: Cluster) -> Key | Reason:
    """Pods by their service account."""
    del cluster
    accounts = place.workload.accounts
    known = len(accounts) == 1 and _DNS.fullmatch(accounts[0]) and _DNS.fullmatch(place.workload.namespace)
    return (place.workload.namespace, accounts[0], ()) if known else "no_account"


def _shut(seen: Sequence[Seen]) -> tuple[int, ...]:
    """Ports where every call was refused, or a finding is about it."""
    good = {one.port for one in seen if one.legitimate or one.verdict not in ("allowed", "denied")}
    return tuple(sorted({one.port for one in seen} - good - {0}))


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
