"""The command line as its users run it: a process of its own, its output taken apart."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

_START = "from eastwatch.cli import main; main()"
LIMIT_S = 120


def eastwatch(*arguments: str, expect: int = 0, limit_s: float = LIMIT_S) -> str:
    """Run one command to its end and return its stdout; any other exit code than `expect` fails with its stderr."""
    done = subprocess.run(
        [sys.executable, "-c", _START, *arguments],
        capture_output=True,
        text=True,
        timeout=limit_s,
        env=_environment(),
        check=False,
    )
    if done.returncode != expect:
        raise AssertionError(f"eastwatch {' '.join(arguments)}: exit code {done.returncode}\n{done.stderr[-3000:]}")
    return done.stdout


def eastwatch_json(*arguments: str) -> Any:
    """Run one reading command with `--json`; stdout must be one JSON document and nothing else."""
    return json.loads(eastwatch(*arguments, "--json"))


_EACH = """
import json, os, sys, tempfile
from contextlib import ExitStack
from eastwatch.cli import run
ended = []
for arguments in json.loads(sys.argv[1]):
    with ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(2)]
        kept = [os.dup(1), os.dup(2)]
        for number, file in enumerate(files, 1):
            os.dup2(file.fileno(), number)
        code = run(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
        for number, file in enumerate(files, 1):
            os.dup2(kept[number - 1], number)
            os.close(kept[number - 1])
            file.seek(0)
        ended.append((code, *(file.read().decode() for file in files)))
print(json.dumps(ended))
"""


class Ended(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    stdout: str
    stderr: str


def eastwatch_each(*commands: Sequence[str]) -> list[Ended]:
    """Run several commands, one after the other in one process, whatever their exit codes."""
    done = subprocess.run(
        [sys.executable, "-c", _EACH, json.dumps(commands)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env=_environment(),
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"exit code {done.returncode}\n{done.stderr[-3000:]}")
    return [Ended(*one) for one in json.loads(done.stdout)]


def eastwatch_documents(*commands: Sequence[str]) -> list[Any]:
    """Run several reading commands with `--json`, one after the other in one process; each must print one document."""
    documents: list[Any] = []
    given = [[*arguments, "--json"] for arguments in commands]
    for arguments, ended in zip(given, eastwatch_each(*given), strict=True):
        if ended.code:
            raise AssertionError(f"eastwatch {' '.join(arguments)}: exit code {ended.code}\n{ended.stderr[-3000:]}")
        documents.append(json.loads(ended.stdout))
    return documents


@contextmanager
def running(*arguments: str, limit_s: float = LIMIT_S) -> Iterator[subprocess.Popen[str]]:
    """A command in the background. It is ended by SIGTERM, and must then end well by itself."""
    process = subprocess.Popen(
        [sys.executable, "-c", _START, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(),
    )
    try:
        yield process
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=limit_s)
        if process.returncode != 0:
            raise AssertionError(
                f"eastwatch {' '.join(arguments)}: exit code {process.returncode} after SIGTERM\n{stderr[-3000:]}"
            )
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith(("EASTWATCH_", "OTEL_"))}
