"""Linkerd's documents → a program for one destination, as the proxy of its pods judges.

A port is governed by the oldest Server that selects it, else by the default policy. Whoever a Server authorizes is let
in; where routes are attached to it, the best match also decides who else is, and what matches none of them is turned
away (with 404, which denies as 403 does).

Source: linkerd2, policy-controller/k8s/index/src/inbound/index.rs; linkerd2-proxy, linkerd/app/inbound/src/policy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from analyzers.policy.formula import (
    FALSE,
    TRUE,
    Constant,
    Field,
    Formula,
    Ports,
    Program,
    Step,
    Transport,
    Unknown,
    both,
    either,
    no,
)
from analyzers.policy.linkerd.grants import LOCALHOST, Authentications, Grant, access, default_grant
from analyzers.policy.linkerd.model import (
    AuthorizationPolicy,
    Document,
    Route,
    Server,
    ServerAuthorization,
    Settings,
    age,
)
from analyzers.policy.linkerd.route_order import Candidate, candidates
from analyzers.policy.workloads import Cluster, Workload

_Named = TypeVar("_Named", ServerAuthorization, AuthorizationPolicy)
NO_ROUTE, NO_AUTHORIZATION = "no route", "no authorization"
"""Rules of a denial that no route and no authorization made."""


@dataclass(frozen=True, slots=True)
class _Governed:
    """What one Server says of the calls that it governs."""

    server: Server
    when: Formula
    grants: Sequence[Grant]
    candidates: Sequence[tuple[Candidate, Sequence[Grant]]] | None
    """With whom the route lets in beside the Server; None = no routes."""

    def steps(self) -> Iterator[Step]:
        if self.candidates is None:
            yield from _let_in(self.when, self.grants)
            yield Step(False, self.when, self.server.id, NO_AUTHORIZATION)
            return
        some = either([one.when for one, _ in self.candidates])
        yield from _let_in(both([self.when, some]), self.grants)
        for one, grants in self.candidates:
            matched = both([self.when, one.when])
            yield from _let_in(matched, grants)
            yield Step(False, matched, self.server.id, place(one.route))
        yield Step(False, self.when, self.server.id, NO_ROUTE)

    def surely(self) -> Formula:
        """Holds of calls that are let in whichever of the routes decides."""
        by_server = either([one.who for one in self.grants])
        if self.candidates is None:
            return by_server
        some = either([one.when for one, _ in self.candidates])
        each = [either([no(one.when), *(grant.who for grant in grants)]) for one, grants in self.candidates]
        return both([some, either([by_server, both(each)])])


def program(
    documents: Sequence[Document], destination: Workload, cluster: Cluster, settings: Settings, transport: Transport
) -> Program:
    """What decides about calls that arrive at `destination` over `transport`."""
    default = default_grant(destination, cluster, settings)
    governed = list(_governed(documents, destination, settings, transport))
    steps = [step for one in governed for step in one.steps() if step.when != FALSE]
    surely: Formula = FALSE
    if governed:
        # Lines that do not tell the port: all Servers may let in, and the default policy too.
        each = [either([no(one.when), one.surely()]) for one in governed]
        surely = both([*each, either([*(one.when for one in governed), default])])
    if default not in (TRUE, FALSE):
        steps.append(Step(True, default, "", ""))
    return Program(tuple(steps), default == TRUE, surely)


def _governed(
    documents: Sequence[Document], destination: Workload, settings: Settings, transport: Transport
) -> Iterator[_Governed]:
    own = [one for one in documents if one.namespace == destination.namespace]
    servers = sorted((one for one in own if isinstance(one, Server)), key=lambda one: (age(one), one.name))
    authentications = Authentications(documents, settings)
    for server in servers:
        when = both([_selected(server, destination), _port(server, destination)])
        if when == FALSE:
            continue
        routes = [one for one in own if isinstance(one, Route) and _is_of(one, server, transport)]
        found = [(one, _of_route(own, one.route, authentications)) for one in candidates(routes)] if routes else None
        yield _Governed(server, when, _of_server(own, server, authentications, settings), found)


def _selected(server: Server, destination: Workload) -> Formula:
    if server.selector is None:
        return FALSE
    selected = destination.selected(server.selector)
    return Unknown(Field.LABELS) if selected is None else Constant(selected)


def _port(server: Server, destination: Workload) -> Formula:
    """A name is that of all ports of the pods that bear it; pods without any named port may not be known well."""
    if isinstance(server.port, int):
        return Ports(Field.DESTINATION_PORT, ((server.port, server.port),))
    if not destination.ports:
        return Unknown(Field.LABELS)
    numbers = destination.ports.get(server.port, ())
    return Ports(Field.DESTINATION_PORT, tuple((one, one) for one in numbers)) if numbers else FALSE


def _is_of(route: Route, server: Server, transport: Transport) -> bool:
    if transport != "http" or server.name not in route.servers:
        return False
    return server.protocol in (("gRPC",) if route.kind == "GRPCRoute" else ("unknown", "HTTP/1", "HTTP/2"))


def place(of: Server | Route) -> str:
    """Where an authorization was attached, or what denied: `Server api`, `HTTPRoute read`."""
    return f"{of.kind if isinstance(of, Route) else 'Server'} {of.name}"


def _of_server(
    own: Sequence[Document], server: Server, authentications: Authentications, settings: Settings
) -> Sequence[Grant]:
    labels = dict(server.labels)
    found = [
        Grant(authentications.server_authorization(one), one.id, f"ServerAuthorization at {place(server)}")
        for one in _by_name(one for one in own if isinstance(one, ServerAuthorization))
        if (one.server == server.name if isinstance(one.server, str) else one.server(labels))
    ]
    found += [
        Grant(authentications.policy(one), one.id, f"AuthorizationPolicy at {place(server)}")
        for one in _by_name(one for one in own if isinstance(one, AuthorizationPolicy))
        if one.target.kind == "Namespace" or (one.target.kind == "Server" and one.target.name == server.name)
    ]
    found.append(Grant(access(server.access, settings), server.id, f"accessPolicy {server.access}"))
    return [*found, Grant(LOCALHOST, "", "")]


def _of_route(own: Sequence[Document], route: Route, authentications: Authentications) -> Sequence[Grant]:
    return [
        Grant(authentications.policy(one), one.id, f"AuthorizationPolicy at {place(route)}")
        for one in _by_name(one for one in own if isinstance(one, AuthorizationPolicy))
        if (one.target.group, one.target.kind, one.target.name) == (route.group, route.kind, route.name)
    ]


def _by_name(documents: Iterator[_Named]) -> list[_Named]:
    return sorted(documents, key=lambda one: one.name)


def _let_in(when: Formula, grants: Sequence[Grant]) -> Iterator[Step]:
    for grant in grants:
        yield Step(True, both([when, grant.who]), grant.policy, grant.rule)
        if grant.who == TRUE:
            return
