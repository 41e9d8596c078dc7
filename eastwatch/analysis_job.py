"""Findings in a process that runs on: the last window is looked at again and again, each episode kept once.

    the last window, back to where known episodes begin ──► policy_findings ──► keep ──► incidents, a line for each

An episode is derived anew in every run, from its beginning (at most REACH back), so that its numbers are those of all
its calls. A run that fails is told in one line, and the next one begins as if nothing had been.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from analyzers.findings.model import QUIET, Finding
from analyzers.findings.store import findings, keep
from analyzers.findings.table import number_of
from analyzers.incidents.store import keep_incidents
from analyzers.policy.analysis import policy_findings
from analyzers.policy.errors import PolicyError
from analyzers.policy.judging import Progress
from collector.clock import Clock
from collector.ingest.store import Notice
from eastwatch.analysis_options import AnalysisOptions
from eastwatch.health import Check
from eastwatch.policy_options import PolicyOptions, outdated
from eastwatch.telemetry import Telemetry
from storage.engine import Engine
from storage.errors import StorageError

ANALYZER = "policy"
REACH = timedelta(hours=6)
"""How far back of the end an episode is read whose beginning lies before the window."""
MOST_TOLD = 20
"""New findings of one run that get a line each."""


class Stopped(Exception):
    """The process ends: a run is given up between two statements."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one run looked at, [since, until), and kept.

    Attributes:
        new: ids that were not in the store before.
    """

    since: datetime
    until: datetime
    found: Sequence[Finding]
    new: frozenset[str]

    @property
    def line(self) -> str:
        """In words, for people."""
        times = f"{self.since:%Y-%m-%d %H:%M:%S} to {self.until:%H:%M:%S}"
        return f"{number_of(len(self.found))}, {len(self.new):,} of them new, in calls from {times}"


def look(engine: Engine, since: datetime, until: datetime, now: datetime, progress: Progress | None = None) -> Run:
    """Look at the calls of [since, until), and further back where an episode goes on from before; keep what is found.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
        BadPolicy: a stored set that this version of eastwatch does not take.
    """
    known = findings(engine, since - QUIET, until)
    begin = min([since, *(one.first_seen for one in known)])
    begin = min(since, max(begin, until - REACH))
    kept = keep(engine, policy_findings(engine, begin, until, progress), now)
    # Episodes that join one before the window get its id.
    before = {one.id for one in known}
    return Run(begin, until, kept, frozenset(one.id for one in kept) - before)


class AnalysisJob:
    """Looks for findings of policies every `options.interval_s` until `stop`; never where that is 0.

    Args:
        engine: the store.
        policies: what the settings say of meshes: told at the start where stored policies were loaded with other ones.
    """

    analyzer = ANALYZER

    def __init__(
        self,
        engine: Engine,
        options: AnalysisOptions,
        clock: Clock,
        telemetry: Telemetry,
        notice: Notice,
        policies: PolicyOptions | None = None,
    ) -> None:
        self.defect: Exception | None = None
        """Never one: what an analyzer trips over is told, and does not end the process that stores records."""
        self._engine = engine
        self._options = options
        self._clock = clock
        self._telemetry = telemetry
        self._notice = notice
        self._policies = policies or PolicyOptions()
        self._trouble = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"job analysis {self.analyzer}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Begin no further run, and end the one that is under way between two statements."""
        self._stop.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; False when it took longer."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def check(self) -> Check:
        """Its name and what is wrong. Readiness does not depend on it: records are read and stored all the same."""
        return Check(f"analyzer {self.analyzer}", self._trouble)

    def look(self) -> Run | None:
        """One run; None where it failed, which is told once until another one goes well or fails otherwise."""
        until, began = self._clock.now(), self._clock.monotonic()
        try:
            with self._telemetry.span("analyze"):
                run = self._look(until)
                keep_incidents(self._engine, until)
        except Stopped:
            return None
        except (StorageError, PolicyError) as error:
            self._failed(error, str(error))
            return None
        except Exception as error:  # noqa: BLE001 - a defect of an analyzer is no reason to store nothing more
            self._failed(error, f"{type(error).__name__}: {error}")
            return None
        if self._trouble:
            self._notice(f"analyzer {self.analyzer}: runs again")
        self._trouble = ""
        self._telemetry.record("eastwatch.analysis.duration", self._clock.monotonic() - began, analyzer=self.analyzer)
        self._tell(run)
        return run

    @property
    def interval_s(self) -> float:
        """Seconds from one run to the next; 0 = there is none."""
        return self._options.interval_s

    def _look(self, until: datetime) -> Run:
        since = until - timedelta(seconds=self._options.window_s)
        return look(self._engine, since, until, until, self._go_on)

    def _go_on(self, done: int, total: int) -> None:
        del done, total
        if self._stop.is_set():
            raise Stopped

    def _failed(self, error: Exception, text: str) -> None:
        self._telemetry.count("eastwatch.analysis.failures", analyzer=self.analyzer, error=type(error).__name__)
        if text != self._trouble:
            self._notice(f"analyzer {self.analyzer}: {text}; it is tried again")
        self._trouble = text

    def _tell(self, run: Run) -> None:
        new = list({one.id: one for one in run.found if one.id in run.new}.values())
        for one in new:
            self._telemetry.count("eastwatch.findings.new", kind=one.kind, severity=one.severity)
        for one in new[:MOST_TOLD]:
            self._notice(f"finding {one.id}, {one.severity}: {one.title}")
        if len(new) > MOST_TOLD:
            self._notice(f"and {len(new) - MOST_TOLD:,} findings more: `eastwatch findings` lists them")

    def _compare(self) -> None:
        try:
            line = outdated(self._engine, self._policies, self._clock.now())
        except (StorageError, PolicyError):
            return  # the first run says so
        if line:
            self._notice(f"analyzer {self.analyzer}: {line}")

    def _run(self) -> None:
        if self.interval_s:
            self._compare()
        while self.interval_s and not self._stop.is_set():
            self.look()
            self._stop.wait(self.interval_s)


def every(interval_s: float, stop: threading.Event, run: Callable[[], None]) -> None:
    """Call `run` now and every `interval_s` seconds, until `stop`; one that takes longer delays the next."""
    while not stop.is_set():
        run()
        stop.wait(interval_s)
