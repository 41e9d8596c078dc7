"""How callers spell the names of what they call."""

from __future__ import annotations

from eastwatch.world.model import External, Service

SITE = "shop.example.com"
"""Host name under which people reach the gateway."""


def authority(source: Service, destination: Service | External) -> str:
    """The Host header as the caller's configuration spells it: short, with namespace, or in full."""
    if isinstance(destination, External):
        return destination.host if destination.port == 80 else f"{destination.host}:{destination.port}"
    if source.gateway:
        return SITE
    host = host_name(source, destination)
    return host if destination.port == 80 else f"{host}:{destination.port}"


def host_name(source: Service, destination: Service) -> str:
    """The name under which `source` looks `destination` up: Java shops spell hosts out, the others do not."""
    if source.runtime == "java":
        return destination.host
    return (
        destination.name if source.namespace == destination.namespace else f"{destination.name}.{destination.namespace}"
    )


def cluster_outside(destination: External) -> str:
    """Envoy's cluster for a host outside."""
    if destination.way == "passthrough":
        return "PassthroughCluster"
    return f"outbound|{destination.port}||{destination.host}"
