"""`eastwatch up`: the sources of the settings, the analyzers, and health and metrics, in one process until SIGTERM."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime

import typer

from collector.clock import SystemClock
from collector.errors import BadSource
from collector.ingest.decoders import DecoderCache
from collector.sources.urls import OtlpUrl, SourceUrl, StdinUrl, parse_source
from eastwatch.cli.context import ConfigOption, StoreOption, open_for_writing, settings_of
from eastwatch.cli.ingest import STOP_MARGIN_S, signals
from eastwatch.cli.terminal import printable
from eastwatch.health import Answers, Check, parse_address, serve
from eastwatch.measured import measured
from eastwatch.readiness import EngineProbe
from eastwatch.settings import Settings
from eastwatch.telemetry import Telemetry
from eastwatch.up import Place, Up
from storage.engine import Engine
from storage.errors import StorageError

SUMMARY_S = 60.0
"""Seconds between lines that say what was stored."""
OPEN_AGAIN_S = 5.0


def up(ctx: typer.Context, store: StoreOption = None, config: ConfigOption = None) -> None:
    """Run all in one process: the sources of the settings, the analyzers, health and metrics over HTTP."""
    settings = settings_of(ctx, store, config)
    urls = sources_of(settings)
    address = parse_address(settings.health.listen) if settings.health.listen else None
    logging.basicConfig(level=logging.WARNING, handlers=[_Lines()])
    state = _State()
    with ExitStack() as stack:
        stack.enter_context(signals(state.stop, settings.ingest.drain_s + STOP_MARGIN_S))
        telemetry = stack.enter_context(Telemetry(settings.otlp_endpoint, scraped=address is not None))
        if address:
            endpoint = stack.enter_context(
                serve(address, Answers(lambda: state.trouble, lambda: state.checks, telemetry.exposition))
            )
            say(f"health and metrics at http://{_shown(address[0])}:{endpoint.port}/readyz and /metrics")
        engine = _opened(settings, state)
        if engine is None:
            return
        stack.callback(engine.close)
        engine = measured(engine, telemetry)
        clock = SystemClock()
        probe = EngineProbe(engine, clock)
        stack.callback(probe.close)
        running = Up(urls, Place(engine, settings, clock, telemetry, say))
        state.run(running, engine, probe)
        say(f"store {engine.location}; reading {', '.join(url.label for url in urls)}")
        running.run(SUMMARY_S, _Summary(running).tell)
        batches, records, dead = _totals(running)
        say(f"ended: {records:,} records stored in {batches:,} batches, {dead:,} dead letters")


def sources_of(settings: Settings) -> list[SourceUrl]:
    """The sources that `up` reads.

    Raises:
        BadSource: there are none, one cannot be read, or it is none for a process that runs on.
    """
    if not settings.sources:
        raise BadSource('setting sources: none given, expected such as ["kafka://HOST:PORT/TOPIC?format=F"]')
    urls = [parse_source(text) for text in settings.sources]
    for url in urls:
        if isinstance(url, StdinUrl):
            raise BadSource("setting sources: standard input is for `eastwatch ingest -`, expected kafka, file or otlp")
        if not isinstance(url, OtlpUrl):
            try:
                DecoderCache(settings.decode)(url.format)
            except ValueError as error:
                raise BadSource(f"source {url.label!r}: {error}") from None
    return urls


def say(message: str) -> None:
    """One log line on stderr: when, and what."""
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    sys.stderr.write(f"{at}  {printable(' '.join(message.split()))}\n")
    sys.stderr.flush()


class _Lines(logging.Handler):
    """What libraries log, in lines like ours."""

    def emit(self, record: logging.LogRecord) -> None:
        say(f"{record.levelname.lower()} of {record.name}: {record.getMessage()}")


class _State:
    """What the endpoint tells before, while and after everything runs."""

    def __init__(self) -> None:
        self._up: Up | None = None
        self._engine = ""
        self._probe: EngineProbe | None = None
        self.engine_trouble = "opening"
        self.stopped = False

    def run(self, running: Up, engine: Engine, probe: EngineProbe) -> None:
        """From here on `running` is asked."""
        self._engine, self._probe, self._up = engine.location, probe, running
        if self.stopped:
            running.stop()

    def stop(self) -> None:
        """SIGTERM or SIGINT."""
        self.stopped = True
        if self._up:
            self._up.stop()

    @property
    def trouble(self) -> str:
        """See `Answers.alive`."""
        return self._up.trouble if self._up else ""

    @property
    def checks(self) -> Sequence[Check]:
        """See `Answers.checks`."""
        if self._up is None or self._probe is None:
            return [Check("engine", self.engine_trouble)]
        ending = [Check("process", "is ending")] if self.stopped else []
        return [*ending, Check(f"engine {self._engine}", self._probe.trouble), *self._up.checks]


def _opened(settings: Settings, state: _State) -> Engine | None:
    """The store, waited for where it cannot be reached yet; None when we are told to end before."""
    pause = threading.Event()
    while not state.stopped:
        try:
            return open_for_writing(settings)
        except StorageError as error:
            if not error.retryable:
                raise
            if state.engine_trouble != str(error):
                say(f"{error}; waiting for it")
            state.engine_trouble = str(error)
        for _ in range(int(OPEN_AGAIN_S / 0.2)):
            if not state.stopped:
                pause.wait(0.2)
    return None


class _Summary:
    """A line about what was stored since the last one; none where nothing was."""

    def __init__(self, running: Up) -> None:
        self._running = running
        self._told = (0, 0, 0)

    def tell(self) -> None:
        """Say it."""
        now = _totals(self._running)
        batches, records, dead = (new - old for new, old in zip(now, self._told, strict=True))
        self._told = now
        if batches:
            rate = records / SUMMARY_S
            say(f"stored {records:,} records ({rate:,.0f}/s) in {batches:,} batches, {dead:,} dead letters")


def _totals(running: Up) -> tuple[int, int, int]:
    each = [run.counts for run in running.sources]
    return sum(one[0] for one in each), sum(one[1] for one in each), sum(one[2] for one in each)


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
