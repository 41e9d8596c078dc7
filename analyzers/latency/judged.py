"""What became of one candidate: the numbers that each stage saw, and where it ended."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from analyzers.latency.stack import Stack

What = Literal["latency", "errors"]
Shape = Literal["typical", "p95", "p99", "errors"]
"""What grew: the duration of a typical call, only a percentile, or the share of failed calls."""
StageName = Literal["calls", "screen", "test", "effect", "lasting", "season", "mix", "discovery"]
STAGES: Sequence[StageName] = ("calls", "screen", "test", "effect", "lasting", "season", "mix", "discovery")


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: whether the candidate went on, and why in one sentence."""

    name: StageName
    passed: bool
    text: str


@dataclass(frozen=True, slots=True)
class Judged:
    """A series at one moment.

    Attributes:
        row: of the grid.
        since: the first minute of the new level, seconds since 1970.
        until: behind the last minute that was looked at.
        ratio, low, high: of durations (of the shape that grew), or of the shares of failed calls; with a 95 % interval.
        p: of the test, for all moments that were tried; `q` is p adjusted for all tests of the look.
        superiority: chance that a call after takes longer than one before.
        distance: Kolmogorov-Smirnov.
        before, after: histograms, one row each.
        spread: dispersion that the tests were given.
        before_min: minutes before, from the first that had calls on.
    """

    row: int
    what: What
    shape: Shape
    since: int
    until: int
    ratio: float
    low: float
    high: float
    p: float
    q: float
    superiority: float
    distance: float
    before: Stack
    after: Stack
    requests: tuple[int, int]
    errors: tuple[int, int]
    spread: float
    before_min: int
    stages: Sequence[Stage]

    @property
    def passed(self) -> bool:
        """Whether every stage so far let it through."""
        return all(stage.passed for stage in self.stages)

    @property
    def strength(self) -> float:
        """How clearly it shows: of several views of one change the one with the most is the best."""
        before, after = (max(many, 1) for many in self.requests)
        return math.log(max(self.ratio, 1.0)) * math.sqrt(before * after / (before + after))

    @property
    def went_away(self) -> bool:
        """Whether it was real and large enough, but did not last."""
        return [stage.name for stage in self.stages if not stage.passed] == ["lasting"]

    def with_q(self, q: float) -> Judged:
        """With p adjusted for all tests."""
        return replace(self, q=q)

    def then(self, name: StageName, passed: bool, text: str) -> Judged:
        """With one stage more."""
        return replace(self, stages=(*self.stages, Stage(name, passed, text)))
