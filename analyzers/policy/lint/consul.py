"""Consul's intentions: who is let in by a wildcard, which permissions never count, and what passes them by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analyzers.policy.consul.model import (
    ANY,
    HTTP_PROTOCOLS,
    Defaults,
    Header,
    Permission,
    ServiceIntentions,
    Source,
)
from analyzers.policy.formula import (
    TRUE,
    Attribute,
    Equals,
    Field,
    Formula,
    Matches,
    Prefix,
    Present,
    both,
)
from analyzers.policy.lint.implies import Implications
from analyzers.policy.lint.model import Check, Remark, Subject, shown
from analyzers.policy.settings_document import MeshSettings

ALLOW_ANYBODY = Check("allow-anybody", "warning", "an intention that allows *")
PREFIX_EDGE = Check("prefix-edge", "warning", "a PathPrefix without / at its end")
PATH_WITH_QUERY = Check("path-with-query", "error", "a path with ? or #")
UNREACHED_PERMISSION = Check("unreached-permission", "warning", "a permission behind one that matches all that it does")
OPEN_END = Check("open-end", "note", "permissions that deny, and none for all other requests")
WIDER_IGNORED = Check("wider-ignored", "note", "permissions beside an intention of *")
PERMISSIONS_ON_TCP = Check("permissions-on-tcp", "error", "permissions of a service that does not speak HTTP")
TWICE = Check("destination-twice", "warning", "two documents of one destination")
SUPERFLUOUS = Check("superfluous-intention", "note", "an intention that says the same as that of *")
WEAK_MTLS = Check("weak-mtls", "warning", "mTLS that is permissive")
OPEN_DEFAULT = Check("open-default", "warning", "a default policy that lets everybody in")
EXPOSED = Check("exposed-path", "note", "paths without mTLS and without intentions")
CHECKS = (
    *(ALLOW_ANYBODY, PREFIX_EDGE, PATH_WITH_QUERY, UNREACHED_PERMISSION, OPEN_END, WIDER_IGNORED),
    *(PERMISSIONS_ON_TCP, TWICE, SUPERFLUOUS, WEAK_MTLS, OPEN_DEFAULT, EXPOSED),
)
MAX_PERMISSIONS = 200
"""Of one source, whose order is looked at."""


def remarks(subjects: Sequence[Subject]) -> Iterator[Remark]:
    """What is to be said of Consul's documents, of which others may be among `subjects`."""
    defaults = [one.model for one in subjects if isinstance(one.model, Defaults)]
    seen: dict[tuple[str, str, str], str] = {}
    decided = Implications()
    for subject in subjects:
        if isinstance(subject.model, Defaults):
            yield from _defaults(subject, subject.model)
        if isinstance(subject.model, MeshSettings) and subject.model.consul.allows:
            yield subject.remark(
                OPEN_DEFAULT,
                "consul.default",
                "whoever no intention names may call every service: set default_intention_policy to deny",
            )
        if not isinstance(subject.model, ServiceIntentions):
            continue
        entry: ServiceIntentions = subject.model
        key = entry.destination_partition, entry.destination_namespace, entry.destination
        if key in seen:
            yield subject.remark(
                TWICE, "", f"{seen[key][:120]} is of the same destination, and only one of both counts: join them"
            )
        seen.setdefault(key, entry.id)
        for number, source in enumerate(entry.sources):
            at = f"{_sources(subject)}[{number}]"
            yield from _source(subject, entry, source, at)
            yield from _permissions(subject, source, at, decided)
            protocol = _protocol(entry, defaults)
            if source.permissions and protocol and protocol not in HTTP_PROTOCOLS:
                yield subject.remark(
                    PERMISSIONS_ON_TCP,
                    f"{at}.permissions",
                    f"the service's protocol is {protocol[:20]}, so all of it is denied: "
                    "write Action, or a protocol of http, http2 or grpc",
                )


def _sources(subject: Subject) -> str:
    return "Sources" if subject.document.kind == "service-intentions" else "spec.sources"


def _protocol(entry: ServiceIntentions, defaults: Sequence[Defaults]) -> str:
    """Of the destination, where documents say it."""
    own = [one.protocol for one in defaults if not one.of_all and one.name == entry.destination]
    return next((one for one in (*own, *(one.protocol for one in defaults if one.of_all)) if one), "")


def _same_place(one: Source, other: Source) -> bool:
    return (one.namespace, one.partition, one.peer, one.group) == (
        other.namespace,
        other.partition,
        other.peer,
        other.group,
    )


def _source(subject: Subject, entry: ServiceIntentions, source: Source, at: str) -> Iterator[Remark]:
    if source.name == ANY and source.allows and not entry.providers:
        what = "every service" if entry.destination == ANY else shown(entry.destination)
        yield subject.remark(
            ALLOW_ANYBODY,
            f"{at}.name",
            f"every service in the mesh may call {what}: write the names of those that may, and deny *",
        )
    if source.name == ANY:
        return
    wider = next((one for one in entry.sources if one.name == ANY and _same_place(one, source)), None)
    if wider is None:
        return
    if source.permissions and wider.allows:
        yield subject.remark(
            WIDER_IGNORED,
            f"{at}.permissions",
            "what none of them matches falls to the default policy, not to the intention of *: "
            "end them with one that allows PathPrefix /, if that is meant",
        )
    elif source.allows is not None and source.allows == wider.allows:
        yield subject.remark(SUPERFLUOUS, at, "the intention of * says the same of this caller: remove this one")


def _permissions(subject: Subject, source: Source, at: str, decided: Implications) -> Iterator[Remark]:
    formulas = [_request(one) for one in source.permissions[:MAX_PERMISSIONS]]
    for number, one in enumerate(source.permissions):
        place = f"{at}.permissions[{number}]"
        if one.path_kind == "prefix" and not one.path.endswith("/"):
            yield subject.remark(
                PREFIX_EDGE,
                f"{place}.http.pathPrefix",
                f"{shown(one.path)} also begins {shown(f'{one.path}x')}: write {shown(f'{one.path}/')}, "
                f"and a permission with PathExact {shown(one.path)}",
            )
        if one.path_kind in ("prefix", "exact") and ("?" in one.path or "#" in one.path):
            field = "pathPrefix" if one.path_kind == "prefix" else "pathExact"
            yield subject.remark(
                PATH_WITH_QUERY,
                f"{place}.http.{field}",
                "paths are compared without their query, so no request ever matches: leave it out",
            )
        if number < len(formulas):
            for earlier in range(number):
                # What asks for a token leaves requests without one to the default, not to what follows.
                if decided.implies(formulas[number], formulas[earlier]):
                    yield subject.remark(
                        UNREACHED_PERMISSION,
                        place,
                        f"permission {earlier} is of all requests that this one is of, and the first one decides: "
                        "put this one before it, or remove it",
                    )
                    break
    denies = any(not one.allows for one in source.permissions)
    if denies and not (formulas and formulas[-1] == TRUE):
        yield subject.remark(
            OPEN_END,
            f"{at}.permissions",
            "requests that none of them matches fall to the default policy: end them with one for PathPrefix /",
        )


def _request(permission: Permission) -> Formula:
    """Requests that it is of, as far as they are to be compared."""
    parts: list[Formula] = []
    match permission.path_kind:
        case "exact":
            parts.append(Equals(Field.PATH, (permission.path,)))
        case "prefix" if permission.path != "/":
            parts.append(Prefix(Field.PATH, permission.path))
        case "regex":
            parts.append(Matches(Field.PATH, permission.path))
        case _:
            pass
    if permission.methods:
        parts.append(Equals(Field.METHOD, permission.methods))
    parts.extend(Present(Attribute(_told(one))) for one in permission.headers)
    return both(parts)


def _told(header: Header) -> str:
    """Headers of which the same is asked, and no others, are the same."""
    return repr(header)


def _defaults(subject: Subject, defaults: Defaults) -> Iterator[Remark]:
    if defaults.mutual_tls == "permissive":
        yield subject.remark(
            WEAK_MTLS,
            "mutualTLSMode" if subject.document.kind.islower() else "spec.mutualTLSMode",
            "callers without a certificate are let in, and no intention is looked at: write strict",
        )
    if defaults.exposed_paths or defaults.exposes_checks:
        yield subject.remark(
            EXPOSED,
            "expose" if subject.document.kind.islower() else "spec.expose",
            "whoever reaches the pod may ask for these paths, without mTLS and without intentions: "
            "let in only those who check, with a NetworkPolicy",
        )
