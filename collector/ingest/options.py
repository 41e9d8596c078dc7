"""Settings of the ingest loop. The composition root puts this model into its settings tree as `ingest`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

MEMORY_FACTOR = 6
"""Memory a batch takes on its way, over the bytes of its messages: raw, decoded, conformed, and the engine's block."""
BATCHES_AT_ONCE = 3
"""One is inserted, one decoded, and one waits: what keeps both ends of the chain busy."""
LEAST_MEMORY_BYTES = 64 << 20
FETCH_SHARE = 16
"""A fetch is this part of the memory. The client holds one that is taken apart, and the next as it came."""
RECORD_BATCH_SHARE = 4
LEAST_RECORD_BATCH_BYTES = 64 << 20
"""Sixty-four times what a broker takes by default (`message.max.bytes`); JSON is compressed to a tenth or twentieth."""


class IngestOptions(BaseModel):
    """How input is cut into batches, how much may be on its way, and when ingestion gives up."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    batch_bytes: int = Field(
        default=128 << 20,
        ge=1024,
        le=1 << 30,
        description="a batch is cut when its message bodies reach this many bytes; from Kafka an eighth is enough "
        "while nothing else is on its way",
    )
    batch_messages: int = Field(
        default=200_000, ge=1, le=5_000_000, description="a batch is cut when it holds this many messages"
    )
    batch_age_s: float = Field(
        default=1.0,
        ge=0,
        le=60,
        description="a batch is cut when its oldest message has waited this many seconds; from Kafka up to five times "
        "as many where the broker has more for it, or storing one takes long",
    )
    unfinished_line_s: float = Field(
        default=5.0,
        ge=0,
        le=300,
        description="seconds that a file which is not followed must be unchanged before a last line without its end is "
        "read; a whole JSON object is read at once",
    )
    memory_bytes: int = Field(
        default=1 << 30,
        ge=LEAST_MEMORY_BYTES,
        description="memory for what was fetched and is not stored yet, decoded batches estimated; reading pauses "
        "above, and fetches and batches are smaller where it asks for it",
    )
    poison_share: float = Field(
        default=0.95, gt=0, le=1, description="ingestion stops when this share of a stretch of records is undecodable"
    )
    poison_records: int = Field(
        default=1000,
        ge=1,
        description="records in a stretch before it is judged; a shorter input is never called poison",
    )
    dead_letter_bytes: int = Field(default=65536, ge=256, description="bytes of an undecodable record that are kept")
    commit_interval_s: float = Field(
        default=0.5, ge=0, le=60, description="seconds between commits of stored positions"
    )
    drain_s: float = Field(default=10.0, ge=0, le=300, description="seconds to store what is on its way after SIGTERM")
    engine_patience_s: float = Field(
        default=300.0,
        ge=0,
        description="seconds to wait for an engine that went away, with --until-idle; without it there is no end",
    )
    addresses_refresh_s: float = Field(
        default=15.0, ge=0, description="seconds between looks at the inventory's addresses"
    )
    derive_interval_s: float = Field(default=60.0, ge=1, description="seconds between runs of the derivation job")

    @property
    def flight_bytes(self) -> int:
        """Memory for batches on their way. An eighth of all waits to be cut, and an eighth is what a client fetched."""
        return self.memory_bytes // 4 * 3

    @property
    def waiting_bytes(self) -> int:
        """Messages that may wait to be cut."""
        return self.memory_bytes // 8

    @property
    def fetch_bytes(self) -> int:
        """The largest fetch that the memory has room for, over all brokers."""
        return self.memory_bytes // FETCH_SHARE

    @property
    def record_batch_bytes(self) -> int:
        """What one record batch of Kafka may take when it is inflated; a larger one is refused."""
        return max(self.memory_bytes // RECORD_BATCH_SHARE, LEAST_RECORD_BATCH_BYTES)

    def shared_by(self, sources: int) -> IngestOptions:
        """These for one of several sources: the memory is shared out evenly, and none gets less than the least."""
        return self.model_copy(update={"memory_bytes": max(self.memory_bytes // sources, LEAST_MEMORY_BYTES)})

    def within_memory(self) -> IngestOptions:
        """These, with no batch larger than lets `BATCHES_AT_ONCE` be on their way."""
        most = max(self.flight_bytes // (MEMORY_FACTOR * BATCHES_AT_ONCE), 1024)
        return self if self.batch_bytes <= most else self.model_copy(update={"batch_bytes": most})
