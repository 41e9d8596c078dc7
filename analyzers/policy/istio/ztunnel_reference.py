"""What a ztunnel decides about one connection, slowly and plainly: the measure that compiled expressions are held to.

Written from the description of the rules: first what istiod sends of a policy, then how ztunnel judges by that.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import NamedTuple

from analyzers.policy.decision import Call, Decision
from analyzers.policy.istio.model import AuthorizationPolicy, Matchers, Mesh, Rule
from analyzers.policy.kleene import Truth, all_of, any_of, opposite
from analyzers.policy.workloads import Workload

_SOURCE = ("principals", "namespaces", "serviceAccounts", "ipBlocks")
_OPERATION = ("ports",)
_CONDITION = {
    "source.namespace": "namespaces",
    "source.principal": "principals",
    "source.ip": "ipBlocks",
    "destination.port": "ports",
    "destination.ip": "destinationIps",
}
_L7 = ("requestPrincipals", "remoteIpBlocks", "hosts", "methods", "paths")


class _Match(NamedTuple):
    """Field → its values, and its values that must not match. Without any field it is skipped."""

    positive: dict[str, tuple[str, ...]]
    negative: dict[str, tuple[str, ...]]


_Clause = list[_Match]


class _Sent(NamedTuple):
    """A policy as ztunnel gets it: rules by their number, each all of its clauses, each any of its matches."""

    policy: AuthorizationPolicy
    rules: list[tuple[str, list[_Clause]]]


def decide(policies: Sequence[AuthorizationPolicy], workload: Workload, mesh: Mesh, call: Call) -> Decision:
    """Judge `call`, which arrived at `workload`."""
    sent = [found for one in policies if (found := _sent(one)) is not None]
    judged = [
        (
            one,
            _applies(one.policy, workload, mesh),
            number,
            all_of(_clause_matches(clause, one.policy, call) for clause in clauses),
        )
        for one in sent
        for number, clauses in one.rules
    ]
    matched = {
        action: [
            (one.policy, number, all_of([applies, truth]))
            for one, applies, number, truth in judged
            if one.policy.action == action
        ]
        for action in ("DENY", "ALLOW")
    }
    for policy, number, truth in matched["DENY"]:
        if truth is True:
            return Decision("deny", policy.id, number)
    denied = any_of(truth for _, _, truth in matched["DENY"])
    restricted = any_of(_applies(one.policy, workload, mesh) for one in sent if one.policy.action == "ALLOW")
    allowed = any_of([*(truth for _, _, truth in matched["ALLOW"]), opposite(restricted)])
    if allowed is False:
        return Decision("deny")
    if denied is None or allowed is None:
        return Decision("unknown")
    for policy, number, truth in matched["ALLOW"]:
        if truth is True:
            return Decision("allow", policy.id, number)
    return Decision("allow")


def _sent(policy: AuthorizationPolicy) -> _Sent | None:
    if policy.action not in ("ALLOW", "DENY") or policy.dry_run or policy.targets:
        return None
    rules = [
        (str(number), _clauses(rule))
        for number, rule in enumerate(policy.rules)
        if not (policy.action == "ALLOW" and _asks_for_requests(rule))
    ]
    return _Sent(policy, rules)


def _asks_for_requests(rule: Rule) -> bool:
    negative = tuple(f"not{name[0].upper()}{name[1:]}" for name in _L7)
    fields = [name for one in (*rule.sources, *rule.operations) for name in one]
    return any(name in (*_L7, *negative) for name in fields) or any(one.key not in _CONDITION for one in rule.when)


def _clauses(rule: Rule) -> list[_Clause]:
    found: list[_Clause] = []
    if rule.operations:
        found.append([_kept(one, _OPERATION) for one in rule.operations])
    if rule.sources:
        found.append([_kept(one, _SOURCE) for one in rule.sources])
    for when in rule.when:
        name = _CONDITION.get(when.key, "")
        positive = {name: when.values} if name and when.values else {}
        negative = {name: when.not_values} if name and when.not_values else {}
        found.append([_Match(positive, negative)])
    return found


def _kept(matchers: Matchers, names: tuple[str, ...]) -> _Match:
    negative = {f"not{name[0].upper()}{name[1:]}": name for name in names}
    return _Match(
        {name: values for name, values in matchers.items() if name in names},
        {negative[name]: values for name, values in matchers.items() if name in negative},
    )


def _applies(policy: AuthorizationPolicy, workload: Workload, mesh: Mesh) -> Truth:
    if policy.namespace != mesh.root_namespace and policy.namespace != workload.namespace:
        return False
    if not policy.selector:
        return True
    found = {all(labels.get(name) == text for name, text in policy.selector.items()) for labels in workload.labels}
    return None if len(found) != 1 else True in found


def _clause_matches(clause: _Clause, policy: AuthorizationPolicy, call: Call) -> Truth:
    return any_of(_matches(match, policy, call) for match in clause if match.positive or match.negative)


def _matches(match: _Match, policy: AuthorizationPolicy, call: Call) -> Truth:
    return all_of(
        [
            *(
                any_of(_value_is(name, text, policy, call) for text in values)
                for name, values in match.positive.items()
            ),
            *(
                opposite(any_of(_value_is(name, text, policy, call) for text in values))
                for name, values in match.negative.items()
            ),
        ]
    )


def _value_is(name: str, text: str, policy: AuthorizationPolicy, call: Call) -> Truth:
    if name == "ipBlocks":
        return _in_network(call.get("source_ip"), text)
    if name == "destinationIps":
        return _in_network(call.get("destination_ip"), text)
    if name == "ports":
        port = call.get("destination_port")
        return None if port is None else port == int(text)
    return _peer_is(name, text, policy, call)


def _in_network(address: str | None, text: str) -> Truth:
    return None if address is None else ipaddress.ip_address(address) in ipaddress.ip_network(text, strict=False)


def _peer_is(name: str, text: str, policy: AuthorizationPolicy, call: Call) -> Truth:
    principal, tls = call.get("source_principal"), call.get("tls")
    if name == "principals" and text == "*" and tls == "mtls":
        return True  # somebody showed a certificate, whoever it is
    if name == "namespaces" and text != "*" and "/" in text:
        return False
    if tls == "plaintext":
        principal = ""
    elif principal is None or (principal == "" and tls == "mtls"):
        return None
    if name == "principals":
        return _principal_is(principal, text)
    namespace, account = _identity(principal)
    if name == "namespaces":
        return _text_is(namespace, text)
    wanted = text.split("/") if "/" in text else [policy.namespace, text]
    return _identity(principal) != ("", "") and [namespace, account] == wanted


def _principal_is(principal: str, text: str) -> bool:
    if text == "*":
        return principal != ""
    return principal.startswith("spiffe://") and _text_is(principal[len("spiffe://") :], text)


def _identity(principal: str) -> tuple[str, str]:
    """Namespace and service account; both empty where it is no identity of Istio's."""
    if not principal.startswith("spiffe://"):
        return "", ""
    parts = principal[len("spiffe://") :].split("/")
    if len(parts) != 5 or parts[1] != "ns" or parts[3] != "sa":
        return "", ""
    return parts[2], parts[4]


def _text_is(found: str, text: str) -> bool:
    if text == "*":
        return found != ""
    if text[0] == "*":
        return found.endswith(text[1:])
    if text[-1] == "*":
        return found.startswith(text[:-1])
    return found == text
