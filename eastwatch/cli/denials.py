"""`eastwatch policy denials`: who was refused, by which policy and rule, how often and since when."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from analyzers.dependencies.model import rfc3339
from analyzers.policy.denials import denials
from analyzers.policy.render.denials_table import print_denials
from eastwatch.cli.context import ConfigOption, JsonOption, StoreOption, open_for_reading, settings_of
from eastwatch.cli.map import SinceOption, UntilOption, window


def denials_(
    ctx: typer.Context,
    since: SinceOption = None,
    until: UntilOption = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", metavar="N", help="only refusals with an end in this namespace")
    ] = None,
    service: Annotated[
        str | None,
        typer.Option(
            "--service", metavar="S", help="only refusals with an end at this service (name or namespace/name)"
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="also what policies on trial would have refused, where it is logged; looks at every call"
        ),
    ] = False,
    as_json: JsonOption = False,
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """Show who was refused: by which policy and rule, for what, how often and since when."""
    settings = settings_of(ctx, store, config)
    start, end = window(since, until)
    engine = open_for_reading(settings)
    try:
        found = denials(engine, start, end, namespace=namespace, service=service, dry_run=dry_run)
    finally:
        engine.close()
    if as_json:
        document = {
            "since": rfc3339(start) if start else None,
            "until": rfc3339(end) if end else None,
            "denials": [entry.to_document() for entry in found],
        }
        sys.stdout.write(json.dumps(document, allow_nan=False) + "\n")
    else:
        print_denials(found)
