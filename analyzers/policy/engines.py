"""The policy engines: what each reads, whose calls it governs, and what program it makes of its documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from analyzers.policy.documents import Value
from analyzers.policy.formula import Program, Transport
from analyzers.policy.istio import engine as istio
from analyzers.policy.workloads import Cluster, Workload

Judge = Literal["sidecar", "waypoint", "ztunnel"]
"""Whose verdict it is: of the proxy beside (or of) the workload, of its waypoint, of its node's ztunnel."""
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
    program: Callable[[Sequence[Any], Place, Cluster], Program | None]
    """What its documents decide at a place; None where they do not govern it."""

    def governs(self, mesh: str) -> bool:
        """Whether lines with this value of `calls.mesh` are judged by it."""
        return not self.mesh or mesh == self.mesh or (mesh not in MESHES and mesh not in FLOWS)


ENGINES: Sequence[PolicyEngine] = (
    PolicyEngine(
        "istio",
        istio.KINDS,
        "istio",
        lambda documents, place, _: istio.program(documents, place.workload, place.transport, place.judge),
    ),
)
