"""Whose doing a slow-down is, from what every link did before and after.

A call takes longer because the network or a proxy between does (the caller's side rose, the callee's did not), because
what the callee calls takes longer or is called more often, or because the callee itself does. Time is balanced at each
node: what its callees cost it more, per minute, against what all its callers wait longer. Downwards the same again, to
the deepest node whose own part nobody below it explains.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from analyzers.latency.links import NO_RISE, Link, Links, Place, Rise, Views, failing, rise

DEEPEST = 12
"""Hops that blame goes down."""
LEAST_SHARE = 0.05
"""Parts smaller than this are not told."""

PartKind = Literal["self", "network"]
Measure = Callable[[Views], Rise]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a slow-down.

    Attributes:
        service: whose it is; of the network, the callee behind it.
        path: links from the one that was asked about down to where it is.
    """

    kind: PartKind
    service: str
    share: float
    path: Sequence[Place]


def attribute(links: Links, place: Place, *, errors: bool = False) -> Sequence[Part]:
    """The parts of what happened at `place`, the largest first; shares sum to at most 1.

    Args:
        errors: of the share of failed calls, not of durations.
    """
    measure: Measure = failing if errors else rise
    link = links.at.get(place)
    if link is None:
        return ()
    found: dict[tuple[PartKind, str], Part] = {}
    for part in _parts(links, link, 1.0, (place,), frozenset({place.destination}), measure):
        key = part.kind, part.service
        known = found.get(key)
        found[key] = Part(part.kind, part.service, part.share + (known.share if known else 0.0), part.path)
    large = [part for part in found.values() if part.share >= LEAST_SHARE]
    return sorted(large, key=lambda part: (-part.share, part.service))


def _parts(
    links: Links, link: Link, share: float, path: tuple[Place, ...], seen: frozenset[str], measure: Measure
) -> list[Part]:
    service = link.place.destination
    between = network_share(link, measure)
    found = [Part("network", service, share * between, path)] if between else []
    inside = share * (1 - between)
    if len(path) >= DEEPEST or inside < LEAST_SHARE:
        return [*found, Part("self", service, inside, path)]
    rest = inside
    for callee, part in callee_shares(links, service, measure):
        if callee.place.destination in seen:
            continue
        rest -= inside * part
        found += _parts(links, callee, inside * part, (*path, callee.place), seen | {callee.place.destination}, measure)
    return [*found, Part("self", service, max(rest, 0.0), path)]


def network_share(link: Link, measure: Measure = rise) -> float:
    """The part of what the caller waits longer that the callee does not see."""
    outside, inside = measure(link.caller), measure(link.callee)
    if link.callee[1] is None or link.caller[1] is None or not outside.clear:
        return 0.0
    gap = Rise(outside.us - inside.us, (outside.error_us**2 + inside.error_us**2) ** 0.5)
    return min(1.0, gap.sure_us / outside.us)


def callee_shares(links: Links, service: str, measure: Measure = rise) -> Sequence[tuple[Link, float]]:
    """The links of a node that cost it more than before, each with its part of what its callers wait longer.

    Calls made at the same time cost less than their sum: where the parts sum to more than 1, they are made to be 1.
    """
    waited = sum(_minutely(link.inside, measure) for link in links.into.get(service, ()))
    if waited <= 0:
        return ()
    cost = [(link, _cost(link, links, service, measure)) for link in links.out_of.get(service, ())]
    parts = [(link, us / waited) for link, us in cost if us > 0]
    total = max(sum(part for _, part in parts), 1.0)
    return sorted(((link, part / total) for link, part in parts), key=lambda one: (-one[1], one[0].place))


def _minutely(views: Views, measure: Measure) -> float:
    """What all calls of a minute take longer together."""
    return views[1].calls * measure(views).sure_us if views[1] else 0.0


def _cost(link: Link, links: Links, service: str, measure: Measure) -> float:
    """What a link costs its caller more per minute: longer calls, and more of them for each that it answers."""
    before, after = link.outside
    if after is None:
        return 0.0
    longer = _minutely(link.outside, measure)
    if measure is failing:
        return longer
    answered = [
        sum(views[side].calls for one in links.into.get(service, ()) if (views := one.inside)[side] is not None)  # type: ignore[union-attr]
        for side in (0, 1)
    ]
    if not answered[0] or not answered[1]:
        return longer
    often = after.calls / answered[1] - (before.calls / answered[0] if before else 0.0)
    usual = before.calls / answered[0] if before else 0.0
    more = often * answered[1] * (before.mean_us if before else after.mean_us)
    # Where calls for each answer grew by half at least: below that it is the usual mixture.
    return longer + (more if often > 0.5 * usual and before is not None else 0.0)


__all__ = ["NO_RISE", "Part", "attribute", "callee_shares", "network_share"]
