"""Two versions read from a store: which calls count, which versions are meant, what is said where there are none."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from analyzers.latency.versions.choose import CannotCompare, chosen_versions, node_named
from analyzers.latency.versions.outcome import Margins, VersionComparison
from analyzers.latency.versions.read import compare_versions
from analyzers.latency.versions.render_table import print_comparison, span
from storage.engine import Engine
from tests.analyzers.records import T0, at, call, insert_calls

HOSTILE = "v2\x1b[31m"


def of(version: str, second: float, duration_us: int, **more: Any) -> dict[str, Any]:
    """One call of a version, as its own proxy tells it."""
    fields = {
        "source_namespace": "shop", "source_service": "web", "destination_namespace": "shop",
        "destination_service": "stock", "destination_version": version, "reporter": "destination",
        "protocol": "http", "operation": "GET /stock", "status": 200,
    }  # fmt: skip
    return call(second, duration_us=duration_us, **{**fields, **more})


def drawn(version: str, since_s: int, until_s: int, every_s: float, median_us: float, **more: Any) -> Iterator[Any]:
    rng = np.random.default_rng([since_s, until_s, int(median_us)])
    for second in np.arange(since_s, until_s, every_s):
        yield of(version, float(second), int(rng.lognormal(np.log(median_us), 0.4)), **more)


def text(found: VersionComparison) -> str:
    console = Console(file=io.StringIO(), width=200)
    print_comparison(found, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_only_the_time_in_which_both_had_calls_counts(engine: Engine) -> None:
    # Alone, v1 is far slower: what it did then says nothing of v2.
    rows = [*drawn("v1", 0, 600, 1, 90_000), *drawn("v1", 600, 1800, 1, 10_000), *drawn("v2", 600, 1800, 3, 10_000)]
    insert_calls(engine, rows)
    found = compare_versions(engine, "stock")
    overall = found.verdict.overall
    assert (found.service, found.baseline, found.canary) == ("shop/stock", "v1", "v2")
    assert (overall.baseline.calls, overall.canary.calls, found.verdict.seconds) == (1200, 400, 1200)
    assert (found.since, found.until) == (at(600), at(1800))
    assert overall.latency.verdict != "slower" and overall.latency.ratio is not None
    assert 0.9 <= overall.latency.ratio.value <= 1.1


def test_it_is_what_scipy_says_of_the_calls_themselves(engine: Engine) -> None:
    one, two = list(drawn("v1", 0, 1800, 1, 10_000)), list(drawn("v2", 0, 1800, 3, 12_000))
    two = [{**row, "status": 503} if number % 10 == 0 else row for number, row in enumerate(two)]
    insert_calls(engine, [*one, *two])
    found = compare_versions(engine, "shop/stock").verdict
    taken = [np.array([row["duration_us"] for row in rows]) for rows in (one, two)]
    known = stats.mannwhitneyu(taken[1], taken[0])
    latency, canary = found.overall.latency, found.overall.canary
    assert latency.superiority == pytest.approx(known.statistic / (len(one) * len(two)), abs=0.02)
    ratios = np.divide.outer(taken[1], taken[0])
    assert latency.ratio is not None and latency.ratio.value == pytest.approx(float(np.median(ratios)), rel=0.03)
    assert latency.verdict == "slower"
    assert (canary.calls, canary.errors) == (600, 60)
    assert canary.p95_ms == pytest.approx(float(np.quantile(taken[1], 0.95)) / 1000, rel=0.06)
    assert found.overall.errors.verdict == "more errors"
    assert found.overall.errors.difference is not None and found.overall.errors.difference.value == pytest.approx(0.1)


def test_the_own_proxy_counts_where_it_knows_both(engine: Engine) -> None:
    for version in ("v1", "v2"):
        insert_calls(engine, drawn(version, 0, 900, 2, 10_000))
        insert_calls(engine, drawn(version, 0, 900, 2, 30_000, reporter="source"))
        # A caller of whom only its own proxy tells both.
        insert_calls(engine, drawn(version, 0, 900, 9, 50_000, reporter="source", source_service="jobs"))
    insert_calls(engine, drawn("v1", 0, 900, 9, 1_000, source_service="jobs"))
    side = compare_versions(engine, "stock").verdict.overall.canary
    assert side.calls == 450 + 100
    assert side.p50_ms == pytest.approx(10, rel=0.15) and side.p99_ms is not None and side.p99_ms > 40


def test_a_caller_of_one_version_only_is_left_out_of_the_ranks(engine: Engine) -> None:
    for version in ("v1", "v2"):
        insert_calls(engine, drawn(version, 0, 900, 1, 10_000))
    insert_calls(engine, drawn("v2", 0, 900, 1, 80_000, source_service="far-away"))
    found = compare_versions(engine, "stock", baseline="v1").verdict.overall
    assert found.latency.verdict == "same" and found.canary.calls == 1800


def test_whole_hours_where_minutes_are_gone(engine: Engine) -> None:
    insert_calls(engine, [*drawn("v1", 0, 10_800, 6, 10_000), *drawn("v2", 0, 7_200, 12, 15_000)])
    day = {"since": T0 - timedelta(hours=1), "until": T0 + timedelta(hours=4)}
    assert compare_versions(engine, "stock", **day).grain_s == 60
    engine.execute("ALTER TABLE edges_1m DELETE WHERE minute < '2026-01-01 12:00:00' SETTINGS mutations_sync = 2")
    found = compare_versions(engine, "stock", **day)
    assert (found.grain_s, found.verdict.seconds) == (3600, 7200)
    assert (found.since, found.until) == (day["since"], day["until"])
    assert found.verdict.overall.baseline.calls == 1200 and found.verdict.overall.latency.verdict == "slower"
    assert compare_versions(engine, "stock", until=T0 + timedelta(hours=2)).verdict.overall == found.verdict.overall
    engine.execute("TRUNCATE TABLE edges_1m")
    assert compare_versions(engine, "stock").verdict.overall == found.verdict.overall


def test_the_version_that_was_seen_first_is_the_baseline(engine: Engine) -> None:
    insert_calls(engine, [*drawn("b-new", 60, 900, 1, 10_000), *drawn("z-old", 0, 900, 9, 10_000)])
    assert compare_versions(engine, "stock").canary == "b-new"
    assert compare_versions(engine, "stock", canary="z-old").baseline == "b-new"
    assert compare_versions(engine, "stock", baseline="b-new").canary == "z-old"


def test_three_versions_must_be_named(engine: Engine) -> None:
    insert_calls(engine, [row for name in ("v1", "v2", "v3") for row in drawn(name, 0, 60, 2, 10_000)])
    with pytest.raises(CannotCompare, match=r"v1 \(30 calls\), v2 \(30 calls\), v3 \(30 calls\): expected --baseline"):
        compare_versions(engine, "stock")
    with pytest.raises(CannotCompare, match="expected --baseline and --canary to name two"):
        compare_versions(engine, "stock", canary="v3")
    assert compare_versions(engine, "stock", baseline="v1", canary="v3").canary == "v3"


def test_versions_that_never_met(engine: Engine) -> None:
    insert_calls(engine, [*drawn("v1", 0, 600, 1, 10_000), *drawn("v2", 600, 1200, 1, 10_000)])
    found = compare_versions(engine, "stock")
    for one in (found.verdict.overall.latency, found.verdict.overall.errors):
        assert (one.verdict, one.note) == (
            "unsure", "not enough data: has no minute in which both v1 and v2 had calls, needs one or more",
        )  # fmt: skip
    assert "not enough data: has no minute" in text(found)
    with pytest.raises(CannotCompare, match=r"has calls of v1 \(600 calls\) in the window, needs two versions"):
        compare_versions(engine, "stock", until=at(600))
    early = compare_versions(engine, "stock", baseline="v1", canary="v2", until=at(600))
    assert early.verdict.overall.latency.verdict == "unsure"


def test_what_is_not_there(engine: Engine) -> None:
    with pytest.raises(CannotCompare, match="'stock': no service that is called, no requests are stored"):
        compare_versions(engine, "stock")
    insert_calls(engine, drawn("", 0, 60, 1, 10_000))
    with pytest.raises(CannotCompare, match="not enough data: has calls of no known version in the window"):
        compare_versions(engine, "stock")
    with pytest.raises(CannotCompare, match="'web': no service that is called, known are shop/stock"):
        compare_versions(engine, "web")


def test_names() -> None:
    assert node_named("a/x", {"a/x", "b/x"}) == "a/x" == node_named("x", {"a/x", "a/y"})
    with pytest.raises(CannotCompare, match="is the name of a/x, b/x: expected one of them"):
        node_named("x", {"b/x", "a/x"})
    calls = {"v1": 9, "v2": 4}
    with pytest.raises(CannotCompare, match=r"no version 'v3': expected one of v1 \(9 calls\), v2"):
        chosen_versions("x", "v3", None, calls, {"v1", "v2"}, lambda _: None)
    with pytest.raises(CannotCompare, match="'v1' is both"):
        chosen_versions("x", "v1", "v1", calls, {"v1", "v2"}, lambda _: None)
    # Nobody knows which came first: most calls go to the baseline.
    assert chosen_versions("x", None, None, {"b": 9, "a": 4}, {"a", "b"}, lambda _: None) == ("b", "a")


def test_the_table(engine: Engine) -> None:
    slow = list(drawn(HOSTILE, 0, 900, 4, 10_000, operation="GET /a"))
    rows = [*drawn("v1", 0, 900, 1, 10_000, operation="GET /a"), *slow]
    rows += [
        *drawn("v1", 0, 900, 1, 5_000, operation="GET /b"),
        *drawn(HOSTILE, 0, 900, 0.5, 15_000, operation="GET /b"),
    ]
    rows += drawn("v1", 0, 900, 30, 10_000, operation="GET /c")
    insert_calls(engine, rows)
    found = text(compare_versions(engine, "stock", baseline="v1", margins=Margins(ratio=0.05)))
    assert "\x1b" not in found and r"v2\x1b[31m (canary) against v1 (baseline)" in found
    assert "2026-01-01 10:00 to 2026-01-01 10:15 UTC; both had calls in 15 minutes of it" in found
    (line,) = [line for line in found.splitlines() if line.startswith("GET /b")]
    assert "slower" in line and "3.0" in line
    assert "all, mixed as the baseline" in found and "durations: slower" in found
    assert "only v1 got: GET /c" in found and "The versions got other operations" in found
    assert "1.6% of v1's calls are of operations with too few calls for a verdict." in found


def test_what_would_decide_is_told(engine: Engine) -> None:
    insert_calls(engine, [*drawn("v1", 0, 600, 1, 10_000), *drawn("v2", 0, 600, 10, 10_000)])
    found = text(compare_versions(engine, "stock"))
    assert "calls of v1 and" in found and "would decide (there are 600 and 60)" in found
    assert "more minutes at 0.1 calls/s of v2" in found


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0 minutes"), (20, "1 minute"), (840, "14 minutes"), (86_400, "24 hours"), (1e6, "12 days")],
)
def test_spans(seconds: float, told: str) -> None:
    assert span(seconds) == told
