"""Consul's intentions of one destination → a program, as the proxy's RBAC filters would judge.

Without mutual TLS nobody is let in. Of the intentions whose source is the caller the most precise one decides alone:
with its action, or with the first of its permissions that is of the request. Where none of them is, and where there is
no intention, the default policy holds.

Source: Consul's reference, "Service intentions" (precedence and match order); the shape of identities and of header
conditions: agent/connect and agent/xds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from analyzers.policy.consul.model import (
    ANY,
    DEFAULT,
    HTTP_PROTOCOLS,
    Defaults,
    Document,
    Header,
    Permission,
    ServiceIntentions,
    Settings,
    Source,
)
from analyzers.policy.formula import (
    FALSE,
    TRUE,
    Attribute,
    Equals,
    Field,
    Formula,
    Matches,
    Prefix,
    Present,
    Program,
    Step,
    Subject,
    Suffix,
    Transport,
    Unknown,
    both,
    either,
    no,
)
from analyzers.policy.regexes import quoted
from analyzers.policy.workloads import Cluster, Workload

FORWARDED_CERTIFICATE = Attribute("request.headers.x-forwarded-client-cert")
_NOT_ATTRIBUTES: Mapping[str, Subject] = {
    ":method": Field.METHOD,
    ":authority": Field.AUTHORITY,
    "host": Field.AUTHORITY,
}
_ANY_PART = "[^/]+"
_ANY_TEXT = "(?s:.*)"
_WITHOUT_CERTIFICATE = Equals(Field.TLS, ("plaintext", "tls"))


def program(
    documents: Sequence[Document], destination: Workload, cluster: Cluster, settings: Settings, transport: Transport
) -> Program:
    """What decides about calls that arrive at `destination` over `transport`."""
    del cluster
    name, namespace = destination.service or destination.name, _namespace(destination, settings)
    # What a service says of itself counts before what is said of all.
    found = (one for one in documents if isinstance(one, Defaults) and _are_of(one, name, namespace, settings))
    defaults = sorted(found, key=lambda one: one.of_all)
    protocol = next((one.protocol for one in defaults if one.protocol), "")
    http = transport == "http" and (not protocol or protocol in HTTP_PROTOCOLS)
    steps = [*_without_certificate(defaults, http)]
    for entry, number, source in _intentions(documents, name, namespace, settings):
        steps.extend(_intention(entry, number, source, settings, http))
    steps.extend(_fallback(TRUE, "", "", settings))
    kept = tuple(step for step in steps if step.when != FALSE)
    return Program(kept, False)


def _namespace(destination: Workload, settings: Settings) -> str:
    return (destination.namespace or DEFAULT) if settings.namespaces else DEFAULT


def _are_of(defaults: Defaults, name: str, namespace: str, settings: Settings) -> bool:
    own = defaults.name == name and (not settings.namespaces or defaults.namespace == namespace)
    return defaults.of_all or own


def _without_certificate(defaults: Sequence[Defaults], http: bool) -> Iterator[Step]:
    if http:
        for one in defaults:
            if one.exposed_paths:
                on_path = Equals(Field.PATH, one.exposed_paths)
                yield Step(True, both([_WITHOUT_CERTIFICATE, on_path]), one.id, "expose.paths")
            if one.exposes_checks:
                yield Step(True, both([_WITHOUT_CERTIFICATE, Unknown(Field.CONTROLLER)]), one.id, "expose.checks")
    mode = next((one for one in defaults if one.mutual_tls), None)
    if mode is not None and mode.mutual_tls == "permissive":
        yield Step(True, _WITHOUT_CERTIFICATE, mode.id, "mutualTLSMode")
    else:
        yield Step(False, _WITHOUT_CERTIFICATE, "", "")


def _intentions(
    documents: Sequence[Document], name: str, namespace: str, settings: Settings
) -> Sequence[tuple[ServiceIntentions, int, Source]]:
    """Those of the destination, the one that counts first first."""
    found = [
        (entry, number, source)
        for entry in documents
        if isinstance(entry, ServiceIntentions)
        and entry.destination_partition == settings.partition
        and entry.destination_namespace in (namespace, ANY)
        and entry.destination in (name, ANY)
        for number, source in enumerate(entry.sources)
    ]

    def key(one: tuple[ServiceIntentions, int, Source]) -> tuple[int, str, str, str, str]:
        entry, _, source = one
        own = _source_namespace(entry, source)
        exact = 3 * _exact(entry.destination_namespace, entry.destination) + _exact(own, source.name)
        return -exact, own, source.name, entry.destination_namespace, entry.destination

    return sorted(found, key=key)


def _exact(namespace: str, name: str) -> int:
    return 0 if namespace == ANY else 1 if name == ANY else 2


def _source_namespace(entry: ServiceIntentions, source: Source) -> str:
    inherits = not (source.peer or source.group or entry.destination_namespace == ANY)
    return source.namespace or (entry.destination_namespace if inherits else DEFAULT)


def _intention(entry: ServiceIntentions, number: int, source: Source, settings: Settings, http: bool) -> Iterator[Step]:
    caller, rule = _caller(entry, source, settings, http), f"sources[{number}]"
    tokens = _tokens(entry.providers) if http else TRUE
    if source.allows is not None:
        yield from _unless_tokens(source.allows, caller, tokens, (entry.id, rule), settings)
        return
    if not http:
        # A connection has no requests that a permission could be about.
        yield Step(False, caller, entry.id, rule)
        return
    for at, permission in enumerate(source.permissions):
        when = both([caller, _request(permission)])
        needed = both([tokens, _tokens(permission.providers)])
        yield from _unless_tokens(permission.allows, when, needed, (entry.id, f"{rule}.permissions[{at}]"), settings)
    yield from _fallback(caller, entry.id, rule, settings)


def _unless_tokens(
    allows: bool, when: Formula, tokens: Formula, named: tuple[str, str], settings: Settings
) -> Iterator[Step]:
    """The action where its tokens are there, else the default: whatever the tokens, nothing later counts."""
    yield Step(allows, both([when, tokens]), *named)
    if tokens != TRUE:
        yield from _fallback(when, *named, settings)


def _fallback(when: Formula, policy: str, rule: str, settings: Settings) -> Iterator[Step]:
    """The default policy, and nothing after it."""
    if settings.allows is None:
        yield Step(True, both([when, Unknown(Field.CONTROLLER)]), policy, rule)
    yield Step(settings.allows or False, when, policy, rule)


def _tokens(providers: Sequence[str]) -> Formula:
    """What is in a token is in no line, and whether it was good neither."""
    asked = [Unknown(Attribute(f"envoy.filters.http.jwt_authn.jwt_payload_{name}")) for name in providers]
    return either(asked) if asked else TRUE


def _caller(entry: ServiceIntentions, source: Source, settings: Settings, http: bool) -> Formula:
    """Whether the source is the caller. Over HTTP a peer's call comes from a gateway, with its caller in a header."""
    namespace = _source_namespace(entry, source)
    peers = dict.fromkeys(peer.trust_domain for peer in settings.peers.values())
    if source.peer in settings.peers:
        peer = settings.peers[source.peer]
        identity = _identity(quoted(peer.trust_domain), _in_partition(peer.partition), namespace, source.name)
        return _forwarded(identity, settings) if http else Matches(Field.PRINCIPAL, identity)
    if source.peer or source.group:
        # Who is meant is not known, only who is not.
        identity = _identity(_ANY_PART, f"(/ap/{_ANY_PART})?", namespace, source.name)
        own = [settings.trust_domain] if settings.trust_domain else []
        strange = TRUE if source.group else no(_of_domain([*peers, *own]))
        direct = FALSE if http and source.peer else both([Matches(Field.PRINCIPAL, identity), strange])
        forwarded = _forwarded(identity, settings) if http else FALSE
        return both([either([direct, forwarded]), Unknown(Field.CONTROLLER)])
    partition = _in_partition(source.partition or entry.destination_partition)
    domain = quoted(settings.trust_domain) if settings.trust_domain else _ANY_PART
    named = Matches(Field.PRINCIPAL, _identity(domain, partition, namespace, source.name))
    return named if settings.trust_domain else both([named, no(_of_domain([*peers]))])


def _of_domain(domains: Sequence[str]) -> Formula:
    return either([Prefix(Field.PRINCIPAL, f"spiffe://{one}/") for one in domains])


def _identity(trust_domain: str, partition: str, namespace: str, name: str) -> str:
    """Of a service, in any datacenter."""
    parts = [_ANY_PART if part == ANY else quoted(part) for part in (namespace, name)]
    return f"spiffe://{trust_domain}{partition}/ns/{parts[0]}/dc/{_ANY_PART}/svc/{parts[1]}"


def _in_partition(partition: str) -> str:
    return "" if partition == DEFAULT else f"/ap/{quoted(partition)}"


def _forwarded(identity: str, settings: Settings) -> Formula:
    """Whether a gateway of the own mesh says that it forwards a call of the identity."""
    domain = quoted(settings.trust_domain) if settings.trust_domain else _ANY_PART
    gateway = f"spiffe://{domain}{_in_partition(settings.partition)}/gateway/mesh/dc/{_ANY_PART}"
    told = Matches(FORWARDED_CERTIFICATE, f"[^,]+;URI={identity}(,{_ANY_TEXT})?")
    return both([Matches(Field.PRINCIPAL, gateway), told])


def _request(permission: Permission) -> Formula:
    parts: list[Formula] = []
    match permission.path_kind:
        case "exact":
            parts.append(Equals(Field.PATH, (permission.path,)))
        case "prefix":
            parts.append(Prefix(Field.PATH, permission.path))
        case "regex":
            parts.append(Matches(Field.PATH, permission.path))
        case "":
            pass
    parts.extend(_header(header) for header in permission.headers)
    if permission.methods:
        parts.append(Equals(Field.METHOD, permission.methods))
    return both(parts)


def _header(header: Header) -> Formula:
    """A header that is not there matches neither a condition nor its inverse, except for its presence."""
    subject = _NOT_ATTRIBUTES.get(header.name) or Attribute(f"request.headers.{header.name}")
    there = Present(subject)
    if header.kind == "present":
        return no(there) if header.invert else there
    found = _value(header, subject)
    return both([there, no(found) if header.invert else found])


def _value(header: Header, subject: Subject) -> Formula:
    text = header.text
    if header.kind == "regex":
        return Matches(subject, text)
    if header.ignore_case or header.kind == "contains":
        bare = _any_case(text) if header.ignore_case else quoted(text)
        before = _ANY_TEXT if header.kind in ("suffix", "contains") else ""
        after = _ANY_TEXT if header.kind in ("prefix", "contains") else ""
        return Matches(subject, f"{before}{bare}{after}")
    if header.kind == "prefix":
        return Prefix(subject, text)
    return Suffix(subject, text) if header.kind == "suffix" else Equals(subject, (text,))


def _any_case(text: str) -> str:
    """A text as an expression: only the letters of ASCII are folded, as the proxy does."""
    return "".join(
        f"[{letter.lower()}{letter.upper()}]" if letter.isascii() and letter.isalpha() else quoted(letter)
        for letter in text
    )
