"""Labels by which a policy finds the pods of one workload, and no others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from analyzers.policy.workloads import Cluster, Labels, Workload

_NAMES = ("app", "app.kubernetes.io/name", "k8s-app")
"""Labels that name what runs; the first one that tells it apart is taken."""
_PARTS = ("app.kubernetes.io/instance", "app.kubernetes.io/component", "version", "app.kubernetes.io/version")
"""What stands beside a name where that one alone does not."""
_VALUE = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")

Selector = tuple[tuple[str, str], ...]
"""Labels and their values, sorted."""


def own_labels(workload: Workload, cluster: Cluster) -> Selector | None:
    """Labels that all of its pods bear, and no other pod of its namespace does; None where there are none."""
    shared = shared_labels(workload)
    others = _others(workload, cluster)
    for candidate in _candidates(shared):
        if not any(candidate.items() <= labels.items() for labels in others):
            return tuple(sorted(candidate.items()))
    return None


def caller_labels(workload: Workload, cluster: Cluster) -> Selector | None:
    """The same of a caller; where others bear them all, too, everything that its pods share."""
    return own_labels(workload, cluster) or tuple(sorted(shared_labels(workload).items())) or None


def shared_labels(workload: Workload) -> Labels:
    """What all of its pods bear, as Kubernetes writes labels; nothing where the inventory does not know them."""
    if not workload.labels:
        return {}
    first, *rest = workload.labels
    return {
        name: text
        for name, text in first.items()
        if _VALUE.fullmatch(text) and all(other.get(name) == text for other in rest)
    }


def _others(workload: Workload, cluster: Cluster) -> Sequence[Labels]:
    """Label sets of the namespace's other pods."""
    return [
        labels
        for (namespace, name), other in cluster.workloads.items()
        if namespace == workload.namespace and (name != workload.name or not workload.name)
        for labels in other.labels
        if workload.name or labels not in workload.labels
    ]


def _candidates(shared: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    names = [name for name in _NAMES if name in shared]
    for name in names:
        yield {name: shared[name]}
    for name in names:
        for part in _PARTS:
            if part in shared:
                yield {name: shared[name], part: shared[part]}
    if shared:
        yield shared
