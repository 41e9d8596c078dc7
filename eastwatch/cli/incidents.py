"""`eastwatch incidents`: findings that are one story, from the first to the last, until somebody closes it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from analyzers.findings.store import findings
from analyzers.incidents.model import Incident
from analyzers.incidents.store import NoSuchIncident, close, incidents
from analyzers.incidents.table import print_incident, print_incidents
from collector.clock import SystemClock
from eastwatch.cli.context import (
    ConfigOption,
    JsonOption,
    StoreOption,
    open_for_reading,
    open_for_writing,
    settings_of,
)
from eastwatch.cli.map import SinceOption, UntilOption, window


class State(StrEnum):
    """What becomes of an incident (`analyzers.incidents.model.STATES`)."""

    open = "open"
    acknowledged = "acknowledged"
    closed = "closed"


StateOption = Annotated[
    list[State] | None,
    typer.Option("--state", metavar="S", help=f"only in this state ({', '.join(State)}); may be given again [all]"),
]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="as `eastwatch incidents` lists it")]

app = typer.Typer(help="Findings that are one story, and whether somebody closed it.", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def incidents_(
    ctx: typer.Context,
    since: SinceOption = None,
    until: UntilOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """List incidents, the latest first; `eastwatch analyze` looks."""
    if ctx.invoked_subcommand is None:
        _list(ctx, since, until, state, as_json, store, config)


@app.command("list")
def list_(
    ctx: typer.Context,
    since: SinceOption = None,
    until: UntilOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """List incidents that overlap a window, the latest first."""
    _list(ctx, since, until, state, as_json, store, config)


@app.command("show")
def show(
    ctx: typer.Context,
    id_: IdArgument,
    as_json: JsonOption = False,
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """Show all of one incident, with its findings."""
    engine = open_for_reading(settings_of(ctx, store, config))
    try:
        found = incidents(engine, ids=[id_])
        if not found:
            raise _unknown(id_)
        one = found[0]
        # A window has no end of its own; a finding of one moment has no length.
        near = findings(engine, one.started, one.updated + timedelta(seconds=1))
    finally:
        engine.close()
    if as_json:
        _write([one])
        return
    held = [each for each in near if each.id in set(one.findings)]
    print_incident(one, sorted(held, key=lambda each: (each.first_seen, each.id)))


@app.command("close")
def close_(
    ctx: typer.Context,
    id_: IdArgument,
    note: Annotated[
        str | None, typer.Option("--note", metavar="TEXT", help="what it was, for whoever reads on")
    ] = None,
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """Close an incident: it stays closed, and what begins later is a new one."""
    engine = open_for_writing(settings_of(ctx, store, config), must_exist=True)
    try:
        closed = close(engine, id_, SystemClock().now(), note)
    except NoSuchIncident:
        raise _unknown(id_) from None
    finally:
        engine.close()
    sys.stdout.write(f"incident {closed.id}: closed at {closed.closed_at:%Y-%m-%d %H:%M:%S} UTC\n")


def _list(
    ctx: typer.Context,
    since: str | None,
    until: str | None,
    state: list[State] | None,
    as_json: bool,
    store: str | None,
    config: Path | None,
) -> None:
    start, end = window(since, until)
    engine = open_for_reading(settings_of(ctx, store, config))
    try:
        found = incidents(engine, start, end, states=[one.value for one in state or ()])
    finally:
        engine.close()
    if as_json:
        _write(found)
    else:
        print_incidents(found)


def _unknown(id_: str) -> typer.BadParameter:
    return typer.BadParameter(f"{id_!r}: no such incident, expected an id that `eastwatch incidents` lists")


def _write(found: Sequence[Incident]) -> None:
    sys.stdout.write(json.dumps({"incidents": [one.to_document() for one in found]}) + "\n")
