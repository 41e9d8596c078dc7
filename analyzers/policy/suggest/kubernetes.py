"""What was seen → NetworkPolicies: who may connect to which ports of a destination's pods.

Only what comes in is learnt: proxies log no DNS queries, and a policy for what goes out that forgot them would cut
everything off. Callers are named by the labels of their pods and namespace.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from analyzers.policy.kubernetes.model import NAME_LABEL
from analyzers.policy.suggest.grants import Operation, alike
from analyzers.policy.suggest.labels import Selector, own_labels
from analyzers.policy.suggest.observed import Seen
from analyzers.policy.suggest.targets import Reason, Target
from analyzers.policy.workloads import Cluster

_NAMESPACE = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")


def usable(seen: Seen, cluster: Cluster) -> Reason | None:
    """Why no rule can be made of these calls; None = one can."""
    if _caller(seen, cluster) is None:
        return "caller_labels" if tuple(seen.caller.split("/")) in cluster.workloads else "caller_not_known"
    return None if seen.port else "port_not_logged"


def documents(target: Target, cluster: Cluster) -> Sequence[dict[str, Any]]:
    """The policy of a destination; without anything learnt nobody may connect."""
    grants: dict[tuple[str, Selector], set[Operation]] = defaultdict(set)
    for one in target.learnt:
        caller = _caller(one, cluster)
        assert caller is not None, "only usable calls are learnt from"
        grants[caller].add(Operation(one.port))
    rules = [
        {
            "from": [
                {
                    "namespaceSelector": {"matchLabels": {NAME_LABEL: namespace}},
                    "podSelector": {"matchLabels": dict(labels)},
                }
                for namespace, labels in callers
            ],
            "ports": [{"protocol": "TCP", "port": port} for port in sorted(one.port for one in operations)],
        }
        for callers, operations in alike(grants)
    ]
    return [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": target.name, "namespace": target.namespace},
            "spec": {"podSelector": {"matchLabels": target.labels}, "policyTypes": ["Ingress"], "ingress": rules},
        }
    ]


def _caller(seen: Seen, cluster: Cluster) -> tuple[str, Selector] | None:
    """The caller's namespace and labels, which nobody else bears: others were perhaps not seen, or only refused."""
    namespace, _, name = seen.caller.partition("/")
    workload = cluster.workloads.get((namespace, name))
    labels = own_labels(workload, cluster) if workload and _NAMESPACE.fullmatch(namespace) else None
    return (namespace, labels) if labels else None
