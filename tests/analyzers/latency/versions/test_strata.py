"""Ranks, shares and calls that are needed, against slow references."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analyzers.dependencies.histograms import bucket_of
from analyzers.latency.comparison import shift
from analyzers.latency.stack import scattered
from analyzers.latency.versions.power import errors_factor, latency_factor, needed, needed_at_least, noether_calls
from analyzers.latency.versions.shares import Shares, difference_of, mixed, shares
from analyzers.latency.versions.strata import (
    CALLS,
    freedom_of,
    ranks,
    ratio_of,
    standardized,
    strata_of,
    superiority_at,
    together,
    weights_of,
    widened,
)

COUNTS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=40)


@given(COUNTS)
def test_strata_have_calls_of_both_sides_and_keep_groups_and_time(rows: list[tuple[int, int, int]]) -> None:
    group = np.array([row[0] for row in rows])
    slot = np.arange(len(rows))[::-1].copy()
    calls = np.array([row[1:] for row in rows], np.float64)
    found = strata_of(group, slot, calls)
    assert set(found.tolist()) == set(range(int(found.max()) + 1))
    for number in range(int(found.max()) + 1):
        inside = found == number
        (of,) = set(group[inside].tolist())
        # Neighbours in time: nobody else's rows of the group lie between.
        between = (group == of) & (slot >= slot[inside].min()) & (slot <= slot[inside].max())
        assert (between == inside).all()
        enough = calls[inside].sum(axis=0).min() >= CALLS
        assert enough or (found[group == of] == number).all()


def drawn(seed: int, ratio: float = 1.0, strata: int = 4) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(10, 60, (strata, 2))
    levels = rng.uniform(2_000, 200_000, strata)
    one = [rng.lognormal(np.log(level), 0.4, n) for level, (n, _) in zip(levels, sizes, strict=True)]
    two = [rng.lognormal(np.log(level * ratio), 0.4, m) for level, (_, m) in zip(levels, sizes, strict=True)]
    return one, two


def stacked(samples: list[np.ndarray]):
    rows = np.repeat(np.arange(len(samples)), [len(each) for each in samples])
    return scattered(rows, bucket_of(np.concatenate(samples).astype(np.uint64)), np.ones(len(rows)), len(samples))


@pytest.mark.parametrize("seed", range(6))
def test_stratified_ranks_are_those_of_each_stratum(seed: int) -> None:
    one, two = drawn(seed, 1.3)
    found = ranks(stacked(one), stacked(two))
    assert found is not None
    calls = np.array([[len(a), len(b)] for a, b in zip(one, two, strict=True)], np.float64)
    weight, each, variance = weights_of(calls), [], []
    for a, b in zip(one, two, strict=True):
        x, y = bucket_of(a.astype(np.uint64)), bucket_of(b.astype(np.uint64))
        known = stats.mannwhitneyu(y, x, method="asymptotic", use_continuity=False)
        each.append(known.statistic / (len(x) * len(y)))
        z = stats.norm.isf(known.pvalue / 2)
        variance.append((abs(each[-1] - 0.5) / z) ** 2)
    assert found.superiority == pytest.approx(float(weight @ each))
    spread = sum((a - found.superiority) ** 2 / v for a, v in zip(each, variance, strict=True)) / (len(each) - 1)
    assert found.dispersion == pytest.approx(max(1, spread), rel=1e-6)
    assert found.error**2 == pytest.approx(float(weight**2 @ variance) * found.dispersion, rel=1e-6)
    # All pairs, one by one.
    pairs = np.concatenate([np.subtract.outer(np.log(b), np.log(a)).ravel() for a, b in zip(one, two, strict=True)])
    weights = np.concatenate(
        [np.full(len(a) * len(b), w / (len(a) * len(b))) for a, b, w in zip(one, two, weight, strict=True)]
    )
    order = np.argsort(pairs)
    middle = pairs[order][np.searchsorted(np.cumsum(weights[order]), 0.5)]
    assert ratio_of(found, 0.95).value == pytest.approx(np.exp(middle), rel=0.01)


def test_of_one_stratum_it_is_the_shift() -> None:
    one, two = drawn(3, 1.4, strata=1)
    found = ranks(stacked(one), stacked(two))
    known = shift(stacked(one), stacked(two))
    assert found is not None
    estimate = ratio_of(found, 0.95)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx(
        (known.ratio[0], known.low[0], known.high[0]), rel=1e-9
    )


def test_strata_that_lie_apart_widen_the_interval() -> None:
    rng = np.random.default_rng(1)
    one = [rng.lognormal(10, 0.3, 200) for _ in range(10)]
    two = [rng.lognormal(10 + shake, 0.3, 200) for shake in rng.normal(0, 0.3, 10)]
    found = ranks(stacked(one), stacked(two))
    assert found is not None and found.dispersion > 5


def test_few_strata_tell_little_of_how_they_vary() -> None:
    assert freedom_of(10, 1.0) == np.inf == freedom_of(1, 1.0)
    assert freedom_of(5, 1.1) > 100 and freedom_of(5, 1e6) == pytest.approx(4, rel=1e-3)
    assert widened(10, 1.0) == pytest.approx(1.0)
    assert widened(5, 1e6) == pytest.approx(1e6 * (stats.t.ppf(0.975, 4) / stats.norm.ppf(0.975)) ** 2, rel=1e-3)


def test_a_side_without_calls() -> None:
    assert ranks(stacked([np.array([5.0])]), scattered([], [], [], 1)) is None
    assert shares(np.zeros((1, 2)), np.array([[3.0, 0.0]]), np.ones(1)) is None


def test_together_weighs() -> None:
    parts = []
    for seed, ratio in ((1, 1.0), (2, 3.0)):
        one, two = drawn(seed, ratio, 1)
        rows = stacked([one[0], two[0], np.array([1.0, 3e8])])
        parts.append(ranks(rows.take([0]), rows.take([1])))
    known = [part for part in parts if part is not None]
    alone, none = together(known, np.array([1.0, 0.0])), together(known, np.array([0.5, 0.5]))
    assert (alone.superiority, alone.error) == pytest.approx((known[0].superiority, known[0].error))
    assert none.superiority == pytest.approx((known[0].superiority + known[1].superiority) / 2)
    assert none.error == pytest.approx(np.hypot(known[0].error, known[1].error) / 2)


def test_standardized_sides_weigh_their_strata() -> None:
    side = stacked([np.full(90, 1_000.0), np.full(10, 100_000.0)])
    even = standardized(side, np.array([0.5, 0.5]))
    assert even.counts.sum() == pytest.approx(1 / (0.25 / 90 + 0.25 / 10))
    assert even.counts[0, 0] == pytest.approx(even.counts[0, -1])
    assert standardized(side, None).counts.sum() == 100


# Shares.


@settings(max_examples=50)
@given(st.integers(0, 40), st.integers(1, 60), st.integers(0, 40), st.integers(1, 60))
def test_intervals_of_differences(k: int, n: int, j: int, m: int) -> None:
    of = Shares((min(k, n), min(j, m)), (n, m))
    found = difference_of(of, 0.95)
    assert -1 <= found.low <= found.value <= found.high <= 1
    back = difference_of(Shares((of.hits[1], of.hits[0]), (m, n)), 0.95)
    assert (found.low, found.high) == pytest.approx((-back.high, -back.low))


def test_newcombes_own_example() -> None:
    # R. Newcombe (1998), table II, method 10: 56/70 - 48/80.
    found = difference_of(Shares((48, 56), (80, 70)), 0.95)
    assert (round(found.value, 4), round(found.low, 4), round(found.high, 4)) == (0.2, 0.0524, 0.3339)


def test_shares_in_strata() -> None:
    calls = np.array([[900.0, 100.0], [100.0, 900.0]])
    hits = calls * np.array([[0.5], [0.1]])
    found = shares(hits, calls, weights_of(calls))
    # Pooled, the canary would have 14 % and the baseline 46 %.
    assert found is not None and found.difference == pytest.approx(0)
    assert found.calls[0] < 1000
    bursts = shares(np.array([[0.0, 0.0]] * 9 + [[0.0, 90.0]]), np.full((10, 2), 100.0), np.full(10, 0.1))
    assert bursts is not None and bursts.calls[1] < 100 and bursts.difference == pytest.approx(0.09)
    one = mixed([found, found], np.array([0.5, 0.5]))
    assert one.difference == pytest.approx(found.difference) and one.calls[0] == pytest.approx(2 * found.calls[0])


# Power.


def test_noethers_formula_gives_its_power() -> None:
    """Simulated: with so many calls a one-sided rank test finds the difference as often as asked for."""
    rng = np.random.default_rng(1)
    sigma, ratio, share = 0.6, 1.2, 0.25
    superiority = float(stats.norm.cdf(np.log(ratio) / (sigma * np.sqrt(2))))
    calls = noether_calls(superiority, share, 0.05, 0.8)
    n, m = round(calls * (1 - share)), round(calls * share)
    found = sum(
        stats.mannwhitneyu(rng.normal(np.log(ratio), sigma, m), rng.normal(0, sigma, n), alternative="greater").pvalue
        < 0.05
        for _ in range(400)
    )
    assert 0.74 <= found / 400 <= 0.87
    assert noether_calls(0.5, 0.5, 0.05, 0.8) == np.inf


@pytest.mark.parametrize("seed", range(3))
def test_superiority_at_the_margin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, two = rng.lognormal(10, 0.5, 4000), rng.lognormal(10.4, 0.5, 4000)
    found = ranks(stacked([one]), stacked([two]))
    assert found is not None
    known = float(stats.norm.cdf(np.log(1.1) / (0.5 * np.sqrt(2))))
    assert superiority_at(found, 1.1) == pytest.approx(known, abs=0.004)


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_calls_that_are_needed_make_the_interval_narrow_enough(share: float) -> None:
    rng = np.random.default_rng(5)
    n, m = 2000, round(2000 * share)
    found = ranks(stacked([rng.lognormal(10, 0.5, n)]), stacked([rng.lognormal(10, 0.5, m)]))
    assert found is not None
    factor = latency_factor(found, 0.10, 0.95)
    again = ranks(*(stacked([rng.lognormal(10, 0.5, round(many * factor))]) for many in (n, m)))
    assert again is not None
    estimate = ratio_of(again, 0.95)
    assert np.log(estimate.high / estimate.low) == pytest.approx(np.log(1.1), rel=0.1)
    assert latency_factor(found, 0.10, 0.95, tests=10) > factor


@pytest.mark.parametrize("hits", [(0.0, 0.0), (5.0, 2.0), (100.0, 30.0)])
def test_calls_that_are_needed_for_shares(hits: tuple[float, float]) -> None:
    of = Shares(hits, (1000.0, 200.0))
    found = difference_of(of.scaled(errors_factor(of, 0.005, 0.95)), 0.95)
    assert found.high - found.low == pytest.approx(0.005, rel=0.01)


def test_how_long_it_takes() -> None:
    found = needed(3.0, (600, 60), 300)
    assert found is not None and found.calls == (1800, 180)
    assert (found.more_s, found.calls_per_s) == pytest.approx((600, 0.2))
    assert needed(np.inf, (1, 1), 60) is None and needed(1e9, (1, 1), 60) is None
    few = needed_at_least(30, (100, 10), 600)
    assert (few.calls, few.more_s) == ((100, 30), pytest.approx(1200))
    assert needed_at_least(30, (100, 0), 600).more_s is None
