"""`eastwatch migrate`: bring the store's tables up to this version, or say what would be done.

On a cluster it also takes in nodes that joined since: their tables are made, and new shards begin to take batches.
"""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from eastwatch.cli.context import ConfigOption, JsonOption, StoreOption, settings_of
from storage.cluster_engine import ClusterEngine
from storage.connect import open_store
from storage.engine import Engine
from storage.migrate import Applied, definitions, migrations, status
from storage.migrate import migrate as apply


def migrate(
    ctx: typer.Context,
    show_status: Annotated[bool, typer.Option("--status", help="list what was applied and what is pending")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be applied, change nothing")] = False,
    show_sql: Annotated[
        bool, typer.Option("--sql", help="with --dry-run: print the statements, as the store would get them")
    ] = False,
    as_json: JsonOption = False,
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """Apply the migrations that the store does not have yet; on a cluster, take in nodes that joined it."""
    if show_sql and not dry_run:
        raise typer.BadParameter("--sql goes with --dry-run")
    engine = open_store(settings_of(ctx, store, config).store)
    try:
        changed: list[str] = []
        if show_status:
            known = status(engine)
            applied = [one for one in known if one.applied_at]
            pending = [one.name for one in known if not one.applied_at]
        else:
            found = apply(engine, dry_run=dry_run)
            applied, pending = ([], [one.name for one in found]) if dry_run else (found, [])
            if isinstance(engine, ClusterEngine) and not dry_run:
                changed = engine.extend(definitions())
        if show_sql:
            _print_sql(engine, pending, as_json=as_json)
        else:
            _print(engine.location, applied, pending, changed, as_json=as_json)
    finally:
        engine.close()


def _print(location: str, applied: list[Applied], pending: list[str], changed: list[str], *, as_json: bool) -> None:
    if as_json:
        names = [one.name for one in applied]
        document = {"store": location, "applied": names, "pending": pending, "changed": changed}
        sys.stdout.write(json.dumps(document) + "\n")
        return
    for one in applied:
        sys.stdout.write(f"applied  {one.name}\n")
    for name in pending:
        sys.stdout.write(f"pending  {name}\n")
    for line in changed:
        sys.stdout.write(f"cluster  {line}\n")
    if not applied and not pending and not changed:
        sys.stdout.write(f"{location} is up to date\n")


def _print_sql(engine: Engine, pending: list[str], *, as_json: bool) -> None:
    """The statements of what is pending, each ended by a semicolon, for a person to review."""
    render = engine.rendered if isinstance(engine, ClusterEngine) else lambda sql: [sql]
    statements = [text for one in migrations() if one.name in pending for text in render(one.text)]
    if as_json:
        sys.stdout.write(json.dumps({"store": engine.location, "statements": statements}) + "\n")
        return
    sys.stdout.writelines(f"{text};\n\n" for text in statements)
