"""The leases of a group's member, revoked as soon as its membership is lost."""

from __future__ import annotations

from typing import Any

from kafka import TopicPartition
from kafka.consumer.subscription_state import ConsumerRebalanceListener

from collector.sources.pending import Pending


class Leases(ConsumerRebalanceListener):
    """Hears on the client's own thread that the membership was lost, and revokes every lease at once.

    An ordinary rebalance needs no more than a look at the assignment: a partition that this member keeps goes on with
    its position and its waiting messages, although the client says that all were revoked and assigned anew.
    """

    def __init__(self) -> None:
        self.held: dict[TopicPartition, Pending] = {}
        self.joined = False
        """Whether the group has let this member in, with partitions or without any."""

    def on_partitions_revoked(self, revoked: Any) -> None:
        del revoked

    def on_partitions_assigned(self, assigned: Any) -> None:
        del assigned
        self.joined = True

    def on_partitions_lost(self, lost: Any) -> None:
        self.joined = False
        for partition in lost:
            if pending := self.held.get(partition):
                pending.lost = True
                pending.lease.revoke()
