"""Dead letters read again, on the real engine: what decodes is stored once, whoever is killed in between."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from collector.clock import SystemClock
from collector.contract import Decoded
from collector.deadletters import dead_letters
from collector.decode.limits import DEFAULT_LIMITS
from collector.ingest.decoders import DecoderCache
from collector.ingest.store import Patience
from collector.replay import Replay, Replayed
from storage.conform import conform
from storage.engine import Engine
from storage.errors import QueryFailed
from storage.tables import DEAD_LETTERS

AT = datetime.now(UTC).replace(microsecond=125) - timedelta(hours=1)


def line(request_id: str) -> bytes:
    return f'{{"ts":"2026-03-02T10:00:00Z","destination_service":"cart","request_id":"{request_id}"}}'.encode()


def keep(
    engine: Engine,
    *payloads: bytes,
    format: str = "istio_text",
    source: str = "calls",
    partition: int = 3,
    at: datetime = AT,
    whole: int | None = None,
) -> None:
    """Letters of one batch, as an ingestion leaves them; `whole` = their length before they were cut."""
    columns = {
        "offset": pa.array(range(len(payloads)), pa.int64()),
        "record": pa.array([0] * len(payloads), pa.uint32()),
        "format": [format] * len(payloads),
        "reason": ["not recognised"] * len(payloads),
        "payload": pa.array(payloads, pa.binary()),
        "payload_bytes": pa.array([whole or len(payload) for payload in payloads], pa.uint64()),
    }
    batch = conform(
        DEAD_LETTERS, pa.RecordBatch.from_pydict(columns), received_at=at, source=source, partition=partition
    )
    engine.insert(DEAD_LETTERS.name, batch)


def replayer(engine: Engine, format: str = "") -> Replay:
    clock = SystemClock()
    patience = Patience(clock, threading.Event(), lambda _message: None, 5)
    return Replay(engine, DecoderCache(DEFAULT_LIMITS), clock, patience, format=format)


def stored(engine: Engine) -> list[str]:
    return engine.query("SELECT request_id FROM calls ORDER BY request_id")["request_id"].to_pylist()


def counted(engine: Engine) -> int:
    """Requests in the rollups, which no duplicate may reach either."""
    return engine.query("SELECT sum(requests) AS n FROM edges_1h")["n"][0].as_py()


def figures(found: Replayed) -> tuple[int, int, int, int]:
    return found.replayed, found.failed, found.refused, found.resumed


def test_what_decodes_is_stored_once_and_leaves_the_list(engine: Engine) -> None:
    keep(engine, line("a"), b"nonsense", line("b"))
    found = replayer(engine, "calls_json").run()
    assert figures(found) == (2, 1, 0, 0) and found.rows == {"calls": 2}
    (stays,) = found.stayed
    assert stays.offset == 1 and "expected" in stays.reason
    assert stored(engine) == ["a", "b"] and counted(engine) == 2
    assert [letter.payload for letter in dead_letters(engine)] == [b"nonsense"]
    for again in (replayer(engine, "calls_json").run(), replayer(engine, "auto").run()):
        assert figures(again) == (0, 1, 0, 0) and not again.rows
    assert stored(engine) == ["a", "b"] and counted(engine) == 2


def test_rows_keep_the_position_of_their_record_and_arrive_now(engine: Engine) -> None:
    keep(engine, b"nonsense", line("a"))
    replayer(engine, "calls_json").run()
    (row,) = engine.query("SELECT topic, partition, offset, received_at FROM calls").to_pylist()
    assert (row["topic"], row["partition"], row["offset"]) == ("calls", 3, 1)
    assert row["received_at"] > AT + timedelta(minutes=30)


def test_the_recorded_format_counts_without_another(engine: Engine) -> None:
    keep(engine, line("a"), format="istio_text", source="as text")
    keep(engine, line("b"), format="calls_json", source="as json")
    keep(engine, line("c"), format="", source="broke its decoder")
    found = replayer(engine).run()
    assert figures(found) == (2, 1, 0, 0)
    assert stored(engine) == ["b", "c"]
    assert [letter.source for letter in dead_letters(engine)] == ["as text"]


def test_a_payload_that_was_cut_is_refused(engine: Engine) -> None:
    keep(engine, line("a"), whole=100_000)
    found = replayer(engine, "calls_json").run()
    assert figures(found) == (0, 0, 1, 0) and stored(engine) == []
    assert found.stayed[0].reason == f"cut: {len(line('a'))} of its 100000 bytes were kept, expected all of them"
    assert len(dead_letters(engine)) == 1


def test_what_is_undecodable_in_a_letter_of_several_lines_becomes_one_of_its_own(engine: Engine) -> None:
    keep(engine, b"\n".join([line("a"), b"nonsense", line("b")]))
    found = replayer(engine, "calls_json").run()
    assert (found.replayed, found.new_letters) == (1, 1)
    assert stored(engine) == ["a", "b"]
    assert [letter.payload for letter in dead_letters(engine)] == [b"nonsense"]
    assert figures(replayer(engine, "calls_json").run()) == (0, 1, 0, 0)
    assert stored(engine) == ["a", "b"]


def test_filters(engine: Engine) -> None:
    for number, source in enumerate(("one", "two", "three")):
        keep(engine, line(f"{source}1"), line(f"{source}2"), source=source, at=AT + timedelta(minutes=number))
    assert figures(replayer(engine, "calls_json").run(source="two")) == (2, 0, 0, 0)
    assert stored(engine) == ["two1", "two2"]
    assert figures(replayer(engine, "calls_json").run(until=AT + timedelta(seconds=30), limit=1)) == (1, 0, 0, 0)
    assert stored(engine) == ["one1", "two1", "two2"]
    assert figures(replayer(engine, "calls_json").run(since=AT + timedelta(seconds=30))) == (2, 0, 0, 0)
    assert figures(replayer(engine, "calls_json").run()) == (1, 0, 0, 0)
    assert counted(engine) == 6


def test_equal_letters_of_one_record_are_each_a_call(engine: Engine) -> None:
    keep(engine, line("a"))
    keep(engine, line("a"))
    assert figures(replayer(engine, "calls_json").run()) == (2, 0, 0, 0)
    assert figures(replayer(engine, "calls_json").run()) == (0, 0, 0, 0)
    assert stored(engine) == ["a", "a"]


class Fragile:
    """A decoder with a defect."""

    name, version = "calls_json", 1

    def __init__(self) -> None:
        self._real = DecoderCache(DEFAULT_LIMITS)("calls_json")

    def decode(self, values: pa.LargeBinaryArray) -> Decoded:
        if b"evil" in values.to_pylist():
            raise ZeroDivisionError("a defect")
        return self._real.decode(values)


def test_what_breaks_its_decoder_again_stays_and_its_neighbours_do_not(engine: Engine) -> None:
    keep(engine, line("a"), b"evil", b"nonsense", line("b"))
    clock, fragile = SystemClock(), Fragile()
    patience = Patience(clock, threading.Event(), lambda _message: None, 5)
    found = Replay(engine, lambda _format: fragile, clock, patience, format="calls_json").run()
    assert figures(found) == (2, 2, 0, 0) and stored(engine) == ["a", "b"]
    assert [one.offset for one in found.stayed] == [1, 2]
    assert found.stayed[0].reason == "eastwatch could not take it: ZeroDivisionError: a defect"


def test_what_stays_does_not_hide_what_follows(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.replay.LETTERS_AT_ONCE", 2)
    keep(engine, b"x1", line("a"), b"x2", b"x3", b"x4", line("b"), line("c"))
    found = replayer(engine, "calls_json").run(limit=6)
    assert figures(found) == (2, 4, 0, 0) and stored(engine) == ["a", "b"]
    assert [one.offset for one in found.stayed] == [0, 2, 3, 4]
    assert figures(replayer(engine, "calls_json").run()) == (1, 4, 0, 0) and stored(engine) == ["a", "b", "c"]
    assert counted(engine) == 3


class Dying:
    """An engine that fails at its `at`-th insert: before it happens, or after it did and before anybody heard."""

    def __init__(self, engine: Engine, at: int, *, done: bool) -> None:
        self._engine = engine
        self._left = at
        self._done = done
        self.query = engine.query

    def insert(self, table: str, batch: pa.RecordBatch, *, token: str | None = None) -> None:
        self._left -= 1
        if self._left >= 0 or self._done:
            self._engine.insert(table, batch, token=token)
        if self._left < 0:
            raise QueryFailed("killed here")


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_a_replay_that_is_killed_anywhere_is_made_up_for(engine: Engine, at: int, done: bool) -> None:
    keep(engine, line("a"), b"nonsense", line("b"))
    with pytest.raises(QueryFailed, match="killed here"):
        replayer(Dying(engine, at, done=done), "calls_json").run()  # pyright: ignore[reportArgumentType]
    # Whoever comes next may ask for another format: what was begun is ended as it was begun.
    found = replayer(engine, "calls_json" if at == 0 and not done else "istio_text").run()
    assert found.replayed + found.resumed in (0, 2)
    assert stored(engine) == ["a", "b"] and counted(engine) == 2
    assert [letter.payload for letter in dead_letters(engine)] == [b"nonsense"]
    replayer(engine, "calls_json").run()
    assert stored(engine) == ["a", "b"] and counted(engine) == 2


class Raced:
    """An engine on which another replayer does its whole work just before this one's first insert."""

    def __init__(self, engine: Engine, other: Replay) -> None:
        self._engine = engine
        self._other: Replay | None = other
        self.query = engine.query

    def insert(self, table: str, batch: pa.RecordBatch, *, token: str | None = None) -> None:
        other, self._other = self._other, None
        if other:
            other.run(limit=1)
        self._engine.insert(table, batch, token=token)


def test_of_two_that_race_each_letter_has_one(engine: Engine) -> None:
    keep(engine, line("a"), line("b"), line("c"))
    raced = Raced(engine, replayer(engine, "auto"))
    found = replayer(raced, "calls_json").run()  # pyright: ignore[reportArgumentType]
    assert found.replayed == 2
    assert stored(engine) == ["a", "b", "c"] and counted(engine) == 3
    assert dead_letters(engine) == []
