"""Blame handed down the map, until it stays somewhere.

A service that takes longer by `inside` a call, over all its callers, hands on to each of its callees what it waits
longer for them: calls per second x change of a call. What is left is its own. Handing on is a Markov chain whose
absorbing states are the services' own time and what lies between two services, so that cycles end and all paths count
(J. Kemeny, J. Snell, Finite Markov Chains, 1960, chapter 3). One sparse system is solved per blamed service.

Changes ──► chain ──► Chain ──► landed ──► Landed
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csc_matrix, identity
from scipy.sparse.linalg import SuperLU, splu

from analyzers.latency.graph.changes import SURE, Changes, Flags, Floats, Ints

SLACK_US = 5 * 60_000_000
"""A callee that got slow by more than this (us) after its caller is no cause of it; onsets are found minutes apart."""
STAYS = 1e-6
"""Of each blame handed on, this part stays, so that services which blame each other in full come to an end."""


@dataclass(frozen=True, slots=True)
class Chain:
    """Where blame goes from each service.

    Attributes:
        own: share that stays, by service.
        handed: share of its source's blame that each link takes, by link.
    """

    own: Floats
    handed: Floats
    solver: SuperLU


@dataclass(frozen=True, slots=True)
class Landed:
    """Where the blame of one link ends: shares, together at most 1.

    Attributes:
        own: by service.
        between: by link.
    """

    own: Floats
    between: Floats


def chain(changes: Changes, told: Flags, errors: float = SURE) -> Chain:
    """The shares that each service keeps and hands on.

    Args:
        told: links that somebody found to be regressed; their rise counts even where the means are noisy.
        errors: standard errors within which a service's own part is noise.
    """
    services = len(changes.services)
    counts = changes.sure | (told & (np.nan_to_num(changes.inside) > 0))
    inside = np.where(counts, np.maximum(np.nan_to_num(changes.inside), 0.0), 0.0)
    into = _summed(changes.destination, changes.after_per_s * inside, services)
    into_variance = _summed(changes.destination, _variance(changes, inside, changes.inside_variance) * counts, services)
    could = _in_time(changes, counts, services)
    waits = np.where(changes.sure & could, changes.after_per_s * np.nan_to_num(changes.seen), 0.0)
    waited = _summed(changes.source, waits, services)
    small = np.where(changes.sure, 0.0, changes.after_per_s * np.nan_to_num(changes.seen))
    noise = _summed(changes.source, _variance(changes, changes.seen, changes.seen_variance), services)
    # What lies within noise one by one may be much together: it is not the service's own.
    own = into - waited - np.maximum(_summed(changes.source, small, services), 0.0)
    own = np.where(own > errors * np.sqrt(into_variance + noise), own, 0.0)
    whole = np.maximum(into, waited)
    share = np.divide(1.0, whole, out=np.zeros(services), where=whole > 0)
    handed = waits * share[changes.source]
    on = csc_matrix(
        (handed * (1 - changes.between) * (1 - STAYS), (changes.destination, changes.source)), (services, services)
    )
    kept = STAYS * _summed(changes.source, handed * (1 - changes.between), services)
    return Chain(own * share + kept, handed, splu(csc_matrix(identity(services, format="csc") - on)))


def landed(changes: Changes, chain: Chain, link: int) -> Landed:
    """Where the blame of a link ends."""
    first = float(changes.between[link])
    start = np.zeros(len(changes.services))
    start[changes.destination[link]] = 1 - first
    visits = np.maximum(chain.solver.solve(start), 0.0)
    between = visits[changes.source] * chain.handed * changes.between
    between[link] += first
    return Landed(visits * chain.own, between)


def _summed(place: Ints, values: Floats, services: int) -> Floats:
    return np.bincount(place, values, services).astype(np.float64)


def _variance(changes: Changes, change: Floats, variance: Floats) -> Floats:
    """Of calls per second x change: both are measured, and calls are counted as if each came by itself."""
    counted = np.divide(1.0, changes.calls, out=np.zeros(len(change)), where=changes.calls > 0)
    return changes.after_per_s**2 * (np.nan_to_num(variance) + np.nan_to_num(change) ** 2 * counted)


def _in_time(changes: Changes, counts: Flags, services: int) -> Flags:
    """Links that did not get slow only after all callers of their source had."""
    latest = np.full(services, -np.inf)
    np.maximum.at(latest, changes.destination[counts], np.nan_to_num(changes.since_us[counts], nan=np.inf))
    limit = np.where(np.isfinite(latest), latest, np.inf)
    return ~(changes.since_us > limit[changes.source] + SLACK_US)
