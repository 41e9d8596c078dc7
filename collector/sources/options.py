"""Settings of the Kafka source. The composition root puts this model into its settings tree as `kafka`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class KafkaOptions(BaseModel):
    """How topics are read. What differs from source to source (group, format, security) stands in its URL."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    session_timeout_s: float = Field(
        default=9.0,
        ge=1,
        le=300,
        description="seconds after which the group gives up a silent ingester; brokers refuse less than 6 by default",
    )
    connect_timeout_s: float = Field(default=10.0, gt=0, le=300, description="seconds to wait for the first broker")
    fetch_bytes: int = Field(default=128 << 20, ge=1 << 16, description="bytes of one fetch from a broker")
    partition_fetch_bytes: int = Field(
        default=32 << 20, ge=1 << 16, description="bytes of one fetch from a partition; a larger message still comes"
    )
    metadata_refresh_s: float = Field(
        default=30.0, ge=1, le=3600, description="seconds between looks at topics: new partitions, recreated topics"
    )
    raw_batches: bool = Field(
        default=True, description="read record batches without a Python object per message (off: the client's poll())"
    )

    def at_most(self, fetch_bytes: int) -> KafkaOptions:
        """These, with no larger fetches."""
        smaller = {name: min(getattr(self, name), fetch_bytes) for name in ("fetch_bytes", "partition_fetch_bytes")}
        return self.model_copy(update=smaller)
