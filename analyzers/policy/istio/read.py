"""An AuthorizationPolicy's document → model, refused where Istio's own validation would refuse it.

Source of the rules: istio.io/api security/v1/authorization_policy.proto, pkg/config/validation and pkg/config/security.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from analyzers.policy.documents import Value, listed
from analyzers.policy.istio.model import (
    NETWORKS,
    Action,
    AuthorizationPolicy,
    Matchers,
    Network,
    Rule,
    TargetRef,
    When,
    positive,
)
from analyzers.policy.networks import read_network

ACTIONS = ("ALLOW", "DENY", "AUDIT", "CUSTOM")
SOURCE = (
    *("principals", "requestPrincipals", "namespaces", "serviceAccounts", "trustDomains"),
    *("ipBlocks", "remoteIpBlocks"),
)
OPERATION = ("hosts", "ports", "methods", "paths")
KEYS = (
    "request.headers[NAME]",
    "source.ip",
    "remote.ip",
    "source.namespace",
    "source.principal",
    "source.serviceAccount",
    "source.trustDomain",
    "request.auth.principal",
    "request.auth.audiences",
    "request.auth.presenter",
    "request.auth.claims[NAME]",
    "destination.ip",
    "destination.port",
    "connection.sni",
    "experimental.envoy.filters.NAME[KEY]",
)
NOT_WITH_CUSTOM = ("principals", "requestPrincipals", "namespaces", "serviceAccounts", "trustDomains")
IDENTITY_KEYS = (
    *("source.principal", "source.namespace", "source.serviceAccount", "source.trustDomain"),
    "request.auth.",
)
MAX_SERVICE_ACCOUNTS, MAX_SERVICE_ACCOUNT = 16, 320
DRY_RUN = "istio.io/dry-run"
_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_KEY = re.compile(
    r"request\.headers\[[^\[\]]+\]|request\.auth\.claims(\[[^\[\]]+\])+|experimental\.envoy\.filters\.[^\[\]]+\[[^\[\]]+\]"
)
_LITERAL = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})*")
_PLAIN_KEYS = frozenset(key for key in KEYS if "[" not in key)


def _with_not(names: tuple[str, ...]) -> tuple[str, ...]:
    return (*names, *(f"not{name[0].upper()}{name[1:]}" for name in names))


def read_authorization_policy(document: Value, namespace: str) -> AuthorizationPolicy:
    """The policy of one document.

    Args:
        document: an object of kind AuthorizationPolicy.
        namespace: of those that name none.

    Raises:
        BadPolicy: Istio would refuse it; says line, field and what is allowed there.
    """
    metadata = document.get("metadata") or document.refuse("no metadata, expected a name")
    name = (metadata.get("name") or metadata.refuse("no name, expected one")).text()
    own = metadata.get("namespace")
    annotations = metadata.get("annotations")
    spec = document.get("spec")
    fields = spec.fields("selector", "targetRef", "targetRefs", "rules", "action", "provider") if spec else {}
    action: Action = fields["action"].one_of(*ACTIONS) if "action" in fields else "ALLOW"  # pyright: ignore[reportAssignmentType]
    if "selector" in fields and ("targetRef" in fields or "targetRefs" in fields):
        fields["selector"].refuse("selector and targetRefs, expected one of both")
    rules = tuple(_rule(item, action) for item in fields["rules"].items()) if "rules" in fields else ()
    if not rules and action in ("DENY", "CUSTOM"):
        (spec or document).refuse(f"{action} without rules, expected at least one: it would never match")
    return AuthorizationPolicy(
        namespace=own.text() if own else namespace,
        name=name,
        action=action,
        rules=rules,
        selector=read_match_labels(fields.get("selector")),
        targets=read_targets(fields),
        dry_run=annotations is not None and _is_true(annotations.get(DRY_RUN)),
        provider=_provider(fields, action, spec or document),
    )


def _is_true(value: Value | None) -> bool:
    # What strconv.ParseBool does not know enforces.
    return value is not None and value.text() in _TRUE


def _provider(fields: Mapping[str, Value], action: Action, spec: Value) -> str:
    provider = fields.get("provider")
    if action != "CUSTOM":
        if provider is not None:
            provider.refuse(f"a provider with action {action}, expected one with CUSTOM only")
        return ""
    named = provider.fields("name").get("name") if provider else None
    name = named.text() if named else ""
    return name or (provider or spec).refuse(
        "CUSTOM without provider.name, expected one of meshConfig.extensionProviders"
    )


def read_match_labels(selector: Value | None) -> Mapping[str, str]:
    """A selector of Istio's: whole labels only; empty where there is none."""
    labels = selector.fields("matchLabels").get("matchLabels") if selector else None
    if labels is None:
        return {}
    found = labels.text_map()
    for name, text in found.items():
        if not name:
            labels.refuse("an empty label, expected a name")
        if "*" in name or "*" in text:
            labels.refuse(f"a wildcard in {name}={text[:60]}, expected whole labels")
    return found


def read_targets(fields: Mapping[str, Value]) -> tuple[TargetRef, ...]:
    """What `targetRefs` names, or the older `targetRef` where that is empty."""
    if "targetRefs" in fields and (items := fields["targetRefs"].items()):
        return tuple(_target(item) for item in items)
    return (_target(fields["targetRef"]),) if "targetRef" in fields else ()


def _target(value: Value) -> TargetRef:
    found = value.fields("group", "kind", "name", "namespace")
    for needed in ("kind", "name"):
        if needed not in found or not found[needed].text():
            value.refuse(f"no {needed}, expected one")
    if "namespace" in found and found["namespace"].text():
        found["namespace"].refuse("a namespace, expected none: only what is in the policy's own can be named")
    return TargetRef(found["group"].text() if "group" in found else "", found["kind"].text(), found["name"].text())


def _rule(value: Value, action: Action) -> Rule:
    if value.is_null:
        value.refuse("an empty item, expected a rule ({} matches everything)")
    fields = value.fields("from", "to", "when")
    return Rule(
        sources=_clauses(fields.get("from"), "source", lambda found: _source(found, action)),
        operations=_clauses(fields.get("to"), "operation", _operation),
        when=tuple(_condition(item, action) for item in fields["when"].items()) if "when" in fields else (),
    )


def _clauses(value: Value | None, name: str, read: Callable[[Value], Matchers]) -> tuple[Matchers, ...]:
    if value is None:
        return ()
    items = value.items()
    if not items:
        value.refuse(f"an empty list, expected at least one {name}")
    return tuple(read(item.fields(name).get(name) or item.refuse(f"no {name}, expected one")) for item in items)


def _source(value: Value, action: Action) -> Matchers:
    found = _matchers(value, SOURCE)
    named = {positive(name)[0] for name in found}
    if "serviceAccounts" in named and named & {"principals", "namespaces"}:
        value.refuse("serviceAccounts beside principals or namespaces, expected either")
    fields = value.fields()
    for name in found:
        bare = positive(name)[0]
        if action == "CUSTOM" and bare in NOT_WITH_CUSTOM:
            fields[name].refuse(f"with action CUSTOM, expected {listed(NETWORKS)} only")
        if bare == "serviceAccounts":
            _check_service_accounts(fields[name])
        if bare == "trustDomains":
            for item in fields[name].items():
                _check_trust_domain(item)
        if bare in NETWORKS:
            for item in fields[name].items():
                network(item)
    return found


def _check_trust_domain(item: Value) -> None:
    text = item.text()
    if "/" in text or "*" in text[1:-1] or (text.count("*") > 1 and text != "*"):
        item.refuse(f"{item.shown}, expected a trust domain, with * at one of its ends at most")


def _check_service_accounts(value: Value) -> None:
    items = value.items()
    if len(items) > MAX_SERVICE_ACCOUNTS:
        value.refuse(f"{len(items)} service accounts, expected at most {MAX_SERVICE_ACCOUNTS}")
    for item in items:
        text = item.text()
        if "*" in text or text.count("/") > 1 or len(text) > MAX_SERVICE_ACCOUNT or "" in text.split("/"):
            item.refuse(f"{item.shown}, expected namespace/name or name, without wildcards")


def _operation(value: Value) -> Matchers:
    found = _matchers(value, OPERATION)
    fields = value.fields()
    for name in found:
        match positive(name)[0]:
            case "ports":
                for item in fields[name].items():
                    port(item)
            case "paths":
                for item in fields[name].items():
                    check_path(item)
            case _:
                pass
    return found


def _matchers(value: Value, allowed: tuple[str, ...]) -> Matchers:
    fields = value.fields(*_with_not(allowed))
    found = {name: _texts(texts) for name, texts in fields.items()}
    found = {name: texts for name, texts in found.items() if texts}
    if not found:
        value.refuse(f"nothing in it, expected {listed(allowed)}")
    return found


def _texts(value: Value) -> tuple[str, ...]:
    for item in (items := value.items()):
        if not item.text():
            item.refuse("an empty text, expected none")
    return tuple(item.text() for item in items)


def _condition(value: Value, action: Action) -> When:
    fields = value.fields("key", "values", "notValues")
    key = fields.get("key") or value.refuse(f"no key, expected {listed(KEYS)}")
    name = key.text()
    if name not in _PLAIN_KEYS and not _KEY.fullmatch(name):
        key.refuse(f"{key.shown}, expected {listed(KEYS)}")
    if action == "CUSTOM" and name.startswith(IDENTITY_KEYS):
        key.refuse(f"{key.shown} with action CUSTOM, expected a key that is no identity")
    values = _texts(fields["values"]) if "values" in fields else ()
    not_values = _texts(fields["notValues"]) if "notValues" in fields else ()
    if not values and not not_values:
        value.refuse("neither values nor notValues, expected one of both")
    for given in ("values", "notValues"):
        for item in fields[given].items() if given in fields else ():
            if name in ("source.ip", "remote.ip", "destination.ip"):
                network(item)
            if name == "destination.port":
                port(item)
            if name == "source.trustDomain":
                _check_trust_domain(item)
    return When(name, values, not_values)


def port(item: Value) -> int:
    """A port, as text.

    Raises:
        BadPolicy: it is none.
    """
    text = item.text()
    if not (text.isascii() and text.isdecimal() and len(text) <= 5) or int(text) > 65535:
        item.refuse(f"{item.shown}, expected a port of 0 to 65535, in quotes")
    return int(text)


def network(item: Value) -> Network:
    """An address, or a network in CIDR form; bits beyond its length are let go.

    Raises:
        BadPolicy: it is neither.
    """
    found = read_network(item.text())
    return found or item.refuse(f"{item.shown}, expected an address or a network such as 10.0.0.0/8")


def check_path(item: Value) -> None:
    """Refuse a template that Istio refuses.

    Raises:
        BadPolicy: says what of it.
    """
    text = item.text()
    if not set(text) & {"{", "}"}:
        return
    if not text.startswith("/"):
        item.refuse(f"{item.shown}, expected a template that begins with /")
    over = False
    for segment in text[1:].split("/"):
        if segment in ("{*}", "{**}"):
            if over:
                item.refuse(f"{item.shown}: an operator after {{**}}, expected {{**}} to be the last one")
            over = segment == "{**}"
        elif not _LITERAL.fullmatch(segment):
            item.refuse(f"{item.shown}: {segment[:60]!r}, expected {{*}}, {{**}} or plain text between two /")
