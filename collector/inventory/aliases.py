"""Items → rows of `aliases`: which address, pod, workload, account or service name is which service, and when.

Links are followed as Kubernetes makes them: selectors and endpoints tie pods to services, owner references tie them to
workloads (a ReplicaSet's name without its hash is its Deployment). A pod that no service selects is named by its
canonical labels, as Istio names it. An account or workload whose pods belong to several services names none of them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from collector.identity.kubernetes import (
    SERVICE_LABELS,
    VERSION_LABELS,
    deployment_of,
    first_label,
    is_gateway,
    is_waypoint,
    workload_of,
)
from collector.identity.socket_addresses import UNKNOWN, ip_bytes, ip_text
from collector.inventory.consul import GATEWAY_KINDS, NAMESPACE_META
from collector.inventory.consul import KIND as CONSUL_KIND
from collector.inventory.items import UNBOUNDED_FROM, UNBOUNDED_TO, Item

_CRON_SUFFIX = re.compile(r"(?P<owner>.+)-\d{8,10}")


class Alias(NamedTuple):
    """One row of `aliases`, without cluster, evidence and time of loading."""

    kind: str
    name_namespace: str
    name: str
    valid_from: int = UNBOUNDED_FROM
    valid_to: int = UNBOUNDED_TO
    namespace: str = ""
    workload: str = ""
    service: str = ""
    service_account: str = ""
    pod: str = ""
    version: str = ""
    is_gateway: bool = False


@dataclass(frozen=True, slots=True)
class _Member:
    """A pod with what the links say of it."""

    pod: Item
    workload: str
    service: str
    canonical: str
    is_gateway: bool


def aliases_of(items: Sequence[Item]) -> list[Alias]:
    """Aliases of everything in `items`, sorted, each key (kind, namespace, name, valid_from) once."""
    members = _members(items)
    services = {(item.namespace, item.name): item for item in items if item.kind == "Service"}
    rows = [
        *_pod_rows(members),
        *_endpoint_rows(items, members),
        *_service_rows(services, members),
        *_consul_rows(items),
        *_shared_rows("workload", _by_workload(members, services)),
        *_shared_rows("service_account", _by_account(members)),
    ]
    unique: dict[tuple[str, str, str, int], Alias] = {}
    for row in sorted(rows):
        unique.setdefault((row.kind, row.name_namespace, row.name, row.valid_from), row)
    return list(unique.values())


def _members(items: Sequence[Item]) -> list[_Member]:
    by_selector: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        if item.kind == "Service" and item.selector:
            by_selector[item.namespace].append(item)
    by_endpoint: dict[tuple[str, str], set[str]] = defaultdict(set)
    for item in items:
        if item.kind in ("EndpointSlice", "Endpoints"):
            for address in item.addresses:
                if pod := address.partition("/")[2]:
                    by_endpoint[item.namespace, pod].add(item.owner_name)
    owners = {(item.kind, item.namespace, item.name): (item.owner_kind, item.owner_name) for item in items}
    members: list[_Member] = []
    for pod in items:
        if pod.kind != "Pod" or is_waypoint(pod.labels):
            continue
        workload = _workload(pod, owners)
        canonical = first_label(pod.labels, SERVICE_LABELS)
        selecting = {
            service.name for service in by_selector[pod.namespace] if service.selector.items() <= pod.labels.items()
        }
        headless = {service.name for service in by_selector[pod.namespace] if not service.addresses}
        found = selecting | by_endpoint[pod.namespace, pod.name]
        service = _choose(found, (canonical, workload, pod.labels.get("app", "")), headless) or canonical
        gateway = is_gateway(pod.labels, workload)
        members.append(_Member(pod, workload, service, canonical, gateway))
    return members


def _choose(found: Iterable[str], likely: Sequence[str], headless: set[str]) -> str:
    """Of several services that select a pod: the one named like it, else one with an address, else the first."""
    names = sorted(found)
    for name in likely:
        if name in names:
            return name
    return next((name for name in names if name not in headless), names[0] if names else "")


def _workload(pod: Item, owners: Mapping[tuple[str, str, str], tuple[str, str]]) -> str:
    kind, name = pod.owner_kind, pod.owner_name
    if not name or kind == "Node":  # a bare or a static pod is its own workload
        return pod.labels.get("service.istio.io/workload-name") or pod.name
    if kind in ("ReplicaSet", "Job"):
        above_kind, above = owners.get((kind, pod.namespace, name), ("", ""))
        if above_kind in ("Deployment", "CronJob", "Rollout") and above:
            return above
    if kind == "ReplicaSet":
        template = pod.labels.get("pod-template-hash", "")
        return name.removesuffix(f"-{template}") if template else deployment_of(name)
    if kind == "Job" and (match := _CRON_SUFFIX.fullmatch(name)):
        return match["owner"]
    return name


def _pod_rows(members: Iterable[_Member]) -> Iterable[Alias]:
    for member in members:
        pod = member.pod
        names: dict[str, Any] = {
            "valid_from": pod.valid_from,
            "valid_to": pod.valid_to,
            "namespace": pod.namespace,
            "workload": member.workload,
            "service": member.service,
            "service_account": pod.service_account,
            "pod": pod.name,
            "version": first_label(pod.labels, VERSION_LABELS),
            "is_gateway": member.is_gateway,
        }
        yield Alias("pod", pod.namespace, pod.name, **names)
        for address in pod.addresses:
            yield Alias("pod_ip", "", address, **names)


def _endpoint_rows(items: Iterable[Item], members: Iterable[_Member]) -> Iterable[Alias]:
    """Endpoints whose pod was not listed, or that are no pods at all (a service in front of an outside address)."""
    known = {(member.pod.namespace, member.pod.name) for member in members}
    taken = {address for member in members for address in member.pod.addresses}
    for item in items:
        if item.kind not in ("EndpointSlice", "Endpoints"):
            continue
        for entry in item.addresses:
            address, _, pod = entry.partition("/")
            if address in taken or (item.namespace, pod) in known:
                continue
            names: dict[str, Any] = {"namespace": item.namespace, "service": item.owner_name}
            if pod:
                yield Alias("pod_ip", "", address, pod=pod, workload=workload_of(pod), **names)
            else:
                yield Alias("service_ip", "", address, **names)


def _service_rows(services: Mapping[tuple[str, str], Item], members: Iterable[_Member]) -> Iterable[Alias]:
    behind: dict[tuple[str, str], list[_Member]] = defaultdict(list)
    for member in members:
        behind[member.pod.namespace, member.service].append(member)
    for (namespace, name), service in services.items():
        pods = behind[namespace, name]
        names: dict[str, Any] = {
            "namespace": namespace,
            "service": name,
            "workload": _only(member.workload for member in pods),
            "is_gateway": bool(pods) and all(member.is_gateway for member in pods),
        }
        yield Alias("service", namespace, name, **names)
        for address in service.addresses:
            yield Alias("service_ip", "", address, valid_from=service.valid_from, **names)


def _consul_rows(items: Iterable[Item]) -> Iterable[Alias]:
    """Consul's services by name, identity and address. An address that several services share (a node's) names none.

    A service with instances in several namespaces of Kubernetes has none of them; each instance's address has its own.
    """
    owners: dict[tuple[str, str], dict[tuple[str, str], Item]] = defaultdict(dict)
    services: dict[tuple[str, str], list[Item]] = defaultdict(list)
    for item in items:
        if item.kind != CONSUL_KIND or item.valid_to < UNBOUNDED_TO:
            continue
        services[item.namespace, item.name].append(item)
        for entry in item.addresses:
            virtual, slash, address = entry.rpartition("/")
            kind = "service_ip" if virtual and slash else "pod_ip" if ip_bytes(address) != UNKNOWN else "host"
            owners[kind, address][item.labels.get(NAMESPACE_META) or item.namespace, item.name] = item
    for (namespace, name), instances in services.items():
        told = {meta for item in instances if (meta := item.labels.get(NAMESPACE_META))}
        names: dict[str, Any] = {
            "namespace": told.pop() if len(told) == 1 else namespace,
            "service": name,
            "is_gateway": all(item.owner_kind in GATEWAY_KINDS for item in instances),
        }
        yield Alias("service", namespace, name, **names)
        yield Alias("service_account", namespace, name, **names)
    for (kind, address), found in owners.items():
        if len(found) > 1:
            continue
        (namespace, service), item = next(iter(found.items()))
        yield Alias(
            kind,
            "",
            ip_text(ip_bytes(address)) if kind != "host" else address,
            namespace=namespace,
            service=service,
            pod=item.labels.get("pod-name", ""),
            version=first_label(item.labels, ("version",)),
            is_gateway=item.owner_kind in GATEWAY_KINDS,
        )


def _by_workload(
    members: Iterable[_Member], services: Mapping[tuple[str, str], Item]
) -> dict[tuple[str, str], list[_Member]]:
    """Pods by workload, and by the canonical name that their own lines use where no service has that name."""
    found: dict[tuple[str, str], list[_Member]] = defaultdict(list)
    for member in members:
        found[member.pod.namespace, member.workload].append(member)
    for member in members:
        key = (member.pod.namespace, member.canonical)
        if member.canonical and key not in services and member.canonical != member.workload:
            found[key].append(member)
    return found


def _by_account(members: Iterable[_Member]) -> dict[tuple[str, str], list[_Member]]:
    found: dict[tuple[str, str], list[_Member]] = defaultdict(list)
    for member in members:
        found[member.pod.namespace, member.pod.service_account].append(member)
    return found


def _shared_rows(kind: str, groups: Mapping[tuple[str, str], list[_Member]]) -> Iterable[Alias]:
    for (namespace, name), pods in groups.items():
        service, workload = _only(pod.service for pod in pods), _only(pod.workload for pod in pods)
        if kind == "service_account" and not service and not workload:
            continue
        yield Alias(
            kind,
            namespace,
            name,
            namespace=namespace,
            workload=workload,
            service=service,
            service_account=_only(pod.pod.service_account for pod in pods),
            is_gateway=all(pod.is_gateway for pod in pods),
        )


def _only(values: Iterable[str]) -> str:
    """The value, when there is just one."""
    distinct = set(values)
    return distinct.pop() if len(distinct) == 1 else ""
