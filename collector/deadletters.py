"""Reading what could not be decoded: rows of `dead_letters` as they were written by the ingest loop."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from storage import sql
from storage.engine import Engine

EARLIEST = datetime(1971, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class StoredDeadLetter:
    """One record that could not be decoded, with its position and reason."""

    received_at: datetime
    source: str
    partition: int
    offset: int
    record: int
    format: str
    reason: str
    payload: bytes
    """Its bytes, cut where the settings say so."""
    payload_bytes: int
    """Its whole length."""


@dataclass(frozen=True, slots=True)
class DeadLetterCount:
    """How many dead letters one source gave."""

    source: str
    format: str
    dead_letters: int
    first_seen: datetime
    last_seen: datetime


def dead_letters(
    engine: Engine,
    *,
    since: datetime = EARLIEST,
    until: datetime = LATEST,
    source: str = "",
    limit: int = 100,
) -> list[StoredDeadLetter]:
    """Dead letters that arrived in [since, until), newest first, at most `limit`; `source` empty = all."""
    found = engine.query(
        sql.load("collector/dead_letters").text, {"since": since, "until": until, "source": source, "limit": limit}
    )
    rows: list[dict[str, Any]] = found.to_pylist()
    for row in rows:
        row["payload"] = _bytes(row["payload"])
    return [StoredDeadLetter(**row) for row in rows]


def dead_letter_counts(
    engine: Engine,
    *,
    since: datetime = EARLIEST,
    until: datetime = LATEST,
    source: str = "",
    limit: int = 1000,
) -> list[DeadLetterCount]:
    """Dead letters that arrived in [since, until), counted by source and format."""
    found = engine.query(
        sql.load("collector/dead_letter_reasons").text,
        {"since": since, "until": until, "source": source, "limit": limit},
    )
    return [DeadLetterCount(**row) for row in found.to_pylist()]


def _bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)
