"""`eastwatch compare`: two versions of a service side by side, canary against baseline, at the same time."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from enum import StrEnum
from typing import Annotated

import typer

from analyzers.latency.versions.choose import CannotCompare
from analyzers.latency.versions.outcome import Margins, VersionComparison
from analyzers.latency.versions.read import compare_versions
from analyzers.latency.versions.render_table import print_comparison
from eastwatch.cli.context import ConfigOption, JsonOption, StoreOption, open_for_reading, settings_of
from eastwatch.cli.guard import guard
from eastwatch.cli.map import SinceOption, UntilOption, window


class FailOn(StrEnum):
    """Which verdicts make the exit code 1."""

    slower = "slower"
    errors = "errors"
    any_ = "any"


def compare(
    ctx: typer.Context,
    service: Annotated[
        str, typer.Argument(metavar="SERVICE", help="namespace/name, or the name alone where only one has it")
    ],
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline", metavar="V", help="the version that is trusted [the one of two that was seen first]"
        ),
    ] = None,
    canary: Annotated[
        str | None, typer.Option("--canary", metavar="V", help="the version that is judged [the other one]")
    ] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    margin: Annotated[
        float,
        typer.Option(
            "--margin", metavar="PERCENT", min=1, max=100, help="durations that differ by less than this are the same"
        ),
    ] = 100 * Margins().ratio,
    fail_on: Annotated[
        list[FailOn] | None,
        typer.Option(
            "--fail-on",
            help="exit with 1 if the canary is slower, has more errors, or any of these; may be given again",
        ),
    ] = None,
    as_json: JsonOption = False,
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """Compare two versions of a service: is the canary slower, does it fail more often, and how sure is that."""
    settings = settings_of(ctx, store, config)
    start, end = window(since, until)
    margins = Margins(ratio=margin / 100)
    with closing(open_for_reading(settings)) as engine:
        try:
            found = compare_versions(
                engine, service, baseline=baseline, canary=canary, since=start, until=end, margins=margins
            )
        except CannotCompare as error:
            raise typer.BadParameter(str(error)) from None
    if as_json:
        sys.stdout.write(json.dumps(found.to_document(), allow_nan=False) + "\n")
    else:
        print_comparison(found)
    guard(fail_on or (), _failures(found), 0, 0)


def _failures(found: VersionComparison) -> dict[str, str]:
    overall = found.verdict.overall
    failed: dict[str, str] = {}
    if overall.latency.verdict == "slower":
        failed[FailOn.slower] = f"{found.canary} of {found.service} is slower than {found.baseline}"
    if overall.errors.verdict == "more errors":
        failed[FailOn.errors] = f"{found.canary} of {found.service} has more errors than {found.baseline}"
    return failed
