"""The command line: one clear line for whatever is wrong, exit code 2, and never a traceback."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from eastwatch.cli import COMMANDS, run
from eastwatch.cli.errors import EXIT_INTERRUPTED
from storage.attached import AttachedEngine
from storage.errors import StorageError
from tests.conftest import ROOT, RunInProcess
from tests.support.poll import poll

LINE = (
    '{"ts":"2026-01-01T00:00:01Z","source_namespace":"shop","source_service":"web","destination_namespace":"shop",'
    '"destination_service":"cart","reporter":"source","request_id":"r1","status":200,"duration_us":1000}\n'
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("EASTWATCH_")]:
        monkeypatch.delenv(name)
    (tmp_path / "calls.jsonl").write_text(LINE)
    (tmp_path / "bad.toml").write_text("[ingest]\nbatch = 1\n")
    (tmp_path / "a-file").write_text("")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ingest"], "Missing argument 'SOURCE...'"),
        (["ingest", "topic"], "source 'topic': expected kafka://HOST:PORT/TOPIC"),
        (["--store", "x:y", "ingest", "file:calls.jsonl"], "x:y"),
        (["ingest", "file:calls.jsonl", "--store", "clickhouse://127.0.0.1:9/db"], "127.0.0.1:9 does not answer"),
        (["ingest", "file:calls.jsonl", "--store", "chdb:a-file/store"], "a-file/store"),
        (["ingest", "file:calls.jsonl", "--store", "chdb:/proc/none"], "chdb:/proc/none"),
        (["migrate", "--store", "chdb:/proc/none"], "chdb:/proc/none"),
        (["map", "--store", "chdb:none"], "chdb:none: no store there"),
        (["deadletters", "list", "--store", "chdb:none"], "chdb:none: no store there"),
        (["deadletters", "list", "--since", "yesterday"], "'yesterday' is no time, expected RFC 3339"),
        (["deadletters", "list", "--limit", "0"], "greater than or equal to 1"),
        (["inventory", "load", "none.yaml"], "none.yaml: No such file or directory"),
        (["--config", "none.toml", "migrate"], "none.toml: No such file or directory"),
        (["migrate", "--config", "bad.toml"], "bad.toml: setting ingest.batch: no such setting"),
        (["migrate", "--dryrun"], "No such option"),
        (["bogus"], "No such command 'bogus'"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(arguments: list[str], says: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.startswith("eastwatch: ")
    assert said.err.count("\n") == 1
    assert says in said.err


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    said = capfd.readouterr()
    assert name in said.out
    assert said.err == ""


def test_help_names_every_command(capfd: pytest.CaptureFixture[str]) -> None:
    run(["--help"])
    said = capfd.readouterr().out
    assert all(name in said for name in COMMANDS)


IN_ONE_PROCESS = """
import contextlib, io, json, sys
from eastwatch.cli import run
told = []
for arguments in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(arguments)
    told.append((code, out.getvalue(), err.getvalue()))
print(json.dumps(told))
"""


def test_a_store_from_nothing_to_dead_letters(tmp_path: Path, run_in_process: RunInProcess) -> None:
    store, source = f"chdb:{tmp_path / 'store'}", f"file:{tmp_path}/calls.jsonl"
    (tmp_path / "calls.jsonl").write_text(LINE + "garbage")
    (tmp_path / "stdin.jsonl").write_text(LINE * 3)
    commands = [
        # The global option stands before the command's name or after it.
        ["--store", store, "ingest", source, "--json"],
        ["ingest", source, "--json", "--store", store],
        ["deadletters", "list", "--json", "--store", store],
        ["migrate", "--store", store],
        ["migrate", "--status", "--store", store],
        ["ingest", f"{source}?format=xml", "--store", store],
        ["ingest", "stdin:?format=calls_json", "--json", "--store", store],
    ]
    with (tmp_path / "stdin.jsonl").open() as stdin:
        done = run_in_process(IN_ONE_PROCESS, json.dumps(commands), stdin=stdin, timeout_s=120)
    codes, told, errors = zip(*json.loads(done.stdout), strict=True)
    assert codes == (0, 0, 0, 0, 0, 2, 0), errors
    first, again, found, *_ = map(json.loads, told[:3])
    assert (first["stored"], first["dead_lettered"], first["accepted"]) == (1, 1, 2)
    assert again["messages"] == 0
    assert [(one["offset"], one["payload"]) for one in found["dead_letters"]] == [(len(LINE), "garbage")]
    assert told[3].endswith("is up to date\n")
    assert "pending" not in told[4]
    assert told[5] == ""
    assert json.loads(told[6])["stored"] == 3


SLEEP = "SELECT sleepEachRow(1) FROM numbers(600) SETTINGS max_block_size = 1"
HANGING = f"""
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from collector.ingest import run
from eastwatch.cli import ingest, main

def statement(engine, **more):
    print("hangs", flush=True)
    engine.query("{SLEEP}")

def pool(engine, **more):
    with ThreadPoolExecutor(1) as threads:
        threads.submit(print, "hangs", flush=True)
        threads.submit(Event().wait)

ingest.STOP_MARGIN_S = 4.0
"""
PATCHES = {
    "a query of another process": "",
    "a statement of ours": "ingest.follow_up = statement",
    "a thread of a pool": "ingest.follow_up = pool",
    "the main thread, before it reads": "run.publish = lambda engine, *more: statement(engine)",
}
UNDONE = "ending now; what is not stored comes again"


def ask_and_wait(store: Path) -> None:
    """A query of ten minutes, which nobody answers in the end."""
    with contextlib.suppress(StorageError):
        AttachedEngine(store).query(SLEEP)


@pytest.mark.parametrize("hangs", PATCHES)
def test_sigterm_ends_it_whatever_hangs(tmp_path: Path, hangs: str) -> None:
    """An embedded engine closes when its last statement has ended, the interpreter when its threads have."""
    store, asks = tmp_path / "store", not PATCHES[hangs]
    command = [sys.executable, "-c", f"{HANGING}{PATCHES[hangs]}\nmain()", "ingest"]
    command += [f"file:{tmp_path}/calls.jsonl?format=calls_json&follow=1", "--store", f"chdb:{store}"]
    process = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT), "EASTWATCH_INGEST__DRAIN_S": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    asking = threading.Thread(target=ask_and_wait, args=(store,), daemon=True)
    try:
        assert process.stdout
        if asks:
            poll(lambda: count(store, "calls"), "its row")
            asking.start()
        else:
            assert process.stdout.readline() == "hangs\n"
        if "pool" not in hangs:
            poll(lambda: count(store, "system.processes WHERE startsWith(query, 'SELECT sleep')"), "the statement")
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=40)[1]
        assert 1 + 4 <= time.monotonic() - began < 1 + 4 + 5
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == EXIT_INTERRUPTED
    assert said == f"eastwatch: not at its end 5 s after it was told to stop, {UNDONE}\n"
    if asks:
        asking.join(30)
        assert not asking.is_alive()


def count(store: Path, what: str) -> int:
    """Rows of `what`, asked of whoever holds the store; none while its tables are made."""
    try:
        return AttachedEngine(store).query(f"SELECT count() FROM {what}").column(0)[0].as_py()
    except StorageError:
        return 0
