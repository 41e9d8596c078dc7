"""`eastwatch ingest`: sources into the store, with signals, settings and the derivation job wired up."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from types import FrameType
from typing import Annotated

import typer

from analyzers.dependencies.derive import GoOn
from collector.clock import Clock, SystemClock
from collector.errors import BadSource
from collector.ingest.bounds import BoundsBook
from collector.ingest.counters import Counts
from collector.ingest.decoders import DecoderCache
from collector.ingest.run import Ingest
from collector.sources.files import check_there
from collector.sources.open import open_source
from collector.sources.source import Source
from collector.sources.urls import FileUrl, KafkaUrl, OtlpUrl, SourceUrl, parse_source
from eastwatch.cli.context import ConfigOption, JsonOption, StoreOption, open_for_writing, settings_of
from eastwatch.cli.errors import EXIT_INTERRUPTED, tell
from eastwatch.cli.progress import shown
from eastwatch.follow_up import follow_up, settled
from eastwatch.measured import TelemetryMeasures, measured, reported
from eastwatch.settings import Settings
from eastwatch.spent import Spent
from eastwatch.telemetry import Telemetry
from storage.engine import Engine

STOP_MARGIN_S = 15.0
"""Seconds beyond `drain_s` until the process ends in any case: for the last commit, and what follows from the rows."""

STOPS = (signal.SIGTERM, signal.SIGINT)


def ingest(
    ctx: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="kafka://HOST:PORT/TOPIC?format=F&group=G, file:PATH?format=F&follow=1, otlp://HOST:PORT, or -",
        ),
    ],
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="stop when what the sources hold now is stored")
    ] = False,
    as_json: JsonOption = False,
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """Read access logs, traces and metrics into the store, each record of Kafka and of files exactly once."""
    urls = [parse_source(text) for text in sources]
    settings = settings_of(ctx, store, config)
    _check(urls, DecoderCache(settings.decode))
    engine = open_for_writing(settings)
    whole, derived = Spent(), Spent()
    try:
        with whole.measured():
            counts = run_ingest(engine, urls, settings, until_idle=until_idle, derived=derived)
    finally:
        engine.close()
    report(counts, whole, derived, as_json=as_json)


def run_ingest(
    engine: Engine, urls: Sequence[SourceUrl], settings: Settings, *, until_idle: bool, derived: Spent
) -> Counts:
    """Ingest `urls` into a migrated store; SIGTERM and SIGINT end it in good order.

    `derived` is told what was spent on what follows from the records.

    Raises:
        CollectorError, StorageError: what the command line tells in one line.
    """
    decoders = DecoderCache(settings.decode)
    group = next((url.group for url in urls if isinstance(url, KafkaUrl)), "")
    clock = SystemClock()
    with ExitStack() as stack:
        telemetry = stack.enter_context(Telemetry(settings.otlp_endpoint))
        engine = measured(engine, telemetry)
        measures = TelemetryMeasures(telemetry)
        bounds = BoundsBook(engine, group=group)
        opened: list[Source] = []
        for url in urls:
            source = open_source(
                url,
                bounds,
                clock,
                options=settings.ingest.shared_by(len(urls)),
                kafka=settings.kafka,
                otlp=settings.otlp,
                until_idle=until_idle,
                notice=tell,
                measures=measures,
            )
            stack.callback(source.close)
            opened.append(source)
        loop = Ingest(
            engine,
            opened,
            decoders,
            options=settings.ingest,
            operations=settings.operations,
            bounds=bounds,
            clock=clock,
            patient=not until_idle,
            after=lambda store, final, go_on: _derive(store, clock, final, telemetry, go_on, derived),
            measures=measures,
            notice=tell,
        )
        with (
            signals(loop.stop, settings.ingest.drain_s + STOP_MARGIN_S),
            shown(loop.counters),
            reported(loop, telemetry),
        ):
            loop.run()
    return loop.counters.snapshot()


def _check(urls: Sequence[SourceUrl], decoders: DecoderCache) -> None:
    """Refuse what is a typing error before a store is made for it."""
    for url in urls:
        if isinstance(url, FileUrl):
            check_there(url)
        if isinstance(url, OtlpUrl):
            continue
        try:
            decoders(url.format)
        except ValueError as error:
            raise BadSource(f"source {url.label!r}: {error}") from None


def _derive(engine: Engine, clock: Clock, final: bool, telemetry: Telemetry, go_on: GoOn, spent: Spent) -> None:
    now = clock.now()
    with telemetry.span("derive"), spent.measured():
        whole = follow_up(engine, now=now, until=None if final else settled(now), go_on=go_on)
    if final and not whole:
        tell("not all that follows from the last records is derived; the next run goes on")


@contextmanager
def signals(stop: Callable[[], None], limit_s: float | None = None) -> Generator[None]:
    """Call `stop` on the first SIGTERM or SIGINT; a second one ends the process at once.

    With `limit_s` the process ends that many seconds after the first in any case, with `EXIT_INTERRUPTED`: an engine
    may hang for minutes, and whoever sent the signal kills after a while. What that leaves undone is what a kill leaves
    undone. The limit holds beyond this context, until the process has ended.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        signal.signal(number, signal.SIG_DFL)
        stop()

    with nullcontext() if limit_s is None else _limited(limit_s):
        before = {number: signal.signal(number, handle) for number in STOPS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def _limited(limit_s: float) -> Generator[None]:
    """End the process `limit_s` after the first of `STOPS` that comes while the block runs."""
    heard, told = socket.socketpair()
    told.setblocking(False)

    def watch() -> None:
        with heard:
            while (number := heard.recv(1)) and number[0] not in STOPS:
                pass
        if not number:
            return  # the block has ended before
        # Nothing takes it back: what follows can hang as well. An embedded engine closes when its last statement has
        # ended, also one that another process asked for, and the interpreter waits for threads that ask a server.
        threading.Event().wait(limit_s)
        tell(f"not at its end {limit_s:g} s after it was told to stop, ending now; what is not stored comes again")
        os._exit(EXIT_INTERRUPTED)

    threading.Thread(target=watch, name="eastwatch-limit", daemon=True).start()
    # Written to when the signal comes; its handler may have to wait until the main thread is out of an embedded engine.
    before = signal.set_wakeup_fd(told.fileno())
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        told.close()


def report(counts: Counts, whole: Spent, derived: Spent, *, as_json: bool) -> None:
    """Say what became of the records."""
    if as_json:
        document = {
            "messages": counts.messages,
            "bytes": counts.bytes,
            "batches": counts.batches,
            "accepted": counts.accepted,
            "stored": counts.stored,
            "dead_lettered": counts.dead_lettered,
            "refused": counts.refused,
            "read_again": counts.read_again,
            "rows": dict(counts.rows),
            "seconds": round(whole.seconds, 3),
            "derive_seconds": round(derived.seconds, 3),
            "cpu_seconds": round(whole.cpu_seconds, 3),
            "derive_cpu_seconds": round(derived.cpu_seconds, 3),
        }
        sys.stdout.write(json.dumps(document) + "\n")
        return
    rows = ", ".join(f"{number:,} {table}" for table, number in sorted(counts.rows.items())) or "nothing"
    again = f" ({counts.read_again:,} of them read again: each counts once)" if counts.read_again else ""
    sys.stdout.write(f"stored {rows}{again}; {counts.dead_lettered:,} dead letters; {whole.seconds:.1f} s\n")
    if counts.dead_lettered:
        sys.stdout.write("`eastwatch deadletters list` shows what could not be read, and why\n")
