"""The inventory as policies see it: workloads with the labels, accounts and named ports of their pods.

pods.sql, namespaces.sql ──► Inventory ──► the Workload at which calls arrived

Pods that were alive while the calls were made count; of a workload that had none then, all that are known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from analyzers.policy.workloads import Cluster, Labels, Workload
from storage.engine import Engine
from storage.sql import load

ROW_LIMIT = 1_000_000
_OF_A_REVISION = frozenset({"pod-template-hash", "controller-revision-hash", "statefulset.kubernetes.io/pod-name"})
"""Labels that tell pods of one workload apart; nobody selects by them."""

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Inventory:
    """What is known of the pods of the clusters.

    Attributes:
        cluster: workloads by namespace and name, namespaces with their labels.
        services: workloads by namespace and the service that stands before them.
        addresses: `namespace/workload` by the pod's address, where only one had it.
    """

    cluster: Cluster = field(default_factory=Cluster)
    services: Mapping[tuple[str, str], Workload] = field(default_factory=dict[tuple[str, str], Workload])
    addresses: Mapping[str, str] = field(default_factory=dict[str, str])

    def destination(self, namespace: str, workload: str, service: str) -> Workload:
        """The workload at which calls arrived that name it so; without labels where it is not known."""
        found = self.cluster.workloads.get((namespace, workload)) if workload else None
        found = found or self.services.get((namespace, service))
        if found is None:
            return Workload(namespace, workload, service)
        return replace(found, service=service or found.service)


def read_inventory(engine: Engine, since: datetime, until: datetime) -> Inventory:
    """The inventory of a store, for calls of [since, until).

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    window = {"since": since, "until": until, "row_limit": ROW_LIMIT}
    pods = engine.query(load("policy/pods").text, window).to_pylist()
    namespaces = engine.query(load("policy/namespaces").text, {"row_limit": ROW_LIMIT}).to_pylist()
    by_workload: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    by_service: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for pod in pods:
        by_workload[pod["namespace"], pod["workload"]].append(pod)
        if pod["service"]:
            by_service[pod["namespace"], pod["service"]].append(pod)
    return Inventory(
        Cluster(
            workloads={key: _workload(*key, rows) for key, rows in by_workload.items()},
            namespaces={row["namespace"]: dict(row["labels"]) for row in namespaces},
            namespace_annotations={row["namespace"]: dict(row["annotations"]) for row in namespaces},
        ),
        services={
            (namespace, service): _workload(namespace, "", rows) for (namespace, service), rows in by_service.items()
        },
        addresses=_addresses(pods),
    )


def _workload(namespace: str, name: str, pods: Rows) -> Workload:
    alive = [pod for pod in pods if pod["alive"]] or pods
    services = {pod["service"] for pod in alive}
    ports: dict[str, set[int]] = defaultdict(set)
    for pod in alive:
        for port in pod["ports"]:
            called, number = port.split("/")[:2]
            if called and number.isdecimal():
                ports[called].add(int(number))
    return Workload(
        namespace,
        name,
        service=services.pop() if len(services) == 1 else "",
        labels=_distinct({key: text for key, text in pod["labels"] if key not in _OF_A_REVISION} for pod in alive),
        accounts=tuple(sorted({pod["service_account"] or "default" for pod in alive})),
        ports={called: tuple(sorted(numbers)) for called, numbers in sorted(ports.items())},
        annotations=_distinct(dict(pod["annotations"]) for pod in alive),
        has_proxy=_agreed({bool(pod["has_sidecar"]) for pod in alive}),
    )


def _agreed(found: Set[bool]) -> bool | None:
    return next(iter(found)) if len(found) == 1 else None


def _distinct(found: Iterable[Labels]) -> tuple[Labels, ...]:
    kept = {tuple(sorted(one.items())): one for one in found}
    return tuple(kept[key] for key in sorted(kept))


def _addresses(pods: Rows) -> Mapping[str, str]:
    owners: dict[str, set[str]] = defaultdict(set)
    for pod in pods:
        if pod["alive"]:
            for address in pod["addresses"]:
                owners[address].add(f"{pod['namespace']}/{pod['workload']}")
    return {address: next(iter(found)) for address, found in owners.items() if len(found) == 1}
