"""Consul's documents as they were read, and what no document says: the settings of its servers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

ANY = "*"
DEFAULT = "default"
"""Namespace, and admin partition, of whatever names none."""
HTTP_PROTOCOLS = frozenset({"http", "http2", "grpc"})
PathKind = Literal["", "exact", "prefix", "regex"]
HeaderKind = Literal["present", "exact", "prefix", "suffix", "contains", "regex"]


@dataclass(frozen=True, slots=True)
class Header:
    """One condition on a header. But for `present`, none of them holds of a header that is not there."""

    name: str
    """In lower case."""
    kind: HeaderKind
    text: str = ""
    invert: bool = False
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class Permission:
    """What is done with requests that are so. Nothing given = all requests."""

    allows: bool
    path_kind: PathKind = ""
    path: str = ""
    headers: tuple[Header, ...] = ()
    methods: tuple[str, ...] = ()
    """In capitals; none = any."""
    providers: tuple[str, ...] = ()
    """A token of one of these is asked for, where there are any."""


@dataclass(frozen=True, slots=True)
class Source:
    """Callers, and what is done with their calls: one intention."""

    name: str
    namespace: str = ""
    """Empty = that of the destination, or `default` where that one is `*`, or of a peer or a sameness group."""
    partition: str = ""
    peer: str = ""
    group: str = ""
    """A sameness group."""
    allows: bool | None = None
    """None = the permissions say."""
    permissions: tuple[Permission, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceIntentions:
    """All intentions of one destination."""

    namespace: str
    name: str
    """Of the document: the destination's, or the resource's in Kubernetes."""
    destination: str
    sources: tuple[Source, ...]
    destination_namespace: str = DEFAULT
    destination_partition: str = DEFAULT
    providers: tuple[str, ...] = ()
    """Every request needs a token of one of these, where there are any."""

    @property
    def id(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Defaults:
    """What bears on verdicts of `service-defaults` (of one service) or `proxy-defaults` (of all)."""

    namespace: str
    name: str
    of_all: bool = False
    protocol: str = ""
    """Empty = not said here."""
    mutual_tls: Literal["", "strict", "permissive"] = ""
    exposed_paths: tuple[str, ...] = ()
    """Served without mutual TLS and without intentions, on a port of their own."""
    exposes_checks: bool = False
    """So are the paths of the service's health checks, which the document does not name."""

    @property
    def id(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


Document = ServiceIntentions | Defaults


@dataclass(frozen=True, slots=True)
class Peer:
    """A peered cluster, as its trust bundle says."""

    trust_domain: str
    partition: str = DEFAULT
    """From which it exports its services."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the servers are set to."""

    default_allow: bool | None = None
    """Whether calls pass of which no intention is: ACLs are off, or their default is `allow`. None = not told."""
    default_intention_policy: Literal["", "allow", "deny"] = ""
    """The agents' `default_intention_policy`, which counts before `default_allow`; empty = not set."""
    trust_domain: str = ""
    """Such as `11111111-2222-3333-4444-555555555555.consul`; empty = not told, any but a known peer's is our own."""
    partition: str = DEFAULT
    """In which the destinations are."""
    namespaces: bool = False
    """Whether services are in the namespace of Consul that is called as theirs in Kubernetes (Enterprise edition)."""
    peers: Mapping[str, Peer] = field(default_factory=dict[str, Peer])
    """By the name that sources give them. Whether a call came from any other one is not known."""

    @property
    def allows(self) -> bool | None:
        """What holds where no intention does; None = not told."""
        return self.default_intention_policy == "allow" if self.default_intention_policy else self.default_allow
