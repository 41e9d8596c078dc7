"""What NetworkPolicies decide about one call, slowly and plainly: the measure that compiled expressions are held to.

Written from the description. What is not known is tried both ways: the verdict is known where all ways give the same.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

from analyzers.policy.decision import Call, Decision
from analyzers.policy.kleene import Truth, all_of, any_of, opposite
from analyzers.policy.kubernetes.model import Block, NetworkPolicy, Peer, Port, Rule
from analyzers.policy.selectors import Selector
from analyzers.policy.workloads import Cluster, Labels, Workload

_NAME = "kubernetes.io/metadata.name"


class _Judged(NamedTuple):
    """A policy that isolates at one end of the call, for certain or perhaps, and what each of its rules says."""

    policy: NetworkPolicy
    isolates: Truth
    rules: list[Truth]


def decide(documents: Sequence[NetworkPolicy], destination: Workload, cluster: Cluster, call: Call) -> Decision:
    """Judge `call`, which arrived at `destination`."""
    into = [
        _Judged(
            one,
            _isolates_destination(one, destination),
            [_lets_in(rule, one, destination, cluster, call) for rule in one.ingress],
        )
        for one in documents
        if one.ingress is not None
    ]
    out_of = [
        _Judged(
            one,
            _isolates_caller(one, cluster, call),
            [_lets_out(rule, one, destination, cluster, call) for rule in one.egress],
        )
        for one in documents
        if one.egress is not None
    ]
    ends = [[one for one in end if one.isolates is not False] for end in (into, out_of)]
    denied = [_denied(end) for end in ends]
    for end, truth in zip(ends, denied, strict=True):
        if truth is True:
            # One that only may isolate would make it two.
            named = end[0].policy.id if len(end) == 1 and end[0].isolates is True else None
            return Decision("deny", named, None if named is None else "")
    if None in denied:
        return Decision("unknown")
    for end, direction in zip(ends, ("ingress", "egress"), strict=True):
        for one in end:
            for number, truth in enumerate(one.rules):
                if one.isolates and truth:
                    return Decision("allow", one.policy.id, f"{direction}[{number}]")
    return Decision("allow")


def _denied(judged: list[_Judged]) -> Truth:
    """Isolated, and no rule of those that isolate lets it pass."""
    ways = [product(_ways(one.isolates), _ways(any_of(one.rules))) for one in judged]
    found: set[bool] = set()
    for world in product(*ways):
        isolated = any(isolates for isolates, _ in world)
        passes = any(isolates and matches for isolates, matches in world)
        found.add(isolated and not passes)
    return found.pop() if len(found) == 1 else None


def _ways(truth: Truth) -> tuple[bool, ...]:
    return (True, False) if truth is None else (truth,)


def _isolates_destination(policy: NetworkPolicy, destination: Workload) -> Truth:
    return policy.namespace == destination.namespace and _pods_are(policy.pods, destination)


def _isolates_caller(policy: NetworkPolicy, cluster: Cluster, call: Call) -> Truth:
    return _caller_is(Peer(pods=policy.pods), policy.namespace, cluster, call)


def _lets_in(rule: Rule, policy: NetworkPolicy, destination: Workload, cluster: Cluster, call: Call) -> Truth:
    peers = [
        _in_block(call.get("source_ip"), peer.block)
        if peer.block
        else _caller_is(peer, policy.namespace, cluster, call)
        for peer in rule.peers
    ]
    return all_of([any_of(peers) if peers else True, _at_port(rule, destination, call)])


def _lets_out(rule: Rule, policy: NetworkPolicy, destination: Workload, cluster: Cluster, call: Call) -> Truth:
    peers = [
        _in_block(call.get("destination_ip"), peer.block)
        if peer.block
        else _destination_is(peer, policy.namespace, destination, cluster)
        for peer in rule.peers
    ]
    return all_of([any_of(peers) if peers else True, _at_port(rule, destination, call)])


def _destination_is(peer: Peer, own: str, destination: Workload, cluster: Cluster) -> Truth:
    return all_of(
        [
            _namespace_is(peer.namespaces, own, destination.namespace, cluster),
            True if peer.pods is None else _pods_are(peer.pods, destination),
        ]
    )


def _caller_is(peer: Peer, own: str, cluster: Cluster, call: Call) -> Truth:
    """`source_namespace` and `source_workload` are both empty of callers that are known to be no pod."""
    namespace, name = call.get("source_namespace"), call.get("source_workload")
    if namespace == "":
        return False
    if namespace is None:
        # Some pod, or none: nothing holds for certain of it.
        here: Truth = False if peer.namespaces is not None and _selects_nothing(peer.namespaces) else None
    else:
        here = _namespace_is(peer.namespaces, own, namespace, cluster)
    if peer.pods is None or not peer.pods.requirements:
        return here
    workload = cluster.workloads.get((namespace, name)) if namespace and name else None
    return all_of([here, None if workload is None else _pods_are(peer.pods, workload)])


def _selects_nothing(selector: Selector) -> bool:
    return any(one.key == _NAME and one.operator == "DoesNotExist" for one in selector.requirements)


def _namespace_is(selector: Selector | None, own: str, namespace: str, cluster: Cluster) -> Truth:
    if selector is None:
        return namespace == own
    labels = cluster.namespaces.get(namespace)
    if labels is not None:
        return selector({**labels, _NAME: namespace})
    known: Labels = {_NAME: namespace}
    return all_of(one.holds(known) if one.key in known else None for one in selector.requirements)


def _pods_are(selector: Selector, workload: Workload) -> Truth:
    if not selector.requirements:
        return True
    found = {selector(labels) for labels in workload.labels}
    return None if len(found) != 1 else True in found


def _at_port(rule: Rule, destination: Workload, call: Call) -> Truth:
    if not rule.ports:
        return True
    return any_of(_port_is(port, destination, call.get("destination_port")) for port in rule.ports)


def _port_is(port: Port, destination: Workload, number: int | None) -> Truth:
    if port.protocol != "TCP":
        return False
    if not port.name:
        if (port.low, port.high) == (1, 65535):
            return True
        return None if number is None else port.low <= number <= port.high
    if not destination.ports:
        return None
    numbers = destination.ports.get(port.name)
    if not numbers:
        return False
    if number is not None and number not in numbers:
        return False
    return True if number is not None and len(numbers) == 1 else None


def _in_block(address: str | None, block: Block) -> Truth:
    if address is None:
        return None
    found = ipaddress.ip_address(address)
    inside = [found in network for network in (block.network, *block.exceptions)]
    return all_of([inside[0], opposite(any_of(inside[1:]))])
