"""Whether a topic is still the one it was: where reading begins, and when it may go on.

Fetches and commits of kafka-python name a topic, not its id: one that was deleted and created again answers in the
place of the one before. The id comes with the metadata alone. So a position is taken up only where metadata are new:
when a partition was assigned, and when it was not fetched for a while. And each commit notes the id, in its metadata
string: one that was made in the topic before is no place to go on from.

What is replaced here runs on the client's own thread, as what updates the metadata does: nothing comes in between.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka import errors as kafka_errors
from kafka.structs import OffsetAndMetadata

UNSEEN_S = 1.0
"""A position that was not fetched from for so long waits for new metadata. What happens in less is not seen."""
REFRESH_LIMIT_S = 2.0
"""How long metadata are waited for after an assignment. Without any, the next poll asks again."""
_NOTE = "topic_id="

# pyright: reportPrivateUsage=false


def listed_id(consumer: KafkaConsumer, topic: str) -> str:
    """The id of `topic` in the newest metadata, as hexadecimals; empty where it is not listed, or has none."""
    found = consumer._cluster.topic_id(topic)
    return found.hex if found is not None and found.int else ""


def committed_at(position: int, topic_id: str) -> OffsetAndMetadata:
    """What is committed for a position in the topic `topic_id`; an empty id notes nothing."""
    return OffsetAndMetadata(position, f"{_NOTE}{topic_id}" if topic_id else "", -1)


def is_of(committed: OffsetAndMetadata, topic_id: str) -> bool:
    """Whether a commit may have been made in the topic `topic_id`: one that notes no id may."""
    _, noted, other = (committed.metadata or "").partition(_NOTE)
    return not noted or not topic_id or other == topic_id


class TopicIds:
    """Keeps each position of `consumer` to the topic it is of.

    Args:
        consumer: of a group.
        told: hears the name of a topic whose commits were made in another one of that name.
    """

    def __init__(self, consumer: KafkaConsumer, told: Callable[[str], None]) -> None:
        self.of: dict[TopicPartition, str] = {}
        """The topic id that each partition's position counts in; empty where none is known."""
        self._consumer = consumer
        self._told = told
        self._asked_at: dict[TopicPartition, float] = {}
        consumer._coordinator.refresh_committed_offsets_if_needed_async = self._resume
        fetcher = consumer._fetcher
        self._fetchable, fetcher._fetchable_partitions = fetcher._fetchable_partitions, self._seen
        self._requests, fetcher._create_fetch_requests = fetcher._create_fetch_requests, self._note_requests

    def changed(self, partition: TopicPartition) -> bool:
        """Whether there is another topic now than the position counts in."""
        known, listed = self.of.get(partition), listed_id(self._consumer, partition.topic)
        return bool(known and listed) and known != listed

    def take_over(self, partition: TopicPartition) -> None:
        """The position counts in the topic that is there now."""
        self.of[partition] = listed_id(self._consumer, partition.topic)

    async def _resume(self, timeout_ms: float | None = None) -> bool:
        """The client's own, with a look at the topic: whether every partition that had no position was asked for."""
        coordinator, consumer = self._consumer._coordinator, self._consumer
        subscription = coordinator._subscription
        missing = set(subscription.missing_fetch_positions())
        if not missing:
            return True
        try:
            offsets = await coordinator.fetch_committed_offsets_async(missing, timeout_ms=timeout_ms)
        except kafka_errors.KafkaTimeoutError:
            return False
        try:
            # After the offsets: a topic that comes in between must not get those of the one before.
            await consumer._manager.wait_for(consumer._cluster.request_update(), REFRESH_LIMIT_S * 1000)
        except kafka_errors.KafkaError:
            return False
        for partition in missing:
            self.take_over(partition)
        for partition, committed in offsets.items():
            if partition not in subscription.assignment:
                continue
            if is_of(committed, self.of[partition]):
                subscription.seek(partition, committed.offset)
            else:
                self._told(partition.topic)
        # For what was assigned meanwhile no offset was asked: the client would read it from its beginning.
        return missing.issuperset(subscription.missing_fetch_positions())

    def _seen(self) -> list[TopicPartition]:
        """The partitions that may be fetched: of no other topic, and that is known as of now."""
        cluster, now = self._consumer._cluster, time.monotonic()
        updated_at = cluster._last_successful_refresh_ms / 1000
        found = [partition for partition in self._fetchable() if not self.changed(partition)]
        seen = [
            partition
            for partition in found
            if not self.of.get(partition) or now - max(updated_at, self._asked_at.get(partition, 0)) < UNSEEN_S
        ]
        if len(seen) < len(found):
            cluster.request_update()
        return seen

    def _note_requests(self) -> Any:
        requests, now = self._requests(), time.monotonic()
        for _, offsets in requests.values():
            self._asked_at.update(dict.fromkeys(offsets, now))
        return requests
