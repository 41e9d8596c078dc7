"""How much is fetched from each of several brokers."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from kafka import TopicPartition

from collector.sources.kafka_client import LEAST_FETCH_BYTES, fetch_share, share_fetches
from collector.sources.options import KafkaOptions

SIZES = KafkaOptions(fetch_bytes=96 << 20, partition_fetch_bytes=40 << 20)


def consumer(leaders: Sequence[int | None]) -> Any:
    """One that was assigned as many partitions, led by these brokers."""
    assigned = {TopicPartition("t", number): leader for number, leader in enumerate(leaders)}
    return SimpleNamespace(
        assignment=lambda: set(assigned),
        _cluster=SimpleNamespace(leader_for_partition=assigned.get),
        _fetcher=SimpleNamespace(config={}),
    )


def test_the_share_of_a_broker() -> None:
    assert [fetch_share(96 << 20, brokers) >> 20 for brokers in (0, 1, 2, 3, 96)] == [96, 96, 48, 32, 1]
    assert fetch_share(1 << 20, 1000) == LEAST_FETCH_BYTES


def test_fetches_from_all_brokers_together_are_one() -> None:
    for leaders, share, largest in (
        ([], 96, 40),
        ([1, 1, 1], 96, 40),
        ([1, 2, None, -1, 2], 48, 40),
        ([1, 2, 3, 4], 24, 24),
    ):
        one = consumer(leaders)
        share_fetches(one, SIZES)
        assert one._fetcher.config == {
            "fetch_max_bytes": share << 20,
            "max_partition_fetch_bytes": largest << 20,
        }
