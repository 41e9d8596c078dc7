"""Whose doing each regression is, and which ones only show another.

regressions ──► links around them ──► attribute ──► load, deploys and what else changed then ──► causes
                                                └──► explained_by, explains: one cause is told once
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from analyzers.findings.model import QUIET
from analyzers.latency.attribution import Part, attribute
from analyzers.latency.changes import Changed, changed_around, deploy_of, load_of
from analyzers.latency.limits import Limits
from analyzers.latency.links import Place
from analyzers.latency.read_links import Around, Window, read_around
from analyzers.latency.regression import Cause, CauseKind, Regression
from analyzers.latency.store import joined
from analyzers.latency.stored_rollups import StoredRollups
from storage.engine import Engine

EXPLAINS_FROM = 0.5
"""A regression shows another one where that one's place lies on the path of so much of it."""
SAMPLES = 5
MOST_CAUSES = 5
_SAME_MOMENT = timedelta(minutes=15)
"""A cause shows at other edges within this time."""


def blamed(
    engine: Engine,
    rollups: StoredRollups,
    found: Sequence[Regression],
    limits: Limits,
    known: Sequence[Regression],
) -> Sequence[Regression]:
    """The regressions with their causes, ids of known episodes, and what explains what.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    lasting = [one for one in joined(found, known) if one.verdict == "regression"]
    gone = [one for one in joined(found, known) if one.verdict == "anomaly"]
    parts: dict[str, Sequence[Part]] = {}
    told: list[Regression] = []
    for one in lasting:
        window = Window.of(one, limits)
        around = read_around(rollups, [one.destination], window)
        parts[one.id] = attribute(around.links, _asked(one, around), errors=one.what == "errors")
        changed = changed_around(engine, one)
        causes = _causes(one, parts[one.id], around, rollups, window, changed, limits)
        told.append(_with_samples(replace(one, causes=causes), rollups))
    by_id = {one.id: one for one in [*known, *told]}
    roots = _roots(told, parts, by_id)
    explains: dict[str, list[str]] = defaultdict(list)
    for one, root in roots.items():
        explains[root].append(one)
    linked = [
        replace(
            one,
            explained_by=roots.get(one.id),
            explains=tuple(sorted({*explains.get(one.id, ()), *one.explains})),
        )
        for one in told
    ]
    return sorted([*linked, *gone], key=lambda one: (one.since, one.id))


def _asked(one: Regression, around: Around) -> Place:
    """Its place; of a whole edge the operation that has most calls."""
    if one.operation is not None:
        return Place(one.source, one.destination, one.operation)
    links = [link for link in around.links.into.get(one.destination, ()) if link.place.source == one.source]
    best = max(links, key=lambda link: after.calls if (after := link.outside[1]) else 0.0, default=None)
    return best.place if best else Place(one.source, one.destination, "")


def _causes(
    one: Regression,
    parts: Sequence[Part],
    around: Around,
    rollups: StoredRollups,
    window: Window,
    changed: Sequence[Changed],
    limits: Limits,
) -> Sequence[Cause]:
    found: list[Cause] = []
    noun = "failures" if one.what == "errors" else "slow-down"
    for part in parts[:MOST_CAUSES]:
        share = f"{part.share:.0%} of the {noun}"
        own = part.service == one.destination
        if part.kind == "network":
            near = part.path[-1]
            why = f"{share} is between {near.source} and {near.destination}: the caller waits, the callee does not"
            found.append(Cause(part.service, "network", part.share, why))
            continue
        if deploy := deploy_of(part.service, around, limits):
            found.append(Cause(part.service, "deploy", part.share, f"{share} is in {part.service}: {deploy}"))
            continue
        if load := load_of(part.service, rollups, window):
            why = f"{share} is in {part.service}, whose calls grew first: {load.text}"
            found.append(Cause(load.caller, "load", part.share, why))
            continue
        kind: CauseKind = "self" if own else "callee"
        way = "" if own else f" ({' -> '.join([one.destination, *(place.destination for place in part.path[1:])])})"
        near = [each for each in changed if each.service in (part.service, None)]
        also = f"; shortly before: {near[0].text}" if near else ""
        found.append(Cause(part.service, kind, part.share, f"{share} is in {part.service} itself{way}{also}"))
    return found


def _roots(
    told: Sequence[Regression], parts: Mapping[str, Sequence[Part]], by_id: Mapping[str, Regression]
) -> Mapping[str, str]:
    """Regressions that only show another one -> that one: the deepest on the path of most of it."""
    places = {(one.source, one.destination): one for one in by_id.values() if one.verdict == "regression"}
    found: dict[str, str] = {}
    for one in told:
        weight: dict[str, float] = defaultdict(float)
        depth: dict[str, int] = {}
        for part in parts[one.id]:
            for hop, place in enumerate(part.path[1:], 1):
                other = places.get((place.source, place.destination))
                if other and other.id != one.id and abs(other.since - one.since) <= _SAME_MOMENT:
                    weight[other.id] += part.share
                    depth[other.id] = max(depth.get(other.id, 0), hop)
        strong = [id_ for id_, share in weight.items() if share >= EXPLAINS_FROM]
        if strong:
            found[one.id] = max(strong, key=lambda id_: (depth[id_], id_))
        elif cause := _same_service(one, parts, told):
            found[one.id] = cause
    return {one: _end(one, found) for one in found}


def _same_service(one: Regression, parts: Mapping[str, Sequence[Part]], told: Sequence[Regression]) -> str | None:
    """Of several edges and operations that the same service slows at once, the clearest stands for all."""
    own = parts[one.id][:1]
    if not own:
        return None
    alike = [
        other
        for other in told
        if parts[other.id][:1]
        and (parts[other.id][0].kind, parts[other.id][0].service) == (own[0].kind, own[0].service)
        and other.what == one.what
        and abs(other.since - one.since) <= min(_SAME_MOMENT, QUIET)
        and len(parts[other.id][0].path) <= len(own[0].path)
    ]
    best = min(alike, key=lambda other: (len(parts[other.id][0].path), -other.ratio * other.after.requests, other.id))
    return best.id if best.id != one.id else None


def _end(one: str, found: Mapping[str, str]) -> str:
    """Where the chain of explanations ends; a circle ends with its smallest id."""
    seen = [one]
    while (following := found.get(seen[-1])) is not None:
        if following in seen:
            return min(seen[seen.index(following) :])
        seen.append(following)
    return seen[-1]


def _with_samples(one: Regression, rollups: StoredRollups) -> Regression:
    """With ids of slow calls since, and of typical ones before."""
    if one.what != "latency" or not one.before.quantiles_us or not one.after.quantiles_us:
        return one
    ids = [
        int(edge)
        for edge, number in zip(rollups.keys.edge_id.tolist(), rollups.keys.number.tolist(), strict=True)
        if (each := rollups.keys.series[number])
        and (each.source, each.destination) == (one.source, one.destination)
        and one.operation in (None, each.operation)
    ]
    end = min(one.ended or one.last_seen, one.since + timedelta(minutes=30))
    slow = rollups.slow_calls(ids, one.since, end, one.after.quantiles_us[1] * 0.98, 1 << 62, SAMPLES)
    middle = one.before.quantiles_us[0]
    before = one.since - timedelta(hours=1), one.since
    typical = rollups.slow_calls(ids, *before, middle * 0.9, middle * 1.1 + 1, SAMPLES)
    return replace(one, slow_ids=tuple(slow), typical_ids=tuple(typical))
