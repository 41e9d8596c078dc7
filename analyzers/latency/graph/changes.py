"""Links as columns: by how much each changed, at either end, how sure that is, and how often it is called.

links ──► changes ──► Changes ──► walk
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analyzers.latency.graph.model import Link, Side, What, Window

MIN_CALLS = 10
"""An end of a link that saw fewer calls in one of the windows tells nothing."""
SURE = 3.0
"""Standard errors. A change within so many is noise; thousands of links are looked at, and few of them changed."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Changes:
    """One entry per link; changes are us, or shares of calls for errors. NaN = not known.

    Attributes:
        services: the nodes; `source` and `destination` are places in it.
        before_per_s, after_per_s: calls per second.
        calls: of the window after.
        seen, seen_variance: the change as the caller saw it; as the callee did, where the caller told nothing.
        inside, inside_variance: the change of what happens at the callee: as it told itself, else as the caller saw it.
        between: the part of `seen`, 0..1, that lies between the two ends.
        sure: the change, or that of all operations between the two services together, is no noise.
        since_us, busier_since_us: NaN = not known.
    """

    services: Sequence[str]
    source: Ints
    destination: Ints
    before_per_s: Floats
    after_per_s: Floats
    calls: Floats
    seen: Floats
    seen_variance: Floats
    inside: Floats
    inside_variance: Floats
    between: Floats
    sure: Flags
    since_us: Floats
    busier_since_us: Floats


def changes(links: Sequence[Link], what: What, errors: float = SURE) -> Changes:
    """The columns; nodes are numbered as they come. A change of fewer standard `errors` is noise."""
    place: dict[str, int] = {}
    source = np.array([place.setdefault(link.source, len(place)) for link in links], np.int64)
    destination = np.array([place.setdefault(link.destination, len(place)) for link in links], np.int64)
    before, after = (np.array([window.per_second for window in each], np.float64) for each in _windows(links))
    at_caller, caller_variance = _ends([(link.before.caller, link.after.caller) for link in links], what)
    at_callee, callee_variance = _ends([(link.before.callee, link.after.callee) for link in links], what)
    blind = np.isnan(at_caller)
    seen, seen_variance = np.where(blind, at_callee, at_caller), np.where(blind, callee_variance, caller_variance)
    gap = at_caller - at_callee
    gap_variance = _gap_variance(links, what, caller_variance + callee_variance)
    sure = _sure(source, destination, after, seen, seen_variance, len(place), errors)
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = gap > errors * np.sqrt(gap_variance)
        between = np.where(apart & (at_caller > 0), np.clip(gap / at_caller, 0.0, 1.0), 0.0)
        # An end that is too noisy to tell "mine" from "not mine" is no better than one that tells nothing.
        telling = ~np.isnan(at_callee) & (apart | (at_callee > errors * np.sqrt(callee_variance)) | blind)
    return Changes(
        services=list(place),
        source=source,
        destination=destination,
        before_per_s=before,
        after_per_s=after,
        calls=np.array([link.after.per_second * link.after.seconds for link in links], np.float64),
        seen=seen,
        seen_variance=seen_variance,
        inside=np.where(telling, at_callee, seen),
        inside_variance=np.where(telling, callee_variance, seen_variance),
        between=between,
        sure=sure,
        since_us=_moments([link.since_us for link in links]),
        busier_since_us=_moments([link.busier_since_us for link in links]),
    )


def _windows(links: Sequence[Link]) -> tuple[Sequence[Window], Sequence[Window]]:
    return [link.before for link in links], [link.after for link in links]


def _moments(found: Sequence[int | None]) -> Floats:
    return np.array([np.nan if each is None else float(each) for each in found], np.float64)


def _ends(pairs: Sequence[tuple[Side | None, Side | None]], what: What) -> tuple[Floats, Floats]:
    """Change and its variance at one end of every link; NaN where one of the windows tells too little."""
    found = np.full((len(pairs), 2), np.nan)
    for row, (before, after) in enumerate(pairs):
        if not before or not after or min(before.requests, after.requests) < MIN_CALLS:
            continue
        if what == "errors":
            found[row] = _share(after)[0] - _share(before)[0], _share(after)[1] + _share(before)[1]
        elif before.mean_us is not None and after.mean_us is not None:
            found[row] = after.mean_us - before.mean_us, after.mean_error_us**2 + before.mean_error_us**2
    found[~np.isfinite(found).all(axis=1)] = np.nan
    return found[:, 0], found[:, 1]


def least_calls(link: Link, what: What) -> float:
    """Calls of the window that has fewer, at the end that tells more."""
    usable = [
        min(before.requests, after.requests) if what == "errors" or None not in (before.mean_us, after.mean_us) else 0.0
        for before, after in ((link.before.caller, link.after.caller), (link.before.callee, link.after.callee))
        if before and after
    ]
    return max(usable, default=0.0)


def _share(side: Side) -> tuple[float, float]:
    """Share of failed calls, and its variance.

    The variance is that of a share moved towards a half by two calls (A. Agresti, B. Caffo, 2000), without which none
    has no variance.
    """
    moved = (side.errors + 1) / (side.requests + 2)
    return side.errors / side.requests, max(side.dispersion, 1.0) * moved * (1 - moved) / (side.requests + 2)


def _gap_variance(links: Sequence[Link], what: What, independent: Floats) -> Floats:
    if what == "errors":
        return independent
    known = [
        (link.before.gap_error_us**2 + link.after.gap_error_us**2)
        if link.before.gap_error_us is not None and link.after.gap_error_us is not None
        else np.nan
        for link in links
    ]
    told = np.array(known, np.float64)
    return np.where(np.isnan(told), independent, told)


def _sure(
    source: Ints, destination: Ints, per_s: Floats, change: Floats, variance: Floats, services: int, errors: float
) -> Flags:
    """Which changes are up and no noise, alone or with the other operations of the same two services."""
    known = ~np.isnan(change)
    value, noise = np.where(known, change, 0.0), np.where(known, variance, 0.0)
    pair = np.unique(source * services + destination, return_inverse=True)[1]
    rise = np.bincount(pair, per_s * value)[pair]
    spread = np.sqrt(np.bincount(pair, per_s**2 * noise))[pair]
    alone = value > errors * np.sqrt(noise)
    return known & (value > 0) & (alone | (rise > errors * spread))
