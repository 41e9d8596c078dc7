"""Whom an authorization lets in, as formulas: by identity, by address, or by what holds without any authorization.

Source: linkerd2-proxy, linkerd/app/inbound/src/policy.rs; linkerd2, policy-controller/k8s/index/src/{defaults,
cluster_info}.rs and inbound/{server_authorization,index,workload}.rs.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from analyzers.policy.formula import (
    FALSE,
    TRUE,
    Equals,
    Field,
    Formula,
    Ports,
    Prefix,
    Present,
    Suffix,
    Unknown,
    Within,
    both,
    either,
    no,
)
from analyzers.policy.linkerd.model import (
    DEFAULT_POLICIES,
    AuthorizationPolicy,
    Block,
    Clients,
    DefaultPolicy,
    Document,
    MeshTLSAuthentication,
    NetworkAuthentication,
    ServerAuthorization,
    Settings,
)
from analyzers.policy.workloads import Cluster, Labels, Workload

DEFAULT_INBOUND_POLICY = "config.linkerd.io/default-inbound-policy"
REQUIRE_IDENTITY = "config.linkerd.io/proxy-require-identity-inbound-ports"
"""Annotations of pods, which the injector copies from their namespace."""
_SPIFFE = Prefix(Field.PRINCIPAL, "spiffe://")
AUTHENTICATED = both([Present(Field.PRINCIPAL), no(_SPIFFE)])
"""Whose identity is a name: only those have an ending, the empty one included."""
# `tls` is also what the proxy passes on to a pod that ends it itself.
_OVER_TLS = either([Equals(Field.TLS, ("mtls",)), both([Equals(Field.TLS, ("tls",)), Unknown(Field.TLS)])])
LOCALHOST = Within(Field.SOURCE_IP, (ipaddress.ip_network("127.0.0.1/32"), ipaddress.ip_network("::1/128")))
"""The proxy always lets its own pod in."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Who is let in, and by what."""

    who: Formula
    policy: str
    rule: str


class Authentications:
    """What AuthorizationPolicies refer to, by namespace and name."""

    def __init__(self, documents: Sequence[Document], settings: Settings) -> None:
        self._settings = settings
        self._clients = {
            (one.namespace, one.name): one.clients for one in documents if isinstance(one, MeshTLSAuthentication)
        }
        self._networks = {
            (one.namespace, one.name): one.networks for one in documents if isinstance(one, NetworkAuthentication)
        }

    def server_authorization(self, authorization: ServerAuthorization) -> Formula:
        """Whom it lets in. Without networks: only from the cluster's."""
        own, clients = authorization.networks, authorization.clients
        networks = _within(own) if own else Within(Field.SOURCE_IP, self._settings.cluster_networks)
        match clients:
            case "nobody":
                return FALSE
            case "anybody":
                return networks
            case "tls":
                return both([_OVER_TLS, networks])
            case Clients():
                return both([self._any_of(clients), networks])

    def policy(self, policy: AuthorizationPolicy) -> Formula:
        """Whom it lets in. One authentication that does not exist voids it; without networks: from anywhere."""
        parts: list[Formula] = []
        for one in policy.required:
            key = one.namespace, one.name
            match one.kind:
                case "ServiceAccount":
                    parts.append(self._any_of(Clients(accounts=(key,))))
                case "MeshTLSAuthentication":
                    parts.append(self._any_of(self._clients[key]) if key in self._clients else FALSE)
                case "NetworkAuthentication":
                    parts.append(_within(self._networks[key]) if key in self._networks else FALSE)
        return both(parts)

    def _any_of(self, clients: Clients) -> Formula:
        domain = f"serviceaccount.identity.{self._settings.control_plane_namespace}.{self._settings.trust_domain}"
        identities = (
            *clients.identities,
            *(f"{name}.{namespace}.{domain}" for namespace, name in clients.accounts),
            *(f"*.{namespace}.{domain}" for namespace in clients.namespaces),
        )
        endings = [one[1:] for one in identities if one.startswith("*.")]
        whole = tuple(dict.fromkeys(one for one in identities if one and one != "*" and not one.startswith("*.")))
        parts: list[Formula] = [Equals(Field.PRINCIPAL, whole)] if whole else []
        if "*" in identities:
            parts.append(AUTHENTICATED)
        elif endings:
            parts.append(both([either([Suffix(Field.PRINCIPAL, one) for one in endings]), no(_SPIFFE)]))
        return either(parts)


def _within(blocks: Sequence[Block]) -> Formula:
    plain = tuple(one.network for one in blocks if not one.excepted)
    parts: list[Formula] = [Within(Field.SOURCE_IP, plain)] if plain else []
    for one in blocks:
        if one.excepted:
            outside = no(Within(Field.SOURCE_IP, one.excepted))
            parts.append(both([Within(Field.SOURCE_IP, (one.network,)), outside]))
    return either(parts)


def access(policy: DefaultPolicy, settings: Settings) -> Formula:
    """Whom a default policy lets in, the pod itself aside."""
    networks = Within(Field.SOURCE_IP, settings.cluster_networks)
    match policy:
        case "all-unauthenticated" | "audit":
            return TRUE
        case "all-authenticated":
            return AUTHENTICATED
        case "cluster-unauthenticated":
            return networks
        case "cluster-authenticated":
            return both([AUTHENTICATED, networks])
        case "deny":
            return FALSE


def default_grant(destination: Workload, cluster: Cluster, settings: Settings) -> Formula:
    """Who is let in to ports that no Server is about.

    Where pods differ in what their annotations say, only what all of them hold is known.
    """
    if not destination.labels and not destination.annotations:
        return either([LOCALHOST, Unknown(Field.LABELS)])
    of_namespace = cluster.namespace_annotations.get(destination.namespace, {})
    each = [
        _of_annotations({**of_namespace, **annotations}, settings) for annotations in destination.annotations or ({},)
    ]
    kinds = list(dict.fromkeys(each))
    if len(kinds) == 1:
        return either([LOCALHOST, kinds[0]])
    return either([LOCALHOST, both(kinds), both([either(kinds), Unknown(Field.LABELS)])])


def _of_annotations(annotations: Labels, settings: Settings) -> Formula:
    said = annotations.get(DEFAULT_INBOUND_POLICY, "")
    # The controller takes what it cannot read for nothing said.
    policy = cast(DefaultPolicy, said) if said in DEFAULT_POLICIES else settings.default_policy
    ranges = _ports(annotations)
    if not ranges or not policy.endswith("-unauthenticated"):
        return access(policy, settings)
    strict = cast(DefaultPolicy, policy.replace("-unauthenticated", "-authenticated"))
    elsewhere = no(Ports(Field.DESTINATION_PORT, ranges))
    return either([access(strict, settings), both([elsewhere, access(policy, settings)])])


def _ports(annotations: Mapping[str, str]) -> tuple[tuple[int, int], ...]:
    """`80,1000-2000`; one part that is none makes it empty."""
    found: list[tuple[int, int]] = []
    for part in annotations.get(REQUIRE_IDENTITY, "").split(","):
        if not part.strip():
            continue
        low, dash, high = part.partition("-")
        ends = [one.strip() for one in (low, high if dash else low)]
        if not all(one.isascii() and one.isdecimal() and len(one) <= 5 for one in ends):
            return ()
        first, last = map(int, ends)
        if not 0 < first <= last <= 65535:
            return ()
        found.append((first, last))
    return tuple(found)
