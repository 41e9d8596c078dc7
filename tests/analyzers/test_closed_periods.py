"""What was derived from records or edges that are gone stays as it is, whatever comes late or becomes known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from analyzers.dependencies.derive import derive
from analyzers.dependencies.service_map import service_map
from storage.disk_budget import enforce
from storage.engine import Engine
from storage.kept_days import kept_days
from storage.sql import load
from storage.tables import ALIASES
from tests.analyzers.records import T0, at, call, insert, insert_calls, insert_points, insert_spans, point, span

DAY_0 = datetime(2090, 1, 1, 9, tzinfo=UTC)
"""Far ahead: the store's own clock must find nothing expired."""
GRAINS = {
    "1m": ("derived_edges_1m", "minute"),
    "1h": ("derived_edges_1h", "hour"),
    "1d": ("derived_edges_1d", "day"),
}
DERIVED = tuple(table for table, _ in GRAINS.values())
HOUR = 3600
Row = tuple[datetime, int, int, int]


@pytest.fixture(autouse=True)
def kept(engine: Engine) -> Iterator[None]:
    """TTLs as they stand in a store with defaults; the shared store is left without them."""
    for table, days in zip(DERIVED, (3, 30, 365), strict=True):
        engine.execute(f"ALTER TABLE {table} MODIFY TTL toDate(derived_on) + INTERVAL {days} DAY")
    yield
    for table in DERIVED:
        if kept_days(engine, table):
            engine.execute(f"ALTER TABLE {table} REMOVE TTL")


def on_day(number: int) -> datetime:
    return DAY_0 + timedelta(days=number)


def current(engine: Engine, kind: str) -> dict[str, list[Row]]:
    """Grain → rows that count: period, edge, requests, generation."""
    return {grain: rows_of(engine, kind, grain) for grain in GRAINS}


def rows_of(engine: Engine, kind: str, grain: str) -> list[Row]:
    table, period = GRAINS[grain]
    rows = engine.query(
        f"""
        SELECT {period} AS period, edge_id, requests, generation FROM {table}
        WHERE kind = {{edge_kind:String}} AND ({period}, generation) IN (
            SELECT period, max(generation) FROM derived_periods
            WHERE kind = {{edge_kind:String}} AND grain = {{grain:String}} GROUP BY period)
        ORDER BY period, edge_id""",
        {"edge_kind": kind, "grain": grain},
    )
    return [(row["period"], row["edge_id"], row["requests"], row["generation"]) for row in rows.to_pylist()]


def requests(engine: Engine, kind: str) -> dict[str, int]:
    """Grain → requests."""
    return {grain: sum(row[2] for row in rows) for grain, rows in current(engine, kind).items()}


def minute_requests(engine: Engine) -> int:
    """Requests of all minutes of trace edges."""
    return sum(row[2] for row in rows_of(engine, "trace", "1m"))


def same(number: int) -> dict[str, int]:
    return dict.fromkeys(GRAINS, number)


def drop(engine: Engine, table: str, day: date) -> None:
    """The rows of `table` that arrived, or were derived, on a day."""
    engine.execute(f"ALTER TABLE {table} DROP PARTITION ID '{day:%Y%m%d}'")


def to_host(ts_s: float, span_id: str, host: str = "db.example.com") -> dict[str, Any]:
    """A request of its own: a client span without a partner."""
    return span(ts_s, span_id, "", "web", "client", trace=int(span_id, 16) + 1, peer_host=host)


def hour_of_spans(engine: Engine) -> None:
    """One request in every minute from 10:00 on, and one at 12:00."""
    insert_spans(engine, [*(to_host(60 * minute, f"{minute:x}") for minute in range(60)), to_host(2 * HOUR, "aa")])


def by_address(ts_s: float) -> dict[str, Any]:
    callee = {"destination_namespace": "shop", "destination_service": "db"}
    mapped = bytes(10) + b"\xff\xff" + bytes((10, 0, 0, 7))
    return call(ts_s, edge_id=0, reporter="destination", source_ip=mapped, status=200, **callee)


def load_inventory(engine: Engine) -> None:
    """What `eastwatch inventory load` writes of a pod."""
    row = {"kind": "pod_ip", "name": "10.0.0.7", "valid_from": at(-HOUR), "valid_to": at(24 * HOUR)}
    names = {"namespace": "shop", "workload": "web", "service": "web"}
    insert(engine, ALIASES, [{**row, **names, "evidence": "inventory", "loaded_at": T0}])


def ends(engine: Engine) -> set[tuple[str, str]]:
    return {(edge.source, edge.destination) for edge in service_map(engine).edges}


# Raw records are gone.


def test_an_inventory_that_comes_after_the_calls_are_gone_takes_no_edge_from_the_map(engine: Engine) -> None:
    insert_calls(engine, [by_address(seconds) for seconds in (0, 1, 60, 2 * HOUR, 30 * HOUR)])
    # What arrived a day later, as the budget leaves the latest day.
    engine.execute(
        "INSERT INTO calls (ts, received_at, base_edge_id, edge_id) VALUES ('2026-01-02 20:00:00', '2026-01-02', 1, 1)"
    )
    derive(engine, now=on_day(0))
    before = current(engine, "address")
    assert requests(engine, "address") == same(5)
    assert [one.table for one in enforce(engine, 1, date(2026, 1, 3)).dropped] == ["calls"]
    load_inventory(engine)
    for number in (0, 40):
        assert derive(engine, now=on_day(number) + timedelta(hours=1)).minutes["address"] == 0
        assert current(engine, "address") == before
    assert ends(engine) == {("unknown", "shop/db")}


def test_what_is_still_stored_gets_its_name_beside_what_is_gone(engine: Engine) -> None:
    insert_calls(engine, [by_address(0), by_address(60), by_address(HOUR)])
    derive(engine, now=on_day(0))
    # One of two calls of the first minute is gone, the second minute is gone, and the third is whole.
    insert_calls(engine, [by_address(1)])
    derive(engine, now=on_day(0) + timedelta(minutes=1))
    engine.execute(
        "ALTER TABLE calls DELETE WHERE ts < '2026-01-01 10:00:01' OR toStartOfMinute(ts) = '2026-01-01 10:01:00'",
        settings={"mutations_sync": 2},
    )
    load_inventory(engine)
    assert derive(engine, now=on_day(0) + timedelta(minutes=2)).minutes["address"] == 1
    assert requests(engine, "address") == same(4)
    found = service_map(engine, at(0), at(2 * HOUR)).edges
    assert {(edge.source, edge.requests) for edge in found} == {("unknown", 3), ("shop/web", 1)}


@pytest.mark.parametrize("late", [1, 3])
def test_a_late_span_does_not_take_the_place_of_those_that_are_gone(engine: Engine, late: int) -> None:
    insert_spans(engine, [*(to_host(number, f"{number + 1:x}") for number in range(3)), to_host(60, "5")])
    derive(engine, now=on_day(0))
    before = current(engine, "trace")
    drop(engine, "spans", T0.date())
    # As many as are gone, too: that they are others is known.
    insert_spans(engine, [to_host(30 + number, f"{number + 16:x}") for number in range(late)])
    assert derive(engine, now=on_day(1)).minutes["trace"] == 0
    assert current(engine, "trace") == before
    assert requests(engine, "trace") == same(4)
    # A minute that was never derived is open.
    insert_spans(engine, [to_host(120, "20")])
    assert derive(engine, now=on_day(1) + timedelta(minutes=1)).minutes["trace"] == 1
    assert requests(engine, "trace") == same(5)


def test_partners_of_a_late_span_stay_where_their_own_spans_are_gone(engine: Engine) -> None:
    insert_spans(engine, [to_host(0, "1"), to_host(1, "2")])
    derive(engine, now=on_day(0))
    engine.execute("ALTER TABLE spans DELETE WHERE span_id = '0000000000000002'", settings={"mutations_sync": 2})
    before = current(engine, "trace")
    insert_spans(engine, [span(61, "b", "1", "api", "server", trace=2)])
    assert derive(engine, now=on_day(0) + timedelta(minutes=1)).minutes["trace"] == 1
    assert [row for row in rows_of(engine, "trace", "1m") if row[0] == T0] == before["1m"]


def test_a_late_metric_point_does_not_take_the_place_of_those_that_are_gone(engine: Engine) -> None:
    labels = {
        "reporter": "source", "source_workload": "web", "source_workload_namespace": "shop",
        "destination_workload": "db", "destination_workload_namespace": "shop", "request_protocol": "http",
        "response_code": "200",
    }  # fmt: skip

    def counted(seconds: float, value: float) -> dict[str, Any]:
        return point(seconds, "istio_requests_total", labels, value, start_ts=at(-10), pod="web-1")

    insert_points(engine, [counted(10, 2), counted(30, 5), counted(90, 9)])
    derive(engine, now=on_day(0))
    before = current(engine, "metric")
    assert requests(engine, "metric") == same(9)
    drop(engine, "metric_samples", T0.date())
    insert_points(engine, [counted(40, 6)])
    assert derive(engine, now=on_day(1)).minutes["metric"] == 0
    assert current(engine, "metric") == before


def test_what_minutes_forget_does_not_hide_that_records_are_gone(engine: Engine) -> None:
    """*_minutes expire by arrival, and later or earlier than marks, which are made anew with each derivation."""
    insert_spans(engine, [to_host(0, "1"), to_host(1, "2")])
    derive(engine, now=on_day(0))
    engine.execute("TRUNCATE TABLE span_minutes")
    insert_spans(engine, [to_host(2, "3")])
    assert derive(engine, now=on_day(2)).minutes["trace"] == 1
    assert requests(engine, "trace") == same(3)
    assert derive(engine, now=on_day(2) + timedelta(minutes=1)).minutes["trace"] == 0
    drop(engine, "spans", T0.date())
    insert_spans(engine, [to_host(3, "4"), to_host(4, "5")])
    assert derive(engine, now=on_day(2) + timedelta(minutes=2)).minutes["trace"] == 0
    assert requests(engine, "trace") == same(3)


# Derived edges have expired.


def expire(engine: Engine, table: str, today: date, days: int) -> None:
    """What a merge drops."""
    found = engine.query(f"SELECT DISTINCT derived_on FROM {table}")["derived_on"].to_pylist()
    for derived_on in found:
        if derived_on + timedelta(days=days) <= today:
            engine.execute(
                f"ALTER TABLE {table} DELETE WHERE derived_on = '{derived_on}'", settings={"mutations_sync": 2}
            )


@pytest.mark.parametrize("late_s", [30 * 60 + 5, 59 * 60 + 30])
def test_a_late_span_leaves_an_hour_whose_minutes_have_expired(engine: Engine, late_s: float) -> None:
    hour_of_spans(engine)
    derive(engine, now=on_day(0))
    before = current(engine, "trace")
    drop(engine, "derived_edges_1m", on_day(0).date())
    insert_spans(engine, [to_host(late_s, "ff")])
    for number in (3, 5):
        assert derive(engine, now=on_day(number)).minutes["trace"] == 0
        assert current(engine, "trace") == {**before, "1m": []}
    # An hour of the same day that was never derived is open, and so is the day.
    insert_spans(engine, [to_host(4 * HOUR, "fe")])
    assert derive(engine, now=on_day(5) + timedelta(hours=1)).minutes["trace"] == 1
    assert requests(engine, "trace") == {"1m": 1, "1h": 62, "1d": 62}


@pytest.mark.parametrize("number", [1, 2])
def test_a_late_span_is_counted_as_long_as_its_hour_is_whole(engine: Engine, number: int) -> None:
    hour_of_spans(engine)
    derive(engine, now=on_day(0))
    insert_spans(engine, [to_host(30 * 60 + 5, "ff")])
    assert derive(engine, now=on_day(number) + timedelta(minutes=1)).minutes["trace"] == 1
    assert requests(engine, "trace") == same(62)


def test_without_a_ttl_nothing_expires(engine: Engine) -> None:
    engine.execute("ALTER TABLE derived_edges_1m REMOVE TTL")
    hour_of_spans(engine)
    derive(engine, now=on_day(0))
    insert_spans(engine, [to_host(30 * 60 + 5, "ff")])
    derive(engine, now=on_day(20))
    assert requests(engine, "trace") == same(62)


@pytest.mark.parametrize(("number", "counted"), [(29, True), (30, False)])
def test_a_late_span_leaves_a_day_whose_hours_have_expired(engine: Engine, number: int, counted: bool) -> None:
    insert_spans(engine, [to_host(0, "1"), to_host(2 * HOUR, "2")])
    derive(engine, now=on_day(0))
    for table, days in (("derived_edges_1m", 3), ("derived_edges_1h", 30)):
        expire(engine, table, on_day(number).date(), days)
    insert_spans(engine, [to_host(4 * HOUR, "3")])
    assert derive(engine, now=on_day(number)).minutes["trace"] == counted
    assert requests(engine, "trace")["1d"] == (3 if counted else 2)


def test_a_run_that_died_before_it_summed_an_hour_that_has_expired_since(engine: Engine) -> None:
    hour_of_spans(engine)
    derive(engine, now=on_day(0))
    before = current(engine, "trace")
    insert_spans(engine, [to_host(30 * 60 + 5, "ff")])
    run = derive(engine, now=on_day(2), go_on=lambda: minute_requests(engine) == 61)
    assert not run.whole
    assert minute_requests(engine) == 62
    assert current(engine, "trace")["1h"] == before["1h"]
    expire(engine, "derived_edges_1m", on_day(4).date(), 3)
    for number in (4, 5):
        assert derive(engine, now=on_day(number)).whole
        assert {**current(engine, "trace"), "1m": []} == {**before, "1m": []}


def test_a_run_that_died_before_it_summed_an_hour_is_made_up_for_in_time(engine: Engine) -> None:
    hour_of_spans(engine)
    derive(engine, now=on_day(0))
    insert_spans(engine, [to_host(30 * 60 + 5, "ff")])
    assert not derive(engine, now=on_day(1), go_on=lambda: minute_requests(engine) == 61).whole
    derive(engine, now=on_day(2))
    assert requests(engine, "trace") == same(62)


# Laws.


@dataclass
class World:
    """A store through which days go: spans arrive, the budget and retention take what they take."""

    engine: Engine
    day: int = 0
    arrived: int = 0
    most: dict[str, int] = field(default_factory=dict[str, int])

    def arrive(self, minute: int, spans: int) -> None:
        self.engine.execute(
            """
            INSERT INTO spans (ts, received_at, trace_id, span_id, service, kind, peer_host)
            SELECT {ts:DateTime64(0, 'UTC')} + toIntervalMillisecond(number), {received_at:DateTime64(0, 'UTC')},
                toString({first:UInt64} + number), toString({first:UInt64} + number), 'web', 'client', 'db.example.com'
            FROM numbers({spans:UInt64})""",
            {
                "ts": at(60 * minute),
                "received_at": on_day(self.day),
                "first": self.arrived + 1,
                "spans": spans,
            },
        )
        self.arrived += spans

    def pass_days(self, days: int) -> None:
        self.day += days
        today = on_day(self.day).date()
        expire(self.engine, "derived_edges_1m", today, 3)
        expire(self.engine, "derived_edges_1h", today, 30)
        self.engine.execute(
            "ALTER TABLE span_minutes DELETE WHERE received_on <= {gone:Date}",
            {"gone": today - timedelta(days=3)},
            settings={"mutations_sync": 2},
        )

    def lose(self) -> None:
        """The oldest day of arrival."""
        days = self.engine.query("SELECT DISTINCT toDate(received_at) AS day FROM spans ORDER BY day")["day"]
        if len(days):
            drop(self.engine, "spans", days[0].as_py())


STEP = st.one_of(
    st.tuples(st.just("arrive"), st.sampled_from([0, 1, 59, 60, 120]), st.integers(1, 3)),
    st.tuples(st.just("pass"), st.integers(1, 4)),
    st.tuples(st.just("lose")),
)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(steps=[("lose",), ("arrive", 0, 1)])
@example(steps=[("pass", 4), ("arrive", 1, 1)])
@given(steps=st.lists(STEP, max_size=6))
def test_no_hour_and_no_day_ever_loses_what_it_counted(engine: Engine, steps: Sequence[tuple[Any, ...]]) -> None:
    for table in ("spans", "span_minutes", *DERIVED, "derived_periods"):
        engine.execute(f"TRUNCATE TABLE {table}")
    world = World(engine)
    world.arrive(0, 2)
    lost = False
    for number, (what, *arguments) in enumerate((("arrive", 1, 1), *steps)):
        if what == "arrive":
            world.arrive(*arguments)
        elif what == "pass":
            world.pass_days(*arguments)
        else:
            world.lose()
        lost = lost or what == "lose" or world.day >= 3
        derive(engine, now=on_day(world.day) + timedelta(minutes=number))
        counted = {grain: total for grain, total in requests(engine, "trace").items() if grain != "1m"}
        assert all(world.most.get(grain, 0) <= total <= world.arrived for grain, total in counted.items())
        assert lost or counted == {"1h": world.arrived, "1d": world.arrived}
        world.most = counted


# What the store says.


def test_days_are_those_of_the_ttl_that_stands(engine: Engine) -> None:
    assert [kept_days(engine, table) for table in DERIVED] == [3, 30, 365]
    engine.execute("ALTER TABLE derived_edges_1m REMOVE TTL")
    assert kept_days(engine, "derived_edges_1m") == 0
    engine.execute("ALTER TABLE calls MODIFY COLUMN raw TTL toDate(received_at) + INTERVAL 2 DAY")
    try:
        assert kept_days(engine, "calls") == 0
    finally:
        engine.execute("ALTER TABLE calls MODIFY COLUMN raw REMOVE TTL")


def test_a_live_run_asks_little_more(engine: Engine) -> None:
    """Of what was derived a new minute asks for its marks; one that was derived before, for its records as well."""
    asked = Counter[str]()
    names = {load(f"dependencies/{name}").text: name for name in ("marks", "trace_records")}
    names[load("storage/materializes").text] = "other"

    class Watched:
        """An engine that tells what it is asked."""

        execute = engine.execute

        def query(self, sql: str, *arguments: Any, **named: Any) -> Any:
            asked[names.get(sql, "days" if "system.tables" in sql else "other")] += 1
            return engine.query(sql, *arguments, **named)

    def extra(number: int) -> Counter[str]:
        asked.clear()
        derive(cast("Engine", Watched()), now=on_day(0) + timedelta(minutes=number))
        return asked - Counter(other=asked["other"])

    insert_spans(engine, [to_host(0, "1")])
    assert extra(0) == {"marks": 1}
    insert_spans(engine, [to_host(60, "2")])
    assert extra(1) == {"marks": 1}
    insert_spans(engine, [to_host(61, "3")])
    assert extra(2) == {"marks": 1, "trace_records": 1}
    assert extra(3) == {}
