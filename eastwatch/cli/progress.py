"""How far work has come, on a terminal; nothing at all when stderr is not one."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
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


@contextmanager
def counted(what: str) -> Generator[Callable[[int, int], None] | None]:
    """Something to tell how much of how much is done, shown as a bar while the block runs; None without a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    columns = (
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} {task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)
