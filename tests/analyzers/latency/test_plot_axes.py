"""Axes, curves and cut words of the plot: laws of their ticks, and curves against the quantiles of the raw sample."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers.dependencies.histograms import bucket_of
from analyzers.dependencies.render.svg import text_width
from analyzers.latency.render.plot_axes import duration_axis, duration_text, share_axis, time_axis
from analyzers.latency.render.plot_percentiles import curve, times
from analyzers.latency.render.plot_style import fitted, wrapped
from analyzers.latency.stack import Stack, scattered

UNITS = {"µs": 1.0, "ms": 1e3, "s": 1e6, "min": 60e6, "h": 3600e6, "d": 86400e6}


def stack_of(durations_us: Any) -> Stack:
    buckets = bucket_of(np.asarray(durations_us, np.uint64))
    return scattered(np.zeros(len(buckets)), buckets, np.ones(len(buckets)), 1)


def value_of(label: str) -> float:
    number, unit = label.split()
    return float(number) * UNITS[unit]


@settings(max_examples=300, deadline=None)
@given(st.floats(0, 11).map(lambda power: 10**power), st.floats(0, 12).map(lambda power: 10**power), st.booleans())
def test_ticks_of_durations_stand_where_they_say_with_room_between(low: float, factor: float, zero: bool) -> None:
    axis = duration_axis(np.array([0.0 if zero else low, low, low * factor]), 424, 168)
    assert axis.low <= low
    assert axis.high >= min(low * factor, 1e15) * (1 - 1e-12)
    assert axis.high / axis.low >= 3.99
    places = [tick.at for tick in axis.ticks]
    assert 2 <= len(places) <= 11
    assert all(one - other >= 24 for one, other in pairwise(places))
    for tick in axis.ticks[zero:]:
        assert axis.at(value_of(tick.label)) == pytest.approx(tick.at, abs=1e-6)


def test_zero_has_a_place_of_its_own_below_all_others() -> None:
    axis = duration_axis(np.array([0.0, 1000.0, 5000.0]), 400, 100)
    assert (axis.ticks[0].label, axis.ticks[0].at) == ("0", 400)
    assert axis.at(0) == 400 > axis.at(1000)
    assert axis.ticks[1].at < 400 - 15


def test_durations_of_nothing_or_of_zero_only_have_an_axis() -> None:
    for values in (np.zeros(0), np.zeros(3), np.array([np.nan, np.inf])):
        axis = duration_axis(values, 400, 100)
        assert 0 < axis.low < axis.high
        assert len(axis.ticks) >= 1


@given(st.floats(0, 1))
def test_ticks_of_shares_begin_at_zero(most: float) -> None:
    axis = share_axis(np.array([0.0, most, np.nan]), 400, 100)
    assert axis.ticks[0].label == "0%"
    assert 2 <= len(axis.ticks) <= 7
    for tick in axis.ticks:
        assert axis.at(float(tick.label[:-1]) / 100) == pytest.approx(tick.at, abs=1e-6)
    assert axis.at(most) >= 100
    assert axis.high >= most


@given(st.integers(0, 4_000_000), st.integers(1, 100_000))
def test_ticks_of_times_are_round_and_apart(first: int, length: int) -> None:
    axis = time_axis(np.array([first * 60, (first + length) * 60]), 80, 600)
    places = [tick.at for tick in axis.ticks]
    assert len(places) <= 9
    assert all(other - one >= 60 for one, other in pairwise(places))
    for tick in axis.ticks:
        moment = axis.low + (tick.at - 80) / 520 * (axis.high - axis.low)
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=round(moment))
        clock = f"{at:%H:%M}"
        assert tick.label == (clock if clock != "00:00" else f"{at.day} {at:%b}")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0 ms"),
        (0.4, "<1 µs"),
        (1.0, "1 µs"),
        (850.4, "850 µs"),
        (999.9, "1.00 ms"),
        (4_213.0, "4.21 ms"),
        (12_345.0, "12.3 ms"),
        (123_456.0, "123 ms"),
        (3_100_000.0, "3.10 s"),
        (90e6, "90.0 s"),
        (330e6, "5.50 min"),
        (36 * 3600e6, "36.0 h"),
        (float("nan"), "?"),
        (float("inf"), "?"),
    ],
)
def test_durations_have_three_digits_and_a_unit(value: float, shown: str) -> None:
    assert duration_text(value) == shown


@pytest.mark.parametrize(
    ("ratio", "shown"),
    [(0.976, "0.98×"), (2.313, "2.31×"), (9.996, "10.0×"), (340.2, "340×"), (np.nan, "?"), (np.inf, "∞×")],
)
def test_ratios_are_short(ratio: float, shown: str) -> None:
    assert times(ratio) == shown


# --- percentiles


@pytest.mark.parametrize("calls", [1, 2, 7, 100, 5000])
def test_curves_are_the_quantiles_of_the_sample(calls: int) -> None:
    sample = np.sort(np.random.default_rng(calls).lognormal(9, 1, calls))
    shares, durations = curve(stack_of(sample))
    assert (np.diff(durations) >= 0).all()
    assert shares[0] >= min(0.5 / calls, 0.5) * (1 - 1e-9), "nothing is said beyond the first and the last call"
    assert shares[-1] <= 1 - 0.5 / calls + 1e-9
    for share, duration in zip(shares.tolist(), durations.tolist(), strict=True):
        rank = share * calls
        near = {min(max(int(np.ceil(rank + off)) - 1, 0), calls - 1) for off in (-1e-6, 1e-6)}
        assert min(abs(np.log(duration / sample[place])) for place in near) < 0.021


def test_calls_of_no_time_are_zero_in_curves() -> None:
    shares, durations = curve(stack_of([0] * 60 + [5000] * 40))
    assert set(durations[shares < 0.59].tolist()) == {0.0}
    assert durations[shares > 0.61].min() > 4800


# --- words


@given(st.text(max_size=200), st.floats(10, 700), st.integers(1, 3))
def test_cut_text_fits(words: str, width: float, lines: int) -> None:
    shown = fitted(words, 12, width)
    assert len(shown) <= 1 or text_width(shown, 12) <= width
    found = wrapped(words, 12, width, lines)
    assert len(found) <= lines
    assert all(len(line) <= 1 or text_width(line, 12) <= width for line in found)
