"""The fast reader of record batches gives what the client's own gives."""

from __future__ import annotations

import random
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


def _read(kafka: KafkaBroker, topic: str, *, raw: bool, start: int = 0) -> list[tuple[int, bytes, int]]:
    partition = TopicPartition(topic, 0)
    consumer = KafkaConsumer(
        bootstrap_servers=kafka.bootstrap, isolation_level="read_committed", enable_auto_commit=False
    )
    if raw:
        receive_in_place(consumer)
        read_raw(consumer)
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
