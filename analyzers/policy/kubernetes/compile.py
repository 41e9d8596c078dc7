"""NetworkPolicies → a program: who isolates the destination, who isolates the caller, and what their rules let pass.

For one direction let `s` be whether a policy selects the pod at its end, and `r` whether one of its rules matches. The
call is denied where some `s AND NOT r` holds and no `s AND r` does. That is the same as some `s` and no `s AND r`, but
it stays known where a selection is unknown and the rules would let the call pass all the same.

Steps: denials at the destination, denials at the caller, then the rules that match, which only name what let it pass.

Source: kubernetes.io/docs/concepts/services-networking/network-policies, networking/v1.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from analyzers.policy.formula import (
    FALSE,
    TRUE,
    Constant,
    Equals,
    Field,
    Formula,
    Ports,
    Present,
    Program,
    Step,
    Transport,
    Unknown,
    Within,
    both,
    either,
    no,
)
from analyzers.policy.kubernetes.model import NAME_LABEL, Block, NetworkPolicy, Peer, Port, Rule
from analyzers.policy.selectors import Requirement, Selector
from analyzers.policy.workloads import Cluster, Labels, Workload

_NOT_KNOWN = Unknown(Field.LABELS)
"""Of the destination."""
_CALLER_NOT_KNOWN = Unknown(Field.SOURCE_LABELS)
_ALL_PORTS = (1, 65535)


@dataclass(frozen=True, slots=True)
class _Side:
    """A policy at one end of the call."""

    policy: NetworkPolicy
    selects: Formula
    rules: tuple[Formula, ...]

    @property
    def matches(self) -> Formula:
        return either(self.rules)


def program(
    documents: Sequence[NetworkPolicy], destination: Workload, cluster: Cluster, transport: Transport
) -> Program:
    """What decides about calls that arrive at `destination`, for requests as for the connections that bear them."""
    del transport
    callers, called = _Callers(cluster), _Called(destination, cluster)
    into = [
        _Side(
            one,
            called.pods(one.pods),
            tuple(both([callers.any_of(rule, one.namespace), called.ports(rule)]) for rule in one.ingress),
        )
        for one in documents
        if one.ingress is not None and one.namespace == destination.namespace
    ]
    out_of = [
        _Side(
            one,
            callers.pods(one.pods, None, one.namespace),
            tuple(both([called.any_of(rule, one.namespace), called.ports(rule)]) for rule in one.egress),
        )
        for one in documents
        if one.egress is not None
    ]
    steps = [
        Step(False, _denied(into), _only(into), ""),
        *_denied_alone(out_of, callers),
        Step(False, _denied(out_of), "", ""),
        *_passing(into, "ingress"),
        *_passing(out_of, "egress"),
    ]
    return Program(tuple(step for step in steps if step.when != FALSE), True)


def _denied(sides: Sequence[_Side]) -> Formula:
    held = [both([one.selects, no(one.matches)]) for one in sides]
    passed = [both([one.selects, one.matches]) for one in sides]
    return both([either(held), no(either(passed))])


def _only(sides: Sequence[_Side]) -> str:
    """The policy that alone isolates the destination; empty where there are several, or may be."""
    found = [one for one in sides if one.selects != FALSE]
    return found[0].policy.id if len(found) == 1 and found[0].selects == TRUE else ""


def _denied_alone(sides: Sequence[_Side], callers: _Callers) -> Sequence[Step]:
    """Denials of callers that one policy alone isolates: they are named after it."""
    by_namespace: dict[str, list[_Side]] = defaultdict(list)
    for one in sides:
        by_namespace[one.policy.namespace].append(one)
    found: list[Step] = []
    for namespace, several in by_namespace.items():
        alone = (
            {several[0].policy.id: several[0].selects}
            if len(several) == 1
            else callers.alone(namespace, {one.policy.id: one.policy.pods for one in several})
        )
        found.extend(
            Step(False, both([alone[one.policy.id], no(one.matches)]), one.policy.id, "")
            for one in several
            if one.policy.id in alone
        )
    return found


def _passing(sides: Sequence[_Side], direction: str) -> Sequence[Step]:
    return [
        Step(True, both([one.selects, rule]), one.policy.id, f"{direction}[{number}]")
        for one in sides
        for number, rule in enumerate(one.rules)
    ]


class _Callers:
    """Conditions on the pod that calls."""

    def __init__(self, cluster: Cluster) -> None:
        self._namespaces = _named(cluster)
        self._workloads: dict[str, list[Workload]] = defaultdict(list)
        for (namespace, _), workload in cluster.workloads.items():
            self._workloads[namespace].append(workload)
        self._made: dict[tuple[Selector | None, Selector | str], Formula] = {}

    def any_of(self, rule: Rule, own: str) -> Formula:
        """Whether the caller is one of the rule's peers; `own` is the policy's namespace."""
        if not rule.peers:
            return TRUE
        return either(
            [
                _in_block(Field.SOURCE_IP, peer.block) if peer.block else self.pods(peer.pods, peer.namespaces, own)
                for peer in rule.peers
            ]
        )

    def pods(self, pods: Selector | None, namespaces: Selector | None, own: str) -> Formula:
        """Whether the caller is one of these pods."""
        key = (pods, namespaces or own)
        if key not in self._made:
            where = Equals(Field.SOURCE_NAMESPACE, (own,)) if namespaces is None else self._in_namespace(namespaces)
            possible = [
                one
                for one in self._workloads
                if (one == own if namespaces is None else _selected(namespaces, one, self._namespaces) != FALSE)
            ]
            self._made[key] = both([where, self._bears(pods, possible)])
        return self._made[key]

    def alone(self, namespace: str, selectors: dict[str, Selector]) -> dict[str, Formula]:
        """By policy of a namespace, the callers that it selects, and of which it is known that no other one does."""
        # Two that select everybody: of nobody one alone does.
        if sum(not selector.requirements for selector in selectors.values()) > 1:
            return {}
        found: dict[str, list[str]] = defaultdict(list)
        for workload in self._workloads[namespace]:
            selecting = {
                policy: selector for policy, selector in selectors.items() if _bears(workload, selector) != FALSE
            }
            if len(selecting) == 1:
                ((policy, selector),) = selecting.items()
                if _bears(workload, selector) == TRUE:
                    found[policy].append(workload.id)
        here = Equals(Field.SOURCE_NAMESPACE, (namespace,))
        return {policy: both([here, Equals(Field.SOURCE_WORKLOAD, tuple(ids))]) for policy, ids in found.items()}

    def _in_namespace(self, selector: Selector) -> Formula:
        if not selector.requirements:
            return Present(Field.SOURCE_NAMESPACE)
        selected = [name for name, labels in self._namespaces.items() if selector(labels)]
        others = [_by_name(one) for one in selector.requirements]
        listed = _one_of(Field.SOURCE_NAMESPACE, list(self._namespaces))
        return either(
            [
                _one_of(Field.SOURCE_NAMESPACE, selected),
                both([Present(Field.SOURCE_NAMESPACE), no(listed), *others]),
            ]
        )

    def _bears(self, selector: Selector | None, namespaces: Sequence[str]) -> Formula:
        """Whether the caller's labels are so; not known of those that the inventory does not know."""
        if selector is None or not selector.requirements:
            return TRUE
        selected: list[str] = []
        others: list[str] = []
        for workload in (one for namespace in namespaces for one in self._workloads[namespace]):
            match _bears(workload, selector):
                case Constant(True):
                    selected.append(workload.id)
                case Constant(False):
                    others.append(workload.id)
                case _:
                    pass
        return either(
            [
                _one_of(Field.SOURCE_WORKLOAD, selected),
                both([no(_one_of(Field.SOURCE_WORKLOAD, others)), _CALLER_NOT_KNOWN]),
            ]
        )


class _Called:
    """Conditions on the pod that is called, of which all but address and port is known beforehand, or never."""

    def __init__(self, destination: Workload, cluster: Cluster) -> None:
        self._destination = destination
        self._namespaces = _named(cluster)

    def pods(self, selector: Selector | None) -> Formula:
        """Whether the selector selects the destination's pods."""
        return TRUE if selector is None else _bears(self._destination, selector)

    def any_of(self, rule: Rule, own: str) -> Formula:
        """Whether the destination is one of the rule's peers; `own` is the policy's namespace."""
        return either([self._peer(peer, own) for peer in rule.peers]) if rule.peers else TRUE

    def _peer(self, peer: Peer, own: str) -> Formula:
        if peer.block:
            return _in_block(Field.DESTINATION_IP, peer.block)
        namespace = self._destination.namespace
        where = (
            Constant(namespace == own)
            if peer.namespaces is None
            else _selected(peer.namespaces, namespace, self._namespaces)
        )
        return both([where, self.pods(peer.pods)])

    def ports(self, rule: Rule) -> Formula:
        """Whether the port is one of the rule's. Recorded calls are TCP, so others never match."""
        if not rule.ports:
            return TRUE
        ports = [one for one in rule.ports if one.protocol == "TCP"]
        ranges = [(one.low, one.high) for one in ports if not one.name]
        if _ALL_PORTS in ranges:
            return TRUE
        numbered = Ports(Field.DESTINATION_PORT, tuple(ranges)) if ranges else FALSE
        return either([numbered, *(self._named(one) for one in ports if one.name)])

    def _named(self, port: Port) -> Formula:
        numbers = self._destination.ports.get(port.name, ())
        found = Ports(Field.DESTINATION_PORT, tuple((number, number) for number in numbers))
        if not numbers:
            # Where no port has a name, the inventory may not have been told of ports.
            return FALSE if self._destination.ports else _NOT_KNOWN
        # Pods that differ: which of them was called is not known.
        return found if len(numbers) == 1 else both([found, _NOT_KNOWN])


def _named(cluster: Cluster) -> dict[str, Labels]:
    return {name: {**labels, NAME_LABEL: name} for name, labels in cluster.namespaces.items()}


def _selected(selector: Selector, name: str, namespaces: dict[str, Labels]) -> Formula:
    """Whether a selector selects a namespace; of those that the inventory does not know, the name is known."""
    if name in namespaces:
        return Constant(selector(namespaces[name]))
    return both(
        [
            Constant(one.holds({NAME_LABEL: name})) if one.key == NAME_LABEL else _NOT_KNOWN
            for one in selector.requirements
        ]
    )


def _by_name(one: Requirement) -> Formula:
    """A requirement on a namespace that the inventory does not know."""
    if one.key != NAME_LABEL:
        return _CALLER_NOT_KNOWN
    match one.operator:
        case "In":
            return Equals(Field.SOURCE_NAMESPACE, one.values)
        case "NotIn":
            return no(Equals(Field.SOURCE_NAMESPACE, one.values))
        case "Exists":
            return TRUE
        case _:
            return FALSE


def _bears(workload: Workload, selector: Selector) -> Formula:
    if not selector.requirements:
        return TRUE
    selected = workload.selected(selector)
    return _NOT_KNOWN if selected is None else Constant(selected)


def _in_block(field: Field, block: Block) -> Formula:
    inside = Within(field, (block.network,))
    return both([inside, no(Within(field, block.exceptions))]) if block.exceptions else inside


def _one_of(field: Field, texts: Sequence[str]) -> Formula:
    return Equals(field, tuple(texts)) if texts else FALSE
