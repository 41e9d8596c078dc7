"""What was seen → Linkerd's policies: a Server for each port, its routes, and who may use them.

Where a Server has routes, whatever matches none of them is turned away, the kubelet's probes too. Connections are
allowed at the Server: who may connect there may use its routes, should it have some.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from analyzers.policy.linkerd.read_routes import MAX_PATH, METHODS
from analyzers.policy.suggest.grants import Operation, alike
from analyzers.policy.suggest.observed import Seen
from analyzers.policy.suggest.paths import Path
from analyzers.policy.suggest.regexes import regex
from analyzers.policy.suggest.targets import Reason, Target

GROUP = "policy.linkerd.io"
_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_SPIFFE = re.compile(r"spiffe://[a-z0-9._-]+(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]+)*")
_MATCHES = 64
"""Of a route's rule, as the API server has it."""


def usable(seen: Seen) -> Reason | None:
    """Why no policy can be made of these calls; None = one can."""
    if not seen.principal:
        return "plaintext" if seen.nameless == "plaintext" else "no_identity"
    if not (_NAME.fullmatch(seen.principal) or _SPIFFE.fullmatch(seen.principal)):
        return "foreign_identity"
    if not seen.port:
        return "port_not_logged"
    if seen.is_tcp:
        return None
    if not seen.method or not seen.operation:
        return "not_logged"
    if seen.method not in METHODS:
        return "method"
    return None if any(_writable(path) for path in seen.paths) else "path"


def documents(target: Target) -> Sequence[dict[str, Any]]:
    """The policies of a destination; ports where nothing was in order let nobody in."""
    connections: dict[int, set[str]] = defaultdict(set)
    requests: dict[int, dict[Operation, set[str]]] = defaultdict(lambda: defaultdict(set))
    for one in target.learnt:
        if one.is_tcp:
            connections[one.port].add(one.principal)
        for path in one.paths:
            if _writable(path):
                requests[one.port][Operation(one.port, one.method, path)].add(one.principal)
    ports = {*connections, *requests, *target.shut}
    return [document for port in sorted(ports) for document in _port(target, port, connections[port], requests[port])]


def _port(
    target: Target, port: int, connections: set[str], requests: dict[Operation, set[str]]
) -> Iterator[dict[str, Any]]:
    server = f"{target.name}-{port}"
    yield _document(
        target,
        server,
        "v1beta3",
        "Server",
        {"podSelector": {"matchLabels": target.labels}, "port": port, "accessPolicy": "deny"},
    )
    if connections:
        yield from _allowed(target, server, "Server", server, connections)
    number = 0
    # Operations that the same callers use, together.
    for operations, callers in alike(requests):
        ordered = sorted(operations, key=_order)
        for first in range(0, len(ordered), _MATCHES):
            number += 1
            part = ordered[first : first + _MATCHES]
            name = f"{server}-{number}"
            parent = {"group": GROUP, "kind": "Server", "name": server}
            matches = [_match(one) for one in part]
            rules = [{"matches": matches}]
            yield _document(target, name, "v1beta3", "HTTPRoute", {"parentRefs": [parent], "rules": rules})
            yield from _allowed(target, name, "HTTPRoute", name, callers)


def _allowed(target: Target, name: str, kind: str, to: str, callers: Iterable[str]) -> Iterator[dict[str, Any]]:
    yield _document(target, name, "v1alpha1", "MeshTLSAuthentication", {"identities": sorted(callers)})
    required = {"group": GROUP, "kind": "MeshTLSAuthentication", "name": name}
    spec = {"targetRef": {"group": GROUP, "kind": kind, "name": to}, "requiredAuthenticationRefs": [required]}
    yield _document(target, name, "v1alpha1", "AuthorizationPolicy", spec)


def _document(target: Target, name: str, version: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": target.namespace}
    return {"apiVersion": f"{GROUP}/{version}", "kind": kind, "metadata": metadata, "spec": spec}


def _match(operation: Operation) -> dict[str, Any]:
    assert operation.path is not None, "requests have one"
    exact = operation.path.exact
    kind, text = ("RegularExpression", regex(operation.path)) if exact is None else ("Exact", exact)
    return {"path": {"type": kind, "value": text}, "method": operation.method}


def _writable(path: Path) -> bool:
    return len(path.exact or regex(path)) <= MAX_PATH


def _order(operation: Operation) -> Any:
    return operation.method, operation.path.order if operation.path else ()
