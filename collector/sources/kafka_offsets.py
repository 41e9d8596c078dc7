"""Positions of a group's member in its partitions: where reading began, up to where it is stored, and is committed."""

from __future__ import annotations

import logging
from collections.abc import Set
from dataclasses import dataclass

from kafka import KafkaConsumer, TopicPartition
from kafka import errors as kafka_errors

from collector.clock import Clock
from collector.ingest.measures import Measures
from collector.sources.kafka_topics import TopicIds, committed_at

COMMIT_TIMEOUT_S = 5.0
LAG_S = 5.0
"""Seconds between two looks at the lag."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Positions:
    """Of one partition; each is the next offset to come, None where nothing is known."""

    begun: int | None = None
    stored: int | None = None
    committed: int | None = None
    under_way: int = 0
    """Batches that were cut and are not stored."""


class Offsets:
    """Follows batches from cut to stored, commits what is stored, and tells the lag.

    Args:
        consumer: of the group.
        ids: which topic each position counts in.
        clock: for the pace of commits.
        commit_interval_s: seconds between commits.
        measures: hears of each partition's lag.
    """

    def __init__(
        self, consumer: KafkaConsumer, ids: TopicIds, clock: Clock, commit_interval_s: float, measures: Measures
    ) -> None:
        self._consumer = consumer
        self._ids = ids
        self._clock = clock
        self._commit_interval_s = commit_interval_s
        self._measures = measures
        self._of: dict[TopicPartition, _Positions] = {}
        self._lag_told: set[TopicPartition] = set()
        self._committed_at = self._lag_told_at = clock.monotonic()

    def begin(self, partition: TopicPartition, offset: int) -> None:
        """Messages from `offset` on came; where the first of them was is where this run began."""
        positions = self._positions(partition)
        if positions.begun is None:
            positions.begun = offset

    def cut(self, partition: TopicPartition) -> None:
        """A batch is on its way."""
        self._positions(partition).under_way += 1

    def stored(self, partition: TopicPartition, reached: int) -> None:
        """A batch that ends before `reached` is in the store."""
        positions = self._positions(partition)
        positions.under_way = max(positions.under_way - 1, 0)
        positions.stored = max(positions.stored or 0, reached)

    def forget(self, partition: TopicPartition) -> None:
        """It was given up, or is read from elsewhere."""
        self._of.pop(partition, None)

    @property
    def busy(self) -> bool:
        """Whether any batch is on its way."""
        return any(positions.under_way for positions in self._of.values())

    def is_under_way(self, partition: TopicPartition) -> bool:
        """Whether a batch of this partition is."""
        return partition in self._of and self._of[partition].under_way > 0

    def has_committed(self, partition: TopicPartition, end: int) -> bool:
        """Whether this member has committed everything before `end`."""
        return partition in self._of and (self._of[partition].committed or 0) >= end

    def commit(self, *, final: bool) -> None:
        """Commit what is stored, at most every `commit_interval_s` seconds unless it is the last time."""
        now = self._clock.monotonic()
        if final or now - self._lag_told_at >= LAG_S:
            self._lag_told_at = now
            self._tell_lag()
        if not final and now - self._committed_at < self._commit_interval_s:
            return
        self._committed_at = now
        assigned = self._consumer.assignment() or set()
        ahead = {
            partition: positions.stored
            for partition, positions in self._of.items()
            if partition in assigned
            and positions.stored is not None
            and (positions.committed is None or positions.stored > positions.committed)
        }
        if not ahead:
            return
        try:
            self._consumer.commit(
                {
                    partition: committed_at(position, self._ids.of.get(partition, ""))
                    for partition, position in ahead.items()
                },
                timeout_ms=int(COMMIT_TIMEOUT_S * 1000),
            )
        except kafka_errors.KafkaError as error:
            # A rebalance or a coordinator on the move: what stays uncommitted is read again and dropped by its token.
            _log.info("offsets not committed: %s", error)
            return
        for partition, position in ahead.items():
            self._positions(partition).committed = position

    def close(self) -> None:
        """No lag is told from now on."""
        for partition in self._lag_told:
            self._measures.gone(partition.topic, partition.partition)

    def _positions(self, partition: TopicPartition) -> _Positions:
        return self._of.setdefault(partition, _Positions())

    def _tell_lag(self) -> None:
        assigned: Set[TopicPartition] = self._consumer.assignment() or set()
        for partition in self._lag_told - assigned:
            self._measures.gone(partition.topic, partition.partition)
        self._lag_told &= assigned
        for partition in assigned:
            known = self._of.get(partition, _Positions())
            position = known.begun if known.stored is None else known.stored
            try:
                end = self._consumer.highwater(partition)
                if position is None:
                    position = self._consumer.position(partition, timeout_ms=0)
            except (kafka_errors.KafkaError, KeyError):
                continue  # taken away in between, on the client's own thread
            if end is not None and position is not None:
                self._lag_told.add(partition)
                self._measures.lag(partition.topic, partition.partition, max(0, end - position))
