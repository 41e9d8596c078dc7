"""Regressions in a process that runs on: a look each minute, findings told as the policies' are."""

from __future__ import annotations

from datetime import datetime, timedelta

from analyzers.latency.analysis import Progress
from analyzers.latency.limits import Limits
from analyzers.latency.run import run_latency
from collector.clock import Clock
from collector.ingest.store import Notice
from eastwatch.analysis_job import AnalysisJob, Run
from eastwatch.analysis_options import AnalysisOptions
from eastwatch.regression_options import RegressionOptions
from eastwatch.telemetry import Telemetry
from storage.engine import Engine

ANALYZER = "latency"
SETTLED = timedelta(minutes=1)
"""Lines of a minute that has just passed are still on their way."""


class RegressionJob(AnalysisJob):
    """Looks for regressions every `options.interval_s` until `stop`; never where that is 0."""

    analyzer = ANALYZER

    def __init__(
        self, engine: Engine, options: RegressionOptions, clock: Clock, telemetry: Telemetry, notice: Notice
    ) -> None:
        super().__init__(engine, AnalysisOptions(), clock, telemetry, notice)
        self._regressions = options
        self._last: datetime | None = None

    @property
    def interval_s(self) -> float:
        """Seconds from one run to the next; 0 = there is none."""
        return self._regressions.interval_s

    def _look(self, until: datetime) -> Run:
        found = look_latency(self._engine, self._last, until, self._regressions.limits(), self._go_on)
        self._last = found.until
        return found

    def _compare(self) -> None:
        """Nothing to compare: regressions rest on no stored settings."""


def look_latency(
    engine: Engine, last: datetime | None, now: datetime, limits: Limits, progress: Progress | None = None
) -> Run:
    """One run at `now`: every minute since the `last` run's end, at most REACH back; without one the last minute.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    until = (now - SETTLED).replace(second=0, microsecond=0)
    reach = until - timedelta(minutes=limits.reach_min)
    since = min(max(last, reach), until) if last else until - timedelta(minutes=1)
    kept = run_latency(engine, since, until, now, limits, step_min=1, progress=progress)
    return Run(since, until, kept.findings, frozenset(one.id for one in kept.findings) & kept.new)
