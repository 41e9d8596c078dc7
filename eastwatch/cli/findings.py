"""`eastwatch findings`: what analyzers found, episode by episode."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from analyzers.findings.model import Finding
from analyzers.findings.store import findings
from analyzers.findings.table import print_finding, print_findings
from eastwatch.cli.context import ConfigOption, JsonOption, StoreOption, open_for_reading, settings_of
from eastwatch.cli.map import SinceOption, UntilOption, window


class Kind(StrEnum):
    """What analyzers find (`analyzers.policy.analysis.KINDS`, `analyzers.latency.findings.KINDS`)."""

    unauthorized = "unauthorized"
    refused_though_allowed = "refused_though_allowed"
    plaintext_where_strict = "plaintext_where_strict"
    repeated_denials = "repeated_denials"
    latency_regression = "latency_regression"
    error_regression = "error_regression"


KindOption = Annotated[
    list[Kind] | None,
    typer.Option("--kind", metavar="K", help=f"only of this kind ({', '.join(Kind)}); may be given again [all]"),
]

app = typer.Typer(help="What analyzers found, episode by episode.", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def findings_(
    ctx: typer.Context,
    kind: KindOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    as_json: JsonOption = False,
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """List what analyzers found, the latest first; `eastwatch analyze` looks."""
    if ctx.invoked_subcommand is None:
        _list(ctx, kind, since, until, as_json, store, config)


@app.command("list")
def list_(
    ctx: typer.Context,
    kind: KindOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    as_json: JsonOption = False,
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """List findings whose episode lies in a window, the latest first."""
    _list(ctx, kind, since, until, as_json, store, config)


@app.command("show")
def show(
    ctx: typer.Context,
    id_: Annotated[str, typer.Argument(metavar="ID", help="as `eastwatch findings` lists it")],
    as_json: JsonOption = False,
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """Show all of one finding, with the statement that shows its calls."""
    engine = open_for_reading(settings_of(ctx, store, config))
    try:
        found = [one for one in findings(engine) if one.id == id_]
    finally:
        engine.close()
    if not found:
        raise typer.BadParameter(f"{id_!r}: no such finding, expected an id that `eastwatch findings` lists")
    if as_json:
        _write(found)
    else:
        print_finding(found[0])


def _list(
    ctx: typer.Context,
    kind: list[Kind] | None,
    since: str | None,
    until: str | None,
    as_json: bool,
    store: str | None,
    config: Path | None,
) -> None:
    start, end = window(since, until)
    engine = open_for_reading(settings_of(ctx, store, config))
    try:
        found = findings(engine, start, end, kind or ())
    finally:
        engine.close()
    if as_json:
        _write(found)
    else:
        print_findings(found)


def _write(found: Sequence[Finding]) -> None:
    sys.stdout.write(json.dumps({"findings": [one.to_document() for one in found]}) + "\n")
