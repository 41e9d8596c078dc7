"""Which nodes have proxies that tell of their calls, and what follows where a proxy tells nothing.

    numbers of all edges + inventory ──► Proxies ──► `Edge.bypass`, and the silent side among its disagreements

An edge that only the network knows, between two ends whose proxies tell of other calls, goes around them. The exact
rule, and what else can look like a bypass, stands in docs/counting.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from analyzers.dependencies.model import Evidence
from analyzers.dependencies.names import UNKNOWN, node_id

Numbers = Mapping[Evidence, Mapping[str, Any]]
"""What each kind of evidence says of one edge: rows as the map reads them."""
Pair = tuple[str, str]

_PROXIED: tuple[Evidence, ...] = ("log", "metric")
_NEVER_PROXIED = frozenset({"udp", "sctp", "icmp", "dns"})
"""Protocols that sidecars let pass as they are."""


def injected(pods: Iterable[Mapping[str, Any]], since: datetime, until: datetime) -> Mapping[str, bool]:
    """Nodes some of whose pods had a sidecar in [since, until); true where all of them had one.

    Args:
        pods: rows of sidecars.sql.
    """
    known: dict[str, set[bool]] = {}
    for pod in pods:
        if pod["valid_from"] < until and pod["valid_to"] > since:
            known.setdefault(node_id(pod["namespace"], pod["name"]), set()).add(bool(pod["has_sidecar"]))
    return {node: False not in have for node, have in known.items() if True in have}


@dataclass(frozen=True, slots=True)
class Proxies:
    """What is known of the proxies in a window.

    Attributes:
        sending: nodes whose proxies told of calls that they sent.
        receiving: nodes whose proxies told of calls that they received.
        injected: see `injected`.
    """

    sending: frozenset[str]
    receiving: frozenset[str]
    injected: Mapping[str, bool]

    @classmethod
    def of(cls, edges: Iterable[tuple[Pair, Numbers]], injected: Mapping[str, bool]) -> Proxies:
        """From the numbers of every edge of the window."""
        sending: set[str] = set()
        receiving: set[str] = set()
        for (source, destination), evidence in edges:
            for kind in _PROXIED:
                row = evidence.get(kind)
                # An application has metrics of its calls too, but only proxies tell of mutual TLS.
                if row and (kind == "log" or row["tls_known"]):
                    if row["source_requests"]:
                        sending.add(source)
                    if row["destination_rows"]:
                        receiving.add(destination)
        # Callers that nobody can name are not one node with one proxy.
        sending.discard(UNKNOWN)
        return cls(frozenset(sending), frozenset(receiving), injected)

    def has(self, node: str) -> bool:
        """Whether all pods of a node have a proxy: the inventory says so, or knows none and the node's proxy spoke."""
        return self.injected.get(node, node in self.sending or node in self.receiving)

    def is_bypassed(self, pair: Pair, evidence: Numbers) -> bool:
        """Whether an edge goes around the proxies of both its ends."""
        if "flow" not in evidence or len(evidence) > 1 or not (self.has(pair[0]) and self.has(pair[1])):
            return False
        flows = evidence["flow"]
        let_through = flows["requests"] > flows["denied"]
        could_be_seen = any(protocol not in _NEVER_PROXIED for protocol, _ in flows["protocols"])
        # Proxies that tell of nothing at all in this window would not have told of this either.
        would_be_told = pair[0] in self.sending or pair[1] in self.receiving
        return let_through and could_be_seen and would_be_told

    def silence(self, pair: Pair, evidence: Numbers) -> list[Mapping[str, Any]]:
        """The side whose proxy tells nothing of an edge that the other one tells of, as a disagreement."""
        row = next((evidence[kind] for kind in _PROXIED if kind in evidence), None)
        if row is None:
            return []
        sent, received = row["source_requests"], row["destination_requests"]
        if sent and not row["destination_rows"] and self.receiving and self.has(pair[1]):
            return [{"what": "requests", "between": ["source", "destination"], "values": [sent, None]}]
        if received and not sent and self.sending and self.has(pair[0]):
            return [{"what": "requests", "between": ["source", "destination"], "values": [None, received]}]
        return []
