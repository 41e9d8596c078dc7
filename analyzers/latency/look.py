"""One look: all stages up to the false discovery rate, at one moment, over every series.

Rollups ──► Rolling grid ──► screen ──► judge (test, effect, lasting) ──► seasons ──► mix ──► discovery ──► Look

A look at a moment sees what anybody could have known then. Running on, there is one each minute; over a past window
there is one every `step_min` minutes, and what they tell is what they would have told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analyzers.dependencies.change_tests import adjusted
from analyzers.latency.grid import MINUTE_S, Grid, Rolling
from analyzers.latency.growth import without_growth
from analyzers.latency.judge import judge_latency
from analyzers.latency.judge_errors import judge_errors
from analyzers.latency.judged import STAGES, Judged, StageName
from analyzers.latency.limits import Limits
from analyzers.latency.members import EDGE, OPERATION, SERIES, Members
from analyzers.latency.mix import without_mix
from analyzers.latency.rollups import Rollups
from analyzers.latency.screen import Spike, screen, spikes
from analyzers.latency.seasons import against_seasons
from analyzers.latency.stack import Ints

CHUNK = 64
"""Candidates whose histograms are held at a time."""
STEP_MIN = 5
"""Minutes between two looks at the past."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look saw.

    Attributes:
        at: the moment, seconds since 1970: nothing later was read.
        tested: tests that had enough calls: series by latency, and by errors.
        judged: every candidate with its stages.
        spikes: what stood out and went back.
        survivors: how many went on after each stage.
    """

    at: int
    tested: int
    judged: Sequence[Judged]
    spikes: Sequence[Spike]
    survivors: Mapping[StageName, int]

    @property
    def found(self) -> Sequence[Judged]:
        """What passed every stage."""
        return [one for one in self.judged if one.passed]


class Looker:
    """Looks at one moment after the other; time goes forward only.

    Args:
        rollups: where sums and histograms come from.
    """

    def __init__(self, rollups: Rollups, limits: Limits) -> None:
        self._rollups = rollups
        self._limits = limits
        self.members = Members(rollups.families, rollups.operations)
        self._rolling = Rolling(self.members, limits.look_min)

    def series_of(self, row: int) -> Ints:
        """The series that a row of the grid stands for."""
        return self.members.of(row)

    def look(self, at: int, step_min: int = STEP_MIN) -> Look:
        """Look at `at` (seconds since 1970, a whole minute).

        Args:
            step_min: minutes since the look before: spikes are told once.
        """
        limits = self._limits
        since, until = self._rolling.missing(at)
        of = self._rolling.moved(at, [self._rollups.sums(since, until)] if since < until else [])
        candidates = screen(of, limits)
        judged = [*self._latency(of, candidates.slower), *judge_errors(candidates.failing, of, limits)]
        judged = against_seasons(judged, self._rollups, self.members, limits)
        judged = without_growth(judged, self.members)
        judged = without_mix(judged, self._rollups, self.members, of, limits)
        tested = candidates.tested + candidates.tested_errors
        judged = _discovered(judged, tested, limits.alpha)
        quiet_from = at - limits.persist_min * MINUTE_S
        alone = np.flatnonzero(self.members.alone)
        stood_out = [
            replace(one, row=int(alone[one.row]))
            for one in spikes(of.take(alone), quiet_from - step_min * MINUTE_S, quiet_from, limits)
        ]
        return Look(at, tested, judged, stood_out, _survivors(judged, tested))

    def _latency(self, of: Grid, rows: Ints) -> Iterator[Judged]:
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            series = np.concatenate([self.members.of(row) for row in chunk.tolist()])
            read = self._rollups.histograms(np.unique(series), of.start, of.end)
            # A series may be a candidate itself and a part of others: each kind of row is judged on its own.
            for part in (chunk[self.members.kinds[chunk] == kind] for kind in (SERIES, OPERATION, EDGE)):
                place = self.members.places(part)
                minutes = read.minutes(place, len(part), of.start, of.minutes)
                yield from judge_latency(part, minutes, of.requests[part], of.errors[part], self._limits)


def _discovered(judged: Sequence[Judged], tested: int, alpha: float) -> Sequence[Judged]:
    """With the last stage: p adjusted for all tests of the look, those that went no further counting as 1."""
    q = adjusted([*(one.p for one in judged), *[1.0] * max(tested - len(judged), 0)])
    return [
        replace(one, q=found).then("discovery", found <= alpha, f"q = {found:.2g} among {tested:,} tests")
        for one, found in zip(judged, q, strict=False)
    ]


def _survivors(judged: Sequence[Judged], tested: int) -> Mapping[StageName, int]:
    fell = Counter(next((stage.name for stage in one.stages if not stage.passed), None) for one in judged)
    found: dict[StageName, int] = {"calls": tested, "screen": len(judged)}
    left = len(judged)
    for name in STAGES[2:]:
        left -= fell[name]
        found[name] = left
    return found
