"""Bounds of batches: recorded before the rows, the first writer's win, a replay cuts the same batch again.

A bounds row goes in with the token (topic id, partition, first) and is read back. Because every batch starts where the
one before it ended, all writers of a partition follow one chain of bounds, also one that was thought dead.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from collector.sources.source import Bounds, Cut
from storage import sql
from storage.conform import conform
from storage.engine import Engine
from storage.errors import QueryFailed
from storage.tables import INGEST_POSITIONS

if TYPE_CHECKING:
    from collector.ingest.store import Patience

R = TypeVar("R")

RECORDED_ROWS = 10_000
"""Recorded bounds read at once; whoever uses them up asks again."""

COMMIT_PARTITION = -1
"""`ingest_positions` rows with this partition say how far a file was stored."""


class BoundsBook:
    """The table `ingest_positions` as the ingest loop uses it."""

    def __init__(self, engine: Engine, *, group: str = "") -> None:
        self._engine = engine
        self._group = group
        self._writer = f"{socket.gethostname()}/{os.getpid()}"
        self._at = sql.load("collector/bounds_at")
        self._from = sql.load("collector/bounds_from")
        self._committed = sql.load("collector/committed")
        self._patience: Patience | None = None

    def wait_with(self, patience: Patience) -> None:
        """From now on, what sources ask and commit waits with `patience` for an engine that is away."""
        self._patience = patience

    def _asked(self, action: Callable[[], R]) -> R:
        return self._patience(action) if self._patience else action()

    def recorded(self, topic_id: str, partition: int, position: int) -> Sequence[Bounds]:
        """Bounds of earlier runs that end at `position` or later, in order, at most `RECORDED_ROWS`."""
        key = {"topic_id": topic_id, "partition": partition, "position": position, "limit": RECORDED_ROWS}
        found = self._asked(lambda: self._engine.query(self._from.text, key))
        return [
            Bounds(row["first"], row["last"], _utc(row["received_at"]), row["decoder"], row["state"])
            for row in found.to_pylist()
        ]

    def claim(self, cut: Cut, received_at: datetime, decoder: str, state: str = "") -> Bounds:
        """Record `cut`'s bounds and return those that stand: another writer may have been first.

        Raises:
            StorageError: they cannot be recorded.
        """
        batch = cut.batch
        key = {"topic_id": batch.topic_id, "partition": batch.partition, "first": batch.first}
        name = f"bounds/{batch.topic_id}/{batch.partition}/{batch.first}"
        # Twice, where the engine knows the token and has no row: retention took it, or a server was killed in the
        # moment between the two.
        for token in (name, f"{name}/again"):
            self._insert(
                batch.cluster_id,
                batch.topic,
                batch.topic_id,
                batch.partition,
                (batch.first, batch.last),
                received_at,
                decoder,
                state,
                token=token,
            )
            for row in self._engine.query(self._at.text, key).to_pylist():
                return Bounds(batch.first, row["last"], _utc(row["received_at"]), row["decoder"], row["state"])
        place = f"{batch.topic}[{batch.partition}] at {batch.first}"
        raise QueryFailed(f"{self._engine.location}: the bounds of {place} were inserted and are not there")

    def committed(self, topic_id: str) -> int:
        """Position up to which a file was stored: the next byte to read."""
        found = self._asked(lambda: self._engine.query(self._committed.text, {"topic_id": topic_id})).to_pylist()
        return int(found[0]["position"] or 0) if found else 0

    def commit(self, cluster_id: str, topic: str, topic_id: str, position: int, at: datetime) -> None:
        """Record that everything before `position` of a file is stored."""
        span = (position, position - 1)
        self._asked(lambda: self._insert(cluster_id, topic, topic_id, COMMIT_PARTITION, span, at, "", "", token=None))

    def _insert(
        self,
        cluster_id: str,
        topic: str,
        topic_id: str,
        partition: int,
        span: tuple[int, int],
        received_at: datetime,
        decoder: str,
        state: str,
        *,
        token: str | None,
    ) -> None:
        row: dict[str, Any] = {
            "cluster_id": cluster_id,
            "topic": topic,
            "topic_id": topic_id,
            "partition": partition,
            "first": span[0],
            "last": span[1],
            "decoder": decoder,
            "consumer_group": self._group,
            "writer": self._writer,
            "state": state,
        }
        batch = conform(INGEST_POSITIONS, pa.RecordBatch.from_pylist([row]), received_at=received_at)
        self._engine.insert(INGEST_POSITIONS.name, batch, token=token)


def _utc(at: datetime) -> datetime:
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
