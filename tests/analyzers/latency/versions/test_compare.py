"""Verdicts on simulated versions: how often they are wrong, what they find, and what they say of too little."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from analyzers.latency.stack import empty
from analyzers.latency.versions.compare import compare, holm
from analyzers.latency.versions.outcome import Margins, Verdict
from analyzers.latency.versions.parts import Cells
from tests.analyzers.latency.versions.simulated import Drawn, cells


def told(drawn: Sequence[Drawn], runs: int, seed: int = 0, **more: object) -> list[Verdict]:
    return [compare(cells(drawn, seed=seed + run, **more)) for run in range(runs)]  # type: ignore[arg-type]


def verdicts(found: Sequence[Verdict]) -> Counter[str]:
    return Counter(one.overall.latency.verdict for one in found)


SAME: dict[str, Callable[[], Sequence[Drawn]]] = {
    "plain": lambda: [Drawn()],
    "many operations": lambda: [Drawn(rates=(8, 2), median_ms=5.0 * (1 + number)) for number in range(6)],
    "heavy tails": lambda: [Drawn(sigma=1.2)],
    "few calls": lambda: [Drawn(rates=(3, 1))],
    "all become slower while the canary grows": lambda: [Drawn(hours=True)],
    "each version has better and worse minutes": lambda: [Drawn(restless=0.15)],
}


@pytest.mark.parametrize("name", SAME)
def test_a_canary_that_is_the_same_is_seldom_told_otherwise(name: str) -> None:
    found = verdicts(told(SAME[name](), 150))
    # 5 % by construction, of both kinds together; 150 runs of that are 16 at most in 99.9 of 100 cases.
    assert found["slower"] + found["faster"] <= 16, found
    assert found["slower"] <= 11


@pytest.mark.parametrize("whole_ms", [False, True])
def test_a_fifth_slower_is_found(whole_ms: bool) -> None:
    found = verdicts(told([Drawn(ratio=1.2)], 60, whole_ms=whole_ms))
    assert found["slower"] >= 0.9 * 60
    assert verdicts(told([Drawn(ratio=1 / 1.2)], 60, whole_ms=whole_ms))["faster"] >= 0.9 * 60


def test_the_same_is_a_finding_that_takes_calls() -> None:
    assert verdicts(told([Drawn(rates=(80, 20))], 60))["same"] >= 0.9 * 60
    assert verdicts(told([Drawn(rates=(4, 2))], 60))["same"] <= 3
    # At the margin itself it is seldom told.
    assert verdicts(told([Drawn(rates=(80, 20), ratio=1.11)], 60))["same"] <= 4


def test_intervals_hold_the_ratio() -> None:
    held = 0
    for seed, ratio in enumerate(np.tile([0.7, 1.0, 1.3, 2.0], 40).tolist()):
        found = compare(cells([Drawn(rates=(8, 3), ratio=ratio)], seed=seed)).overall.latency.ratio
        assert found is not None
        held += found.low <= ratio <= found.high
    assert held >= 0.9 * 160


def test_the_slowest_calls_alone_are_told() -> None:
    found = told([Drawn(rates=(80, 20), tail=(0.06, 4.0), sigma=0.4)], 20)
    assert verdicts(found)["slower"] >= 18
    assert any(one.overall.latency.shape == "p95" for one in found)
    for one in found:
        if one.overall.latency.shape == "p95":
            tail = one.overall.latency.tail
            assert tail is not None and tail.low > 1 and tail.value >= 1.2


def test_another_mix_is_not_slower() -> None:
    quick, slow = Drawn(rates=(30, 4), median_ms=5), Drawn(rates=(10, 16), median_ms=200)
    for one in told([quick, slow], 10):
        assert one.overall.latency.verdict != "slower" and one.mix.differs and one.mix.apart > 0.4
        assert one.overall.canary.p50_ms is not None and one.overall.canary.p50_ms < 20
    alike = compare(cells([Drawn(), Drawn(median_ms=100)]))
    assert not alike.mix.differs and alike.mix.left_out == 0


def test_one_slower_operation_makes_the_canary_slower() -> None:
    rare = Drawn(rates=(4, 1.5), ratio=2.0)
    (found,) = told([Drawn(rates=(200, 50)), rare, Drawn(rates=(200, 50))], 1)
    assert found.overall.latency.verdict == "slower"
    assert found.overall.latency.note == "as a whole same, but slower: GET /1"
    by_name = {one.operation: one.latency.verdict for one in found.operations}
    assert by_name == {"GET /0": "same", "GET /1": "slower", "GET /2": "same"}


def test_failed_calls() -> None:
    assert Counter(one.overall.errors.verdict for one in told([Drawn(rates=(80, 40), failing=(0.01, 0.04))], 20)) == {
        "more errors": 20
    }
    fewer = told([Drawn(rates=(80, 40), failing=(0.06, 0.01))], 20)
    assert Counter(one.overall.errors.verdict for one in fewer) == {"fewer errors": 20}
    alike = Counter(one.overall.errors.verdict for one in told([Drawn(failing=(0.05, 0.05))], 100))
    assert alike["more errors"] + alike["fewer errors"] <= 12 and alike["unsure"] >= 80
    assert compare(cells([Drawn(rates=(80, 40))])).overall.errors.verdict == "same"


def test_what_it_would_take_decides() -> None:
    decided = 0
    for seed in range(40):
        one = Drawn(rates=(20, 4), sigma=0.7, ratio=(1.0, 1.1)[seed % 2])
        first = compare(cells([one], slots=10, seed=seed)).overall
        needed = first.latency.needed
        if first.latency.verdict != "unsure":
            decided += 1
            continue
        assert needed is not None and needed.more_s is not None
        assert needed.calls[0] > first.baseline.calls and needed.calls[1] > first.canary.calls
        slots = 10 + int(np.ceil(needed.more_s / 60))
        assert slots > 15
        decided += compare(cells([one], slots=slots, seed=1000 + seed)).overall.latency.verdict != "unsure"
    assert decided >= 35


def test_it_is_the_rank_test_where_there_is_one_stratum() -> None:
    one = cells([Drawn(rates=(400, 100), ratio=1.1, sigma=0.3)], slots=1)
    found = compare(one).overall.latency
    buckets = [np.repeat(each.buckets, each.counts[0].astype(int)) for each in (one.baseline, one.canary)]
    known = stats.mannwhitneyu(buckets[1], buckets[0], method="asymptotic", use_continuity=False)
    assert found.superiority == pytest.approx(known.statistic / (len(buckets[0]) * len(buckets[1])))
    assert found.p_value == pytest.approx(known.pvalue, rel=1e-9)


def only(one: Cells, side: int, calls: int) -> Cells:
    """With so many calls of one side."""
    kept = one.calls.copy()
    kept[:, side] = 0
    kept[0, side] = calls
    return replace(one, calls=kept)


def test_too_little_is_said() -> None:
    found = compare(cells([Drawn(rates=(20, 0.5))], slots=20), versions=("v1", "v2"))
    for one in (found.overall.latency, found.overall.errors):
        assert one.verdict == "unsure"
        assert one.note is not None and one.note.startswith("not enough data: has ") and "of v2, needs 30" in one.note
        assert one.needed is not None and one.needed.calls[1] == 30 and one.needed.more_s
    rare = compare(cells([Drawn(), Drawn(rates=(20, 0.05))]), versions=("v1", "v2"))
    note = next(one.latency.note for one in rare.operations if one.operation == "GET /1")
    assert note is not None and note.endswith(" of v2, needs 10") and rare.mix.left_out == pytest.approx(0.5, abs=0.1)
    scattered = compare(cells([Drawn(rates=(1, 0.1)) for _ in range(12)]))
    assert scattered.overall.latency.note == "not enough data: no operation has 10 calls of both versions"


def test_nothing_at_all_and_nothing_timed() -> None:
    one = cells([Drawn(failing=(0.01, 0.5))])
    none = np.zeros(0, np.int64)
    nothing = Cells([], none, none, none, empty(0), empty(0), np.zeros((0, 2)), np.zeros((0, 2)), 0.0)
    found = compare(nothing)
    assert (found.overall.latency.verdict, found.overall.latency.note) == (
        "unsure", "not enough data: has 0 calls of canary, needs 30",
    )  # fmt: skip
    assert found.operations == [] and found.overall.baseline.p50_ms is None
    untimed = compare(replace(one, baseline=empty(40), canary=empty(40)))
    assert untimed.overall.latency.verdict == "unsure" and untimed.overall.errors.verdict == "more errors"
    assert untimed.overall.latency.note is not None and untimed.overall.latency.note.startswith("not enough data")


@pytest.mark.parametrize("duration_us", [0.0, 1.0, 5000.0, 1e15])
def test_constant_durations(duration_us: float) -> None:
    for ratio, verdict in ((1.0, "same"), (2.0, "slower")):
        one = Drawn(median_ms=duration_us / 1000 or 1e-9, sigma=0.0, ratio=ratio if duration_us >= 1000 else 1.0)
        found = compare(cells([one], whole_ms=duration_us == 0)).overall.latency
        if ratio == 1 or 1000 <= duration_us < 1e12:
            assert found.verdict == verdict
            assert found.ratio is not None and found.ratio.value == pytest.approx(ratio, rel=0.05)


def test_the_margin_is_a_setting() -> None:
    one = cells([Drawn(rates=(200, 100), ratio=1.15)])
    assert compare(one).overall.latency.verdict == "slower"
    assert compare(one, Margins(ratio=0.3)).overall.latency.verdict == "same"


def test_holms_correction() -> None:
    assert holm([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, 1.0, 0.06, 0.06])
    assert holm([]) == [] and holm([None]) == [1.0] and holm([0.9, 0.8]) == [1.0, 1.0]
