"""Health and metrics over HTTP: what is answered, to whom, and that nobody can hold it up or write into it."""

from __future__ import annotations

import http.client
import re
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing

import pyarrow as pa
import pytest
from prometheus_client.parser import text_string_to_metric_families

from collector.clock import SystemClock
from collector.contract import Batch
from collector.decode.limits import Limits
from collector.errors import BadSource, SourceUnavailable
from collector.ingest.decoders import DecoderCache
from collector.ingest.run import Ingest
from collector.sources.memory import MemorySource
from eastwatch import health
from eastwatch.health import Answers, Check, parse_address, serve
from eastwatch.measured import MeasuredEngine, TelemetryMeasures, reported
from eastwatch.readiness import SILENCE_S, EngineProbe
from eastwatch.telemetry import INSTRUMENTS, Telemetry
from storage.engine import Engine
from storage.errors import EngineUnavailable
from tests.support.poll import poll

HOSTILE = 'a"b\\c\nd{}=,\x1b[31m\u202e\udcff'


class World:
    """What the endpoint is told to say."""

    def __init__(self) -> None:
        self.dead = ""
        self.checks: Sequence[Check] = [Check("engine"), Check("source s")]
        self.answers = Answers(lambda: self.dead, lambda: self.checks, lambda: b"m 1\n")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def port(world: World) -> Iterator[int]:
    with serve(("127.0.0.1", 0), world.answers) as endpoint:
        yield endpoint.port


def ask(port: int, path: str, method: str = "GET") -> tuple[int, str, str]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.headers.get("content-type", ""), answer.read().decode()


def test_liveness(world: World, port: int) -> None:
    assert ask(port, "/healthz")[::2] == (200, "ok\n")
    world.dead = f"source {HOSTILE} has ended"
    status, _, body = ask(port, "/healthz")
    assert status == 503 and body.removesuffix("\n").isprintable()


def test_readiness_has_a_line_for_each_check(world: World, port: int) -> None:
    assert ask(port, "/readyz?verbose")[::2] == (200, "ok    engine\nok    source s\n")
    world.checks = [Check("engine"), Check(f"source {HOSTILE}", f"the broker says\n{HOSTILE}")]
    status, _, body = ask(port, "/readyz")
    assert status == 503
    first, second = body.removesuffix("\n").split("\n")
    assert first == "ok    engine" and second.startswith("wait  source a") and second.isprintable()


def test_metrics_and_what_is_not_there(world: World, port: int) -> None:
    assert ask(port, "/metrics") == (200, "text/plain; version=0.0.4; charset=utf-8", "m 1\n")
    assert ask(port, "/metrics", "HEAD") == (200, "text/plain; version=0.0.4; charset=utf-8", "")
    assert ask(port, "/")[0] == 404
    assert ask(port, "/../metrics")[0] == 404
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert ask(port, "/metrics", method)[0] == 501


def test_nobody_holds_a_place_for_long(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "CONNECTION_S", 0.3)
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(health.CONNECTIONS)]
    try:
        for one in silent:
            one.sendall(b"GET /healthz HT")  # and never more

        def answered() -> bool:
            try:
                return ask(port, "/healthz")[0] == 200
            except (OSError, http.client.HTTPException):
                return False  # turned away

        poll(answered, "an answer although every place was taken", 20)
    finally:
        for one in silent:
            one.close()


def test_the_end_drops_who_is_connected_and_leaves_no_thread(world: World) -> None:
    before = threading.active_count()
    endpoint = serve(("127.0.0.1", 0), world.answers)
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=20) as silent:
        silent.sendall(b"GET /heal")
        poll(lambda: threading.active_count() > before + 1, "the connection's thread")
        endpoint.close()
        assert silent.recv(1) == b""
        poll(lambda: threading.active_count() == before, "the end of its threads")


def test_threads_that_could_not_be_started_take_no_place(
    world: World, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("socketserver.BaseServer.handle_error", lambda *_: None)
    with monkeypatch.context() as crowded:
        crowded.setattr(threading.Thread, "start", full)
        for _ in range(health.CONNECTIONS + 1):
            with socket.create_connection(("127.0.0.1", port), timeout=20) as refused:
                assert refused.recv(1) == b""
    assert ask(port, "/healthz")[0] == 200


def test_addresses() -> None:
    assert parse_address("127.0.0.1:9464") == ("127.0.0.1", 9464)
    assert parse_address("[::1]:0") == ("::1", 0)
    for text in ("9464", ":9464", "localhost", "localhost:", "localhost:http", "h:99999", "h:-1", "h:٣"):
        with pytest.raises(BadSource, match=r"setting health\.listen = .*expected HOST:PORT"):
            parse_address(text)


def test_an_address_in_use_is_told(world: World, port: int) -> None:
    with pytest.raises(SourceUnavailable, match=f"setting health.listen = '127.0.0.1:{port}': Address already in use"):
        serve(("127.0.0.1", port), world.answers)


# Metrics.


def families(telemetry: Telemetry) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Sample name -> labels -> value, as Prometheus's own parser reads them."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(telemetry.exposition().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def test_every_instrument_has_a_name_of_prometheus_kind() -> None:
    with Telemetry(scraped=True) as telemetry:
        for name, instrument in INSTRUMENTS.items():
            tell = telemetry.count if instrument.kind == "counter" else telemetry.record
            tell(name, 1)  # pyright: ignore[reportArgumentType]
        text = telemetry.exposition().decode()
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    kinds.pop("target_info")
    units = {"s": "_seconds", "By": "_bytes"}
    assert len(kinds) == len(INSTRUMENTS)
    for name, instrument in INSTRUMENTS.items():
        told = name.replace(".", "_") + units.get(instrument.unit, "") + "_total" * (instrument.kind == "counter")
        assert kinds[told] == instrument.kind
        assert f"# HELP {told} {instrument.description}\n" in text


def test_label_values_come_back_as_they_were() -> None:
    with Telemetry(scraped=True) as telemetry:
        telemetry.count("eastwatch.records.stored", 3, source=HOSTILE)
        telemetry.record("eastwatch.source.lag", 5, topic=HOSTILE, partition=1)
        found = families(telemetry)
    written = HOSTILE.replace("\udcff", "?")
    assert found["eastwatch_records_stored_total"] == {(("source", written),): 3}
    assert found["eastwatch_source_lag"] == {(("partition", "1"), ("topic", written)): 5}


def test_a_partition_that_is_gone_has_no_lag() -> None:
    with Telemetry(scraped=True) as telemetry:
        measures = TelemetryMeasures(telemetry)
        measures.lag("t", 0, 7)
        measures.lag("t", 1, 8)
        measures.gone("t", 0)
        assert families(telemetry)["eastwatch_source_lag"] == {(("partition", "1"), ("topic", "t")): 8}


def test_flooded_labels_stay_bounded() -> None:
    with Telemetry(scraped=True) as telemetry:
        for number in range(5000):
            telemetry.count("eastwatch.source.failures", source=f"s{number}")
        samples = families(telemetry)["eastwatch_source_failures_total"]
        assert len(samples) <= 2001 and sum(samples.values()) == 5000


def call(number: int) -> bytes:
    return f'{{"ts":"2026-03-02T10:00:00Z","destination_service":"cart","request_id":"{number}"}}'.encode()


def test_counters_add_up_at_every_scrape(engine: Engine) -> None:
    values = [*(call(number) for number in range(5)), b"nonsense"]
    batch = Batch("c", "t", "id", 0, pa.array(values, pa.large_binary()), pa.array(range(6), pa.int64()))
    with Telemetry(scraped=True) as telemetry:
        watched = MeasuredEngine(engine, telemetry)
        source = MemorySource("memory", [batch], "calls_json")
        loop = Ingest(watched, [source], DecoderCache(Limits()), measures=TelemetryMeasures(telemetry))
        with reported(loop, telemetry, every_s=3600, source="memory"):
            assert families(telemetry)["eastwatch_records_stored_total"] == {(("source", "memory"),): 0}
            loop.run()
            # Nobody waits for the next report: a scrape has what is stored now.
            found = families(telemetry)
    told = {name: sum(found[f"eastwatch_{name}_total"].values()) for name in ("messages_read", "batches_stored")}
    assert told == {"messages_read": 6, "batches_stored": 1}
    records = {
        name: sum(found[f"eastwatch_records_{name}_total"].values())
        for name in ("accepted", "stored", "dead_lettered", "refused")
    }
    assert records == {"accepted": 6, "stored": 5, "dead_lettered": 1, "refused": 0}
    assert found["eastwatch_read_bytes_total"][(("source", "memory"),)] >= sum(map(len, values))
    rows = {dict(labels)["table"]: value for labels, value in found["eastwatch_rows_stored_total"].items()}
    assert rows == {"calls": 5, "dead_letters": 1}
    assert found["eastwatch_decode_duration_seconds_count"] == {(("format", "calls_json"),): 1}
    assert found["eastwatch_insert_duration_seconds_count"][(("table", "calls"),)] == 1
    assert found["eastwatch_batch_rows_sum"][(("table", "calls"),)] == 5
    assert found["eastwatch_memory_in_flight_bytes"] == {(("source", "memory"),): 0}


class Broken:
    """An engine that is away."""

    location = "clickhouse://nowhere:9000/db"

    def query(self, *_: object, **__: object) -> pa.Table:
        raise EngineUnavailable("nowhere does not answer")


def test_failures_of_the_engine_are_counted() -> None:
    with Telemetry(scraped=True) as telemetry:
        watched = MeasuredEngine(Broken(), telemetry)  # pyright: ignore[reportArgumentType]
        for _ in range(2):
            with pytest.raises(EngineUnavailable):
                watched.query("SELECT 1")
        assert families(telemetry)["eastwatch_engine_failures_total"] == {(("error", "EngineUnavailable"),): 2}


# The engine.


class Slow(Broken):
    """An engine that does not answer until it is told to."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.go = threading.Event()

    def query(self, *_: object, **__: object) -> pa.Table:
        self.asked.set()
        self.go.wait(60)
        return pa.table({"one": [1]})


class Still(SystemClock):
    """A clock that is set by hand."""

    at = 1000.0

    def monotonic(self) -> float:
        return self.at


def test_an_engine_that_refuses_or_answers() -> None:
    probe = EngineProbe(Broken(), SystemClock(), every_s=3600)  # pyright: ignore[reportArgumentType]
    try:
        poll(lambda: probe.trouble == "nowhere does not answer", "its answer")
    finally:
        probe.close()


def test_an_engine_that_is_silent_is_away_until_it_answers() -> None:
    clock, engine = Still(), Slow()
    probe = EngineProbe(engine, clock, every_s=3600)  # pyright: ignore[reportArgumentType]
    try:
        engine.asked.wait(60)
        assert probe.trouble == "not asked yet"
        clock.at += SILENCE_S + 5
        assert probe.trouble == f"has not answered for {SILENCE_S + 5:.0f} s"
        engine.go.set()
        poll(lambda: probe.trouble == "", "its answer")
    finally:
        engine.go.set()
        probe.close()
