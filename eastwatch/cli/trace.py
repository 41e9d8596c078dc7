"""`eastwatch trace`: the path of one request through the mesh, as every proxy and span on it tells."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import Annotated

import typer

from analyzers.dependencies.render.path import to_path
from analyzers.dependencies.request_sightings import request_path
from eastwatch.cli.context import ConfigOption, JsonOption, StoreOption, open_for_reading, settings_of

LONGEST_ID = 256


class PathFormat(StrEnum):
    """How the path is written."""

    table = "table"
    json = "json"


def trace(
    ctx: typer.Context,
    wanted: Annotated[str, typer.Argument(metavar="ID", help="a request id, or a trace id in hexadecimal")],
    format_: Annotated[PathFormat, typer.Option("--format", help="how to write it")] = PathFormat.table,
    as_json: JsonOption = False,
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """Show the path of one request: every hop from the gateway on, what both sides say of it, and who failed."""
    if not wanted or len(wanted) > LONGEST_ID:
        raise typer.BadParameter(f"an id has 1 to {LONGEST_ID} characters, this one has {len(wanted)}")
    engine = open_for_reading(settings_of(ctx, store, config))
    try:
        found = request_path(engine, wanted)
    finally:
        engine.close()
    if as_json or format_ is PathFormat.json:
        sys.stdout.write(json.dumps(found.to_document(), ensure_ascii=True, allow_nan=False) + "\n")
    else:
        sys.stdout.write(to_path(found))
