"""Counts of a running ingestion on a terminal; nothing at all when stderr is not one."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

from collector.ingest.counters import Counters


@contextmanager
def shown(counters: Counters) -> Generator[None]:
    """Show `counters` while the block runs."""
    if not sys.stderr.isatty():
        yield
        return
    started = time.monotonic()

    def line() -> Text:
        counts = counters.snapshot()
        seconds = max(time.monotonic() - started, 1e-9)
        rate = counts.stored / seconds
        return Text(
            f"{counts.stored:,} records stored, {counts.dead_lettered:,} dead letters, "
            f"{counts.bytes / 1e6:,.0f} MB read, {rate:,.0f} records/s"
        )

    with Live(get_renderable=line, console=Console(stderr=True), refresh_per_second=2, transient=True):
        yield
