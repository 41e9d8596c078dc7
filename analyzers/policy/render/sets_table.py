"""Stored sets of policies, as people read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from rich.console import Console

from analyzers.columns import aligned, write
from analyzers.dependencies.render.text import printable
from analyzers.dependencies.windows import EARLIEST, LATEST
from analyzers.policy.store import Version

_HEADING = ("", "valid from", "until", "documents", "loaded", "set", "files")
FILES = 3
"""Names of files that a line shows."""


def print_sets(
    found: Sequence[Version],
    documents: Mapping[tuple[datetime, str], int],
    now: datetime,
    console: Console | None = None,
) -> None:
    """A line for each set, the one that holds now marked with `*`."""
    rows = [
        (
            "*" if one.valid_from <= now < one.valid_to else "",
            _time(one.valid_from),
            _time(one.valid_to),
            f"{documents.get(one.key, 0):,}",
            _time(one.loaded_at),
            one.set_id[:12],
            _files(one.files),
        )
        for one in found
    ]
    lines = aligned(_HEADING, rows, numbers=("documents",))
    write(lines or ["no policies are stored: `eastwatch policy load FILES` stores some"], console)


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}" if EARLIEST < at < LATEST else "-"


def _files(names: Sequence[str]) -> str:
    more = f" and {len(names) - FILES:,} more" if len(names) > FILES else ""
    return ", ".join(printable(name, 60) for name in names[:FILES]) + more
