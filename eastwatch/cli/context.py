"""What every command shares: the global options, accepted before and after the command's name, and the settings."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from eastwatch.settings import Settings, load_settings
from storage.connect import open_store
from storage.engine import Engine
from storage.errors import BadLocation
from storage.migrate import check, migrate
from storage.retention import Change, apply

StoreOption = Annotated[
    str | None,
    typer.Option("--store", metavar="URL", help="chdb:PATH or clickhouse://user:pass@host:9000/db", show_default=False),
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="settings file (TOML)", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON document and nothing else")]


@dataclass(frozen=True, slots=True)
class Globals:
    """Global options given before the command's name."""

    store: str | None = None
    config: Path | None = None


def settings_of(ctx: typer.Context, store: str | None = None, config: Path | None = None) -> Settings:
    """The settings of this run; options after the command's name win over those before it.

    Raises:
        SettingsError: see `eastwatch.settings.load_settings`.
    """
    given = ctx.find_object(Globals) or Globals()
    return load_settings(config or given.config, {"store": store or given.store})


def open_for_writing(settings: Settings, must_exist: bool = False) -> Engine:
    """The store, brought up to this version's tables and the settings' retention; changes of it are told on stderr.

    Args:
        must_exist: refuse one that is not there; else it is made.

    Raises:
        StorageError: it cannot be opened or migrated.
    """
    if must_exist:
        _expect(settings.store)
    engine = open_store(settings.store, memory_bytes=settings.memory_bytes)
    try:
        migrate(engine)
        for change in apply(engine, settings.retention):
            if change.before is not None:
                sys.stderr.write(f"retention: {changed(change)}\n")
    except BaseException:
        engine.close()
        raise
    return engine


def open_for_reading(settings: Settings) -> Engine:
    """The store for a command that reads; an older one is brought up to this version's tables.

    Raises:
        StorageError: it does not exist, cannot be opened, or is of a newer version.
    """
    _expect(settings.store)
    engine = open_store(settings.store, memory_bytes=settings.memory_bytes)
    try:
        if not check(engine):
            migrate(engine)
    except BaseException:
        engine.close()
        raise
    return engine


def _expect(store: str) -> None:
    kind, _, path = store.partition(":")
    if kind == "chdb" and not Path(path).exists():
        raise BadLocation(f"{store}: no store there, expected one that `eastwatch ingest` has made")


def changed(change: Change) -> str:
    """What a change of retention means, in words."""
    what = f"{change.column} of {change.table}" if change.column else change.table
    return f"{what} kept {_age(change.days)}, {_age(change.before or 0)} until now"


def _age(days: int) -> str:
    return f"{days} days" if days else "for ever"
