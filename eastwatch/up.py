"""`eastwatch up` inside: each source with an ingest loop of its own, the derivation job, and how they are.

    settings ──► SourceRun (one thread a source): open ──► Ingest.run ──► again, when it broke
                 Job (one thread): follow_up, every `ingest.derive_interval_s`, and once more at the end
                 AnalysisJob (one thread): findings, every `analysis.interval_s`
                 RegressionJob (one thread): regressions, every `regressions.interval_s`

A source that breaks is told, makes the process unready and is opened again with growing pauses; the others go on. The
memory for batches on their way is shared out evenly.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from analyzers.dependencies.derive import GoOn
from collector.clock import Clock
from collector.errors import CollectorError
from collector.ingest.bounds import BoundsBook
from collector.ingest.counters import Counts
from collector.ingest.decoders import DecoderCache
from collector.ingest.run import Ingest
from collector.ingest.store import Notice
from collector.sources.open import open_source
from collector.sources.source import Joining, Source
from collector.sources.urls import KafkaUrl, SourceUrl
from eastwatch.analysis_job import AnalysisJob
from eastwatch.follow_up import follow_up, settled
from eastwatch.health import Check
from eastwatch.measured import TelemetryMeasures, reported
from eastwatch.regression_job import RegressionJob
from eastwatch.retention_job import RetentionJob
from eastwatch.settings import Settings
from eastwatch.telemetry import Telemetry
from storage.engine import Engine
from storage.errors import StorageError

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
STARTING = "starting"
STEADY_S = 3.0
"""How long a source that broke must be read again before it counts as well: what breaks at once would flicker."""
WATCH_S = 0.2
GRACE_S = 4.0
"""What the ends of loops get beyond `ingest.drain_s`: to give up what hangs, commit and leave their groups."""


@dataclass(frozen=True, slots=True)
class Place:
    """What all parts of the process share."""

    engine: Engine
    settings: Settings
    clock: Clock
    telemetry: Telemetry
    notice: Notice


class SourceRun:
    """Reads one source until `stop`, whatever happens to it.

    Args:
        url: what to read.
        place: shared by all.
        share: of how many sources this is one.
    """

    def __init__(self, url: SourceUrl, place: Place, share: int = 1) -> None:
        self.label = url.label
        self.defect: Exception | None = None
        """What ended the thread although nothing may: a defect of eastwatch."""
        self._url = url
        self._place = place
        self._options = place.settings.ingest.shared_by(share)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._loop: Ingest | None = None
        self._source: Source | None = None
        self._trouble = STARTING
        self._opened_at: float | None = None
        self._before: list[Counts] = []
        self._thread = threading.Thread(target=self._run, name=f"source {url.label}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Read nothing more, store what is on its way within `ingest.drain_s`."""
        with self._lock:
            self._stop.set()
            if self._loop:
                self._loop.stop()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; False when it took longer."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def check(self) -> Check:
        """Whether it is joined and read."""
        trouble, source, opened_at = self._trouble, self._source, self._opened_at
        if opened_at is not None and self._place.clock.monotonic() - opened_at > STEADY_S:
            trouble = ""
        if not trouble and isinstance(source, Joining) and (waits_for := source.waits_for):
            trouble = f"waits for {waits_for}"
        return Check(f"source {self.label}", trouble)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Batches, records and dead letters that were stored since the start."""
        with self._lock:
            each = [*self._before, *([self._loop.counters.snapshot()] if self._loop else [])]
        return (
            sum(one.batches for one in each),
            sum(one.stored for one in each),
            sum(one.dead_lettered for one in each),
        )

    def _run(self) -> None:
        clock, pause_s = self._place.clock, FIRST_PAUSE_S
        try:
            while not self._stop.is_set():
                began = clock.monotonic()
                try:
                    self._ingest()
                except (CollectorError, StorageError) as error:
                    if clock.monotonic() - began > LONGEST_PAUSE_S:
                        pause_s = FIRST_PAUSE_S
                    self._broke(error, pause_s)
                    self._stop.wait(pause_s)
                    pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
                else:
                    self._trouble = ""
                    if not self._stop.is_set():
                        self._place.notice(f"{self.label}: read to its end")
                    return
        except Exception as error:  # noqa: BLE001 - raised again by the main thread
            self.defect = error
            self._trouble = "ended by a defect"

    def _broke(self, error: Exception, pause_s: float) -> None:
        text = str(error).removeprefix(f"{self.label}: ")
        self._trouble = text
        self._place.telemetry.count("eastwatch.source.failures", source=self.label, error=type(error).__name__)
        told = f"{self.label}: {text}"
        self._place.notice(told if self._stop.is_set() else f"{told}; opening it again in {pause_s:.0f} s")

    def _ingest(self) -> None:
        """Open the source and ingest it until it ends, breaks or `stop` is called."""
        place, url = self._place, self._url
        bounds = BoundsBook(place.engine, group=url.group if isinstance(url, KafkaUrl) else "")
        measures = TelemetryMeasures(place.telemetry, source=self.label)
        source = open_source(
            url,
            bounds,
            place.clock,
            options=self._options,
            kafka=place.settings.kafka,
            otlp=place.settings.otlp,
            until_idle=False,
            notice=place.notice,
            measures=measures,
        )
        try:
            loop = Ingest(
                place.engine,
                [source],
                DecoderCache(place.settings.decode),
                options=self._options,
                operations=place.settings.operations,
                bounds=bounds,
                clock=place.clock,
                measures=measures,
                notice=place.notice,
            )
            with self._lock:
                if self._stop.is_set():
                    return
                self._loop, self._source, self._opened_at = loop, source, place.clock.monotonic()
            if self._trouble == STARTING:
                self._trouble = ""
            else:
                place.notice(f"{self.label}: open again")
            with reported(loop, place.telemetry, source=self.label):
                loop.run()
            if loop.in_flight_bytes:
                place.notice(f"{self.label}: not all was stored within {self._options.drain_s:g} s; it comes again")
        finally:
            source.close()
            with self._lock:
                self._source = self._opened_at = None
                if self._loop:
                    self._before = [*self._before, self._loop.counters.snapshot()]
                    self._loop = None


class Job:
    """What follows from stored records: addresses, derived edges and operations, brought up to date again and again.

    Args:
        place: shared by all.
        news: a number that changes when something was stored.
    """

    name = "dependencies"

    def __init__(self, place: Place, news: Callable[[], int]) -> None:
        self.defect: Exception | None = None
        self._place = place
        self._news = news
        self._stop = threading.Event()
        self._ending = threading.Event()
        self._until = 0.0
        self._trouble = ""
        self._thread = threading.Thread(target=self._run, name=f"job {self.name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Begin no further run but the one of `finish`, and end the one that is under way between two statements."""
        self._stop.set()

    def finish(self, until: float) -> None:
        """Nothing more is stored: one last run, over all there is, as far as it comes by `until` (`time.monotonic`)."""
        self._until = until
        self._stop.set()
        self._ending.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; False when it took longer."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def check(self) -> Check:
        """Whether its last run went well."""
        return Check(f"analyzer {self.name}", self._trouble)

    def _run(self) -> None:
        clock, seen = self._place.clock, -1
        changed_at = done_until = clock.now()
        try:
            while not self._stop.is_set():
                now = clock.now()
                news = self._news()
                if news != seen:
                    seen, changed_at = news, now
                # Once more when the minute of the last news has settled; the first run makes up for earlier processes.
                minute = settled(now)
                if done_until <= changed_at and self._follow_up(now, minute, lambda: not self._stop.is_set()):
                    done_until = minute
                self._stop.wait(self._place.settings.ingest.derive_interval_s)
            self._ending.wait()
            if done_until > changed_at and self._news() == seen:
                return  # the last minute is over, and derived
            if not self._follow_up(clock.now(), None, lambda: time.monotonic() < self._until):
                self._place.notice("not all that follows from the last records is derived; the next process goes on")
        except Exception as error:  # noqa: BLE001 - raised again by the main thread
            self.defect = error

    def _follow_up(self, now: datetime, until: datetime | None, go_on: GoOn) -> bool:
        place, began = self._place, self._place.clock.monotonic()
        try:
            with place.telemetry.span("derive"):
                whole = follow_up(place.engine, now=now, until=until, go_on=go_on)
        except StorageError as error:
            if self._trouble != str(error):
                place.notice(f"analyzer {self.name}: {error}; it is tried again")
            self._trouble = str(error)
            return False
        if self._trouble:
            place.notice(f"analyzer {self.name}: runs again")
        self._trouble = ""
        place.telemetry.record("eastwatch.analysis.duration", place.clock.monotonic() - began, analyzer=self.name)
        return whole


class Up:
    """Sources and jobs of one process.

    Args:
        urls: what to read.
        place: shared by all.
    """

    def __init__(self, urls: Sequence[SourceUrl], place: Place) -> None:
        self._place = place
        self._drain_s = place.settings.ingest.drain_s
        self.sources = [SourceRun(url, place, len(urls)) for url in urls]
        self.jobs = [Job(place, lambda: sum(run.counts[0] for run in self.sources))]
        budget_bytes = place.settings.retention.disk_bytes
        self.retention = RetentionJob(place.engine, budget_bytes, place.clock, place.telemetry, place.notice)
        self.analysis = AnalysisJob(
            *(place.engine, place.settings.analysis, place.clock, place.telemetry, place.notice),
            place.settings.policies,
        )
        self.regressions = RegressionJob(
            *(place.engine, place.settings.regressions, place.clock, place.telemetry, place.notice)
        )
        self._stopped = False

    def stop(self) -> None:
        """End in good order. Safe in a signal handler: it takes no lock that the interrupted thread may hold."""
        self._stopped = True

    @property
    def checks(self) -> list[Check]:
        """What readiness depends on."""
        return [part.check for part in (*self.sources, *self.jobs)]

    @property
    def trouble(self) -> str:
        """Empty while every part lives, else which one does not: nothing but a restart helps."""
        return next((f"{part.check.name} has ended" for part in self._parts if part.defect), "")

    @property
    def _parts(self) -> tuple[SourceRun | Job | RetentionJob | AnalysisJob, ...]:
        return (*self.sources, *self.jobs, self.retention, self.analysis, self.regressions)

    def run(self, every_s: float, beat: Callable[[], None]) -> None:
        """Run until `stop`; call `beat` about every `every_s` seconds.

        Raises:
            Exception: a defect of eastwatch that ended a part.
        """
        for part in self._parts:
            part.start()
        due = self._place.clock.monotonic() + every_s
        pause = threading.Event()
        while not self._stopped and not self.trouble:
            pause.wait(WATCH_S)
            self._tell_ready()
            if self._place.clock.monotonic() >= due:
                beat()
                due += every_s
        self._drain()
        for part in self._parts:
            if part.defect:
                raise part.defect

    def _tell_ready(self) -> None:
        for run in self.sources:
            self._place.telemetry.record("eastwatch.source.ready", not run.check.trouble, source=run.label)

    def _drain(self) -> None:
        """Everything within `ingest.drain_s`; what hangs is left behind after `GRACE_S` more."""
        for part in self._parts:
            part.stop()
        drained = time.monotonic() + self._drain_s

        def late(parts: Sequence[SourceRun | Job | RetentionJob | AnalysisJob]) -> list[str]:
            until = drained + GRACE_S
            return [part.check.name for part in parts if not part.join(max(0.0, until - time.monotonic()))]

        hanging = late(self.sources)
        for job in self.jobs:
            job.finish(drained)
        hanging += late([*self.jobs, self.retention, self.analysis, self.regressions])
        if hanging:
            self._place.notice(f"not ended in time: {', '.join(hanging)}; what is not stored comes again")
