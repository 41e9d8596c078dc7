"""What was seen → TrafficTargets of SMI, with their routes, as Open Service Mesh enforces them.

Ports and routes are not paired there: who may call several may call each route at each port. Where permissive mode is
on, none of it counts.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from analyzers.policy.smi.read import METHODS
from analyzers.policy.suggest.grants import Operation, alike
from analyzers.policy.suggest.observed import Seen
from analyzers.policy.suggest.regexes import regex
from analyzers.policy.suggest.targets import Reason, Target
from analyzers.policy.workloads import Cluster

NOT_PERMISSIVE = {
    "apiVersion": "config.openservicemesh.io/v1alpha2",
    "kind": "MeshConfig",
    "metadata": {"name": "osm-mesh-config", "namespace": "osm-system"},
    "spec": {"traffic": {"enablePermissiveTrafficPolicyMode": False}},
}
_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_IDENTITY = re.compile(rf"(?P<name>{_LABEL}(?:\.{_LABEL})*?)\.(?P<namespace>{_LABEL})\.cluster\.local")
_ACCOUNT = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


def usable(seen: Seen, cluster: Cluster) -> Reason | None:
    """Why no target can be made of these calls; None = one can."""
    if seen.nameless == "plaintext":
        return "plaintext"
    if _caller(seen, cluster) is None:
        return "foreign_identity" if seen.principal else "caller_not_known"
    if seen.is_tcp:
        return None if seen.port else "port_not_logged"
    if not seen.method or not seen.operation:
        return "not_logged"
    if seen.method not in METHODS or seen.method == "*":
        return "method"
    return None if seen.paths else "path"


def documents(target: Target, cluster: Cluster) -> Sequence[dict[str, Any]]:
    """The targets of a service account and their routes; without anything learnt none, which lets nobody in."""
    grants: dict[tuple[str, str], set[Operation]] = defaultdict(set)
    for one in target.learnt:
        caller = _caller(one, cluster)
        assert caller is not None, "only usable calls are learnt from"
        if one.is_tcp:
            grants[caller].add(Operation(one.port))
        grants[caller].update(Operation(one.port, one.method, path) for path in one.paths)
    return [
        document
        for number, (callers, operations) in enumerate(alike(grants), 1)
        for document in _target(target, f"{target.name}-{number}", callers, operations)
    ]


def _target(
    target: Target, name: str, callers: Sequence[tuple[str, str]], operations: frozenset[Operation]
) -> Iterator[dict[str, Any]]:
    metadata = {"name": name, "namespace": target.namespace}
    requests = {(one.method, regex(one.path)) for one in operations if one.path}
    ports = sorted({one.port for one in operations})
    rules: list[dict[str, Any]] = []
    if requests:
        # One route for each method and path: equal ones of several targets are one route with all their callers.
        matches = [
            {"name": f"m{number}", "methods": [method], "pathRegex": path}
            for number, (method, path) in enumerate(sorted(requests), 1)
        ]
        rules.append({"kind": "HTTPRouteGroup", "name": name, "matches": [match["name"] for match in matches]})
        yield _document("specs.smi-spec.io/v1alpha4", "HTTPRouteGroup", metadata, {"matches": matches})
    if 0 not in ports:
        rules.append({"kind": "TCPRoute", "name": name})
        yield _document("specs.smi-spec.io/v1alpha4", "TCPRoute", metadata, {"matches": {"ports": ports}})
    yield _document(
        "access.smi-spec.io/v1alpha3",
        "TrafficTarget",
        metadata,
        {
            "destination": _account(target.namespace, target.called),
            "sources": [_account(namespace, account) for namespace, account in callers],
            "rules": rules,
        },
    )


def _document(version: str, kind: str, metadata: dict[str, str], spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": dict(metadata), "spec": spec}


def _account(namespace: str, name: str) -> dict[str, str]:
    return {"kind": "ServiceAccount", "name": name, "namespace": namespace}


def _caller(seen: Seen, cluster: Cluster) -> tuple[str, str] | None:
    """Namespace and service account of the caller: as its certificate says, else of the workload that it is."""
    if seen.principal:
        found = _IDENTITY.fullmatch(seen.principal)
        return (found["namespace"], found["name"]) if found else None
    namespace, _, name = seen.caller.partition("/")
    workload = cluster.workloads.get((namespace, name))
    if workload is None or len(workload.accounts) != 1 or not _ACCOUNT.fullmatch(workload.accounts[0]):
        return None
    return namespace, workload.accounts[0]
