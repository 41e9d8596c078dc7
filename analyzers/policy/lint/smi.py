"""SMI's documents as Open Service Mesh enforces them: targets without effect, and permissive mode."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analyzers.policy.lint.model import Check, Remark, Subject, shown
from analyzers.policy.settings_document import MeshSettings
from analyzers.policy.smi.model import HTTP, TCP, HTTPRouteGroup, MeshConfig, Settings, TCPRoute, TrafficTarget

PERMISSIVE = Check("permissive-mode", "error", "a mesh in permissive mode, beside TrafficTargets")
ANY_SOURCE = Check("any-source", "warning", "a TrafficTarget without sources")
DANGLING_ROUTE = Check("dangling-route", "error", "routes that no document is")
NO_MATCHES = Check("no-matches", "error", "an HTTPRouteGroup of which no match is named")
ANY_REQUEST = Check("any-request", "note", "a match of every request")
UNANCHORED = Check("path-prefix", "warning", "a pathRegex that looks like the beginning of a path")
NOT_PAIRED = Check("not-paired", "note", "TrafficTargets of one account with different ports for different requests")
CHECKS = (PERMISSIVE, ANY_SOURCE, DANGLING_ROUTE, NO_MATCHES, ANY_REQUEST, UNANCHORED, NOT_PAIRED)


def remarks(subjects: Sequence[Subject]) -> Iterator[Remark]:
    """What is to be said of SMI's documents, of which others may be among `subjects`."""
    groups = {
        (one.model.namespace, one.model.name): one.model for one in subjects if isinstance(one.model, HTTPRouteGroup)
    }
    tcp = {(one.model.namespace, one.model.name) for one in subjects if isinstance(one.model, TCPRoute)}
    targets = [one for one in subjects if isinstance(one.model, TrafficTarget)]
    configured = any(isinstance(one.model, MeshConfig) for one in subjects)
    yield from _not_paired(targets)
    for subject in subjects:
        match subject.model:
            case MeshConfig(permissive=True) if targets:
                yield subject.remark(
                    PERMISSIVE,
                    "spec.traffic.enablePermissiveTrafficPolicyMode",
                    "everybody is let in and no TrafficTarget is looked at: write false",
                )
            case MeshSettings(smi=Settings(permissive=True)) if targets and not configured:
                yield subject.remark(
                    PERMISSIVE, "smi.permissive", "everybody is let in and no TrafficTarget is looked at: write false"
                )
            case TrafficTarget():
                yield from _target(subject, subject.model, groups, tcp)
            case HTTPRouteGroup():
                yield from _group(subject, subject.model)
            case _:
                pass


def _not_paired(targets: Sequence[Subject]) -> Iterator[Remark]:
    """Ports are looked at when a connection comes, requests later: each by the targets of the account together."""
    first: dict[tuple[str, str], tuple[TrafficTarget, frozenset[str]]] = {}
    for subject in targets:
        target: TrafficTarget = subject.model
        ports = frozenset(rule.name for rule in target.rules if rule.kind == TCP)
        if not any(rule.kind == HTTP for rule in target.rules):
            continue
        other, others = first.setdefault((target.namespace, target.account), (target, ports))
        if ports != others:
            yield subject.remark(
                NOT_PAIRED,
                "spec.rules",
                f"what it lets through also passes at the ports of {other.id[:120]}, and the other way round, "
                "for callers of both: name the same TCPRoutes in both",
            )


def _target(
    subject: Subject,
    target: TrafficTarget,
    groups: dict[tuple[str, str], HTTPRouteGroup],
    tcp: set[tuple[str, str]],
) -> Iterator[Remark]:
    if not target.sources:
        yield subject.remark(ANY_SOURCE, "spec", "without sources the whole mesh is let in: write the service accounts")
    for number, rule in enumerate(target.rules):
        at, key = f"spec.rules[{number}]", (target.namespace, rule.name)
        if (rule.kind == HTTP and key not in groups) or (rule.kind == TCP and key not in tcp):
            done = "the whole target is left out" if rule.kind == TCP else "it lets no request through"
            yield subject.remark(
                DANGLING_ROUTE,
                f"{at}.name",
                f"no {rule.kind} {shown(rule.name)} of namespace {target.namespace[:60]} is in these documents, "
                f"so {done}: name one that is",
            )
        if rule.kind != HTTP or key not in groups:
            continue
        if not rule.matches:
            yield subject.remark(
                NO_MATCHES,
                at,
                "Open Service Mesh lets nothing through where no match is named, whatever the specification says: "
                "name them under matches",
            )
        known = {one.name for one in groups[key].matches}
        for place, name in enumerate(rule.matches):
            if name not in known:
                yield subject.remark(
                    DANGLING_ROUTE,
                    f"{at}.matches[{place}]",
                    f"{shown(rule.name)} has no match {shown(name)}, so it lets nothing through: name one that it has",
                )


def _group(subject: Subject, group: HTTPRouteGroup) -> Iterator[Remark]:
    for number, one in enumerate(group.matches):
        at = f"spec.matches[{number}]"
        if one.path in (".*", "/.*") and "*" in one.methods and not one.headers:
            yield subject.remark(ANY_REQUEST, at, "every request is so: write pathRegex or methods if some are meant")
        elif one.path.startswith("/") and one.path.endswith("/") and one.path != "/":
            yield subject.remark(
                UNANCHORED,
                f"{at}.pathRegex",
                f"Open Service Mesh compares all of the path, so only {shown(one.path)} itself is so: "
                f"write {shown(f'{one.path}.*')}",
            )
