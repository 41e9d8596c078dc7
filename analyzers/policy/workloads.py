"""What policies select: workloads and their pods, by namespace and labels, as the inventory knows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from analyzers.policy.kleene import Truth

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Workload:
    """Pods that run the same thing; where calls arrive, or come from.

    A destination that calls name only as a service is a workload without a name, with the pods of the service.
    """

    namespace: str
    name: str = ""
    service: str = ""
    labels: tuple[Labels, ...] = ()
    """The different sets of labels that its pods bear; none = the inventory does not know its pods."""
    accounts: tuple[str, ...] = ()
    """Service accounts of its pods; none = not known."""
    ports: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    """Numbers of its pods' named ports."""
    annotations: tuple[Labels, ...] = ()
    """The different sets of annotations that its pods bear."""
    has_proxy: bool | None = None
    """Whether its pods have a sidecar; None = not known, or only some."""

    def selected(self, selects: Callable[[Labels], bool]) -> Truth:
        """Whether a selector selects its pods: None where it does not know them, or selects only some of them."""
        found = {selects(one) for one in self.labels}
        return found.pop() if len(found) == 1 else None

    @property
    def id(self) -> str:
        """`namespace/name`, as `Field.SOURCE_WORKLOAD` has it."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Cluster:
    """All that is known of what runs where, at one time."""

    workloads: Mapping[tuple[str, str], Workload] = field(default_factory=dict[tuple[str, str], Workload])
    """By namespace and name."""
    namespaces: Mapping[str, Labels] = field(default_factory=dict[str, Labels])
    """Labels of the namespaces that the inventory knows."""
    namespace_annotations: Mapping[str, Labels] = field(default_factory=dict[str, Labels])
