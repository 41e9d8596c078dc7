"""Resources of SMI and Open Service Mesh's MeshConfig → model, refused where the API server or OSM's webhook refuses.

Source: smi-spec.io (Traffic Access v1alpha3, Traffic Specs v1alpha4), and the definitions that OSM installs of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from analyzers.policy.documents import Value
from analyzers.policy.regexes import checked
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
    Rule,
    RuleKind,
    TCPRoute,
    TrafficTarget,
)

ACCOUNT = "ServiceAccount"
METHODS = (ANY_METHOD, "GET", "HEAD", "PUT", "POST", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
RULE_KINDS = (HTTP, TCP, "UDPRoute")


def _head(document: Value, namespace: str) -> tuple[str, str, Value]:
    """Namespace, name and spec."""
    metadata = document.get("metadata") or document.refuse("no metadata, expected a name")
    name, own = metadata.get("name"), metadata.get("namespace")
    spec = document.get("spec") or document.refuse("no spec, expected one")
    return own.text() if own else namespace, (name or metadata.refuse("no name, expected one")).text(), spec


def _needed(place: Value, fields: Mapping[str, Value], name: str) -> Value:
    return fields.get(name) or place.refuse(f"no {name}, expected one")


def read_traffic_target(document: Value, namespace: str) -> TrafficTarget:
    """A TrafficTarget; `namespace` is of those that name none.

    Raises:
        BadPolicy: it would be refused; says line, field and what is allowed there.
    """
    own, name, spec = _head(document, namespace)
    fields = spec.fields("destination", "sources", "rules")
    destination = _needed(spec, fields, "destination")
    account = _account(destination)
    if account.namespace != own:
        destination.refuse(f"namespace {account.namespace!r}, expected the target's own, {own!r}")
    return TrafficTarget(
        namespace=own,
        name=name,
        account=account.name,
        sources=tuple(_account(item) for item in _needed(spec, fields, "sources").items()),
        rules=tuple(_rule(item) for item in _needed(spec, fields, "rules").items()),
    )


def _account(value: Value) -> Account:
    fields = value.fields("kind", "name", "namespace")
    _needed(value, fields, "kind").one_of(ACCOUNT)
    namespace = fields["namespace"].text() if "namespace" in fields else ""
    return Account(namespace, _needed(value, fields, "name").text())


def _rule(value: Value) -> Rule:
    fields = value.fields("kind", "name", "matches")
    kind: RuleKind = _needed(value, fields, "kind").one_of(*RULE_KINDS)  # pyright: ignore[reportAssignmentType]
    matches = fields["matches"].texts() if "matches" in fields else ()
    return Rule(kind, _needed(value, fields, "name").text(), tuple(matches))


def read_http_route_group(document: Value, namespace: str) -> HTTPRouteGroup:
    """An HTTPRouteGroup; `namespace` is of those that name none.

    Raises:
        BadPolicy: it would be refused; says line, field and what is allowed there.
    """
    own, name, spec = _head(document, namespace)
    matches = _needed(spec, spec.fields("matches"), "matches")
    # Of several with one name the last one counts.
    found = {match.name: match for match in (_match(item) for item in matches.items())}
    return HTTPRouteGroup(own, name, tuple(found.values()))


def _match(value: Value) -> Match:
    fields = value.fields("name", "pathRegex", "methods", "headers")
    path = fields.get("pathRegex")
    methods = [item.one_of(*METHODS) for item in fields["methods"].items()] if "methods" in fields else []
    headers: dict[str, str] = {}
    for item in fields["headers"].items() if "headers" in fields else ():
        headers.update({name: checked(regex) for name, regex in item.entries().items()})
    return Match(
        name=_needed(value, fields, "name").text(),
        path=(checked(path) if path else "") or ANY_PATH,
        methods=tuple(methods) or (ANY_METHOD,),
        headers=tuple(sorted(headers.items())),
    )


def read_tcp_route(document: Value, namespace: str) -> TCPRoute:
    """A TCPRoute; `namespace` is of those that name none.

    Raises:
        BadPolicy: it would be refused; says line, field and what is allowed there.
    """
    own, name, spec = _head(document, namespace)
    matches = _needed(spec, spec.fields("matches"), "matches")
    ports = _needed(matches, matches.fields("name", "ports"), "ports")
    return TCPRoute(own, name, tuple(item.integer(0, 65535) for item in ports.items()))


def read_mesh_config(document: Value, namespace: str) -> MeshConfig:
    """OSM's MeshConfig, of which only the permissive mode is looked at.

    Raises:
        BadPolicy: the mode is neither true nor false.
    """
    own, name, spec = _head(document, namespace)
    traffic = spec.get("traffic")
    mode = traffic.get("enablePermissiveTrafficPolicyMode") if traffic else None
    return MeshConfig(own, name, mode is not None and mode.boolean())


KINDS: Mapping[tuple[str, str], Callable[[Value, str], Document]] = {
    ("access.smi-spec.io", "TrafficTarget"): read_traffic_target,
    ("specs.smi-spec.io", HTTP): read_http_route_group,
    ("specs.smi-spec.io", TCP): read_tcp_route,
    ("config.openservicemesh.io", "MeshConfig"): read_mesh_config,
}
"""By API group and kind: reader(document, namespace of those that name none)."""
