"""The policy engines: what each reads, whose calls it governs, and what program it makes of its documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from analyzers.policy.consul import compile as consul
from analyzers.policy.consul.read import KINDS as CONSUL_KINDS
from analyzers.policy.documents import Value
from analyzers.policy.formula import Program, Transport
from analyzers.policy.istio import engine as istio
from analyzers.policy.kubernetes import compile as kubernetes
from analyzers.policy.kubernetes.read import KINDS as KUBERNETES_KINDS
from analyzers.policy.linkerd import engine as linkerd
from analyzers.policy.settings_document import MeshSettings
from analyzers.policy.smi import compile as smi
from analyzers.policy.smi.read import KINDS as SMI_KINDS
from analyzers.policy.workloads import Cluster, Workload

Judge = Literal["sidecar", "gateway", "waypoint", "ztunnel", "nobody"]
"""Whose verdict it is: of the proxy beside the workload, of the gateway that the workload is, of its waypoint, of its
node's ztunnel; or nobody's, where it is known to have no proxy."""
Reader = Callable[[Value, str], Any]
MESHES = frozenset({"istio", "linkerd", "consul", "osm"})
"""Values of `calls.mesh` that name a mesh with policies of its own; other lines may be of any."""
FLOWS = frozenset({"cilium", "calico"})
"""Values of `calls.mesh` of packets: no proxy saw them."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where calls arrive, and who judges them there."""

    workload: Workload
    transport: Transport
    judge: Judge = "sidecar"
    mesh: str = ""
    """`calls.mesh`."""


@dataclass(frozen=True, slots=True)
class PolicyEngine:
    """One kind of policies."""

    name: str
    kinds: Mapping[tuple[str, str], Reader]
    """API group and kind → reader(document, namespace of those that name none); None = it says nothing here."""
    mesh: str
    """The value of `calls.mesh` that it governs beside those of no mesh; empty = all lines."""
    program: Callable[[Sequence[Any], Place, Cluster, MeshSettings], Program | None]
    """What its documents decide at a place, by what its mesh is set to; None where they do not govern it."""

    def governs(self, place: Place) -> bool:
        """Whether what arrives there is judged by it."""
        if not self.mesh:
            return True
        own = place.mesh == self.mesh or (place.mesh not in MESHES and place.mesh not in FLOWS)
        return own and place.judge != "nobody"


def _istio(documents: Sequence[Any], place: Place, cluster: Cluster, settings: MeshSettings) -> Program:
    del cluster, settings
    return istio.program(documents, place.workload, place.transport, place.judge)


def _linkerd(documents: Sequence[Any], place: Place, cluster: Cluster, settings: MeshSettings) -> Program:
    del settings
    return linkerd.program(documents, place.workload, cluster, place.transport)


def _consul(documents: Sequence[Any], place: Place, cluster: Cluster, settings: MeshSettings) -> Program:
    return consul.program(documents, place.workload, cluster, settings.consul, place.transport)


def _smi(documents: Sequence[Any], place: Place, cluster: Cluster, settings: MeshSettings) -> Program:
    return smi.program(documents, place.workload, cluster, settings.smi, place.transport)


def _kubernetes(documents: Sequence[Any], place: Place, cluster: Cluster, settings: MeshSettings) -> Program:
    del settings
    return kubernetes.program(documents, place.workload, cluster, place.transport)


ENGINES: Sequence[PolicyEngine] = (
    PolicyEngine("istio", istio.KINDS, "istio", _istio),
    PolicyEngine("linkerd", linkerd.KINDS, "linkerd", _linkerd),
    PolicyEngine("consul", CONSUL_KINDS, "consul", _consul),
    PolicyEngine("smi", SMI_KINDS, "osm", _smi),
    PolicyEngine("kubernetes", KUBERNETES_KINDS, "", _kubernetes),
)
"""In the order in which they are named as the deciding one, where several judge the same call."""
