"""What many looks saw of the same change, as one regression.

looks, one after the other ──► Episodes.add ──► `regressions()`: one for each place and episode

Two sightings of one place less than QUIET apart are one episode: both reporters', and those of later looks. The look
that saw it most clearly gives the numbers, the first one the time by which it could be told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from analyzers.dependencies.histograms import QUANTILES
from analyzers.findings.model import QUIET
from analyzers.latency.judged import Judged
from analyzers.latency.look import Look
from analyzers.latency.regression import Level, Regression, Verdict, regression_id
from analyzers.latency.screen import Spike
from analyzers.latency.series_keys import CALLEE, Series
from analyzers.latency.stack import Stack

_QUIET_S = int(QUIET.total_seconds())
_Place = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class _Sighting:
    at: int
    tested: int
    series: Series
    judged: Judged


@dataclass(slots=True)
class Episodes:
    """Gathers looks.

    Args:
        series_of: what a row of the grid stands for; the operation is empty for a whole edge.
        quiet_s: seconds between two begins from which on they are two episodes.
    """

    series_of: Callable[[int], Series]
    quiet_s: int = _QUIET_S
    _seen: dict[_Place, list[_Sighting]] = field(default_factory=lambda: defaultdict(list))
    _gone: dict[_Place, list[Regression]] = field(default_factory=lambda: defaultdict(list))

    def add(self, look: Look) -> None:
        """What one look found."""
        for one in look.judged:
            series = self.series_of(one.row)
            if one.passed:
                self._seen[_place(series, one.what)].append(_Sighting(look.at, look.tested, series, one))
        for spike in look.spikes:
            series = self.series_of(spike.row)
            self._gone[_place(series, "latency")].append(_anomaly(spike, series, look))

    def regressions(self) -> Sequence[Regression]:
        """One for each place and episode, the earliest first; and the anomalies that no regression covers."""
        found: list[Regression] = []
        for place, sightings in self._seen.items():
            found += [_regression(place, run) for run in _runs(sightings, self.quiet_s)]
        spans = defaultdict[_Place, list[tuple[datetime, datetime]]](list)
        for one in found:
            spans[one.place].append((one.since - QUIET, one.last_seen + QUIET))
        for place, gone in self._gone.items():
            free = [one for one in gone if not any(low <= one.since <= high for low, high in spans[place])]
            found += _together(free)
        return sorted(found, key=lambda one: (one.since, one.id))


def _place(series: Series, what: str) -> _Place:
    return series.source, series.destination, series.operation, what


def _runs(sightings: Iterable[_Sighting], quiet_s: int) -> Iterable[Sequence[_Sighting]]:
    """Sightings whose begins lie less than `quiet_s` apart, in the order of their begins."""
    run: list[_Sighting] = []
    for one in sorted(sightings, key=lambda each: (each.judged.since, each.at)):
        if run and one.judged.since - run[-1].judged.since > quiet_s:
            yield run
            run = []
        run.append(one)
    if run:
        yield run


def _regression(place: _Place, run: Sequence[_Sighting]) -> Regression:
    """One episode. A rise in several steps began with the first."""
    first = min(run, key=lambda one: (one.at, one.judged.since))
    callers = [one for one in run if one.series.reporter not in CALLEE] or run
    best = max(callers, key=lambda one: one.judged.strength)
    judged = best.judged
    since = _time(_begin(run, judged.since))
    source, destination, operation, what = place
    return Regression(
        id=regression_id("regression", what, source, destination, operation, since),
        verdict="regression",
        what=judged.what,
        shape=judged.shape,
        source=source,
        destination=destination,
        operation=operation or None,
        reporters=sorted({one.series.reporter for one in run}),
        evidence=best.series.evidence,
        since=since,
        last_seen=_time(max(one.at for one in run)),
        ended=None,
        told_at=_time(first.at),
        before=_level(judged.before, judged.requests[0], judged.errors[0]),
        after=_level(judged.after, judged.requests[1], judged.errors[1]),
        ratio=judged.ratio,
        ratio_low=judged.low,
        ratio_high=judged.high,
        p_value=judged.q,
        superiority=judged.superiority,
        distance=judged.distance,
        score=0.0,
        tested=best.tested,
        stages=judged.stages,
    )


def _begin(run: Sequence[_Sighting], best: int) -> int:
    """Of begins that agree within some minutes the one of the best look; of a rise in steps the first."""
    near = 10 * 60
    early = [one.judged.since for one in run if one.judged.since < best - near]
    return min(early) if early else best


def _anomaly(spike: Spike, series: Series, look: Look) -> Regression:
    verdict: Verdict = "anomaly"
    since, until = _time(spike.since), _time(spike.until)
    return Regression(
        id=regression_id(verdict, "latency", series.source, series.destination, series.operation, since),
        verdict=verdict,
        what="latency",
        shape="typical",
        source=series.source,
        destination=series.destination,
        operation=series.operation or None,
        reporters=(series.reporter,),
        evidence=series.evidence,
        since=since,
        last_seen=until,
        ended=until,
        told_at=_time(look.at),
        before=Level(None, 0, 0),
        after=Level(None, 0, 0),
        ratio=spike.ratio,
        ratio_low=spike.ratio,
        ratio_high=spike.ratio,
        p_value=1.0,
        superiority=0.5,
        distance=0.0,
        score=spike.score,
        tested=look.tested,
    )


def _together(gone: Sequence[Regression]) -> Sequence[Regression]:
    """Anomalies of one place: those of both reporters, and minutes near each other, are one; the worst stands."""
    found: list[Regression] = []
    for one in sorted(gone, key=lambda each: each.since):
        if found and one.since - found[-1].last_seen <= QUIET:
            known = found[-1]
            last = max(known.last_seen, one.last_seen)
            worst = max(known, one, key=lambda each: each.score)
            found[-1] = replace(worst, id=known.id, since=known.since, last_seen=last, ended=last)
        else:
            found.append(one)
    return found


def _level(stack: Stack, requests: int, errors: int) -> Level:
    known = bool(stack.calls[0] > 0)
    return Level(stack.quantiles_us(QUANTILES)[0].tolist() if known else None, requests, errors)


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
