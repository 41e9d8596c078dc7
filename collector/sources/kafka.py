"""Kafka topics as a source: one member of a consumer group, any number of which share the partitions.

    poll ──► Pending (one a partition) ──► Cut ──► … ──► stored ──► commit

Offsets are committed by hand, after the rows are stored. A group without offsets starts at the earliest. A partition
that is taken away loses its lease at once: what was cut from it and is not stored yet is dropped, its next owner cuts
it again along the recorded bounds. A topic that was deleted and created again is another topic: it is read from its
beginning.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

from kafka import TopicPartition
from kafka import errors as kafka_errors

from collector.clock import Clock
from collector.contract import DeadLetter
from collector.errors import BadSource, SourceUnavailable
from collector.ingest.measures import Measures, Unmeasured
from collector.ingest.options import IngestOptions
from collector.sources.kafka_batches import read_raw
from collector.sources.kafka_client import MAX_POLL_MESSAGES, connect, join_to_the_end, share_fetches, translated
from collector.sources.kafka_leases import Leases
from collector.sources.kafka_offsets import Offsets
from collector.sources.kafka_receive import receive_in_place
from collector.sources.kafka_topics import TopicIds, listed_id
from collector.sources.options import KafkaOptions
from collector.sources.pace import Pace
from collector.sources.pending import Chunk, Pending
from collector.sources.source import Cut, Recorded
from collector.sources.urls import KafkaUrl

CLOSE_TIMEOUT_S = 3.0
OTHERS_CHECK_S = 1.0
FIRST_SHARE = 8
"""While nothing of the source is on its way, a batch of this part of the full size is enough (`Pace.has_rested`)."""
FIRST_WITH_TOPIC_IDS = (2, 8)
"""Older brokers cannot tell a recreated topic from the one before it."""
METADATA_LIMIT_S = 5.0
"""How long a topic that exists may stay unknown to a client that has just connected."""


class KafkaSource:
    """Reads `url.topics` as a member of the group `url.group`.

    Args:
        url: brokers, topics, group, credentials.
        recorded: bounds of earlier runs.
        clock: for the age of batches.
        options: sizes of batches, pace of commits.
        kafka: how topics are read.
        until_idle: finish when everything up to the end offsets of now is stored, by this member or by another.
        notice: tells people what they should know.
        measures: hears of each partition's lag.

    Raises:
        SourceUnavailable: no broker answers.
        SourceRefused: the broker refuses the credentials or the right to read.
        BadSource: a topic does not exist (with `until_idle`; else it is waited for).
    """

    def __init__(
        self,
        url: KafkaUrl,
        recorded: Recorded,
        clock: Clock,
        options: IngestOptions,
        kafka: KafkaOptions,
        *,
        until_idle: bool = False,
        notice: Callable[[str], None] = lambda _message: None,
        measures: Measures | None = None,
    ) -> None:
        self.label = url.label
        self._url = url
        self._recorded = recorded
        self._clock = clock
        self._options = options
        self._notice = notice
        self._kafka = kafka
        self._leases = Leases()
        self._away = False
        self._pace = Pace(options.batch_age_s)
        self._others_at = clock.monotonic()
        self._topic_ids: dict[str, str] = {}
        self._turn = 0
        """Which partition is cut first: the next one, where not all of them had their turn."""
        self._more = False
        """More can be cut than was handed out."""
        self._paused = False
        self._came: Set[TopicPartition] = frozenset()
        """Partitions of which the last poll brought messages."""
        self._stuck = False
        """More is held than may be, and all of it belongs to batches of earlier runs that are not complete yet."""
        self._closed = False
        self._consumer = connect(url, kafka)
        if kafka.raw_batches:
            read_raw(self._consumer, options.record_batch_bytes, notice)
            receive_in_place(self._consumer)
        self._ids = TopicIds(self._consumer, self._tell_recreated)
        self._offsets = Offsets(self._consumer, self._ids, clock, options.commit_interval_s, measures or Unmeasured())
        try:
            self._subscribe()
            partitions = self._partitions(until_idle)
            self._ends = self._end_offsets(partitions) if until_idle else None
        except BaseException:
            self._consumer.close(autocommit=False, timeout_ms=int(CLOSE_TIMEOUT_S * 1000))
            raise

    # Start.

    def _subscribe(self) -> None:
        if self._url.topics[0].startswith("^"):
            self._consumer.subscribe(pattern=self._url.topics[0], listener=self._leases)
        else:
            self._consumer.subscribe(topics=list(self._url.topics), listener=self._leases)

    def _partitions(self, must_exist: bool) -> list[TopicPartition]:
        # The client asks for what is subscribed; a refresh that was under way before that forgets it once more.
        until = self._clock.monotonic() + METADATA_LIMIT_S
        while True:
            numbers = {topic: self._numbers(topic) for topic in self._topics()}
            missing = sorted(topic for topic, found in numbers.items() if not found)
            if not missing or not must_exist or self._clock.monotonic() >= until:
                break
        if missing and must_exist:
            raise BadSource(f"{self.label}: no topic {', '.join(missing)} on this cluster, expected one that exists")
        if missing:
            self._notice(f"{self.label}: no topic {', '.join(missing)} yet, waiting for it")
        return [TopicPartition(topic, number) for topic, found in numbers.items() for number in sorted(found)]

    def _topics(self) -> list[str]:
        if not self._url.topics[0].startswith("^"):
            return list(self._url.topics)
        pattern = re.compile(self._url.topics[0])
        return sorted(topic for topic in self._told(self._consumer.topics) if pattern.match(topic))

    def _numbers(self, topic: str) -> set[int]:
        return self._told(lambda: self._consumer.partitions_for_topic(topic)) or set()

    def _end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict(self._told(lambda: self._consumer.end_offsets(partitions))) if partitions else {}

    def _told(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except kafka_errors.KafkaError as error:
            raise translated(error, self.label) from None

    @property
    def waits_for(self) -> str:
        """The group, until it has let this member in; the coordinator, while it has been silent for a session."""
        if not self._leases.joined:
            return f"the group {self._url.group} to let it in"
        heartbeat = self._consumer._coordinator.heartbeat  # pyright: ignore[reportPrivateUsage]
        silent_s = time.monotonic() - max(heartbeat.last_receive, heartbeat.last_reset)
        return f"the broker, silent for {silent_s:.0f} s" if silent_s > self._kafka.session_timeout_s else ""

    # Reading.

    def poll(self, timeout_s: float, *, room: bool) -> list[Cut]:
        """Wait up to `timeout_s` for messages; without `room`, only keep the membership alive."""
        self._pause(not room or (self._crowded() and not self._stuck))
        share_fetches(self._consumer, self._kafka)
        join_to_the_end(self._consumer)
        records = self._fetched(0 if room and self._more else timeout_s)
        self._drop_lost()
        recreated = self._notice_recreated()
        now = self._clock.monotonic()
        self._came = records.keys() - recreated
        for partition in self._came:
            self._take(partition, records[partition], now)
        return self._cut(now) if room else []

    def _fetched(self, timeout_s: float) -> Mapping[TopicPartition, list[Any]]:
        """What the client has, within `timeout_s`; nothing while the broker cannot be reached for a passing reason."""
        try:
            records = self._consumer.poll(timeout_ms=int(timeout_s * 1000), max_records=self._most())
        except kafka_errors.KafkaError as error:
            if not error.retriable:
                raise translated(error, self.label) from None
            if not self._away:
                self._away = True
                self._notice(f"{translated(error, self.label)}; waiting for the broker, nothing is lost")
            time.sleep(timeout_s)
            return {}
        if self._away and records:
            self._away = False
            self._notice(f"{self.label}: the broker is back")
        return records

    def _most(self) -> int:
        """What one poll may take: bytes, or messages of the client's own reader."""
        if not self._kafka.raw_batches:
            return MAX_POLL_MESSAGES
        room_bytes = self._options.waiting_bytes - self._waiting_bytes()
        return room_bytes if room_bytes > 0 else self._options.fetch_bytes

    def _take(self, partition: TopicPartition, found: list[Any], now: float) -> None:
        if not isinstance(found[0], Chunk):
            found = [Chunk.of([record.value or b"" for record in found], [record.offset for record in found])]
        for chunk in found:
            self._add(partition, chunk, now)

    def _add(self, partition: TopicPartition, chunk: Chunk, now: float) -> None:
        pending = self._pending(partition)
        if pending.lease.revoked:
            # Another member's bounds stand for a batch of ours: nothing counts until `rewind` has gone back to it.
            return
        if self._ends is not None and not pending.messages and int(chunk.offsets[0]) >= self._ends.get(partition, 0):
            return  # written after the start: the next run's
        if int(chunk.offsets[0]) < pending.reached:
            # The position went back (a log that was truncated): one batch never holds both sides of it.
            self._forget(partition)
            pending = self._pending(partition)
        self._offsets.begin(partition, int(chunk.offsets[0]))
        pending.add(chunk, now)

    def _pending(self, partition: TopicPartition) -> Pending:
        topic_id = self._ids.of.get(partition)
        if not topic_id:
            topic_id = self._topic_id(partition.topic)
            self._ids.take_over(partition)
        pending = self._leases.held.get(partition)
        if pending is not None and pending.topic_id != topic_id:
            self._forget(partition)
            pending = None
        if pending is None:
            pending = Pending(self._cluster_id(), partition.topic, topic_id, partition.partition, self._url.format)
            self._leases.held[partition] = pending
        return pending

    def _cluster_id(self) -> str:
        return self._consumer._cluster.cluster_id or ",".join(self._url.bootstrap)  # pyright: ignore[reportPrivateUsage]

    def _topic_id(self, topic: str) -> str:
        until = self._clock.monotonic() + METADATA_LIMIT_S
        while not (found := listed_id(self._consumer, topic)):
            if known := self._topic_ids.get(topic):
                # Between two refreshes the client may have forgotten a topic that is still there.
                return known
            if self._consumer.config["api_version"] < FIRST_WITH_TOPIC_IDS:
                found = f"{self._cluster_id()}/{topic}"
                break
            if self._clock.monotonic() >= until:
                raise SourceUnavailable(f"{self.label}: the broker gives no id for topic {topic}")
            self._told(self._consumer.topics)
        self._topic_ids[topic] = found
        return found

    def _cut(self, now: float) -> list[Cut]:
        cuts: list[Cut] = []
        assigned = self._consumer.assignment() or set()
        # Where nothing more may be read and no batch is full, the largest one goes as it is.
        held = {partition: pending.held_bytes for partition, pending in self._leases.held.items()}
        largest = max(held, key=held.__getitem__) if self._crowded() else None
        self._more = False
        handed_bytes = 0
        waiting = list(self._leases.held.items())
        at = self._turn % max(len(waiting), 1)
        for partition, pending in waiting[at:] + waiting[:at]:
            if pending.lease.revoked or partition not in assigned:
                continue
            while not self._more and (
                cut := pending.cut(
                    self._recorded,
                    messages=self._options.batch_messages,
                    size_bytes=self._enough_bytes(pending, now),
                    everything=partition == largest or self._is_due(partition, pending, now),
                    at_end=pending.messages > 0 and self._is_at_end(partition, pending),
                )
            ):
                cuts.append(cut)
                # A cut is a copy, and waits outside of what is counted until there is room for it.
                handed_bytes += cut.size_bytes
                self._more = handed_bytes >= self._options.batch_bytes
                self._offsets.cut(partition)
                self._pace.cut(partition, cut.batch.first, now)
        self._stuck = largest is not None and not cuts
        self._turn += self._more
        return cuts

    def _enough_bytes(self, pending: Pending, now: float) -> int:
        """Bytes that make a batch: nobody waits for a full one while there is nothing else to do."""
        if self._offsets.busy or not self._pace.has_rested(now - pending.since):
            return self._options.batch_bytes
        return max(self._options.batch_bytes // FIRST_SHARE, 1)

    def _is_due(self, partition: TopicPartition, pending: Pending, now: float) -> bool:
        if self._ends is not None and pending.reached >= self._ends.get(partition, 0):
            return True
        age_s = now - pending.since
        if not pending.messages or age_s < self._options.batch_age_s:
            return False
        if age_s >= self._pace.due_s(at_end=False):
            return True
        return age_s >= self._pace.due_s(at_end=True) and self._is_at_end(partition, pending)

    def _is_at_end(self, partition: TopicPartition, pending: Pending) -> bool:
        """Whether the broker had nothing more when it was last asked."""
        try:
            end = self._consumer.highwater(partition)
            if end is None or pending.reached >= end:
                return end is not None
            if partition in self._came:
                return False
            # The position also passes what no consumer sees: transaction markers, aborted and compacted messages.
            position = self._consumer.position(partition, timeout_ms=0)
        except (kafka_errors.KafkaError, KeyError):
            return False  # taken away in between, on the client's own thread
        return position is not None and position >= end

    def _crowded(self) -> bool:
        """Whether the messages that wait to be cut take all the memory they may."""
        return self._waiting_bytes() >= self._options.waiting_bytes

    def _waiting_bytes(self) -> int:
        return sum(pending.held_bytes for pending in self._leases.held.values())

    def _pause(self, pause: bool) -> None:
        # Also asked when nothing changed: partitions that were assigned meanwhile follow suit.
        assigned = self._consumer.assignment() or set()
        if pause:
            self._consumer.pause(*assigned)
        elif self._paused:
            self._consumer.resume(*assigned)
        self._paused = pause

    # Partitions come and go.

    def _drop_lost(self) -> None:
        assigned = self._consumer.assignment() or set()
        for partition, pending in list(self._leases.held.items()):
            if partition not in assigned or pending.lost:
                self._forget(partition)

    def _forget(self, partition: TopicPartition) -> None:
        if pending := self._leases.held.pop(partition, None):
            pending.lease.revoke()
        self._offsets.forget(partition)
        self._pace.forget(partition)

    def _notice_recreated(self) -> set[TopicPartition]:
        """Go to the beginning of topics that are others than they were, and name their partitions."""
        recreated = {one for one in self._consumer.assignment() or () if self._ids.changed(one)}
        for partition in recreated:
            self._forget(partition)
            self._ids.take_over(partition)
            self._consumer.seek_to_beginning(partition)
        for topic in {partition.topic for partition in recreated}:
            self._tell_recreated(topic)
        return recreated

    def _tell_recreated(self, topic: str) -> None:
        self._notice(f"{self.label}: topic {topic} was created anew, reading it from its beginning")

    def stored(self, cut: Cut, dead: Sequence[DeadLetter] = ()) -> None:
        """`cut` is in the store: its offsets may be committed."""
        del dead
        partition = TopicPartition(cut.batch.topic, cut.batch.partition)
        self._pace.stored(partition, cut.batch.first, self._clock.monotonic())
        self._offsets.stored(partition, cut.batch.last + 1)

    def rewind(self, cut: Cut) -> None:
        """Another member recorded other bounds: fetch this partition again from there."""
        partition = TopicPartition(cut.batch.topic, cut.batch.partition)
        pending = self._leases.held.get(partition)
        if pending is None or pending.lease is not cut.lease:
            # The partition was given up meanwhile. Where it came back, its position is another, maybe in another topic.
            return
        self._forget(partition)
        if partition in (self._consumer.assignment() or ()):
            self._consumer.seek(partition, cut.batch.first)

    def failed(self, error: Exception) -> None:
        """Ingestion stops; what was not committed is read again by the next run."""

    # The end.

    @property
    def finished(self) -> bool:
        """With `until_idle`: everything up to the end offsets seen at the start is stored."""
        if self._ends is None:
            return False
        self._drop_lost()
        assigned = self._consumer.assignment() or set()
        others: list[TopicPartition] = []
        for partition, end in self._ends.items():
            if end == 0 or self._offsets.has_committed(partition, end):
                continue
            if partition not in assigned:
                others.append(partition)
            elif not self._is_read(partition, end):
                return False
        return not others or self._others_finished(others)

    def _is_read(self, partition: TopicPartition, end: int) -> bool:
        pending = self._leases.held.get(partition)
        if (pending and pending.messages) or self._offsets.is_under_way(partition):
            return False
        # The position also passes what no consumer sees: transaction markers, aborted and compacted messages.
        position = self._told(lambda: self._consumer.position(partition, timeout_ms=2000))
        return position is not None and position >= end

    def _others_finished(self, others: list[TopicPartition]) -> bool:
        now = self._clock.monotonic()
        if now - self._others_at < OTHERS_CHECK_S:
            return False
        self._others_at = now
        assert self._ends is not None
        for partition in others:
            committed = self._told(lambda p=partition: self._consumer.committed(p, timeout_ms=5000))
            if committed is None or committed < self._ends[partition]:
                return False
        return True

    def commit(self, *, final: bool = False) -> None:
        """Commit the offsets of what is stored."""
        self._offsets.commit(final=final)

    def close(self) -> None:
        """Leave the group."""
        if self._closed:
            return
        self._closed = True
        for pending in self._leases.held.values():
            pending.lease.revoke()
        self._offsets.close()
        self._consumer.close(autocommit=False, timeout_ms=int(CLOSE_TIMEOUT_S * 1000))
