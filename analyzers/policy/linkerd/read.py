"""Linkerd's documents → models, refused where its CRDs or its admission controller would refuse them.

Source of the rules: linkerd2, charts/linkerd-crds/templates/policy, policy-controller/runtime/src/admission.rs.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Literal

from analyzers.policy.documents import Value, listed
from analyzers.policy.formula import Network
from analyzers.policy.linkerd.model import (
    DEFAULT_POLICIES,
    GATEWAY,
    LINKERD,
    PROTOCOLS,
    Authentication,
    AuthenticationKind,
    AuthorizationPolicy,
    Block,
    Clients,
    DefaultPolicy,
    Document,
    MeshTLSAuthentication,
    NetworkAuthentication,
    Protocol,
    Server,
    ServerAuthorization,
    Target,
)
from analyzers.policy.linkerd.read_routes import read_grpc_route, read_http_route
from analyzers.policy.linkerd.references import created, named, reference, spec_of, text_or
from analyzers.policy.networks import read_network
from analyzers.policy.selectors import read_selector

TARGETS: Mapping[tuple[str, str], Target] = {
    (group, kind.lower()): Target(group, kind, "")  # pyright: ignore[reportArgumentType]
    for group, kind in (
        (LINKERD, "Server"),
        (LINKERD, "HTTPRoute"),
        (GATEWAY, "HTTPRoute"),
        (GATEWAY, "GRPCRoute"),
        ("", "Namespace"),
    )
}
AUTHENTICATIONS: Mapping[tuple[str, str], AuthenticationKind] = {
    (LINKERD, "meshtlsauthentication"): "MeshTLSAuthentication",
    (LINKERD, "networkauthentication"): "NetworkAuthentication",
    ("", "serviceaccount"): "ServiceAccount",
}
# Labels of names, as the CRDs have them, with the stars that IdentityMatch reads as letters.
_IDENTITY = re.compile(r"[a-z0-9*](?:[-a-z0-9*]*[a-z0-9*])?(?:\.[a-z0-9*](?:[-a-z0-9*]*[a-z0-9*])?)*")
_SPIFFE = re.compile(r"spiffe://[a-z0-9._-]+(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]+)*")


def read_server(document: Value, namespace: str) -> Server:
    """The document's model; `namespace` is of those that name none.

    Raises:
        BadPolicy: Linkerd would refuse it; says line, field and what is allowed there.
    """
    own, name = named(document, namespace)
    spec = spec_of(document)
    fields = spec.fields("podSelector", "externalWorkloadSelector", "port", "proxyProtocol", "accessPolicy")
    selectors = [fields[one] for one in ("podSelector", "externalWorkloadSelector") if one in fields]
    if len(selectors) != 1:
        spec.refuse(f"{len(selectors)} selectors, expected podSelector or externalWorkloadSelector")
    selector = read_selector(selectors[0])
    port = fields.get("port") or spec.refuse("no port, expected its number or its name")
    protocol: Protocol = fields["proxyProtocol"].one_of(*PROTOCOLS) if "proxyProtocol" in fields else "unknown"  # pyright: ignore[reportAssignmentType]
    access: DefaultPolicy = fields["accessPolicy"].one_of(*DEFAULT_POLICIES) if "accessPolicy" in fields else "deny"  # pyright: ignore[reportAssignmentType]
    metadata = document.fields()["metadata"]
    labels = metadata.get("labels")
    return Server(
        namespace=own,
        name=name,
        selector=selector if "podSelector" in fields else None,
        port=port.text() if port.is_text else port.integer(1, 65535),
        protocol=protocol,
        access=access,
        # Metadata is of Kubernetes' own kinds, whatever the document is.
        labels=tuple(sorted(labels.text_map(null="").items())) if labels else (),
        created=created(document),
    )


def read_server_authorization(document: Value, namespace: str) -> ServerAuthorization:
    """The document's model; `namespace` is of those that name none.

    Raises:
        BadPolicy: Linkerd would refuse it; says line, field and what is allowed there.
    """
    own, name = named(document, namespace)
    spec = spec_of(document)
    fields = spec.fields("server", "client")
    server = fields.get("server") or spec.refuse("no server, expected its name or a selector")
    chosen = server.fields("name", "selector")
    if len(chosen) != 1:
        server.refuse(f"{'neither' if not chosen else 'both of'} name and selector, expected one of both")
    client = fields.get("client") or spec.refuse("no client, expected who is let in")
    who = client.fields("networks", "unauthenticated", "meshTLS")
    return ServerAuthorization(
        namespace=own,
        name=name,
        server=chosen["name"].text() if "name" in chosen else read_selector(chosen["selector"]),
        networks=_blocks(who["networks"]) if "networks" in who else (),
        clients=_who(who, own),
    )


def _who(client: Mapping[str, Value], namespace: str) -> Clients | Literal["anybody", "tls", "nobody"]:
    anybody = "unauthenticated" in client and client["unauthenticated"].boolean()
    mesh = client.get("meshTLS")
    if mesh is None:
        return "anybody" if anybody else "nobody"
    if anybody:
        mesh.refuse("meshTLS beside unauthenticated, expected one of both")
    fields = mesh.fields("unauthenticatedTLS", "identities", "serviceAccounts")
    identities = _identities(fields["identities"]) if "identities" in fields else ()
    accounts = (
        tuple(_account(item, namespace) for item in fields["serviceAccounts"].items())
        if "serviceAccounts" in fields
        else ()
    )
    if "unauthenticatedTLS" in fields and fields["unauthenticatedTLS"].boolean():
        if identities or accounts:
            fields["unauthenticatedTLS"].refuse("true beside identities or serviceAccounts, expected either")
        return "tls"
    return Clients(identities, accounts) if identities or accounts else "nobody"


def _account(value: Value, namespace: str) -> tuple[str, str]:
    fields = value.fields("name", "namespace")
    name = fields.get("name") or value.refuse("no name, expected a service account's")
    return text_or(fields.get("namespace"), namespace), name.text()


def read_authorization_policy(document: Value, namespace: str) -> AuthorizationPolicy:
    """The document's model; `namespace` is of those that name none.

    Raises:
        BadPolicy: Linkerd would refuse it; says line, field and what is allowed there.
    """
    own, name = named(document, namespace)
    spec = spec_of(document)
    fields = spec.fields("targetRef", "requiredAuthenticationRefs")
    target = fields.get("targetRef") or spec.refuse("no targetRef, expected one")
    required = fields.get("requiredAuthenticationRefs")
    if required is None:
        spec.refuse("no requiredAuthenticationRefs, expected a list ([] lets everybody in)")
    found = tuple(_authentication(item, own) for item in required.items())
    if sum(one.kind != "NetworkAuthentication" for one in found) > 1:
        required.refuse("several identities, expected at most one MeshTLSAuthentication or ServiceAccount")
    if sum(one.kind == "NetworkAuthentication" for one in found) > 1:
        required.refuse("several NetworkAuthentications, expected at most one")
    return AuthorizationPolicy(own, name, _target(target, own), found)


def _target(value: Value, namespace: str) -> Target:
    group, kind, name, fields = reference(value)
    found = TARGETS.get((group, kind.lower()))
    if found is None:
        known = listed(f"{one.kind} of {one.group!r}" for one in TARGETS.values())
        fields["kind"].refuse(f"{kind[:60]!r} of group {group[:60]!r}, expected {known}")
    if found.kind == "Namespace" and name != namespace:
        fields["name"].refuse(f"{name[:60]!r}, expected the policy's own namespace, {namespace!r}")
    return Target(found.group, found.kind, name)


def _authentication(value: Value, namespace: str) -> Authentication:
    group, kind, name, fields = reference(value)
    found = AUTHENTICATIONS.get((group, kind.lower()))
    if found is None:
        fields["kind"].refuse(f"{kind[:60]!r} of group {group[:60]!r}, expected {listed(AUTHENTICATIONS.values())}")
    return Authentication(found, text_or(fields.get("namespace"), namespace), name)


def read_mesh_tls_authentication(document: Value, namespace: str) -> MeshTLSAuthentication:
    """The document's model; `namespace` is of those that name none.

    Raises:
        BadPolicy: Linkerd would refuse it; says line, field and what is allowed there.
    """
    own, name = named(document, namespace)
    spec = spec_of(document)
    fields = spec.fields("identities", "identityRefs")
    accounts: list[tuple[str, str]] = []
    namespaces: list[str] = []
    for item in fields["identityRefs"].items() if "identityRefs" in fields else ():
        group, kind, named_so, parts = reference(item)
        if (group, kind.lower()) == ("", "serviceaccount"):
            accounts.append((text_or(parts.get("namespace"), own), named_so))
        elif (group, kind.lower()) == ("", "namespace"):
            if "namespace" in parts:
                parts["namespace"].refuse("a namespace of a Namespace, expected none")
            namespaces.append(named_so)
        else:
            parts["kind"].refuse(f"{kind[:60]!r} of group {group[:60]!r}, expected ServiceAccount or Namespace")
    identities = _identities(fields["identities"]) if "identities" in fields else ()
    if not (identities or accounts or namespaces):
        spec.refuse("nobody in it, expected identities or identityRefs")
    return MeshTLSAuthentication(own, name, Clients(identities, tuple(accounts), tuple(namespaces)))


def read_network_authentication(document: Value, namespace: str) -> NetworkAuthentication:
    """The document's model; `namespace` is of those that name none.

    Raises:
        BadPolicy: Linkerd would refuse it; says line, field and what is allowed there.
    """
    own, name = named(document, namespace)
    spec = spec_of(document)
    networks = spec.fields("networks").get("networks") or spec.refuse("no networks, expected at least one")
    blocks = _blocks(networks)
    if not blocks:
        networks.refuse("an empty list, expected at least one network")
    return NetworkAuthentication(own, name, blocks)


def _identities(value: Value) -> tuple[str, ...]:
    for item in (items := value.items()):
        text = item.text()
        if not (_IDENTITY.fullmatch(text) or _SPIFFE.fullmatch(text)):
            item.refuse(f"{item.shown}, expected a name such as *.shop.serviceaccount.identity... or a SPIFFE id")
    return tuple(item.text() for item in items)


def _blocks(value: Value) -> tuple[Block, ...]:
    return tuple(_block(item) for item in value.items())


def _block(value: Value) -> Block:
    fields = value.fields("cidr", "except")
    whole = _network(fields.get("cidr") or value.refuse("no cidr, expected a network"))
    excepted: list[Network] = []
    for item in fields["except"].items() if "except" in fields else ():
        out = _network(item)
        if not _covers(whole, out):
            item.refuse(f"{item.shown} lies outside of {whole}, expected a part of it")
        if _covers(out, whole):
            item.refuse(f"{item.shown} is all of {whole}, expected a part of it")
        excepted.append(out)
    return Block(whole, tuple(excepted))


def _covers(whole: Network, part: Network) -> bool:
    if isinstance(whole, ipaddress.IPv4Network):
        return isinstance(part, ipaddress.IPv4Network) and part.subnet_of(whole)
    return isinstance(part, ipaddress.IPv6Network) and part.subnet_of(whole)


def _network(value: Value) -> Network:
    return read_network(value.text()) or value.refuse(
        f"{value.shown}, expected an address or a network such as 10.0.0.0/8"
    )


KINDS: Mapping[tuple[str, str], Callable[[Value, str], Document | None]] = {
    (LINKERD, "Server"): read_server,
    (LINKERD, "ServerAuthorization"): read_server_authorization,
    (LINKERD, "AuthorizationPolicy"): read_authorization_policy,
    (LINKERD, "MeshTLSAuthentication"): read_mesh_tls_authentication,
    (LINKERD, "NetworkAuthentication"): read_network_authentication,
    (LINKERD, "HTTPRoute"): read_http_route,
    (GATEWAY, "HTTPRoute"): read_http_route,
    (GATEWAY, "GRPCRoute"): read_grpc_route,
}
"""API group and kind → reader(document, namespace of those that name none); None = it says nothing here."""
