"""Migrations: once each, in order, refused when they changed or are unknown, harmless after a crash."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlglot

from storage import migrate as migrations
from storage import sql
from storage.engine import Engine
from storage.errors import BadStatement, MigrationChanged, QueryFailed, StoreTooNew
from storage.migrate import check, migrate, status
from storage.tables import TABLES

ONE = "-- First.\nCREATE TABLE ours_one (a UInt8) ENGINE = MergeTree ORDER BY a\n"
TWO = "-- Second.\nALTER TABLE ours_one ADD COLUMN b UInt8\n"


@pytest.fixture
def directory(tmp_path: Path, engine: Engine) -> Iterator[Path]:
    """A directory of migrations: the real ones and two of the test, which the store forgets afterwards."""
    for path in migrations.DIRECTORY.glob("*.sql"):
        (tmp_path / path.name).write_text(path.read_text())
    (tmp_path / "8001_one.sql").write_text(ONE)
    (tmp_path / "8002_two.sql").write_text(TWO)
    yield tmp_path
    engine.execute(
        "ALTER TABLE schema_migrations DELETE WHERE name LIKE '8%' OR name LIKE '9%'", settings={"mutations_sync": 2}
    )
    engine.execute("DROP TABLE IF EXISTS ours_one SYNC")


def test_missing_ones_are_applied_once_in_order(engine: Engine, directory: Path) -> None:
    planned = migrate(engine, directory=directory, dry_run=True)
    assert [(m.name, m.applied_at) for m in planned] == [("8001_one", None), ("8002_two", None)]
    assert not check(engine, directory=directory)
    assert [m.name for m in migrate(engine, directory=directory)] == ["8001_one", "8002_two"]
    assert migrate(engine, directory=directory) == []
    assert check(engine, directory=directory)
    engine.execute("INSERT INTO ours_one (a, b) VALUES (1, 2)")
    states = {m.name: m for m in status(engine, directory=directory)}
    assert states["8002_two"].applied_at is not None
    assert list(states) == sorted(states)


def test_a_dry_run_changes_nothing(engine: Engine, directory: Path) -> None:
    migrate(engine, directory=directory, dry_run=True)
    with pytest.raises(QueryFailed):
        engine.query("SELECT * FROM ours_one")


def test_a_changed_file_is_refused(engine: Engine, directory: Path) -> None:
    migrate(engine, directory=directory)
    (directory / "8001_one.sql").write_text(ONE.replace("UInt8", "UInt16"))
    for use in (migrate, check):
        with pytest.raises(MigrationChanged, match="8001_one was applied with other text"):
            use(engine, directory=directory)


def test_line_ends_do_not_change_a_file(engine: Engine, directory: Path) -> None:
    migrate(engine, directory=directory)
    (directory / "8001_one.sql").write_bytes(ONE.replace("\n", "\r\n").encode())
    assert migrate(engine, directory=directory) == []


def test_a_newer_store_is_refused(engine: Engine, directory: Path) -> None:
    migrate(engine, directory=directory)
    for use in (migrate, check):
        with pytest.raises(StoreTooNew, match="8002_two is unknown here; upgrade eastwatch"):
            use(engine)
    assert [m.name for m in status(engine)][-1] == "8002_two"


def test_a_crash_before_the_record_is_harmless(engine: Engine, directory: Path) -> None:
    engine.execute(ONE)
    engine.execute(TWO)
    assert [m.name for m in migrate(engine, directory=directory)] == ["8001_one", "8002_two"]


def test_a_bad_statement_names_its_file_and_stops(engine: Engine, directory: Path) -> None:
    (directory / "8002_two.sql").write_text(
        "-- Wrong.\nCREATE TABLE wrong (a Nonsense) ENGINE = MergeTree ORDER BY a\n"
    )
    with pytest.raises(QueryFailed, match="migration 8002_two: "):
        migrate(engine, directory=directory)
    assert [m.name for m in migrate(engine, directory=directory, dry_run=True)] == ["8002_two"]


@pytest.mark.parametrize(
    ("name", "text"), [("9001-x.sql", ONE), ("9001_x.sql", ONE + ";"), ("9001_x.sql", "SELECT 1"), ("8001_y.sql", ONE)]
)
def test_files_that_break_the_rules(engine: Engine, directory: Path, name: str, text: str) -> None:
    (directory / name).write_text(text)
    with pytest.raises(BadStatement):
        migrate(engine, directory=directory)


def test_an_empty_store_is_filled(tmp_path: Path, run_in_process: object) -> None:
    code = """
import sys
from storage.connect import open_store
from storage.migrate import check, migrate, status
engine = open_store("chdb:" + sys.argv[1])
assert not check(engine) and all(m.applied_at is None for m in status(engine))
applied = migrate(engine)
assert [m.name for m in applied] == [m.name for m in status(engine)] and check(engine)
engine.close()
engine = open_store("chdb:" + sys.argv[1])
assert migrate(engine) == [] and check(engine)
engine.close()
"""
    run_in_process(code, tmp_path / "data")  # type: ignore[operator]


@pytest.mark.parametrize("table", TABLES.values(), ids=list(TABLES))
def test_tables_in_python_are_those_of_the_engine(shared_store: Engine, table: object) -> None:
    name = table.name  # type: ignore[attr-defined]
    found = shared_store.query(
        "SELECT name, type FROM system.columns "
        "WHERE database = currentDatabase() AND table = {t:String} ORDER BY position",
        {"t": name},
    )
    declared = [(column.name, column.type) for column in table.columns]  # type: ignore[attr-defined]
    assert list(zip(found["name"].to_pylist(), found["type"].to_pylist(), strict=True)) == declared


def test_every_table_that_views_or_batches_write_has_a_deduplication_window(engine: Engine) -> None:
    found = engine.query(
        "SELECT name, engine_full FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
    )
    without = [
        row["name"] for row in found.to_pylist() if "non_replicated_deduplication_window = " not in row["engine_full"]
    ]
    assert without == ["schema_migrations"]


FILES = [*sorted(migrations.DIRECTORY.glob("*.sql")), *sorted(sql.ROOT.rglob("*.sql"))]


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_every_sql_file_is_one_statement(path: Path) -> None:
    text = path.read_text()
    sql.parse(path.stem, text)
    statements = sqlglot.parse(text, dialect="clickhouse", error_level=sqlglot.ErrorLevel.IGNORE)
    assert len([statement for statement in statements if statement is not None]) == 1


@pytest.mark.parametrize("name", list(sql.names()))
def test_every_statement_is_understood_by_the_engine(shared_store: Engine, name: str) -> None:
    """ClickHouse itself parses it (EXPLAIN AST knows tables, columns and holes only by shape)."""
    statement = sql.load(name)
    assert statement.doc
    shared_store.query("SELECT formatQuerySingleLine({q:String}) AS q", {"q": statement.text})


class TestStatement:
    def test_text_holes_and_comment(self) -> None:
        statement = sql.parse("room/name", "-- Why.\n--   since: inclusive\nSELECT {since:DateTime64(6, 'UTC')} AS a\n")
        assert statement.doc == "Why.\nsince: inclusive"
        assert dict(statement.parameters) == {"since": "DateTime64(6, 'UTC')"}
        assert str(statement) == statement.text

    @pytest.mark.parametrize("name", ["../errors", "No", "/etc/passwd", "a/../b", "nosuch/file", ""])
    def test_unknown_names(self, name: str) -> None:
        with pytest.raises(BadStatement):
            sql.load(name)

    @pytest.mark.parametrize("text", ["SELECT 1", "-- Why.\nSELECT 1;", ""])
    def test_rules(self, text: str) -> None:
        with pytest.raises(BadStatement):
            sql.parse("x", text)
