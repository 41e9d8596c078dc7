"""The right half of the plot: how long calls took before and after, percentile by percentile, and their table.

Both distributions are drawn turned: percentiles from left to right on a logit scale, which leaves room for the tail,
and durations upward on a log scale. All calls k times as slow is then the same curve log k higher; a tail that grew
alone parts from the other curve at the right.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analyzers.dependencies.render.text import compact
from analyzers.latency.picture import Picture
from analyzers.latency.render.plot_axes import Axis, duration_text
from analyzers.latency.render.plot_series import Box, Side, path
from analyzers.latency.render.plot_style import text
from analyzers.latency.stack import Floats, Stack

MARKS = (0.5, 0.95, 0.99)
_SHOWN = (0.05, 0.999)
_TICKS = ((0.1, "p10"), (0.5, "p50"), (0.9, ""), (0.95, "p95"), (0.99, "p99"), (0.999, "p99.9"))
_POINTS = 161


def curve(stack: Stack) -> tuple[Floats, Floats]:
    """(shares, durations in us) of the distribution of a stack of one row, as far as its calls can tell.

    Among n calls, nothing is said of quantiles beyond the first and the last call: shares from 1 / 2n to 1 - 1 / 2n.
    """
    calls = float(stack.calls[0])
    if calls <= 0:
        return np.zeros(0), np.zeros(0)
    ends = np.clip(_SHOWN, 0.5 / max(calls, 1.0), 1 - 0.5 / max(calls, 1.0))
    shares = _evenly(ends[0], ends[1])
    return shares, _durations(stack, shares)


def _durations(stack: Stack, shares: Floats) -> Floats:
    values = np.exp(stack.log_quantiles(shares[None, :])[0])
    # What lies in the bucket of 0 us comes back as less than the next bucket's lower bound.
    return np.where(values < 0.985, 0.0, values)


def _logit(shares: Floats) -> Floats:
    return np.log(shares / (1 - shares))


def _evenly(start: float, end: float) -> Floats:
    """Shares from start to end, evenly on the logit scale."""
    first, last = _logit(np.array([start, end])).tolist()
    return 1 / (1 + np.exp(-np.linspace(first, last, _POINTS)))


def draw_percentiles(picture: Picture, axis: Axis, box: Box, *, labelled: bool) -> list[str]:
    """Both curves in `box`, whose vertical axis is given; `labelled`: with the labels of that axis."""
    has = [float(stack.calls[0]) for stack in (picture.before, picture.after)]
    if max(has) <= 0:
        return [box.empty("not enough data: has 0 timed calls, needs 1")]
    low, high = _logit(np.array(_SHOWN)).tolist()
    across = Axis(low, high, box.left, box.right, log=False)
    ticks = [(across.at(float(_logit(np.array(share)))), name) for share, name in _TICKS]
    upright = "".join(f"M{x:.1f} {box.top:.1f}V{box.bottom:.1f}" for x, _ in ticks)
    return [
        box.frame,
        f'<path class="grid" d="{upright}"/>',
        box.lines(axis),
        *(box.labels(axis) if labelled else ()),
        *(text(x, box.bottom + 15, name, "end" if name == "p99.9" else "mid") for x, name in ticks if name),
        *_between(picture, across, axis),
        *_curve(picture.before, "before", across, axis),
        *_curve(picture.after, "after", across, axis),
    ]


def _between(picture: Picture, across: Axis, axis: Axis) -> Iterator[str]:
    """The area between both curves, where both are known."""
    shares = [curve(stack)[0] for stack in (picture.before, picture.after)]
    if min(len(each) for each in shares) == 0:
        return
    start, end = max(each[0] for each in shares), min(each[-1] for each in shares)
    if start >= end:
        return
    common = _evenly(start, end)
    x = across.place(_logit(common))
    low, high = (axis.place(_durations(stack, common)) for stack in (picture.before, picture.after))
    around = path(np.concatenate([x, x[::-1]]), np.concatenate([low, high[::-1]]))
    yield f'<path class="area after" d="{around}Z"/>'


def _curve(stack: Stack, side: Side, across: Axis, axis: Axis) -> Iterator[str]:
    shares, durations = curve(stack)
    if not len(shares):
        return
    x, y = across.place(_logit(shares)), axis.place(durations)
    yield f'<path class="line main {side}" d="{path(x, y)}"/>'
    marks = np.array([mark for mark in MARKS if shares[0] <= mark <= shares[-1]])
    if len(marks):
        places = zip(across.place(_logit(marks)).tolist(), axis.place(_durations(stack, marks)).tolist(), strict=True)
        for a, b in places:
            yield f'<circle class="dot {side}" cx="{a:.1f}" cy="{b:.1f}" r="3.4"/>'


def draw_table(picture: Picture, box: Box) -> list[str]:
    """p50, p95 and p99 of both sides with the number of calls, and how many times as long they take after."""
    columns = np.linspace(box.left + 90, box.right, 4).tolist()
    heads = zip(columns, ("calls", "p50", "p95", "p99"), strict=True)
    y = box.top + 8
    lines = [text(x, y, name, "end") for x, name in heads]
    values: list[Floats] = []
    sides: tuple[tuple[Side, Stack], ...] = (("before", picture.before), ("after", picture.after))
    for side, stack in sides:
        y += 20
        quantiles = stack.quantiles_us(MARKS)[0]
        values.append(quantiles)
        lines.append(f'<circle class="dot {side}" cx="{box.left + 5:.1f}" cy="{y - 4:.1f}" r="4"/>')
        lines.append(text(box.left + 14, y, side, f"strong {side}"))
        lines.append(text(columns[0], y, compact(float(stack.calls[0])), "end ink"))
        for x, value in zip(columns[1:], quantiles.tolist(), strict=True):
            lines.append(text(x, y, duration_text(value) if np.isfinite(value) else "-", "end ink"))
    y += 20
    lines.append(text(box.left + 14, y, "times"))
    for x, one, two in zip(columns[1:], values[0].tolist(), values[1].tolist(), strict=True):
        lines.append(text(x, y, times(two / one) if one > 0 and np.isfinite(two) else "-", "end ink strong"))
    return lines


def times(ratio: float) -> str:
    """A ratio in three digits: 0.98×, 2.31×, 12.5×, 340×; ? = not known."""
    if np.isnan(ratio):
        return "?"
    if not np.isfinite(ratio):
        return "∞×"
    return f"{ratio:.2f}×" if ratio < 9.995 else f"{ratio:.1f}×" if ratio < 99.95 else f"{compact(ratio)}×"
