"""The stage of traffic mixes: all operations of an edge together got slower, did any of them?

Of an edge as a whole the calls after a change are weighed as its operations were mixed before it. What is left of the
rise is real; the rest is only that slow operations became more frequent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from analyzers.latency.comparison import quantile_ratio, rank_test, shift
from analyzers.latency.grid import MINUTE_S, Grid
from analyzers.latency.judged import Judged
from analyzers.latency.limits import Limits
from analyzers.latency.members import Members
from analyzers.latency.rollups import Rollups
from analyzers.latency.stack import Ints, Stack, is_cut_to_milliseconds, uncut

_SHARES = {"p95": 0.95, "p99": 0.99}


def without_mix(
    judged: Sequence[Judged], rollups: Rollups, members: Members, of: Grid, limits: Limits
) -> Sequence[Judged]:
    """With the stage `mix` for whole edges; where one of their operations tells it already, the edge is left out."""
    told = {(members.family(one.row), one.what) for one in judged if _real(one) and not members.total(one.row)}
    found: list[Judged] = []
    for one in judged:
        if not one.passed or not members.total(one.row):
            found.append(one)
            continue
        series = members.of(one.row)
        if (members.family(one.row), one.what) in told:
            found.append(one.then("mix", False, "an operation of it tells the same"))
        elif one.what == "latency":
            found.append(_latency(one, series, members.operations, rollups, limits))
        else:
            found.append(_errors(one, series, members.operations, of, limits))
    return found


def _real(one: Judged) -> bool:
    """Whether a test told it and it was large enough, whatever later stages made of it."""
    return all(stage.passed for stage in one.stages if stage.name in ("test", "effect"))


def _latency(one: Judged, series: Ints, operations: Ints, rollups: Rollups, limits: Limits) -> Judged:
    row = np.full(len(operations), -1, np.int64)
    known, row[series] = np.unique(operations[series], return_inverse=True)
    spans = ((one.since - limits.before_min * MINUTE_S, one.since), (one.since, one.until))
    before, after = (rollups.histograms(series, *span).stack(row, len(known)) for span in spans)
    weight = before.calls / max(before.calls.sum(), 1.0)
    calls = after.calls
    # Operations without calls after cannot be weighed: the others stand for them.
    weight = np.where(calls > 0, weight, 0.0)
    share = np.divide(weight, calls, out=np.zeros(len(calls)), where=calls > 0)
    alike = Stack((after.counts * share[:, None]).sum(axis=0, keepdims=True) / max(weight.sum(), 1e-9), after.first)
    alike = Stack(alike.counts * calls.sum(), alike.first)
    whole = Stack(before.counts.sum(axis=0, keepdims=True), before.first)
    cut = is_cut_to_milliseconds(whole + alike)
    fine = uncut(whole, cut), uncut(alike, cut)
    typical = one.shape == "typical"
    spread = np.array([one.spread])
    ratio = shift(*fine, spread) if typical else quantile_ratio(*fine, _SHARES[one.shape], spread)
    value, low = float(ratio.ratio[0]), float(ratio.low[0])
    least, sure = (limits.min_ratio, limits.sure_ratio) if typical else (limits.tail_ratio, limits.sure_tail_ratio)
    p = float(rank_test(*fine, spread).greater_p[0]) if typical else one.p
    real = value >= least and low >= sure and p <= limits.alpha
    text = f"{value:.2f} times with the operations mixed as before, {one.ratio:.2f} as they came"
    return (
        replace(one, ratio=value, low=low, high=float(ratio.high[0])).then("mix", real, text)
        if real
        else one.then("mix", False, text)
    )


def _errors(one: Judged, series: Ints, operations: Ints, of: Grid, limits: Limits) -> Judged:
    split = (one.since - of.start) // MINUTE_S
    early, late = slice(split - limits.before_min, split), slice(split, None)
    place = np.unique(operations[series], return_inverse=True)[1]
    n, k, m, j = (
        np.bincount(place, values[series][:, part].sum(axis=1)).astype(np.float64)
        for part in (early, late)
        for values in (of.requests, of.errors)
    )
    weight = np.where(m > 0, n, 0.0)
    weight = weight / max(weight.sum(), 1.0)
    after = float((weight * np.divide(j, m, out=np.zeros(len(m)), where=m > 0)).sum())
    before = float(k.sum() / max(n.sum(), 1.0))
    text = f"{after:.2%} with the operations mixed as before, {before:.2%} then"
    return one.then("mix", after - before >= limits.error_share, text)
