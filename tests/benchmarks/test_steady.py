"""`benchmarks.steady` feeds what it says, and judges what it saw."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pyarrow as pa
import pytest

from benchmarks.ingest import prepared_batch
from benchmarks.steady import Sample, growth, short, wrong
from benchmarks.steady_feed import PER_MESSAGE, Lines, Spans
from benchmarks.steady_plot import plot
from benchmarks.workload import lines, messages, span_messages

NOW = datetime(2026, 11, 23, 9, 30, 0, 500_000, UTC)


def decoded(form: str, table: str, bodies: list[bytes]) -> pa.Table:
    (rows,) = [one.batch for one in prepared_batch(form, bodies, 0).inserts if one.table == table]
    return pa.Table.from_batches([rows])


def test_lines_are_written_over_with_new_ids_and_the_present_time() -> None:
    (body,) = messages(lines(PER_MESSAGE, "json"), PER_MESSAGE)
    made = Lines(body, 1)
    before = decoded("envoy_json", "calls", [body])
    rows = decoded("envoy_json", "calls", [made(NOW.timestamp()), made(NOW.timestamp())])
    assert rows.num_rows == 2 * PER_MESSAGE
    assert NOW - timedelta(seconds=1) <= min(rows["ts"].to_pylist()) and max(rows["ts"].to_pylist()) < NOW
    for name in ("trace_id", "request_id"):
        assert len(set(rows[name].to_pylist())) == 2 * PER_MESSAGE
        assert {len(one) for one in rows[name].to_pylist()} == {len(one) for one in before[name].to_pylist()}
    same = ["path", "duration_us", "source_ip", "operation"]
    calls = [Counter(tuple(row.values()) for row in one.select(same).to_pylist()) for one in (before, rows)]
    assert calls[1] == {call: 2 * count for call, count in calls[0].items()}


def test_spans_are_written_over_with_new_ids_and_the_present_time_and_stay_pairs() -> None:
    (body,) = span_messages(PER_MESSAGE, PER_MESSAGE)
    made = Spans(body, 1)
    before = decoded("otlp_proto", "spans", [body])
    rows = decoded("otlp_proto", "spans", [made(NOW.timestamp()), made(NOW.timestamp())])
    assert NOW - timedelta(seconds=1) <= min(rows["ts"].to_pylist()) and max(rows["ts"].to_pylist()) < NOW
    assert sorted(rows["duration_us"].to_pylist()) == sorted(2 * before["duration_us"].to_pylist())
    ids = dict(zip(rows["span_id"].to_pylist(), rows["trace_id"].to_pylist(), strict=True))
    assert len(ids) == 2 * PER_MESSAGE and len(set(ids.values())) == PER_MESSAGE
    children = [row for row in rows.select(["parent_span_id", "trace_id"]).to_pylist() if row["parent_span_id"]]
    assert len(children) == PER_MESSAGE
    assert all(ids[row["parent_span_id"]] == row["trace_id"] for row in children)


@pytest.mark.parametrize(("last", "factor"), [(100.0, 1.0), (150.0, 1.5)])
def test_growth_compares_the_last_third_with_the_one_before(last: float, factor: float) -> None:
    memory = [10.0, 20.0, 100.0, 100.0, last, last]
    assert growth([Sample(float(at), one, 0.0, 0) for at, one in enumerate(memory)]) == factor


def test_what_is_missing_or_too_much_is_told() -> None:
    sent = {"lines": 10, "spans": 20}
    found = {"lines": 10, "edge_requests": 10, "spans": 20, "derived_requests": 20, "derived_live": 17}
    assert wrong(sent, found) == []
    assert wrong(sent, {**found, "spans": 19, "edge_requests": 11}) == [
        "edge_requests: 11, expected 10",
        "spans: 19, expected 20",
    ]
    assert wrong(sent, {**found, "derived_live": 10}) == ["derived_live: 10, expected most of 20"]


def test_a_run_that_was_not_what_was_asked_for_is_told() -> None:
    rates = {"lines": 100.0, "spans": 10.0}
    assert short(60, {"lines": 60_000, "spans": 5_800}, 10, rates) == []
    assert short(50, {"lines": 60_000, "spans": 5_000}, 10, rates) == ["5,000 spans of 6,000 sent", "50 samples of 60"]


def test_the_plot_is_one_svg_with_a_point_for_each_sample() -> None:
    samples = [Sample(10.0 * at, 1000.0 + at, 5.0 * at, 10 * at) for at in range(1, 20)]
    root = ElementTree.fromstring(plot(samples))
    drawn = [line.get("points", "").split() for line in root.iter("{http://www.w3.org/2000/svg}polyline")]
    assert [len(points) for points in drawn] == [19, 19, 19]
    heights = [float(point.split(",")[1]) for point in drawn[0]]
    assert heights == sorted(heights, reverse=True), "memory that grows is a line that rises"
