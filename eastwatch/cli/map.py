"""`eastwatch map`: the service dependency map of a window, as a table, JSON document or drawing."""

from __future__ import annotations

import sys
from datetime import datetime
from enum import StrEnum
from typing import Annotated

import typer

from analyzers.dependencies.model import ServiceMap
from analyzers.dependencies.render.dot import to_dot
from analyzers.dependencies.render.json import to_json
from analyzers.dependencies.render.mermaid import to_mermaid
from analyzers.dependencies.render.svg import to_svg
from analyzers.dependencies.render.table import print_table
from analyzers.dependencies.service_map import service_map
from collector.clock import SystemClock
from eastwatch.cli.context import ConfigOption, JsonOption, StoreOption, open_for_reading, settings_of
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
    format_: Annotated[MapFormat, typer.Option("--format", help="how to write it")] = MapFormat.table,
    as_json: JsonOption = False,
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """Show who calls whom: requests, errors, latency and mTLS of every edge, and the evidence for it."""
    if as_json and format_ not in (MapFormat.table, MapFormat.json):
        raise typer.BadParameter(f"--json and --format {format_.value} ask for two documents, expected one of them")
    settings = settings_of(ctx, store, config)
    start, end = window(since, until)
    engine = open_for_reading(settings)
    try:
        found = service_map(engine, start, end, namespace=namespace, service=service)
    finally:
        engine.close()
    write(found, MapFormat.json if as_json else format_)


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
