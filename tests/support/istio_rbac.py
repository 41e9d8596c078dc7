"""AuthorizationPolicies → Envoy's RBAC filters, shaped as Istio's pilot shapes them.

Knows nothing of `compile.py`: both are made from what the pilot is known to generate. So where the real proxy,
configured by this, and the compiled program disagree, one of the two has the description wrong.

One filter for each action, in the pilot's order: AUDIT (only marks), DENY, ALLOW. Each rule is a policy of the filter
named `ns[NS]-policy[NAME]-rule[N]`: any of its permissions (one for each operation) and any of its principals (one for
each source), with the conditions of `when` in every one of them. Policies on trial go into shadow rules. CUSTOM needs a
provider and is refused here.

Source: Istio, pilot/pkg/security/authz/{builder,model,matcher}, pilot/pkg/security/trustdomain.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from analyzers.policy.istio.model import AuthorizationPolicy, Mesh, Rule

Json = dict[str, Any]
Kind = Literal["permission", "principal"]

_FILTER_ACTIONS = {"AUDIT": "LOG", "DENY": "DENY", "ALLOW": "ALLOW"}
_OF_SOURCES = {
    "principals": "source.principal",
    "namespaces": "source.namespace",
    "serviceAccounts": "source.serviceAccount",
    "trustDomains": "source.trustDomain",
    "requestPrincipals": "request.auth.principal",
    "ipBlocks": "source.ip",
    "remoteIpBlocks": "remote.ip",
}
_OF_OPERATIONS = {"hosts": ":authority", "methods": ":method", "paths": ":path", "ports": "destination.port"}
_PERMISSIONS = (":authority", ":method", ":path", "destination.port", "destination.ip", "connection.sni")
_HTTP_ONLY = (":authority", ":method", ":path", "request.")


class CannotBuild(ValueError):
    """What this file does not know: providers, and metadata of any filter."""


@dataclass(frozen=True, slots=True)
class _Matcher:
    """One field of a source or an operation, or one condition."""

    key: str
    values: tuple[str, ...]
    not_values: tuple[str, ...]

    @property
    def kind(self) -> Kind:
        return "permission" if self.key in _PERMISSIONS else "principal"

    @property
    def is_http_only(self) -> bool:
        return self.key.startswith(_HTTP_ONLY)


def typed(name: str, kind: str, **fields: Any) -> Json:
    """An extension with its configuration."""
    return {"name": name, "typed_config": {"@type": f"type.googleapis.com/envoy.{kind}", **fields}}


def policy_id(policy: AuthorizationPolicy, rule: int | str) -> str:
    """What the proxy calls a rule."""
    return f"ns[{policy.namespace}]-policy[{policy.name}]-rule[{rule}]"


def http_filters(
    policies: Sequence[AuthorizationPolicy], namespace: str, labels: Mapping[str, str], mesh: Mesh
) -> list[Json]:
    """The HTTP filters of a workload with these labels.

    Raises:
        CannotBuild: a policy asks for what this file does not know.
    """
    return [
        typed("envoy.filters.http.rbac", "extensions.filters.http.rbac.v3.RBAC", **rules)
        for rules in _each_action(_applicable(policies, namespace, labels, mesh), mesh, tcp=False)
    ]


def network_filters(
    policies: Sequence[AuthorizationPolicy], namespace: str, labels: Mapping[str, str], mesh: Mesh
) -> list[Json]:
    """The network filters of a workload's TCP port.

    Raises:
        CannotBuild: a policy asks for what this file does not know.
    """
    return [
        typed("envoy.filters.network.rbac", "extensions.filters.network.rbac.v3.RBAC", stat_prefix="tcp.", **rules)
        for rules in _each_action(_applicable(policies, namespace, labels, mesh), mesh, tcp=True)
    ]


def _applicable(
    policies: Sequence[AuthorizationPolicy], namespace: str, labels: Mapping[str, str], mesh: Mesh
) -> list[AuthorizationPolicy]:
    return [
        policy
        for policy in policies
        if policy.namespace in (mesh.root_namespace, namespace)
        and not policy.targets
        and all(labels.get(name) == text for name, text in policy.selector.items())
    ]


def _each_action(policies: Sequence[AuthorizationPolicy], mesh: Mesh, *, tcp: bool) -> list[Json]:
    if any(policy.action == "CUSTOM" for policy in policies):
        raise CannotBuild("CUSTOM")
    built: list[Json] = []
    for action, name in _FILTER_ACTIONS.items():
        rules: Json = {}
        for dry_run, field in ((False, "rules"), (True, "shadow_rules")):
            own = [policy for policy in policies if policy.action == action and policy.dry_run is dry_run]
            if own:
                rules[field] = {"action": name, "policies": _policies(own, mesh, tcp=tcp)}
        if "shadow_rules" in rules:
            rules["shadow_rules_stat_prefix"] = f"istio_dry_run_{action.lower()}_"
        if rules:
            built.append(rules)
    return built


def _policies(policies: Sequence[AuthorizationPolicy], mesh: Mesh, *, tcp: bool) -> Json:
    found: Json = {}
    for policy in policies:
        if not policy.rules:
            found[policy_id(policy, 0)] = {
                "permissions": [{"not_rule": {"any": True}}],
                "principals": [{"not_id": {"any": True}}],
            }
        for number, rule in enumerate(policy.rules):
            built = _rule(rule, policy, mesh, tcp=tcp)
            if built is not None:
                found[policy_id(policy, number)] = built
    return found


def _rule(rule: Rule, policy: AuthorizationPolicy, mesh: Mesh, *, tcp: bool) -> Json | None:
    """None: an ALLOW rule that a connection cannot fulfil."""
    when = [_Matcher(one.key, one.values, one.not_values) for one in rule.when]
    sources = [_matchers(one, _OF_SOURCES) for one in rule.sources] or [[]]
    operations = [_matchers(one, _OF_OPERATIONS) for one in rule.operations] or [[]]
    every = [*when, *(one for clause in (*sources, *operations) for one in clause)]
    if tcp and policy.action == "ALLOW" and any(one.is_http_only for one in every):
        return None

    def clause(own: Sequence[_Matcher], kind: Kind) -> Json:
        matchers = [one for one in (*own, *when) if one.kind == kind and not (tcp and one.is_http_only)]
        return _all([part for one in matchers for part in _parts(one, policy, mesh)], kind)

    return {
        "permissions": [clause(one, "permission") for one in operations],
        "principals": [clause(one, "principal") for one in sources],
    }


def _matchers(given: Mapping[str, tuple[str, ...]], keys: Mapping[str, str]) -> list[_Matcher]:
    found: list[_Matcher] = []
    for name, values in given.items():
        if name in keys:
            found.append(_Matcher(keys[name], values, ()))
            continue
        bare = name[3:4].lower() + name[4:]
        if not name.startswith("not") or bare not in keys:
            raise CannotBuild(name)
        found.append(_Matcher(keys[bare], (), values))
    return found


def _all(parts: Sequence[Json], kind: Kind) -> Json:
    parts = parts or [{"any": True}]
    return {"and_rules": {"rules": [*parts]}} if kind == "permission" else {"and_ids": {"ids": [*parts]}}


def _parts(matcher: _Matcher, policy: AuthorizationPolicy, mesh: Mesh) -> list[Json]:
    one_of, none_of, list_of = ("or_rules", "not_rule", "rules") if matcher.kind == "permission" else _IDS
    found: list[Json] = []
    for values, negated in ((matcher.values, False), (matcher.not_values, True)):
        if values:
            given = _in_every_domain(values, mesh) if matcher.key == "source.principal" else values
            each: Json = {one_of: {list_of: [part for text in given for part in _value(matcher, text, policy, mesh)]}}
            found.append({none_of: each} if negated else each)
    return found


_IDS = ("or_ids", "not_id", "ids")


def _value(matcher: _Matcher, text: str, policy: AuthorizationPolicy, mesh: Mesh) -> list[Json]:
    match matcher.key:
        case "source.principal":
            return [_authenticated(_after(text, "spiffe://"))]
        case "source.namespace":
            return [_authenticated(_regex(f".*/ns/{_starred(text, '.*')}/.*"))]
        case "source.serviceAccount":
            namespace, slash, account = text.partition("/")
            if not slash:
                namespace, account = policy.namespace, text
            regex = f"spiffe://.+/ns/{re.escape(namespace)}/(.+/|)sa/{re.escape(account)}(/.+)?"
            return [_authenticated(_regex(regex))]
        case "source.trustDomain":
            ours = [mesh.trust_domain, *mesh.trust_domain_aliases]
            return [_authenticated(_domain(one)) for one in (ours if text in ours else [text])]
        case "source.ip":
            return [{"direct_remote_ip": _network(text)}]
        case "remote.ip":
            return [{"remote_ip": _network(text)}]
        case "destination.ip":
            return [{"destination_ip": _network(text)}]
        case "destination.port":
            return [{"destination_port": int(text)}]
        case "connection.sni":
            return [{"requested_server_name": _string(text)}]
        case ":authority":
            return [{"header": _header(":authority", text, ignore_case=True)}]
        case ":method":
            return [{"header": _header(":method", text)}]
        case ":path":
            return [_path(text)]
        case "request.auth.principal":
            return [_token_of(text)]
        case "request.auth.audiences":
            return [_claim(["aud"], _string_or_list(text))]
        case "request.auth.presenter":
            return [_claim(["azp"], _string_or_list(text))]
        case key if key.startswith("request.auth.claims["):
            return [
                _claim(key.removeprefix("request.auth.claims[").removesuffix("]").split("]["), _string_or_list(text))
            ]
        case key if key.startswith("request.headers["):
            return [{"header": _header(key.removeprefix("request.headers[").removesuffix("]"), text)}]
        case key:
            raise CannotBuild(key)


def _in_every_domain(values: Sequence[str], mesh: Mesh) -> list[str]:
    """A principal of this mesh in each of its trust domains."""
    ours = [mesh.trust_domain, *mesh.trust_domain_aliases]
    found: list[str] = []
    for text in values:
        domain, _, rest = text.partition("/")
        is_ours = domain in (*ours, "cluster.local") or (
            domain.startswith("*") and any(one.endswith(domain[1:]) for one in ours)
        )
        found.extend(
            [f"{one}/{rest}" for one in ours] if text.count("/") == 4 and domain != "*" and is_ours else [text]
        )
    return [*dict.fromkeys(found)]


def _authenticated(string: Json) -> Json:
    return {"authenticated": {"principal_name": string}}


def _claim(path: Sequence[str], value: Json) -> Json:
    keys = [{"key": key} for key in ("payload", *path)]
    return {"metadata": {"filter": "envoy.filters.http.jwt_authn", "path": keys, "value": value}}


def _string_or_list(text: str) -> Json:
    string = {"string_match": _string(text)}
    return {"or_match": {"value_matchers": [{"list_match": {"one_of": string}}, string]}}


def _token_of(text: str) -> Json:
    """Issuer and subject, which the last slash parts."""
    issuer, slash, subject = text.rpartition("/")
    given = _regex(".+")
    if not slash:
        # A star stands for the one that is not named; without any, the subject is the empty text.
        named = _string(text)
        pair = (given, named) if text.startswith("*") else (named, given if text.endswith("*") else {"exact": ""})
    elif text.startswith("*"):
        pair = (_string(issuer), {"exact": subject})
    elif text.endswith("*"):
        pair = ({"exact": issuer}, _string(subject))
    else:
        pair = ({"exact": issuer}, {"exact": subject})
    parts = [_claim([name], {"string_match": value}) for name, value in zip(("iss", "sub"), pair, strict=True)]
    return {"and_ids": {"ids": parts}}


def _regex(expression: str) -> Json:
    return {"safe_regex": {"regex": expression}}


def _string(text: str) -> Json:
    """Text with a star at its begin or its end; the first one of two is the one that counts."""
    if text == "*":
        return _regex(".+")
    if text.startswith("*"):
        return {"suffix": text[1:]}
    return {"prefix": text[:-1]} if text.endswith("*") else {"exact": text}


def _after(text: str, begin: str) -> Json:
    """The same, where `begin` stands before the text."""
    if text == "*":
        return _regex(".+")
    if text.startswith("*"):
        return _regex(f"{re.escape(begin)}.*{re.escape(text[1:])}")
    return {"prefix": begin + text[:-1]} if text.endswith("*") else {"exact": begin + text}


def _domain(text: str) -> Json:
    if text == "*":
        return {"prefix": "spiffe://"}
    return _regex(f"spiffe://{_starred(text, '[^/]*')}/.*") if "*" in text else {"prefix": f"spiffe://{text}/"}


def _starred(text: str, star: str) -> str:
    return star.join(re.escape(part) for part in text.split("*"))


def _header(name: str, text: str, *, ignore_case: bool = False) -> Json:
    if text == "*":
        return {"name": name, "present_match": True}
    string = _string(text)
    return {"name": name, "string_match": {**string, "ignore_case": True} if ignore_case else string}


def _path(text: str) -> Json:
    if "{*}" not in text and "{**}" not in text:
        return {"url_path": {"path": _string(text)}}
    template = text.replace("{**}", "**").replace("{*}", "*")
    kind = "extensions.path.match.uri_template.v3.UriTemplateMatchConfig"
    return {"uri_template": typed("uri-template", kind, path_template=template)}


def _network(text: str) -> Json:
    found = ipaddress.ip_network(text, strict=False)
    return {"address_prefix": str(found.network_address), "prefix_len": found.prefixlen}
