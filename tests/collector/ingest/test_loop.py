"""The ingest loop against a real engine: what is stored, what is counted, what a replay does."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from collector.clock import SystemClock
from collector.contract import Batch
from collector.decode.limits import Limits
from collector.errors import Poisoned
from collector.ingest.bounds import BoundsBook
from collector.ingest.counters import Counts
from collector.ingest.decoders import DecoderCache
from collector.ingest.options import IngestOptions
from collector.ingest.run import Ingest
from collector.sources.memory import MemorySource
from storage.engine import Engine, Settings
from storage.errors import EngineUnavailable, QueryFailed

START = datetime(2026, 1, 1, tzinfo=UTC)


def call(number: int, **fields: Any) -> bytes:
    line = {
        "ts": (START + timedelta(seconds=number)).isoformat(),
        "reporter": "source",
        "source_namespace": "shop",
        "source_service": "web",
        "destination_namespace": "shop",
        "destination_service": "cart",
        "method": "GET",
        "path": f"/cart/{number}",
        "status": 200,
        "duration_us": 1000,
        "request_id": f"r{number}",
    }
    return json.dumps(line | fields).encode()


def batch(values: Iterable[bytes], first: int = 0, topic_id: str = "t1", partition: int = 0) -> Batch:
    bodies = pa.array(list(values), pa.large_binary())
    offsets = pa.array(range(first, first + len(bodies)), pa.int64())
    return Batch("cluster", "calls", topic_id, partition, bodies, offsets)


def ingest(engine: Engine, *batches: Batch, format: str = "calls_json", **options: Any) -> Counts:
    replayable = bool(options.pop("replayable", False))
    loop = Ingest(
        engine,
        [MemorySource("memory", batches, format, replayable=replayable)],
        DecoderCache(Limits()),
        options=IngestOptions(**options),
        patient=False,
    )
    loop.run()
    return loop.counters.snapshot()


def rows(engine: Engine, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    return engine.query(sql, parameters).to_pylist()


def count(engine: Engine, table: str) -> int:
    return rows(engine, f"SELECT count() AS n FROM {table}")[0]["n"]


def test_rows_edges_and_counts(engine: Engine) -> None:
    counts = ingest(engine, batch(call(i) for i in range(10)), batch((call(i) for i in range(10, 15)), first=10))
    assert (counts.messages, counts.batches, counts.accepted, counts.stored) == (15, 2, 15, 15)
    assert counts.rows == {"calls": 15}
    found = rows(engine, "SELECT request_id, offset, topic, partition, edge_id FROM calls ORDER BY offset")
    assert [row["request_id"] for row in found] == [f"r{i}" for i in range(15)]
    assert [row["offset"] for row in found] == list(range(15))
    assert {row["topic"] for row in found} == {"calls"}
    announced = {row["edge_id"] for row in rows(engine, "SELECT edge_id FROM edge_keys")}
    assert {row["edge_id"] for row in found} <= announced
    assert 0 not in announced


def test_received_at_is_one_value_per_batch(engine: Engine) -> None:
    ingest(engine, batch(call(i) for i in range(5)), batch((call(i) for i in range(5, 9)), first=5))
    assert rows(engine, "SELECT uniqExact(received_at) AS n FROM calls")[0]["n"] == 2


def test_dead_letters_keep_position_bytes_and_reason(engine: Engine) -> None:
    values = [call(0), b"\xff\xfenot json", call(1) + b"\n{broken\n" + call(2)]
    counts = ingest(engine, batch(values, first=100))
    assert (counts.accepted, counts.stored, counts.dead_lettered) == (5, 3, 2)
    found = rows(
        engine,
        "SELECT source, partition, offset, record, payload, payload_bytes, reason FROM dead_letters ORDER BY offset",
    )
    assert [(row["offset"], row["record"]) for row in found] == [(101, 0), (102, 1)]
    assert found[0]["payload"] in (b"\xff\xfenot json", "\xff\xfenot json")
    assert found[0]["payload_bytes"] == 10
    assert all(row["reason"] and "\n" not in row["reason"] for row in found)
    assert {row["source"] for row in found} == {"calls"}


def test_a_long_dead_letter_is_cut_and_says_how_long_it_was(engine: Engine) -> None:
    ingest(engine, batch([call(0), b"x" * 5000]), dead_letter_bytes=300)
    found = rows(engine, "SELECT length(payload) AS kept, payload_bytes FROM dead_letters")
    assert found == [{"kept": 300, "payload_bytes": 5000}]


def test_a_replay_stores_nothing_twice(engine: Engine) -> None:
    batches = [batch([*(call(i) for i in range(6)), b"garbage"]), batch((call(i) for i in range(6, 9)), first=7)]
    assert ingest(engine, *batches, replayable=True).read_again == 0
    before = {table: count(engine, table) for table in ("calls", "dead_letters", "ingest_positions")}
    summed = rows(engine, "SELECT sum(requests) AS n FROM edges_1m")
    again = ingest(engine, *batches, replayable=True)
    assert (again.stored, again.read_again) == (9, 9)
    assert {table: count(engine, table) for table in before} == before
    assert rows(engine, "SELECT sum(requests) AS n FROM edges_1m") == summed
    assert before["calls"] == 9


def test_a_later_version_of_the_decoder_replays_with_the_token_of_the_earlier(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = batch(call(i) for i in range(4))
    ingest(engine, lines, replayable=True)
    monkeypatch.setattr("collector.ingest.run.decoder_label", lambda decoder: f"{decoder.name}/99")
    assert ingest(engine, lines, replayable=True).read_again == 4
    assert count(engine, "calls") == 4
    ingest(engine, batch((call(i) for i in range(4, 6)), first=4), replayable=True)
    assert [b.decoder for b in BoundsBook(engine).recorded("t1", 0, 0)] == ["calls_json/1", "calls_json/99"]


def test_equal_lines_are_two_calls(engine: Engine) -> None:
    ingest(engine, batch([call(1), call(1)]), replayable=True)
    assert count(engine, "calls") == 2


def test_a_recreated_topic_does_not_meet_old_tokens(engine: Engine) -> None:
    ingest(engine, batch([call(1)], topic_id="old"), replayable=True)
    ingest(engine, batch([call(1)], topic_id="new"), replayable=True)
    assert count(engine, "calls") == 2


def test_the_first_writers_bounds_win(engine: Engine) -> None:
    ingest(engine, batch(call(i) for i in range(4)), replayable=True)
    # Another writer, thought dead, had cut the same start at another end: nothing of it is stored.
    ingest(engine, batch(call(i) for i in range(6)), replayable=True)
    assert count(engine, "calls") == 4
    assert [(b.first, b.last) for b in BoundsBook(engine).recorded("t1", 0, 0)] == [(0, 3)]


def test_recorded_bounds_are_found_from_inside_a_batch(engine: Engine) -> None:
    ingest(engine, batch(call(i) for i in range(4)), batch((call(i) for i in range(4, 6)), first=4), replayable=True)
    book = BoundsBook(engine)
    assert [(b.first, b.last, b.decoder) for b in book.recorded("t1", 0, 2)] == [
        (0, 3, "calls_json/1"),
        (4, 5, "calls_json/1"),
    ]
    assert [(b.first, b.last) for b in book.recorded("t1", 0, 4)] == [(4, 5)]
    assert not book.recorded("t1", 0, 6)
    assert not book.recorded("t1", 1, 0)


def test_poison_stops_and_stores_nothing(engine: Engine) -> None:
    with pytest.raises(
        Poisoned, match="calls\\[0\\] at 0: 20 of the last 20 records are not readable as format=istio_text"
    ):
        ingest(engine, batch(call(i) for i in range(20)), format="istio_text", poison_records=20)
    assert count(engine, "calls") == count(engine, "dead_letters") == 0


def test_counts_add_up_when_ingestion_stops(engine: Engine) -> None:
    loop = Ingest(
        engine,
        [MemorySource("memory", [batch(call(i) for i in range(20))], "istio_text")],
        DecoderCache(Limits()),
        options=IngestOptions(poison_records=20),
    )
    with pytest.raises(Poisoned):
        loop.run()
    counts = loop.counters.snapshot()
    assert counts.accepted == counts.stored + counts.dead_lettered + counts.refused == 20


class Breaking:
    """A decoder with a defect: it raises on one message."""

    name = "breaking"
    version = 1

    def __init__(self) -> None:
        self._inner = DecoderCache(Limits())("calls_json")

    def decode(self, values: pa.LargeBinaryArray) -> Any:
        if b"boom" in values.to_pylist():
            raise RuntimeError("defect")
        return self._inner.decode(values)


def test_a_message_that_breaks_the_decoder_loses_no_neighbour(engine: Engine) -> None:
    said: list[str] = []
    values = [call(0), b"boom", call(1), b"garbage", b"boom", call(2)]
    loop = Ingest(
        engine, [MemorySource("memory", [batch(values, first=10)])], lambda _format: Breaking(), notice=said.append
    )
    loop.run()
    assert [row["offset"] for row in rows(engine, "SELECT offset FROM calls ORDER BY offset")] == [10, 12, 15]
    found = rows(engine, "SELECT offset, reason FROM dead_letters ORDER BY offset")
    assert [row["offset"] for row in found] == [11, 13, 14]
    assert "RuntimeError: defect" in found[0]["reason"]
    assert any("2 messages broke the decoder" in line for line in said)


class Flaky:
    """An engine that is away for the first `failures` inserts into a table."""

    def __init__(self, engine: Engine, table: str, failures: int, error: Exception) -> None:
        self._engine = engine
        self._table = table
        self._left = failures
        self._error = error
        self.location = engine.location

    def insert(self, table: str, batch: pa.RecordBatch, *, token: str | None = None) -> None:
        self._engine.insert(table, batch, token=token)
        if table == self._table and self._left:
            # The worst moment: the rows are in, and the answer is lost.
            self._left -= 1
            raise self._error

    def query(
        self, sql: str, parameters: Any = None, *, settings: Settings | None = None, external: Any = None
    ) -> pa.Table:
        return self._engine.query(sql, parameters, settings=settings, external=external)

    def execute(self, sql: str, parameters: Any = None, *, settings: Settings | None = None) -> None:
        self._engine.execute(sql, parameters, settings=settings)

    def close(self) -> None:
        self._engine.close()


def test_an_engine_that_goes_away_costs_nothing(engine: Engine) -> None:
    said: list[str] = []
    flaky = Flaky(engine, "calls", 2, EngineUnavailable("store: away"))
    loop = Ingest(
        flaky,
        [MemorySource("memory", [batch(call(i) for i in range(5))], "calls_json")],
        DecoderCache(Limits()),
        notice=said.append,
    )
    loop.run()
    assert count(engine, "calls") == 5
    assert rows(engine, "SELECT sum(requests) AS n FROM edges_1m") == [{"n": 5}]
    assert said == ["store: away; waiting for it, nothing is lost", "the engine is back"]


def test_patience_ends(engine: Engine) -> None:
    flaky = Flaky(engine, "calls", 1_000_000, EngineUnavailable("store: away"))
    with pytest.raises(EngineUnavailable):
        ingest(flaky, batch([call(0)]), engine_patience_s=0.3)


def test_what_no_retry_mends_stops_at_once(engine: Engine) -> None:
    flaky = Flaky(engine, "calls", 1, QueryFailed("no", 1))
    with pytest.raises(QueryFailed):
        ingest(flaky, batch([call(0)]))


@pytest.mark.parametrize(("patient", "expected"), [(False, [True]), (True, [False, True])])
def test_what_an_earlier_run_stored_is_followed_up(engine: Engine, patient: bool, expected: list[bool]) -> None:
    # Nothing comes in this run: the one before may have been killed between its last insert and its derivation.
    calls: list[bool] = []
    Ingest(
        engine,
        [MemorySource("memory", [], "calls_json")],
        DecoderCache(Limits()),
        patient=patient,
        after=lambda _engine, final, _go_on: calls.append(final),
    ).run()
    assert calls == expected


class Timed(SystemClock):
    """A clock whose seconds are set by hand."""

    at_s = 0.0

    def monotonic(self) -> float:
        return self.at_s


def test_the_minute_of_the_last_batch_is_followed_up_when_it_is_over(engine: Engine) -> None:
    clock = Timed()
    source = MemorySource("memory", [batch([call(0)])], "calls_json")
    loop = Ingest(engine, [source], DecoderCache(Limits()), clock=clock)
    loop.run()

    def follows(at_s: float) -> bool:
        clock.at_s = at_s
        return loop._has_something_to_follow()  # pyright: ignore[reportPrivateUsage]

    # News at 100 s: once for it, and until one began when its minute was over and had settled.
    assert [follows(at_s) for at_s in (100, 160, 189, 200, 260, 320)] == [True, True, True, True, False, False]


@pytest.mark.parametrize("patient", [True, False])
def test_an_engine_that_is_away_when_edges_are_derived_ends_no_live_ingester(engine: Engine, patient: bool) -> None:
    def after(_engine: Engine, _final: bool, _go_on: Callable[[], bool]) -> None:
        raise EngineUnavailable("store: away")

    said: list[str] = []
    source = MemorySource("memory", [batch([call(0)])], "calls_json")
    loop = Ingest(engine, [source], DecoderCache(Limits()), patient=patient, after=after, notice=said.append)
    with nullcontext() if patient else pytest.raises(EngineUnavailable):
        loop.run()
    assert count(engine, "calls") == 1
    assert said == (["store: away; what follows from the stored records comes later"] * 2 if patient else [])


class Heard:
    """Measures, kept."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, float, int]] = []

    def decoded(self, format: str, seconds: float, size_bytes: int) -> None:
        self.batches.append((format, seconds, size_bytes))

    def lag(self, topic: str, partition: int, messages: int) -> None:
        raise AssertionError("not from memory")


def test_decoding_is_measured(engine: Engine) -> None:
    heard, values = Heard(), [call(0), call(1)]
    source = MemorySource("memory", [batch(values)], "calls_json")
    Ingest(engine, [source], DecoderCache(Limits()), measures=heard).run()
    ((format, seconds, size_bytes),) = heard.batches
    assert (format, seconds > 0) == ("calls_json", True)
    assert size_bytes >= sum(map(len, values))


def test_no_thread_stays_behind(engine: Engine) -> None:
    before = {thread.name for thread in threading.enumerate()}
    ingest(engine, batch([call(0)]))
    assert {thread.name for thread in threading.enumerate() if thread.name.startswith("eastwatch-")} <= before


def test_several_sources_at_once(engine: Engine) -> None:
    sources = [
        MemorySource(f"m{n}", [batch((call(i) for i in range(50)), partition=n)], "calls_json", replayable=True)
        for n in range(4)
    ]
    loop = Ingest(engine, sources, DecoderCache(Limits()))
    loop.run()
    assert count(engine, "calls") == 200
    assert rows(engine, "SELECT uniqExact(partition) AS n FROM calls")[0]["n"] == 4
