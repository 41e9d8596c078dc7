"""The disk budget drops the oldest days of raw telemetry, no more than it must, and never the latest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.conform import conform
from storage.disk_budget import RAW, Holding, enforce, holdings, plan
from storage.engine import Engine
from storage.errors import EngineUnavailable
from storage.tables import CALLS, DEAD_LETTERS, SPANS

TODAY = date(2026, 11, 23)
Sizes = Mapping[tuple[str, int | None], int]


def day(back: int) -> date:
    return TODAY - timedelta(days=back)


def held(sizes: Sizes) -> list[Holding]:
    """(table, days back) -> bytes."""
    return [Holding(table, None if back is None else day(back), 1, size) for (table, back), size in sizes.items()]


SIZES: Sizes = {("calls", 2): 100, ("spans", 2): 50, ("calls", 1): 100, ("calls", 0): 100, ("edges_1m", 3): 40}


def test_whole_days_go_the_oldest_first_until_it_fits() -> None:
    for budget, backs in ((400, []), (390, []), (389, [2]), (240, [2]), (239, [2, 1]), (140, [2, 1])):
        sweep = plan(held(SIZES), budget, TODAY)
        assert {one.day for one in sweep.dropped} == set(map(day, backs)), budget
        assert sweep.over_bytes == 0
        assert sweep.held_bytes + sum(one.disk_bytes for one in sweep.dropped) == 390


def test_the_latest_day_and_rollups_stay_and_that_is_said() -> None:
    sweep = plan(held(SIZES), 1, TODAY)
    assert {(one.table, one.day) for one in sweep.dropped} == {("calls", day(2)), ("spans", day(2)), ("calls", day(1))}
    assert (sweep.held_bytes, sweep.over_bytes) == (140, 139)
    # What an ingester with a slow clock writes to stays, although today it is yesterday.
    assert plan(held({("calls", 1): 10}), 1, TODAY).dropped == []
    # A clock that is ahead makes no day old: nothing from today on goes.
    assert plan(held({("calls", 0): 10, ("calls", -1): 10}), 1, TODAY).dropped == []


def test_without_a_budget_nothing_goes() -> None:
    sweep = plan(held(SIZES), 0, TODAY)
    assert (sweep.dropped, sweep.held_bytes, sweep.over_bytes) == ([], 390, 0)


HELD = st.lists(
    st.builds(
        Holding,
        st.sampled_from([*RAW, "edges_1m"]),
        st.none() | st.integers(-2, 9).map(day),
        st.just(1),
        st.integers(1, 9),
    ),
    max_size=12,
)


@given(HELD, st.integers(0, 60))
def test_no_day_goes_in_vain_and_none_before_an_older_one(found: Sequence[Holding], budget: int) -> None:
    sweep = plan(found, budget, TODAY)
    gone = sorted({one.day for one in sweep.dropped if one.day})
    days = sorted({one.day for one in found if one.table in RAW and one.day})
    assert gone == days[: len(gone)]
    assert all(one in sweep.dropped for one in found if one.table in RAW and one.day in gone)
    if gone:
        # Without the last day that went it would not have fitted.
        last = sum(one.disk_bytes for one in sweep.dropped if one.day == gone[-1])
        assert sweep.held_bytes + last > budget
        assert gone[-1] < TODAY
        assert gone[-1] != days[-1]
    if sweep.over_bytes:
        assert not [one for one in days[len(gone) : -1] if one < TODAY]


def at(back: int) -> datetime:
    return datetime(TODAY.year, TODAY.month, TODAY.day, 12, tzinfo=UTC) - timedelta(days=back)


def store(engine: Engine, back: int, rows: int = 1000, token: str | None = None) -> None:
    """Calls, spans and a dead letter that arrived so many days ago; calls of one edge."""
    ts = pa.array([at(back)] * rows, pa.timestamp("us", "UTC"))
    calls = pa.record_batch(
        {"ts": ts, "edge_id": pa.array([7] * rows, pa.uint64()), "base_edge_id": pa.array([7] * rows)}
    )
    engine.insert("calls", conform(CALLS, calls, received_at=at(back), log_type="request"), token=token)
    engine.insert("spans", conform(SPANS, pa.record_batch({"ts": ts}), received_at=at(back)))
    letter = pa.record_batch({"payload": pa.array([b"x"])})
    engine.insert("dead_letters", conform(DEAD_LETTERS, letter, received_at=at(back)))


def days_of(engine: Engine, table: str) -> list[date]:
    return engine.query(f"SELECT DISTINCT toDate(received_at) AS day FROM {table} ORDER BY day")["day"].to_pylist()


def total(engine: Engine) -> int:
    return sum(one.disk_bytes for one in holdings(engine))


def test_days_are_dropped_from_a_store(engine: Engine) -> None:
    for back in (0, 1, 2, 3):
        store(engine, back)
    before = total(engine)
    size = {
        back: sum(one.disk_bytes for one in holdings(engine) if one.table in RAW and one.day == day(back))
        for back in range(4)
    }
    assert all(size.values())
    rehearsed = enforce(engine, before - size[3] - 1, TODAY, dry_run=True)
    assert {one.day for one in rehearsed.dropped} == {day(3), day(2)}
    assert days_of(engine, "calls") == [day(3), day(2), day(1), day(0)]
    sweep = enforce(engine, before - size[3] - 1, TODAY)
    assert sweep.dropped == rehearsed.dropped
    for table in ("calls", "spans", "dead_letters"):
        assert days_of(engine, table) == [day(1), day(0)]
        assert {one.rows for one in sweep.dropped if one.table == table} == {1 if table == "dead_letters" else 1000}
    assert total(engine) <= before - size[3] - 1
    # The rollup of the days that went stays, and a second run finds nothing to do.
    assert engine.query("SELECT sum(requests) AS n FROM edges_1m")["n"].to_pylist() == [4000]
    assert not enforce(engine, before - size[3] - 1, TODAY).dropped
    assert enforce(engine, 1, TODAY).over_bytes == total(engine) - 1
    assert days_of(engine, "calls") == [day(0)]


def test_a_day_that_goes_in_part_is_told_for_that_part(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for back in (2, 1, 0):
        store(engine, back)
    told: list[Holding] = []
    execute = engine.execute

    def failing(sql: str, *arguments: Any, **more: Any) -> None:
        if "`spans` DROP PARTITION" in sql:
            raise EngineUnavailable("gone in between")
        execute(sql, *arguments, **more)

    monkeypatch.setattr(engine, "execute", failing)
    with pytest.raises(EngineUnavailable):
        enforce(engine, 1, TODAY, dropped=told.extend)
    gone = {(one.table, one.day) for one in told}
    assert ("calls", day(2)) in gone and not gone & {("spans", day(2)), ("calls", day(1))}
    assert days_of(engine, "calls") == [day(1), day(0)] and days_of(engine, "spans") == [day(2), day(1), day(0)]


def test_a_batch_that_is_replayed_after_its_day_went_is_counted_once(engine: Engine) -> None:
    store(engine, 0)
    store(engine, 3, token="a")
    count = "SELECT count() AS n FROM calls"
    assert {one.day for one in enforce(engine, 1, TODAY).dropped} == {day(3)}
    for _ in range(2):
        store(engine, 3, token="a")
    # Its lines are back, once, until the next run; the rollups kept what they had.
    assert engine.query(count)["n"].to_pylist() == [2000]
    assert engine.query("SELECT sum(requests) AS n FROM edges_1m")["n"].to_pylist() == [2000]
    enforce(engine, 1, TODAY)
    assert engine.query(count)["n"].to_pylist() == [1000]
