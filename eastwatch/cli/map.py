"""`eastwatch map`: the service dependency map of a window, its difference to another, and the ledger of its edges."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated

import typer

from analyzers.dependencies.diff import MapDiff, map_diff
from analyzers.dependencies.ledger import LedgerEntry, ledger
from analyzers.dependencies.model import ServiceMap
from analyzers.dependencies.render.diff_svg import to_diff_svg
from analyzers.dependencies.render.diff_table import print_diff
from analyzers.dependencies.render.dot import to_dot
from analyzers.dependencies.render.json import to_json
from analyzers.dependencies.render.ledger_table import print_ledger
from analyzers.dependencies.render.mermaid import to_mermaid
from analyzers.dependencies.render.svg import to_svg
from analyzers.dependencies.render.table import print_table
from analyzers.dependencies.service_map import service_map
from collector.clock import SystemClock
from eastwatch.cli.context import ConfigOption, JsonOption, StoreOption, open_for_reading, settings_of
from eastwatch.cli.diff_ranges import parse_diff
from eastwatch.cli.times import parse_time


class MapFormat(StrEnum):
    """How the map is written."""

    table = "table"
    json = "json"
    dot = "dot"
    mermaid = "mermaid"
    svg = "svg"


SinceOption = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="from this time on: RFC 3339, or relative such as -2h [all stored]"),
]
UntilOption = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="before this time: RFC 3339, or relative [all stored]")
]


def map_(
    ctx: typer.Context,
    since: SinceOption = None,
    until: UntilOption = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", metavar="N", help="only edges with an end in this namespace")
    ] = None,
    service: Annotated[
        str | None,
        typer.Option("--service", metavar="S", help="only edges with an end at this service (name or namespace/name)"),
    ] = None,
    diff: Annotated[
        str | None,
        typer.Option(
            "--diff",
            metavar="A..B",
            help="what changed between two windows, each a time (the hour before it), a day or START/END",
        ),
    ] = None,
    as_ledger: Annotated[
        bool, typer.Option("--ledger", help="since when each edge is known, as which principal, for which operation")
    ] = False,
    format_: Annotated[MapFormat, typer.Option("--format", help="how to write it")] = MapFormat.table,
    as_json: JsonOption = False,
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """Show who calls whom: requests, errors, latency and mTLS of every edge, and the evidence for it."""
    if as_json and format_ not in (MapFormat.table, MapFormat.json):
        raise typer.BadParameter(f"--json and --format {format_.value} ask for two documents, expected one of them")
    form = MapFormat.json if as_json else format_
    about = "--ledger" if as_ledger else "--diff" if diff is not None else ""
    if about and form not in FORMS[about]:
        raise typer.BadParameter(f"{about} has no --format {form.value}, expected {' or '.join(FORMS[about])}")
    if diff is not None and (as_ledger or since or until):
        raise typer.BadParameter("--diff names its own windows: expected it without --since, --until and --ledger")
    settings = settings_of(ctx, store, config)
    start, end = window(since, until)
    ranges = None if diff is None else parse_diff(diff, SystemClock().now())
    only = {"namespace": namespace, "service": service}
    engine = open_for_reading(settings)
    try:
        if ranges is not None:
            found = map_diff(engine, *ranges, **only)
        elif as_ledger:
            found = ledger(engine, start, end, **only)
        else:
            found = service_map(engine, start, end, **only)
    finally:
        engine.close()
    match found:
        case MapDiff():
            write_diff(found, form)
        case ServiceMap():
            write(found, form)
        case _:
            write_ledger(found, form)


FORMS: Mapping[str, Sequence[MapFormat]] = {
    "--diff": (MapFormat.table, MapFormat.json, MapFormat.svg),
    "--ledger": (MapFormat.table, MapFormat.json),
}
"""What can be written otherwise than the map itself can be."""


def window(since: str | None, until: str | None) -> tuple[datetime | None, datetime | None]:
    """The window of two time options.

    Raises:
        typer.BadParameter: a time that cannot be read, or a window that ends before it begins.
    """
    now = SystemClock().now()
    start = parse_time(since, now) if since else None
    end = parse_time(until, now) if until else None
    if start and end and end <= start:
        raise typer.BadParameter(f"--until {until} is not after --since {since}")
    return start, end


def write(found: ServiceMap, form: MapFormat) -> None:
    """Write a map to stdout."""
    match form:
        case MapFormat.table:
            print_table(found)
        case MapFormat.json:
            sys.stdout.write(to_json(found) + "\n")
        case MapFormat.dot:
            sys.stdout.write(to_dot(found))
        case MapFormat.mermaid:
            sys.stdout.write(to_mermaid(found))
        case MapFormat.svg:
            sys.stdout.write(to_svg(found))


def write_diff(found: MapDiff, form: MapFormat) -> None:
    """Write a difference to stdout."""
    match form:
        case MapFormat.json:
            sys.stdout.write(json.dumps(found.to_document(), allow_nan=False) + "\n")
        case MapFormat.svg:
            sys.stdout.write(to_diff_svg(found))
        case _:
            print_diff(found)


def write_ledger(found: Sequence[LedgerEntry], form: MapFormat) -> None:
    """Write the ledger to stdout."""
    if form is MapFormat.json:
        sys.stdout.write(json.dumps({"entries": [entry.to_document() for entry in found]}) + "\n")
    else:
        print_ledger(found)
