"""The `eastwatch ingest` processes that the torture test starts, kills, freezes and ends."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
STOP_LIMIT_S = 30.0
"""Longest time from SIGTERM to the end of an ingester: what Kubernetes gives a pod."""
_START = "from eastwatch.cli import main; main()"
_SETTINGS = """[ingest]
batch_messages = {messages}
batch_age_s = {age_s}
commit_interval_s = {commit_s}
derive_interval_s = 5
[kafka]
session_timeout_s = 2
connect_timeout_s = 90
metadata_refresh_s = 5
"""
SETTINGS = (
    _SETTINGS.format(messages=30, age_s=0.02, commit_s=0),
    _SETTINGS.format(messages=75, age_s=0.1, commit_s=0.5),
    _SETTINGS.format(messages=5000, age_s=0.5, commit_s=2),
)
"""Small batches, so that a kill hits one at any point; larger ones and rarer commits, so that much comes again."""


class Ingesters:
    """Processes of one consumer group, each with sizes of batches of its own.

    Args:
        directory: for settings and what they print.
        arguments: of `eastwatch`.
        chance: chooses settings and victims.
    """

    def __init__(self, directory: Path, arguments: Sequence[str], chance: random.Random) -> None:
        self.kills = 0
        self.broken: list[str] = []
        """Those that ended by themselves with an error, or not when told to."""
        self.gave_up = 0
        """Those that could not reach the engine when they started, and said so: whoever runs them starts them again."""
        self.stop_s = 0.0
        """How long the slowest took to end on SIGTERM."""
        self._directory = directory
        self._arguments = arguments
        self._chance = chance
        self._running: dict[subprocess.Popen[bytes], Path] = {}
        self._frozen: subprocess.Popen[bytes] | None = None
        self._started = 0

    def start(self, *more: str, settings: str = "") -> subprocess.Popen[bytes]:
        """One more, with further arguments; any of `SETTINGS` unless they are given."""
        self._started += 1
        config = self._directory / f"ingester-{self._started}.toml"
        config.write_text(settings or self._chance.choice(SETTINGS))
        log = config.with_suffix(".log")
        command = [sys.executable, "-c", _START, *self._arguments, *more, "--config", str(config)]
        with log.open("wb") as out:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=ROOT, env=_environment()
            )
        self._running[process] = log
        return process

    def kill(self) -> None:
        """SIGKILL one, and start another in its place; those that ended by themselves are started anew before."""
        for process in [process for process in self._running if process.poll() is not None]:
            self._tell(process)
            del self._running[process]
            self.start()
        process = self._chance.choice(list(self._running))
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.kills += 1
        del self._running[process]
        self.start()

    def freeze(self) -> None:
        """SIGSTOP the one that runs longest."""
        self._frozen = next(iter(self._running))
        self._frozen.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT it, unless it was killed meanwhile."""
        if self._frozen in self._running:
            self._frozen.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """SIGTERM all; each must end well within `STOP_LIMIT_S`."""
        began = time.monotonic()
        for process in self._running:
            process.send_signal(signal.SIGTERM)
        for process in self._running:
            try:
                process.wait(max(0.1, STOP_LIMIT_S - (time.monotonic() - began)))
            except subprocess.TimeoutExpired:
                self.broken.append(f"an ingester still runs {STOP_LIMIT_S:.0f} s after SIGTERM{self._said(process)}")
                process.kill()
                process.wait()
            else:
                # One that had not got as far as to listen for it ends at once.
                if process.returncode not in (0, -signal.SIGTERM):
                    self._tell(process)
        self.stop_s = time.monotonic() - began
        self._running.clear()

    def drain(self, limit_s: float) -> None:
        """Read the rest with `--until-idle`."""
        process = self.start("--until-idle", settings=SETTINGS[-1])
        try:
            if process.wait(limit_s):
                self._tell(process)
        except subprocess.TimeoutExpired:
            self.broken.append(f"the rest was not read within {limit_s:.0f} s{self._said(process)}")
            process.kill()
            process.wait()
        self._running.clear()

    @property
    def torn(self) -> int:
        """Kills of an embedded engine that tore an insert apart, as the next process said."""
        return sum(b"tokens without rows" in log.read_bytes() for log in self._directory.glob("ingester-*.log"))

    def end(self) -> None:
        """Leave none behind."""
        for process in self._running:
            process.kill()
            process.wait()

    def _tell(self, process: subprocess.Popen[bytes]) -> None:
        said = self._said(process)
        if process.returncode == 2 and said.count("\n") == 0 and "does not answer" in said:
            self.gave_up += 1
            return
        self.broken.append(f"an ingester ended by itself with {process.returncode}{said}")

    def _said(self, process: subprocess.Popen[bytes]) -> str:
        last = self._running[process].read_bytes()[-2000:].decode(errors="replace").strip()
        return f": {last}" if last else ""


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith(("EASTWATCH_", "OTEL_"))}
