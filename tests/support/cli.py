"""The command line as its users run it: a process of its own, its output taken apart."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
