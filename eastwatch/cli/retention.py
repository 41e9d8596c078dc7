"""`eastwatch retention`: what the store takes on disk, day by day, and what the disk budget has to say to it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Annotated, Any

import typer

from eastwatch.cli.context import ConfigOption, JsonOption, StoreOption, open_for_reading, open_for_writing, settings_of
from eastwatch.retention_job import gigabytes, told, told_over
from storage.disk_budget import RAW, Holding, Sweep, enforce, holdings


def retention(
    ctx: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be dropped, drop nothing")] = False,
    as_json: JsonOption = False,
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """Drop the oldest days until the store fits into retention.disk_bytes, and show what it holds."""
    settings = settings_of(ctx, store, config)
    engine = open_for_reading(settings) if dry_run else open_for_writing(settings)
    try:
        sweep = enforce(engine, settings.retention.disk_bytes, datetime.now(UTC).date(), dry_run=dry_run)
        held = holdings(engine)
    finally:
        engine.close()
    if as_json:
        document = _document(engine.location, held, sweep, dry_run=dry_run)
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        _print(engine.location, held, sweep, dry_run=dry_run)


def _document(location: str, held: Sequence[Holding], sweep: Sweep, *, dry_run: bool) -> dict[str, Any]:
    return {
        "store": location,
        "budget_bytes": sweep.budget_bytes or None,
        "disk_bytes": sum(one.disk_bytes for one in held),
        "over_bytes": sweep.over_bytes,
        "dry_run": dry_run,
        "dropped": [_one(one) for one in sweep.dropped],
        "days": [_one(one) for one in held if one.table in RAW and one.day],
        "other_bytes": sum(one.disk_bytes for one in held if one.table not in RAW or not one.day),
    }


def _one(held: Holding) -> dict[str, Any]:
    day = held.day.isoformat() if held.day else None
    return {"day": day, "table": held.table, "rows": held.rows, "disk_bytes": held.disk_bytes}


def _print(location: str, held: Sequence[Holding], sweep: Sweep, *, dry_run: bool) -> None:
    for line in told(sweep.dropped):
        sys.stdout.write(f"{'would drop' if dry_run else 'dropped'}  {line}\n")
    for day in sorted({one.day for one in held if one.table in RAW and one.day}):
        sys.stdout.write(f"{day}  {gigabytes(_bytes(held, day)):>10}\n")
    sys.stdout.write(f"rollups, names and the rest  {gigabytes(_bytes(held, None)):>10}\n")
    budget = gigabytes(sweep.budget_bytes) if sweep.budget_bytes else "none"
    total = gigabytes(sum(one.disk_bytes for one in held))
    sys.stdout.write(f"{location}: {total} in all; retention.disk_bytes: {budget}\n")
    if sweep.over_bytes:
        sys.stdout.write(f"{told_over(sweep)}\n")


def _bytes(held: Sequence[Holding], day: date | None) -> int:
    """Raw telemetry of a day; None = everything else."""
    return sum(one.disk_bytes for one in held if (one.day if one.table in RAW else None) == day)
