"""HTTPRoutes and GRPCRoutes → models, where a Server is their parent: those of gateways and of callers are no policies.

Source of the rules: linkerd2, policy-controller/k8s/index/src/{routes,inbound/routes,inbound/index}; Gateway API,
apis/v1/{httproute,grpcroute}_types.go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from analyzers.policy.documents import Value
from analyzers.policy.linkerd.model import LINKERD, GrpcMatch, HttpMatch, Match, Pair, Route, RouteKind
from analyzers.policy.linkerd.references import created, named
from analyzers.policy.regexes import checked

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
CONTROLLER = "linkerd.io/policy-controller"
"""Writes into a route's status whether a Server takes it."""
MAX_HOSTNAMES, MAX_RULES, MAX_MATCHES, MAX_PAIRS = 16, 16, 64, 16
MAX_OF_A_ROUTE = 128
"""Matches of all its rules together."""
MAX_PATH = 1024
_HOSTNAME = re.compile(r"(?:\*\.)?[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]{1,256}")
_WITHOUT = frozenset({"requestMirror", "urlRewrite", "extensionRef"})
"""Filters that Linkerd does not have; it ignores a Server's route with one of them."""


def read_http_route(document: Value, namespace: str) -> Route | None:
    """The document's model, None where no Server is its parent; `namespace` is of those that name none.

    Raises:
        BadPolicy: Linkerd or the API server would refuse it; says line, field and what is allowed there.
    """
    return _route(document, namespace, "HTTPRoute", ("path", "headers", "queryParams", "method"), _http_match)


def read_grpc_route(document: Value, namespace: str) -> Route | None:
    """The document's model, None where no Server is its parent; `namespace` is of those that name none.

    Raises:
        BadPolicy: Linkerd or the API server would refuse it; says line, field and what is allowed there.
    """
    return _route(document, namespace, "GRPCRoute", ("headers", "method"), _grpc_match)


def _route(
    document: Value,
    namespace: str,
    kind: RouteKind,
    allowed: Sequence[str],
    match: Callable[[Mapping[str, Value], Value], Match],
) -> Route | None:
    own, name = named(document, namespace)
    version = document.get("apiVersion")
    group = version.text().rpartition("/")[0] if version else LINKERD
    spec = document.get("spec")
    if spec is None:
        return None
    fields = spec.fields("parentRefs", "hostnames", "rules", "useDefaultGateways")
    parents = [] if "parentRefs" not in fields else [_Parent(item, group) for item in fields["parentRefs"].items()]
    servers = [one for one in parents if one.is_server]
    if not servers:
        return None
    rules = _bounded(fields["rules"], MAX_RULES, "rules") if "rules" in fields else None
    read = tuple(_matches(item, kind, allowed, match) for item in rules) if rules is not None else (_everything(kind),)
    if sum(map(len, read)) > MAX_OF_A_ROUTE:
        fields["rules"].refuse(
            f"{sum(map(len, read))} matches, expected at most {MAX_OF_A_ROUTE} of all rules together"
        )
    refused = _refused(document, own)
    # Linkerd ignores the whole route where it says more of a Server than its name.
    ignored = any(_has_foreign_filter(item) for item in rules or ()) or any(not one.is_plain(own) for one in servers)
    return Route(
        namespace=own,
        name=name,
        group=group,
        kind=kind,
        servers=() if ignored else tuple(one.name for one in servers if one.name not in refused),
        hostnames=_hostnames(fields["hostnames"]) if "hostnames" in fields else (),
        rules=read,
        created=created(document),
    )


class _Parent:
    def __init__(self, value: Value, group: str) -> None:
        fields = value.fields("group", "kind", "namespace", "name", "port", "sectionName")
        named_so = fields.get("name") or value.refuse("no name, expected one")
        self.name = named_so.text()
        kind, of = fields.get("kind"), fields.get("group")
        self.is_server = (of.text() if of else group).lower() == LINKERD and bool(
            kind and kind.text().lower() == "server"
        )
        self._namespace = fields.get("namespace")
        self._is_part = "port" in fields or "sectionName" in fields

    def is_plain(self, namespace: str) -> bool:
        """Whether it is a whole Server of this namespace."""
        return not self._is_part and (self._namespace is None or self._namespace.text() == namespace)


def _refused(document: Value, namespace: str) -> frozenset[str]:
    """Servers that do not take the route, as its status says; where it says nothing they do."""
    status = document.get("status")
    parents = status.get("parents") if status and status.is_map else None
    found: set[str] = set()
    for item in parents.items() if parents else ():
        fields = item.fields()
        controller, conditions = fields.get("controllerName"), fields.get("conditions")
        parent = fields["parentRef"].fields() if "parentRef" in fields else {}
        if controller is None or controller.text() != CONTROLLER or conditions is None or "name" not in parent:
            continue
        if "namespace" in parent and parent["namespace"].text() != namespace:
            continue
        said = [condition.fields() for condition in conditions.items()]
        if any(
            (one["type"].text(), one["status"].text()) == ("Accepted", "False")
            for one in said
            if "type" in one and "status" in one
        ):
            found.add(parent["name"].text())
    return frozenset(found)


def _has_foreign_filter(rule: Value) -> bool:
    filters = rule.fields().get("filters")
    return filters is not None and any(_WITHOUT & one.fields().keys() for one in filters.items())


def _hostnames(value: Value) -> tuple[str, ...]:
    for item in (items := _bounded(value, MAX_HOSTNAMES, "hostnames")):
        text = item.text()
        if len(text) > 253 or not _HOSTNAME.fullmatch(text) or re.fullmatch(r"[0-9.]+", text):
            item.refuse(f"{item.shown}, expected a host's name in lower case, such as a.example or *.example")
    return tuple(item.text() for item in items)


def _matches(
    rule: Value, kind: RouteKind, allowed: Sequence[str], match: Callable[[Mapping[str, Value], Value], Match]
) -> tuple[Match, ...]:
    fields = rule.fields("name", "matches", "filters", "backendRefs", "timeouts", "retry", "sessionPersistence")
    items = _bounded(fields["matches"], MAX_MATCHES, "matches") if "matches" in fields else ()
    return tuple(match(item.fields(*allowed), item) for item in items) or _everything(kind)


def _everything(kind: RouteKind) -> tuple[Match, ...]:
    return (HttpMatch(),) if kind == "HTTPRoute" else ()


def _bounded(value: Value, most: int, what: str) -> Sequence[Value]:
    items = value.items()
    if len(items) > most:
        value.refuse(f"{len(items)} {what}, expected at most {most}")
    return items


def _http_match(fields: Mapping[str, Value], at: Value) -> HttpMatch:
    del at
    path_type, path = "PathPrefix", "/"
    if "path" in fields:
        parts = fields["path"].fields("type", "value")
        if "type" in parts:
            path_type = parts["type"].one_of("Exact", "PathPrefix", "RegularExpression")
        if "value" in parts:
            path = checked(parts["value"]) if path_type == "RegularExpression" else parts["value"].text()
            if path_type != "RegularExpression" and (not path.startswith("/") or len(path) > MAX_PATH):
                parts["value"].refuse(
                    f"{parts['value'].shown}, expected a path that begins with /, of at most {MAX_PATH} characters"
                )
    return HttpMatch(
        path_type=path_type,  # pyright: ignore[reportArgumentType]
        path=path,
        headers=_headers(fields.get("headers")),
        parameters=_pairs(fields["queryParams"]) if "queryParams" in fields else (),
        method=fields["method"].one_of(*METHODS) if "method" in fields else "",
    )


def _grpc_match(fields: Mapping[str, Value], at: Value) -> GrpcMatch:
    del at
    service = method = ""
    if "method" in fields:
        parts = fields["method"].fields("type", "service", "method")
        if "type" in parts:
            parts["type"].one_of("Exact")
        service, method = (parts[one].text() if one in parts else "" for one in ("service", "method"))
        if not service and not method:
            fields["method"].refuse("neither service nor method, expected one of both")
    return GrpcMatch(service, method, _headers(fields.get("headers")))


def _headers(value: Value | None) -> tuple[Pair, ...]:
    if value is None:
        return ()
    for item in value.items():
        name = item.fields().get("name")
        if name is not None and not _HEADER.fullmatch(name.text()):
            name.refuse(f"{name.shown}, expected the name of a header")
    return tuple(Pair(one.name.lower(), one.value, one.is_regex) for one in _pairs(value))


def _pairs(value: Value) -> tuple[Pair, ...]:
    found: list[Pair] = []
    for item in _bounded(value, MAX_PAIRS, "items"):
        fields = item.fields("type", "name", "value")
        name = fields.get("name")
        if name is None or not name.text():
            item.refuse("no name, expected one")
        is_regex = "type" in fields and fields["type"].one_of("Exact", "RegularExpression") == "RegularExpression"
        text = fields.get("value")
        if text is None or not text.text():
            item.refuse("no value, expected one")
        if any(one.name == name.text() for one in found):
            name.refuse(f"{name.shown} again, expected each name once")
        found.append(Pair(name.text(), checked(text) if is_regex else text.text(), is_regex))
    return tuple(found)
