"""Statistics on histograms against SciPy on the raw samples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analyzers.dependencies.histograms import bucket_of, value_us
from analyzers.latency.comparison import quantile_ratio, rank_test, share_test, shift, smirnov
from analyzers.latency.stack import Stack, is_cut_to_milliseconds, scattered, uncut


def stack_of(samples: list[np.ndarray]) -> Stack:
    buckets = [bucket_of(np.asarray(each, np.uint64)) for each in samples]
    rows = np.repeat(np.arange(len(samples)), [len(each) for each in samples])
    joined = np.concatenate(buckets) if buckets else np.zeros(0)
    return scattered(rows, joined, np.ones(len(joined)), len(samples))


def lognormal(rng: np.random.Generator, median_us: float, sigma: float, n: int) -> np.ndarray:
    return np.maximum(rng.lognormal(np.log(median_us), sigma, n), 1).astype(np.uint64)


def on_buckets(sample: np.ndarray) -> np.ndarray:
    return value_us(bucket_of(np.asarray(sample, np.uint64)))


CASES = [(20, 30, 0.5, 1.0), (200, 150, 0.3, 1.2), (1000, 400, 0.8, 1.05), (5, 7, 0.2, 2.0), (1, 1, 0.2, 3.0)]


@pytest.mark.parametrize(("n", "m", "sigma", "ratio"), CASES)
def test_rank_test_is_scipys(n: int, m: int, sigma: float, ratio: float) -> None:
    rng = np.random.default_rng(n)
    before, after = lognormal(rng, 5_000, sigma, n), lognormal(rng, 5_000 * ratio, sigma, m)
    found = rank_test(stack_of([before, after]), stack_of([after, before]))
    for row, (one, two) in enumerate([(before, after), (after, before)]):
        for name, alternative in (("two_sided_p", "two-sided"), ("greater_p", "greater")):
            known = stats.mannwhitneyu(on_buckets(two), on_buckets(one), alternative=alternative, method="asymptotic")
            assert getattr(found, name)[row] == pytest.approx(known.pvalue, rel=1e-6)
        assert found.superiority[row] == pytest.approx(known.statistic / (n * m))
    # On the raw samples: within what a bucket's width can do.
    raw = stats.mannwhitneyu(after, before).statistic / (n * m)
    assert found.superiority[0] == pytest.approx(raw, abs=0.02 / sigma)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=40),
    st.lists(st.integers(0, 50), min_size=1, max_size=40),
)
def test_rank_test_with_ties_is_scipys(before: list[int], after: list[int]) -> None:
    one, two = (np.asarray(each, np.uint64) * 1000 for each in (before, after))
    found = rank_test(stack_of([one]), stack_of([two]))
    same = len({*before, *after}) == 1
    known = 1.0 if same else stats.mannwhitneyu(on_buckets(two), on_buckets(one), method="asymptotic").pvalue
    assert found.two_sided_p[0] == pytest.approx(known, abs=1e-9)


def test_smirnov_is_scipys() -> None:
    rng = np.random.default_rng(3)
    for ratio in (1.0, 1.1, 1.5):
        before, after = lognormal(rng, 9_000, 0.5, 400), lognormal(rng, 9_000 * ratio, 0.5, 300)
        distance, p = smirnov(stack_of([before]), stack_of([after]))
        known = stats.ks_2samp(on_buckets(before), on_buckets(after), method="asymp")
        assert distance[0] == pytest.approx(known.statistic)
        assert distance[0] == pytest.approx(stats.ks_2samp(before, after).statistic, abs=0.03)
        # SciPy's asymptotic value has a correction for small samples.
        assert p[0] == pytest.approx(known.pvalue, rel=0.25, abs=1e-6)


@pytest.mark.parametrize("ratio", [0.5, 0.9, 1.0, 1.03, 1.1, 1.2, 2.0, 8.0])
def test_shift_is_the_median_of_all_ratios(ratio: float) -> None:
    rng = np.random.default_rng(5)
    before, after = lognormal(rng, 50_000, 0.4, 300), lognormal(rng, 50_000 * ratio, 0.4, 250)
    found = shift(stack_of([before]), stack_of([after]))
    slow = np.median(after.astype(float)[:, None] / before.astype(float)[None, :])
    assert found.ratio[0] == pytest.approx(slow, rel=0.012)
    pairs = np.sort(np.log(after.astype(float)[:, None] / before.astype(float)[None, :]).ravel())
    error = 1.96 * np.sqrt((len(before) + len(after) + 1) / (12 * len(before) * len(after)))
    low, high = np.exp(np.quantile(pairs, [0.5 - error, 0.5 + error]))
    assert found.low[0] == pytest.approx(low, rel=0.012)
    assert found.high[0] == pytest.approx(high, rel=0.012)
    assert found.low[0] <= found.ratio[0] <= found.high[0]


def test_interval_of_the_shift_covers_the_truth() -> None:
    rng = np.random.default_rng(7)
    rows = 400
    before = stack_of([lognormal(rng, 20_000, 0.5, 120) for _ in range(rows)])
    after = stack_of([lognormal(rng, 24_000, 0.5, 80) for _ in range(rows)])
    found = shift(before, after)
    covered = ((found.low <= 1.2) & (found.high >= 1.2)).mean()
    assert 0.92 <= covered <= 0.98


def test_quantile_ratio_covers_the_truth() -> None:
    rng = np.random.default_rng(8)
    rows = 300
    before = stack_of([lognormal(rng, 20_000, 0.5, 800) for _ in range(rows)])
    after = stack_of([lognormal(rng, 26_000, 0.5, 600) for _ in range(rows)])
    for share in (0.5, 0.95):
        found = quantile_ratio(before, after, share)
        assert np.median(found.ratio) == pytest.approx(1.3, rel=0.02)
        assert 0.9 <= ((found.low <= 1.3) & (found.high >= 1.3)).mean() <= 0.995


def test_quantiles_are_numpys_within_a_bucket() -> None:
    rng = np.random.default_rng(9)
    samples = [lognormal(rng, median, 0.7, 501) for median in (300, 5_000, 2e6)]
    found = stack_of(samples).quantiles_us([0.5, 0.95, 0.99])
    for row, sample in enumerate(samples):
        assert found[row] == pytest.approx(
            np.quantile(sample, [0.5, 0.95, 0.99], method="inverted_cdf").astype(float), rel=0.0101
        )


def test_empty_rows_are_not_known() -> None:
    stack = scattered([0], [10], [5.0], 2)
    for found in (
        rank_test(stack, stack).superiority,
        smirnov(stack, stack)[1],
        shift(stack, stack).ratio,
        quantile_ratio(stack, stack, 0.5).ratio,
        stack.mean_us(),
    ):
        assert np.isfinite(found[0]) and np.isnan(found[1])


def test_one_bucket_is_no_change() -> None:
    stack = scattered([0], [300], [50.0], 1)
    assert rank_test(stack, stack).two_sided_p[0] == 1.0
    assert shift(stack, stack).ratio[0] == pytest.approx(1.0)


def test_dispersion_makes_tests_weaker() -> None:
    rng = np.random.default_rng(1)
    before, after = stack_of([lognormal(rng, 5_000, 0.5, 500)]), stack_of([lognormal(rng, 6_000, 0.5, 500)])
    assert rank_test(before, after, 4.0).z[0] == pytest.approx(rank_test(before, after).z[0] / 2, rel=0.01)
    assert smirnov(before, after, 4.0)[1][0] > smirnov(before, after)[1][0]
    assert shift(before, after, 4.0).low[0] < shift(before, after).low[0]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 900), st.integers(1, 9)), max_size=60))
def test_merging_is_the_union(triples: list[tuple[int, int, int]]) -> None:
    cut = len(triples) // 2
    parts = [
        scattered(*(zip(*part, strict=True) if part else ([], [], [])), 4) for part in (triples[:cut], triples[cut:])
    ]
    whole = scattered(*(zip(*triples, strict=True) if triples else ([], [], [])), 4)
    merged = parts[0] + parts[1]
    assert merged.calls.tolist() == whole.calls.tolist()
    for row in range(4):
        assert {(int(b), c) for b, c in zip(merged.buckets, merged.counts[row], strict=True) if c} == {
            (int(b), c) for b, c in zip(whole.buckets, whole.counts[row], strict=True) if c
        }


@pytest.mark.parametrize("median_ms", [0.4, 1.5, 3.0, 12.0, 80.0])
def test_whole_milliseconds_are_spread(median_ms: float) -> None:
    rng = np.random.default_rng(2)
    fine = [lognormal(rng, median_ms * 1000 * ratio, 0.4, 20_000) for ratio in (1.0, 1.2)]
    cut = stack_of([each // 1000 * 1000 for each in fine])
    assert is_cut_to_milliseconds(cut).all()
    assert not is_cut_to_milliseconds(stack_of(fine)).any()
    spread = uncut(cut, np.array([True, True]))
    assert spread.calls == pytest.approx(cut.calls)
    found = shift(spread.take([0]), spread.take([1])).ratio[0]
    # Below a millisecond nobody knows how long; from about two on the ratio is right.
    assert found == pytest.approx(1.2, abs=0.02 if median_ms > 2 else 0.03 if median_ms > 1 else 0.2)


def test_rows_that_are_not_cut_stay() -> None:
    stack = scattered([0, 1], [-1, 17], [3.0, 4.0], 2)
    assert is_cut_to_milliseconds(stack).tolist() == [True, False]
    spread = uncut(stack, is_cut_to_milliseconds(stack))
    assert spread.counts[1].sum() == spread.counts[1, 17 - spread.first] == 4.0
    assert spread.counts[0, 0] == 0.0


def test_share_test_grows_with_the_share() -> None:
    z = share_test([10, 10, 0], [1000, 1000, 0], [30, 10, 0], [1000, 1000, 0])
    assert z[0] > 3 and abs(z[1]) < 0.1 and abs(z[2]) < 0.1
    assert share_test([10], [1000], [30], [1000], margin=0.02)[0] < z[0]
