"""What Istio decides about one call, slowly and plainly: the measure that the compiled expressions are held to.

Written from the description of the rules, rule by rule and value by value, without the compiler's formulas. A call is a
mapping: a field that was not logged is missing, one that was logged as absent is the empty text.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Sequence
from typing import Literal

from analyzers.policy.decision import Call, Decision
from analyzers.policy.istio.model import (
    AuthorizationPolicy,
    Matchers,
    Mesh,
    RequestAuthentication,
    Rule,
    TargetRef,
    Via,
    When,
)
from analyzers.policy.kleene import Truth, all_of, any_of, opposite
from analyzers.policy.workloads import Workload

_GATEWAY = "gateway.networking.k8s.io/gateway-name"


def decide(
    policies: Sequence[AuthorizationPolicy], workload: Workload, mesh: Mesh, call: Call, via: Via = "sidecar"
) -> Decision:
    """Judge `call`, which arrived at `workload`."""
    enforced = [policy for policy in policies if not policy.dry_run]
    matched = {
        action: [
            (policy, str(number), _rule_matches(rule, policy, workload, mesh, call, via))
            for policy in enforced
            if policy.action == action
            for number, rule in enumerate(policy.rules)
        ]
        for action in ("CUSTOM", "DENY", "ALLOW")
    }
    denied = any_of(truth for _, _, truth in matched["DENY"])
    if denied is True:
        return _first(matched["DENY"], "deny")
    restricted = any_of(applies(policy, workload, mesh, via) for policy in enforced if policy.action == "ALLOW")
    allowed = any_of([*(truth for _, _, truth in matched["ALLOW"]), opposite(restricted)])
    if allowed is False:
        return Decision("deny")
    # A provider's answer is not logged: whom it is asked about may have been denied.
    asked = any_of(truth for _, _, truth in matched["CUSTOM"])
    if denied is None or allowed is None or asked is not False:
        return Decision("unknown")
    return _first(matched["ALLOW"], "allow")


def _first(matched: Sequence[tuple[AuthorizationPolicy, str, Truth]], verdict: Literal["allow", "deny"]) -> Decision:
    """The one that the proxy names: its filter keeps rules in a map, ordered by what they are called."""
    certain = {
        f"ns[{policy.namespace}]-policy[{policy.name}]-rule[{rule}]": Decision(verdict, policy.id, rule)
        for policy, rule, truth in reversed(matched)
        if truth is True
    }
    return certain[min(certain)] if certain else Decision(verdict)


def applies(
    policy: AuthorizationPolicy | RequestAuthentication, workload: Workload, mesh: Mesh, via: Via = "sidecar"
) -> Truth:
    """Whether the policy is one of the workload's."""
    if via == "waypoint":
        return any_of(_target_applies(target, policy, workload, mesh) for target in policy.targets)
    if policy.targets:
        gateways = [target.name for target in policy.targets if target.kind == "Gateway"]
        if policy.namespace != workload.namespace or not gateways:
            return False
        return _all_or_none([labels.get(_GATEWAY) in gateways for labels in workload.labels])
    if policy.namespace != mesh.root_namespace and policy.namespace != workload.namespace:
        return False
    if not policy.selector:
        return True
    return _all_or_none(
        [all(labels.get(name) == text for name, text in policy.selector.items()) for labels in workload.labels]
    )


def _all_or_none(selected: list[bool]) -> Truth:
    """Of the pods of a workload: unknown where none is known, or where they differ."""
    return selected[0] if selected and len(set(selected)) == 1 else None


def _target_applies(
    target: TargetRef, policy: AuthorizationPolicy | RequestAuthentication, workload: Workload, mesh: Mesh
) -> Truth:
    """Of a waypoint in the workload's namespace. Which one it is, is not known."""
    if target.kind == "GatewayClass":
        return target.name == "istio-waypoint" and policy.namespace == mesh.root_namespace
    if policy.namespace != workload.namespace or target.kind not in ("Service", "ServiceEntry", "Gateway"):
        return False
    if target.kind == "Service" and workload.service != "":
        return target.name == workload.service
    return None


def _rule_matches(
    rule: Rule, policy: AuthorizationPolicy, workload: Workload, mesh: Mesh, call: Call, via: Via
) -> Truth:
    tcp = call["transport"] == "tcp"
    if tcp and policy.action == "ALLOW" and _mentions_http(rule):
        return False
    parts = [applies(policy, workload, mesh, via)]
    if rule.sources:
        parts.append(any_of(_clause_matches(one, policy, mesh, call) for one in rule.sources))
    if rule.operations:
        parts.append(any_of(_clause_matches(one, policy, mesh, call) for one in rule.operations))
    when = [one for one in rule.when if not (tcp and one.key.startswith("request."))]
    parts.extend(_when_matches(one, policy, mesh, call) for one in when)
    return all_of(parts)


_HTTP_FIELDS = (
    *("methods", "paths", "hosts", "requestPrincipals"),
    *("notMethods", "notPaths", "notHosts", "notRequestPrincipals"),
)


def _mentions_http(rule: Rule) -> bool:
    fields = [name for one in (*rule.sources, *rule.operations) for name in one]
    return any(name in _HTTP_FIELDS for name in fields) or any(one.key.startswith("request.") for one in rule.when)


def _clause_matches(clause: Matchers, policy: AuthorizationPolicy, mesh: Mesh, call: Call) -> Truth:
    parts: list[Truth] = []
    for name, values in clause.items():
        if call["transport"] == "tcp" and name in _HTTP_FIELDS:
            continue
        if name.startswith("not"):
            bare = name[3].lower() + name[4:]
            parts.append(opposite(any_of(_field_matches(bare, text, policy, mesh, call) for text in values)))
        else:
            parts.append(any_of(_field_matches(name, text, policy, mesh, call) for text in values))
    return all_of(parts)


def _when_matches(when: When, policy: AuthorizationPolicy, mesh: Mesh, call: Call) -> Truth:
    parts: list[Truth] = []
    if when.values:
        parts.append(any_of(_key_matches(when.key, text, policy, mesh, call) for text in when.values))
    if when.not_values:
        parts.append(opposite(any_of(_key_matches(when.key, text, policy, mesh, call) for text in when.not_values)))
    return all_of(parts)


def _key_matches(key: str, text: str, policy: AuthorizationPolicy, mesh: Mesh, call: Call) -> Truth:
    fields = {
        "source.principal": "principals",
        "source.namespace": "namespaces",
        "source.serviceAccount": "serviceAccounts",
        "source.trustDomain": "trustDomains",
        "source.ip": "ipBlocks",
        "remote.ip": "remoteIpBlocks",
        "destination.port": "ports",
        "request.auth.principal": "requestPrincipals",
    }
    if key in fields:
        return _field_matches(fields[key], text, policy, mesh, call)
    if key == "destination.ip":
        return _in_network(call.get("destination_ip"), text)
    if key == "connection.sni":
        name = call.get("sni")
        # Envoy's way to log a name that no host has: what it was is not to be told from it.
        return _text_matches(None if name and name.startswith("invalid:") else name, text)
    if key in ("request.auth.audiences", "request.auth.presenter"):
        return _claim_matches(_attribute(call, key), text)
    if key.startswith("request.auth.claims"):
        return False if call.get("tokens") is False else None  # False: nobody looked at any
    if key.startswith("request.headers["):
        return _text_matches(_attribute(call, "request.headers." + key[len("request.headers[") : -1].lower()), text)
    return _text_matches(_attribute(call, key), text)


def _field_matches(field: str, text: str, policy: AuthorizationPolicy, mesh: Mesh, call: Call) -> Truth:
    if field in ("principals", "namespaces", "serviceAccounts", "trustDomains"):
        return _peer_matches(field, text, policy, mesh, call)
    if field == "ipBlocks":
        return _in_network(call.get("source_ip"), text)
    if field == "remoteIpBlocks":
        remote = call.get("source_remote_ip")
        return _in_network(call.get("source_ip") if remote == "::" else remote, text)
    if field == "ports":
        port = call.get("destination_port")
        return None if port is None else port == int(text)
    if field in ("methods", "hosts") and text == "*":
        return True  # every request has them, if only as empty text
    if field == "methods":
        return _text_matches(call.get("method"), text)
    if field == "hosts":
        host = call.get("authority")
        return None if host is None else _text_matches(_lower(host), _lower(text))
    if field == "paths":
        path = call.get("path")
        if path is None:
            return None
        bare = path.partition("?")[0].partition("#")[0]
        return _template_matches(bare, text) if "{" in text else _text_matches(bare, text)
    return _request_principal_matches(_attribute(call, "request.auth.principal"), text)


def _attribute(call: Call, key: str) -> str | None:
    """What formats that know no null print for what is absent is absent."""
    found: str | None = call["attributes"].get(key)
    return "" if found == "-" else found


def _text_matches(logged: str | None, text: str) -> Truth:
    if logged is None:
        return None
    if text == "*":
        return logged != ""
    if text[0] == "*":
        return logged.endswith(text[1:])
    if text[-1] == "*":
        return logged.startswith(text[:-1])
    return logged == text


def _in_network(address: str | None, text: str) -> Truth:
    if address is None:
        return None
    found, network = ipaddress.ip_address(address), ipaddress.ip_network(text, strict=False)
    return found.version == network.version and found in network


def _peer_matches(field: str, text: str, policy: AuthorizationPolicy, mesh: Mesh, call: Call) -> Truth:
    tls, principal = call.get("tls"), call.get("source_principal")
    if tls == "plaintext":
        principal = ""
    if (field, text) == ("principals", "*"):
        return _has_certificate(tls, principal, _attribute(call, "downstream_peer_fingerprint_256"))
    if principal is None or (principal == "" and tls == "mtls"):
        return None
    matches: Callable[[str, str], bool] = {
        "principals": lambda found, wanted: any(_one_principal(found, one) for one in _in_domains(wanted, mesh)),
        "namespaces": lambda found, wanted: _whole(f".*/ns/{_with_stars(wanted, '.*')}/.*", found),
        "serviceAccounts": lambda found, wanted: _service_account(found, wanted, policy.namespace),
        "trustDomains": lambda found, wanted: _trust_domain(found, wanted, mesh),
    }[field]
    return matches(principal, text)


def _has_certificate(tls: str | None, principal: str | None, fingerprint: str | None) -> Truth:
    """Whatever it bears: the log's principal is only its URI."""
    if tls == "mtls" or principal:
        return True
    if tls == "plaintext":
        return False
    if fingerprint == "":
        return None if principal is None else False
    return True if fingerprint and tls == "tls" else None


def _one_principal(found: str, wanted: str) -> bool:
    if wanted == "*":
        return found != ""
    if wanted[0] == "*":
        return found.startswith("spiffe://") and found[len("spiffe://") :].endswith(wanted[1:])
    if wanted[-1] == "*":
        return found.startswith("spiffe://" + wanted[:-1])
    return found == "spiffe://" + wanted


def _in_domains(wanted: str, mesh: Mesh) -> list[str]:
    parts = wanted.split("/")
    ours = [mesh.trust_domain, *mesh.trust_domain_aliases]
    if len(parts) != 5 or parts[0] == "*":
        return [wanted]
    if parts[0].startswith("*"):
        one_of_ours = any(domain.endswith(parts[0][1:]) for domain in ours)
    else:
        one_of_ours = parts[0] in ours or parts[0] == "cluster.local"
    return [f"{domain}/{'/'.join(parts[1:])}" for domain in ours] if one_of_ours else [wanted]


def _service_account(found: str, wanted: str, own_namespace: str) -> bool:
    namespace, account = wanted.split("/") if "/" in wanted else (own_namespace, wanted)
    return _whole(f"spiffe://.+/ns/{re.escape(namespace)}/(.+/|)sa/{re.escape(account)}(/.+)?", found)


def _trust_domain(found: str, wanted: str, mesh: Mesh) -> bool:
    ours = [mesh.trust_domain, *mesh.trust_domain_aliases]
    for domain in ours if wanted in ours else [wanted]:
        if domain == "*":
            if found.startswith("spiffe://"):
                return True
        elif found.startswith("spiffe://"):
            own, slash, _ = found[len("spiffe://") :].partition("/")
            if slash and _whole(_with_stars(domain, "[^/]*"), own):
                return True
    return False


def _request_principal_matches(logged: str | None, text: str) -> Truth:
    """Issuers hold slashes, subjects do not: so the last slash parts them, in policies and in logs."""
    if logged is None:
        return None
    issuer, slash, subject = logged.rpartition("/")
    if not slash or logged.startswith("-/") or logged.endswith("/-"):
        return False  # no token, or one without an issuer or a subject
    wanted_issuer, slash, wanted_subject = text.rpartition("/")
    if text == "*":
        return issuer != "" and subject != ""
    if text[0] == "*":
        if not slash:
            return issuer != "" and subject.endswith(text[1:])
        return issuer != "" and issuer.endswith(wanted_issuer[1:]) and subject == wanted_subject
    if text[-1] == "*":
        if not slash:
            return issuer.startswith(text[:-1]) and subject != ""
        if wanted_subject == "*":
            return issuer == wanted_issuer and subject != ""
        return issuer == wanted_issuer and subject.startswith(wanted_subject[:-1])
    if not slash:
        return issuer == text and subject == ""
    return (issuer, subject) == (wanted_issuer, wanted_subject)


def _claim_matches(logged: str | None, text: str) -> Truth:
    """A claim is a text, or a list of them; of a list any text may match."""
    if logged is None:
        return None
    if logged.startswith("[") and logged.endswith("]"):
        items: list[object] = json.loads(logged)
        return any(isinstance(one, str) and _text_matches(one, text) for one in items)
    return _text_matches(logged, text)


_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~%!$&'()+,;:@=*")


def _template_matches(path: str, wanted: str) -> bool:
    """Piece by piece, with every length that an operator may take."""
    pieces = [piece for piece in re.split(r"(\{\*\*\}|\{\*\}|\*)", wanted) if piece]

    def rest_matches(at: int, left: str) -> bool:
        if at == len(pieces):
            return left == ""
        piece = pieces[at]
        if piece in ("{*}", "*"):
            most = next((end for end, letter in enumerate(left) if letter not in _LETTERS), len(left))
            return any(rest_matches(at + 1, left[end:]) for end in range(1, most + 1))
        if piece == "{**}":
            allowed = _LETTERS | {"/"}
            most = next((end for end, letter in enumerate(left) if letter not in allowed), len(left))
            return any(rest_matches(at + 1, left[end:]) for end in range(most + 1))
        return left.startswith(piece) and rest_matches(at + 1, left[len(piece) :])

    return rest_matches(0, path)


def _with_stars(text: str, star: str) -> str:
    return star.join(re.escape(part) for part in text.split("*"))


def _whole(pattern: str, text: str) -> bool:
    return re.fullmatch(pattern, text) is not None


def _lower(text: str) -> str:
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)
