"""The stages that need whole distributions: when exactly, is it chance, is it large enough, did it last.

histograms of candidates by minute ──► judge_latency ──► Judged (with the stages test, effect, lasting)

The moment is the split that explains most, of three numbers per minute: the mean rank of its calls among those before
(which is Mann-Whitney's statistic, minute by minute, and does what a median would), and the shares of its calls beyond
the 95th and the 99th percentile before. Calls of a minute are not independent: every test is told by how much the
minutes, and blocks of ten, vary more than independent calls would.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from analyzers.latency.comparison import Ratio, quantile_ratio, rank_test, share_test, shift, smirnov
from analyzers.latency.grid import MINUTE_S
from analyzers.latency.judged import Judged, Shape, Stage
from analyzers.latency.limits import Limits
from analyzers.latency.screen import splits
from analyzers.latency.stack import Floats, Ints, Stack, is_cut_to_milliseconds, uncut

BLOCK_MIN = 10
"""Minutes of a block, by which slow unrest is measured."""
HOPELESS_P = 0.01
"""A candidate that a single test would not tell goes no further."""
FEW = 50
"""Calls of the first and of the last minutes since a change by which it is known whether it lasts."""
FEWEST = 10
"""And those without which it is not."""
OLDER = "it began before the minutes that are looked at"
"""Of the first moment that is tried: an earlier look saw it better."""


@dataclass(frozen=True, slots=True)
class Minutes:
    """Histograms of candidates by minute.

    Attributes:
        counts: shape (candidates, minutes, width).
        first: bucket of the first column.
        start: the first minute, seconds since 1970.
    """

    counts: Floats
    first: int
    start: int

    def between(self, low: Ints, high: Ints) -> Stack:
        """The sum of the columns [low, high) of each candidate."""
        column = np.arange(self.counts.shape[1])
        inside = (column >= low[:, None]) & (column < high[:, None])
        return Stack(np.einsum("ctw,ct->cw", self.counts, inside.astype(np.float64)), self.first)


@dataclass(frozen=True, slots=True)
class _Signal:
    """A number per call, summed by minute: shape (candidates, minutes); `variance` of one call before."""

    sums: Floats
    variance: Floats


def judge_latency(rows: Ints, minutes: Minutes, requests: Floats, errors: Floats, limits: Limits) -> list[Judged]:
    """Judge candidates; `rows`, `requests` and `errors` (by minute) have one entry per candidate."""
    if not len(rows):
        return []
    calls = minutes.counts.sum(axis=2)
    at = splits(calls.shape[1], limits)
    signals = _signals(minutes, limits.before_min, limits.min_calls_before)
    split = _split(signals, calls, at)
    end = np.full(len(rows), calls.shape[1])
    before, after = minutes.between(split - limits.before_min, split), minutes.between(split, end)
    first, last = _ends(minutes, calls, split)
    spread = [_dispersion(each, calls, split, limits.before_min) for each in signals]
    ranks = rank_test(before, after, spread[0])
    tails = [
        1 - ndtr(share_test(*_hits(each, calls, split, limits.before_min), dispersion))
        for each, dispersion in zip(signals[1:], spread[1:], strict=True)
    ]
    # Three tests at each of the splits.
    p = np.minimum(1.0, np.fmin.reduce([ranks.greater_p, *tails]) * 3 * len(at))
    distance, _ = smirnov(before, after)
    cut = is_cut_to_milliseconds(before + after)
    fine = [uncut(each, cut) for each in (before, after, first, last)]
    effects: dict[Shape, tuple[Ratio, Floats]] = {
        "typical": (shift(fine[0], fine[1], spread[0]), fine[0].log_quantiles(_shares(rows, 0.5))[:, 0]),
        "p95": (quantile_ratio(fine[0], fine[1], 0.95, spread[1]), fine[0].log_quantiles(_shares(rows, 0.95))[:, 0]),
        "p99": (quantile_ratio(fine[0], fine[1], 0.99, spread[2]), fine[0].log_quantiles(_shares(rows, 0.99))[:, 0]),
    }
    thirds: dict[Shape, tuple[Floats, Floats]] = {
        "typical": (shift(fine[0], fine[2]).ratio, shift(fine[0], fine[3]).ratio),
        "p95": (quantile_ratio(fine[0], fine[2], 0.95).ratio, quantile_ratio(fine[0], fine[3], 0.95).ratio),
        "p99": (quantile_ratio(fine[0], fine[2], 0.99).ratio, quantile_ratio(fine[0], fine[3], 0.99).ratio),
    }
    return [
        _judged(
            place,
            int(rows[place]),
            minutes.start + int(split[place]) * MINUTE_S,
            minutes.start + calls.shape[1] * MINUTE_S,
            float(p[place]),
            float(ranks.superiority[place]),
            float(distance[place]),
            (before.take([place]), after.take([place])),
            (min(float(first.calls[place]), float(last.calls[place])), thirds),
            effects,
            _counted(requests, errors, place, int(split[place]), limits.before_min),
            float(spread[0][place]),
            bool(split[place] == at[0]),
            min(limits.before_min, int(split[place] - np.argmax(calls[place] > 0))),
            limits,
        )
        for place in range(len(rows))
    ]


def _ends(minutes: Minutes, calls: Floats, split: Ints) -> tuple[Stack, Stack]:
    """The first and the last minutes since each split: as few as have FEW calls, at most a third of all."""
    length = calls.shape[1]
    low, high = split.copy(), np.full(len(split), length)
    for row, at in enumerate(split.tolist()):
        third = (length - at + 2) // 3
        forward, backward = np.cumsum(calls[row, at : at + third]), np.cumsum(calls[row, ::-1][:third])
        low[row] = at + min(int((forward < FEW).sum()) + 1, third)
        high[row] = length - min(int((backward < FEW).sum()) + 1, third)
    return minutes.between(split, low), minutes.between(high, np.full(len(split), length))


def _shares(rows: Ints, share: float) -> Floats:
    return np.full((len(rows), 1), share)


def _counted(
    requests: Floats, errors: Floats, place: int, split: int, before: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Requests and errors, each (before, after)."""
    found = [
        (int(values[place, split - before : split].sum()), int(values[place, split:].sum()))
        for values in (requests, errors)
    ]
    return found[0], found[1]


def _signals(minutes: Minutes, before: int, least_calls: int) -> list[_Signal]:
    """Mean rank, and beyond the 95th and 99th percentile, of the calls before every split; of a young store of all."""
    base = minutes.counts[:, :before].sum(axis=1)
    young = base.sum(axis=1) < least_calls
    base = np.where(young[:, None], minutes.counts.sum(axis=1), base)
    total = np.maximum(base.sum(axis=1, keepdims=True), 1e-9)
    cumulated = np.cumsum(base, axis=1)
    weights = [(cumulated - base / 2) / total]
    weights += [(cumulated - base >= share * total).astype(np.float64) for share in (0.95, 0.99)]
    found: list[_Signal] = []
    for weight in weights:
        mean = (base * weight).sum(axis=1) / total[:, 0]
        square = (base * weight**2).sum(axis=1) / total[:, 0]
        # None beyond is no certainty that there never is one.
        least = 1 / (total[:, 0] + 2)
        found.append(
            _Signal(np.einsum("ctw,cw->ct", minutes.counts, weight), np.maximum(square - mean**2, least * (1 - least)))
        )
    return found


def _split(signals: list[_Signal], calls: Floats, at: Ints) -> Ints:
    """The split that explains most of a rise, over all minutes there are."""
    best, place = np.full(len(calls), -np.inf), np.full(len(calls), at[0])
    n = np.cumsum(calls, axis=1)
    before, total = n[:, at - 1], n[:, -1:]
    for signal in signals:
        k = np.cumsum(signal.sums, axis=1)
        hits, whole = k[:, at - 1], k[:, -1:]
        with np.errstate(invalid="ignore", divide="ignore"):
            one, two = (hits + 0.5) / (before + 1), (whole - hits + 0.5) / (total - before + 1)
            gain = np.maximum(two - one, 0) ** 2 * before * (total - before) / total / signal.variance[:, None]
        gain = np.where(np.isfinite(gain), gain, 0.0)
        column = gain.argmax(axis=1)
        value = gain[np.arange(len(calls)), column]
        place = np.where(value > best, at[column], place)
        best = np.maximum(best, value)
    return place.astype(np.int64)


def _hits(signal: _Signal, calls: Floats, split: Ints, before: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Hits and calls before, hits and calls after each candidate's split."""
    column = np.arange(calls.shape[1])
    early = (column >= (split - before)[:, None]) & (column < split[:, None])
    late = column >= split[:, None]
    return (
        (signal.sums * early).sum(axis=1),
        (calls * early).sum(axis=1),
        (signal.sums * late).sum(axis=1),
        (calls * late).sum(axis=1),
    )


def _dispersion(signal: _Signal, calls: Floats, split: Ints, before: int) -> Floats:
    """How many times as much as independent calls the minutes before vary, and blocks of them; at least 1."""
    column = np.arange(before)[None, :] + (split - before)[:, None]
    sums, n = np.take_along_axis(signal.sums, column, axis=1), np.take_along_axis(calls, column, axis=1)
    found = np.ones(len(calls))
    for length in (1, BLOCK_MIN):
        shape = (len(calls), -1, length)
        kept = before // length * length
        found = np.maximum(
            found, _unrest(sums[:, -kept:].reshape(shape).sum(2), n[:, -kept:].reshape(shape).sum(2), signal.variance)
        )
    return found


def _unrest(sums: Floats, calls: Floats, variance: Floats) -> Floats:
    """Mean squared step from one slot to the next over what independent calls would show."""
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = sums / calls
        step = np.diff(mean, axis=1) ** 2 / (1 / calls[:, 1:] + 1 / calls[:, :-1]) / variance[:, None]
    known = np.isfinite(step)
    return np.where(known, step, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)


def _judged(
    place: int,
    row: int,
    since: int,
    until: int,
    p: float,
    superiority: float,
    distance: float,
    stacks: tuple[Stack, Stack],
    lasting: tuple[float, dict[Shape, tuple[Floats, Floats]]],
    effects: dict[Shape, tuple[Ratio, Floats]],
    counted: tuple[tuple[int, int], tuple[int, int]],
    spread: float,
    older: bool,
    before_min: int,
    limits: Limits,
) -> Judged:
    shape, large = _shape(place, effects, limits)
    ratio = effects[shape][0]
    value, low, high = (float(each[place]) for each in (ratio.ratio, ratio.low, ratio.high))
    level_ms = float(np.exp(effects[shape][1][place])) / 1000
    told = f"p = {p:.2g} for {superiority:.2f} as the chance that a call now takes longer"
    stages = [
        Stage("test", p <= HOPELESS_P and not older, OLDER if older else told),
        Stage(
            "effect",
            large,
            f"{_NAMES[shape]} grew {value:.2f} times ({low:.2f} to {high:.2f}), by {level_ms * (value - 1):.3g} ms",
        ),
    ]
    many, thirds = lasting
    early, now = (float(each[place]) for each in thirds[shape])
    # All of the time must be higher: one wild minute of five moves their sum as well.
    held = many >= FEWEST and now >= np.sqrt(max(value, 1.0)) and early >= 1 + (max(value, now) - 1) / 4
    length = (until - since) // MINUTE_S
    text = f"{early:.2f} times at the begin of {length} minutes, {now:.2f} at their end"
    stages.append(
        Stage("lasting", held, text if many >= FEWEST else f"not enough data: has {many:.0f} calls, needs {FEWEST}")
    )
    return Judged(
        row=row,
        what="latency",
        shape=shape,
        since=since,
        until=until,
        ratio=value,
        low=low,
        high=high,
        p=p,
        q=1.0,
        superiority=superiority,
        distance=distance,
        before=stacks[0],
        after=stacks[1],
        requests=counted[0],
        errors=counted[1],
        spread=spread,
        before_min=before_min,
        stages=stages,
    )


_NAMES: dict[Shape, str] = {
    "typical": "a typical call",
    "p95": "the 95th percentile",
    "p99": "the 99th percentile",
    "errors": "the share of failed calls",
}


def _shape(place: int, effects: dict[Shape, tuple[Ratio, Floats]], limits: Limits) -> tuple[Shape, bool]:
    """Which number grew enough; where none did, the typical call."""
    for shape, (ratio, level) in effects.items():
        typical = shape == "typical"
        least, sure, least_ms = (
            (limits.min_ratio, limits.sure_ratio, limits.min_ms)
            if typical
            else (limits.tail_ratio, limits.sure_tail_ratio, limits.tail_ms)
        )
        value = float(ratio.ratio[place])
        grown_ms = float(np.exp(level[place])) / 1000 * (value - 1)
        if value >= least and float(ratio.low[place]) >= sure and grown_ms >= least_ms:
            return shape, True
    return "typical", False
