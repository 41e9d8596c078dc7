"""Settings of the ingest loop. The composition root puts this model into its settings tree as `ingest`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


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
        description="a batch is cut when its oldest message has waited this many seconds; five times as many where the "
        "broker has more for it",
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
        ge=64 << 20,
        description="memory for batches on their way, decoded ones estimated; reading pauses above",
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
