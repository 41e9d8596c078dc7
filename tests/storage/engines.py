"""The three engines for the conformance tests, each on a migrated and empty store."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

from storage.attached import AttachedEngine
from storage.connect import open_store
from storage.engine import Engine
from storage.migrate import migrate

ROOT = Path(__file__).parent.parent.parent

HOLD = """
import sys
from storage.connect import open_store
from storage.migrate import migrate
engine = open_store("chdb:" + sys.argv[1])
migrate(engine)
print("ready", flush=True)
sys.stdin.read()
engine.close()
print("closed", flush=True)
"""


@contextlib.contextmanager
def holder(path: Path) -> Generator[subprocess.Popen[str]]:
    """A process that holds the store at `path` and serves it until its stdin closes."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.communicate(timeout=30)


@contextlib.contextmanager
def attached() -> Generator[Engine]:
    """An engine attached to a store that another process holds."""
    with tempfile.TemporaryDirectory() as directory, holder(Path(directory) / "data"):
        engine = AttachedEngine(Path(directory) / "data")
        yield engine
        engine.close()


@contextlib.contextmanager
def server() -> Generator[Engine]:
    """An engine on the server named by EASTWATCH_TEST_CLICKHOUSE (in a database of its own), else on chDB over TCP."""
    if url := os.environ.get("EASTWATCH_TEST_CLICKHOUSE"):
        database = f"eastwatch_test_{secrets.token_hex(4)}"
        head, _, tail = url.partition("?")
        engine = open_store(f"{head.rsplit('/', 1)[0]}/{database}" + (f"?{tail}" if tail else ""))
        try:
            migrate(engine)
            yield engine
        finally:
            engine.execute(f"DROP DATABASE {database}")
            engine.close()
        return
    from tests.support.native_server import start_native_server

    with start_native_server() as native:
        engine = open_store(native.url("eastwatch"))
        migrate(engine)
        yield engine
        engine.close()
