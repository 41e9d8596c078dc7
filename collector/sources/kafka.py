"""Kafka topics as a source: one member of a consumer group, any number of which share the partitions.

    poll ──► Pending (one a partition) ──► Cut ──► … ──► stored ──► commit

Offsets are committed by hand, after the rows are stored. A group without offsets starts at the earliest. A partition
that is taken away loses its lease at once: what was cut from it and is not stored yet is dropped, its next owner cuts
it again along the recorded bounds. A topic that was deleted and created again is another topic: it is read from its
beginning.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka import errors as kafka_errors
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.structs import OffsetAndMetadata

from collector.clock import Clock
from collector.errors import BadSource, CollectorError, SourceRefused, SourceUnavailable
from collector.ingest.options import IngestOptions
from collector.sources.options import KafkaOptions
from collector.sources.pending import Chunk, Pending
from collector.sources.source import Cut, Recorded
from collector.sources.urls import KafkaUrl

COMMIT_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 3.0
OTHERS_CHECK_S = 1.0
MAX_POLL_MESSAGES = 500_000

_log = logging.getLogger(__name__)


class _Leases(ConsumerRebalanceListener):
    """Hears of rebalances on the client's own thread, so it only revokes leases; the reader's thread does the rest."""

    def __init__(self) -> None:
        self.held: dict[TopicPartition, Pending] = {}

    def on_partitions_revoked(self, revoked: Any) -> None:
        for partition in revoked:
            if pending := self.held.get(partition):
                pending.lease.revoke()

    def on_partitions_assigned(self, assigned: Any) -> None:
        # What came between losing and getting a partition back does not join what is fetched from now on.
        self.on_partitions_revoked(assigned)


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
    ) -> None:
        self.label = url.label
        self._url = url
        self._recorded = recorded
        self._clock = clock
        self._options = options
        self._notice = notice
        self._leases = _Leases()
        self._stored: dict[TopicPartition, int] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._outstanding: dict[TopicPartition, int] = {}
        self._committed_at = self._others_at = clock.monotonic()
        self._paused = False
        self._closed = False
        self._consumer = connect(url, kafka)
        try:
            self._check_topics(until_idle)
            self._ends = self._end_offsets() if until_idle else None
            self._subscribe()
        except BaseException:
            self._consumer.close(autocommit=False, timeout_ms=int(CLOSE_TIMEOUT_S * 1000))
            raise

    # Start.

    def _subscribe(self) -> None:
        if self._url.topics[0].startswith("^"):
            self._consumer.subscribe(pattern=self._url.topics[0], listener=self._leases)
        else:
            self._consumer.subscribe(topics=list(self._url.topics), listener=self._leases)

    def _check_topics(self, must_exist: bool) -> None:
        if self._url.topics[0].startswith("^"):
            return
        known = self._told(self._consumer.topics)
        missing = sorted(set(self._url.topics) - known)
        if missing and must_exist:
            raise BadSource(f"{self.label}: no topic {', '.join(missing)} on this cluster, expected one that exists")
        if missing:
            self._notice(f"{self.label}: no topic {', '.join(missing)} yet, waiting for it")

    def _topics(self) -> list[str]:
        if not self._url.topics[0].startswith("^"):
            return list(self._url.topics)
        import re

        pattern = re.compile(self._url.topics[0])
        return sorted(topic for topic in self._told(self._consumer.topics) if pattern.match(topic))

    def _end_offsets(self) -> dict[TopicPartition, int]:
        partitions = [
            TopicPartition(topic, number)
            for topic in self._topics()
            for number in sorted(self._told(lambda t=topic: self._consumer.partitions_for_topic(t)) or ())
        ]
        return dict(self._told(lambda: self._consumer.end_offsets(partitions))) if partitions else {}

    def _told(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except kafka_errors.KafkaError as error:
            raise translated(error, self.label) from None

    # Reading.

    def poll(self, timeout_s: float, *, room: bool) -> list[Cut]:
        """Wait up to `timeout_s` for messages; without `room`, only keep the membership alive."""
        room = room and self._buffered() < self._options.memory_bytes // 8
        self._pause(not room)
        records: Mapping[TopicPartition, list[Any]] = self._told(
            lambda: self._consumer.poll(timeout_ms=int(timeout_s * 1000), max_records=MAX_POLL_MESSAGES)
        )
        self._drop_revoked()
        self._notice_recreated()
        now = self._clock.monotonic()
        for partition, found in records.items():
            self._take(partition, found, now)
        return self._cut(now) if room else []

    def _take(self, partition: TopicPartition, found: list[Any], now: float) -> None:
        values = [record.value or b"" for record in found]
        self._add(partition, Chunk.of(values, [record.offset for record in found]), now)

    def _add(self, partition: TopicPartition, chunk: Chunk, now: float) -> None:
        pending = self._pending(partition)
        if int(chunk.offsets[0]) < pending.reached:
            # The position went back (a log that was truncated): one batch never holds both sides of it.
            pending.lease.revoke()
            self._forget(partition)
            pending = self._pending(partition)
        pending.add(chunk, now)

    def _pending(self, partition: TopicPartition) -> Pending:
        pending = self._leases.held.get(partition)
        if pending is None or pending.lease.revoked:
            pending = Pending(
                self._cluster_id(),
                partition.topic,
                self._topic_id(partition.topic),
                partition.partition,
                self._url.format,
            )
            self._leases.held[partition] = pending
        return pending

    def _cluster_id(self) -> str:
        return self._consumer._cluster.cluster_id or ",".join(self._url.bootstrap)  # pyright: ignore[reportPrivateUsage]

    def _topic_id(self, topic: str) -> str:
        found = self._consumer._cluster.topic_id(topic)  # pyright: ignore[reportPrivateUsage]
        # Brokers before 2.8 have no topic ids: there a recreated topic cannot be told from the old one.
        return found.hex if found is not None and found.int else f"{self._cluster_id()}/{topic}"

    def _cut(self, now: float) -> list[Cut]:
        cuts: list[Cut] = []
        for partition, pending in self._leases.held.items():
            if pending.lease.revoked:
                continue
            while cut := pending.cut(
                self._recorded,
                messages=self._options.batch_messages,
                size_bytes=self._options.batch_bytes,
                everything=self._is_due(partition, pending, now),
            ):
                cuts.append(cut)
                self._outstanding[partition] = self._outstanding.get(partition, 0) + 1
        return cuts

    def _is_due(self, partition: TopicPartition, pending: Pending, now: float) -> bool:
        if self._ends is not None and pending.reached >= self._ends.get(partition, 0):
            return True
        return pending.messages > 0 and now - pending.since >= self._options.batch_age_s

    def _buffered(self) -> int:
        return sum(pending.size_bytes for pending in self._leases.held.values())

    def _pause(self, pause: bool) -> None:
        # Also asked when nothing changed: partitions that were assigned meanwhile follow suit.
        assigned = self._consumer.assignment() or set()
        if pause:
            self._consumer.pause(*assigned)
        elif self._paused:
            self._consumer.resume(*assigned)
        self._paused = pause

    # Partitions come and go.

    def _drop_revoked(self) -> None:
        for partition, pending in list(self._leases.held.items()):
            if pending.lease.revoked:
                self._forget(partition)

    def _forget(self, partition: TopicPartition) -> None:
        self._leases.held.pop(partition, None)
        self._stored.pop(partition, None)
        self._committed.pop(partition, None)
        self._outstanding.pop(partition, None)

    def _notice_recreated(self) -> None:
        for partition, pending in list(self._leases.held.items()):
            if pending.topic_id == self._topic_id(partition.topic):
                continue
            self._notice(f"{self.label}: topic {partition.topic} was created anew, reading it from its beginning")
            pending.lease.revoke()
            self._forget(partition)
            if partition in (self._consumer.assignment() or ()):
                self._consumer.seek_to_beginning(partition)

    def stored(self, cut: Cut) -> None:
        """`cut` is in the store: its offsets may be committed."""
        partition = TopicPartition(cut.batch.topic, cut.batch.partition)
        self._outstanding[partition] = self._outstanding.get(partition, 1) - 1
        self._stored[partition] = max(self._stored.get(partition, 0), cut.batch.last + 1)

    def rewind(self, cut: Cut) -> None:
        """Another member recorded other bounds: fetch this partition again from there."""
        partition = TopicPartition(cut.batch.topic, cut.batch.partition)
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
        self._drop_revoked()
        assigned = self._consumer.assignment() or set()
        others: list[TopicPartition] = []
        for partition, end in self._ends.items():
            if end == 0 or self._committed.get(partition, 0) >= end:
                continue
            if partition not in assigned:
                others.append(partition)
            elif not self._is_read(partition, end):
                return False
        return not others or self._others_finished(others)

    def _is_read(self, partition: TopicPartition, end: int) -> bool:
        pending = self._leases.held.get(partition)
        if (pending and pending.messages) or self._outstanding.get(partition, 0):
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
        now = self._clock.monotonic()
        if not final and now - self._committed_at < self._options.commit_interval_s:
            return
        self._committed_at = now
        assigned = self._consumer.assignment() or set()
        ahead = {
            partition: position
            for partition, position in self._stored.items()
            if partition in assigned and position > self._committed.get(partition, -1)
        }
        if not ahead:
            return
        try:
            self._consumer.commit(
                {partition: OffsetAndMetadata(position, "", -1) for partition, position in ahead.items()},
                timeout_ms=int(COMMIT_TIMEOUT_S * 1000),
            )
        except kafka_errors.KafkaError as error:
            # A rebalance or a coordinator on the move: what stays uncommitted is read again and dropped by its token.
            _log.info("offsets not committed: %s", error)
            return
        self._committed.update(ahead)

    def close(self) -> None:
        """Leave the group."""
        if self._closed:
            return
        self._closed = True
        for pending in self._leases.held.values():
            pending.lease.revoke()
        self._consumer.close(autocommit=False, timeout_ms=int(CLOSE_TIMEOUT_S * 1000))


def connect(url: KafkaUrl, kafka: KafkaOptions) -> KafkaConsumer:
    """A consumer for `url` that has reached a broker.

    Raises:
        SourceUnavailable, SourceRefused, BadSource: see `KafkaSource`.
    """
    label = url.label
    try:
        context = _ssl_context(url)
    except (OSError, ssl.SSLError) as error:
        raise BadSource(f"{label}: certificate files: {error.strerror or error}, expected readable PEM files") from None
    started = time.monotonic()
    try:
        return KafkaConsumer(
            bootstrap_servers=list(url.bootstrap),
            client_id="eastwatch",
            group_id=url.group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            allow_auto_create_topics=False,
            exclude_internal_topics=True,
            fetch_max_bytes=kafka.fetch_bytes,
            max_partition_fetch_bytes=kafka.partition_fetch_bytes,
            fetch_max_wait_ms=200,
            max_poll_records=MAX_POLL_MESSAGES,
            session_timeout_ms=int(kafka.session_timeout_s * 1000),
            heartbeat_interval_ms=int(kafka.session_timeout_s * 1000 / 4),
            metadata_max_age_ms=int(kafka.metadata_refresh_s * 1000),
            bootstrap_timeout_ms=int(kafka.connect_timeout_s * 1000),
            reconnect_backoff_max_ms=5000,
            metrics_enabled=False,
            security_protocol=url.security,
            ssl_context=context,
            sasl_mechanism=url.mechanism or None,
            sasl_plain_username=url.user or None,
            sasl_plain_password=url.password or None,
        )
    except kafka_errors.KafkaTimeoutError:
        waited = time.monotonic() - started
        raise SourceUnavailable(
            f"{label}: no broker answered within {waited:.0f} s, expected Kafka at {', '.join(url.bootstrap)}"
            f" speaking {url.security}"
        ) from None
    except kafka_errors.KafkaError as error:
        raise translated(error, label) from None


def _ssl_context(url: KafkaUrl) -> ssl.SSLContext | None:
    if not url.security.endswith("SSL"):
        return None
    context = ssl.create_default_context(cafile=url.ca or None)
    if not url.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if url.cert:
        context.load_cert_chain(url.cert, url.key or None)
    return context


def translated(error: kafka_errors.KafkaError, label: str) -> CollectorError:
    """What a client's error means for whoever runs eastwatch."""
    name = type(error).__name__
    if isinstance(error, kafka_errors.SaslAuthenticationFailedError | kafka_errors.UnsupportedSaslMechanismError):
        return SourceRefused(f"{label}: the broker refused user or password ({error})")
    if isinstance(error, kafka_errors.AuthorizationError):
        return SourceRefused(f"{label}: the broker refused access ({name}: {error}), expected the right to read")
    if isinstance(error, kafka_errors.InvalidTopicError):
        return BadSource(f"{label}: the broker calls the topic's name invalid")
    return SourceUnavailable(f"{label}: {name}: {error}")
