"""Linkerd's Servers, routes and authorizations: what lets nobody in, everybody, or is never looked at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from analyzers.policy.linkerd.model import (
    LINKERD,
    AuthorizationPolicy,
    Block,
    Clients,
    GrpcMatch,
    HttpMatch,
    MeshTLSAuthentication,
    NetworkAuthentication,
    Route,
    Server,
    ServerAuthorization,
    Settings,
    age,
)
from analyzers.policy.lint.addresses import HOST_BITS, network_remarks
from analyzers.policy.lint.model import Check, Remark, Subject, found_at, shown
from analyzers.policy.lint.selecting import SELECTS_NOTHING, impossible, selects_all_of
from analyzers.policy.selectors import Selector

DANGLING_AUTHENTICATION = Check("dangling-authentication", "error", "an authentication that no document is")
DANGLING_TARGET = Check("dangling-target", "warning", "a Server or a route that no document is")
EVERYBODY = Check("everybody", "warning", "an authorization of everybody")
NOBODY_NAMED = Check("nobody-named", "error", "a ServerAuthorization that names no clients")
CLUSTER_ONLY = Check("cluster-only", "note", "an authorization of everybody without networks")
ANY_IDENTITY = Check("any-identity", "warning", "an authentication of every identity")
LITERAL_STAR = Check("literal-star", "error", "a * that is not the first label of an identity")
NOBODY_LET_IN = Check("nobody-let-in", "warning", "a Server that no document lets anybody in to")
OPEN_SERVER = Check("open-server", "warning", "a Server whose accessPolicy asks for no identity")
OPEN_DEFAULT = Check("open-default", "warning", "a default policy that asks for no identity")
SERVER_OVERLAP = Check("server-overlap", "warning", "two Servers of the same pods and port")
ROUTE_UNUSED = Check("route-unused", "error", "a route of a Server whose protocol has no such routes")
ROUTES_TURN_AWAY = Check("routes-turn-away", "note", "routes of a Server, none of which is for every path")
CHECKS = (
    *(DANGLING_AUTHENTICATION, DANGLING_TARGET, EVERYBODY, NOBODY_NAMED, CLUSTER_ONLY, ANY_IDENTITY, LITERAL_STAR),
    *(NOBODY_LET_IN, OPEN_SERVER, OPEN_DEFAULT, SERVER_OVERLAP, ROUTE_UNUSED, ROUTES_TURN_AWAY, HOST_BITS),
    SELECTS_NOTHING,
)
MAX_SERVERS = 1_000
"""Servers of one port and namespace that each younger one is held against."""
_OPEN = ("all-unauthenticated", "cluster-unauthenticated", "audit")
_HTTP = ("unknown", "HTTP/1", "HTTP/2")
_T = TypeVar("_T")


class _Set:
    """All of Linkerd's documents."""

    def __init__(self, subjects: Sequence[Subject]) -> None:
        self.servers = _of(subjects, Server)
        self.routes = _of(subjects, Route)
        self.policies = _of(subjects, AuthorizationPolicy)
        self.server_authorizations = _of(subjects, ServerAuthorization)
        self.meshtls = _of(subjects, MeshTLSAuthentication)
        self.networks = _of(subjects, NetworkAuthentication)
        self.named = {("Server", one.namespace, one.name) for _, one in self.servers}
        self.named |= {(f"{one.group}/{one.kind}", one.namespace, one.name) for _, one in self.routes}
        self.named |= {("MeshTLSAuthentication", one.namespace, one.name) for _, one in self.meshtls}
        self.named |= {("NetworkAuthentication", one.namespace, one.name) for _, one in self.networks}
        self.blocks = {(one.namespace, one.name): one.networks for _, one in self.networks}
        self.targets, self.by_label = self._targets()
        self.own_servers: dict[str, list[Server]] = defaultdict(list)
        for _, one in self.servers:
            self.own_servers[one.namespace].append(one)

    def _targets(self) -> tuple[set[tuple[str, str, str]], Mapping[str, Sequence[Selector]]]:
        """Namespaces and Servers that something lets in to, if only by a route, and selectors of Servers."""
        found: set[tuple[str, str, str]] = set()
        routes: set[tuple[str, str, str]] = set()
        for _, one in self.policies:
            target = one.target
            if target.kind in ("Server", "Namespace"):
                found.add((target.kind, one.namespace, target.name if target.kind == "Server" else ""))
            else:
                routes.add((f"{target.group}/{target.kind}", one.namespace, target.name))
        for _, one in self.routes:
            if (f"{one.group}/{one.kind}", one.namespace, one.name) in routes:
                found |= {("Server", one.namespace, name) for name in one.servers}
        selectors: dict[str, list[Selector]] = defaultdict(list)
        for _, one in self.server_authorizations:
            if isinstance(one.server, str):
                found.add(("Server", one.namespace, one.server))
            else:
                selectors[one.namespace].append(one.server)
        return found, selectors


def _of(subjects: Sequence[Subject], kind: type[_T]) -> Sequence[tuple[Subject, _T]]:
    return [(one, one.model) for one in subjects if isinstance(one.model, kind)]


def remarks(subjects: Sequence[Subject]) -> Iterator[Remark]:
    """What is to be said of Linkerd's documents, of which others may be among `subjects`."""
    every = _Set(subjects)
    yield from _servers(every)
    yield from _routes(every)
    for subject, policy in every.policies:
        yield from _policy(subject, policy, every)
    for subject, one in every.server_authorizations:
        yield from _server_authorization(subject, one, every)
    for subject, one in every.meshtls:
        yield from _identities(subject, one.clients, "spec.identities")
    for subject, one in every.networks:
        yield from _blocks(subject, one.networks, "spec.networks")
    for subject, one in _of(subjects, Settings):
        if one.default_policy in _OPEN:
            yield subject.remark(
                OPEN_DEFAULT,
                "data.values",
                f"defaultInboundPolicy {one.default_policy} lets callers without an identity in where no Server is: "
                "write all-authenticated, or deny",
            )


def _servers(every: _Set) -> Iterator[Remark]:
    ordered = sorted(every.servers, key=lambda one: (age(one[1]), one[1].name))
    same_port: dict[tuple[str, int | str], list[Server]] = defaultdict(list)
    for subject, server in ordered:
        if server.selector is not None and impossible(server.selector):
            yield subject.remark(
                SELECTS_NOTHING, "spec.podSelector", "no pod can bear such labels: take out one of the requirements"
            )
        if server.access in _OPEN:
            yield subject.remark(
                OPEN_SERVER,
                "spec.accessPolicy",
                f"accessPolicy {server.access} lets callers without an identity in, whatever else authorizes: "
                "write deny, and an AuthorizationPolicy for those who may call",
            )
        elif server.access == "deny" and not _lets_in(server, every):
            yield subject.remark(
                NOBODY_LET_IN,
                "",
                "no authorization here is for it, so whoever calls is refused: "
                "add an AuthorizationPolicy whose targetRef names it",
            )
        before = same_port[server.namespace, server.port]
        older = next((one for one in before[:MAX_SERVERS] if _selects_all(one, server)), None)
        before.append(server)
        if older is not None:
            yield subject.remark(
                SERVER_OVERLAP,
                "spec.podSelector",
                f"{older.id[:120]} has the same port of these pods and comes first (by age, then by name), "
                "so this Server says nothing: remove one of both",
            )


def _selects_all(older: Server, younger: Server) -> bool:
    if older.selector is None or younger.selector is None:
        return False
    return selects_all_of(older.selector, younger.selector)


def _lets_in(server: Server, every: _Set) -> bool:
    if every.targets & {("Namespace", server.namespace, ""), ("Server", server.namespace, server.name)}:
        return True
    labels = dict(server.labels)
    return any(one(labels) for one in every.by_label.get(server.namespace, ()))


def _routes(every: _Set) -> Iterator[Remark]:
    servers = {(one.namespace, one.name): one for _, one in every.servers}
    turning_away: dict[tuple[str, str], list[Subject]] = {}
    whole: set[tuple[str, str]] = set()
    for subject, route in every.routes:
        for name in route.servers:
            server = servers.get((route.namespace, name))
            if server is None:
                yield subject.remark(
                    DANGLING_TARGET,
                    "spec.parentRefs",
                    f"no Server {shown(name)} is in these documents, so the route is of none: name one that is",
                )
                continue
            if server.protocol not in (("gRPC",) if route.kind == "GRPCRoute" else _HTTP):
                yield subject.remark(
                    ROUTE_UNUSED,
                    "spec.parentRefs",
                    f"Server {shown(name)} has proxyProtocol {server.protocol}, which takes no {route.kind}, so it is "
                    "never looked at: change one of both",
                )
                continue
            key = route.namespace, name
            turning_away.setdefault(key, []).append(subject)
            if not route.hostnames and any(_is_whole(rule) for rule in route.rules):
                whole.add(key)
    for key, found in turning_away.items():
        if key not in whole:
            yield found[0].remark(
                ROUTES_TURN_AWAY,
                "spec.rules",
                f"requests at Server {shown(key[1])} that match no route get 404, probes of the pods too: "
                "add a route for them",
            )


def _is_whole(rule: Sequence[HttpMatch | GrpcMatch]) -> bool:
    return not rule or any(one in (HttpMatch(), GrpcMatch()) for one in rule)


def _policy(subject: Subject, policy: AuthorizationPolicy, every: _Set) -> Iterator[Remark]:
    target = policy.target
    kind = target.kind if target.kind in ("Server", "Namespace") else f"{target.group}/{target.kind}"
    if kind != "Namespace" and (kind, policy.namespace, target.name) not in every.named:
        yield subject.remark(
            DANGLING_TARGET,
            "spec.targetRef",
            f"no {target.kind} {shown(target.name)} of group {target.group or LINKERD} is in these documents, "
            "so it authorizes nothing: name one that is",
        )
    for at, one in enumerate(policy.required):
        if one.kind != "ServiceAccount" and (one.kind, one.namespace, one.name) not in every.named:
            yield subject.remark(
                DANGLING_AUTHENTICATION,
                f"spec.requiredAuthenticationRefs[{at}]",
                f"no {one.kind} {one.namespace[:60]}/{one.name[:60]} is in these documents, "
                "which voids the whole policy: name one that is",
            )
    by_address = [one for one in policy.required if one.kind == "NetworkAuthentication"]
    if len(by_address) == len(policy.required) and all(
        _is_everywhere(every.blocks.get((one.namespace, one.name), ())) for one in by_address
    ):
        yield subject.remark(
            EVERYBODY,
            "spec.requiredAuthenticationRefs",
            "everybody is let in, also callers without an identity: name a MeshTLSAuthentication or a ServiceAccount",
        )


def _is_everywhere(blocks: Sequence[Block]) -> bool:
    return any(one.network.prefixlen == 0 and not one.excepted for one in blocks)


def _server_authorization(subject: Subject, one: ServerAuthorization, every: _Set) -> Iterator[Remark]:
    selected = (
        ("Server", one.namespace, one.server) in every.named
        if isinstance(one.server, str)
        else any(one.server(dict(server.labels)) for server in every.own_servers.get(one.namespace, ()))
    )
    if not selected:
        yield subject.remark(
            DANGLING_TARGET,
            "spec.server",
            "no Server in these documents is so, so it authorizes nothing: name one that is",
        )
    if one.clients == "nobody":
        yield subject.remark(
            NOBODY_NAMED, "spec.client", "it names no clients, so it is not looked at: write meshTLS with identities"
        )
    elif one.clients in ("anybody", "tls"):
        if one.networks and not _is_everywhere(one.networks):
            pass
        elif one.networks or one.clients == "tls":
            yield subject.remark(
                EVERYBODY,
                "spec.client",
                "everybody is let in, also callers without an identity: write meshTLS with identities",
            )
        else:
            yield subject.remark(
                CLUSTER_ONLY,
                "spec.client",
                "whoever calls from the cluster's networks is let in, nobody from outside of them: "
                "write meshTLS with identities, or networks",
            )
    if isinstance(one.clients, Clients):
        yield from _identities(subject, one.clients, "spec.client.meshTLS.identities")
    yield from _blocks(subject, one.networks, "spec.client.networks")


def _identities(subject: Subject, clients: Clients, at: str) -> Iterator[Remark]:
    for place, text in enumerate(clients.identities):
        if text == "*":
            yield subject.remark(
                ANY_IDENTITY,
                f"{at}[{place}]",
                "every identity is let in but SPIFFE ids, which * does not match: write those that may call",
            )
        elif "*" in text.removeprefix("*."):
            yield subject.remark(
                LITERAL_STAR,
                f"{at}[{place}]",
                f"only *. at the beginning stands for other letters, so {shown(text)} is met by nobody: "
                "write *. before the part that all have",
            )


def _blocks(subject: Subject, blocks: Sequence[Block], at: str) -> Iterator[Remark]:
    for place in range(len(blocks)):
        written = found_at(subject.root, f"{at}[{place}].cidr")
        if written is not None and written.is_text:
            for check, message in network_remarks(written.text()):
                yield subject.remark(check, f"{at}[{place}].cidr", message)
