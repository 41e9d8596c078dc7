"""The fast reader of record batches gives what the client's own gives."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from collector.sources.kafka_batches import bodies, read_raw
from collector.sources.kafka_receive import receive_in_place
from tests.support.kafka_broker import KafkaBroker

KEYS = st.one_of(st.none(), st.binary(max_size=200))
HEADERS = st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=200)), max_size=3)


def built(records: list[tuple[Any, ...]], compression: int = 0) -> bytes:
    builder = DefaultRecordBatchBuilder(2, compression, 0, -1, -1, -1, 1 << 24)
    for offset, (key, value, headers, timestamp) in enumerate(records):
        builder.append(offset, timestamp, key, value, headers)
    return bytes(builder.build())


@given(
    st.lists(st.tuples(KEYS, KEYS, HEADERS, st.integers(0, 1 << 42)), min_size=1, max_size=20),
    st.sampled_from([0, 1, 2, 3, 4]),
)
def test_bodies_are_those_of_the_clients_reader(records: list[tuple[Any, ...]], compression: int) -> None:
    data = built(records, compression)
    expected = [(record.value or b"", record.offset) for record in DefaultRecordBatch(data)]
    batch: Any = DefaultRecordBatch(data)
    batch._maybe_uncompress()
    content = bytes(batch._buffer)
    starts, ends, offsets = bodies(content, batch._pos, batch.records_count, batch.base_offset)
    values = [content[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    assert list(zip(values, offsets.tolist(), strict=True)) == expected


@given(st.binary(max_size=60), st.integers(0, 5))
def test_any_bytes_are_bodies_or_refused(data: bytes, count: int) -> None:
    try:
        starts, ends, offsets = bodies(data, 0, count, 0)
    except CorruptRecordError:
        return
    assert len(starts) == len(ends) == len(offsets) == count
    assert all(0 <= start <= end <= len(data) for start, end in zip(starts, ends, strict=True))


@pytest.mark.kafka
def test_poll_and_the_fast_reader_see_the_same(kafka: KafkaBroker) -> None:
    topic = kafka.topic()
    for compression in (None, "gzip", "snappy", "lz4", "zstd"):
        producer = KafkaProducer(bootstrap_servers=kafka.bootstrap, compression_type=compression, linger_ms=50)
        for number in range(300):
            value = None if number % 50 == 7 else b"%d" % number * (number % 9)
            producer.send(topic, value, key=b"k" if number % 2 else None, headers=[("h", b"x")] * (number % 3))
        producer.flush(30)
        producer.close(timeout=10)
    _transaction(kafka, topic, commit=False)
    _transaction(kafka, topic, commit=True)
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap, max_request_size=1 << 22)
    large = random.Random(5)
    for size in (1, 70_000, 65_536, 2_000_000, 300, *([900] * 500), 900_000):
        producer.send(topic, large.randbytes(size))
        if size > 900:
            producer.flush(30)
    producer.flush(30)
    producer.close(timeout=10)

    slow = [(offset, value) for offset, value, _ in _read(kafka, topic, raw=False)]
    fast = [(offset, value) for offset, value, _ in _read(kafka, topic, raw=True)]
    assert fast == slow
    assert len(fast) == 2016
    # From inside a batch, as after a commit there.
    assert [one[:2] for one in _read(kafka, topic, raw=True, start=437)] == [one for one in slow if one[0] >= 437]
    # Both know where to go on, behind what no consumer sees.
    assert {position for *_, position in _read(kafka, topic, raw=True)} == {
        position for *_, position in _read(kafka, topic, raw=False)
    }


def _transaction(kafka: KafkaBroker, topic: str, *, commit: bool) -> None:
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=f"{topic}-{commit}")
    producer.init_transactions()
    producer.begin_transaction()
    for number in range(10):
        producer.send(topic, b"in a transaction %d" % number)
    producer.flush(30)
    if commit:
        producer.commit_transaction()
    else:
        producer.abort_transaction()
    producer.close(timeout=10)


@pytest.mark.kafka
@pytest.mark.parametrize("compression", [None, "gzip", "zstd"])
def test_a_record_batch_that_takes_too_much_is_one_message(kafka: KafkaBroker, compression: str | None) -> None:
    topic = kafka.topic()
    many = [b"%d" % number for number in range(3, 1003)]  # small ones take the most memory for what they are
    for values in ([b"a", b"b"], [bytes(500_000)], many, [b"c"]):
        producer = KafkaProducer(bootstrap_servers=kafka.bootstrap, compression_type=compression, linger_ms=500)
        for value in values:
            producer.send(topic, value)
        producer.flush(30)
        producer.close(timeout=10)
    told: list[str] = []
    found = _read(kafka, topic, raw=True, limit_bytes=100_000, refused=told.append)
    # What is not compressed lies there already.
    large = [(2, bytes(500_000))] if compression is None else [(2, told[0].encode())]
    assert [one[:2] for one in found] == [(0, b"a"), (1, b"b"), *large, (3, told[-1].encode()), (1003, b"c")]
    assert len(told) == (1 if compression is None else 2)
    assert re.fullmatch(
        rf"eastwatch: record batch of {topic}\[0\] refused, offsets 3 to 1002: its \d+ bytes and 1000 records would"
        r" take more than 0 MiB of memory; the limit follows ingest.memory_bytes",
        told[-1],
    )


@pytest.mark.kafka
def test_one_poll_takes_as_many_bytes_as_it_may(kafka: KafkaBroker) -> None:
    topic = kafka.topic()
    producer = KafkaProducer(
        bootstrap_servers=kafka.bootstrap, compression_type="gzip", linger_ms=500, batch_size=1 << 17
    )
    for _ in range(2000):
        producer.send(topic, bytes(1000))
    producer.flush(30)
    producer.close(timeout=10)
    partition = TopicPartition(topic, 0)
    consumer = KafkaConsumer(bootstrap_servers=kafka.bootstrap, enable_auto_commit=False)
    read_raw(consumer)
    try:
        consumer.assign([partition])
        consumer.seek(partition, 0)
        sizes: list[int] = []
        while consumer.position(partition) < 2000:
            chunks = consumer.poll(500, max_records=400_000).get(partition, [])
            sizes.append(sum(chunk.held_bytes for chunk in chunks))
            largest = max((chunk.held_bytes for chunk in chunks), default=0)
            assert sizes[-1] < 400_000 + largest
        assert sum(sizes) > 2_000_000
    finally:
        consumer.close(autocommit=False)


def _read(kafka: KafkaBroker, topic: str, *, raw: bool, start: int = 0, **limits: Any) -> list[tuple[int, bytes, int]]:
    partition = TopicPartition(topic, 0)
    consumer = KafkaConsumer(
        bootstrap_servers=kafka.bootstrap, isolation_level="read_committed", enable_auto_commit=False
    )
    if raw:
        receive_in_place(consumer)
        read_raw(consumer, **limits)
    found: list[tuple[int, bytes]] = []
    try:
        consumer.assign([partition])
        consumer.seek(partition, start)
        end = consumer.end_offsets([partition])[partition]
        while consumer.position(partition) < end:
            for item in consumer.poll(500, max_records=100_000).get(partition, []):
                if raw:
                    for start, stop, offset in zip(item.starts, item.ends, item.offsets.tolist(), strict=True):
                        found.append((offset, bytes(item.buffer[start:stop])))
                else:
                    found.append((item.offset, item.value or b""))
        position = consumer.position(partition)
    finally:
        consumer.close(autocommit=False)
    return [(offset, value, position) for offset, value in found]
