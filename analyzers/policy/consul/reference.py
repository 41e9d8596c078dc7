"""What Consul decides about one call, slowly and plainly: the measure that the compiled expressions are held to.

Written from the description of intentions, one intention after the other, without the compiler's formulas. A call is a
mapping: a field that was not logged is missing, one that was logged as absent is the empty text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import re2  # pyright: ignore[reportMissingTypeStubs]

from analyzers.policy.consul.model import (
    Defaults,
    Document,
    Header,
    Peer,
    Permission,
    ServiceIntentions,
    Settings,
    Source,
)
from analyzers.policy.decision import Call, Decision
from analyzers.policy.kleene import Truth, all_of, any_of, opposite
from analyzers.policy.workloads import Workload

Outcome = Literal["allow", "deny", "unknown"]
_PRECEDENCE = {
    # (destination's namespace, its name, source's namespace, its name): whether each is exact.
    (True, True, True, True): 9,
    (True, True, True, False): 8,
    (True, True, False, False): 7,
    (True, False, True, True): 6,
    (True, False, True, False): 5,
    (True, False, False, False): 4,
    (False, False, True, True): 3,
    (False, False, True, False): 2,
    (False, False, False, False): 1,
}


@dataclass(frozen=True, slots=True)
class _Statement:
    """What is done with calls of which `holds`; nothing later counts for them."""

    holds: Truth
    outcome: Outcome
    policy: str = ""
    rule: str = ""


def decide(documents: Sequence[Document], destination: Workload, settings: Settings, call: Call) -> Decision:
    """Judge `call`, which arrived at `destination`."""
    statements = _statements(documents, destination, settings, call)
    outcome: Outcome = _default(settings)
    for statement in reversed(statements):
        if statement.holds is True:
            outcome = statement.outcome
        elif statement.holds is None and outcome != statement.outcome:
            outcome = "unknown"
    if outcome == "unknown":
        return Decision("unknown")
    sure = next((one for one in statements if one.holds is True), None)
    return Decision(outcome, sure.policy, sure.rule) if sure is not None and sure.policy else Decision(outcome)


def _default(settings: Settings) -> Outcome:
    if settings.default_intention_policy != "":
        return settings.default_intention_policy
    return {None: "unknown", True: "allow", False: "deny"}[settings.default_allow]  # pyright: ignore[reportReturnType]


def _statements(
    documents: Sequence[Document], destination: Workload, settings: Settings, call: Call
) -> list[_Statement]:
    name = destination.service if destination.service else destination.name
    namespace = destination.namespace if settings.namespaces and destination.namespace else "default"
    own = [one for one in documents if isinstance(one, Defaults) and not one.of_all and one.name == name]
    if settings.namespaces:
        own = [one for one in own if one.namespace == namespace]
    defaults = own + [one for one in documents if isinstance(one, Defaults) and one.of_all]
    protocols = [one.protocol for one in defaults if one.protocol]
    http = call["transport"] == "http" and (protocols == [] or protocols[0] in ("http", "http2", "grpc"))
    found = _of_callers_without_certificate(defaults, call, http)
    for entry, source, rule in _by_precedence(documents, name, namespace, settings):
        found.extend(_of_intention(entry, source, rule, settings, call, http))
    return found


def _of_callers_without_certificate(defaults: Sequence[Defaults], call: Call, http: bool) -> list[_Statement]:
    bare = _has_no_certificate(call)
    found: list[_Statement] = []
    for one in defaults if http else ():
        if one.exposed_paths:
            path = _path(call)
            on_path = None if path is None else path in one.exposed_paths
            found.append(_Statement(all_of([bare, on_path]), "allow", one.id, "expose.paths"))
        if one.exposes_checks:
            found.append(_Statement(all_of([bare, None]), "allow", one.id, "expose.checks"))
    modes = [one for one in defaults if one.mutual_tls]
    if modes and modes[0].mutual_tls == "permissive":
        found.append(_Statement(bare, "allow", modes[0].id, "mutualTLSMode"))
    else:
        found.append(_Statement(bare, "deny"))
    return found


def _has_no_certificate(call: Call) -> Truth:
    tls = call.get("tls")
    if tls != "plaintext" and call.get("source_principal"):
        return False
    return None if tls in (None, "", "unknown") else tls != "mtls"


def _by_precedence(
    documents: Sequence[Document], name: str, namespace: str, settings: Settings
) -> list[tuple[ServiceIntentions, Source, str]]:
    found: list[tuple[int, str, str, str, str, ServiceIntentions, Source, str]] = []
    for entry in documents:
        if not isinstance(entry, ServiceIntentions) or entry.destination_partition != settings.partition:
            continue
        to_namespace, to_name = entry.destination_namespace, entry.destination
        if to_namespace != "*" and to_namespace != namespace:
            continue
        if to_name != "*" and to_name != name:
            continue
        for number, source in enumerate(entry.sources):
            own = _namespace_of(source, entry)
            level = _PRECEDENCE[(to_namespace != "*", to_name != "*", own != "*", source.name != "*")]
            rule = f"sources[{number}]"
            found.append((-level, own, source.name, to_namespace, to_name, entry, source, rule))
    return [(entry, source, rule) for *_, entry, source, rule in sorted(found, key=lambda one: one[:5])]


def _namespace_of(source: Source, entry: ServiceIntentions) -> str:
    if source.namespace:
        return source.namespace
    if source.peer or source.group or entry.destination_namespace == "*":
        return "default"
    return entry.destination_namespace


def _of_intention(
    entry: ServiceIntentions, source: Source, rule: str, settings: Settings, call: Call, http: bool
) -> list[_Statement]:
    caller = _is_caller(source, entry, settings, call, http)
    default = _default(settings)

    def done(allows: bool, needs_token: bool) -> Outcome:
        action: Outcome = "allow" if allows else "deny"
        # Without its token the default holds; whether it was there is in no line.
        return "unknown" if needs_token and action != default else action

    needs_token = http and len(entry.providers) > 0
    if source.allows is not None:
        return [_Statement(caller, done(source.allows, needs_token), entry.id, rule)]
    if not http:
        return [_Statement(caller, "deny", entry.id, rule)]
    found: list[_Statement] = []
    for number, permission in enumerate(source.permissions):
        holds = all_of([caller, _is_of(permission, call)])
        outcome = done(permission.allows, needs_token or len(permission.providers) > 0)
        found.append(_Statement(holds, outcome, entry.id, f"{rule}.permissions[{number}]"))
    return [*found, _Statement(caller, default, entry.id, rule)]


def _principal(call: Call) -> str | None:
    if call.get("tls") == "plaintext":
        return ""
    found = call.get("source_principal")
    return None if found == "" and call.get("tls") == "mtls" else found


@dataclass(frozen=True, slots=True)
class _Identity:
    """Of a service in the mesh: `spiffe://DOMAIN[/ap/PARTITION]/ns/NAMESPACE/dc/DATACENTER/svc/NAME`."""

    domain: str
    partition: str
    namespace: str
    name: str


def _parsed(principal: str) -> _Identity | None:
    if not principal.startswith("spiffe://"):
        return None
    parts = principal[len("spiffe://") :].split("/")
    partition = "default"
    if len(parts) == 9 and parts[1] == "ap" and parts[2]:
        partition = parts[2]
        del parts[1:3]
    if len(parts) != 7 or [parts[1], parts[3], parts[5]] != ["ns", "dc", "svc"] or "" in parts:
        return None
    return _Identity(parts[0], partition, parts[2], parts[6])


def _is_caller(source: Source, entry: ServiceIntentions, settings: Settings, call: Call, http: bool) -> Truth:
    namespace = _namespace_of(source, entry)

    def named(identity: _Identity | None) -> bool:
        return identity is not None and namespace in ("*", identity.namespace) and source.name in ("*", identity.name)

    if source.peer:
        return _is_of_peer(settings.peers.get(source.peer), named, settings, call, http)
    principal = _principal(call)
    if source.group:
        # Which peers and partitions are in it is not known.
        direct = None if principal is None else named(_parsed(principal))
        return all_of([any_of([direct, _comes_by_gateway(named, settings, call) if http else False]), None])
    if principal is None:
        return None
    identity = _parsed(principal)
    if identity is None or identity.partition != (source.partition or entry.destination_partition):
        return False
    if settings.trust_domain:
        return identity.domain == settings.trust_domain and named(identity)
    return identity.domain not in [peer.trust_domain for peer in settings.peers.values()] and named(identity)


def _is_of_peer(
    peer: Peer | None, named: Callable[[_Identity | None], bool], settings: Settings, call: Call, http: bool
) -> Truth:
    def of_peer(identity: _Identity | None) -> bool:
        if identity is None or not named(identity):
            return False
        return peer is None or (identity.domain, identity.partition) == (peer.trust_domain, peer.partition)

    told = None if peer is None else True
    if http:
        return all_of([_comes_by_gateway(of_peer, settings, call), told])
    principal = _principal(call)
    if principal is None:
        return None
    identity = _parsed(principal)
    known = [settings.trust_domain, *(one.trust_domain for one in settings.peers.values())]
    if peer is None and identity is not None and identity.domain in known:
        return False
    return all_of([of_peer(identity), told])


def _comes_by_gateway(is_caller: Callable[[_Identity | None], bool], settings: Settings, call: Call) -> Truth:
    principal = _principal(call)
    certificate = call["attributes"].get("request.headers.x-forwarded-client-cert")
    return all_of(
        [
            None if principal is None else _is_gateway(principal, settings),
            None if certificate is None else is_caller(_parsed(_forwarded(certificate))),
        ]
    )


def _is_gateway(principal: str, settings: Settings) -> bool:
    parts = principal.removeprefix("spiffe://").split("/")
    if not principal.startswith("spiffe://") or "" in parts:
        return False
    if settings.trust_domain and parts[0] != settings.trust_domain:
        return False
    place = [] if settings.partition == "default" else ["ap", settings.partition]
    return parts[1:-1] == [*place, "gateway", "mesh", "dc"]


def _forwarded(certificate: str) -> str:
    """The identity in the first element of the header; it does not stand first in it."""
    before, mark, identity = certificate.partition(",")[0].rpartition(";URI=")
    return identity if before and mark else ""


def _path(call: Call) -> str | None:
    path = call.get("path")
    return None if path is None else path.partition("?")[0].partition("#")[0]


def _is_of(permission: Permission, call: Call) -> Truth:
    parts: list[Truth] = []
    path = _path(call)
    if permission.path_kind != "":
        parts.append(None if path is None else _path_is(permission, path))
    if permission.methods:
        method = call.get("method")
        parts.append(None if method is None else method in permission.methods)
    for header in permission.headers:
        value = _header(header.name, call)
        parts.append(None if value is None else _header_is(header, value))
    return all_of(parts)


def _header(name: str, call: Call) -> str | None:
    if name in (":authority", "host"):
        return call.get("authority")
    return call.get("method") if name == ":method" else call["attributes"].get(f"request.headers.{name}")


def _path_is(permission: Permission, path: str) -> bool:
    if permission.path_kind == "exact":
        return path == permission.path
    if permission.path_kind == "prefix":
        return path.startswith(permission.path)
    return re2.fullmatch(permission.path, path) is not None


def _header_is(header: Header, value: str) -> Truth:
    if header.kind == "present":
        return opposite(value != "") if header.invert else value != ""
    if value == "":
        # It is not there: neither the condition nor its inverse holds.
        return False
    wanted = header.text
    if header.kind == "regex":
        matches = re2.fullmatch(wanted, value) is not None
    else:
        if header.ignore_case:
            value, wanted = _lower(value), _lower(wanted)
        matches = {
            "exact": value == wanted,
            "prefix": value.startswith(wanted),
            "suffix": value.endswith(wanted),
            "contains": wanted in value,
        }[header.kind]
    return matches != header.invert


def _lower(text: str) -> str:
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)
