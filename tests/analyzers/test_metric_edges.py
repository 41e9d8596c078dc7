"""Metric edges: compiled SQL against the slow reference, resets, late and first points, and what the map tells."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from analyzers.dependencies.derive import derive
from analyzers.dependencies.histograms import NO_BOUND, bounded_quantiles_us
from analyzers.dependencies.metric_rows import metric_slack
from analyzers.dependencies.service_map import service_map
from storage.engine import Engine
from tests.analyzers.metric_reference import Key, Numbers, metric_rows
from tests.analyzers.records import T0, at, call, insert_calls, insert_points, point

NOW = datetime(2026, 1, 2, tzinfo=UTC)
UNSTARTED = datetime(1970, 1, 1, tzinfo=UTC)
TABLES = (
    "metric_points",
    "metric_samples",
    "metric_minutes",
    "derived_edges_1m",
    "derived_edges_1h",
    "derived_edges_1d",
    "derived_periods",
)


def derived_rows(engine: Engine) -> dict[Key, Numbers]:
    """What the store holds as current metric edges, in the reference's form."""
    found = engine.query(
        """
        SELECT minute, reporter, tls, source_workload, destination_service, requests, errors, statuses, bounds_histogram
        FROM derived_edges_1m
        WHERE kind = 'metric' AND (kind, minute, generation) IN
            (SELECT kind, period, max(generation) FROM derived_periods WHERE grain = '1m' GROUP BY kind, period)"""
    )
    rows: dict[Key, Numbers] = {}
    for row in found.to_pylist():
        key = (row["minute"], row["reporter"], row["tls"], row["source_workload"], row["destination_service"])
        numbers = rows.setdefault(key, Numbers())
        numbers.requests += row["requests"]
        numbers.errors += row["errors"]
        numbers.statuses.update(dict(row["statuses"]))
        numbers.buckets.update({bound: count for bound, count in row["bounds_histogram"] if count})
    return rows


def istio(status: str = "200", flags: str = "-", reporter: str = "source", **labels: str) -> dict[str, str]:
    """Labels of a call from web to api."""
    return {
        "reporter": reporter,
        "source_workload": "web",
        "source_workload_namespace": "shop",
        "destination_service_name": "api",
        "destination_service_namespace": "shop",
        "request_protocol": "http",
        "response_code": status,
        "response_flags": flags,
        "connection_security_policy": "mutual_tls" if reporter == "destination" else "unknown",
        **labels,
    }


@st.composite
def walks(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Points of a few series: some grow, some are reset, some have gaps, other bounds, repeated points or no start."""
    points: list[dict[str, Any]] = []
    # Many pods in few examples: a derivation costs the same for one series as for a dozen.
    for pod in [f"web-{number}" for number in range(draw(st.integers(1, 6)))]:
        for _ in range(draw(st.integers(1, 3))):
            labels = istio(
                draw(st.sampled_from(["200", "503", "0"])),
                draw(st.sampled_from(["-", "DC", "UH"])),
                draw(st.sampled_from(["source", "destination"])),
                source_workload=draw(st.sampled_from(["web", "job"])),
            )
            temporality = draw(st.sampled_from(["cumulative", "cumulative", "delta"]))
            timed = draw(st.booleans())
            start, counts = at(draw(st.sampled_from([-4000, -30, 0]))), [0, 0, 0]
            for seconds in sorted(
                draw(st.lists(st.sampled_from([30, 60, 90.5, 120, 700, 1500, 2500, 3600]), max_size=6))
            ):
                counts = [count + draw(st.integers(0, 9)) for count in counts]
                if draw(st.integers(0, 4)) == 0:
                    counts = [draw(st.integers(0, 3)), 0, 1]
                    start = draw(st.sampled_from([start, at(seconds - 10)]))
                said = draw(st.sampled_from([start, start, UNSTARTED, at(seconds)]))
                fields: dict[str, Any] = {"start_ts": said, "temporality": temporality, "pod": pod}
                if timed:
                    bounds = draw(st.sampled_from([[5.0, 10.0], [5.0, 10.0], [2.0, 10.0]]))
                    fields |= {"bounds": bounds, "bucket_counts": list(counts)}
                    points.append(point(seconds, "istio_request_duration_milliseconds", labels, sum(counts), **fields))
                else:
                    points.append(point(seconds, "istio_requests_total", labels, sum(counts), **fields))
    return points


@settings(
    max_examples=6, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(points=walks().flatmap(st.permutations), split=st.integers(0, 60))
def test_sql_counts_what_the_reference_counts_in_any_order_of_arrival(
    engine: Engine, points: list[dict[str, Any]], split: int
) -> None:
    for table in TABLES:
        engine.execute(f"TRUNCATE TABLE {table}")
    for number, part in enumerate((points[:split], points[split:])):
        if part:
            insert_points(engine, part)
            derive(engine, now=NOW + timedelta(minutes=number))
    assert derived_rows(engine) == metric_rows(points)


def requests(engine: Engine, points: Sequence[dict[str, Any]]) -> list[int]:
    """Requests by minute after one derivation."""
    insert_points(engine, points)
    derive(engine, now=NOW)
    return [numbers.requests for _, numbers in sorted(derived_rows(engine).items())]


def counter(seconds: float, value: float, start_s: float | None = None, **fields: Any) -> dict[str, Any]:
    start = UNSTARTED if start_s is None else at(start_s)
    return point(seconds, "istio_requests_total", istio(), value, **{"start_ts": start, "pod": "web-1", **fields})


def test_a_first_point_without_a_start_counts_nothing(engine: Engine) -> None:
    assert requests(engine, [counter(60, 1000), counter(120, 1007)]) == [7]


def test_a_restarted_scraper_does_not_count_again(engine: Engine) -> None:
    """It calls its first scrape the start of a counter that is much older."""
    assert requests(engine, [counter(60, 1000, 60), counter(120, 1007, 60), counter(180, 1009, 180)]) == [7, 2]


def test_a_first_point_counts_when_its_start_is_near(engine: Engine) -> None:
    assert requests(engine, [counter(60, 5, 0), counter(120, 7, 0)]) == [5, 2]
    assert [(e.requests, e.first_seen, e.last_seen) for e in service_map(engine).edges] == [(7, at(60), at(120))]


def test_a_series_that_begins_beside_others_of_its_pod_counts(engine: Engine) -> None:
    started = point(120, "istio_requests_total", istio("503"), 3, start_ts=at(-5000), pod="web-1")
    alone = point(120, "istio_requests_total", istio("504"), 3, start_ts=at(-5000), pod="web-2")
    insert_points(engine, [counter(60, 1000), counter(120, 1001), started, alone])
    derive(engine, now=NOW)
    (edge,) = service_map(engine).edges
    assert (edge.requests, edge.errors, edge.statuses) == (4, 3, {"200": 1, "503": 3})


def test_a_reset_counts_from_zero_and_a_gap_beyond_the_horizon_counts_nothing(engine: Engine) -> None:
    fell = [counter(60, 100), counter(120, 4)]
    started_anew = [counter(180, 50, 130)]
    after_a_gap = [counter(1200, 400)]
    assert requests(engine, [*fell, *started_anew, *after_a_gap]) == [4, 50]


def test_an_increase_over_minutes_belongs_to_the_last_of_them(engine: Engine) -> None:
    insert_points(engine, [counter(60, 10), counter(240, 19)])
    derive(engine, now=NOW)
    assert [key[0] for key in derived_rows(engine)] == [at(180)]


def test_a_late_point_moves_its_part_and_a_repeated_one_changes_nothing(engine: Engine) -> None:
    assert requests(engine, [counter(60, 10), counter(180, 30)]) == [20]
    insert_points(engine, [counter(120, 15), counter(180, 30)])
    assert derive(engine, now=NOW + timedelta(minutes=1)).minutes["metric"] == 2
    assert [numbers.requests for _, numbers in sorted(derived_rows(engine).items())] == [5, 15]
    assert derive(engine, now=NOW + timedelta(minutes=2)).minutes["metric"] == 0
    assert [edge.requests for edge in service_map(engine).edges] == [20]


def test_repeated_deltas_count_once(engine: Engine) -> None:
    delta = counter(60, 5, 0, temporality="delta")
    assert requests(engine, [delta, delta, counter(120, 6, 60, temporality="delta")]) == [5, 6]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 1e300])
def test_a_value_that_is_no_count_is_not_counted(engine: Engine, value: float) -> None:
    assert requests(engine, [counter(60, 5, 0), counter(90, value, 0), counter(120, 7, 0)]) == [5, 2]


def test_histograms_that_contradict_themselves_time_nothing(engine: Engine) -> None:
    strange: list[dict[str, Any]] = [
        {"bounds": [1.0, 2.0], "bucket_counts": [1, 2]},
        {"bounds": [2.0, 1.0], "bucket_counts": [1, 2, 3]},
        {"bounds": [1.0, float("nan")], "bucket_counts": [1, 2, 3]},
        {"bounds": [1.0], "bucket_counts": [1, 1 << 63]},
    ]
    name = "istio_request_duration_milliseconds"
    insert_points(
        engine,
        [
            point(60, name, istio(), 6, start_ts=at(0), pod=f"web-{number}", **fields)
            for number, fields in enumerate(strange)
        ],
    )
    derive(engine, now=NOW)
    (edge,) = service_map(engine).edges
    assert (edge.requests, edge.p50_ms) == (24, None)


def test_an_exponential_histogram_keeps_its_bounds_when_its_scale_falls(engine: Engine) -> None:
    """Scale 1: bounds 2^(i/2); then scale 0, whose buckets are pairs of those."""
    name, exponential = "istio_request_duration_milliseconds", "exponential_histogram"
    fields: dict[str, Any] = {"type": exponential, "start_ts": at(0), "pod": "web-1", "positive_offset": 2}
    first = point(60, name, istio(), 7, **fields, scale=1, positive_counts=[3, 3], zero_count=1)
    second = point(
        120, name, istio(), 18, **{**fields, "positive_offset": 1}, scale=0, positive_counts=[10, 7], zero_count=1
    )
    insert_points(engine, [first, second])
    derive(engine, now=NOW)
    rows = [dict(numbers.buckets) for _, numbers in sorted(derived_rows(engine).items())]
    assert rows == [{0: 1, 2828: 3, 4000: 3}, {4000: 4, 8000: 7}]


def test_quantiles_lie_evenly_in_their_bucket_and_are_not_known_beyond_the_last_bound() -> None:
    histogram = [(10_000, 0), (20_000, 8), (NO_BOUND, 2)]
    assert bounded_quantiles_us(histogram, (0.4, 0.8, 0.9)) == [15_000, 20_000, None]
    assert bounded_quantiles_us([(10_000, 4)], (0.5,)) == [5_000]
    assert bounded_quantiles_us([(10_000, 0)], (0.5,)) == [None]


def test_the_sides_of_a_call_are_one_edge_and_the_histogram_gives_its_quantiles(engine: Engine) -> None:
    name, pods = "istio_request_duration_milliseconds", {"source": "web-1", "destination": "api-1"}
    timing = {"start_ts": at(0), "bounds": [5.0, 10.0], "bucket_counts": [0, 10, 0]}
    for reporter, pod in pods.items():
        insert_points(
            engine,
            [
                point(60, "istio_requests_total", istio(reporter=reporter), 10, start_ts=at(0), pod=pod),
                point(60, name, istio(reporter=reporter), 10, pod=pod, **timing),
            ],
        )
    derive(engine, now=NOW)
    for window in ((None, None), (T0, T0 + timedelta(minutes=2)), (T0, T0 + timedelta(days=1))):
        (edge,) = service_map(engine, *window).edges
        assert (edge.source, edge.destination, edge.requests, edge.attempts) == ("shop/web", "shop/api", 10, 10)
        assert (edge.evidence, edge.mtls_share, edge.denied) == (["metric"], 1.0, None)
        assert (edge.p50_ms, edge.p95_ms) == (7.5, 9.75)


def test_the_map_by_hours_says_the_same(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "istio_request_duration_milliseconds"
    insert_points(
        engine,
        [
            point(at_s, name, istio(), n, start_ts=at(0), pod="web-1", bounds=[5.0, 10.0], bucket_counts=[n - 1, 1, 0])
            for at_s, n in ((60, 4), (3700, 9), (4000, 30), (90_000, 70), (90_060, 72))
        ],
    )
    derive(engine, now=NOW)
    settled = service_map(engine).to_document()
    unsettled = "analyzers.dependencies.totals._Choice._unsettled"
    monkeypatch.setattr(unsettled, lambda keys, *_: np.ones(len(keys.members), np.bool_))
    assert service_map(engine).to_document() == settled
    (edge,) = settled["edges"]
    assert edge["requests"] == 27 and edge["p99_ms"] > 5


def test_days_keep_bounds(engine: Engine) -> None:
    name = "istio_request_duration_milliseconds"
    insert_points(engine, [point(60, name, istio(), 4, start_ts=at(0), bounds=[5.0], bucket_counts=[4, 0])])
    derive(engine, now=NOW)
    for table in ("derived_edges_1m", "derived_edges_1h"):
        engine.execute(f"TRUNCATE TABLE {table}")
    (edge,) = service_map(engine).edges
    assert (edge.requests, edge.p50_ms) == (4, 2.5)


def logged(number: int, **fields: Any) -> list[dict[str, Any]]:
    sides = {
        "source_namespace": "shop",
        "source_service": "web",
        "destination_namespace": "shop",
        "destination_service": "api",
        "direction": "east_west",
        "status": 200,
    }
    return [call(second, **{"reporter": "source", **sides, **fields}) for second in range(number)]


@pytest.mark.parametrize(("counted", "told"), [(960, []), (900, [["log", "metric"]])])
def test_counts_that_differ_by_the_ends_of_the_window_are_no_disagreement(
    engine: Engine, counted: int, told: list[list[str]]
) -> None:
    insert_calls(engine, logged(1000))
    insert_points(engine, [counter(60, 0, 0), counter(600, counted, 0)])
    derive(engine, now=NOW)
    (edge,) = service_map(engine, T0, T0 + timedelta(hours=1)).edges
    assert (edge.evidence, edge.requests) == (["log", "metric"], 1000)
    assert [found["between"] for found in edge.disagreements] == told


@pytest.mark.parametrize(
    ("sent", "received", "told"), [(1000, 960, False), (960, 1000, False), (1000, 900, True), (900, 1050, True)]
)
def test_nor_are_counts_of_two_sides_that_are_read_at_other_moments(
    engine: Engine, sent: int, received: int, told: bool
) -> None:
    points = [
        point(at_s, "istio_requests_total", istio(reporter=side), value, start_ts=at(0), pod=f"{side}-1")
        for side, total in (("source", sent), ("destination", received))
        for at_s, value in ((60, 0), (600, total))
    ]
    insert_points(engine, points)
    derive(engine, now=NOW)
    (edge,) = service_map(engine, T0, T0 + timedelta(hours=1)).edges
    assert (edge.requests, edge.attempts) == (sent, received)
    assert [found["values"] for found in edge.disagreements] == ([[sent, received]] if told else [])


def test_slack_is_what_two_minutes_carry() -> None:
    assert metric_slack(0, 3600) == 0
    assert metric_slack(600, 3600) == 34
    assert metric_slack(10, None) == metric_slack(10, 60) == 20


def test_a_caller_that_only_metrics_cannot_name_is_no_second_edge(engine: Engine) -> None:
    nameless = istio(reporter="destination", source_workload="unknown", source_workload_namespace="unknown")
    insert_points(engine, [point(60, "istio_requests_total", nameless, 3, start_ts=at(0), pod="api-1")])
    derive(engine, now=NOW)
    assert [(e.source, e.destination) for e in service_map(engine).edges] == [("unknown", "shop/api")]
    insert_calls(engine, logged(3, reporter="destination", source_service="erp"))
    assert [(e.source, e.destination) for e in service_map(engine).edges] == [("shop/erp", "shop/api")]
