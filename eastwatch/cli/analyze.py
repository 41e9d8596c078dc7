"""`eastwatch analyze`: let the analyzers look at a window, and keep what they find."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import Annotated

import typer

from analyzers.findings.store import keep
from analyzers.findings.table import print_findings
from analyzers.policy.analysis import policy_findings
from collector.clock import SystemClock
from eastwatch.cli.context import ConfigOption, JsonOption, StoreOption, open_for_writing, settings_of
from eastwatch.cli.map import SinceOption, UntilOption, window
from eastwatch.cli.progress import counted


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
    as_json: JsonOption = False,
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """Look for calls that stored policies have otherwise, and callers refused again and again; keep what is found."""
    del only  # there is one
    settings = settings_of(ctx, store, config)
    start, end = window(since, until)
    engine = open_for_writing(settings)
    try:
        with counted("calls judged") as progress:
            found = keep(engine, policy_findings(engine, start, end, progress), SystemClock().now())
    finally:
        engine.close()
    if as_json:
        sys.stdout.write(json.dumps({"findings": [one.to_document() for one in found]}) + "\n")
    else:
        print_findings(found)
