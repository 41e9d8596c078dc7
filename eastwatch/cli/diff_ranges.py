"""What `--diff A..B` means: two windows of time.

Each side is a range `START/END`, a day (`2026-03-02`, UTC), or a time, which stands for the hour before it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import typer

from eastwatch.cli.times import parse_time

Range = tuple[datetime, datetime]

BEFORE = timedelta(hours=1)
"""How long the window before a single time is."""

_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_MINUTE = timedelta(minutes=1)


def parse_diff(text: str, now: datetime) -> tuple[Range, Range]:
    """The two windows of `A..B`, each in whole minutes, none beyond `now`.

    Raises:
        typer.BadParameter: not two sides, a side that cannot be read or is empty, or sides that overlap.
    """
    sides = text.split("..")
    if len(sides) != 2 or not all(sides):
        raise typer.BadParameter(f"--diff {text!r}: expected A..B, each a time, a day or START/END")
    a, b = (_range(side, now) for side in sides)
    if a[0] < b[1] and b[0] < a[1]:
        raise typer.BadParameter(
            f"--diff {text!r}: both windows hold {max(a[0], b[0]):%Y-%m-%dT%H:%MZ}, expected apart"
        )
    return a, b


def _range(side: str, now: datetime) -> Range:
    start, slash, end = side.partition("/")
    if slash:
        since, until = parse_time(start, now), parse_time(end, now)
    elif _DAY.fullmatch(side):
        since = parse_time(side, now)
        until = since + timedelta(days=1)
    else:
        until = parse_time(side, now)
        since = until - BEFORE
    since, until = _minute(since), min(_minute(until), _minute(now + _MINUTE))
    if until <= since:
        raise typer.BadParameter(f"--diff: {side!r} holds no whole minute of the past")
    return since, until


def _minute(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(second=0, microsecond=0)
