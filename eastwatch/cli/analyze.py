"""`eastwatch analyze`: let the analyzers look at a window, and keep what they find; once, or again and again."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated

import typer

from analyzers.findings.model import Finding
from analyzers.findings.store import keep
from analyzers.findings.table import print_findings
from analyzers.incidents.model import Incident
from analyzers.incidents.store import keep_incidents
from analyzers.latency.run import run_latency
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
    latency = "latency"


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
    """Look for calls that stored policies have otherwise, callers refused again and again, and edges that became slower
    or fail more often; keep what is found."""
    asked = frozenset(only or Analyzer)
    interval_s = parse_duration(repeat) if repeat is not None else 0.0
    settings = settings_of(ctx, store, config)
    start, end = window(since, until)
    if interval_s:
        _repeated(settings, since, until, interval_s, as_json, asked)
        return
    engine = open_for_writing(settings, must_exist=True)
    try:
        found, note = _once(engine, settings, start, end, asked)
        incidents = keep_incidents(engine, SystemClock().now())
        without = Analyzer.policy in asked and not versions(engine)
        behind = outdated(engine, settings.policies, SystemClock().now()) if Analyzer.policy in asked else None
    finally:
        engine.close()
    if behind:
        tell(behind)
    if as_json:
        sys.stdout.write(json.dumps({"findings": [one.to_document() for one in found]}) + "\n")
    else:
        print_findings(found)
        if line := _together(found, incidents):
            tell(line)
        if without:
            tell("no policies are stored, so calls were held against none: `eastwatch policy load FILES` stores them")
    if note:
        tell(f"latency: {note}")


def _together(found: Sequence[Finding], incidents: Sequence[Incident]) -> str | None:
    """Which incidents these findings are of, where there are any."""
    told = {one.id for one in found}
    ids = [one.id for one in incidents if told.intersection(one.findings)]
    if not ids:
        return None
    number = "one incident" if len(ids) == 1 else f"{len(ids):,} incidents"
    return f"{number}: `eastwatch incidents` lists, `eastwatch incidents show {ids[0]}` tells more"


def _once(
    engine: Engine, settings: Settings, start: datetime | None, end: datetime | None, asked: frozenset[Analyzer]
) -> tuple[Sequence[Finding], str | None]:
    """What is found and kept, and why nothing can be said of latency, where that is so."""
    found: list[Finding] = []
    note = None
    if Analyzer.policy in asked:
        with counted("calls judged") as progress:
            found += keep(engine, policy_findings(engine, start, end, progress), SystemClock().now())
    if Analyzer.latency in asked:
        with counted("looks for regressions") as progress:
            now = SystemClock().now()
            kept = run_latency(engine, start, end, now, settings.regressions.limits(), progress=progress)
        found += kept.findings
        note = kept.analysis.note
    return found, note


def _repeated(
    settings: Settings,
    since: str | None,
    until: str | None,
    interval_s: float,
    as_json: bool,
    asked: frozenset[Analyzer],
) -> None:
    stopped = threading.Event()
    with signals(stopped.set, settings.ingest.drain_s + STOP_MARGIN_S):
        engine = open_for_writing(settings, must_exist=True)
        try:
            every(
                interval_s,
                stopped,
                lambda: _told(lambda: _look(engine, settings, since, until, stopped, asked), as_json),
            )
        finally:
            engine.close()


def _look(
    engine: Engine,
    settings: Settings,
    since: str | None,
    until: str | None,
    stopped: threading.Event,
    asked: frozenset[Analyzer],
) -> Run:
    """One run. Relative times are relative to its own begin."""

    def go_on(done: int, total: int) -> None:
        del done, total
        if stopped.is_set():
            raise Stopped

    now = SystemClock().now()
    start, end = window(since, until)
    end = end or now
    start = start or end - timedelta(seconds=settings.analysis.window_s)
    run = look(engine, start, end, now, go_on) if Analyzer.policy in asked else Run(start, end, (), frozenset())
    if Analyzer.latency in asked:
        kept = run_latency(engine, start, end, now, settings.regressions.limits(), progress=go_on)
        new = frozenset(one.id for one in kept.findings) & kept.new
        run = Run(run.since, run.until, [*run.found, *kept.findings], run.new | new)
    keep_incidents(engine, now)
    return run


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
