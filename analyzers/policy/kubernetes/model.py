"""NetworkPolicies as they were read, defaults filled in as the API server does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from analyzers.policy.formula import Network
from analyzers.policy.selectors import Selector

Protocol = Literal["TCP", "UDP", "SCTP"]
EVERYTHING = Selector()
NAME_LABEL = "kubernetes.io/metadata.name"
"""Every namespace bears it, with its own name; the API server sees to that."""


@dataclass(frozen=True, slots=True)
class Block:
    """Addresses: those of `network` that are in none of `exceptions`."""

    network: Network
    exceptions: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end: addresses, or else pods by their labels and those of their namespace."""

    pods: Selector | None = None
    """None = all pods of those namespaces."""
    namespaces: Selector | None = None
    """None = the policy's own namespace."""
    block: Block | None = None
    """Where there is one, both selectors are None."""


@dataclass(frozen=True, slots=True)
class Port:
    """Ports of one protocol at the destination: a range, a name, or all of them."""

    protocol: Protocol = "TCP"
    low: int = 1
    high: int = 65535
    name: str = ""
    """Of the destination pod's port; where there is one, the range says nothing."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Any of the peers and any of the ports. None of one kind = whichever."""

    peers: tuple[Peer, ...] = ()
    ports: tuple[Port, ...] = ()


@dataclass(frozen=True, slots=True)
class NetworkPolicy:
    """One document. Whom it isolates may talk as its rules say, and as those of others that isolate them say."""

    namespace: str
    name: str
    pods: Selector = EVERYTHING
    """Of its own namespace; without requirements: all of them."""
    ingress: tuple[Rule, ...] | None = None
    """None = it does not isolate in this direction."""
    egress: tuple[Rule, ...] | None = None
    """None = it does not isolate in this direction."""

    @property
    def id(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


Document = NetworkPolicy
