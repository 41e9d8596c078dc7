"""What goes wrong around an ingester: engine, disk, clock, other writers. Every record still counts once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from collector.clock import SystemClock
from collector.contract import Batch
from collector.decode.limits import Limits
from collector.ingest.bounds import BoundsBook
from collector.ingest.decoders import DecoderCache
from collector.ingest.options import BATCHES_AT_ONCE, MEMORY_FACTOR, IngestOptions
from collector.ingest.run import ABANDON_S, KEEP_ALIVE_S, PREPARED_AHEAD, Ingest
from collector.sources.files import FileSource
from collector.sources.memory import MemorySource
from collector.sources.options import KafkaOptions
from collector.sources.source import Cut
from collector.sources.urls import FileUrl, parse_source
from storage.connect import open_store
from storage.engine import Engine, Settings
from storage.errors import EngineUnavailable, QueryFailed
from storage.location import ServerLocation, parse
from storage.migrate import migrate
from storage.server import ServerEngine
from tests.collector.ingest.kafka_reader import exact
from tests.collector.ingest.test_loop import batch, call
from tests.support.native_server import NativeServer, start_native_server
from tests.support.poll import poll
from tests.support.tcp_proxy import TcpProxy

ROOT = Path(__file__).parents[3]
SIZE = 40
"""Records of a batch; one of them is undecodable."""


def batches(count: int, first: int = 0) -> list[Batch]:
    """`count` batches in a row from batch `first` on."""
    return [
        batch(
            [*(call(n) for n in range(start, start + SIZE - 1)), b"torn %d" % start],
            first=start,
        )
        for start in range(first * SIZE, (first + count) * SIZE, SIZE)
    ]


def once(count: int) -> dict[str, int]:
    """What a store holds of `batches(count)`."""
    calls = count * (SIZE - 1)
    return {"calls": calls, "different": calls, "requests": calls, "dead": count}


def rollups(engine: Engine) -> dict[str, int]:
    """Requests that each rollup counts."""
    tables = ("edges_1h", "edges_1d", "base_edges_1m", "base_edges_10m", "base_edges_1h", "base_edges_6h")
    return {
        table: engine.query(f"SELECT sum(requests) AS n FROM {table}").to_pylist()[0]["n"]
        for table in (*tables, "edge_ledger")
    }


def each_once(count: int) -> dict[str, int]:
    """What `rollups` finds of `batches(count)`."""
    tables = ("edges_1h", "edges_1d", "base_edges_1m", "base_edges_10m", "base_edges_1h", "base_edges_6h")
    return dict.fromkeys((*tables, "edge_ledger"), count * (SIZE - 1))


def loop(engine: Engine, found: list[Batch], **more: Any) -> Ingest:
    """A replayable run over `found`."""
    source = MemorySource("memory", found, "calls_json", replayable=True)
    options = IngestOptions(**more.pop("options", {}))
    return Ingest(engine, [source], DecoderCache(Limits()), options=options, **more)


@contextmanager
def background(running: Ingest) -> Generator[list[Exception]]:
    """`running` in a thread, stopped at the end; what it raised."""
    errors: list[Exception] = []

    def run() -> None:
        try:
            running.run()
        except Exception as error:  # noqa: BLE001 - handed to the test
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield errors
        thread.join(60)
    finally:
        running.stop()
        thread.join(60)
        assert not thread.is_alive()


class Watched:
    """An engine at whose inserts a test looks on: `on_insert(table)` is called before each, `after(table)` after it."""

    def __init__(
        self,
        engine: Engine,
        on_insert: Callable[[str], None] = lambda _table: None,
        after: Callable[[str], None] = lambda _table: None,
    ) -> None:
        self._engine = engine
        self._on_insert = on_insert
        self._after = after
        self.location = engine.location

    def insert(self, table: str, batch: pa.RecordBatch, *, token: str | None = None) -> None:
        self._on_insert(table)
        self._engine.insert(table, batch, token=token)
        self._after(table)

    def query(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        settings: Settings | None = None,
        external: Mapping[str, pa.Table] | None = None,
    ) -> pa.Table:
        return self._engine.query(sql, parameters, settings=settings, external=external)

    def execute(
        self, sql: str, parameters: Mapping[str, Any] | None = None, *, settings: Settings | None = None
    ) -> None:
        self._engine.execute(sql, parameters, settings=settings)

    def close(self) -> None:
        self._engine.close()


# The engine, over the wire.


class Wire:
    """A migrated store of a server: `engine` goes through `proxy` and is impatient, `direct` goes past it."""

    def __init__(self, native: NativeServer) -> None:
        self.direct = open_store(native.url("faults"))
        migrate(self.direct)
        self.proxy = TcpProxy(native.port)
        self.url = native.url("faults").replace(f":{native.port}/", f":{self.proxy.port}/") + "?timeout_s=1"
        place = parse(self.url)
        assert isinstance(place, ServerLocation)
        self.engine = ServerEngine(place, retry_s=0.2)
        self.stored = 0
        """Batches that earlier tests left."""

    def close(self) -> None:
        self.engine.close()
        self.proxy.close()
        self.direct.close()


@pytest.fixture(scope="module")
def wire() -> Generator[Wire]:
    with start_native_server() as native:
        made = Wire(native)
        try:
            yield made
        finally:
            made.close()


def cut(proxy: TcpProxy) -> None:
    proxy.cut()


def cut_inside(proxy: TcpProxy) -> None:
    proxy.cut_after(3000)


def refuse(proxy: TcpProxy) -> None:
    proxy.refuse()
    threading.Timer(0.7, proxy.resume).start()


def stall(proxy: TcpProxy) -> None:
    proxy.stall()  # for longer than the engine waits for an answer
    threading.Timer(1.5, proxy.resume).start()


def slow(proxy: TcpProxy) -> None:
    proxy.delay_s = 0.05


@pytest.mark.parametrize(
    ("fault", "table"),
    [
        (cut, "calls"),
        (cut_inside, "calls"),
        (refuse, "ingest_positions"),
        (stall, "calls"),
        (stall, "ingest_positions"),
        (slow, "dead_letters"),
    ],
)
def test_the_way_to_the_engine_breaks(wire: Wire, fault: Callable[[TcpProxy], None], table: str) -> None:
    begun: list[str] = []

    def on_insert(into: str) -> None:
        if into == table and not begun:
            begun.append(into)
            fault(wire.proxy)

    said: list[str] = []
    running = loop(Watched(wire.engine, on_insert), batches(3, wire.stored), notice=said.append)
    with background(running) as errors:
        pass
    wire.proxy.resume()
    wire.stored += 3
    counts = running.counters.snapshot()
    assert not errors
    assert begun
    assert counts.accepted == counts.stored + counts.dead_lettered == 3 * SIZE
    assert exact(wire.direct) == once(wire.stored)
    assert rollups(wire.direct) == each_once(wire.stored)


@pytest.mark.parametrize("delay_s", [0.0, 0.02])
def test_the_engine_is_killed_during_an_insert(tmp_path: Path, delay_s: float) -> None:
    """And comes back with its data, as its supervisor would have it."""
    with ExitStack() as stack:
        native = stack.enter_context(start_native_server(path=str(tmp_path / "data")))
        wire = Wire(native)
        stack.callback(wire.close)
        killed = threading.Event()

        def kill() -> None:
            os.kill(native.pid, signal.SIGKILL)
            killed.set()

        def on_insert(table: str) -> None:
            if table == "calls" and not killed.is_set():
                timer = threading.Timer(delay_s, kill)
                timer.start()
                stack.callback(timer.join)

        running = loop(Watched(wire.engine, on_insert), batches(3))
        with background(running) as errors:
            assert killed.wait(60)
            again = stack.enter_context(start_native_server(path=str(tmp_path / "data")))
            wire.proxy.upstream = again.port
        assert not errors
        direct = open_store(again.url("faults"))
        stack.callback(direct.close)
        assert exact(direct) == once(3)
        assert rollups(direct) == each_once(3)


class Absent(Watched):
    """An engine that is away for a while: of each kind of statement the first `times` fail."""

    def __init__(self, engine: Engine, times: int) -> None:
        super().__init__(engine)
        self._times = times
        self._failed: Counter[str] = Counter()

    def _fail(self, what: str) -> None:
        self._failed[what] += 1
        if self._failed[what] <= self._times:
            raise EngineUnavailable("store: away")

    def insert(self, table: str, batch: pa.RecordBatch, *, token: str | None = None) -> None:
        self._fail(f"{table} {token is None}")
        super().insert(table, batch, token=token)

    def query(self, sql: str, *arguments: Any, **more: Any) -> pa.Table:
        self._fail(sql)
        return super().query(sql, *arguments, **more)


@pytest.mark.parametrize("patient", [True, False])
def test_every_statement_waits_for_an_engine_that_is_away(engine: Engine, tmp_path: Path, patient: bool) -> None:
    """Those of a source too: which bounds were recorded, how far a file was stored, and that it is."""
    lines = tmp_path / "access.log"
    lines.write_bytes(b"\n".join(call(n) for n in range(SIZE - 1)) + b"\ntorn\n")
    absent, options, clock = Absent(engine, 1), IngestOptions(engine_patience_s=30), SystemClock()
    url = parse_source(f"file:{lines}?format=calls_json")
    assert isinstance(url, FileUrl)
    for _ in range(2):
        bounds = BoundsBook(absent)
        source = FileSource(url, bounds, clock, batch_bytes=1 << 20)
        Ingest(
            absent, [source], DecoderCache(Limits()), options=options, bounds=bounds, clock=clock, patient=patient
        ).run()
    assert exact(engine) == once(1)


# Its disk.


@pytest.mark.parametrize("table", ["calls", "base_edges_6h", "ingest_positions"])
def test_a_full_disk_is_waited_for(engine: Engine, table: str) -> None:
    """The engine's own refusal, in a raw table or in the middle of its chain of views."""
    said: list[str] = []
    engine.execute(f"ALTER TABLE {table} MODIFY SETTING min_free_disk_bytes_to_perform_insert = {1 << 60}")
    running = loop(engine, batches(2), notice=said.append)
    try:
        with background(running) as errors:
            poll(lambda: said, "a word about it", 30)
            engine.execute(f"ALTER TABLE {table} RESET SETTING min_free_disk_bytes_to_perform_insert")
    finally:
        engine.execute(f"ALTER TABLE {table} RESET SETTING min_free_disk_bytes_to_perform_insert")
    assert not errors
    assert said[0].endswith("no space left on the disk; waiting for it, nothing is lost")
    assert said[-1] == "the engine is back"
    assert exact(engine) == once(2)
    assert rollups(engine) == each_once(2)


# Other writers.


def test_a_partition_is_taken_away_during_an_insert(engine: Engine) -> None:
    """Its new owner follows the recorded bounds and stores the batch, while the first owner's insert hangs."""
    reached, go_on = threading.Event(), threading.Event()

    def on_insert(table: str) -> None:
        if table == "calls":
            reached.set()
            assert go_on.wait(60)

    source = MemorySource("first owner", batches(3), "calls_json", replayable=True)
    first = Ingest(Watched(engine, on_insert), [source], DecoderCache(Limits()))
    with background(first) as errors:
        try:
            assert reached.wait(60)
            second = loop(engine, batches(3))
            second.run()
            source._lease.revoke()
        finally:
            go_on.set()
    assert not errors
    assert exact(engine) == once(3)
    assert rollups(engine) == each_once(3)
    counts = first.counters.snapshot()
    assert counts.refused > 0
    assert counts.accepted == counts.stored + counts.dead_lettered + counts.refused
    assert len(BoundsBook(engine).recorded("t1", 0, 0)) == 3


def test_a_token_of_bounds_without_its_row(engine: Engine) -> None:
    """Retention took the row, or a server's kill: bounds are recorded anew, and the rows are known by their tokens."""
    loop(engine, batches(1)).run()
    engine.execute("ALTER TABLE ingest_positions DELETE WHERE 1", settings={"mutations_sync": 2})
    assert not BoundsBook(engine).recorded("t1", 0, 0)
    loop(engine, batches(2)).run()
    assert [(one.first, one.last) for one in BoundsBook(engine).recorded("t1", 0, 0)] == [(0, 39), (40, 79)]
    assert exact(engine) == once(2)
    assert rollups(engine) == each_once(2)


# The clock.


class Jumping(SystemClock):
    """A clock that somebody sets."""

    def __init__(self) -> None:
        self.at = datetime(2026, 5, 1, 0, 0, 30, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at


@pytest.mark.parametrize("jump", [timedelta(days=-3), timedelta(days=40), timedelta(seconds=-60)])
def test_the_clock_jumps_between_crash_and_replay(engine: Engine, jump: timedelta) -> None:
    clock = Jumping()

    def crash(table: str) -> None:
        if table == "calls":
            raise QueryFailed("the process dies here, its calls are in and its dead letters are not")

    with pytest.raises(QueryFailed):
        loop(Watched(engine, after=crash), batches(1), clock=clock).run()
    clock.at += jump
    running = loop(engine, batches(3), clock=clock)
    running.run()
    assert exact(engine) == once(3)
    assert rollups(engine) == each_once(3)
    counts = running.counters.snapshot()
    assert counts.read_again == SIZE - 1  # the first batch's, wherever the clock stands


def test_the_clock_jumps_while_batches_come_in(engine: Engine) -> None:
    clock = Jumping()

    def jump(table: str) -> None:
        if table == "calls":
            clock.at += timedelta(days=-2) if clock.at.day % 2 else timedelta(days=3)

    loop(Watched(engine, jump), batches(6), clock=clock).run()
    again = loop(engine, batches(6), clock=clock)
    again.run()
    assert exact(engine) == once(6)
    assert rollups(engine) == each_once(6)


# Memory, and counters that add up.


class Endless(MemorySource):
    """Always has another batch, and notes how it is polled."""

    def __init__(self, found: list[Batch]) -> None:
        super().__init__("endless", found, "calls_json", replayable=True)
        self.paused = 0
        self.handed_out = 0

    def poll(self, timeout_s: float, *, room: bool) -> list[Cut]:
        self.paused += not room
        cuts = super().poll(min(timeout_s, 0.05), room=room)
        self.handed_out += sum(cut.size_bytes for cut in cuts)
        return cuts


@pytest.mark.parametrize("records", [10, 3000], ids=["many small batches", "large ones"])
def test_an_engine_that_hangs_pauses_reading(engine: Engine, records: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is memory taken without an end, nor is the source left alone: a consumer that does not poll is lost."""
    monkeypatch.setattr("collector.ingest.run.KEEP_ALIVE_S", 0.05)
    go_on = threading.Event()
    body = "x" * 2000
    found = [
        batch([call(n, user_agent=body) for n in range(start, start + records)], first=start)
        for start in range(0, 20 * records, records)
    ]
    source = Endless(found)
    options = IngestOptions(memory_bytes=64 << 20)
    hanging = Watched(engine, lambda _table: waited(go_on))
    running = Ingest(hanging, [source], DecoderCache(Limits()), options=options)
    with background(running) as errors:
        try:
            poll(lambda: source.paused >= 3, "a reader that goes on polling", 30)
            handed_out = source.handed_out
            assert handed_out * MEMORY_FACTOR < options.memory_bytes + MEMORY_FACTOR * found[0].values.nbytes
            assert handed_out < sum(one.values.nbytes for one in found)
        finally:
            go_on.set()
    assert not errors
    assert running.counters.snapshot().stored == 20 * records


@pytest.mark.parametrize("memory_mb", [64, 300, 1024, 8192])
def test_batches_and_fetches_have_room_in_the_memory(memory_mb: int) -> None:
    options, kafka = IngestOptions(memory_bytes=memory_mb << 20).within_memory(), KafkaOptions()
    assert BATCHES_AT_ONCE * MEMORY_FACTOR * options.batch_bytes <= options.flight_bytes
    fetches = kafka.at_most(options.fetch_bytes)
    assert options.flight_bytes + options.memory_bytes // 8 + 2 * fetches.fetch_bytes <= options.memory_bytes
    assert fetches.partition_fetch_bytes <= fetches.fetch_bytes
    plenty = memory_mb > 4096
    assert (options == IngestOptions(memory_bytes=memory_mb << 20), fetches == kafka) == (plenty, plenty)
    assert IngestOptions().shared_by(4).memory_bytes == 256 << 20


class AllAtOnce(Endless):
    """One poll hands out everything."""

    def poll(self, timeout_s: float, *, room: bool) -> list[Cut]:
        found: list[Cut] = []
        while cuts := super().poll(0, room=room):
            found += cuts
        return found


def test_what_one_poll_hands_out_waits_for_room(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it is more than the memory allows for; a batch that is larger than that goes alone."""
    monkeypatch.setattr("collector.ingest.run.KEEP_ALIVE_S", 0.02)
    body, peak = "x" * 50_000, 0
    sizes = [40, 80, 120, 240, 40, 80, 40, 120]
    found = [
        batch([call(n, user_agent=body) for n in range(start, start + size)], first=start)
        for start, size in zip(accumulate([0, *sizes]), sizes, strict=False)
    ]
    source, options = AllAtOnce(found), IngestOptions(memory_bytes=64 << 20)
    largest = max(one.values.nbytes for one in found) * MEMORY_FACTOR
    assert options.flight_bytes < largest

    def look(_table: str) -> None:
        nonlocal peak
        assert running.in_flight_bytes in range(1, options.flight_bytes + 1) or running.in_flight_bytes == largest
        peak = max(peak, running.in_flight_bytes)

    running = Ingest(Watched(engine, look, look), [source], DecoderCache(Limits()), options=options)
    running.run()
    assert peak == largest
    assert running.counters.snapshot().stored == sum(sizes)
    assert source.handed_out == sum(one.values.nbytes for one in found)


def waited(event: threading.Event) -> None:
    assert event.wait(60)


@pytest.mark.parametrize("which", range(1, 10, 2))
def test_counters_add_up_wherever_the_engine_refuses(engine: Engine, which: int) -> None:
    """Accepted is stored, dead-lettered or refused, whatever was on its way when ingestion ended."""
    inserts = 0

    def refuse_one(_table: str) -> None:
        nonlocal inserts
        inserts += 1
        if inserts == which:
            raise QueryFailed("refused")

    running = loop(Watched(engine, refuse_one), batches(8))
    with background(running) as errors:
        pass
    counts = running.counters.snapshot()
    assert [str(error) for error in errors] == ["refused"]
    assert counts.accepted == counts.stored + counts.dead_lettered + counts.refused
    # What was refused comes again, and once.
    loop(engine, batches(8)).run()
    assert exact(engine) == once(8)
    assert rollups(engine) == each_once(8)


# The end.


def test_stopping_while_the_engine_is_away_from_the_start(engine: Engine) -> None:
    said: list[str] = []

    class Away(Watched):
        def insert(self, table: str, batch: pa.RecordBatch, *, token: str | None = None) -> None:
            raise EngineUnavailable("store: away")

        def query(self, sql: str, *arguments: Any, **more: Any) -> pa.Table:
            raise EngineUnavailable("store: away")

    running = loop(Away(engine), batches(1), notice=said.append)
    with background(running) as errors:
        poll(lambda: said, "a word about it", 30)
        running.stop()
    assert not errors


def test_what_follows_from_the_rows_ends_with_the_drain(engine: Engine) -> None:
    """The derivation may have hours to do: a run in between ends at once, the last one when `drain_s` is over."""
    ended: list[tuple[bool, float]] = []
    begun = threading.Event()

    def after(_engine: Engine, final: bool, go_on: Callable[[], bool]) -> None:
        begun.set()
        poll(lambda: not go_on(), "the end of its time", 30, every_s=0.01)
        ended.append((final, time.monotonic()))

    running = loop(engine, batches(1), after=after, options={"drain_s": 1})
    with background(running) as errors:
        assert begun.wait(60)
        asked = time.monotonic()
        running.stop()
    assert not errors
    assert [final for final, _ in ended] == [False, True]
    assert ended[0][1] - asked < 0.5
    assert 0.9 < ended[1][1] - asked < 1.5


def test_what_hangs_after_the_rows_is_left_behind(engine: Engine) -> None:
    hung, go = threading.Event(), threading.Event()

    def after(_engine: Engine, final: bool, _go_on: Callable[[], bool]) -> None:
        if not final:
            hung.set()
            go.wait(60)

    running = loop(engine, batches(1), after=after, options={"drain_s": 0.5})
    try:
        with background(running) as errors:
            assert hung.wait(60)
            asked = time.monotonic()
            running.stop()
        assert not errors
        assert time.monotonic() - asked < 0.5 + ABANDON_S + 1
    finally:
        go.set()
    poll(lambda: not any(one.name == "eastwatch-follow-up" for one in threading.enumerate()), "its end")


def test_what_follows_at_the_end_of_the_input_has_all_the_time(engine: Engine) -> None:
    told: list[bool] = []

    def after(_engine: Engine, final: bool, go_on: Callable[[], bool]) -> None:
        assert final
        told.append(go_on())
        running.stop()  # somebody waits no longer
        told.append(go_on())

    running = loop(engine, batches(1), after=after, patient=False, options={"drain_s": 0})
    running.run()
    assert told == [True, False]
    assert exact(engine) == once(1)


@pytest.mark.parametrize(("table", "links"), [("ingest_positions", 1), ("calls", 2)])
def test_an_engine_that_hangs_with_everything_full_is_left_behind(engine: Engine, table: str, links: int) -> None:
    """Small batches: `links` links of the chain have one in their hands, and are full of others."""
    hung, go, said = threading.Event(), threading.Event(), list[str]()

    def hang(into: str) -> None:
        if into == table:
            hung.set()
            waited(go)

    running = loop(Watched(engine, hang), batches(12), notice=said.append, options={"drain_s": 0.5})
    try:
        with background(running) as errors:
            assert hung.wait(60)
            read = (links * (1 + PREPARED_AHEAD) + 1) * SIZE  # and the reader has one
            poll(lambda: running.counters.snapshot().messages == read, "all places taken", 30)
            asked = time.monotonic()
            running.stop()
        took = time.monotonic() - asked
        assert not errors
        assert said == ["the engine did not take what was on its way within 0.5 s"]
        # One round of the reader's wait for room, and what hangs gets its time in either link.
        assert took < 0.5 + 2 * KEEP_ALIVE_S + 2 * ABANDON_S + 1
    finally:
        go.set()
    ours = ("eastwatch-store", "eastwatch-prepare")
    poll(lambda: not any(one.name in ours for one in threading.enumerate()), "the end of what was left behind", 30)
    counts = running.counters.snapshot()
    assert counts.accepted == counts.stored + counts.dead_lettered + counts.refused
    assert running.in_flight_bytes == 0
    # What was not stored comes again, and once.
    loop(engine, batches(12)).run()
    assert exact(engine) == once(12)
    assert rollups(engine) == each_once(12)


def test_sigterm_ends_an_ingester_whose_engine_hangs(wire: Wire, tmp_path: Path) -> None:
    """Within `drain_s` and a margin, whatever the engine does; what it did not store comes again."""
    lines, total = tmp_path / "access.log", 20_000
    lines.write_bytes(b"\n".join(call(n) for n in range(total)) + b"\n")
    wire.direct.execute("CREATE DATABASE IF NOT EXISTS hangs")
    url = wire.url.replace("/faults?timeout_s=1", "/hangs?timeout_s=120")
    # Batches of some ten lines: while some are stored, others are on their way.
    settings = {"EASTWATCH_INGEST__DRAIN_S": "1", "EASTWATCH_INGEST__BATCH_BYTES": "4096", "EASTWATCH_STORE": url}
    command = [sys.executable, "-c", "from eastwatch.cli import main; main()", "ingest"]
    command.append(f"file:{lines}?format=calls_json&follow=1")
    process = subprocess.Popen(
        command, env={**os.environ, **settings}, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )

    def stored() -> int:
        there = "SELECT count() AS n FROM system.tables WHERE database = 'hangs' AND name = 'calls'"
        if not wire.direct.query(there).to_pylist()[0]["n"]:
            return 0
        return wire.direct.query("SELECT count() AS n FROM hangs.calls").to_pylist()[0]["n"]

    try:
        poll(stored, "its first rows", 60)
        wire.proxy.stall()
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=40)[1]
        assert time.monotonic() - began < 1 + 15 + 5
        assert "eastwatch: the engine did not take what was on its way within 1 s\n" in said
        assert process.returncode == 0
        assert 0 < stored() < total
    finally:
        wire.proxy.resume()
        process.kill()
        process.communicate()
