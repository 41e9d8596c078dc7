"""Fixtures that every room's tests share.

chDB allows one data directory at a time in a process. So all tests of one pytest process share one embedded store,
whose tables are emptied before each test that asks for `engine`; a test that needs a store of its own, or a crash, runs
its code in a process of its own with `run_in_process`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import settings

from storage.embedded import EmbeddedEngine
from storage.engine import Engine
from storage.migrate import migrate, migrations
from tests.support.fixtures_kafka import kafka  # noqa: F401 - a fixture

ROOT = Path(__file__).parent.parent

RunInProcess = Callable[..., "subprocess.CompletedProcess[str]"]

# How long an example takes says more about the machine than about the code.
settings.register_profile("eastwatch", deadline=None)
settings.load_profile("eastwatch")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """`pytest -n`: see `tests.support.workers`."""
    from tests.support.workers import ByServer

    config.option.loadscopereorder = False
    return ByServer(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In the workers of `pytest -n`: see `tests.support.workers`."""
    if hasattr(config, "workerinput"):
        from tests.support.workers import first_servers

        first_servers(items)


@pytest.fixture(scope="session")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedEngine]:
    """The one embedded store of this process, migrated. Ask for `engine` instead, which empties it first."""
    engine = EmbeddedEngine(tmp_path_factory.mktemp("store") / "data", memory_bytes=2 << 30)
    migrate(engine)
    yield engine
    engine.close()


@pytest.fixture
def engine(shared_store: EmbeddedEngine) -> Engine:
    """An embedded engine with every table there and empty; deduplication tokens of earlier tests are forgotten."""
    empty(shared_store)
    return shared_store


def empty(engine: Engine) -> None:
    """Remove all rows, and the tables that tests made; the recorded migrations stay."""
    ours = {"schema_migrations"}
    for migration in migrations():
        ours.update(re.findall(r"^CREATE (?:TABLE|(?:MATERIALIZED )?VIEW) (\w+)", migration.text, re.MULTILINE))
    found = engine.query("SELECT name, engine, total_rows FROM system.tables WHERE database = currentDatabase()")
    for row in found.to_pylist():
        name = row["name"]
        if row["engine"] == "MaterializedView":
            continue
        if name not in ours:
            engine.execute(f"DROP TABLE IF EXISTS `{name}` SYNC")
        elif row["total_rows"] and name != "schema_migrations":
            engine.execute(f"TRUNCATE TABLE `{name}`")


@pytest.fixture
def run_in_process() -> RunInProcess:
    """Run Python source in a fresh process: `run_in_process(source, *args, timeout_s=120, check=True, env={}, stdin=…)`

    The repository is importable, `args` are in `sys.argv[1:]`, output is captured as text. With `check` a failure of
    the process fails the test and shows what it wrote.
    """

    def run(
        source: str,
        *args: object,
        timeout_s: float = 120,
        check: bool = True,
        env: dict[str, str] | None = None,
        stdin: IO[str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", source, *map(str, args)],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
            stdin=stdin,
        )
        if check and done.returncode:
            pytest.fail(f"process ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    return run
