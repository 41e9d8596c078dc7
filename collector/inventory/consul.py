"""What Consul's catalog lists → items: services, and the instances behind them as pods.

Read are lists of the HTTP API (`/v1/catalog/service/NAME`, `/v1/catalog/connect/NAME`, `/v1/health/service/NAME`) and
the agent's `/v1/agent/services`; `/v1/catalog/services` tells of names alone. What `consul catalog` prints
says less (`consul_tables.py`). Sources: Consul's API reference, "Catalog", "Health" and "Agent - Service"; consul-k8s
writes the name and the namespace of an instance's pod into its `Meta`.

A namespace of Consul is one of Kubernetes, except that `default` names none (`collector.identity.principals`); what an
instance's `Meta` says outranks both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from collector.identity.principals import consul_namespace

Object = Mapping[str, Any]
KIND = "ConsulService"
NAMESPACE_META = "k8s-namespace"
"""Key of `Meta`: the Kubernetes namespace of the instance's pod."""
GATEWAY_KINDS = ("mesh-gateway", "terminating-gateway", "ingress-gateway", "api-gateway")


def is_catalog(document: object) -> bool:
    """Whether a JSON document is one of Consul's lists of service instances."""
    if isinstance(document, list):
        return bool(document) and all(_is_entry(entry) for entry in document)  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(document, dict) or not document or "kind" in document or "apiVersion" in document:
        return False
    values: list[object] = list(document.values())  # pyright: ignore[reportUnknownArgumentType]
    return all(isinstance(v, list) and all(isinstance(tag, str) for tag in v) for v in values) or all(  # pyright: ignore[reportUnknownVariableType]
        isinstance(v, dict) and "Service" in v and "ID" in v for v in values
    )


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, dict):
        return False
    return "ServiceName" in entry or ("Service" in entry and "Node" in entry)


def objects(document: Any) -> Iterator[dict[str, Any]]:
    """The instances and names of one list, as objects for `item_of`."""
    if isinstance(document, list):
        for entry in document:  # pyright: ignore[reportUnknownVariableType]
            yield _instance(entry)  # pyright: ignore[reportUnknownArgumentType]
        return
    for name, value in document.items():
        yield _agent(value) if isinstance(value, dict) else _named(str(name))  # pyright: ignore[reportUnknownArgumentType]


def _instance(entry: Object) -> dict[str, Any]:
    service, node = entry.get("Service"), entry.get("Node")
    if isinstance(service, dict) and isinstance(node, dict):
        return _agent(service, node)  # pyright: ignore[reportUnknownArgumentType]
    return _object(
        name=entry.get("ServiceName"),
        identity=entry.get("ServiceID"),
        node=entry,
        address=entry.get("ServiceAddress") or entry.get("Address"),
        port=entry.get("ServicePort"),
        meta=entry.get("ServiceMeta"),
        tagged=entry.get("ServiceTaggedAddresses"),
        kind=entry.get("ServiceKind"),
        proxy=entry.get("ServiceProxy"),
        namespace=entry.get("Namespace"),
        partition=entry.get("Partition"),
    )


def _agent(service: Object, node: Object | None = None) -> dict[str, Any]:
    node = node or {}
    return _object(
        name=service.get("Service"),
        identity=service.get("ID"),
        node=node,
        address=service.get("Address") or node.get("Address"),
        port=service.get("Port"),
        meta=service.get("Meta"),
        tagged=service.get("TaggedAddresses"),
        kind=service.get("Kind"),
        proxy=service.get("Proxy"),
        namespace=service.get("Namespace"),
        partition=service.get("Partition"),
        datacenter=service.get("Datacenter"),
    )


def _named(name: str) -> dict[str, Any]:
    return _object(name=name, identity="", node={})


def _object(*, name: Any, identity: Any, node: Object, **parts: Any) -> dict[str, Any]:
    namespace = parts.get("namespace")
    return {
        "kind": KIND,
        "metadata": {"name": name, "namespace": consul_namespace(namespace) if isinstance(namespace, str) else ""},
        "instance": {
            "id": identity,
            "node": node.get("Node"),
            "datacenter": parts.get("datacenter") or node.get("Datacenter"),
            **{key: parts.get(key) for key in ("address", "port", "meta", "tagged", "kind", "partition")},
            "proxied": _destination(parts.get("proxy")),
        },
    }


def _destination(proxy: Any) -> Any:
    """The service that a sidecar proxy stands before."""
    return proxy.get("DestinationServiceName") if isinstance(proxy, dict) else None  # pyright: ignore[reportUnknownMemberType]
