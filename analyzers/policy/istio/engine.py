"""Istio's documents together: peer authentication first, then the authorization of who is left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from analyzers.policy.documents import Value
from analyzers.policy.formula import Attribute, Program, Subject, Transport, with_subjects
from analyzers.policy.istio import compile, peer_authentication, ztunnel
from analyzers.policy.istio.mesh_settings import read_config_map, read_request_authentication
from analyzers.policy.istio.model import AuthorizationPolicy, Mesh, RequestAuthentication
from analyzers.policy.istio.peer_authentication import PeerAuthentication, read_peer_authentication
from analyzers.policy.istio.read import read_authorization_policy
from analyzers.policy.workloads import Workload

KINDS: Mapping[tuple[str, str], Callable[[Value, str], Any]] = {
    ("security.istio.io", "AuthorizationPolicy"): read_authorization_policy,
    ("security.istio.io", "PeerAuthentication"): read_peer_authentication,
    ("security.istio.io", "RequestAuthentication"): read_request_authentication,
    ("", "ConfigMap"): read_config_map,
}


def program(documents: Sequence[Any], workload: Workload, transport: Transport, judge: str) -> Program:
    """What decides about calls that arrive at `workload`; without a document that applies, everybody is let in.

    Args:
        judge: whose decision it is: `sidecar`, `gateway`, `waypoint` or `ztunnel`.
    """
    mesh = next((one for one in documents if isinstance(one, Mesh)), Mesh())
    policies = [one for one in documents if isinstance(one, AuthorizationPolicy)]
    peers = [one for one in documents if isinstance(one, PeerAuthentication)]
    if judge == "ztunnel":
        return ztunnel.program(policies, workload, mesh, peers)
    built = compile.program(policies, workload, mesh, transport, "waypoint" if judge == "waypoint" else "sidecar")
    steps = built.steps
    if _takes_no_tokens([one for one in documents if isinstance(one, RequestAuthentication)], workload, mesh):
        steps = tuple(replace(step, when=with_subjects(step.when, _without_token)) for step in steps)
    # A gateway's own listeners say which certificates it asks for; a waypoint's clients come through the mesh.
    if judge == "sidecar":
        steps = (*peer_authentication.steps(peers, workload, mesh), *steps)
    return Program(steps, built.allows)


def _takes_no_tokens(documents: Sequence[RequestAuthentication], workload: Workload, mesh: Mesh) -> bool:
    """Whether documents that look at tokens were given, and none of them is for this workload."""
    return bool(documents) and all(
        one.namespace not in (mesh.root_namespace, workload.namespace)
        or (
            not one.targets
            and workload.selected(lambda labels, one=one: one.selector.items() <= labels.items()) is False
        )
        for one in documents
        if one.rules
    )


def _without_token(subject: Subject) -> Subject:
    if isinstance(subject, Attribute) and subject.key.startswith("request.auth."):
        return replace(subject, absent=True)
    return subject
