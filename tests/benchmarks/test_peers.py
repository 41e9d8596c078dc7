"""`benchmarks.peers` measures what it says: a sink that answers as ClickHouse does and counts, CPU, and its tables."""

from __future__ import annotations

import argparse
import urllib.error
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from benchmarks import peers
from benchmarks.peers import Measured, checked, promises, spans, table
from benchmarks.peers_agents import Run, collector_config, cpu_of_stat
from benchmarks.peers_sink import Inserts, RunningSink, running_sink, unpacked
from tests.support.native_wire import Block, Reader, binary, frames, read_block, read_blocks

DRIVER = {"default_format": "Native", "client_protocol_version": "54460", "compress": "1", "decompress": "1"}
BY_NAME = "INSERT INTO `otel`.`otel_traces` (\n    SpanId,\n    Duration\n) VALUES"
BY_ROW = "INSERT INTO otel_traces (SpanId,ScopeName) FORMAT RowBinary"
ONE_SHOT = Run(2.0, 4.0, Inserts())


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSink]:
    with running_sink(tmp_path_factory.mktemp("sink")) as one:
        yield one


@pytest.fixture
def sink(running: RunningSink) -> RunningSink:
    running.forget()
    return running


def ask(sink: RunningSink, query: str, body: bytes | None = None, **settings: str) -> bytes:
    url = f"{sink.url}/?{urlencode({**DRIVER, **settings, 'query': query})}"
    with urllib.request.urlopen(url, body, timeout=30) as answer:
        return answer.read()


def native(spans: list[str]) -> bytes:
    ids = b"".join(binary(span) for span in spans)
    durations = b"".join(number.to_bytes(8, "little") for number in range(len(spans)))
    block = Block(len(spans), ((b"SpanId", b"String", ids), (b"Duration", b"UInt64", durations)))
    return b"".join(frames(block.encode(0)))


def test_it_answers_what_a_driver_asks_first(sink: RunningSink) -> None:
    content = b"".join(unpacked(ask(sink, "SELECT displayName(), 7 AS seven")))
    pieces = iter((content,))
    block = read_block(Reader(lambda: next(pieces, b"")), int(DRIVER["client_protocol_version"]))
    assert block.rows == 1
    assert [name for name, _, _ in block.columns] == [b"displayName()", b"seven"]
    assert block.columns[1][2] == b"\x07"


def test_tables_are_real_and_errors_are_the_engine_s(sink: RunningSink) -> None:
    assert (
        ask(sink, "CREATE TABLE one (SpanId String, Kind LowCardinality(String)) ENGINE MergeTree ORDER BY ()") == b""
    )
    (described,) = read_blocks(ask(sink, "DESCRIBE TABLE one", compress="0", client_protocol_version="0"))
    assert described.columns[0][2] == binary("SpanId") + binary("Kind")
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(sink, "DESCRIBE TABLE none")
    with caught.value as answer:
        assert answer.code == 500
        assert b"UNKNOWN_TABLE" in answer.read()


def test_rows_and_distinct_spans_of_both_formats(sink: RunningSink) -> None:
    ask(sink, BY_NAME, native(["a", "b", "c"]))
    ask(sink, BY_NAME, native(["d"]) + native(["e", "a"]))
    ask(sink, BY_ROW, b"".join(frames(binary("f") + binary("scope") + binary("a") + binary(""))))
    ask(sink, BY_ROW, binary("g") + binary(""), decompress="0")
    inserts = sink.inserts()
    assert inserts.count == 4
    assert 0 < inserts.first_s < inserts.last_s
    assert sink.count() == {"rows": 9, "spans": 7}
    sink.forget()
    assert sink.inserts() == Inserts()
    assert sink.count() == {"rows": 0, "spans": 0}


def test_half_an_insert_is_not_counted_as_a_whole_one(sink: RunningSink) -> None:
    ask(sink, BY_ROW, b"".join(frames(binary("f") + binary("scope") + binary("a"))))
    with pytest.raises(urllib.error.HTTPError) as caught:
        sink.count()
    caught.value.close()


def test_a_sink_that_refuses(sink: RunningSink) -> None:
    sink.refuse()
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(sink, BY_NAME, native(["a"]))
    caught.value.close()
    assert (sink.inserts().count, sink.inserts().refused) == (0, 1)
    sink.forget()
    ask(sink, BY_NAME, native(["a"]))
    assert sink.count() == {"rows": 1, "spans": 1}


def test_a_span_that_is_missing_or_there_twice_fails_the_run(sink: RunningSink) -> None:
    ask(sink, BY_NAME, native(["a", "b"]))
    assert checked("one", sink, 2, ONE_SHOT) == Measured(4.0, 2.0)
    ask(sink, BY_NAME, native(["a", "a"]))
    with pytest.raises(RuntimeError, match="2 rows of 1 spans, 2 were sent"):
        checked("one", sink, 2, ONE_SHOT)


def test_cpu_of_a_process_with_any_name() -> None:
    numbers = " ".join(str(number) for number in range(4, 30))
    assert cpu_of_stat(f"12 (a) b (c 9 9) S {numbers}", 100) == pytest.approx((14 + 15) / 100)


def test_the_table_shows_medians_and_ratios() -> None:
    slow, middle, fast = Measured(10.0, 30.0), Measured(5.0, 20.0), Measured(2.0, 10.0)
    lines = list(table({"collector": [slow, fast, middle], "eastwatch": [fast]}, 1_000_000))
    assert lines[2] == "| collector | 200,000 | 20.00 | 1.00 | 30.00, 10.00, 20.00 |"
    assert lines[3] == "| eastwatch | 500,000 | 10.00 | 0.50 | 10.00 |"
    assert list(table({"rotel": [fast]}, 1_000_000))[2] == "| rotel | 500,000 | 10.00 |  | 10.00 |"


def test_every_row_of_what_each_does_has_a_cell_for_each() -> None:
    lines = list(promises({"collector": 84_000}))
    assert {line.count("|") for line in lines} == {len(peers.PEERS) + 2}
    (tried,) = (line for line in lines if "84,000" in line)
    assert tried.count("not tried") == 2


@pytest.mark.parametrize("stored_first", [True, False])
def test_offsets_are_marked_after_the_export_only_without_a_queue(stored_first: bool) -> None:
    config = collector_config("b:1", "t", "g", "http://s", stored_first=stored_first)
    assert config["receivers"]["kafka"]["message_marking"]["after"] is stored_first
    assert config["exporters"]["clickhouse"]["sending_queue"].get("enabled", True) is not stored_first


@pytest.mark.parametrize("text", ["0", "-1000", "1500"])
def test_a_message_that_is_not_full_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="multiple of 1,000"):
        spans(text)
