"""Axes of the plot: from durations, shares and times to pixels, with ticks that people read (20 ms, 5%, 14:30)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from analyzers.latency.stack import Floats, Ints

SECOND_US, MINUTE_US, HOUR_US, DAY_US = 1e6, 60e6, 3_600e6, 86_400e6
LEAST_FACTOR = 4.0
"""A log axis spans at least so much: a line that hardly moves shall look like one."""
_SHORTEST_US, _LONGEST_US = 0.01, 1e15
_TICK_GAP = 24.0
_TIME_GAP = 62.0
_TIME_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 180, 240, 360, 720, 1440)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_UNITS = ((DAY_US, "d"), (HOUR_US, "h"), (MINUTE_US, "min"), (SECOND_US, "s"), (1e3, "ms"), (1.0, "µs"))

# Marks per decade of microseconds, of minutes up to an hour, of hours up to a day, from the finest to the coarsest.
_GRAINS: Sequence[tuple[Sequence[float], Sequence[float], Sequence[float]]] = (
    ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45), (1, 1.5, 2, 3, 4, 6, 8, 12)),
    ((1, 2, 5), (1, 2, 5, 10, 20), (1, 2, 5, 10)),
    ((1,), (1, 10), (1, 10)),
    ((1,), (1,), (1,)),
)


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark of an axis at `at` px."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Axis:
    """`low` is drawn at `start` px, `high` at `end` px; what lies outside is drawn at the nearer end."""

    low: float
    high: float
    start: float
    end: float
    log: bool
    ticks: Sequence[Tick] = ()

    def place(self, values: npt.ArrayLike) -> Floats:
        """Pixels, NaN where not known; on a log axis 0 and less stand at the low end."""
        wanted = np.asarray(values, np.float64)
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            wanted = np.log(np.maximum(wanted, self.low))
        else:
            low, high = self.low, self.high
        return self.start + (self.end - self.start) * np.clip((wanted - low) / (high - low), 0.0, 1.0)

    def at(self, value: float) -> float:
        """The pixel of one value."""
        return float(self.place(value))


def duration_axis(values_us: Floats, start: float, end: float) -> Axis:
    """A log axis for durations (us); NaN and infinite ones do not count. Durations of 0 get a mark at the low end."""
    known = np.minimum(values_us[np.isfinite(values_us)], _LONGEST_US)
    known = np.where(known > 0, np.maximum(known, _SHORTEST_US), 0.0)
    positive = known[known > 0]
    if len(positive):
        low, high = float(positive.min()), float(positive.max())
    else:
        low, high = 500.0, 1000.0
    wider = math.sqrt(max(LEAST_FACTOR / (high / low), 1.0))
    room = (high / low * wider * wider) ** 0.05
    low, high = low / wider / room, high * wider * room
    zero = len(known) > len(positive)
    if zero:
        low /= (high / low) ** 0.1
    axis = Axis(low, high, start, end, log=True)
    ticks = [Tick(axis.at(mark), duration_mark(mark)) for mark in _duration_marks(axis, zero)]
    return Axis(low, high, start, end, True, ([Tick(start, "0")] if zero else []) + ticks)


def _duration_marks(axis: Axis, zero: bool) -> Sequence[float]:
    """The finest even marks that leave room for their labels, or as many of all as have room, the roundest first."""
    grains = [[mark for mark in _grain(axis.high, *grain) if axis.low <= mark <= axis.high] for grain in _GRAINS]
    taken = [axis.start] if zero else []
    for marks in grains:
        places = sorted([*taken, *axis.place(marks).tolist()])
        if len(marks) >= 3 and np.diff(places).min() >= _TICK_GAP:
            return marks
    units = [*(unit for unit, _ in reversed(_UNITS)), 1e3 * DAY_US]
    kept: list[float] = []
    for mark in (*(unit for unit in units if axis.low <= unit <= axis.high), *(m for g in reversed(grains) for m in g)):
        place = axis.at(mark)
        if all(abs(place - other) >= _TICK_GAP for other in taken):
            taken.append(place)
            kept.append(mark)
    return sorted(kept)


def _grain(high: float, decade: Sequence[float], minutes: Sequence[float], hours: Sequence[float]) -> list[float]:
    below = [10.0**power * part for power in range(-3, 8) for part in decade]
    marks = [mark for mark in below if mark < MINUTE_US]
    marks += [MINUTE_US * part for part in minutes] + [HOUR_US * part for part in hours]
    days = max(math.ceil(math.log10(max(high / DAY_US, 1.0))), 0) + 1
    return marks + [DAY_US * 10.0**power * part for power in range(days) for part in decade]


def duration_mark(value_us: float) -> str:
    """A round duration as an axis writes it: 500 µs, 1.5 ms, 20 s, 5 min, 2 h."""
    for unit, name in _UNITS:
        if value_us >= unit * (1 - 1e-9):
            return f"{value_us / unit:g} {name}"
    return f"{value_us:g} µs"


def duration_text(value_us: float) -> str:
    """Any duration with three digits or so and its unit: 850 µs, 4.21 ms, 120 ms, 3.1 s, 5.5 min; ? = not known."""
    if not math.isfinite(value_us):
        return "?"
    if value_us <= 0:
        return "0 ms"
    for unit, name in _UNITS:
        # 90 s is more familiar than 1.5 min, 36 h more than 1.5 d.
        if value_us >= unit * (2 if unit >= MINUTE_US else 0.9995):
            size = value_us / unit
            return f"{size:.{0 if size >= 99.95 or name == 'µs' else 1 if size >= 9.995 else 2}f} {name}"
    return "<1 µs"


def share_axis(shares: Floats, start: float, end: float) -> Axis:
    """A linear axis from 0 for shares (0..1), up to at least 1 %."""
    known = shares[np.isfinite(shares)]
    most = min(max(float(known.max()) * 1.12 if len(known) else 0.0, 0.01), 1.0)
    step = next(
        step
        for power in range(-3, 1)
        for step in (10.0**power, 2 * 10.0**power, 5 * 10.0**power)
        if most / step <= 6 + 1e-9
    )
    axis = Axis(0.0, most, start, end, log=False)
    marks = [step * count for count in range(int(most / step + 1e-9) + 1)]
    return Axis(0.0, most, start, end, False, [Tick(axis.at(mark), f"{mark * 100:.4g}%") for mark in marks])


def time_axis(minutes: Ints, start: float, end: float) -> Axis:
    """A linear axis over all of `minutes` (seconds since 1970, not empty), marks at round times in UTC."""
    low, high = int(minutes[0]), int(minutes[-1]) + 60
    axis = Axis(float(low), float(high), start, end, log=False)
    span = (high - low) / 60
    most = max((end - start) / _TIME_GAP, 1.0)
    step = next((step for step in _TIME_STEPS if span / step <= most), 0)
    if not step:
        step = 1440 * math.ceil(span / most / 1440)
    first = -(-low // (step * 60)) * step * 60
    marks = range(first, high + 1, step * 60)
    return Axis(float(low), float(high), start, end, False, [Tick(axis.at(mark), _time(mark)) for mark in marks])


def _time(seconds: int) -> str:
    """14:30, or the day at midnight."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return f"{moment:%H:%M}" if moment.hour or moment.minute else f"{moment.day} {_MONTHS[moment.month - 1]}"
