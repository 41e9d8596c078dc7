"""Look at a window and keep what is found: regressions, what the looks counted, and findings.

A regression that is known and was not over is followed to its end, also where its begin lies before the window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from analyzers.findings.model import QUIET, Finding
from analyzers.findings.store import keep as keep_findings
from analyzers.latency.analysis import Analysis, Progress, analyze_latency
from analyzers.latency.findings import to_findings
from analyzers.latency.follow import followed
from analyzers.latency.limits import LIMITS, Limits
from analyzers.latency.look import STEP_MIN
from analyzers.latency.regression import Regression
from analyzers.latency.store import keep, keep_looks, regressions
from analyzers.latency.stored_rollups import StoredRollups
from storage.engine import Engine

REACH = timedelta(hours=6)
"""So long after its begin a regression is followed."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a window showed, as it is stored now.

    Attributes:
        new: ids that were not in the store before.
    """

    analysis: Analysis
    regressions: Sequence[Regression]
    findings: Sequence[Finding]
    new: frozenset[str]


def run_latency(
    engine: Engine,
    since: datetime | None,
    until: datetime | None,
    now: datetime,
    limits: Limits = LIMITS,
    *,
    step_min: int = STEP_MIN,
    progress: Progress | None = None,
) -> Kept:
    """Look at [since, until) and keep what is found.

    Raises:
        storage.errors.StorageError: the engine cannot answer; nothing is lost by doing it again.
    """
    known = regressions(engine, since - REACH if since else None, until)
    analysis = analyze_latency(engine, since, until, limits, step_min=step_min, known=known, progress=progress)
    found = [*analysis.regressions, *_going_on(engine, known, analysis, until, limits)]
    keep(engine, found, now)
    keep_looks(engine, analysis.looks, now)
    ids = _edges(engine, found) if found else {}
    told = keep_findings(engine, to_findings(found, ids, limits), now, settled=True)
    return Kept(analysis, found, told, frozenset(one.id for one in found) - {one.id for one in known})


def _going_on(
    engine: Engine, known: Sequence[Regression], analysis: Analysis, until: datetime | None, limits: Limits
) -> Sequence[Regression]:
    """Known regressions that this window did not tell again, with their end or the time they were last seen at."""
    again = {one.id for one in analysis.regressions}
    open_ = [one for one in known if one.verdict == "regression" and one.ended is None and one.id not in again]
    open_ = [one for one in open_ if until is None or until - one.since <= REACH]
    if not open_:
        return []
    rollups = StoredRollups(engine)
    end = min(int(until.timestamp()), rollups.last + 60) if until else rollups.last + 60
    end = end // 60 * 60
    young = [one for one in open_ if int(one.since.timestamp()) + int(QUIET.total_seconds()) <= end]
    return followed(young, rollups, end, limits)


def _edges(engine: Engine, found: Sequence[Regression]) -> dict[str, Sequence[int]]:
    """The edge ids that each regression is about."""
    keys = StoredRollups(engine).keys
    ids: dict[tuple[str, str, str], list[int]] = {}
    for place, number in enumerate(keys.number.tolist()):
        one = keys.series[number]
        for operation in (one.operation, ""):
            ids.setdefault((one.source, one.destination, operation), []).append(int(keys.edge_id[place]))
    return {one.id: sorted(set(ids.get((one.source, one.destination, one.operation or ""), ()))) for one in found}
