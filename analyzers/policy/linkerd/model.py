"""Linkerd's documents as they were read, and what of the cluster's settings bears on verdicts."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from analyzers.policy.formula import Network
from analyzers.policy.selectors import Selector

LINKERD, GATEWAY = "policy.linkerd.io", "gateway.networking.k8s.io"
"""API groups."""
Protocol = Literal["unknown", "HTTP/1", "HTTP/2", "gRPC", "opaque", "TLS"]
PROTOCOLS: tuple[str, ...] = get_args(Protocol)
DefaultPolicy = Literal[
    "all-unauthenticated",
    "all-authenticated",
    "cluster-unauthenticated",
    "cluster-authenticated",
    "deny",
    "audit",
]
DEFAULT_POLICIES: tuple[str, ...] = get_args(DefaultPolicy)
RouteKind = Literal["HTTPRoute", "GRPCRoute"]
PathType = Literal["Exact", "PathPrefix", "RegularExpression"]
AuthenticationKind = Literal["MeshTLSAuthentication", "NetworkAuthentication", "ServiceAccount"]


@dataclass(frozen=True, slots=True)
class Block:
    """A network without some parts of it."""

    network: Network
    excepted: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class Clients:
    """Any of these identities."""

    identities: tuple[str, ...] = ()
    """`*` = any that is a name, `*.a.b` = those that end so, else the identity itself."""
    accounts: tuple[tuple[str, str], ...] = ()
    """Service accounts: namespace and name."""
    namespaces: tuple[str, ...] = ()
    """All service accounts of these."""


@dataclass(frozen=True, slots=True)
class Server:
    """A port of some pods, and what holds of it."""

    namespace: str
    name: str
    selector: Selector | None
    """Of the pods; None = it is about workloads outside of the cluster."""
    port: int | str
    """Its number, or its name in the pods."""
    protocol: Protocol = "unknown"
    access: DefaultPolicy = "deny"
    """Whom the Server lets in without any authorization."""
    labels: tuple[tuple[str, str], ...] = ()
    created: datetime | None = None

    @property
    def id(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class ServerAuthorization:
    """Lets clients in to Servers of its namespace, by name or by label."""

    namespace: str
    name: str
    server: str | Selector
    networks: tuple[Block, ...] = ()
    """None = the cluster's."""
    clients: Clients | Literal["anybody", "tls", "nobody"] = "nobody"
    """`tls`: over TLS, with an identity or without. `nobody`: it names none, so Linkerd ignores it."""

    @property
    def id(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Target:
    """What an AuthorizationPolicy is attached to, in its own namespace."""

    group: str
    kind: Literal["Server", "Namespace", "HTTPRoute", "GRPCRoute"]
    name: str


@dataclass(frozen=True, slots=True)
class Authentication:
    """An authentication that an AuthorizationPolicy asks for."""

    kind: AuthenticationKind
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class AuthorizationPolicy:
    """Lets in who meets all of its authentications; without any, everybody."""

    namespace: str
    name: str
    target: Target
    required: tuple[Authentication, ...] = ()

    @property
    def id(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class MeshTLSAuthentication:
    """Clients by identity."""

    namespace: str
    name: str
    clients: Clients


@dataclass(frozen=True, slots=True)
class NetworkAuthentication:
    """Clients by address: any of these networks."""

    namespace: str
    name: str
    networks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """A header or a parameter of the query, and its value."""

    name: str
    """Headers: in lower case."""
    value: str
    is_regex: bool = False


@dataclass(frozen=True, slots=True)
class HttpMatch:
    """Requests that meet all of it."""

    path_type: PathType = "PathPrefix"
    path: str = "/"
    headers: tuple[Pair, ...] = ()
    parameters: tuple[Pair, ...] = ()
    method: str = ""
    """Empty = any."""


@dataclass(frozen=True, slots=True)
class GrpcMatch:
    """Calls of a service's method: POST /service/method. Empty = any."""

    service: str = ""
    method: str = ""
    headers: tuple[Pair, ...] = ()


Match = HttpMatch | GrpcMatch


@dataclass(frozen=True, slots=True)
class Route:
    """An HTTPRoute or a GRPCRoute of Servers."""

    namespace: str
    name: str
    group: str
    kind: RouteKind
    servers: tuple[str, ...]
    """Those of its own namespace that it is attached to."""
    hostnames: tuple[str, ...] = ()
    rules: tuple[tuple[Match, ...], ...] = ()
    """Each matches what any of its matches does; one without any matches everything."""
    created: datetime | None = None


Document = Server | ServerAuthorization | AuthorizationPolicy | MeshTLSAuthentication | NetworkAuthentication | Route


def age(document: Server | Route) -> tuple[bool, str]:
    """Sorts the oldest first, those without a time last."""
    return document.created is None, document.created.isoformat() if document.created else ""


@dataclass(frozen=True, slots=True)
class Settings:
    """Of the control plane, with Linkerd's defaults."""

    default_policy: DefaultPolicy = "all-unauthenticated"
    """`proxy.defaultInboundPolicy`."""
    cluster_networks: tuple[Network, ...] = tuple(
        ipaddress.ip_network(one)
        for one in ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fd00::/8")
    )
    """`clusterNetworks`."""
    control_plane_namespace: str = "linkerd"
    trust_domain: str = "cluster.local"
    """`identityTrustDomain`."""
