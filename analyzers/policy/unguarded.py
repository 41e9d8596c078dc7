"""Calls that nobody judged although policies are meant for them, with the programs that would have.

    callees without a sidecar      only the caller's line tells of the call: what Envoy would have said of it
    requests through a ztunnel     a caller's line tells of the request, the callee's ztunnel saw its connection only

Both are Istio's. Their lines are the caller's, which show no certificate: who called is told by the inventory, as the
service account of the caller's workload. PeerAuthentication is left out, since a sidecar would have brought mutual TLS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import re2  # pyright: ignore[reportMissingTypeStubs]

from analyzers.policy.engines import ENGINES, Judge, Place
from analyzers.policy.formula import (
    And,
    Attribute,
    Condition,
    Constant,
    Equals,
    Field,
    Formula,
    Matches,
    Not,
    Or,
    Prefix,
    Present,
    Program,
    Step,
    Subject,
    Suffix,
    Unknown,
    both,
    either,
    no,
    subjects,
)
from analyzers.policy.groups import Group, Window
from analyzers.policy.istio import engine as istio
from analyzers.policy.istio.model import Mesh
from analyzers.policy.judging import Interval, Judging
from analyzers.policy.places import COLUMNS, Found, requests_at_ztunnels
from analyzers.policy.policy_set import PolicySet
from analyzers.policy.workloads import Workload

MTLS_RULE = "mtls"
AMBIENT_LABEL, AMBIENT = "istio.io/dataplane-mode", "ambient"
AMBIENT_POD = ("ambient.istio.io/redirection", "enabled")
_ISTIO = next(engine for engine in ENGINES if engine.name == "istio")
_CONNECTION = frozenset(
    {
        *(Field.PRINCIPAL, Field.SOURCE_WORKLOAD, Field.SOURCE_NAMESPACE, Field.CALLER, Field.TLS, Field.SOURCE_IP),
        *(Field.DESTINATION_IP, Field.DESTINATION_PORT, Field.NAMESPACE, Field.LABELS, Field.ACCOUNTS),
        Field.CONTROLLER,
    }
)
"""What a ztunnel knows, or nobody has to."""
_PEER = "downstream_peer_"
_NAMESPACE, _WORKLOAD = COLUMNS.index("source_namespace"), COLUMNS.index("source_workload")


@dataclass(frozen=True, slots=True)
class Parted:
    """A judging in two: of calls that somebody judged, and of those that nobody did."""

    guarded: Judging
    bare: Judging
    """Of callees without a sidecar."""
    requests: Judging
    """Of requests that a ztunnel bore, where policies ask about requests and there is no waypoint."""


def parted(judging: Judging, held: Sequence[Interval]) -> Parted:
    """The judging of `held` in its parts.

    Args:
        judging: with places that no policy governs.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    policies = {one.since: one.policies for one in held}
    guarded: list[tuple[Window, Group]] = []
    bare: list[tuple[Window, Group]] = []
    requests: list[tuple[Window, Group]] = []
    for window, groups in _by_window(judging):
        places = [found for group in groups for found in group.places]
        built = _Built(policies[window.since], window, places)
        for group in groups:
            alone = [found for found in group.places if built.is_bare(found)]
            rest = tuple(found for found in group.places if not built.is_bare(found))
            if rest and group.programs:
                guarded.append((window, Group(group.programs, rest)))
            programs = [(built.envoy(found), *group.programs) for found in alone]
            bare += [(window, one) for one in _grouped(alone, programs)]
        if built.documents and any(found.place.judge == "ztunnel" for found in places):
            born = requests_at_ztunnels(window.engine, window.since, window.until, window.inventory)
            built = _Built(policies[window.since], window, born)
            asked = [found for found in born if built.governs(found) and built.asks_of_requests(found.place.workload)]
            programs = [(built.envoy(found), built.envoy(found, "waypoint")) for found in asked]
            requests += [(window, one) for one in _grouped(asked, programs)]
    return Parted(*(Judging(groups, sum(one.calls for _, one in groups)) for groups in (guarded, bare, requests)))


def asks_of_requests(policies: PolicySet, workload: Workload) -> bool:
    """Whether Istio's policies for a workload ask about more than its ztunnel knows."""
    documents = _documents(policies)
    steps = istio.program(documents, workload, "http", "sidecar").steps if documents else ()
    return any(
        subject not in _CONNECTION and not _of_peer(subject) for step in steps for subject in subjects(step.when)
    )


def is_ambient(workload: Workload, labels: Mapping[str, str]) -> bool:
    """Whether a workload's node judges for it; `labels` are its namespace's."""
    key, value = AMBIENT_POD
    return any(one.get(key) == value for one in workload.annotations) or labels.get(AMBIENT_LABEL) == AMBIENT


class _Built:
    """Programs of one window, as Envoy would have them."""

    def __init__(self, policies: PolicySet, window: Window, places: Sequence[Found]) -> None:
        self.documents = _documents(policies)
        self._policies = policies
        self._window = window
        self._places = places
        self._programs: dict[tuple[str, ...], Program] = {}

    def governs(self, found: Found) -> bool:
        """Whether Istio's policies would be for it, were there a proxy."""
        return bool(found.place.workload.namespace) and _ISTIO.governs(replace(found.place, judge="sidecar"))

    def is_bare(self, found: Found) -> bool:
        """Whether it is one of Istio's callees without a sidecar."""
        if not self.documents or found.place.judge != "nobody" or not self.governs(found):
            return False
        workload = found.place.workload
        return not is_ambient(workload, self._window.inventory.cluster.namespaces.get(workload.namespace, {}))

    def asks_of_requests(self, workload: Workload) -> bool:
        """See the function."""
        return asks_of_requests(self._policies, workload)

    def envoy(self, found: Found, judge: Judge = "sidecar") -> Program:
        """What a sidecar, or a waypoint, would decide there."""
        place: Place = found.place
        workload = place.workload
        key = (workload.namespace, workload.name, workload.service, place.transport, judge)
        if key not in self._programs:
            built = istio.program(self.documents, workload, place.transport, judge)
            steps = tuple(_of_accounts(step, self._principals) for step in built.steps if step.rule != MTLS_RULE)
            self._programs[key] = Program(steps, built.allows)
        return self._programs[key]

    @cached_property
    def _principals(self) -> Mapping[str, str]:
        """`namespace/workload` of callers → the principal of its one service account."""
        mesh = next((one for one in self.documents if isinstance(one, Mesh)), Mesh())
        ends = {(found.columns[_NAMESPACE], found.columns[_WORKLOAD]) for found in self._places}
        callers = {f"{namespace}/{workload}" for namespace, workload in ends}
        if any(not all(end) for end in ends):
            callers.update(self._window.inventory.addresses.values())
        return {
            one.id: f"spiffe://{mesh.trust_domain}/ns/{one.namespace}/sa/{one.accounts[0]}"
            for one in self._window.inventory.cluster.workloads.values()
            if len(one.accounts) == 1 and one.id in callers
        }


def _by_window(judging: Judging) -> Sequence[tuple[Window, Sequence[Group]]]:
    found: dict[int, tuple[Window, list[Group]]] = {}
    for window, group in judging.groups:
        found.setdefault(id(window), (window, []))[1].append(group)
    return list(found.values())


def _documents(policies: PolicySet) -> Sequence[Any]:
    return [one.model for one in policies.documents if one.engine == _ISTIO.name]


def _grouped(places: Sequence[Found], programs: Sequence[tuple[Program, ...]]) -> Sequence[Group]:
    groups: dict[tuple[Program, ...], list[Found]] = {}
    for found, judges in zip(places, programs, strict=True):
        groups.setdefault(judges, []).append(found)
    return [Group(judges, tuple(members)) for judges, members in groups.items()]


def _of_accounts(step: Step, principals: Mapping[str, str]) -> Step:
    return replace(step, when=_replaced(step.when, lambda one: _of_account(one, principals)))


def _of_account(condition: Condition, principals: Mapping[str, str]) -> Formula:
    """A condition on the certificate as one on the workload that would have shown it."""
    if condition.field != Field.PRINCIPAL:
        return Unknown(condition.field) if _of_peer(condition.field) else condition
    if isinstance(condition, Unknown):
        return condition
    held = tuple(sorted(caller for caller, text in principals.items() if _holds(condition, text)))
    others = no(Equals(Field.SOURCE_WORKLOAD, tuple(sorted(principals))))
    return either([Equals(Field.SOURCE_WORKLOAD, held), both([others, Unknown(Field.PRINCIPAL)])])


def _of_peer(subject: Subject) -> bool:
    return isinstance(subject, Attribute) and subject.key.startswith(_PEER)


def _holds(condition: Condition, text: str) -> bool:
    match condition:
        case Equals(_, values):
            return text in values
        case Prefix(_, start):
            return text.startswith(start)
        case Suffix(_, end):
            return text.endswith(end)
        case Matches(_, regex):
            return re2.fullmatch(regex, text) is not None  # pyright: ignore[reportUnknownMemberType]
        case Present():
            return bool(text)
        case _:
            return False


def _replaced(formula: Formula, change: Callable[[Condition], Formula]) -> Formula:
    match formula:
        case Constant():
            return formula
        case Not(part):
            return no(_replaced(part, change))
        case And(parts):
            return both([_replaced(part, change) for part in parts])
        case Or(parts):
            return either([_replaced(part, change) for part in parts])
        case _:
            return change(formula)
