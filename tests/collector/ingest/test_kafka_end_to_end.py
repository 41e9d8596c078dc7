"""A real broker and a real store: every record exactly once, whatever happens in between."""

from __future__ import annotations

import gc
import re
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaConnectionError, TopicAuthorizationFailedError
from kafka.structs import OffsetAndMetadata

from collector.clock import Clock, SystemClock
from collector.decode.limits import Limits
from collector.errors import BadSource, Poisoned, SourceRefused, SourceUnavailable
from collector.ingest.bounds import BoundsBook
from collector.ingest.counters import Counts
from collector.ingest.decoders import DecoderCache
from collector.ingest.measures import Unmeasured
from collector.ingest.options import IngestOptions
from collector.ingest.run import Ingest
from collector.sources.kafka import KafkaSource
from collector.sources.kafka_topics import UNSEEN_S, is_of
from collector.sources.options import KafkaOptions
from collector.sources.source import Bounds, Cut
from collector.sources.urls import KafkaUrl, parse_source
from storage.engine import Engine
from tests.collector.ingest.kafka_reader import exact, line
from tests.support.feed import produce
from tests.support.kafka_broker import PASSWORD, USER, KafkaBroker, free_ports
from tests.support.poll import poll
from tests.support.require import require

pytestmark = [
    pytest.mark.kafka,
    # The client drops sockets without closing them when a connection breaks.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]

SMALL = {"batch_messages": 50, "batch_age_s": 0.05, "commit_interval_s": 0.0}
"""Many small batches."""

ENVOY = (
    '{{"start_time":"2026-01-01T00:00:{0:02d}.123Z","method":"GET","path":"/p/{0}","protocol":"HTTP/1.1",'
    '"response_code":200,"response_flags":"-","duration":{0},"request_id":"e{0}","bytes_sent":5,"bytes_received":0,'
    '"authority":"cart.shop:8080","upstream_cluster":"outbound|8080||cart.shop.svc.cluster.local",'
    '"upstream_host":"10.0.0.9:8080","downstream_remote_address":"10.0.0.1:4000","user_agent":"t"}}'
)


@pytest.fixture(autouse=True)
def sockets_are_collected_here(caplog: pytest.LogCaptureFixture) -> Generator[None]:
    yield
    caplog.get_records("call").clear()  # they hold connections
    gc.collect()


def loop(
    engine: Engine,
    url: str,
    *,
    until_idle: bool = True,
    connect_s: float = 10,
    session_s: float = 6,
    **options: Any,
) -> Ingest:
    parsed, clock, bounds = parse_source(url), SystemClock(), BoundsBook(engine)
    assert isinstance(parsed, KafkaUrl)
    sizes = IngestOptions(**options)
    kafka = KafkaOptions(session_timeout_s=session_s, connect_timeout_s=connect_s, metadata_refresh_s=1)
    source = KafkaSource(parsed, bounds.recorded, clock, sizes, kafka, until_idle=until_idle)
    return Ingest(engine, [source], DecoderCache(Limits()), options=sizes, bounds=bounds, clock=clock)


def ingest(engine: Engine, url: str, **options: Any) -> Counts:
    running = loop(engine, url, **options)
    running.run()
    return running.counters.snapshot()


@contextmanager
def replica(engine: Engine, url: str, **options: Any) -> Generator[Ingest]:
    """An ingester beside others, stopped at the end."""
    running = loop(engine, url, until_idle=False, **SMALL, **options)
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        yield running
    finally:
        running.stop()
        thread.join(120)  # what is on its way may take three times `drain_s`
        assert not thread.is_alive()


def source(kafka: KafkaBroker, topic: str, **options: str) -> str:
    return f"kafka://{kafka.bootstrap}/{topic}?" + "&".join(f"{key}={value}" for key, value in options.items())


def committed(kafka: KafkaBroker, group: str, topic: str, partitions: int) -> Callable[[], int]:
    return lambda: sum(kafka.committed(group, topic, partition) or 0 for partition in range(partitions))


def once(number: int, dead: int = 0) -> dict[str, int]:
    return {"calls": number, "different": number, "requests": number, "dead": dead}


def test_lines_of_two_formats_become_rows(kafka: KafkaBroker, engine: Engine) -> None:
    topic = kafka.topic(partitions=3)
    produce(kafka.bootstrap, topic, [*(line(n) for n in range(200)), *(ENVOY.format(n).encode() for n in range(50))])
    counts = ingest(engine, source(kafka, topic, format="auto"))
    assert (counts.messages, counts.stored, counts.rows) == (250, 250, {"calls": 250})
    sql = "SELECT topic, count() AS n, uniqExact(partition, offset) AS places FROM calls GROUP BY topic"
    assert engine.query(sql).to_pylist() == [{"topic": topic, "n": 250, "places": 250}]
    assert ingest(engine, source(kafka, topic, format="auto")).messages == 0


def test_several_topics_and_a_pattern(kafka: KafkaBroker, engine: Engine) -> None:
    first, second = kafka.topic(), kafka.topic()
    produce(kafka.bootstrap, first, [line(1)])
    produce(kafka.bootstrap, second, [line(2)])
    assert ingest(engine, source(kafka, f"{first},{second}", format="calls_json", group="list")).stored == 2
    # Another group reads the same positions: nothing is stored twice.
    counts = ingest(engine, source(kafka, f"^({first}|{second})$", format="calls_json", group="pattern"))
    assert counts.messages == 2
    assert exact(engine) == once(2)


def test_an_empty_topic_ends_at_once(kafka: KafkaBroker, engine: Engine) -> None:
    assert ingest(engine, source(kafka, kafka.topic(partitions=2), format="auto")) == Counts()


def test_many_small_messages_and_many_lines_in_one(kafka: KafkaBroker, engine: Engine) -> None:
    topic = kafka.topic(partitions=2)
    together = b"\n".join(line(n) for n in range(3000, 4000))
    produce(kafka.bootstrap, topic, [*(line(n) for n in range(3000)), together])
    counts = ingest(engine, source(kafka, topic, format="calls_json"))
    assert (counts.messages, counts.stored) == (3001, 4000)
    assert exact(engine) == once(4000)


def test_dead_letters_stand_at_their_positions(kafka: KafkaBroker, engine: Engine) -> None:
    topic = kafka.topic()
    produce(kafka.bootstrap, topic, [line(0), b"\xffgarbage\x00", line(1), line(2) + b"\n{broken", b"", line(3)])
    counts = ingest(engine, source(kafka, topic, format="calls_json"))
    assert counts.stored == 4
    sql = "SELECT source, partition, offset, record FROM dead_letters WHERE offset != 4 ORDER BY offset"
    found = [tuple(row.values()) for row in engine.query(sql).to_pylist()]
    assert found == [(topic, 0, 1, 0), (topic, 0, 3, 1)]


def test_poison_stops_without_committing(kafka: KafkaBroker, engine: Engine) -> None:
    topic = kafka.topic()
    produce(kafka.bootstrap, topic, [line(n) for n in range(200)])
    with pytest.raises(Poisoned, match=rf"{topic}\[0\] at 0: 200 of the last 200 .* calls_json"):
        ingest(engine, source(kafka, topic, format="istio_text", group="poison"), poison_records=100)
    assert kafka.committed("poison", topic) is None
    assert exact(engine) == once(0)
    # With the right format the same bounds are used again.
    assert ingest(engine, source(kafka, topic, format="calls_json", group="poison")).stored == 200
    assert exact(engine) == once(200)
    assert kafka.committed("poison", topic) == 200


def test_a_topic_recreated_between_two_runs(kafka: KafkaBroker, engine: Engine) -> None:
    topic = kafka.topic()
    produce(kafka.bootstrap, topic, [line(n) for n in range(20)])
    ingest(engine, source(kafka, topic, format="calls_json"))
    kafka.delete_topic(topic)
    kafka.topic(name=topic)
    produce(kafka.bootstrap, topic, [line(n) for n in range(100, 130)])
    ingest(engine, source(kafka, topic, format="calls_json"))
    assert exact(engine) == once(50)


def test_a_topic_recreated_while_it_is_read(kafka: KafkaBroker, engine: Engine) -> None:
    topic = kafka.topic()
    produce(kafka.bootstrap, topic, [line(n) for n in range(20)])
    with replica(engine, source(kafka, topic, format="calls_json", group="anew")) as running:
        poll(lambda: running.counters.snapshot().stored == 20, "the old topic", 60)
        kafka.delete_topic(topic)
        kafka.topic(name=topic)
        # More than before: the old position exists in the new topic too, and must not be taken up there.
        produce(kafka.bootstrap, topic, [line(n) for n in range(100, 150)])
        poll(lambda: exact(engine)["different"] == 70, "the new topic", 60, every_s=0.2)
    assert exact(engine) == once(70)


def test_a_pause_hides_that_a_topic_was_recreated(kafka: KafkaBroker) -> None:
    topic = kafka.topic()
    produce(kafka.bootstrap, topic, [line(n) for n in range(20)])
    told: list[str] = []
    reader = reader_of(kafka, topic, batch_age_s=0, notice=told.append)
    try:
        (old,) = poll(lambda: reader.poll(0.2, room=True), "the old topic", 30)
        assert len(old.batch.offsets) == 20
        reader.poll(0, room=False)
        kafka.delete_topic(topic)
        kafka.topic(name=topic)
        # More than before: the old position is there too. Metadata are refreshed by themselves in half a minute only.
        produce(kafka.bootstrap, topic, [line(n) for n in range(100, 150)])
        until = time.monotonic() + UNSEEN_S
        poll(lambda: reader.poll(0.1, room=False) or time.monotonic() > until, "a pause that is long enough", 30)
        found = poll(lambda: reader.poll(0.2, room=True), "the new topic", 30)
        while sum(len(cut.batch.offsets) for cut in found) < 50:
            found += reader.poll(0.2, room=True)
        assert [offset for cut in found for offset in cut.batch.offsets.to_pylist()] == list(range(50))
        assert {cut.batch.topic_id for cut in found} != {old.batch.topic_id}
        assert told == [f"{reader.label}: topic {topic} was created anew, reading it from its beginning"]
        # What is heard of the old topic's batches moves nothing in the new one.
        assert old.lease.revoked
        reader.rewind(old)
        produce(kafka.bootstrap, topic, [line(150)])
        (last,) = poll(lambda: reader.poll(0.2, room=True), "what comes next", 30)
        assert last.batch.offsets.to_pylist() == [50]
    finally:
        reader.close()


def test_an_offset_of_the_topic_before_is_no_place_to_begin(kafka: KafkaBroker, engine: Engine) -> None:
    topic = kafka.topic()
    produce(kafka.bootstrap, topic, [line(n) for n in range(30)])
    ingest(engine, source(kafka, topic, format="calls_json", group="own"))
    watcher = KafkaConsumer(bootstrap_servers=kafka.bootstrap, group_id="own", enable_auto_commit=False)
    partition = TopicPartition(topic, 0)
    try:
        own = watcher.committed(partition, metadata=True)
        assert (own.offset, is_of(own, "other")) == (30, False)
        # Another group that committed in a topic before this one; without a note, as earlier versions did; and here.
        noted = {"topic_id=" + "0" * 31 + "1": 0, "": 10, own.metadata: 10}
        for number, (metadata, first) in enumerate(noted.items()):
            group = f"noted-{number}-{topic}"
            commit(kafka, group, partition, OffsetAndMetadata(10, metadata, -1))
            cut = first_cut(reader_of(kafka, topic, group=group, batch_age_s=0))
            assert cut.batch.first == first
    finally:
        watcher.close(autocommit=False)


def commit(kafka: KafkaBroker, group: str, partition: TopicPartition, offset: OffsetAndMetadata) -> None:
    consumer = KafkaConsumer(bootstrap_servers=kafka.bootstrap, group_id=group, enable_auto_commit=False)
    try:
        consumer.assign([partition])
        consumer.commit({partition: offset})
    finally:
        consumer.close(autocommit=False)


def test_a_rewind_of_a_partition_that_was_given_up_moves_nothing(kafka: KafkaBroker) -> None:
    topic = kafka.topic()
    produce(kafka.bootstrap, topic, [line(n) for n in range(20)])
    reader = reader_of(kafka, topic, batch_age_s=0)
    partition = TopicPartition(topic, 0)
    try:
        (cut,) = poll(lambda: reader.poll(0.2, room=True), "a batch", 30)
        # Lost and assigned again, with a position of its own.
        reader._leases.on_partitions_lost({partition})  # pyright: ignore[reportPrivateUsage]
        reader.poll(0, room=True)
        reader._consumer.seek(partition, 5)  # pyright: ignore[reportPrivateUsage]
        reader.rewind(cut)
        (again,) = poll(lambda: reader.poll(0.2, room=True), "the rest", 30)
        assert again.batch.first == 5
        # One that still holds its partition goes back.
        reader.rewind(again)
        (back,) = poll(lambda: reader.poll(0.2, room=True), "the same again", 30)
        assert back.batch.first == 5
    finally:
        reader.close()


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_compressed_topic_is_inflated_within_the_memory(kafka: KafkaBroker, compression: str) -> None:
    topic, sent = kafka.topic(partitions=2), 3000
    producer = KafkaProducer(
        bootstrap_servers=kafka.bootstrap, compression_type=compression, linger_ms=50, batch_size=1 << 18
    )
    for number in range(sent):
        producer.send(topic, b"%06d" % number + b"x" * 10_000, partition=number % 2)
    producer.flush(60)
    producer.close(timeout=10)
    # All of it is one small fetch, and inflated thirty megabytes.
    parsed, options = parse_source(source(kafka, topic)), IngestOptions(memory_bytes=64 << 20).within_memory()
    assert isinstance(parsed, KafkaUrl)
    reader = KafkaSource(parsed, lambda *_: [], SystemClock(), options, KafkaOptions().at_most(options.fetch_bytes))
    found: list[int] = []
    record_batch, message = 2 << 18, 10_006
    most_waiting = 0

    def read() -> bool:
        nonlocal most_waiting
        cuts = reader.poll(0.2, room=True)
        held = [pending.held_bytes for pending in reader._leases.held.values()]  # pyright: ignore[reportPrivateUsage]
        handed = sum(cut.size_bytes for cut in cuts)
        most_waiting = max(most_waiting, sum(held) + handed)
        assert sum(held) + handed < options.waiting_bytes + 2 * record_batch
        assert handed < 2 * (options.batch_bytes + message)
        for cut in cuts:
            found.extend(int(value.as_py()[:6]) for value in cut.batch.values)
            reader.stored(cut)
        return len(found) >= sent

    try:
        poll(read, "all messages", 60)
        assert most_waiting > options.waiting_bytes // 2  # it was asked for more than it may hold
    finally:
        reader.close()
    assert sorted(found) == list(range(sent))


def test_a_record_batch_that_would_take_all_memory_is_one_dead_letter(kafka: KafkaBroker, engine: Engine) -> None:
    topic = kafka.topic()
    produce(kafka.bootstrap, topic, [line(n) for n in range(10)])
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap, compression_type="zstd", max_request_size=1 << 27)
    producer.send(topic, bytes(70 << 20)).get(60)
    producer.close(timeout=10)
    produce(kafka.bootstrap, topic, [line(n) for n in range(10, 20)])
    ingest(engine, source(kafka, topic, format="calls_json"), memory_bytes=64 << 20)
    assert exact(engine) == once(20, dead=1)
    (letter,) = engine.query("SELECT offset, payload FROM dead_letters").to_pylist()
    assert letter["offset"] == 10
    assert "record batch of" in str(letter["payload"])


def test_partitions_move_between_replicas(kafka: KafkaBroker, engine: Engine) -> None:
    topic, group = kafka.topic(partitions=4), "replicas"
    url, sent = source(kafka, topic, format="calls_json", group=group), 0

    def feed(count: int) -> None:
        nonlocal sent
        produce(kafka.bootstrap, topic, [line(n) for n in range(sent, sent + count)])
        sent += count

    done = committed(kafka, group, topic, 4)
    # Heartbeats, by which members hear of each other, come four times a session.
    with replica(engine, url, session_s=2) as first:
        feed(500)
        with replica(engine, url, session_s=2) as second:
            poll(lambda: feed(200) or second.counters.snapshot().stored > 100, "the second one at work", 60)
            before = first.counters.snapshot().stored
            poll(lambda: feed(200) or first.counters.snapshot().stored > before, "both at work", 60)
        feed(500)
        poll(lambda: done() == sent, "everything committed", 60, every_s=0.1)
    assert exact(engine) == once(sent)


def test_a_member_that_comes_back_from_the_dead(kafka: KafkaBroker, engine: Engine) -> None:
    topic, group = kafka.topic(), "zombie"
    produce(kafka.bootstrap, topic, [line(n) for n in range(100)])
    parsed, bounds, clock = (
        parse_source(source(kafka, topic, format="calls_json", group=group)),
        BoundsBook(engine),
        SystemClock(),
    )
    assert isinstance(parsed, KafkaUrl)
    zombie = KafkaSource(parsed, bounds.recorded, clock, IngestOptions(), KafkaOptions())
    (cut,) = poll(lambda: zombie.poll(0.2, room=True), "the zombie's batch", 30)
    bounds.claim(cut, clock.now(), "calls_json/1")
    # It recorded its bounds, stored nothing, and is then taken for dead. Its successor follows its bounds.
    zombie.close()
    produce(kafka.bootstrap, topic, [line(n) for n in range(100, 150)])
    ingest(engine, source(kafka, topic, format="calls_json", group=group))
    assert [(one.first, one.last) for one in bounds.recorded(cut.batch.topic_id, 0, 0)] == [(0, 99), (100, 149)]
    assert exact(engine) == once(150)


def test_a_second_group_finds_everything_stored(kafka: KafkaBroker, engine: Engine) -> None:
    """It has no offsets, so that every message comes again, along the bounds of the first group's batches."""
    topic = kafka.topic(partitions=2)
    produce(kafka.bootstrap, topic, [line(n) for n in range(100)])
    for group, read_again in (("first", 0), ("second", 100)):
        counts = ingest(engine, source(kafka, topic, format="calls_json", group=group))
        assert (counts.stored, counts.read_again) == (100, read_again)
        assert exact(engine) == once(100)


def test_a_broker_that_restarts_costs_nothing(kafka: KafkaBroker, engine: Engine) -> None:
    require("kafka", not kafka.external, "the broker of EASTWATCH_TEST_KAFKA is not ours to restart")
    topic, group = kafka.topic(), "restart"
    produce(kafka.bootstrap, topic, [line(n) for n in range(200)])
    with replica(engine, source(kafka, topic, format="calls_json", group=group)):
        poll(lambda: kafka.committed(group, topic) == 200, "first half", 60, every_s=0.1)
        kafka.restart()
        produce(kafka.bootstrap, topic, [line(n) for n in range(200, 400)])
        poll(lambda: kafka.committed(group, topic) == 400, "second half", 90, every_s=0.1)
    assert exact(engine) == once(400)


def test_user_and_password(kafka: KafkaBroker, engine: Engine) -> None:
    require("kafka", not kafka.external, "the broker of EASTWATCH_TEST_KAFKA has no user of ours")
    topic = kafka.topic()
    produce(kafka.bootstrap, topic, [line(1)])
    assert ingest(engine, f"kafka://{USER}:{PASSWORD}@{kafka.sasl_bootstrap}/{topic}?format=calls_json").stored == 1
    with pytest.raises(SourceRefused, match=f"refused user '{USER}'") as caught:
        loop(engine, f"kafka://{USER}:wrong-pony@{kafka.sasl_bootstrap}/{topic}", connect_s=3)
    assert "wrong-pony" not in str(caught.value)


def test_what_is_not_there(kafka: KafkaBroker, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.sources.kafka.METADATA_LIMIT_S", 0.5)
    with pytest.raises(BadSource, match="no topic none-such"):
        loop(engine, source(kafka, "none-such"))
    (port,) = free_ports(1)
    with pytest.raises(SourceUnavailable, match=f"no broker answered within 1 s, expected Kafka at 127.0.0.1:{port}"):
        loop(engine, f"kafka://127.0.0.1:{port}/t", connect_s=1)


def test_a_topic_that_comes_later(kafka: KafkaBroker, engine: Engine) -> None:
    with replica(engine, source(kafka, "later-than-its-reader", format="calls_json", group="later")) as running:
        kafka.topic(name="later-than-its-reader")
        produce(kafka.bootstrap, "later-than-its-reader", [line(1)])
        poll(lambda: running.counters.snapshot().stored == 1, "the first message", 60)


def test_a_join_that_outlasts_a_poll_is_not_forgotten(kafka: KafkaBroker) -> None:
    there, later = kafka.topic(), "later-than-the-other"
    produce(kafka.bootstrap, there, [line(1)])
    reader = reader_of(kafka, f"{there},{later}")
    coordinator = reader._consumer._coordinator  # pyright: ignore[reportPrivateUsage]
    try:
        poll(lambda: reader.poll(0.2, room=True), "the topic that is there", 30)
        kafka.topic(name=later)
        produce(kafka.bootstrap, later, [line(2)])
        # The join begins in a poll that has no time for it, and ends between two polls.
        poll(lambda: (reader.poll(0, room=True), coordinator._join_task)[1], "the join", 30)
        poll(lambda: coordinator._join_task.is_done, "the end of the join", 30)
        (cut,) = poll(lambda: reader.poll(0.2, room=True), "the topic that came later", 30)
        assert cut.batch.topic == later
    finally:
        reader.close()


class Hasty(SystemClock):
    """A clock on which every look costs `step_s` more."""

    step_s = 0.0
    ahead_s = 0.0

    def monotonic(self) -> float:
        self.ahead_s += self.step_s
        return super().monotonic() + self.ahead_s


def reader_of(
    kafka: KafkaBroker,
    topic: str,
    *recorded: Bounds,
    clock: Clock | None = None,
    notice: Callable[[str], None] = lambda _message: None,
    group: str = "eastwatch",
    **options: Any,
) -> KafkaSource:
    parsed = parse_source(source(kafka, topic, group=group))
    assert isinstance(parsed, KafkaUrl)
    sizes = KafkaOptions(fetch_bytes=1 << 20, partition_fetch_bytes=1 << 20)
    return KafkaSource(
        parsed, lambda *_: recorded, clock or SystemClock(), IngestOptions(**options), sizes, notice=notice
    )


def first_cut(reader: KafkaSource) -> Cut:
    try:
        return poll(lambda: reader.poll(0.2, room=True), "a batch", 30)[0]
    finally:
        reader.close()


@pytest.mark.parametrize("options", [{}, {"memory_bytes": 64 << 20}], ids=["age", "memory"])
def test_a_recorded_batch_is_cut_whole(kafka: KafkaBroker, options: Mapping[str, int]) -> None:
    # It is larger than one fetch, and with `memory` than what may wait; an age of 0 would cut anything.
    topic = kafka.topic()
    produce(kafka.bootstrap, topic, [b"%02d" % n + b"x" * 500_000 for n in range(24)])
    recorded = Bounds(0, 21, datetime(2026, 1, 1, tzinfo=UTC), "auto/1")
    cut = first_cut(reader_of(kafka, topic, recorded, batch_age_s=0, **options))
    assert cut.bounds == recorded
    assert cut.batch.offsets.to_pylist() == list(range(22))


def test_behind_a_backlog_a_batch_waits_for_more(kafka: KafkaBroker) -> None:
    topic = kafka.topic()
    produce(kafka.bootstrap, topic, [b"%02d" % n + b"x" * 500_000 for n in range(12)])
    clock = Hasty()
    reader = reader_of(kafka, topic, clock=clock, batch_age_s=30)
    clock.step_s = 10  # several fetches later the first message is older than a batch's age, and younger than five
    assert len(first_cut(reader).batch.offsets) == 12


def test_nobody_waits_for_a_full_batch_while_there_is_nothing_else_to_do(kafka: KafkaBroker) -> None:
    topic = kafka.topic()
    produce(kafka.bootstrap, topic, [b"%02d" % n + b"x" * 500_000 for n in range(12)])
    reader = reader_of(kafka, topic, batch_bytes=8 << 20, batch_age_s=60)
    try:
        (first,) = poll(lambda: reader.poll(0.2, room=True), "a batch", 30)
        assert len(first.batch.offsets) == 3  # the first messages that make an eighth of a full batch
        assert not [cut for _ in range(5) for cut in reader.poll(0.1, room=True)]
        reader.stored(first)
        (second,) = poll(lambda: reader.poll(0.2, room=True), "the next batch", 30)
        assert second.batch.offsets.to_pylist() == [3, 4, 5]
    finally:
        reader.close()


def test_a_connection_that_breaks_is_waited_out(kafka: KafkaBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = kafka.topic()
    produce(kafka.bootstrap, topic, [line(0)])
    reader = reader_of(kafka, topic, batch_age_s=0)
    told: list[str] = []
    monkeypatch.setattr(reader, "_notice", told.append)
    client = reader._consumer  # pyright: ignore[reportPrivateUsage]
    real, broken = client.poll, [KafkaConnectionError("reset by peer"), KafkaConnectionError("reset by peer")]

    def flaky(*arguments: Any, **named: Any) -> Any:
        if broken:
            raise broken.pop()
        return real(*arguments, **named)

    monkeypatch.setattr(client, "poll", flaky)
    assert len(first_cut(reader).batch.offsets) == 1
    assert [text.rpartition("; ")[2] for text in told[:1]] == ["waiting for the broker, nothing is lost"]
    assert told[-1].endswith("the broker is back") and len(told) == 2

    refused = reader_of(kafka, topic)
    try:
        monkeypatch.setattr(refused._consumer, "poll", raising(TopicAuthorizationFailedError("no right")))  # pyright: ignore[reportPrivateUsage]
        with pytest.raises(SourceRefused):
            refused.poll(0.1, room=True)
    finally:
        refused.close()


def raising(error: Exception) -> Callable[..., Any]:
    def action(*_: Any, **__: Any) -> Any:
        raise error

    return action


def test_until_idle_ends_although_the_topic_goes_on(kafka: KafkaBroker, engine: Engine) -> None:
    topic = kafka.topic()
    produce(kafka.bootstrap, topic, [line(n) for n in range(100)])
    done = threading.Event()

    def write() -> None:
        producer = KafkaProducer(bootstrap_servers=kafka.bootstrap)
        number = 100
        while not done.wait(0.01):
            producer.send(topic, line(number))
            number += 1
        producer.close(timeout=10)

    writer = threading.Thread(target=write)
    running = loop(engine, source(kafka, topic), **SMALL)
    # Whatever happens, the test ends: a run that went on would be stopped, and say so.
    guard = threading.Timer(30, running.stop)
    writer.start()
    guard.start()
    try:
        running.run()
        assert guard.is_alive()
    finally:
        guard.cancel()
        done.set()
        writer.join()
    assert 100 <= exact(engine)["calls"] < 1000


def test_more_partitions_than_memory_for_full_batches(kafka: KafkaBroker) -> None:
    topic = kafka.topic(partitions=4)
    produce(kafka.bootstrap, topic, [b"%02d" % n + b"x" * 300_000 for n in range(60)])
    parsed = parse_source(source(kafka, topic))
    assert isinstance(parsed, KafkaUrl)
    options = IngestOptions(memory_bytes=64 << 20, batch_bytes=1 << 30, batch_age_s=60)
    reader = KafkaSource(parsed, lambda *_: [], SystemClock(), options, KafkaOptions())
    found: set[bytes] = set()

    def read() -> bool:
        for cut in reader.poll(0.2, room=True):
            found.update(value.as_py()[:2] for value in cut.batch.values)
        return len(found) >= 30

    try:
        poll(read, "half of the messages, although no batch is full or old", 30)
    finally:
        reader.close()


def test_the_lag_of_a_partition(kafka: KafkaBroker) -> None:
    topic = kafka.topic()
    produce(kafka.bootstrap, topic, [line(n) for n in range(30)])
    told: list[tuple[str, int, int]] = []

    class Told(Unmeasured):
        def lag(self, topic: str, partition: int, messages: int) -> None:
            told.append((topic, partition, messages))

        def gone(self, topic: str, partition: int) -> None:
            told.append((topic, partition, -1))

    parsed = parse_source(source(kafka, topic, group="lag"))
    assert isinstance(parsed, KafkaUrl)
    options = IngestOptions(batch_messages=20, batch_age_s=0)
    reader = KafkaSource(parsed, lambda *_: [], SystemClock(), options, KafkaOptions(), measures=Told())
    try:
        cuts = [*poll(lambda: reader.poll(0.2, room=True), "the first batch", 30)]
        while sum(len(cut.batch.values) for cut in cuts) < 30:
            cuts += reader.poll(0.2, room=True)
        for cut in cuts:
            reader.commit(final=True)
            reader.stored(cut)
        reader.commit(final=True)
    finally:
        reader.close()
    assert told == [(topic, 0, 30), (topic, 0, 10), (topic, 0, 0), (topic, 0, -1)]


def test_what_a_source_waits_for(kafka: KafkaBroker) -> None:
    topic = kafka.topic()
    parsed = parse_source(source(kafka, topic, group="waits"))
    assert isinstance(parsed, KafkaUrl)
    reader = KafkaSource(parsed, lambda *_: [], SystemClock(), IngestOptions(), KafkaOptions())
    try:
        assert reader.waits_for == "the group waits to let it in"
        poll(lambda: (reader.poll(0.2, room=True), not reader.waits_for)[1], "the group", 30)
        # As if the broker had been silent for longer than a session.
        heartbeat = reader._consumer._coordinator.heartbeat
        heartbeat.last_receive -= 100
        heartbeat.last_reset -= 100
        assert re.fullmatch(r"the broker, silent for (9\d|1\d\d) s", reader.waits_for)
    finally:
        reader.close()
