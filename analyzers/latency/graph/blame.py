"""Causes of links that got slower or fail more, ranked; and which of those links are one incident.

links ──► changes ──► chain ──► landed ──► Blame, one per link told ──► incidents
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from analyzers.latency.graph.changes import MIN_CALLS, SURE, Changes, changes, least_calls
from analyzers.latency.graph.model import Blame, Cause, Happening, Incident, Link, What
from analyzers.latency.graph.reasons import Reasons
from analyzers.latency.graph.walk import chain, landed
from analyzers.latency.regression import CauseKind

LEAST_SHARE = 0.01
"""Causes with less are not told."""
DEPLOYS = ("version", "pods")


def blame(
    links: Sequence[Link],
    told: Sequence[int],
    happenings: Sequence[Happening] = (),
    what: What = "latency",
    *,
    sure: float = SURE,
) -> Sequence[Blame]:
    """Why each of the links `told` (their places) got slower, or fails more.

    Args:
        links: all of the map that are known, those that did not change too: they are what excuses a service.
        happenings: what was changed, at whichever service and time.
        sure: standard errors. What changed by fewer is noise; with few of them causes become guesses.

    The shares of a link's causes add up to at most 1; what is missing lies within the noise.
    """
    if not told:
        return []
    found = changes(links, what, sure)
    flags = np.zeros(len(links), np.bool_)
    flags[list(told)] = True
    ways = chain(found, flags, sure)
    reasons = Reasons(found, found.sure | flags, happenings)
    blamed: list[Blame] = []
    for link in told:
        if np.isnan(found.seen[link]):
            has = least_calls(links[link], what)
            note = f"not enough data: has {has:.0f} calls in one of the windows, needs {MIN_CALLS}"
            blamed.append(Blame(link, (), note))
            continue
        end = landed(found, ways, link)
        causes = _owners(found, reasons, link, end.own, what) + _between(found, reasons, link, end.between, what)
        causes.sort(key=lambda cause: -cause.share)
        blamed.append(Blame(link, causes, None if causes else _noise(found, link, what, sure)))
    return blamed


def incidents(links: Sequence[Link], blamed: Sequence[Blame]) -> Sequence[Incident]:
    """One incident for each cause, not one for each link above it; the one that explains most links first.

    A link without a cause is an incident of its own.
    """
    groups: dict[tuple[str, CauseKind], list[Blame]] = defaultdict(list)
    alone: list[Incident] = []
    for each in blamed:
        if not each.causes:
            alone.append(Incident(None, None, (each.link,)))
            continue
        first = each.causes[0]
        groups[first.service, "self" if first.kind == "callee" else first.kind].append(each)
    found: list[Incident] = []
    for (service, kind), members in groups.items():
        ordered = sorted(members, key=lambda each: (-each.causes[0].share, links[each.link].destination != service))
        found.append(Incident(service, kind, [each.link for each in ordered]))
    return sorted(found, key=lambda each: -len(each.links)) + alone


def _noise(found: Changes, link: int, what: What, sure: float) -> str:
    noise = np.sqrt(max(found.seen_variance[link], 0.0))
    errors = found.seen[link] / noise if noise > 0 else 0.0
    if errors >= sure:
        return f"not enough data: no service below has grown by {sure:g} standard errors, as blame needs"
    name = "slow-down" if what == "latency" else "rise of errors"
    return f"not enough data: has a {name} of {errors:.1f} standard errors, needs {sure:g}"


def _owners(found: Changes, reasons: Reasons, link: int, own: np.ndarray, what: What) -> list[Cause]:
    """Services whose own time it is, each under the reason that fits best."""
    causes: list[Cause] = []
    for service in np.flatnonzero(own >= LEAST_SHARE).tolist():
        share, name = float(min(own[service], 1.0)), found.services[service]
        owner: CauseKind = "self" if service == found.destination[link] else "callee"
        before = reasons.just_before(service)
        deployed = [each for each in before if each.kind in DEPLOYS]
        load = reasons.load(service)
        text = _text(found, link, share, what, f"{name}'s own, not that of what it calls")
        # More pods are what an autoscaler answers to load with; a new version is not.
        if deployed and not (load and all(each.kind == "pods" for each in deployed)):
            kind: CauseKind = "deploy"
        else:
            kind = "load" if load else owner
        more = reasons.more_calls(service)
        said = [text, *([load.text] if load else []), *([more] if more else []), *(each.text for each in before)]
        blamed = found.services[load.caller] if load and kind == "load" else name
        causes.append(_cause(found, link, blamed, kind, share, what, "; ".join(said)))
    return causes


def _between(found: Changes, reasons: Reasons, link: int, between: np.ndarray, what: What) -> list[Cause]:
    """What lies between two services, summed by the end to look at."""
    shares: dict[int, float] = defaultdict(float)
    names: dict[int, list[str]] = defaultdict(list)
    for lossy in np.flatnonzero(between > 0).tolist():
        end = reasons.end(lossy)
        shares[end] += float(between[lossy])
        pair = f"{found.services[found.source[lossy]]} -> {found.services[found.destination[lossy]]}"
        if pair not in names[end]:
            names[end].append(pair)
    causes: list[Cause] = []
    for end, share in shares.items():
        if share >= LEAST_SHARE:
            where = f"between {', '.join(names[end][:3])}: the caller's side changed, the callee's did not"
            text = _text(found, link, share, what, where)
            causes.append(_cause(found, link, found.services[end], "network", min(share, 1.0), what, text))
    return causes


def _cause(found: Changes, link: int, service: str, kind: CauseKind, share: float, what: What, why: str) -> Cause:
    part = share * max(float(found.seen[link]), 0.0)
    return Cause(service, kind, share, part if what == "latency" else None, part if what == "errors" else None, why)


def _text(found: Changes, link: int, share: float, what: What, where: str) -> str:
    change = max(float(found.seen[link]), 0.0)
    whole = f"{change / 1000:.3g} ms" if what == "latency" else f"{100 * change:.3g} percentage points"
    return f"{100 * share:.0f} % of {whole} are {where}"
