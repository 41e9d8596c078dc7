"""What was seen → ServiceIntentions of Consul: whom a service lets in, and nobody else whatever the default policy is.

Intentions know no ports. A service whose calls are requests must be `http` in its service-defaults: permissions of
connections refuse everything.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from analyzers.policy.consul.read import METHODS
from analyzers.policy.suggest.grants import Operation, clauses
from analyzers.policy.suggest.observed import Seen
from analyzers.policy.suggest.paths import Path
from analyzers.policy.suggest.regexes import regex
from analyzers.policy.suggest.targets import Reason, Target

_NAME = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,62}[A-Za-z0-9])?"
_IDENTITY = re.compile(
    rf"spiffe://[^/]+(?:/ap/(?P<partition>{_NAME}))?/ns/(?P<namespace>{_NAME})/dc/[^/]+/svc/(?P<name>{_NAME})"
)
_DEFAULT = "default"
_EVERYTHING = "/"


class _Caller(NamedTuple):
    name: str
    namespace: str
    partition: str


def usable(seen: Seen) -> Reason | None:
    """Why no intention can be made of these calls; None = one can."""
    if not seen.principal:
        return "plaintext" if seen.nameless == "plaintext" else "no_identity"
    if _caller(seen.principal) is None:
        return "foreign_identity"
    if seen.is_tcp:
        return None
    if not seen.method or not seen.operation:
        return "not_logged"
    if seen.method not in METHODS:
        return "method"
    return None if seen.paths else "path"


def documents(target: Target) -> Sequence[dict[str, Any]]:
    """The intentions of a service; everybody who is not among them is refused."""
    grants: dict[_Caller, set[Operation]] = defaultdict(set)
    connections: set[_Caller] = set()
    for one in target.learnt:
        caller = _caller(one.principal)
        assert caller is not None, "only usable calls are learnt from"
        if one.is_tcp:
            connections.add(caller)
        grants[caller].update(Operation(0, one.method, path) for path in one.paths)
    sources = [
        _named(caller)
        | ({"action": "allow"} if caller in connections else {"permissions": _permissions(grants[caller])})
        for caller in sorted(grants)
    ]
    return [
        {
            "apiVersion": "consul.hashicorp.com/v1alpha1",
            "kind": "ServiceIntentions",
            "metadata": {"name": target.name, "namespace": target.namespace},
            "spec": {
                "destination": {"name": target.called},
                "sources": [*sources, {"name": "*", "action": "deny"}],
            },
        }
    ]


def _permissions(operations: set[Operation]) -> list[dict[str, Any]]:
    allowed = [
        {"action": "allow", "http": {**_path(path), "methods": list(clause.methods)}}
        for clause in clauses(operations)
        for path in clause.paths
    ]
    return [*allowed, {"action": "deny", "http": {"pathPrefix": _EVERYTHING}}]


def _path(path: Path) -> dict[str, str]:
    return {"pathRegex": regex(path)} if path.exact is None else {"pathExact": path.exact}


def _named(caller: _Caller) -> dict[str, Any]:
    parts = {"namespace": caller.namespace, "partition": caller.partition}
    return {"name": caller.name} | {name: text for name, text in parts.items() if text != _DEFAULT}


def _caller(identity: str) -> _Caller | None:
    """The service that an identity names; whichever datacenter it is in."""
    found = _IDENTITY.fullmatch(identity)
    return _Caller(found["name"], found["namespace"], found["partition"] or _DEFAULT) if found else None
