"""What was seen → AuthorizationPolicies: one ALLOW policy for each destination, so that nobody else is let in.

A connection has neither method nor path: rules with those would not hold of it. Callers without an identity cannot be
named; nobody is let in on their account.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from analyzers.policy.suggest.grants import Clause, Operation, alike, clauses
from analyzers.policy.suggest.observed import Seen
from analyzers.policy.suggest.paths import Path
from analyzers.policy.suggest.targets import Reason, Target

SPIFFE = "spiffe://"
_LITERAL = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()+,;:@=]|%[0-9A-Fa-f]{2})*")
"""What may stand in a template (RFC 3986, pchar), but for the star, which is an operator there."""


def usable(seen: Seen) -> Reason | None:
    """Why no rule can be made of these calls; None = one can."""
    if not seen.principal:
        return "plaintext" if seen.nameless == "plaintext" else "no_identity"
    if principal(seen.principal) is None:
        return "foreign_identity"
    if seen.is_tcp:
        return None if seen.port else "port_not_logged"
    if not seen.method or not seen.operation:
        return "not_logged"
    if "*" in (seen.method[0], seen.method[-1]):
        return "method"
    return None if any(written(path) for path in seen.paths) else "path"


def documents(target: Target) -> Sequence[dict[str, Any]]:
    """The policy of a destination; without anything learnt it lets nobody in."""
    grants: dict[str, set[Operation]] = defaultdict(set)
    for one in target.learnt:
        caller = principal(one.principal)
        assert caller is not None, "only usable calls are learnt from"
        if one.is_tcp:
            grants[caller].add(Operation(one.port))
        else:
            grants[caller].update(Operation(one.port, one.method, path) for path in one.paths if written(path))
    rules = [
        {"from": [{"source": {"principals": list(callers)}}], "to": [_operation(one) for one in clauses(operations)]}
        for callers, operations in alike(grants)
    ]
    where: dict[str, Any] = (
        {"selector": {"matchLabels": target.labels}}
        if target.selector
        else {"targetRefs": [{"group": "", "kind": "Service", "name": target.called}]}
    )
    return [
        {
            "apiVersion": "security.istio.io/v1",
            "kind": "AuthorizationPolicy",
            "metadata": {"name": target.name, "namespace": target.namespace},
            "spec": {**where, "action": "ALLOW", **({"rules": rules} if rules else {})},
        }
    ]


def _operation(clause: Clause) -> dict[str, Any]:
    found = {
        "ports": [str(port) for port in clause.ports],
        "methods": list(clause.methods),
        "paths": [text for path in clause.paths if (text := written(path))],
    }
    return {"operation": {name: texts for name, texts in found.items() if texts}}


def principal(identity: str) -> str | None:
    """As policies name it, without `spiffe://`; None where they cannot, or would mean others with it."""
    bare = identity.removeprefix(SPIFFE)
    if bare == identity or not bare or "*" in (bare[0], bare[-1]):
        return None
    return bare


def written(path: Path) -> str | None:
    """The path or template; None where Istio would refuse it, or take it for another."""
    exact = path.exact
    if exact is not None:
        return None if set(exact) & {"{", "}"} or exact.endswith("*") else exact
    if not all(one is None or _LITERAL.fullmatch(one) for one in path.segments):
        return None
    segments = ["{*}" if one is None else one for one in path.segments]
    return "/" + "/".join([*segments, *(["{**}"] if path.rest else [])])
