"""What the ingest loop and its sources let others measure. They know nothing of where it goes."""

from __future__ import annotations

from typing import Protocol


class Measures(Protocol):
    """Hears of durations, sizes and distances. Called from several threads; must be quick and never raise."""

    def decoded(self, format: str, seconds: float, size_bytes: int) -> None:
        """A batch of `size_bytes` of message bodies was decoded and conformed in `seconds`."""
        ...

    def lag(self, topic: str, partition: int, messages: int) -> None:
        """`messages` lie between what is stored of a partition and its end."""
        ...

    def gone(self, topic: str, partition: int) -> None:
        """A partition whose lag was told is another's now, or nobody's."""
        ...


class Unmeasured:
    """Nobody listens."""

    def decoded(self, format: str, seconds: float, size_bytes: int) -> None:
        """See `Measures.decoded`."""

    def lag(self, topic: str, partition: int, messages: int) -> None:
        """See `Measures.lag`."""

    def gone(self, topic: str, partition: int) -> None:
        """See `Measures.gone`."""
