"""`eastwatch migrate`: bring the store's tables up to this version, or say what would be done."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from eastwatch.cli.context import ConfigOption, JsonOption, StoreOption, settings_of
from storage.connect import open_store
from storage.migrate import Applied, status
from storage.migrate import migrate as apply


def migrate(
    ctx: typer.Context,
    show_status: Annotated[bool, typer.Option("--status", help="list what was applied and what is pending")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be applied, change nothing")] = False,
    as_json: JsonOption = False,
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """Apply the migrations that the store does not have yet."""
    engine = open_store(settings_of(ctx, store, config).store)
    try:
        if show_status:
            known = status(engine)
            applied = [one for one in known if one.applied_at]
            pending = [one.name for one in known if not one.applied_at]
        else:
            found = apply(engine, dry_run=dry_run)
            applied, pending = ([], [one.name for one in found]) if dry_run else (found, [])
        _print(engine.location, applied, pending, as_json=as_json)
    finally:
        engine.close()


def _print(location: str, applied: list[Applied], pending: list[str], *, as_json: bool) -> None:
    if as_json:
        names = [one.name for one in applied]
        sys.stdout.write(json.dumps({"store": location, "applied": names, "pending": pending}) + "\n")
        return
    for one in applied:
        sys.stdout.write(f"applied  {one.name}\n")
    for name in pending:
        sys.stdout.write(f"pending  {name}\n")
    if not applied and not pending:
        sys.stdout.write(f"{location} is up to date\n")
