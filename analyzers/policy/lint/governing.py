"""Which documents say who may call a workload; None where its labels or accounts are not known well enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from analyzers.policy.consul.model import ANY, ServiceIntentions
from analyzers.policy.formula import FALSE, TRUE, Formula
from analyzers.policy.istio.compile import applicable
from analyzers.policy.istio.model import AuthorizationPolicy, Mesh
from analyzers.policy.kleene import Truth, any_of
from analyzers.policy.kubernetes.model import NetworkPolicy
from analyzers.policy.linkerd.model import Server
from analyzers.policy.smi.model import TrafficTarget
from analyzers.policy.workloads import Workload


def governs(model: Any, workload: Workload, mesh: Mesh) -> Truth:
    """Whether a document says who may call the workload; those that only help others, or decide nothing, do not."""
    found = _GOVERNS.get(type(model))
    return found(model, workload, mesh) if found else False


def _istio(policy: AuthorizationPolicy, workload: Workload, mesh: Mesh) -> Truth:
    if policy.dry_run or policy.action == "AUDIT":
        return False
    return any_of(_truth(applicable(policy, workload, mesh, via)) for via in ("sidecar", "waypoint"))


def _truth(formula: Formula) -> Truth:
    return True if formula == TRUE else False if formula == FALSE else None


def _linkerd(server: Server, workload: Workload, mesh: Mesh) -> Truth:
    del mesh
    if server.namespace != workload.namespace or server.selector is None:
        return False
    return workload.selected(server.selector)


def _consul(entry: ServiceIntentions, workload: Workload, mesh: Mesh) -> Truth:
    del mesh
    return entry.destination in (ANY, workload.service or workload.name)


def _smi(target: TrafficTarget, workload: Workload, mesh: Mesh) -> Truth:
    del mesh
    if target.namespace != workload.namespace:
        return False
    if target.account not in workload.accounts:
        return None if not workload.accounts else False
    return True if len(workload.accounts) == 1 else None


def _kubernetes(policy: NetworkPolicy, workload: Workload, mesh: Mesh) -> Truth:
    del mesh
    if policy.namespace != workload.namespace or policy.ingress is None:
        return False
    return workload.selected(policy.pods) if policy.pods.requirements else True


_GOVERNS: Mapping[type, Callable[[Any, Workload, Mesh], Truth]] = {
    AuthorizationPolicy: _istio,
    Server: _linkerd,
    ServiceIntentions: _consul,
    TrafficTarget: _smi,
    NetworkPolicy: _kubernetes,
}
