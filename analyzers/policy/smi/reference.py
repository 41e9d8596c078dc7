"""What Open Service Mesh decides about one call, slowly and plainly: the measure that compiled expressions are held to.

Written from the description of what its proxies are told, target by target, without the compiler's formulas. A call is
a mapping: a field that was not logged is missing, one that was logged as absent is the empty text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import re2  # pyright: ignore[reportMissingTypeStubs]

from analyzers.policy.decision import Call, Decision
from analyzers.policy.kleene import Truth, all_of, any_of, opposite
from analyzers.policy.smi.model import (
    Document,
    HTTPRouteGroup,
    Match,
    MeshConfig,
    Settings,
    TCPRoute,
    TrafficTarget,
)
from analyzers.policy.workloads import Cluster, Workload


@dataclass(frozen=True, slots=True)
class _Case:
    """All that verdicts rest on."""

    documents: Sequence[Document]
    destination: Workload
    cluster: Cluster
    settings: Settings
    call: Call

    @property
    def targets(self) -> list[TrafficTarget]:
        """Those that OSM looks at: of rules that it knows, and at least one."""
        found = [one for one in self.documents if isinstance(one, TrafficTarget)]
        return [one for one in found if one.rules and "UDPRoute" not in [rule.kind for rule in one.rules]]

    def group(self, namespace: str, name: str) -> HTTPRouteGroup | None:
        """By its name."""
        for one in self.documents:
            if isinstance(one, HTTPRouteGroup) and (one.namespace, one.name) == (namespace, name):
                return one
        return None

    def tcp_route(self, namespace: str, name: str) -> TCPRoute | None:
        """By its name."""
        for one in self.documents:
            if isinstance(one, TCPRoute) and (one.namespace, one.name) == (namespace, name):
                return one
        return None


def decide(
    documents: Sequence[Document], destination: Workload, cluster: Cluster, settings: Settings, call: Call
) -> Decision:
    """Judge `call`, which arrived at `destination`."""
    case = _Case(documents, destination, cluster, settings, call)
    configs = [one for one in documents if isinstance(one, MeshConfig)]
    permissive = configs[0].permissive if configs else settings.permissive
    if permissive:
        return Decision("allow")
    passes, named = _connection(case) if call["transport"] == "tcp" else _request(case)
    if permissive is None and passes is False:
        passes = None
    if passes is None:
        return Decision("unknown")
    return Decision("allow", *named) if passes and named else Decision("allow" if passes else "deny")


def _connection(case: _Case) -> tuple[Truth, tuple[str, str] | None]:
    """Whether a target lets the connection in, and which one and by which route."""
    found = [
        (target, name, _connects(target, ports, case))
        for target in case.targets
        for name, ports in _ports(target, case)
    ]
    return any_of(truth for _, _, truth in found), _first([(one.id, name, truth) for one, name, truth in found])


def _first(found: Sequence[tuple[str, str, Truth]]) -> tuple[str, str] | None:
    return next(((policy, rule) for policy, rule, truth in found if truth is True), None)


def _ports(target: TrafficTarget, case: _Case) -> list[tuple[str, tuple[int, ...]]]:
    """The target's TCPRoutes with their ports: no ports = any."""
    routes: list[TCPRoute] = []
    for rule in target.rules:
        if rule.kind == "TCPRoute":
            route = case.tcp_route(target.namespace, rule.name)
            if route is None:
                return []
            routes.append(route)
    with_ports = [(route.name, route.ports) for route in routes if route.ports]
    return with_ports or [("", ())]


def _connects(target: TrafficTarget, ports: tuple[int, ...], case: _Case) -> Truth:
    port = case.call.get("destination_port")
    to_port = True if not ports else None if port is None else port in ports
    return all_of([_applies(target, case), _is_source(target, case), to_port])


def _applies(target: TrafficTarget, case: _Case) -> Truth:
    accounts = case.destination.accounts
    if target.namespace != case.destination.namespace:
        return False
    if not accounts:
        return None
    if target.account not in accounts:
        return False
    return True if len(set(accounts)) == 1 else None


def _is_source(target: TrafficTarget, case: _Case) -> Truth:
    """Whether the caller is one of the target's sources; of none, whoever."""
    if not target.sources:
        return True
    call = case.call
    if call.get("tls") == "plaintext":
        return False
    if principal := call.get("source_principal"):
        domain = case.settings.trust_domain
        return principal in [f"{one.name}.{one.namespace}.{domain}" for one in target.sources]
    namespace, name = call.get("source_namespace"), call.get("source_workload")
    workload = case.cluster.workloads.get((namespace, name)) if namespace and name else None
    if workload is None or not workload.accounts:
        return None
    sources = [(one.namespace, one.name) for one in target.sources]
    may = {(workload.namespace, account) in sources for account in workload.accounts}
    return None if len(may) == 2 else may.pop()


def _request(case: _Case) -> tuple[Truth, tuple[str, str] | None]:
    connects, _ = _connection(case)
    routes = [(target, name, match) for target in case.targets for name, match in _routes(target, case)]
    admitting = [
        (
            target.id,
            name,
            all_of([_is_of(match, case.call), _lets_in_by(target, match, routes, case)]),
        )
        for target, name, match in routes
    ]
    refusing = [
        all_of([_exists(match, routes, case), _is_of(match, case.call), opposite(_lets_in(match, routes, case))])
        for _, _, match in routes
    ]
    admitted, refused = any_of(truth for _, _, truth in admitting), any_of(refusing)
    # Of two routes that match and differ, nobody knows which one is first.
    passes = all_of([connects, admitted, opposite(all_of([refused, None]))])
    return passes, _first(admitting)


def _routes(target: TrafficTarget, case: _Case) -> list[tuple[str, Match]]:
    found: list[tuple[str, Match]] = []
    for rule in target.rules:
        group = case.group(target.namespace, rule.name) if rule.kind == "HTTPRouteGroup" else None
        for name in rule.matches:
            for match in group.matches if group is not None else ():
                if match.name == name:
                    found.append((f"{rule.name}/{name}", match))
    return found


_Routes = Sequence[tuple[TrafficTarget, str, Match]]


def _with_route(match: Match, routes: _Routes) -> list[TrafficTarget]:
    """The targets that have a route like this one, whatever its name."""
    return [
        one
        for one, _, own in routes
        if (own.path, own.methods, own.headers) == (match.path, match.methods, match.headers)
    ]


def _exists(match: Match, routes: _Routes, case: _Case) -> Truth:
    return any_of(_applies(one, case) for one in _with_route(match, routes))


def _names_somebody(match: Match, routes: _Routes, case: _Case) -> Truth:
    return any_of(_applies(one, case) for one in _with_route(match, routes) if one.sources)


def _lets_in_by(target: TrafficTarget, match: Match, routes: _Routes, case: _Case) -> Truth:
    """A target without sources lets whoever in, unless another one with the route names some."""
    caller = _is_source(target, case) if target.sources else opposite(_names_somebody(match, routes, case))
    return all_of([_applies(target, case), caller])


def _lets_in(match: Match, routes: _Routes, case: _Case) -> Truth:
    return any_of(_lets_in_by(one, match, routes, case) for one in _with_route(match, routes))


def _is_of(match: Match, call: Call) -> Truth:
    path, method = call.get("path"), call.get("method")
    bare = None if path is None else path.partition("?")[0].partition("#")[0]
    parts: list[Truth] = []
    if match.path != ".*":
        parts.append(None if bare is None else re2.fullmatch(match.path, bare) is not None)
    if "*" not in match.methods:
        parts.append(None if method is None else method in match.methods)
    for name, regex in match.headers:
        value = _header(name.lower(), call)
        parts.append(None if value is None else value != "" and re2.fullmatch(regex, value) is not None)
    return all_of(parts)


def _header(name: str, call: Call) -> str | None:
    if name in ("host", ":authority"):
        return call.get("authority")
    return call.get("method") if name == ":method" else call["attributes"].get(f"request.headers.{name}")
