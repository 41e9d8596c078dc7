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


def own_labels(workload: Workload, cluster: Cluster, everywhere: bool = False) -> Selector | None:
    """Labels that all of its pods bear, and no other pod of its namespace (or `everywhere`); None = there are none."""
    shared = shared_labels(workload)
    others = _others(workload, cluster, everywhere)
    for candidate in _candidates(shared):
        if not any(candidate.items() <= labels.items() for labels in others):
            return tuple(sorted(candidate.items()))
    return None


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


def _others(workload: Workload, cluster: Cluster, everywhere: bool) -> Sequence[Labels]:
    """Label sets of other pods."""
    return [
        labels
        for (namespace, name), other in cluster.workloads.items()
        if (everywhere or namespace == workload.namespace) and (namespace, name) != (workload.namespace, workload.name)
        for labels in other.labels
        # A service's pods are those of workloads.
        if workload.name or namespace != workload.namespace or labels not in workload.labels
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
