"""`eastwatch migrate`: bring the store's tables up to this version, or say what would be done.

On a cluster it also takes in nodes that joined since: their tables are made, and new shards begin to take batches.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from eastwatch.cli.context import ConfigOption, JsonOption, StoreOption, settings_of
from storage.cluster_engine import ClusterEngine
from storage.connect import open_store
from storage.engine import Engine
from storage.migrate import definitions, migrations, status
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
        document: dict[str, Any] = {
            "store": engine.location,
            "applied": [one.name for one in applied],
            "pending": pending,
            "changed": changed,
        }
        if show_sql:
            document["statements"] = _statements(engine, pending)
        _print(document, as_json=as_json)
    finally:
        engine.close()


def _statements(engine: Engine, pending: list[str]) -> list[str]:
    """The statements of what is pending, as the store would get them: on a cluster ON CLUSTER."""
    missing = [one.text for one in migrations() if one.name in pending]
    if not isinstance(engine, ClusterEngine):
        return missing
    texts = [definitions()[0], *missing]
    return [*engine.groundwork(), *(statement for text in texts for statement in engine.rendered(text))]


def _print(document: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(document) + "\n")
        return
    if "statements" in document:
        sys.stdout.writelines(f"{text};\n\n" for text in document["statements"])
        return
    lines = [
        *(f"applied  {name}" for name in document["applied"]),
        *(f"pending  {name}" for name in document["pending"]),
        *(f"cluster  {line}" for line in document["changed"]),
    ]
    sys.stdout.write("\n".join(lines or [f"{document['store']} is up to date"]) + "\n")
