"""Istio's policies of one workload → a program, as the proxy's RBAC filters would judge.

Order: CUSTOM that matches and is refused by its provider, DENY, ALLOW, and where any ALLOW policy applies, nobody else.
Of several rules that match, the proxy names the first by its id's letters: `rule[10]` stands before `rule[2]`.
What connections do not have (methods, paths, ..) takes a whole ALLOW rule away and is left out of all others: the
filter chain of a TCP port is built so. AUDIT and dry-run policies decide nothing.

Source: Istio, pilot/pkg/security/authz/{builder,model,matcher}, pilot/pkg/model/{authorization,policyattachment}.go.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Sequence

from analyzers.policy.formula import (
    FALSE,
    TRUE,
    Attribute,
    Constant,
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
    Suffix,
    Transport,
    Unknown,
    Within,
    both,
    either,
    no,
)
from analyzers.policy.istio.model import (
    GATEWAY,
    HTTP_ONLY,
    AuthorizationPolicy,
    Matchers,
    Mesh,
    RequestAuthentication,
    Rule,
    Via,
    When,
    positive,
)
from analyzers.policy.regexes import quoted
from analyzers.policy.workloads import Workload

SPIFFE = "spiffe://"
PROVIDER = Attribute("ext_authz")
"""What a provider answers is in no line; so a call that a CUSTOM policy matches may have been denied by it."""
WAYPOINT = Attribute("waypoint")
CERTIFICATE = Attribute("downstream_peer_fingerprint_256")
"""Tells whether a peer without a URI in its certificate has one at all; few lines have it."""
_ANY_SEGMENT = r"[A-Za-z0-9\-._~%!$&'()+,;:@=*]+"
_ANY_SEGMENTS = r"[A-Za-z0-9\-._~%!$&'()+,;:@=*/]*"


def program(
    policies: Sequence[AuthorizationPolicy],
    workload: Workload,
    mesh: Mesh,
    transport: Transport,
    via: Via = "sidecar",
) -> Program:
    """What decides about calls that arrive at `workload` over `transport`; a waypoint decides for its service."""
    steps: list[Step] = []
    restricted: list[Formula] = []
    for action in ("CUSTOM", "DENY", "ALLOW"):
        own: list[tuple[str, Step]] = []
        for policy in policies:
            if policy.action != action or policy.dry_run:
                continue
            applies = applicable(policy, workload, mesh, via)
            if applies == FALSE:
                continue
            if action == "ALLOW":
                restricted.append(applies)
            for number, rule in enumerate(policy.rules):
                when = both([applies, rule_formula(rule, policy, mesh, transport)])
                if action == "CUSTOM":
                    when = both([when, Unknown(PROVIDER)])
                if when != FALSE:
                    named = f"ns[{policy.namespace}]-policy[{policy.name}]-rule[{number}]"
                    own.append((named, Step(action == "ALLOW", when, policy.id, str(number))))
        steps.extend(step for _, step in sorted(own, key=lambda one: one[0]))
    if (any_allow := either(restricted)) != FALSE:
        steps.append(Step(False, any_allow, "", ""))
    return Program(tuple(steps), True)


def applicable(
    policy: AuthorizationPolicy | RequestAuthentication, workload: Workload, mesh: Mesh, via: Via = "sidecar"
) -> Formula:
    """Whether the policy is one of the workload's; not known where its labels are not."""
    if via == "waypoint":
        return _at_waypoint(policy, workload, mesh)
    if policy.targets:
        named = {ref.name for ref in policy.targets if ref.kind == "Gateway"}
        if not named or policy.namespace != workload.namespace:
            return FALSE
        selected = workload.selected(lambda labels: labels.get(GATEWAY) in named)
        return Unknown(Field.LABELS) if selected is None else Constant(selected)
    if policy.namespace not in (mesh.root_namespace, workload.namespace):
        return FALSE
    if not policy.selector:
        return TRUE
    selected = workload.selected(lambda labels: policy.selector.items() <= labels.items())
    return Unknown(Field.LABELS) if selected is None else Constant(selected)


def _at_waypoint(policy: AuthorizationPolicy | RequestAuthentication, workload: Workload, mesh: Mesh) -> Formula:
    """Waypoints look at what is attached to them, to their class or to the service, and at nothing else."""
    found: list[Formula] = []
    for ref in policy.targets:
        if ref.kind == "GatewayClass":
            found.append(Constant(ref.name == "istio-waypoint" and policy.namespace == mesh.root_namespace))
        elif policy.namespace != workload.namespace:
            found.append(FALSE)
        elif ref.kind == "Service" and workload.service:
            found.append(Constant(ref.name == workload.service))
        elif ref.kind in ("Service", "ServiceEntry", "Gateway"):
            # Which waypoint it was, and which entry a host belongs to, stands in no line.
            found.append(Unknown(WAYPOINT))
    return either(found)


def rule_formula(rule: Rule, policy: AuthorizationPolicy, mesh: Mesh, transport: Transport) -> Formula:
    """What a rule matches."""
    if transport == "tcp" and policy.action == "ALLOW" and _has_http(rule):
        return FALSE
    http = transport == "http"
    sources = [_clause(one, lambda name, text: _source(name, text, policy, mesh), http) for one in rule.sources]
    operations = [_clause(one, _operation, http) for one in rule.operations]
    when = [_when(one, policy, mesh) for one in rule.when if http or not one.is_http_only]
    return both([either(sources) if sources else TRUE, either(operations) if operations else TRUE, *when])


def _has_http(rule: Rule) -> bool:
    clauses = (*rule.sources, *rule.operations)
    return any(positive(name)[0] in HTTP_ONLY for one in clauses for name in one) or any(
        one.is_http_only for one in rule.when
    )


def _clause(matchers: Matchers, matcher: Callable[[str, str], Formula], http: bool) -> Formula:
    parts: list[Formula] = []
    for name, values in matchers.items():
        bare, wanted = positive(name)
        if bare in HTTP_ONLY and not http:
            continue
        found = _any([matcher(bare, text) for text in values])
        parts.append(found if wanted else no(found))
    return both(parts)


def _when(when: When, policy: AuthorizationPolicy, mesh: Mesh) -> Formula:
    parts: list[Formula] = []
    if when.values:
        parts.append(_any([_key(when.key, text, policy, mesh) for text in when.values]))
    if when.not_values:
        parts.append(no(_any([_key(when.key, text, policy, mesh) for text in when.not_values])))
    return both(parts)


def _any(parts: Sequence[Formula]) -> Formula:
    """Any of them; equal texts and ports of one field in one condition."""
    texts: dict[Subject, list[str]] = {}
    others: list[Formula] = []
    for part in parts:
        if isinstance(part, Equals):
            texts.setdefault(part.field, []).extend(part.values)
        else:
            others.append(part)
    return either([*(Equals(one, tuple(dict.fromkeys(values))) for one, values in texts.items()), *others])


def _source(name: str, text: str, policy: AuthorizationPolicy, mesh: Mesh) -> Formula:
    match name:
        case "principals":
            return either([_principal(one) for one in migrated(text, mesh)])
        case "namespaces":
            return Matches(Field.PRINCIPAL, f".*/ns/{_starred(text, '.*')}/.*")
        case "serviceAccounts":
            namespace, _, account = text.rpartition("/")
            where = quoted(namespace or policy.namespace)
            return Matches(Field.PRINCIPAL, f"spiffe://.+/ns/{where}/(.+/|)sa/{quoted(account)}(/.+)?")
        case "trustDomains":
            domains = [mesh.trust_domain, *mesh.trust_domain_aliases]
            return either([_trust_domain(one) for one in (domains if text in domains else [text])])
        case "requestPrincipals":
            return _request_principal(text)
        case "ipBlocks":
            return Within(Field.SOURCE_IP, (ipaddress.ip_network(text, strict=False),))
        case "remoteIpBlocks":
            return Within(Field.REMOTE_IP, (ipaddress.ip_network(text, strict=False),))
        case _:
            raise AssertionError(name)


def _operation(name: str, text: str) -> Formula:
    match name:
        case "hosts" | "methods" if text == "*":
            # Mere presence: no request gets as far as the policies without them.
            return TRUE
        case "hosts":
            # As the engine lowers hosts, and Envoy: of A to Z only.
            return _text(Field.HOST, text.encode().lower().decode())
        case "methods":
            return _text(Field.METHOD, text)
        case "paths":
            return Matches(Field.PATH, template(text)) if "{" in text else _text(Field.PATH, text)
        case "ports":
            return Ports(Field.DESTINATION_PORT, ((int(text), int(text)),))
        case _:
            raise AssertionError(name)


def _key(key: str, text: str, policy: AuthorizationPolicy, mesh: Mesh) -> Formula:
    match key:
        case "source.principal":
            return _source("principals", text, policy, mesh)
        case "source.namespace":
            return _source("namespaces", text, policy, mesh)
        case "source.serviceAccount":
            return _source("serviceAccounts", text, policy, mesh)
        case "source.trustDomain":
            return _source("trustDomains", text, policy, mesh)
        case "request.auth.principal":
            return _request_principal(text)
        case "source.ip" | "remote.ip" | "destination.ip":
            field = {"source": Field.SOURCE_IP, "remote": Field.REMOTE_IP}.get(
                key.partition(".")[0], Field.DESTINATION_IP
            )
            return Within(field, (ipaddress.ip_network(text, strict=False),))
        case "destination.port":
            return Ports(Field.DESTINATION_PORT, ((int(text), int(text)),))
        case "connection.sni":
            return _text(Field.SNI, text)
        case "request.auth.audiences" | "request.auth.presenter":
            return _listed(Attribute(key), text)
        case _ if key.startswith("request.headers["):
            return _text(Attribute(f"request.headers.{key[len('request.headers[') : -1].lower()}"), text)
        case _ if key.startswith("request.auth.claims["):
            # Nested values in a JSON text: what the proxy compares is not to be told from it.
            return Unknown(Attribute(key))
        case _:
            return _text(Attribute(key), text)


def _text(subject: Subject, text: str) -> Formula:
    """Istio's matcher of texts. Of a star at both ends the first one counts, the other one is a star."""
    if text == "*":
        return Present(subject)
    if text.startswith("*"):
        return Suffix(subject, text[1:])
    if text.endswith("*"):
        return Prefix(subject, text[:-1])
    return Equals(subject, (text,))


def _listed(subject: Subject, text: str) -> Formula:
    """The same for a claim that is a text, or a list of texts, which a log shows as JSON."""
    letter = r'(?:[^"\\]|\\.)'
    alone = _text(subject, text)
    if text == "*":
        alone, item = both([alone, no(Matches(subject, r"\[.*\]"))]), f"{letter}+"
    elif text.startswith("*"):
        item = f"{letter}*{_in_json(text[1:])}"
    elif text.endswith("*"):
        item = f"{_in_json(text[:-1])}{letter}*"
    else:
        item = _in_json(text)
    other = f'(?:"{letter}*"|[^",]+)'
    return either([alone, Matches(subject, rf'\[(?:{other},)*"{item}"(?:,{other})*\]')])


def _in_json(text: str) -> str:
    return quoted(json.dumps(text, ensure_ascii=False)[1:-1])


def migrated(principal: str, mesh: Mesh) -> Sequence[str]:
    """A principal in every trust domain of the mesh, where its own is one of them."""
    parts = principal.split("/")
    domains = [mesh.trust_domain, *mesh.trust_domain_aliases]
    own = parts[0]
    if len(parts) != 5 or own == "*":
        return [principal]
    suffix = own[1:] if own.startswith("*") else None
    known = own == "cluster.local" or any(
        one == own or (suffix is not None and one.endswith(suffix)) for one in domains
    )
    return ["/".join([one, *parts[1:]]) for one in dict.fromkeys(domains)] if known else [principal]


def _principal(text: str) -> Formula:
    if text == "*":
        # Any certificate will do, also one with DNS names only, of which the line shows no principal.
        return either([Present(Field.PRINCIPAL), both([no(Equals(Field.TLS, ("plaintext",))), Present(CERTIFICATE)])])
    if text.startswith("*"):
        return Matches(Field.PRINCIPAL, f"{SPIFFE}.*{quoted(text[1:])}")
    if text.endswith("*"):
        return Prefix(Field.PRINCIPAL, SPIFFE + text[:-1])
    return Equals(Field.PRINCIPAL, (SPIFFE + text,))


def _trust_domain(text: str) -> Formula:
    if text == "*":
        return Prefix(Field.PRINCIPAL, SPIFFE)
    if "*" in text:
        return Matches(Field.PRINCIPAL, f"{SPIFFE}{_starred(text, '[^/]*')}/.*")
    return Prefix(Field.PRINCIPAL, f"{SPIFFE}{text}/")


def _request_principal(text: str) -> Formula:
    """Issuer and subject of a token, logged with a slash between them: the last one. `-` is what a token has not."""
    subject = Attribute("request.auth.principal")
    issuer, slash, name = text.rpartition("/")
    if text == "*":
        regex = ".+/[^/]+"
    elif text.startswith("*"):
        ending = f".*{quoted(issuer[1:])}" if issuer not in ("", "*") else ".+"
        regex = f"{ending}/{quoted(name)}" if slash else f".+/[^/]*{quoted(text[1:])}"
    elif text.endswith("*"):
        begin = f"{quoted(name[:-1])}[^/]*" if name != "*" else "[^/]+"
        regex = f"{quoted(issuer)}/{begin}" if slash else f"{quoted(text[:-1])}.*/[^/]+"
    else:
        return Equals(subject, (text if slash else f"{text}/",))
    return both([Matches(subject, regex), no(Matches(subject, "-/.*|.*/-"))])


def _starred(text: str, any_text: str) -> str:
    return any_text.join(quoted(part) for part in text.split("*"))


def template(text: str) -> str:
    """A path template as a regular expression: `{*}` is one segment, `{**}` any number of them, or none."""
    parts = re.split(r"(\{\*\*\}|\{\*\}|\*)", text)
    operators = {"{**}": _ANY_SEGMENTS, "{*}": _ANY_SEGMENT, "*": _ANY_SEGMENT}
    return "".join(operators.get(part) or quoted(part) for part in parts)
