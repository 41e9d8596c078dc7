"""The walk for links as they are read from the rollups: the parts of a slow-down, each with the way down to it.

Links ──► parts ──► the same `Part` as `analyzers.latency.attribution` tells
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence

import numpy as np

from analyzers.latency.attribution import LEAST_SHARE, Part, PartKind
from analyzers.latency.graph.changes import Changes, changes
from analyzers.latency.graph.model import Link, Side, Window
from analyzers.latency.graph.walk import Chain, chain, landed
from analyzers.latency.links import Link as Known
from analyzers.latency.links import Links, Place
from analyzers.latency.links import Side as View

MINUTE_S = 60.0


def parts(links: Links, place: Place, *, errors: bool = False) -> Sequence[Part]:
    """The parts of what happened at `place`, the largest first; none where all lies within noise.

    Args:
        errors: of the share of failed calls, not of durations.
    """
    places = list(links.at)
    if place not in links.at:
        return ()
    told = places.index(place)
    found = changes([_link(links.at[each]) for each in places], "errors" if errors else "latency")
    flags = np.zeros(len(places), np.bool_)
    flags[told] = True
    ways = chain(found, flags)
    end = landed(found, ways, told)
    down = _down(found, ways, told)
    told_parts = [
        Part("self", found.services[service], float(min(end.own[service], 1.0)), [places[each] for each in way])
        for service in np.flatnonzero(end.own >= LEAST_SHARE).tolist()
        if (way := down.get(service)) is not None
    ]
    for link in np.flatnonzero(end.between > 0).tolist():
        share, service = float(min(end.between[link], 1.0)), found.services[int(found.destination[link])]
        way = [told] if link == told else [*down.get(int(found.source[link]), [told]), link]
        told_parts.append(Part("network", service, share, [places[each] for each in way]))
    return sorted(_joined(told_parts), key=lambda part: -part.share)


def _joined(found: Sequence[Part]) -> list[Part]:
    """One part for each service and kind, with the way of the greatest; small ones are left out."""
    joined: dict[tuple[PartKind, str], Part] = {}
    for part in sorted(found, key=lambda part: -part.share):
        known = joined.get((part.kind, part.service))
        share = part.share + (known.share if known else 0.0)
        joined[part.kind, part.service] = Part(part.kind, part.service, share, (known or part).path)
    return [part for part in joined.values() if part.share >= LEAST_SHARE]


def _down(found: Changes, ways: Chain, told: int) -> Mapping[int, Sequence[int]]:
    """The links from the told one down to each service, on the way that hands on most (E. Dijkstra, 1959)."""
    out: dict[int, list[tuple[int, float]]] = {}
    weight = ways.handed * (1 - found.between)
    for link in np.flatnonzero(weight > 0).tolist():
        out.setdefault(int(found.source[link]), []).append((link, -math.log(min(float(weight[link]), 1.0))))
    done: dict[int, Sequence[int]] = {}
    waiting: list[tuple[float, int, list[int]]] = [(0.0, int(found.destination[told]), [told])]
    while waiting:
        cost, service, way = heapq.heappop(waiting)
        if service in done:
            continue
        done[service] = way
        for link, more in out.get(service, ()):
            if (callee := int(found.destination[link])) not in done:
                heapq.heappush(waiting, (cost + more, callee, [*way, link]))
    return done


def _link(known: Known) -> Link:
    source, destination, operation = known.place
    return Link(source, destination, operation, _window(known, 0), _window(known, 1))


def _window(known: Known, half: int) -> Window:
    views = known.caller[half], known.callee[half]
    most = max((view for view in views if view), key=lambda view: view.counted, default=None)
    if most is None or most.calls <= 0:
        return Window(0.0)
    return Window(most.counted / most.calls * MINUTE_S, _side(views[0]), _side(views[1]))


def _side(view: View | None) -> Side | None:
    if view is None:
        return None
    return Side(view.counted, view.mean_us, view.error_us, view.failed * view.counted)
