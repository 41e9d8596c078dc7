"""SMI's targets of one service account → a program, as the proxies of Open Service Mesh would judge.

A connection must come from one of a target's sources, to a port of its TCPRoutes where it names some. A request must
also be of a route, and its caller one of those that the targets with this route name. Proxies take the first route that
matches; as OSM takes targets in no fixed order, it is not known which one that is where several match and they differ.

Source: openservicemesh/osm, pkg/catalog, pkg/trafficpolicy and pkg/envoy (lds, rds, rbac).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from analyzers.policy.formula import (
    FALSE,
    TRUE,
    And,
    Attribute,
    Equals,
    Field,
    Formula,
    Matches,
    Ports,
    Prefix,
    Present,
    Program,
    Step,
    Subject,
    Transport,
    Unknown,
    both,
    either,
    no,
)
from analyzers.policy.smi.model import (
    ANY_METHOD,
    ANY_PATH,
    HTTP,
    TCP,
    Account,
    Document,
    HTTPRouteGroup,
    Match,
    MeshConfig,
    Settings,
    TCPRoute,
    TrafficTarget,
)
from analyzers.policy.workloads import Cluster, Workload

_WORKLOAD = "workload:"
_Key = tuple[str, tuple[str, ...], tuple[tuple[str, str], ...]]


@dataclass(frozen=True, slots=True)
class _Target:
    """A target that may be the destination's."""

    target: TrafficTarget
    applies: Formula
    callers: Formula
    """TRUE where it names none."""
    ports: Sequence[tuple[str, tuple[int, ...]]] | None
    """Of its TCPRoutes, by their names; None = one of them is not there, which takes the target's connections away."""
    routes: Sequence[tuple[str, Match]]
    """`group/match`, as they are to be named."""


def program(
    documents: Sequence[Document], destination: Workload, cluster: Cluster, settings: Settings, transport: Transport
) -> Program:
    """What decides about calls that arrive at `destination` over `transport`."""
    modes = [one.permissive for one in documents if isinstance(one, MeshConfig)]
    permissive = modes[0] if modes else settings.permissive
    if permissive:
        return Program((), True)
    targets = [*_targets(documents, destination, cluster, settings)]
    steps = [] if permissive is not None else [Step(True, Unknown(Field.CONTROLLER), "", "")]
    connections = [step for one in targets for step in _connections(one)]
    if transport == "tcp":
        steps.extend(connections)
    else:
        steps.append(Step(False, no(either([step.when for step in connections])), "", ""))
        steps.extend(_requests(targets))
    return Program(tuple(step for step in steps if step.when != FALSE), False)


def _targets(
    documents: Sequence[Document], destination: Workload, cluster: Cluster, settings: Settings
) -> Iterator[_Target]:
    groups = {(one.namespace, one.name): one for one in documents if isinstance(one, HTTPRouteGroup)}
    tcp = {(one.namespace, one.name): one for one in documents if isinstance(one, TCPRoute)}
    for target in documents:
        if not isinstance(target, TrafficTarget) or not _is_taken(target):
            continue
        applies = _applies(target, destination)
        if applies == FALSE:
            continue
        named = [tcp.get((target.namespace, rule.name)) for rule in target.rules if rule.kind == TCP]
        present = [(route.name, route.ports) for route in named if route is not None]
        yield _Target(
            target=target,
            applies=applies,
            callers=_is_one_of(target.sources, cluster, settings) if target.sources else TRUE,
            ports=present if len(present) == len(named) else None,
            routes=[*_routes(target, groups)],
        )


def _is_taken(target: TrafficTarget) -> bool:
    return bool(target.rules) and all(rule.kind in (HTTP, TCP) for rule in target.rules)


def _applies(target: TrafficTarget, destination: Workload) -> Formula:
    if target.namespace != destination.namespace:
        return FALSE
    if destination.accounts == (target.account,):
        return TRUE
    # Pods of the workload may run as different accounts.
    return Unknown(Field.ACCOUNTS) if not destination.accounts or target.account in destination.accounts else FALSE


def _routes(target: TrafficTarget, groups: Mapping[tuple[str, str], HTTPRouteGroup]) -> Iterator[tuple[str, Match]]:
    for rule in target.rules:
        group = groups.get((target.namespace, rule.name)) if rule.kind == HTTP else None
        matches = {match.name: match for match in group.matches} if group else {}
        for name in rule.matches:
            if name in matches:
                yield f"{rule.name}/{name}", matches[name]


def _connections(one: _Target) -> Iterator[Step]:
    if one.ports is None:
        return
    caller = both([one.applies, one.callers])
    if not any(ports for _, ports in one.ports):
        yield Step(True, caller, one.target.id, "")
    for name, ports in one.ports:
        if ports:
            to_port = Ports(Field.DESTINATION_PORT, tuple((port, port) for port in ports))
            yield Step(True, both([caller, to_port]), one.target.id, name)


def _key(match: Match) -> _Key:
    return match.path, match.methods, match.headers


def _requests(targets: Sequence[_Target]) -> Iterator[Step]:
    """Equal routes of several targets are one, with the callers of all that name some."""
    routes: dict[_Key, list[_Target]] = {}
    for one in targets:
        for _, match in one.routes:
            own = routes.setdefault(_key(match), [])
            if one not in own:
                own.append(one)
    callers = {key: _callers(own) for key, own in routes.items()}
    if len(set(callers.values())) > 1:
        refusing = [
            both([_matches(key), either([one.applies for one in own]), no(callers[key])]) for key, own in routes.items()
        ]
        yield Step(False, both([either(refusing), Unknown(Field.CONTROLLER)]), "", "")
    for one in targets:
        for name, match in one.routes:
            key = _key(match)
            is_named = one.callers if one.target.sources else _names_none(routes[key])
            yield Step(True, both([one.applies, is_named, _matches(key)]), one.target.id, name)


def _callers(targets: Sequence[_Target]) -> Formula:
    named = [both([one.applies, one.callers]) for one in targets if one.target.sources]
    # A target without sources lets everybody in, but only where no other target of the route names some.
    if len(named) < len(targets):
        exists = either([one.applies for one in targets if not one.target.sources])
        named.append(both([exists, _names_none(targets)]))
    return either(named)


def _names_none(targets: Sequence[_Target]) -> Formula:
    return no(either([one.applies for one in targets if one.target.sources]))


def _is_one_of(accounts: Sequence[Account], cluster: Cluster, settings: Settings) -> Formula:
    """Whether the caller runs as one of these, by its certificate, else by the workload that it is."""
    names = [f"{one.name}.{one.namespace}.{settings.trust_domain}" for one in accounts]
    yes: list[str] = []
    others: list[str] = []
    for workload in cluster.workloads.values():
        if not workload.accounts:
            continue
        own = {Account(workload.namespace, name) in accounts for name in workload.accounts}
        if own == {True}:
            yes.append(_WORKLOAD + workload.id)
        elif own == {False}:
            others.append(_WORKLOAD + workload.id)
    is_one = Equals(Field.CALLER, tuple(dict.fromkeys([*names, *yes])))
    unknown = And(
        (
            Prefix(Field.CALLER, _WORKLOAD),
            no(Equals(Field.CALLER, (*yes, *others))),
            Unknown(Field.CALLER),
        )
    )
    return either([is_one, unknown])


def _matches(key: _Key) -> Formula:
    path, methods, headers = key
    parts: list[Formula] = []
    if path != ANY_PATH:
        parts.append(Matches(Field.PATH, path))
    if ANY_METHOD not in methods:
        parts.append(Equals(Field.METHOD, methods))
    for name, regex in headers:
        subject = _header(name)
        # A header that is not there matches nothing, not even an expression of the empty text.
        parts.extend([Present(subject), Matches(subject, regex)])
    return both(parts)


def _header(name: str) -> Subject:
    match name.lower():
        case "host" | ":authority":
            return Field.AUTHORITY
        case ":method":
            return Field.METHOD
        case lower:
            return Attribute(f"request.headers.{lower}")
