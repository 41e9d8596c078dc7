"""Envoy cluster names, SNI and host names: which side of a call a proxy was on, and which service was meant.

Sources: Istio's `DIRECTION|PORT|SUBSET|HOST` and its DNS form `DIRECTION_.PORT_.SUBSET_.HOST` (istio/istio,
pilot/pkg/model: BuildSubsetKey, BuildDNSSrvSubsetKey), Consul's `[SUBSET.]SERVICE.NAMESPACE.DC.internal.ID.consul`,
OSM's `NAMESPACE/SERVICE|PORT[|local]`, Envoy Gateway's `httproute/NAMESPACE/NAME/rule/N`, Kubernetes "DNS for Services
and Pods".
Hostile text that fits no form is `unknown`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal, NamedTuple

from collector.identity.principals import consul_namespace

Side = Literal["inbound", "outbound", "waypoint", "unknown"]
MAX_HOST = 253
"""Longest DNS name; a longer host names nothing."""

MAX_CLUSTER = 512
"""A longer cluster name is of no known form."""

_PORT = re.compile(r"\d{1,5}")
_ADDRESS = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}|\[.*|[0-9a-fA-F]*:[0-9a-fA-F:.]*:.*")
_HOST = re.compile(r"[A-Za-z0-9_*](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_CONSUL = re.compile(
    r"(?:(?P<subset>[^.]+)\.)?(?P<service>[^.]+)\.(?P<namespace>[^.]+)"
    r"\.(?:[^.]+\.(?:internal|external)|[^.]+\.[^.]+\.internal-v\d+)\.[^.]+\.consul"
)
"""A partition stands before the datacenter only in the `internal-vN` form."""
_OSM = re.compile(r"(?P<namespace>[^/|]+)/(?P<service>[^/|]+)\|(?P<port>\d{1,5})(?P<local>\|local)?")
_ROUTE = re.compile(r"(?:http|grpc|tls|tcp|udp)route/(?P<namespace>[^/]+)/(?P<route>[^/]+)/rule/-?\d+(?:/.*)?")
_DIRECTIONS: dict[str, Side] = {
    "inbound": "inbound",
    "outbound": "outbound",
    "inbound-vip": "waypoint",
    "inbound-pod": "waypoint",
}


class Host(NamedTuple):
    """A host name without its port. At most one of `service` and `external` is set."""

    service: str = ""
    """Service of the mesh; `namespace` is `""` where the name does not say it."""
    namespace: str = ""
    external: str = ""
    """Host outside, lower case; also a two-label name such as `web.shop`, which only an inventory can tell apart."""
    port: int = 0
    is_address: bool = False


class Cluster(NamedTuple):
    """What an upstream cluster's name says. Unset parts are `""` and 0."""

    side: Side = "unknown"
    port: int = 0
    """The port of the service, not of its pods."""
    subset: str = ""
    host: Host = Host()
    dialect: Literal["", "istio", "consul", "osm", "envoy_gateway"] = ""
    passthrough: bool = False
    """The proxy forwarded to an address that it knew no service for (or refused to)."""
    is_route: bool = False
    """`host` is the name of a route, which may be called otherwise than the service that it leads to."""


NO_HOST = Host()
NO_CLUSTER = Cluster()

_SPECIAL: dict[str, Cluster] = {
    "PassthroughCluster": Cluster(side="outbound", dialect="istio", passthrough=True),
    "BlackHoleCluster": Cluster(side="outbound", dialect="istio", passthrough=True),
    "InboundPassthroughCluster": Cluster(side="inbound", dialect="istio"),
    "InboundPassthroughClusterIpv4": Cluster(side="inbound", dialect="istio"),
    "InboundPassthroughClusterIpv6": Cluster(side="inbound", dialect="istio"),
    "InboundPassthrough": Cluster(side="inbound", dialect="istio"),
    "local_app": Cluster(side="inbound", dialect="consul"),
    "original-destination": Cluster(side="outbound", dialect="consul", passthrough=True),
    "passthrough-outbound": Cluster(side="outbound", dialect="osm", passthrough=True),
}


def _port(text: str) -> int:
    port = int(text) if _PORT.fullmatch(text) else 0
    return port if port < 65536 else 0


def split_port(text: str) -> tuple[str, int]:
    """`host:port`, `[v6]:port`, `host` or a bare IPv6 address → host (brackets removed) and port (0 = none)."""
    if text.startswith("["):
        inside, bracket, rest = text[1:].partition("]")
        return (inside, _port(rest[1:]) if rest.startswith(":") else 0) if bracket else (text, 0)
    head, colon, tail = text.rpartition(":")
    if not colon or ":" in head:
        return text, 0
    return head, _port(tail)


def parse_host(text: str, namespace: str = "") -> Host:
    """A host header, SNI or cluster host.

    Args:
        text: host with an optional port, any case.
        namespace: of the pod that used the name; gives short names their namespace (Kubernetes search domains).

    `svc`, `svc.ns.svc` and `svc.ns.svc.DOMAIN` are services; an address is neither service nor outside host; any other
    name is outside. Never raises.
    """
    return _parse_host(text, namespace) if 0 < len(text) <= MAX_HOST + 6 else NO_HOST


@lru_cache(maxsize=16384)
def _parse_host(text: str, namespace: str) -> Host:
    name, port = split_port(text)
    name = name.rstrip(".").lower()
    if _ADDRESS.fullmatch(name):
        return Host(port=port, is_address=True)
    if not _HOST.fullmatch(name):
        return NO_HOST
    labels = name.split(".")
    if len(labels) == 1:
        return Host(service=name, namespace=namespace, port=port)
    if len(labels) >= 3 and labels[2] == "svc":
        return Host(service=labels[0], namespace=labels[1], port=port)
    if len(labels) >= 4 and labels[3] == "svc":  # a pod of a headless service: POD.SVC.NS.svc
        return Host(service=labels[1], namespace=labels[2], port=port)
    if match := _CONSUL.fullmatch(name):
        return Host(service=match["service"], namespace=consul_namespace(match["namespace"]), port=port)
    return Host(external=name, port=port)


def _istio(direction: str, port: str, subset: str, host: str) -> Cluster:
    return Cluster(
        side=_DIRECTIONS[direction],
        port=_port(port),
        subset="" if subset == "_" else subset,
        host=parse_host(host.rstrip(";")),
        dialect="istio",
    )


def parse_cluster(text: str) -> Cluster:
    """The name of an upstream cluster, or an SNI in Istio's `outbound_.PORT_.SUBSET_.HOST` form. Never raises.

    A name of no known form is `NO_CLUSTER`: any Envoy may call its clusters what it likes.
    """
    return _parse_cluster(text) if 0 < len(text) <= MAX_CLUSTER else NO_CLUSTER


@lru_cache(maxsize=16384)
def _parse_cluster(text: str) -> Cluster:
    if special := _SPECIAL.get(text):
        return special
    parts = text.split("|")
    if len(parts) == 4 and parts[0] in _DIRECTIONS:
        return _istio(*parts)
    parts = text.split("_.", 3)
    if len(parts) == 4 and parts[0] in _DIRECTIONS:
        return _istio(*parts)
    if match := _OSM.fullmatch(text):
        host = Host(service=match["service"].lower(), namespace=match["namespace"].lower())
        return Cluster("inbound" if match["local"] else "outbound", _port(match["port"]), "", host, "osm")
    if match := _ROUTE.fullmatch(text):
        host = Host(service=match["route"].lower(), namespace=match["namespace"].lower())
        return Cluster("outbound", 0, "", host, "envoy_gateway", is_route=True)
    # Consul puts a hash, a failover target or `passthrough` before the name of an upstream, each followed by a tilde.
    text = text.rpartition("~")[2]
    if len(text) <= MAX_HOST and (match := _CONSUL.fullmatch(text)):
        host = Host(service=match["service"], namespace=consul_namespace(match["namespace"]))
        return Cluster("outbound", 0, match["subset"] or "", host, "consul")
    return NO_CLUSTER


def is_mesh_sni(sni: str) -> bool:
    """Whether only a sidecar of the mesh sends this SNI: Istio's DNS form, or Consul's."""
    return sni.startswith("outbound_.") or (sni.endswith(".consul") and _CONSUL.fullmatch(sni) is not None)
