"""How long messages wait to be cut into a batch: longer where storing one takes long.

What a batch costs whatever it holds (rollups by edge and minute, a part in every table) is shared by what is in it. So
batches that take a while to be stored are made larger, and the engine rests most of the time; those that take none are
small and soon there.
"""

from __future__ import annotations

from kafka import TopicPartition

LONGEST = 5
"""Nothing waits longer than this many times the age at which a batch is cut."""
REST = 4
"""A batch waits at least this many times as long as the last ones took to be stored."""
_NEW = 0.5
"""How much the last one counts beside those before it."""


class Pace:
    """Of one source, used by its thread alone.

    Args:
        age_s: the age of a batch's oldest message at which it is cut, where storing takes no time.
    """

    def __init__(self, age_s: float) -> None:
        self._age_s = age_s
        self._took_s = 0.0
        self._cut_at: dict[TopicPartition, dict[int, float]] = {}

    def cut(self, partition: TopicPartition, first: int, now: float) -> None:
        """A batch that begins at `first` is on its way."""
        self._cut_at.setdefault(partition, {})[first] = now

    def stored(self, partition: TopicPartition, first: int, now: float) -> None:
        """It has come to its end."""
        began = self._cut_at.get(partition, {}).pop(first, None)
        if began is not None:
            self._took_s += _NEW * (now - began - self._took_s)

    def forget(self, partition: TopicPartition) -> None:
        """It was given up."""
        self._cut_at.pop(partition, None)

    def due_s(self, *, at_end: bool) -> float:
        """Age of its oldest message at which a batch that is not full is cut; `at_end` = the broker has no more now.

        Behind a backlog the next messages are at hand: a full batch costs the engine less than several small ones.
        """
        longest = LONGEST * self._age_s
        return min(max(self._age_s, self._rest_s), longest) if at_end else longest

    def has_rested(self, age_s: float) -> bool:
        """Whether a batch whose oldest message has this age may be a small one while nothing else is on its way."""
        return age_s >= self._rest_s

    @property
    def _rest_s(self) -> float:
        return REST * self._took_s
