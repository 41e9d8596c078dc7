"""`eastwatch analyze`: let the analyzers look at a window, and keep what they find; once, or again and again."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from typing import Annotated

import typer

from analyzers.findings.store import keep
from analyzers.findings.table import print_findings
from analyzers.policy.analysis import policy_findings
from analyzers.policy.errors import PolicyError
from analyzers.policy.store import versions
from collector.clock import SystemClock
from eastwatch.analysis_job import Run, Stopped, every, look
from eastwatch.cli.context import ConfigOption, JsonOption, StoreOption, open_for_writing, settings_of
from eastwatch.cli.errors import tell
from eastwatch.cli.ingest import STOP_MARGIN_S, signals
from eastwatch.cli.map import SinceOption, UntilOption, window
from eastwatch.cli.progress import counted
from eastwatch.cli.times import parse_duration
from eastwatch.cli.up import say
from eastwatch.policy_options import outdated
from eastwatch.settings import Settings
from storage.engine import Engine
from storage.errors import StorageError


class Analyzer(StrEnum):
    """What looks."""

    policy = "policy"


def analyze(
    ctx: typer.Context,
    since: SinceOption = None,
    until: UntilOption = None,
    only: Annotated[
        list[Analyzer] | None, typer.Option("--only", help="only this analyzer; may be given again [all]")
    ] = None,
    repeat: Annotated[
        str | None,
        typer.Option(
            "--every",
            metavar="T",
            help="again every T (60s, 5m, 1h), at least a second, until SIGTERM; without --since at the last "
            "analysis.window_s, and a line for each run",
        ),
    ] = None,
    as_json: JsonOption = False,
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """Look for calls that stored policies have otherwise, and callers refused again and again; keep what is found."""
    del only  # there is one
    interval_s = parse_duration(repeat) if repeat is not None else 0.0
    settings = settings_of(ctx, store, config)
    start, end = window(since, until)
    if interval_s:
        _repeated(settings, since, until, interval_s, as_json)
        return
    engine = open_for_writing(settings, must_exist=True)
    try:
        with counted("calls judged") as progress:
            found = keep(engine, policy_findings(engine, start, end, progress), SystemClock().now())
        without = not versions(engine)
        behind = outdated(engine, settings.policies, SystemClock().now())
    finally:
        engine.close()
    if behind:
        tell(behind)
    if as_json:
        sys.stdout.write(json.dumps({"findings": [one.to_document() for one in found]}) + "\n")
    else:
        print_findings(found)
        if without:
            tell("no policies are stored, so calls were held against none: `eastwatch policy load FILES` stores them")


def _repeated(settings: Settings, since: str | None, until: str | None, interval_s: float, as_json: bool) -> None:
    stopped = threading.Event()
    with signals(stopped.set, settings.ingest.drain_s + STOP_MARGIN_S):
        engine = open_for_writing(settings, must_exist=True)
        try:
            every(interval_s, stopped, lambda: _told(lambda: _look(engine, settings, since, until, stopped), as_json))
        finally:
            engine.close()


def _look(engine: Engine, settings: Settings, since: str | None, until: str | None, stopped: threading.Event) -> Run:
    """One run. Relative times are relative to its own begin."""

    def go_on(done: int, total: int) -> None:
        del done, total
        if stopped.is_set():
            raise Stopped

    now = SystemClock().now()
    start, end = window(since, until)
    end = end or now
    return look(engine, start or end - timedelta(seconds=settings.analysis.window_s), end, now, go_on)


def _told(run: Callable[[], Run], as_json: bool) -> None:
    """A line about one run: on stdout what it found, on stderr what went wrong."""
    try:
        found = run()
    except Stopped:
        return
    except (StorageError, PolicyError) as error:
        say(f"{error}; it is tried again")
        return
    except Exception as error:  # noqa: BLE001 - a defect in one run is no reason to look no more
        say(f"{type(error).__name__}: {error}; it is tried again")
        return
    line = json.dumps({"findings": [one.to_document() for one in found.found]}) if as_json else found.line
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
