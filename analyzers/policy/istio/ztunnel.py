"""Istio's policies of one workload → a program, as its node's ztunnel judges: other rules than Envoy's.

A ztunnel knows addresses, ports and the caller's certificate, nothing else. Whatever else a policy asks for takes an
ALLOW rule away. Of a DENY rule it is left out, and a source, operation or condition of which nothing remains matches
nobody: a rule with such a clause never fires, and one of which a part remains hits more than it says.

Source: Istio, pilot/pkg/serviceregistry/ambient/authorization.go; ztunnel, src/rbac.rs, src/state.rs, src/identity.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence

from analyzers.policy.formula import (
    FALSE,
    TRUE,
    Constant,
    Equals,
    Field,
    Formula,
    Matches,
    Ports,
    Prefix,
    Present,
    Program,
    Step,
    Unknown,
    Within,
    both,
    either,
    no,
)
from analyzers.policy.istio.model import AuthorizationPolicy, Matchers, Mesh, Rule, When, positive
from analyzers.policy.istio.peer_authentication import PeerAuthentication, strict
from analyzers.policy.regexes import quoted
from analyzers.policy.workloads import Workload

SPIFFE = "spiffe://"
_L7 = frozenset({"requestPrincipals", "remoteIpBlocks", "hosts", "methods", "paths"})
"""Fields that ztunnel does not know, and that istiod tells apart from those that it forgets (`trustDomains`)."""
_KEYS: Mapping[str, str] = {
    "source.principal": "principals",
    "source.namespace": "namespaces",
    "source.ip": "ipBlocks",
    "destination.ip": "destinationIps",
    "destination.port": "ports",
}
"""Keys of `when` that ztunnel knows → the field that they are."""


def program(
    policies: Sequence[AuthorizationPolicy],
    workload: Workload,
    mesh: Mesh,
    peers: Sequence[PeerAuthentication] = (),
) -> Program:
    """What decides about connections that arrive at `workload`.

    Args:
        policies: of all namespaces; those that are not sent to ztunnels are left out here.
        workload: where calls arrive.
        mesh: its root namespace counts; its trust domains do not.
        peers: where they are STRICT, whoever shows no certificate is denied.
    """
    nobody = no(Present(Field.PRINCIPAL))
    steps = [Step(False, both([one.when, nobody]), one.by, "mtls") for one in strict(peers, workload, mesh)]
    restricted: list[Formula] = []
    for action in ("DENY", "ALLOW"):
        for policy in policies:
            # Others are refused; dry-run is behind a feature flag, and what has a target is for waypoints.
            if policy.action != action or policy.dry_run or policy.targets:
                continue
            applies = _applies(policy, workload, mesh)
            if action == "ALLOW":
                restricted.append(applies)
            for number, rule in enumerate(policy.rules):
                when = both([applies, _rule(rule, policy)])
                if when != FALSE:
                    steps.append(Step(action == "ALLOW", when, policy.id, str(number)))
    if (any_allow := either(restricted)) != FALSE:
        steps.append(Step(False, any_allow, "", ""))
    return Program(tuple(steps), True)


def _applies(policy: AuthorizationPolicy, workload: Workload, mesh: Mesh) -> Formula:
    if policy.namespace not in (mesh.root_namespace, workload.namespace):
        return FALSE
    if not policy.selector:
        return TRUE
    selected = workload.selected(lambda labels: policy.selector.items() <= labels.items())
    return Unknown(Field.LABELS) if selected is None else Constant(selected)


def _rule(rule: Rule, policy: AuthorizationPolicy) -> Formula:
    if policy.action == "ALLOW" and _has_l7(rule):
        return FALSE
    clauses: list[Formula] = []
    if rule.operations:
        clauses.append(either([_match(one, policy) for one in rule.operations]))
    if rule.sources:
        clauses.append(either([_match(one, policy) for one in rule.sources]))
    clauses.extend(_match(_of_key(one), policy) for one in rule.when)
    return both(clauses)


def _has_l7(rule: Rule) -> bool:
    # A condition that ztunnel does not know matches nobody, here as there.
    return any(positive(name)[0] in _L7 for one in (*rule.sources, *rule.operations) for name in one)


def _of_key(when: When) -> Matchers:
    """A condition as the fields of a source; none where ztunnel does not know its key."""
    name = _KEYS.get(when.key)
    if name is None:
        return {}
    found = {name: when.values, f"not{name[0].upper()}{name[1:]}": when.not_values}
    return {field: values for field, values in found.items() if values}


def _match(matchers: Matchers, policy: AuthorizationPolicy) -> Formula:
    """All the fields that ztunnel knows; where that is none, nobody."""
    parts: list[Formula] = []
    for name, values in matchers.items():
        bare, wanted = positive(name)
        read = _READERS.get(bare)
        if read is not None:
            found = either([read(text, policy) for text in values])
            parts.append(found if wanted else no(found))
    return both(parts) if parts else FALSE


def _principal(text: str, policy: AuthorizationPolicy) -> Formula:
    del policy
    if text == "*":
        return Present(Field.PRINCIPAL)
    if text.startswith("*"):
        return Matches(Field.PRINCIPAL, f"{SPIFFE}(?s:.*){quoted(text[1:])}")
    if text.endswith("*"):
        return Prefix(Field.PRINCIPAL, SPIFFE + text[:-1])
    return Equals(Field.PRINCIPAL, (SPIFFE + text,))


def _namespace(text: str, policy: AuthorizationPolicy) -> Formula:
    del policy
    if text == "*":
        return _identity("[^/]+", "[^/]*")
    if "/" in text:
        return FALSE  # no identity has such a namespace
    if text.startswith("*"):
        return _identity(f"[^/]*{quoted(text[1:])}", "[^/]*")
    if text.endswith("*"):
        return _identity(f"{quoted(text[:-1])}[^/]*", "[^/]*")
    return _identity(quoted(text), "[^/]*")


def _service_account(text: str, policy: AuthorizationPolicy) -> Formula:
    namespace, slash, account = text.partition("/")
    if not slash:
        namespace, account = policy.namespace, text
    return _identity(quoted(namespace), quoted(account))


def _identity(namespace: str, account: str) -> Formula:
    """A whole SPIFFE id of Istio's form, whose parts match."""
    return Matches(Field.PRINCIPAL, f"{SPIFFE}[^/]*/ns/{namespace}/sa/{account}")


def _addresses(field: Field) -> Callable[[str, AuthorizationPolicy], Formula]:
    return lambda text, _: Within(field, (ipaddress.ip_network(text, strict=False),))


_READERS: Mapping[str, Callable[[str, AuthorizationPolicy], Formula]] = {
    "principals": _principal,
    "namespaces": _namespace,
    "serviceAccounts": _service_account,
    "ipBlocks": _addresses(Field.SOURCE_IP),
    "destinationIps": _addresses(Field.DESTINATION_IP),
    "ports": lambda text, _: Ports(Field.DESTINATION_PORT, ((int(text), int(text)),)),
}
"""Fields that ztunnel knows → the condition of one value."""
