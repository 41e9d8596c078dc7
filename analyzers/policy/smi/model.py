"""SMI's documents as they were read, and what bears on verdicts of Open Service Mesh's own settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

HTTP, TCP = "HTTPRouteGroup", "TCPRoute"
RuleKind = Literal["HTTPRouteGroup", "TCPRoute", "UDPRoute"]
ANY_METHOD, ANY_PATH = "*", ".*"


@dataclass(frozen=True, slots=True)
class Account:
    """A service account, which is who a pod is."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Rule:
    """What a target lets through: routes of its own namespace."""

    kind: RuleKind
    name: str
    matches: tuple[str, ...] = ()
    """Names of an HTTPRouteGroup's matches. None named = none let through, other than the specification has it."""


@dataclass(frozen=True, slots=True)
class TrafficTarget:
    """Who may call the pods of a service account of its own namespace."""

    namespace: str
    name: str
    account: str
    sources: tuple[Account, ...]
    """None = whoever is in the mesh."""
    rules: tuple[Rule, ...]

    @property
    def id(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Match:
    """Requests that are so: all of path, one of the methods, and all of each header."""

    name: str
    path: str = ANY_PATH
    methods: tuple[str, ...] = (ANY_METHOD,)
    headers: tuple[tuple[str, str], ...] = ()
    """Names as they stand, with a regular expression each; sorted."""


@dataclass(frozen=True, slots=True)
class HTTPRouteGroup:
    """Matches by their names."""

    namespace: str
    name: str
    matches: tuple[Match, ...]


@dataclass(frozen=True, slots=True)
class TCPRoute:
    """Ports of pods."""

    namespace: str
    name: str
    ports: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MeshConfig:
    """Open Service Mesh's settings."""

    namespace: str
    name: str
    permissive: bool
    """Everybody in the mesh is let in, whatever the targets say."""


Document = TrafficTarget | HTTPRouteGroup | TCPRoute | MeshConfig


@dataclass(frozen=True, slots=True)
class Settings:
    """What no document says."""

    permissive: bool | None = None
    """Permissive mode, where no MeshConfig is given. None = not told."""
    trust_domain: str = "cluster.local"
