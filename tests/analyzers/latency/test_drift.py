"""Slow changes: told where a day differs from the one before, not where days go up and down."""

from __future__ import annotations

import numpy as np
import pytest

from analyzers.dependencies.histograms import bucket_of
from analyzers.latency.drift import HISTORY_H, HOUR_S, Drifts, drifts, history
from analyzers.latency.grid import Sums
from analyzers.latency.limits import LIMITS
from analyzers.latency.members import Members
from analyzers.latency.rollups import MinuteHistograms

START = 1_772_409_600
CALLS = 400
MEMBERS = Members(np.zeros(1, np.int64), np.zeros(1, np.int64))


class Hours:
    """A series of hours: the median (ms) of each, drawn once."""

    def __init__(self, medians_ms: np.ndarray, seed: int = 1, known: slice = slice(None)) -> None:
        rng = np.random.default_rng(seed)
        self._drawn = [
            np.maximum(rng.lognormal(np.log(median * 1000), 0.5, CALLS), 1).astype(np.uint64) // 1000 * 1000
            for median in medians_ms
        ]
        self._known = range(len(medians_ms))[known]

    @property
    def families(self) -> np.ndarray:
        return np.zeros(1, np.int64)

    operations = families

    def _in(self, since: int, until: int) -> list[int]:
        return [hour for hour in self._known if since <= START + hour * HOUR_S < until]

    def hour_sums(self, since: int, until: int) -> Sums:
        hours = self._in(since, until)
        logs = [np.log(np.maximum(self._drawn[hour], 1).astype(float)) for hour in hours]
        many = np.full(len(hours), float(CALLS))
        return Sums(
            np.zeros(len(hours), np.int64),
            np.array([START + hour * HOUR_S for hour in hours], np.int64),
            many,
            np.array([each.sum() for each in logs]),
            np.array([(each**2).sum() for each in logs]),
            many,
            np.zeros(len(hours)),
        )

    def hour_histograms(self, series: np.ndarray, since: int, until: int) -> MinuteHistograms:
        columns: list[tuple[np.ndarray, ...]] = []
        for hour in self._in(since, until):
            bucket, count = np.unique(bucket_of(self._drawn[hour]), return_counts=True)
            columns.append((np.zeros(len(bucket)), np.full(len(bucket), START + hour * HOUR_S), bucket, count))
        joined = (np.concatenate(column).astype(np.int64) for column in zip(*columns, strict=True))
        return MinuteHistograms(*joined) if columns else MinuteHistograms(*(np.zeros(0, np.int64) for _ in range(4)))


def look(of: Hours, hour: int) -> Drifts:
    at = START + hour * HOUR_S
    return drifts(of, MEMBERS, history(of, MEMBERS, at, at), at, LIMITS)


HOURS = 10 * 24
COURSE = 20 * (1 + 0.3 * np.sin(2 * np.pi * np.arange(HOURS) / 24))


def drifting(total: float, begin: int, length: int) -> np.ndarray:
    way = np.clip((np.arange(HOURS) - begin) / length, 0, 1)
    return COURSE * (1 + total * way)


@pytest.mark.parametrize("total", [0.2, 0.5])
def test_a_drift_over_a_day_is_told(total: float) -> None:
    of = Hours(drifting(total, 200, 24))
    told = [one for hour in range(200, 231) for one in look(of, hour).judged if one.passed]
    assert told
    last = max(told, key=lambda one: one.ratio)
    assert last.ratio == pytest.approx(1 + total, rel=0.12)
    assert 190 <= (told[0].since - START) // HOUR_S <= 224


@pytest.mark.parametrize("seed", range(5))
def test_the_days_own_course_is_none(seed: int) -> None:
    rng = np.random.default_rng(seed)
    wander = np.exp(0.02 * rng.normal(size=HOURS).cumsum() / np.sqrt(np.arange(1, HOURS + 1)))
    of = Hours(COURSE * wander, seed)
    assert [one for hour in range(30, HOURS, 7) for one in look(of, hour).judged if one.passed] == []


def test_every_sunday_is_a_habit_of_the_week() -> None:
    medians = COURSE * np.where(np.arange(HOURS) // 24 % 7 == 2, 1.5, 1.0)
    of = Hours(medians)
    hour = 9 * 24 + 12
    assert look(of, hour).tested == 1
    assert [one for one in look(of, hour).judged if one.passed] == []
    # Without the week before it cannot be known.
    young = Hours(medians, known=slice(7 * 24, None))
    assert [one for one in look(young, hour).judged if one.passed]


def test_what_went_back_is_none() -> None:
    medians = COURSE.copy()
    medians[200:204] *= 1.6
    assert [one for one in look(Hours(medians), 207).judged if one.passed] == []


def test_without_a_day_before_nothing_is_tested() -> None:
    of = Hours(drifting(0.5, 100, 24), known=slice(100, None))
    assert look(of, 120).tested == 0
    assert look(of, 126).tested == 0
    assert look(of, 131).tested == 1


def test_history_reaches_back_a_week() -> None:
    of = Hours(COURSE)
    at = START + 200 * HOUR_S
    assert history(of, MEMBERS, at, at + 3 * HOUR_S).calls.shape == (1, HISTORY_H + 3)
