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
from analyzers.latency.rollups import Rollups
from analyzers.latency.stack import Ints, Stack, is_cut_to_milliseconds, uncut

_SHARES = {"p95": 0.95, "p99": 0.99}


class Members:
    """Which series a row of the grid stands for.

    Rows up to `series` are the series themselves; behind them come the families with several members.
    """

    def __init__(self, families: Ints) -> None:
        self.series = len(families)
        self.families = families
        size = np.bincount(families, minlength=1)
        self.totals = np.flatnonzero(size > 1).astype(np.int64)
        order = np.argsort(families, kind="stable")
        bounds = np.concatenate([[0], np.cumsum(size)])
        self._of = {family: order[bounds[family] : bounds[family + 1]] for family in self.totals.tolist()}

    def of(self, row: int) -> Ints:
        """The series of a row."""
        if row < self.series:
            return np.array([row], np.int64)
        return self._of[int(self.totals[row - self.series])]

    def total(self, row: int) -> bool:
        """Whether a row is a whole edge."""
        return row >= self.series

    def places(self, rows: Ints) -> Ints:
        """By number of the series, the place of its row among `rows`; -1 = in none."""
        found = np.full(self.series, -1, np.int64)
        for place, row in enumerate(rows.tolist()):
            found[self.of(row)] = place
        return found


def without_mix(
    judged: Sequence[Judged], rollups: Rollups, members: Members, of: Grid, limits: Limits
) -> Sequence[Judged]:
    """With the stage `mix` for whole edges; where one of their operations tells it already, the edge is left out."""
    told = {(int(members.families[one.row]), one.what) for one in judged if _real(one) and not members.total(one.row)}
    found: list[Judged] = []
    for one in judged:
        if not one.passed or not members.total(one.row):
            found.append(one)
            continue
        series = members.of(one.row)
        if (int(members.families[series[0]]), one.what) in told:
            found.append(one.then("mix", False, "an operation of it tells the same"))
        elif one.what == "latency":
            found.append(_latency(one, series, rollups, limits))
        else:
            found.append(_errors(one, series, of, limits))
    return found


def _real(one: Judged) -> bool:
    """Whether a test told it and it was large enough, whatever later stages made of it."""
    return all(stage.passed for stage in one.stages if stage.name in ("test", "effect"))


def _latency(one: Judged, series: Ints, rollups: Rollups, limits: Limits) -> Judged:
    row = np.full(int(series.max()) + 1, -1, np.int64)
    row[series] = np.arange(len(series))
    spans = ((one.since - limits.before_min * MINUTE_S, one.since), (one.since, one.until))
    before, after = (rollups.histograms(series, *span).stack(row, len(series)) for span in spans)
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


def _errors(one: Judged, series: Ints, of: Grid, limits: Limits) -> Judged:
    split = (one.since - of.start) // MINUTE_S
    early, late = slice(split - limits.before_min, split), slice(split, None)
    n, k = of.requests[series][:, early].sum(axis=1), of.errors[series][:, early].sum(axis=1)
    m, j = of.requests[series][:, late].sum(axis=1), of.errors[series][:, late].sum(axis=1)
    weight = np.where(m > 0, n, 0.0)
    weight = weight / max(weight.sum(), 1.0)
    after = float((weight * np.divide(j, m, out=np.zeros(len(m)), where=m > 0)).sum())
    before = float(k.sum() / max(n.sum(), 1.0))
    text = f"{after:.2%} with the operations mixed as before, {before:.2%} then"
    return one.then("mix", after - before >= limits.error_share, text)
