"""How much a record may hold. Telemetry is written by strangers: nothing in it is unbounded."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

EARLIEST_US = int(datetime(1971, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
LATEST_US = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
"""Event times outside [EARLIEST_US, LATEST_US) are no times but mistakes (an unset or a garbled clock)."""

LONGEST_MS = 100 * 365.25 * 86_400_000
"""A longer duration (100 years) is a mistake as well."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused: a record beyond any of these becomes a dead letter that says which."""

    record_bytes: int = 1 << 20
    """Bytes of one record (line), without its envelope."""
    keys: int = 256
    """Top-level keys of one JSON record."""
    depth: int = 32
    """Levels of objects and arrays in one JSON record."""
    value_bytes: int = 1 << 16
    """Bytes of one value. Envoy's header limit is 60 KiB, so no proxy writes more."""


DEFAULT_LIMITS = Limits()
