"""Differences of two windows: what came, went and changed, from calls in the store to the document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from analyzers.dependencies.change_tests import Pace, Spread
from analyzers.dependencies.derive import derive
from analyzers.dependencies.diff import MapDiff, Side, compare, map_diff
from analyzers.dependencies.map_keys import map_keys
from analyzers.dependencies.model import Edge, ServiceMap
from analyzers.dependencies.operation_numbers import Numbers, operation_numbers, together
from analyzers.dependencies.service_map import service_map
from storage.engine import Engine
from tests.analyzers.records import T0, at, call, insert_calls, insert_spans, span

HOUR = timedelta(hours=1)
A, B = (T0, T0 + HOUR), (T0 + HOUR, T0 + 2 * HOUR)
WEB = "spiffe://cluster.local/ns/shop/sa/web"


def calls(start_s: float, count: int, to: str, **fields: Any) -> Iterator[dict[str, Any]]:
    """An hour of calls from shop/web, evenly over it, as both sides log them; every `fails`-th one fails."""
    fails, took_us = fields.pop("fails", 0), fields.pop("took_us", 5_000)
    common = {"source_namespace": "shop", "source_service": "web", "destination_namespace": "shop", "protocol": "http"}
    common |= {"destination_service": to, "operation": "GET /", "direction": "east_west", **fields}
    for place in range(count):
        rest = {"status": 500 if fails and place % fails == 0 else 200, "duration_us": took_us + 10 * (place % 400)}
        ts_s = start_s + 3600 * (place + 0.5) / count
        yield call(ts_s, **{"reporter": "source", **common, **rest})
        yield call(ts_s, **{"reporter": "destination", "tls": "mtls", "source_principal": WEB, **common, **rest})


def told(diff: MapDiff) -> tuple[list[str], list[str], list[tuple[str, str, str | None]]]:
    changed = [(change.what, change.destination, change.operation) for change in diff.changed]
    return [e.destination for e in diff.appeared], [e.destination for e in diff.disappeared], changed


def test_each_kind_of_change_is_told_and_nothing_else(engine: Engine) -> None:
    usual = ("same", "busier", "failing", "slow", "bare", "more")
    insert_calls(engine, [row for to in (*usual, "gone") for row in calls(0, 400, to)])
    later: dict[str, dict[str, Any]] = {
        "same": {}, "busier": {}, "failing": {"fails": 5}, "slow": {"took_us": 20_000}, "bare": {"tls": "plaintext"},
        "more": {}, "new": {},
    }  # fmt: skip
    counts = {"busier": 1600}
    insert_calls(engine, [row for to, what in later.items() for row in calls(3600, counts.get(to, 400), to, **what)])
    insert_calls(engine, list(calls(3600, 100, "more", operation="PUT /")))
    diff = map_diff(engine, A, B)
    assert told(diff) == (
        ["shop/new"],
        ["shop/gone"],
        [
            ("mtls", "shop/bare", None),
            ("rate", "shop/busier", None),
            ("errors", "shop/failing", "GET /"),
            ("operation", "shop/more", "PUT /"),
            ("latency", "shop/slow", "GET /"),
        ],
    )
    by_what = {change.what: change for change in diff.changed}
    assert by_what["mtls"].before == {"mtls_share": 1.0} and by_what["mtls"].after == {"mtls_share": 0.0}
    assert by_what["rate"].before == {"rps": pytest.approx(400 / 3600, rel=0.01), "requests": 400}
    assert by_what["errors"].after == {"error_share": 0.2, "errors": 80, "requests": 400}
    assert by_what["operation"].before is None
    assert by_what["latency"].after is not None and by_what["latency"].after["p50_ms"] == pytest.approx(22, rel=0.02)
    assert told(map_diff(engine, B, A))[:2] == (["shop/gone"], ["shop/new"])
    assert told(map_diff(engine, A, B, service="slow")) == ([], [], [("latency", "shop/slow", "GET /")])
    assert told(map_diff(engine, A, B, namespace="nowhere")) == ([], [], [])


def test_a_store_that_begins_within_a_window_is_not_a_change_of_rate(engine: Engine) -> None:
    rows = [row for row in calls(0, 600, "api") if row["ts"] >= at(2700)]
    insert_calls(engine, [*rows, *calls(3600, 600, "api")])
    diff = map_diff(engine, A, B)
    assert told(diff) == ([], [], [])
    assert diff.a.seconds == pytest.approx(900, abs=10) and diff.b.seconds == 3600


def test_windows_without_anything(engine: Engine) -> None:
    assert map_diff(engine, A, B).to_document() == {
        "a": {"since": "2026-01-01T10:00:00Z", "until": "2026-01-01T11:00:00Z", "seconds": 0.0, "requests": 0},
        "b": {"since": "2026-01-01T11:00:00Z", "until": "2026-01-01T12:00:00Z", "seconds": 0.0, "requests": 0},
        "appeared": [], "disappeared": [], "changed": [], "rare": [], "tested": 0,
    }  # fmt: skip
    insert_calls(engine, list(calls(3600, 3, "api")))
    assert told(map_diff(engine, A, B)) == (["shop/api"], [], [])
    assert map_diff(engine, A, B).to_document()["appeared"][0]["known_since"] == "2026-01-01T11:10:00Z"


def test_numbers_by_operation_are_those_of_the_map(engine: Engine) -> None:
    rows = [row for to in ("api", "db") for row in calls(0, 90, to, fails=7)]
    rows += list(calls(0, 60, "api", operation="PUT /", fails=4))
    # An hour in which the caller is silent: there the callee counts, for every operation.
    rows += [row for row in calls(3600, 50, "api") if row["reporter"] == "destination"]
    insert_calls(engine, rows)
    insert_spans(engine, [span(10, "a", "", "web", "client", peer_service="mail", name="send")])
    derive(engine, now=datetime(2026, 1, 2, tzinfo=UTC))
    since, until = T0, T0 + timedelta(hours=2, minutes=10)
    found = {(e.source, e.destination): e for e in service_map(engine, since, until).edges}
    numbers = operation_numbers(engine, map_keys(engine), since, until)
    assert {key[:2] for key in numbers} == found.keys()
    for (source, destination, evidence), operations in numbers.items():
        edge, whole = found[source, destination], together(list(operations.values()))
        assert evidence == edge.evidence[0]
        assert (whole.requests, whole.errors) == (edge.requests, edge.errors)
        assert edge.mtls_share == (whole.mtls / whole.tls_known if whole.tls_known else None)
        p50, p95, p99 = whole.spread.quantiles_us(np.array([0.5, 0.95, 0.99])) / 1000
        assert (p50, p95, p99) == pytest.approx((edge.p50_ms, edge.p95_ms, edge.p99_ms))
    assert {name: n.requests for name, n in numbers["shop/web", "shop/api", "log"].items()} == {
        "GET /": 140, "PUT /": 60,
    }  # fmt: skip


def pace_by_hand(moments_s: Sequence[float], slot_s: int) -> Pace:
    slots = [int((T0.timestamp() + s) // slot_s) for s in moments_s]
    counts = np.bincount([slot - min(slots) for slot in slots]).astype(float)
    return Pace(len(moments_s), len(counts), float((np.diff(counts) ** 2).sum()))


@pytest.mark.parametrize(("hours", "slot_s"), [(1, 60), (2, 300), (8, 3600), (120, 21_600)])
def test_the_pace_is_counted_from_the_first_slot_to_the_last(engine: Engine, hours: int, slot_s: int) -> None:
    rng = np.random.default_rng(3)
    moments = sorted(rng.uniform(100, hours * 3600 - 100, 40).tolist())
    common = {"source_service": "web", "destination_service": "api", "operation": "GET /"}
    insert_calls(
        engine,
        [call(s, reporter=side, **common) for s in moments for side in ("source", "destination")]
        + [call(5, reporter="destination", **common)],
    )
    numbers = operation_numbers(engine, map_keys(engine), T0, T0 + timedelta(hours=hours))
    assert numbers["web", "api", "log"]["GET /"].pace == pace_by_hand(moments, slot_s)


# The pure part.


def edge(destination: str, requests: int = 100, **more: Any) -> Edge:
    values: dict[str, Any] = {
        "direction": "east_west", "protocol": "http", "requests": requests, "attempts": None, "errors": 0,
        "denied": None, "p50_ms": 1.0, "p95_ms": 1.0, "p99_ms": 1.0, "rps": 1.0, "statuses": {}, "grpc_statuses": {},
        "faults": {}, "disagreements": [], "bypass": False, "mtls_share": None, "bytes_sent": None,
        "bytes_received": None, "evidence": ["log"], "first_seen": T0, "last_seen": T0, **more,
    }  # fmt: skip
    return Edge("web", destination, **values)


def side(window: tuple[datetime, datetime], edges: Sequence[Edge], numbers: dict[str, dict[str, Numbers]]) -> Side:
    found = {("web", to, "log"): operations for to, operations in numbers.items()}
    return Side(ServiceMap(*window, [], edges), found, 3600.0)


def test_what_was_never_seen_before_has_come_whatever_its_count() -> None:
    before, after = side(A, [edge("few", 2), edge("many", 3)], {}), side(B, [edge("new", 1), edge("back", 2)], {})
    diff = compare(before, after, {("web", "new"): B[0], ("web", "back"): A[0] - HOUR})
    assert [each.destination for each in diff.appeared] == ["new"]
    assert [each.destination for each in diff.disappeared] == ["many"]
    assert [(each.destination, where) for each, where in diff.rare] == [("back", "b"), ("few", "a")]


def test_another_mix_of_operations_is_no_other_latency() -> None:
    quick, slow = (Spread(np.array([us]), np.array([1.0])) for us in (1e3, 1e5))

    def mixed(quick_calls: int, slow_calls: int) -> dict[str, dict[str, Numbers]]:
        counts = {"GET /quick": (quick, quick_calls), "GET /slow": (slow, slow_calls)}
        return {
            "api": {
                name: Numbers(n, spread=replace(spread, counts=spread.counts * n))
                for name, (spread, n) in counts.items()
            }
        }

    diff = compare(side(A, [edge("api")], mixed(900, 100)), side(B, [edge("api")], mixed(700, 120)), {})
    assert diff.changed == [] and diff.tested > 0
    # Operations too rare to be looked at one by one are looked at together.
    rare = {"api": {f"GET /{n}": Numbers(5, spread=Spread(np.array([1e3]), np.array([5.0]))) for n in range(20)}}
    slower = {
        "api": {name: replace(n, spread=Spread(np.array([9e4]), n.spread.counts)) for name, n in rare["api"].items()}
    }
    found = compare(side(A, [edge("api")], rare), side(B, [edge("api")], slower), {}).changed
    assert [(change.what, change.operation) for change in found] == [("latency", None)]


def test_evidence_without_operations_makes_none_come_or_go() -> None:
    named, nameless = {"api": {"GET /": Numbers(100)}}, {"api": {"": Numbers(100)}}
    assert compare(side(A, [edge("api")], nameless), side(B, [edge("api")], named), {}).changed == []
    assert compare(side(A, [edge("api")], named), side(B, [edge("api")], nameless), {}).changed == []


def test_only_what_both_windows_know_by_the_same_evidence_is_compared() -> None:
    one = side(A, [edge("api")], {"api": {"GET /": Numbers(1000)}})
    other = Side(one.found, {("web", "api", "metric"): {"": Numbers(9000)}}, 3600.0)
    assert compare(one, other, {}).tested == 0


def test_what_only_days_are_left_of_has_numbers_without_operations(engine: Engine) -> None:
    insert_calls(engine, list(calls(0, 90, "api", fails=3)))
    insert_spans(engine, [span(10, "a", "", "web", "client", peer_service="mail", name="send")])
    derive(engine, now=datetime(2026, 1, 2, tzinfo=UTC))
    keys, day = map_keys(engine), (T0.replace(hour=0), T0.replace(hour=0) + timedelta(days=1))
    whole = {key: together(list(ops.values())) for key, ops in operation_numbers(engine, keys, *day).items()}
    for table in ("edges_1m", "edges_1h", "derived_edges_1m", "derived_edges_1h"):
        engine.execute(f"TRUNCATE TABLE {table}")
    left = operation_numbers(engine, keys, *day)
    assert left.keys() == whole.keys()
    for key, operations in left.items():
        assert list(operations) == [""]
        assert (operations[""].requests, operations[""].errors) == (whole[key].requests, whole[key].errors)
        middle = np.array([0.5])
        assert operations[""].spread.quantiles_us(middle) == pytest.approx(
            whole[key].spread.quantiles_us(middle), rel=0.06
        )
        assert operations[""].pace == Pace()
