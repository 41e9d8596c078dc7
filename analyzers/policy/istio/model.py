"""Istio's documents as they were read. What a document may leave out is None or empty here, as its meaning differs."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Action = Literal["ALLOW", "DENY", "AUDIT", "CUSTOM"]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Matchers = Mapping[str, tuple[str, ...]]
"""Field of a source or an operation, such as `notPrincipals` → its values, at least one."""

Via = Literal["sidecar", "waypoint"]
"""Who decides: the proxy of the destination (its sidecar, or a gateway itself), or the waypoint of its service."""
HTTP_ONLY = frozenset({"methods", "paths", "hosts", "requestPrincipals"})
"""Fields of sources and operations that a connection does not have; so are their `not` forms."""
GATEWAY = "gateway.networking.k8s.io/gateway-name"
"""Label of the pods of a gateway: the Gateway that they are."""
NETWORKS = frozenset({"ipBlocks", "remoteIpBlocks"})


def positive(name: str) -> tuple[str, bool]:
    """`notPrincipals` → (`principals`, False), `principals` → (`principals`, True)."""
    bare = name.removeprefix("not")
    return (bare[:1].lower() + bare[1:], False) if bare != name else (name, True)


@dataclass(frozen=True, slots=True)
class When:
    """One condition: any of `values` (where there are some), and none of `not_values`."""

    key: str
    values: tuple[str, ...]
    not_values: tuple[str, ...]

    @property
    def is_http_only(self) -> bool:
        """Whether a connection does not have it."""
        return self.key.startswith("request.")


@dataclass(frozen=True, slots=True)
class Rule:
    """Any of the sources, any of the operations, and all conditions. No sources = whoever."""

    sources: tuple[Matchers, ...] = ()
    operations: tuple[Matchers, ...] = ()
    when: tuple[When, ...] = ()


@dataclass(frozen=True, slots=True)
class TargetRef:
    """What a policy is attached to, in its own namespace."""

    group: str
    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class AuthorizationPolicy:
    """One document. No rules at all: it never matches."""

    namespace: str
    name: str
    action: Action
    rules: tuple[Rule, ...]
    selector: Mapping[str, str] = field(default_factory=dict)
    targets: tuple[TargetRef, ...] = ()
    dry_run: bool = False
    provider: str = ""

    @property
    def id(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Mesh:
    """What of the mesh's settings bears on verdicts."""

    root_namespace: str = "istio-system"
    trust_domain: str = "cluster.local"
    trust_domain_aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RequestAuthentication:
    """That tokens are looked at: without one that applies, requests have no principal, whatever token they bear."""

    namespace: str
    name: str
    selector: Mapping[str, str] = field(default_factory=dict[str, str])
    targets: tuple[TargetRef, ...] = ()
    rules: int = 0
    """How many issuers it accepts."""

    @property
    def id(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"
