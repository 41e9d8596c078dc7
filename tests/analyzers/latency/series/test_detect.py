"""Change points and anomalies of plain series: against E-divisive, on made-up series, on odd ones."""

from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers.latency.series.change_points import splits
from analyzers.latency.series.detect import DEFAULTS, detect
from analyzers.latency.series.habits import without_habits
from analyzers.latency.series.read_csv import MOST_TOLD, BadSeries, Series, read_series
from analyzers.latency.series.reference import e_divisive

HOUR_US = 3_600_000_000


def series(values: np.ndarray, step_us: int = HOUR_US) -> Series:
    return Series(np.arange(len(values), dtype=np.int64) * step_us, np.asarray(values, np.float64))


def ar1(rng: np.random.Generator, n: int, rho: float) -> np.ndarray:
    noise = rng.normal(0, np.sqrt(1 - rho**2), n)
    found = np.zeros(n)
    for place in range(1, n):
        found[place] = rho * found[place - 1] + noise[place]
    return found


@pytest.mark.parametrize("levels", [(10.0, 15.0), (10.0, 14.0, 9.0), (50.0, 50.0), (5.0, 8.0, 12.0)])
def test_the_same_change_points_as_e_divisive(levels: tuple[float, ...]) -> None:
    rng = np.random.default_rng(len(levels))
    values = np.concatenate([rng.normal(level, 0.8, 40) for level in levels])
    slow = e_divisive(values, 10, permutations=49)
    fast = [one.at for one in splits(values, 10, 0.01)]
    assert len(fast) == len(slow) == len([1 for a, b in pairwise(levels) if a != b])
    assert all(abs(a - b) <= 2 for a, b in zip(fast, slow, strict=True))


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_noise_has_few_change_points(rho: float) -> None:
    rng = np.random.default_rng(11)
    found = [detect(series(100 + 10 * ar1(rng, 400, rho))) for _ in range(60)]
    assert sum(len(one.change_points) for one in found) <= (3 if rho < 0.8 else 12)
    assert sum(len(one.anomalies) for one in found) <= 3


@pytest.mark.parametrize(("ratio", "least"), [(1.2, 0.9), (1.5, 1.0), (0.7, 1.0)])
def test_a_step_is_found_where_it_is(ratio: float, least: float) -> None:
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(40):
        values = rng.lognormal(np.log(100), 0.1, 300)
        values[180:] *= ratio
        found = detect(series(values)).change_points
        hits += len(found) == 1 and abs(found[0].at // HOUR_US - 180) <= 5
        if found:
            assert found[0].ratio == pytest.approx(ratio, rel=0.1)
    assert hits >= least * 40


def test_what_went_away_is_an_anomaly() -> None:
    rng = np.random.default_rng(6)
    values = rng.normal(100, 3, 400)
    values[200:204] += 120
    found = detect(series(values))
    assert list(found.change_points) == []
    (one,) = found.anomalies
    assert (one.since // HOUR_US, one.until // HOUR_US) == (200, 203)
    assert one.score > DEFAULTS.score


def test_daily_habits_are_no_news() -> None:
    rng = np.random.default_rng(7)
    hours = np.arange(24 * 21)
    values = 100 + 60 * np.sin(2 * np.pi * hours / 24) ** 8 + rng.normal(0, 2, len(hours))
    found = detect(series(values))
    assert found.habit is not None
    assert not found.change_points and not found.anomalies
    values[300:] *= 1.3
    again = detect(series(values)).change_points
    assert [abs(one.at // HOUR_US - 300) <= 3 for one in again] == [True]


def test_noise_has_no_habit() -> None:
    rng = np.random.default_rng(8)
    taken = [without_habits(np.arange(500) * HOUR_US, rng.normal(100, 5, 500))[1] for _ in range(30)]
    assert sum(one is not None for one in taken) <= 2


def test_a_ramp_is_told() -> None:
    rng = np.random.default_rng(9)
    values = (
        100 * np.concatenate([np.ones(200), np.linspace(1, 2, 200), np.full(200, 2.0)]) * rng.lognormal(0, 0.05, 600)
    )
    found = detect(series(values)).change_points
    assert found and 190 <= found[0].at // HOUR_US <= 330
    assert found[-1].after == pytest.approx(200, rel=0.1)


@pytest.mark.parametrize("many", [0, 1, 2, 19])
def test_too_few_points_are_told(many: int) -> None:
    found = detect(series(np.arange(many, dtype=float)))
    assert not found.change_points and not found.anomalies
    assert found.notes == (f"not enough data: has {many} points, needs 20",)


@pytest.mark.parametrize(
    "values",
    [
        np.zeros(50),
        np.full(50, 7.0),
        np.concatenate([np.full(50, 1e300), np.full(50, 1e-300)]),
        np.concatenate([np.full(30, -1e308), np.full(30, 1e308)]),
        np.concatenate([np.arange(100.0), np.arange(100.0)]),  # a counter that began anew
        np.tile([0.0, 1.0], 100),
        np.concatenate([np.zeros(99), [5.0]]),
    ],
)
def test_odd_series_are_no_error(values: np.ndarray) -> None:
    document = detect(series(values)).to_document()
    for one in document["change_points"]:
        assert 0 <= one["p_value"] <= 1 and (one["ratio"] is None or one["ratio"] > 0)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=64), max_size=80), st.integers(1, 10**13))
def test_any_numbers_give_a_document(values: list[float], step_us: int) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        detect(series(np.array(values), min(step_us, 10**12))).to_document()


def test_order_of_lines_is_no_matter() -> None:
    rng = np.random.default_rng(2)
    values = np.concatenate([rng.normal(10, 1, 50), rng.normal(20, 1, 50)])
    lines = [f"2026-03-{1 + i // 24:02}T{i % 24:02}:00:00Z,{value}" for i, value in enumerate(values)]
    straight = detect(read_series(["timestamp,value", *lines])).to_document()
    mixed = detect(read_series(["timestamp,value", *rng.permutation(lines)])).to_document()
    assert straight == mixed
    assert straight["change_points"][0]["at"] == "2026-03-03T02:00:00Z"


@pytest.mark.parametrize(
    "text",
    [
        '"TimeStamp",Value,Label\n"2026-03-02T10:00:00Z",1.5,0\n',
        "value,timestamp\n1.5,1772445600\n",
        "time,latency\n1772445600000,1.5\n",
        "ts,y\n1772445600000000,1.5\n",
        "\ufefftimestamp,value\r\n2026-03-02 10:00:00,1.5\r\n\r\n",
        "timestamp,value\n2026-03-02T11:00:00+01:00,1\n2026-03-02T10:00:00Z,2\n",
    ],
)
def test_forms_of_time(text: str) -> None:
    found = read_series(io.StringIO(text))
    assert found.times_us.tolist() == [1_772_445_600_000_000]
    assert found.values.tolist() == [1.5]
    assert list(found.notes) == []


def test_a_line_that_cannot_be_read_loses_nothing_else() -> None:
    rows = (
        "2026-03-02,1",
        "yesterday,2",
        "2026-03-03,much",
        "2026-03-04",
        "2026-03-05,inf",
        "2026-03-06,",
        "2026-03-07,3",
    )
    found = read_series(["timestamp,value", *rows], "x.csv")
    assert found.values.tolist() == [1.0, 3.0]
    assert list(found.notes) == [
        "x.csv: line 3: 'yesterday' is no time, expected RFC 3339 or seconds since 1970",
        "x.csv: line 4: 'much' is no finite number",
        "x.csv: line 5: 1 columns, expected 2",
        "x.csv: line 6: 'inf' is no finite number",
    ]
    many = read_series(["timestamp,value", *["x,1"] * 30, "2026-03-02,1"], "x.csv")
    assert len(many.notes) == MOST_TOLD + 1 and "25 lines more" in many.notes[-1]


@pytest.mark.parametrize("text", ["", "timestamp\n1\n", "2026-03-02,1\n2026-03-03,2\n", "timestamp,value\nx,y\n"])
def test_what_is_no_series_is_told_in_one_line(text: str) -> None:
    with pytest.raises(BadSeries) as caught:
        read_series(io.StringIO(text), "x.csv")
    assert str(caught.value).startswith("x.csv: ") and "\n" not in str(caught.value)
