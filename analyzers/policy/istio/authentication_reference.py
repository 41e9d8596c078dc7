"""All of Istio's documents over one call, slowly and plainly: the measure that the engine's programs are held to.

Who must show a certificate, whose tokens are looked at, and then the plain evaluators of policies.

Written from the description of the rules, port by port and case by case, without the compiler's formulas. Labels that
are not known may be any: every case is gone through.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from analyzers.policy.decision import Call, Decision
from analyzers.policy.istio import reference, ztunnel_reference
from analyzers.policy.istio.model import AuthorizationPolicy, Mesh, RequestAuthentication, Via
from analyzers.policy.istio.peer_authentication import PeerAuthentication
from analyzers.policy.kleene import Truth, all_of
from analyzers.policy.workloads import Workload

_TOKEN = ("request.auth.principal", "request.auth.audiences", "request.auth.presenter")


def decide(documents: Sequence[Any], workload: Workload, call: Call, judge: str = "sidecar") -> Decision:
    """Judge `call`, which arrived at `workload`, by documents of all kinds.

    Args:
        judge: `sidecar`, `gateway`, `waypoint` or `ztunnel`.
    """
    meshes = [one for one in documents if isinstance(one, Mesh)]
    mesh = meshes[0] if meshes else Mesh()
    policies = [one for one in documents if isinstance(one, AuthorizationPolicy)]
    peers = [one for one in documents if isinstance(one, PeerAuthentication)]
    if judge == "ztunnel":
        rest = ztunnel_reference.decide(policies, workload, mesh, call)
        bare = _is_nobody(call)
    else:
        via: Via = "waypoint" if judge == "waypoint" else "sidecar"
        tokens = [one for one in documents if isinstance(one, RequestAuthentication)]
        rest = reference.decide(*_without_tokens(tokens, policies, workload, mesh, call, via), via)
        bare = _shows_nothing(call)
    if judge in ("gateway", "waypoint"):
        return rest
    required, by = mtls_required(peers, workload, mesh, call.get("destination_port"))
    turned_away = all_of([required, bare])
    if turned_away is True:
        return Decision("deny", by, "mtls")
    return Decision("unknown") if turned_away is None and rest.verdict != "deny" else rest


def _shows_nothing(call: Call) -> Truth:
    """Whether the caller came without a certificate, as Envoy sees it."""
    tls, principal = call.get("tls"), call.get("source_principal")
    if tls == "plaintext":
        return True
    if tls == "mtls" or principal:
        return False
    return True if tls == "tls" else None


def _is_nobody(call: Call) -> Truth:
    """Whether the caller came without an identity, as ztunnel sees it."""
    tls, principal = call.get("tls"), call.get("source_principal")
    if tls == "plaintext":
        return True
    if tls == "mtls":
        return False
    return None if principal is None else principal == ""


def mtls_required(
    documents: Sequence[PeerAuthentication], workload: Workload, mesh: Mesh, port: int | None
) -> tuple[Truth, str | None]:
    """Whether the port takes certificates only, and which document says so where it surely does.

    Args:
        port: None = not known.
    """
    levels = [_oldest_first(level) for level in _levels(documents, workload, mesh)]
    own = [(one, _selects(one, workload)) for one in levels[0]]
    own = [(one, selects) for one, selects in own if selects is not False]
    above = next((level[0] for level in levels[1:] if level and level[0].mode != "UNSET"), None)
    ports = [port] if port is not None else [*{number for one, _ in own for number in one.ports}, 0]
    cases = [
        _mode(next((one for (one, _), chosen in zip(own, choice, strict=True) if chosen), None), above, number)[0]
        for number in ports
        for choice in product(*([True] if selects else [True, False] for _, selects in own))
    ]
    strict = {mode == "STRICT" for mode in cases}
    if strict != {True}:
        return (None if True in strict else False), None
    # Which document it is: the first that surely is the workload's, of whichever port it is.
    sure = next((one for one, selects in own if selects), None)
    return True, _mode(sure, above, port if port is not None else 0)[1]


def _levels(
    documents: Sequence[PeerAuthentication], workload: Workload, mesh: Mesh
) -> tuple[list[PeerAuthentication], ...]:
    """The workload's own, its namespace's, the mesh's."""
    in_root = workload.namespace == mesh.root_namespace
    near = [one for one in documents if one.namespace == workload.namespace]
    return (
        [one for one in near if one.selector and not in_root],
        [one for one in near if not one.selector],
        [one for one in documents if one.namespace == mesh.root_namespace and not one.selector],
    )


def _oldest_first(documents: Sequence[PeerAuthentication]) -> list[PeerAuthentication]:
    dated = sorted((one for one in documents if one.created), key=lambda one: (one.created, one.name))
    return dated + sorted((one for one in documents if not one.created), key=lambda one: one.name)


def _selects(one: PeerAuthentication, workload: Workload) -> Truth:
    found = [all(labels.get(name) == text for name, text in one.selector.items()) for labels in workload.labels]
    return None if not found or len(set(found)) > 1 else found[0]


def _mode(one: PeerAuthentication | None, above: PeerAuthentication | None, port: int) -> tuple[str, str | None]:
    """The mode of a port, and whose word it is."""
    if one is not None and one.ports.get(port, "UNSET") != "UNSET":
        return one.ports[port], one.id
    if one is not None and one.mode != "UNSET":
        return one.mode, one.id
    return (above.mode, above.id) if above is not None else ("PERMISSIVE", None)


def _without_tokens(
    tokens: Sequence[RequestAuthentication],
    policies: Sequence[AuthorizationPolicy],
    workload: Workload,
    mesh: Mesh,
    call: Call,
    via: Via,
) -> tuple[Sequence[AuthorizationPolicy], Workload, Mesh, Call]:
    """What is judged: where tokens are looked at elsewhere, but not here, requests have none that is not logged."""
    looked_at = [one for one in tokens if one.rules and reference.applies(one, workload, mesh, via) is not False]
    if not tokens or looked_at:
        return policies, workload, mesh, call
    attributes: Mapping[str, str] = dict.fromkeys(_TOKEN, "") | call["attributes"]
    return policies, workload, mesh, {**call, "attributes": attributes, "tokens": False}
