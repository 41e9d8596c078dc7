"""What a source is to the ingest loop: it hands out cuts in order, hears what became of them, and remembers positions.

    source.poll ──► Cut(batch, lease, bounds) ──► prepare ──► store ──► source.stored ──► source.commit

A cut is a batch whose bounds are final. Bounds that an earlier run recorded are cut again exactly as they were, so that
a replay meets its own deduplication token. A lease is the right to a partition: once it is revoked, nothing that was
cut under it may be stored any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol, runtime_checkable

import pyarrow as pa

from collector.contract import Batch, DeadLetter


@dataclass(frozen=True, slots=True)
class Bounds:
    """One recorded batch of a topic-partition: positions `first..last`, inclusive, and what is fixed with them."""

    first: int
    last: int
    received_at: datetime
    decoder: str
    state: str = ""
    """Version of what names of operations rest on."""


Recorded = Callable[[str, int, int], Sequence[Bounds]]
"""(topic id, partition, position) -> bounds recorded earlier that end at `position` or later, in order."""


class Lease:
    """The right to a partition. Revoking it is safe from any thread and cannot be undone."""

    __slots__ = ("_revoked",)

    def __init__(self) -> None:
        self._revoked = False

    @property
    def revoked(self) -> bool:
        """Whether the partition was given up."""
        return self._revoked

    def revoke(self) -> None:
        """Give the partition up."""
        self._revoked = True


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """A batch on its way. `bounds` are those recorded by an earlier run, None for a batch that is new.

    `replayable` is False where the sender cannot repeat itself (standard input, a push): no bounds are recorded then.
    `answered` is True where the sender waits and is told which of its records were undecodable (a push): however many
    they are, they are its own affair and no reason to stop.
    """

    batch: Batch
    format: str
    lease: Lease
    bounds: Bounds | None = None
    replayable: bool = True
    answered: bool = False

    @property
    def size_bytes(self) -> int:
        """Bytes of the message bodies."""
        return self.batch.values.nbytes

    def emptied(self) -> Cut:
        """The same batch without its messages, for whoever needs to know where it lies only."""
        return replace(self, batch=replace(self.batch, values=pa.array([], pa.large_binary())))


class Source(Protocol):
    """One SOURCE of the command line. Every method is called from one thread, the source's reader."""

    @property
    def label(self) -> str:
        """The source for people, without credentials."""
        ...

    def poll(self, timeout_s: float, *, room: bool) -> list[Cut]:
        """Wait up to `timeout_s` for input and hand out what is ready; nothing without `room` downstream."""
        ...

    def stored(self, cut: Cut, dead: Sequence[DeadLetter] = ()) -> None:
        """`cut` is in the store, `dead` of its records as dead letters. Cuts of one partition are reported in order."""
        ...

    def rewind(self, cut: Cut) -> None:
        """Another writer recorded other bounds for `cut`'s start: cut that partition again from there."""
        ...

    def failed(self, error: Exception) -> None:
        """Ingestion stops with `error`: nothing that is still on its way will be stored."""
        ...

    @property
    def finished(self) -> bool:
        """Whether everything that this run has to read was handed out, and stored wherever others had a part in it."""
        ...

    def commit(self, *, final: bool = False) -> None:
        """Make durable what `stored` reported; unless `final`, only when it is due."""
        ...

    def close(self) -> None:
        """Release connections and files. Calling it twice is fine."""
        ...


@runtime_checkable
class Joining(Protocol):
    """A source that others must let in before it reads. Safe from any thread."""

    @property
    def waits_for(self) -> str:
        """What it waits for, in one line; empty while it is joined."""
        ...
