"""The stages of a look, each with a change that it must let through and one that it must stop."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from analyzers.latency.episodes import Episodes
from analyzers.latency.judged import Judged
from analyzers.latency.limits import LIMITS
from analyzers.latency.look import Look, Looker
from analyzers.latency.regression import Regression
from analyzers.latency.series_keys import Series
from tests.analyzers.latency.simulated import START, Drawn, Simulated, lognormal, stepped, tailed

MINUTES = 120
CHANGE = 90


def looks(of: Simulated, first: int = 70, last: int = MINUTES, step: int = 5) -> list[Look]:
    looker = Looker(of, LIMITS)
    return [looker.look(START + minute * 60, step) for minute in range(first, last + 1, step)]


def found(told: list[Look]) -> list[tuple[int, Judged]]:
    return [((look.at - START) // 60, one) for look in told for one in look.found]


def episodes(told: list[Look], names: list[Series]) -> list[Regression]:
    gathered = Episodes(lambda row: names[row])
    for look in told:
        gathered.add(look)
    return list(gathered.regressions())


def stopped_by(told: list[Look], row: int = 0) -> set[str]:
    return {
        next(stage.name for stage in one.stages if not stage.passed)
        for look in told
        for one in look.judged
        if one.row == row and not one.passed
    }


def test_quiet_series_tell_nothing() -> None:
    rng = np.random.default_rng(3)
    drawn = [
        Drawn(lognormal(float(rng.uniform(0.5, 200)), float(rng.uniform(0.2, 0.9))), float(rng.uniform(5, 300)))
        for _ in range(25)
    ]
    told = looks(Simulated(drawn, 240), last=240)
    assert found(told) == []
    assert all(look.spikes == [] for look in told)
    assert told[-1].tested >= 40
    assert told[-1].survivors["discovery"] == 0


@pytest.mark.parametrize(("median_ms", "sigma"), [(4.0, 0.4), (30.0, 0.6), (250.0, 0.9)])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_fifth_more_is_told_within_ten_minutes(median_ms: float, sigma: float, seed: int) -> None:
    of = Simulated([Drawn(stepped(lognormal(median_ms, sigma), CHANGE, 1.2))], MINUTES, seed=seed)
    told = found(looks(of, first=86, last=100, step=1))
    assert told and told[0][0] <= CHANGE + 10
    minute, one = told[-1]
    assert minute == 100
    assert abs((one.since - START) // 60 - CHANGE) <= 2
    assert one.low <= 1.2 * 1.03 and one.high >= 1.2 * 0.97
    assert one.q <= LIMITS.alpha and one.shape == "typical"


@pytest.mark.parametrize("factor", [1.5, 3.0])
def test_a_change_says_how_much(factor: float) -> None:
    of = Simulated([Drawn(stepped(lognormal(20), CHANGE, factor), whole_ms=False)], MINUTES)
    (one,) = episodes(looks(of), [Series("a", "b", "GET /", "source", "log")])
    assert one.ratio == pytest.approx(factor, rel=0.05)
    assert one.ratio_low <= factor <= one.ratio_high or one.ratio == pytest.approx(factor, rel=0.02)
    assert one.before.quantiles_us is not None and one.after.quantiles_us is not None
    assert one.after.quantiles_us[0] / one.before.quantiles_us[0] == pytest.approx(factor, rel=0.08)
    assert (one.told_at.timestamp() - START) / 60 - CHANGE <= 10


def test_faster_is_no_regression() -> None:
    assert found(looks(Simulated([Drawn(stepped(lognormal(20), CHANGE, 0.5))], MINUTES))) == []


def test_only_the_slowest_became_slower() -> None:
    of = Simulated([Drawn(tailed(lognormal(20, 0.3), CHANGE, 0.06, 6.0))], MINUTES)
    told = found(looks(of))
    assert told
    assert {one.shape for _, one in told} <= {"p95", "p99"}
    assert abs((told[-1][1].since - START) // 60 - CHANGE) <= 3


def test_too_small_a_rise_is_stopped_by_its_effect() -> None:
    of = Simulated([Drawn(stepped(lognormal(20, 0.2), CHANGE, 1.03), 2000)], MINUTES)
    told = looks(of)
    assert found(told) == [] and "effect" in stopped_by(told)


def test_less_than_a_quarter_of_a_millisecond_is_no_matter() -> None:
    of = Simulated([Drawn(stepped(lognormal(0.7, 0.2), CHANGE, 1.3), 2000, whole_ms=False)], MINUTES)
    told = looks(of)
    assert found(told) == [] and "effect" in stopped_by(told)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_what_went_away_is_an_anomaly(length: int) -> None:
    of = Simulated([Drawn(stepped(lognormal(20), CHANGE, 4.0, CHANGE + length))], MINUTES)
    # Each minute is a moment at which it might have been told.
    told = looks(of, step=1)
    assert found(told) == []
    (one,) = episodes(told, [Series("a", "b", "GET /", "source", "log")])
    assert one.verdict == "anomaly"
    assert (one.since.timestamp() - START) // 60 == CHANGE
    assert (one.last_seen - one.since).total_seconds() == 60 * length
    assert one.ratio == pytest.approx(4, rel=0.25)


@pytest.mark.parametrize("factor", [1.2, 2.0])
def test_nothing_is_told_before_it_has_lasted(factor: float) -> None:
    of = Simulated([Drawn(stepped(lognormal(20), CHANGE, factor))], MINUTES)
    first = min(minute for minute, _ in found(looks(of, step=1)))
    assert LIMITS.persist_min - 1 <= first - CHANGE <= 10


def test_the_same_rise_yesterday_is_a_habit() -> None:
    day = 24 * 60
    habit = lambda rng, minute, n: lognormal(20)(rng, minute, n) * (1.5 if minute % day >= CHANGE else 1.0)  # noqa: E731
    once = Simulated([Drawn(stepped(lognormal(20), day + CHANGE, 1.5), 30)], day + MINUTES)
    every = Simulated([Drawn(habit, 30)], day + MINUTES)
    span = {"first": day + 70, "last": day + MINUTES}
    assert found(looks(once, **span))
    told = looks(every, **span)
    assert found(told) == [] and "season" in stopped_by(told)


def test_a_slower_mixture_is_no_regression() -> None:
    fast, slow = lognormal(5), lognormal(80)
    more = lambda minute: 200.0 if minute >= CHANGE else 20.0  # noqa: E731
    of = Simulated([Drawn(fast, 200, family=0), Drawn(slow, more, family=0)], MINUTES)
    told = looks(of)
    assert found(told) == []
    assert "mix" in stopped_by(told, row=2)


def test_of_many_rare_operations_the_edge_as_a_whole_is_told() -> None:
    of = Simulated([Drawn(stepped(lognormal(20), CHANGE, 1.6), 1.0, family=0) for _ in range(60)], MINUTES)
    told = [one for _, one in found(looks(of))]
    assert told and {one.row for one in told} == {60}


def test_one_version_of_two_is_told_where_both_together_hardly_move() -> None:
    old, new = Drawn(lognormal(20), 240, family=0, operation=0), Drawn(lognormal(20), 60, family=0, operation=0)
    new.durations = stepped(new.durations, CHANGE, 1.25)
    told = looks(Simulated([old, new], MINUTES), first=86, last=100, step=1)
    rows = {one.row for _, one in found(told)}
    assert 1 in rows and 0 not in rows
    names = [Series("a", "b", "GET /", "source", "log", version) for version in ("v1", "v2", "")]
    (one,) = episodes(told, names)
    assert one.ratio == pytest.approx(1.25, abs=0.08)


def test_a_version_that_replaces_another_is_told_by_the_operation() -> None:
    old = Drawn(lognormal(20), lambda minute: 300.0 if minute < CHANGE else 0.0, family=0, operation=0)
    new = Drawn(lognormal(26), lambda minute: 0.0 if minute < CHANGE else 300.0, family=0, operation=0)
    assert {one.row for _, one in found(looks(Simulated([old, new], MINUTES)))} == {2}


def test_slow_calls_on_top_are_no_slow_down() -> None:
    def kinds(rng: np.random.Generator, minute: int, n: int) -> np.ndarray:
        share = 0.5 if minute >= CHANGE else 0.1
        return np.where(rng.random(n) < share, lognormal(90)(rng, minute, n), lognormal(4)(rng, minute, n))

    of = Simulated([Drawn(kinds, lambda minute: 540.0 if minute >= CHANGE else 300.0)], MINUTES)
    told = looks(of)
    assert found(told) == [] and "mix" in stopped_by(told)


def test_more_calls_and_each_of_them_slower_is_told() -> None:
    of = Simulated(
        [Drawn(stepped(lognormal(20), CHANGE, 1.6), lambda minute: 500.0 if minute >= CHANGE else 300.0)], MINUTES
    )
    assert found(looks(of))


def test_more_calls_of_all_kinds_with_a_longer_tail_are_told() -> None:
    drawn = Drawn(tailed(lognormal(20, 0.3), CHANGE, 0.06, 6.0), lambda minute: 450.0 if minute >= CHANGE else 300.0)
    assert found(looks(Simulated([drawn], MINUTES)))


def test_of_a_young_store_the_pace_before_is_that_of_its_minutes() -> None:
    drawn = Drawn(tailed(lognormal(20, 0.3), CHANGE, 0.06, 6.0))
    assert found(looks(Simulated([drawn], MINUTES, first=CHANGE - 30)))


@pytest.mark.parametrize("share", [0.03, 0.2, 1.0])
def test_failing_calls_are_told(share: float) -> None:
    of = Simulated([Drawn(lognormal(20), 200, lambda minute: share if minute >= CHANGE else 0.002)], MINUTES)
    told = [one for _, one in found(looks(of))]
    assert told and {one.what for one in told} == {"errors"}
    assert abs((told[-1].since - START) // 60 - CHANGE) <= 2
    best = max(told, key=lambda one: one.strength)
    assert best.low <= share / 0.002 * 1.5 and best.high >= share / 0.002 * 0.5


def test_half_a_percent_more_failures_are_no_matter() -> None:
    of = Simulated([Drawn(lognormal(20), 3000, lambda minute: 0.009 if minute >= CHANGE else 0.004)], MINUTES)
    told = looks(of)
    assert found(told) == [] and stopped_by(told) == {"test"}


def test_both_reporters_are_one_regression() -> None:
    drawn = [Drawn(stepped(lognormal(20), CHANGE, 1.5)), Drawn(stepped(lognormal(19), CHANGE, 1.5))]
    names = [Series("a", "b", "GET /", reporter, "log") for reporter in ("source", "destination")]
    (one,) = episodes(looks(Simulated(drawn, MINUTES)), names)
    assert one.reporters == ["destination", "source"]


def test_a_rise_in_steps_began_with_the_first() -> None:
    def climbing(rng: np.random.Generator, minute: int, n: int) -> np.ndarray:
        return lognormal(20, 0.3)(rng, minute, n) * (1 + 0.5 * min(max(minute - CHANGE, 0), 30) / 30)

    told = looks(Simulated([Drawn(climbing)], 150), last=150)
    (one,) = episodes(told, [Series("a", "b", "GET /", "source", "log")])
    assert CHANGE - 1 <= (one.since.timestamp() - START) // 60 <= CHANGE + 20


ODD = {
    "constant": lambda rng, minute, n: np.full(n, 7000.0),
    "zero": lambda rng, minute, n: np.zeros(n),
    "absurd": lambda rng, minute, n: np.full(n, 1.8e19),
    "either": lambda rng, minute, n: rng.choice([0.0, 1e15], n),
}


@pytest.mark.parametrize("name", list(ODD))
def test_odd_latencies_tell_nothing(name: str) -> None:
    told = looks(Simulated([Drawn(ODD[name], 50)], MINUTES))
    assert found(told) == []


def test_gaps_and_few_calls_tell_nothing() -> None:
    rare = Drawn(stepped(lognormal(20), CHANGE, 3.0), 0.4)
    bursts = Drawn(stepped(lognormal(20), CHANGE, 3.0), lambda minute: 200.0 if minute % 30 == 0 else 0.0)
    told = looks(Simulated([rare, bursts], MINUTES))
    assert found(told) == []
    assert {look.tested for look in told} == {0}


def test_time_is_read_once() -> None:
    of = Simulated([Drawn(lognormal(20), 20)], MINUTES)
    spans: list[tuple[int, int]] = []
    read = of.sums
    of.sums = lambda since, until: spans.append((since, until)) or read(since, until)  # type: ignore[method-assign]
    looks(of)
    assert spans[0] == (START + (70 - 90) * 60, START + 70 * 60)
    assert all(before[1] == after[0] for before, after in pairwise(spans))
