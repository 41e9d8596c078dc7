"""The tests behind a difference: silent on what has not changed, sure of what has; formulas against slow ones."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers.dependencies.change_tests import (
    ALPHA,
    ERROR_SHARE,
    LATENCY_RATIO,
    MIN_CALLS,
    MTLS_SHARE,
    RATE_RATIO,
    Pace,
    Spread,
    adjusted,
    dispersion,
    latency_p,
    rate_p,
    share_p,
    silent,
)
from analyzers.dependencies.histograms import NO_BOUND, bounded_quantiles_us, quantiles_us, value_us

HOUR = (3600.0, 3600.0)


def pace(slots: np.ndarray) -> Pace:
    """Of counts per slot, none of them cut off."""
    return Pace(int(slots.sum()), len(slots), float((np.diff(slots) ** 2).sum()))


def spread(durations_us: np.ndarray) -> Spread:
    values, counts = np.unique(durations_us.astype(np.float64), return_counts=True)
    return Spread(values, counts.astype(np.float64))


def rates(rng: np.random.Generator, mean: float, factor: float, burst: float = 0.0) -> float | None:
    """p-value of an hour against one with `factor` times the calls; a minute's level has `burst` as its variance."""
    slots = [rng.poisson(mean * k * (rng.gamma(1 / burst, burst, 60) if burst else 1.0), 60) for k in (1.0, factor)]
    return rate_p((int(slots[0].sum()), int(slots[1].sum())), HOUR, [pace(each) for each in slots])


@pytest.mark.parametrize("burst", [0.0, 1.0, 4.0], ids=["poisson", "bursty", "very bursty"])
@pytest.mark.parametrize("factor", [1.0, 1.3], ids=["same", "drift of a day"])
def test_no_rate_changes_by_itself(burst: float, factor: float) -> None:
    rng = np.random.default_rng([7, int(burst), int(factor * 10)])
    found = [p for _ in range(400) if (p := rates(rng, 2.0, factor, burst)) is not None]
    assert len(found) == 400
    assert sum(p < ALPHA for p in found) <= 2


def test_a_changed_rate_is_found_and_poisson_counts_would_cry_wolf() -> None:
    rng = np.random.default_rng(8)
    assert all(rates(rng, 6.0, factor) < ALPHA for factor in (3.0, 0.3) for _ in range(100))  # type: ignore[operator]
    bursts = [[rng.poisson(2.0 * rng.gamma(1 / 30, 30, 60), 60) for _ in range(2)] for _ in range(200)]
    totals = [(int(one.sum()), int(other.sum())) for one, other in bursts]
    blind = [rate_p(counts, HOUR, ()) for counts in totals]
    seeing = [
        rate_p(counts, HOUR, [pace(each) for each in slots]) for counts, slots in zip(totals, bursts, strict=True)
    ]
    assert sum(p is not None and p < ALPHA for p in blind) > 50
    assert sum(p is not None and p < ALPHA for p in seeing) <= 4


def test_rates_are_over_time_and_need_calls() -> None:
    assert rate_p((1000, 100), (36_000.0, 3600.0), ()) == pytest.approx(1.0)
    assert rate_p((MIN_CALLS - 1, 0), HOUR, ()) is None
    assert rate_p((100, 100), (0.0, 3600.0), ()) is None
    just_at_the_margin = rate_p((100_000, int(RATE_RATIO * 100_000)), HOUR, ())
    assert just_at_the_margin == pytest.approx(1.0, abs=0.1)


@given(st.lists(st.integers(0, 50), min_size=2, max_size=30))
def test_dispersion_is_half_the_mean_square_step_over_the_mean(slots: list[int]) -> None:
    steps = [(b - a) ** 2 for a, b in pairwise(slots)]
    mean = sum(slots) / len(slots)
    expected = max(1.0, sum(steps) / len(steps) / 2 / mean) if mean else 1.0
    assert dispersion([pace(np.array(slots))])[0] == pytest.approx(expected)
    assert dispersion([]) == (1.0, 0.0)


def test_paces_of_different_levels_and_slots_are_each_measured_by_themselves() -> None:
    rng = np.random.default_rng(12)
    quiet, busy = pace(rng.poisson(1.0, 2000)), pace(rng.poisson(500.0, 2000))
    scale, freedom = dispersion([quiet, busy])
    assert scale == pytest.approx(1.0, abs=0.1) and freedom == pytest.approx(2 / 3 * 2 * 1999)
    assert dispersion([pace(np.array([7])), Pace()]) == (1.0, 0.0)


@pytest.mark.parametrize("share", [0.0, 0.002, 0.05, 0.5, 1.0])
def test_no_share_changes_by_itself(share: float) -> None:
    rng = np.random.default_rng([9, int(share * 1000)])
    pairs = rng.binomial(400, share, (1000, 2)).tolist()
    found = [share_p((one, other), (400, 400), ERROR_SHARE) for one, other in pairs]
    assert sum(p is not None and p < ALPHA for p in found) <= 15


def test_a_changed_share_is_found() -> None:
    assert share_p((0, 60), (300, 300), ERROR_SHARE) < 1e-6  # type: ignore[operator]
    assert share_p((300, 0), (300, 300), MTLS_SHARE) < 1e-6  # type: ignore[operator]
    assert share_p((0, 12), (20, 20), ERROR_SHARE) < ALPHA  # type: ignore[operator]
    assert share_p((0, 400), (100_000, 100_000), ERROR_SHARE) == pytest.approx(1.0)  # certain, but below the floor
    assert share_p((0, 10), (MIN_CALLS - 1, 1000), ERROR_SHARE) is None


@pytest.mark.parametrize("whole_ms", [True, False], ids=["whole milliseconds", "microseconds"])
def test_no_latency_changes_by_itself(whole_ms: bool) -> None:
    rng = np.random.default_rng(10)
    found: list[float] = []
    for median_us in np.geomspace(300, 300_000, 300):
        n = int(rng.integers(30, 2000))
        both = rng.lognormal(math.log(median_us), 0.6, (2, n))
        both[1] *= 1.1  # less than what counts as a change
        if whole_ms:
            both = both // 1000 * 1000
        p = latency_p(spread(both[0]), spread(both[1]))
        assert p is not None
        found.append(p)
    assert sum(p < ALPHA for p in found) <= 2


def test_a_changed_latency_is_found_in_the_middle_and_in_the_tail() -> None:
    rng = np.random.default_rng(11)
    usual = rng.lognormal(math.log(20_000), 0.4, 1000)
    assert latency_p(spread(usual), spread(rng.lognormal(math.log(40_000), 0.4, 1000))) < 1e-6  # type: ignore[operator]
    assert latency_p(spread(usual), spread(rng.lognormal(math.log(10_000), 0.4, 1000))) < 1e-6  # type: ignore[operator]
    tail = np.where(rng.random(1000) < 0.1, 10 * usual, usual)
    assert latency_p(spread(usual), spread(tail)) < 1e-6  # type: ignore[operator]
    assert latency_p(spread(usual[:19]), spread(tail)) is None
    within = spread(usual * (LATENCY_RATIO - 0.05))
    assert latency_p(spread(usual), within) == pytest.approx(1.0)


def test_histograms_of_two_kinds_are_not_compared() -> None:
    usual = spread(np.full(100, 20_000))
    assert latency_p(usual, Spread(np.array([5e4]), np.array([100.0]), True)) is None
    beyond = Spread(np.array([1000.0, np.inf]), np.array([10.0, 90.0]), True)
    assert latency_p(beyond, beyond) is None


@given(st.dictionaries(st.integers(-1, 900), st.integers(1, 1000), min_size=1, max_size=20), st.floats(0.001, 1))
def test_quantiles_are_those_of_the_map(histogram: dict[int, int], share: float) -> None:
    buckets = sorted(histogram)
    ours = Spread(value_us(buckets), np.array([float(histogram[each]) for each in buckets]))
    expected = quantiles_us(histogram.items(), [share])
    assert expected is not None
    assert ours.quantiles_us(np.array([share]))[0] == pytest.approx(expected[0])


@given(st.lists(st.integers(0, 50), min_size=2, max_size=10), st.floats(0.01, 1))
def test_bounded_quantiles_are_those_of_the_map(counts: list[int], share: float) -> None:
    counts[0] += 1
    bounds = [1000 * 2**place for place in range(len(counts) - 1)] + [NO_BOUND]
    expected = bounded_quantiles_us(zip(bounds, counts, strict=True), [share])[0]
    values = np.array([float("inf") if bound == NO_BOUND else float(bound) for bound in bounds])
    found = Spread(values, np.array(counts, np.float64), True).quantiles_us(np.array([share]))[0]
    assert found == pytest.approx(float("inf") if expected is None else expected, rel=1e-6, abs=1e-3)


@settings(max_examples=60)
@given(st.lists(st.floats(0, 1), max_size=30), st.floats(0.001, 0.5))
def test_what_is_told_is_what_benjamini_and_hochberg_tell(p_values: list[float], alpha: float) -> None:
    ordered = sorted(p_values)
    last = max((k for k, p in enumerate(ordered, 1) if p <= alpha * k / len(ordered) * (1 - 1e-12)), default=0)
    told = set(ordered[:last])
    found = {p for p, q in zip(p_values, adjusted(p_values), strict=True) if q <= alpha}
    assert told <= found
    assert all(q >= p * (1 - 1e-12) for p, q in zip(p_values, adjusted(p_values), strict=True))


def test_silence_tells_where_calls_were_due() -> None:
    assert silent(3, (3600.0, 3600.0)) and not silent(2, (3600.0, 3600.0))
    assert silent(1, (600.0, 3600.0)) and not silent(100, (36_000.0, 60.0))
    assert not silent(5, (0.0, 60.0))
