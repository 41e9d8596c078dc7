"""How much a record may hold. Telemetry is written by strangers: nothing in it is unbounded."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field

EARLIEST_US = int(datetime(1971, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
LATEST_US = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
"""Event times outside [EARLIEST_US, LATEST_US) are no times but mistakes (an unset or a garbled clock)."""

LONGEST_MS = 100 * 365.25 * 86_400_000
"""A longer duration (100 years) is a mistake as well."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused: a record beyond any of these becomes a dead letter that says which.

    The bounds are held where these are read as settings.
    """

    record_bytes: Annotated[int, Field(ge=256, le=1 << 30)] = 1 << 20
    """Bytes of one record (line), without its envelope."""
    keys: Annotated[int, Field(ge=1, le=100_000)] = 256
    """Top-level keys of one JSON record."""
    depth: Annotated[int, Field(ge=1, le=512)] = 32
    """Levels of objects and arrays in one JSON record."""
    value_bytes: Annotated[int, Field(ge=64, le=1 << 30)] = 1 << 16
    """Bytes of one value. Envoy's header limit is 60 KiB, so no proxy writes more."""


DEFAULT_LIMITS = Limits()
