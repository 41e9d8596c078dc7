"""The left half of the plot: minute by minute how long calls took or how many failed, with the calls as bars below."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import numpy as np

from analyzers.dependencies.render.svg import text_width
from analyzers.dependencies.render.text import compact, share
from analyzers.latency.picture import Picture
from analyzers.latency.render.plot_axes import Axis, duration_text, time_axis
from analyzers.latency.render.plot_style import text, xml
from analyzers.latency.stack import Flags, Floats

QUANTILES = ("p50", "p95", "p99")
HOVERED_MINUTES = 360
"""Up to so many minutes, each tells its numbers under the pointer."""
NEEDED = 2
"""Minutes with something known; fewer are no series."""

CAPTION = 28.0
"""How far (px) above a box its caption stands; the times of the change have their place between them."""
_DENSE = 300
"""Lines of more minutes are thin."""
_PILL = 94.0
_LINE = 12.0

Side = Literal["before", "after"]


@dataclass(frozen=True, slots=True)
class Box:
    """A part of the drawing, px."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def frame(self) -> str:
        """Its ground."""
        size = f'width="{self.right - self.left:.1f}" height="{self.bottom - self.top:.1f}"'
        return f'<rect class="panel" x="{self.left:.1f}" y="{self.top:.1f}" {size}/>'

    def lines(self, axis: Axis) -> str:
        """Level grid lines at the ticks of a vertical axis."""
        path = "".join(f"M{self.left:.1f} {tick.at:.1f}H{self.right:.1f}" for tick in axis.ticks)
        return f'<path class="grid" d="{path}"/>' if path else ""

    def labels(self, axis: Axis) -> Iterator[str]:
        """The labels of a vertical axis, left of the box."""
        return (text(self.left - 7, tick.at + 3.8, tick.label, "end") for tick in axis.ticks)

    def empty(self, words: str) -> str:
        """A box that has nothing to show says why."""
        return self.frame + text((self.left + self.right) / 2, (self.top + self.bottom) / 2, words, "mid")


def known_minutes(picture: Picture) -> Flags:
    """Which minutes have what the series shows."""
    values = picture.error_share if picture.what == "errors" else picture.p50_us
    return np.asarray(np.isfinite(values), np.bool_)


def draw_series(picture: Picture, axis: Axis, box: Box, bars: Box) -> list[str]:
    """The lines in `box` (whose vertical axis is given) and the calls in `bars`, both over one axis of time."""
    has = int(known_minutes(picture).sum())
    if has < NEEDED:
        minutes = f"{has} minute{'' if has == 1 else 's'} with {'' if picture.what == 'errors' else 'timed '}calls"
        return [box.empty(f"not enough data: has {minutes}, needs {NEEDED}"), bars.frame]
    times = time_axis(picture.minutes, box.left, box.right)
    x = times.place(picture.minutes + 30)
    upright = "".join(
        f"M{tick.at:.1f} {box.top:.1f}V{box.bottom:.1f}M{tick.at:.1f} {bars.top:.1f}V{bars.bottom:.1f}"
        for tick in times.ticks
    )
    return [
        box.frame,
        bars.frame,
        f'<path class="grid" d="{upright}"/>' if upright else "",
        box.lines(axis),
        *box.labels(axis),
        *_bars(picture, times, bars),
        *(text(tick.at, bars.bottom + 15, tick.label, "mid") for tick in times.ticks),
        *(_shares(picture, x, axis) if picture.what == "errors" else _quantiles(picture, x, axis)),
        *_levels(picture, times, axis, box),
        *_legend(picture, box),
        *_changes(picture, times, box, bars),
        *(_ends(picture, axis, box) if picture.what == "latency" else ()),
        *_hovers(picture, times, box, bars),
    ]


# --- lines


def _quantiles(picture: Picture, x: Floats, axis: Axis) -> Iterator[str]:
    lines = {name: axis.place(getattr(picture, f"{name}_us")) for name in QUANTILES}
    main = main_quantile(picture)
    yield from _areas(picture, x, lines["p50"], lines["p95"])
    for name, faint in (("p99", "faint"), ("p95", "aside"), ("p50", "aside")):
        yield from _line(picture, x, lines[name], "main" if name == main else faint)


def _shares(picture: Picture, x: Floats, axis: Axis) -> Iterator[str]:
    y = axis.place(picture.error_share)
    yield from _areas(picture, x, np.where(np.isfinite(y), axis.start, np.nan), y)
    yield from _line(picture, x, y, "main")


def main_quantile(picture: Picture) -> str:
    """The quantile that stands in front: the one that grew."""
    return picture.shape if picture.shape in QUANTILES else "p50"


def runs(picture: Picture, known: Flags) -> Iterator[tuple[Side, int, int, bool]]:
    """Stretches (side, first, end, joined) of known minutes without a gap on one side of the change.

    `joined`: the stretch goes on where the one before it ended, with no minute missing between them.
    """
    places = np.flatnonzero(known)
    if not len(places):
        return
    after = picture.is_after[places]
    gap = np.diff(picture.minutes[places]) > 60
    cuts = np.flatnonzero(gap | (after[1:] != after[:-1])) + 1
    for first, end in zip([0, *cuts.tolist()], [*cuts.tolist(), len(places)], strict=True):
        joined = first > 0 and not gap[first - 1]
        yield "after" if after[first] else "before", int(places[first]), int(places[end - 1]) + 1, bool(joined)


def _vertices(picture: Picture, known: Flags, x: Floats, *ys: Floats) -> Iterator[tuple[Side, Floats]]:
    """The points of each run, shape (points, 1 + ys); runs that join meet half way."""
    points = np.stack([x, *ys], axis=1)
    found = list(runs(picture, known))
    for place, (side, first, end, joined) in enumerate(found):
        part = points[first:end]
        if joined:
            part = np.concatenate([points[first - 1 : first + 1].mean(axis=0, keepdims=True), part])
        if place + 1 < len(found) and found[place + 1][3]:
            part = np.concatenate([part, points[end - 1 : end + 1].mean(axis=0, keepdims=True)])
        yield side, part


def _line(picture: Picture, x: Floats, y: Floats, weight: str) -> Iterator[str]:
    lines: dict[Side, list[str]] = {"before": [], "after": []}
    dots: dict[Side, list[str]] = {"before": [], "after": []}
    for side, points in _vertices(picture, np.isfinite(y), x, y):
        if len(points) == 1:
            # A line of no length with round ends is a dot: a minute between gaps.
            dots[side].append(path(points[:, 0], points[:, 1]) + "h0")
        else:
            lines[side].append(path(points[:, 0], points[:, 1]))
    dense = " dense" if len(x) > _DENSE else ""
    for side in lines:
        if lines[side]:
            yield f'<path class="line {weight}{dense} {side}" d="{"".join(lines[side])}"/>'
        if dots[side]:
            yield f'<path class="line {weight} lone {side}" d="{"".join(dots[side])}"/>'


def _areas(picture: Picture, x: Floats, low: Floats, high: Floats) -> Iterator[str]:
    parts: dict[Side, list[str]] = {"before": [], "after": []}
    for side, points in _vertices(picture, np.isfinite(low) & np.isfinite(high), x, low, high):
        around = np.concatenate([points[:, 1], points[::-1, 2]])
        parts[side].append(path(np.concatenate([points[:, 0], points[::-1, 0]]), around) + "Z")
    for side, found in parts.items():
        if found:
            yield f'<path class="area {side}" d="{"".join(found)}"/>'


def path(x: Floats, y: Floats) -> str:
    """A line through points."""
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))


# --- marks


def level(picture: Picture, side: Side) -> float | None:
    """What held on one side of the change: the quantile that grew (us) or the share of failed calls."""
    if picture.what == "errors":
        return picture.failed_share(after=side == "after")
    share_of = (0.5, 0.95, 0.99)[QUANTILES.index(main_quantile(picture))]
    found = float((picture.after if side == "after" else picture.before).quantiles_us([share_of])[0, 0])
    return found if np.isfinite(found) else None


def _levels(picture: Picture, times: Axis, axis: Axis, box: Box) -> Iterator[str]:
    """The level before as a line all along, that after from the change on."""
    cut = times.at(picture.since.timestamp())
    end = box.right if picture.ended is None else times.at(picture.ended.timestamp())
    before, after = level(picture, "before"), level(picture, "after")
    if before is not None:
        yield f'<path class="line level before" d="M{box.left:.1f} {axis.at(before):.1f}H{box.right:.1f}"/>'
    if after is not None and end > cut:
        yield f'<path class="line level after" d="M{cut:.1f} {axis.at(after):.1f}H{end:.1f}"/>'


def _legend(picture: Picture, box: Box) -> Iterator[str]:
    """The values of both levels above the box, where they hide no line."""
    name = "failed" if picture.what == "errors" else main_quantile(picture)
    say = share if picture.what == "errors" else duration_text
    x, y = box.right, box.top - CAPTION
    sides: Sequence[Side] = ("after", "before")
    for side in sides:
        value = level(picture, side)
        if value is not None:
            words = f"{side} {name} {say(value)}"
            yield text(x, y, words, f"strong end {side}")
            x -= text_width(words, 11) + 6
            yield f'<path class="line level {side}" d="M{x - 20:.1f} {y - 4:.1f}H{x:.1f}"/>'
            x -= 38


def _changes(picture: Picture, times: Axis, box: Box, bars: Box) -> Iterator[str]:
    marks = ((picture.since, "since"), (picture.ended, "until"))
    found = [
        (times.at(moment.timestamp()), f"{word} {moment.astimezone(UTC):%H:%M} UTC")
        for moment, word in marks
        if moment is not None and times.low <= moment.timestamp() <= times.high
    ]
    half = _PILL / 2
    middles = [min(max(x, box.left + half), box.right - half) for x, _ in found]
    if len(middles) == 2 and middles[1] - middles[0] < _PILL + 4:
        between = min(max(sum(middles) / 2, box.left + _PILL + 2), box.right - _PILL - 2)
        middles = [between - half - 2, between + half + 2]
    for (x, words), middle in zip(found, middles, strict=True):
        upright = f"M{x:.1f} {box.top - 4:.1f}V{box.bottom:.1f}M{x:.1f} {bars.top:.1f}V{bars.bottom:.1f}"
        yield f'<path class="change" d="{upright}"/>'
        size = f'width="{_PILL}" height="17" rx="8.5"'
        yield f'<rect class="pill" x="{middle - half:.1f}" y="{box.top - 20:.1f}" {size}/>'
        yield text(middle, box.top - 7.6, words, "onpill mid")


def _ends(picture: Picture, axis: Axis, box: Box) -> Iterator[str]:
    """Names of the lines at their right ends, moved apart."""
    found: list[tuple[float, str, Side]] = []
    for name in QUANTILES:
        values = getattr(picture, f"{name}_us")
        places = np.flatnonzero(np.isfinite(values))
        if len(places):
            side: Side = "after" if picture.is_after[places[-1]] else "before"
            found.append((axis.at(values[places[-1]]), name, side))
    found.sort(key=lambda one: (-one[0], one[1]))
    lowest = box.bottom + 4 + _LINE
    for place, (y, name, side) in enumerate(found):
        # The lowest first; each leaves room above for those that follow.
        lowest = max(min(y + 4, lowest - _LINE), box.top + 10 + _LINE * (len(found) - 1 - place))
        strong = " strong" if name == main_quantile(picture) else ""
        yield text(box.right + 6, lowest, name, f"{side}{strong}")


# --- calls


def _bars(picture: Picture, times: Axis, box: Box) -> Iterator[str]:
    calls = np.where(np.isfinite(picture.calls), np.maximum(picture.calls, 0.0), 0.0)
    most = float(calls.max())
    axis = Axis(0.0, most or 1.0, box.bottom, box.top + 4, log=False)
    failed = calls * np.clip(np.where(np.isfinite(picture.error_share), picture.error_share, 0.0), 0.0, 1.0)
    after = picture.is_after
    gap = 1.0 if (box.right - box.left) / max((times.high - times.low) / 60, 1.0) >= 5 else 0.0
    left, right = times.place(picture.minutes) + gap / 2, times.place(picture.minutes + 60) - gap / 2
    for kind, values in (
        ("before", np.where(after, 0, calls)),
        ("after", np.where(after, calls, 0)),
        ("failed", failed),
    ):
        found = values > 0
        parts = zip(left[found].tolist(), axis.place(values)[found].tolist(), right[found].tolist(), strict=True)
        drawn = "".join(f"M{a:.1f} {box.bottom:.1f}V{y:.1f}H{b:.1f}V{box.bottom:.1f}" for a, y, b in parts)
        if drawn:
            yield f'<path class="bars {kind}" d="{drawn}"/>'
    yield text(box.left - 7, box.top + 8, compact(most), "end")
    yield text(box.left - 7, box.bottom, "0", "end")


def _hovers(picture: Picture, times: Axis, box: Box, bars: Box) -> Iterator[str]:
    if len(picture.minutes) > HOVERED_MINUTES:
        return
    left, right = times.place(picture.minutes).tolist(), times.place(picture.minutes + 60).tolist()
    for place, (start, end) in enumerate(zip(left, right, strict=True)):
        size = f'width="{end - start:.1f}" height="{bars.bottom - box.top:.1f}"'
        about = xml(_about(picture, place), 200)
        yield f'<rect class="hover" x="{start:.1f}" y="{box.top:.1f}" {size}><title>{about}</title></rect>'


def _about(picture: Picture, place: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(picture.minutes[place]))
    known = [(name, float(getattr(picture, f"{name}_us")[place])) for name in QUANTILES]
    facts: Sequence[str] = [
        f"{moment:%Y-%m-%d %H:%M} UTC",
        *(f"{name} {duration_text(value)}" for name, value in known if np.isfinite(value)),
    ]
    calls, failed = float(picture.calls[place]), float(picture.error_share[place])
    more = [f"{compact(calls)} calls"] if np.isfinite(calls) else []
    return " · ".join([*facts, *more, *([f"{share(failed)} failed"] if np.isfinite(failed) else [])])
