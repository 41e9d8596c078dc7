"""Istio's documents together: peer authentication first, then the authorization of who is left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from analyzers.policy.documents import Value
from analyzers.policy.formula import (
    FALSE,
    And,
    Attribute,
    Formula,
    Not,
    Or,
    Program,
    Subject,
    Transport,
    Unknown,
    both,
    either,
    no,
    with_subjects,
)
from analyzers.policy.istio import compile, peer_authentication, ztunnel
from analyzers.policy.istio.mesh_settings import read_config_map, read_request_authentication
from analyzers.policy.istio.model import AuthorizationPolicy, Mesh, RequestAuthentication, Via
from analyzers.policy.istio.peer_authentication import PeerAuthentication, read_peer_authentication
from analyzers.policy.istio.read import read_authorization_policy
from analyzers.policy.workloads import Workload

KINDS: Mapping[tuple[str, str], Callable[[Value, str], Any]] = {
    ("security.istio.io", "AuthorizationPolicy"): read_authorization_policy,
    ("security.istio.io", "PeerAuthentication"): read_peer_authentication,
    ("security.istio.io", "RequestAuthentication"): read_request_authentication,
    ("", "ConfigMap"): read_config_map,
}

_TOKEN = "request.auth."
"""What keys of conditions on tokens begin with."""


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
    via: Via = "waypoint" if judge == "waypoint" else "sidecar"
    built = compile.program(policies, workload, mesh, transport, via)
    steps = built.steps
    tokens = [one for one in documents if isinstance(one, RequestAuthentication)]
    # Where some look at tokens, but none of this workload's, no request has any.
    if tokens and all(compile.applicable(one, workload, mesh, via) == FALSE for one in tokens if one.rules):
        steps = tuple(replace(step, when=_without_tokens(step.when)) for step in steps)
    # A gateway's own listeners say which certificates it asks for; a waypoint's clients come through the mesh.
    if judge == "sidecar":
        steps = (*peer_authentication.steps(peers, workload, mesh), *steps)
    return Program(steps, built.allows)


def _without_tokens(formula: Formula) -> Formula:
    """What it says of requests whose tokens nobody looked at: claims match nothing, else the line says."""
    match formula:
        case Not(part):
            return no(_without_tokens(part))
        case And(parts):
            return both([_without_tokens(part) for part in parts])
        case Or(parts):
            return either([_without_tokens(part) for part in parts])
        case Unknown(Attribute(key)) if key.startswith(_TOKEN):
            return FALSE
        case _:
            return with_subjects(formula, _without_token)


def _without_token(subject: Subject) -> Subject:
    if isinstance(subject, Attribute) and subject.key.startswith(_TOKEN):
        return replace(subject, absent=True)
    return subject
