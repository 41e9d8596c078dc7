"""Bring a store to this version: `storage/migrations/NNNN_name.sql`, one statement a file, run once each in name order.

What was applied stands in the table `schema_migrations`, with a checksum of the file. Files are never changed after a
release. A crash between a statement and its record is harmless: a file that creates something which stands already is
recorded without running it again.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pyarrow as pa

from storage.engine import Engine
from storage.errors import BadStatement, MigrationChanged, QueryFailed, StoreTooNew
from storage.sql import header
from storage.tokens import tokens

DIRECTORY = Path(__file__).parent / "migrations"
_NAME = re.compile(r"\d{4}_[a-z0-9_]+\.sql")
_ALREADY_THERE = {57, 44, 15}
"""TABLE_ALREADY_EXISTS, ILLEGAL_COLUMN and DUPLICATE_COLUMN: the statement's effect stands."""

_RECORDS = """CREATE TABLE IF NOT EXISTS schema_migrations (
    name       String,
    checksum   String,
    applied_at DateTime64(6, 'UTC'),
    version    String
)
ENGINE = ReplacingMergeTree(applied_at)
ORDER BY name"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its name, text and checksum (SHA-256 of the text with Unix line ends)."""

    name: str
    text: str
    checksum: str


@dataclass(frozen=True, slots=True)
class Applied:
    """A migration and when it was applied: `None` = not yet (in a dry run, or in `status`)."""

    name: str
    checksum: str
    applied_at: datetime | None
    version: str


def migrations(directory: Path = DIRECTORY) -> list[Migration]:
    """The migrations of this version, in order.

    Raises:
        BadStatement: a file's name or text breaks the rules.
    """
    found = list[Migration]()
    for path in sorted(directory.glob("*.sql")):
        if not _NAME.fullmatch(path.name):
            raise BadStatement(f"{path.name}: expected NNNN_name.sql")
        text = path.read_text(encoding="utf-8").replace("\r\n", "\n").strip()
        if not header(text) or text.endswith(";"):
            raise BadStatement(f"{path.name}: a comment and one statement without a closing semicolon expected")
        found.append(Migration(path.stem, text, hashlib.sha256(text.encode()).hexdigest()))
    numbers = [migration.name[:4] for migration in found]
    if len(set(numbers)) != len(numbers):
        raise BadStatement("two migrations have the same number")
    return found


def definitions(directory: Path = DIRECTORY) -> list[str]:
    """Every statement that makes a table or a view, that of `schema_migrations` first.

    Raises:
        BadStatement: see `migrations`.
    """
    made = [m.text for m in migrations(directory) if tokens(m.text)[0].keyword == "CREATE"]
    return [_RECORDS, *made]


def migrate(engine: Engine, *, dry_run: bool = False, directory: Path = DIRECTORY) -> list[Applied]:
    """Apply what is missing and return it; with `dry_run` only say what would be applied.

    Raises:
        MigrationChanged: an applied file differs from what was applied.
        StoreTooNew: the store holds migrations that this version does not know.
        QueryFailed: a statement was refused.
    """
    known = migrations(directory)
    recorded = _recorded(engine)
    _compare(engine, known, recorded)
    missing = [migration for migration in known if migration.name not in recorded]
    if dry_run:
        return [Applied(m.name, m.checksum, None, _version()) for m in missing]
    if missing:
        engine.execute(_RECORDS)
    done = list[Applied]()
    for migration in missing:
        try:
            engine.execute(migration.text)
        except QueryFailed as error:
            if error.code not in _ALREADY_THERE:
                raise QueryFailed(f"migration {migration.name}: {error}", error.code) from None
        applied = Applied(migration.name, migration.checksum, datetime.now(UTC), _version())
        _record(engine, applied)
        done.append(applied)
    return done


def status(engine: Engine, *, directory: Path = DIRECTORY) -> list[Applied]:
    """Every migration that this version or the store knows, in order; never raises for a difference."""
    known = {migration.name: migration for migration in migrations(directory)}
    recorded = _recorded(engine)
    names = sorted(known.keys() | recorded.keys())
    return [recorded.get(name) or Applied(name, known[name].checksum, None, "") for name in names]


def check(engine: Engine, *, directory: Path = DIRECTORY) -> bool:
    """Whether a reader of this version can read the store: True when every migration is applied.

    Raises:
        MigrationChanged, StoreTooNew: see `migrate`.
    """
    known = migrations(directory)
    recorded = _recorded(engine)
    _compare(engine, known, recorded)
    return all(migration.name in recorded for migration in known)


def _compare(engine: Engine, known: list[Migration], recorded: dict[str, Applied]) -> None:
    names = {migration.name for migration in known}
    if newer := sorted(recorded.keys() - names):
        by = recorded[newer[-1]].version
        raise StoreTooNew(
            f"{engine.location} was written by a newer eastwatch ({by}): migration {newer[-1]} is unknown here; "
            "upgrade eastwatch to read it"
        )
    for migration in known:
        applied = recorded.get(migration.name)
        if applied and applied.checksum != migration.checksum:
            raise MigrationChanged(
                f"{engine.location}: migration {migration.name} was applied with other text "
                f"(checksum {applied.checksum[:12]}, the file has {migration.checksum[:12]}); "
                "restore the file and put the change into a new one"
            )


def _recorded(engine: Engine) -> dict[str, Applied]:
    try:
        rows = engine.query("SELECT name, checksum, applied_at, version FROM schema_migrations FINAL ORDER BY name")
    except QueryFailed as error:
        if error.code in (60, 81):  # no such table, no such database: an empty store
            return {}
        raise
    return {row["name"]: Applied(**row) for row in rows.to_pylist()}


def _record(engine: Engine, applied: Applied) -> None:
    engine.insert(
        "schema_migrations",
        pa.record_batch(
            {
                "name": [applied.name],
                "checksum": [applied.checksum],
                "applied_at": pa.array([applied.applied_at], pa.timestamp("us", "UTC")),
                "version": [applied.version],
            }
        ),
    )


def _version() -> str:
    try:
        return version("eastwatch")
    except PackageNotFoundError:
        return "unknown"
