"""Sums over a whole window say the same as edge_numbers.sql, which decides hour by hour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyzers.dependencies.histograms import quantiles_us
from analyzers.dependencies.map_keys import map_keys
from analyzers.dependencies.service_map import QUANTILES, rows_by_hours, service_map
from analyzers.dependencies.totals import totals
from analyzers.dependencies.windows import Window
from storage.engine import Engine
from tests.analyzers.records import T0, at, call, insert_calls
from tests.analyzers.test_service_map import TABLES

HOUR, DAY = 3600, 86_400


def line(ts_s: float, source: str, version: str, **fields: Any) -> dict[str, Any]:
    return call(
        ts_s,
        source_namespace="shop",
        source_service=source,
        source_version=version,
        source_principal=f"spiffe://cluster.local/ns/shop/sa/{source}",
        destination_namespace="shop",
        destination_service="db",
        **{"direction": "east_west", "bytes_sent": 7, "bytes_received": 3, **fields},
    )


LINE = st.builds(
    line,
    st.sampled_from([0, 700, HOUR, 5 * HOUR + 61, DAY - 1, DAY, 2 * DAY + 1800, 4 * DAY, 4 * DAY + HOUR + 600]),
    st.sampled_from(["web", "api"]),
    st.sampled_from(["v1", "v2"]),
    reporter=st.sampled_from(["source", "source", "destination", "waypoint", "gateway"]),
    protocol=st.sampled_from(["http", "http", "http", "tcp"]),
    status=st.sampled_from([200, 404, 503]),
    grpc_status=st.sampled_from([0, 0, 8]),
    verdict=st.sampled_from(["allowed", "denied"]),
    fault=st.sampled_from(["none", "callee"]),
    tls=st.sampled_from(["mtls", "plaintext", "unknown"]),
    duration_us=st.sampled_from([0, 1, 250, 3_000, 900_000, 5 * 10**9]),
)
WINDOW = st.sampled_from([(0, HOUR), (0, DAY), (660, DAY + 1200), (0, 5 * DAY), (60, 4 * DAY + 4260), (HOUR, 5 * DAY)])


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(LINE, min_size=1, max_size=25), cut=WINDOW)
def test_totals_equal_the_choice_by_hours(engine: Engine, lines: list[dict[str, Any]], cut: tuple[int, int]) -> None:
    for table in TABLES:
        engine.execute(f"TRUNCATE TABLE {table}")
    insert_calls(engine, lines[::2])
    insert_calls(engine, lines[1::2])
    keys, window = map_keys(engine), Window.of(at(cut[0]), at(cut[1]))
    settled = totals(engine, keys, window)
    slow = {_key(row): row for row in rows_by_hours(engine, keys, window, np.ones(len(keys.edge_id), np.bool_))}
    rest = {_key(row) for row in rows_by_hours(engine, keys, window, settled.unsettled)}
    assert {_key(row) for row in settled.rows} | rest == slow.keys()
    assert len(settled.rows) + len(rest) == len(slow)
    # Whole days of long windows have wider buckets; all else is read from the same ones.
    error = 0.06 if window.days_since < window.days_until else 1e-6
    for row in settled.rows:
        want = dict(slow[_key(row)])
        expected = quantiles_us(want.pop("histogram"), QUANTILES)
        del want["bounds_histogram"]
        assert row["quantiles_ms"] == pytest.approx([us / 1000 for us in expected or ()], rel=error, abs=1e-6)
        assert {name: _shape(name, row[name]) for name in want} == {name: _shape(name, want[name]) for name in want}


def _key(row: Any) -> tuple[int, int, str]:
    return row["source"], row["destination"], row["evidence"]


def _shape(name: str, value: Any) -> Any:
    if name in ("destination_rows", "verdict_rows", "gateway_rows"):
        return bool(value)
    if name in ("protocols", "directions"):
        return sorted((text, count) for text, count in value if count)
    return sorted(value) if isinstance(value, list) else value


def test_one_reporter_that_speaks_in_every_hour_settles_an_edge(engine: Engine) -> None:
    both = [line(h * HOUR, "web", "v1", reporter=side) for h in (0, 30, 100) for side in ("source", "destination")]
    insert_calls(
        engine, [*both, line(60, "api", "v1", reporter="source"), line(HOUR, "api", "v1", reporter="destination")]
    )
    keys = map_keys(engine)
    window = Window.of(at(0), at(5 * DAY))
    (row,) = totals(engine, keys, window).rows
    assert (keys.nodes[row["source"]], row["requests"], row["destination_requests"]) == ("shop/web", 3, 3)
    assert {(edge.source, edge.requests, edge.attempts) for edge in service_map(engine, at(0), at(5 * DAY)).edges} == {
        ("shop/web", 3, 3),
        ("shop/api", 2, 1),
    }


def test_a_new_name_or_alias_is_seen_at_once(engine: Engine) -> None:
    insert_calls(engine, [line(0, "web", "v1", reporter="source")])
    first = map_keys(engine)
    assert map_keys(engine) is first
    insert_calls(engine, [line(0, "api", "v1", reporter="source")])
    assert map_keys(engine) is not first
    assert len(service_map(engine).edges) == 2


MOMENTS = st.integers(0, 40 * 1440).map(
    lambda minutes: T0 + timedelta(minutes=minutes - 10 * 1440, seconds=minutes % 7)
)


@given(MOMENTS, MOMENTS)
def test_a_window_is_cut_without_gaps(one: datetime, other: datetime) -> None:
    window = Window.of(min(one, other), max(one, other))
    bounds = list(window.parameters().values())
    assert bounds == sorted(bounds)
    since, tens, hours, sixes, days, days_end, sixes_end, hours_end, tens_end, until = bounds
    assert since <= min(one, other) < since + timedelta(minutes=1)
    assert until - timedelta(minutes=1) < max(one, other) <= until or since == until
    midnight = datetime(2026, 1, 1, tzinfo=UTC)
    for low, high, length in (
        (tens, tens_end, timedelta(minutes=10)),
        (hours, hours_end, timedelta(hours=1)),
        (sixes, sixes_end, timedelta(hours=6)),
        (days, days_end, timedelta(days=1)),
    ):
        if low < high:
            assert (low - midnight) % length == (high - midnight) % length == timedelta(0)
    if until - since <= timedelta(hours=48):
        assert days == days_end
    ragged = (tens - since) + (until - tens_end)
    assert ragged <= timedelta(minutes=18)


def test_of_callers_without_a_name_the_callee_sees_them_all(engine: Engine) -> None:
    nameless = {"source_namespace": "", "source_service": "", "source_principal": "", "destination_service": "db"}
    told = ["source", "destination", "destination", "gateway", "destination"]
    insert_calls(
        engine,
        [call(at_s, reporter=side, destination_namespace="shop", **nameless) for at_s, side in enumerate(told)]
        + [call(9, reporter="destination", destination_namespace="shop", destination_service="web", source_service="")],
    )
    found = {edge.destination: edge for edge in service_map(engine, at(0), at(DAY)).edges}
    assert {edge.source for edge in found.values()} == {"unknown"}
    assert (found["shop/db"].requests, found["shop/db"].attempts) == (3, 3)
    # One gateway line without a name does not make gateways of all other callers, nor proxies that could be silent.
    assert found["shop/web"].direction == "east_west"
    assert not found["shop/web"].disagreements
    keys, window = map_keys(engine), Window.of(at(0), at(DAY))
    hourly = rows_by_hours(engine, keys, window, np.ones(len(keys.edge_id), np.bool_))
    assert sorted(row["requests"] for row in hourly) == [1, 3]
