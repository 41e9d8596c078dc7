"""Times on the command line: RFC 3339, or relative to now (`-2h`)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import typer

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
EARLIEST, LATEST = datetime(1971, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
_RELATIVE = re.compile(r"-(\d{1,9})([smhdw])")


def parse_time(text: str, now: datetime) -> datetime:
    """Read a time; one without an offset is UTC. A time outside 1971..2100, where nothing is stored, means its end.

    Raises:
        typer.BadParameter: neither RFC 3339 nor relative.
    """
    if text == "now":
        return now
    try:
        if match := _RELATIVE.fullmatch(text):
            return now - timedelta(seconds=int(match[1]) * _UNITS[match[2]])
        at = datetime.fromisoformat(text)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r} is no time, expected RFC 3339 (2026-01-31T12:00:00Z) or -2h") from None
    return min(max(at, EARLIEST), LATEST)


def parse_duration(text: str) -> float:
    """Read a time span of at least a second and at most 52 weeks, such as `60s` or `5m`, in seconds.

    Raises:
        typer.BadParameter: it is none.
    """
    match = _RELATIVE.fullmatch(f"-{text}")
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 1 <= seconds <= 52 * _UNITS["w"]:
        raise typer.BadParameter(f"{text!r} is no time span, expected 1s or more, such as 60s, 5m or 1h")
    return float(seconds)


def rfc3339(at: datetime) -> str:
    """A time as the JSON documents print it."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
