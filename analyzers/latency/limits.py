"""What counts as a regression: the same limits for every edge, each with its unit and reason.

A rise has to be certain (`alpha`), large enough for people to care about (`min_ratio`, `min_ms`) and lasting
(`persist_min`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Attributes:
    before_min: minutes before a change that it is held against.
    reach_min: a change is looked for in so many minutes before now.
    persist_min: minutes that a rise must have lasted; what went away sooner is an anomaly.
    min_ratio, min_ms: what the duration of a typical call (median of all ratios) must have grown by, both.
    tail_ratio, tail_ms: what the 95th or 99th percentile must have grown by, both, where the typical call has not.
    error_share: what the share of failed calls must have grown by (0.01 = one percentage point).
    min_calls_before, min_calls_after: calls without which nothing is said.
    min_minutes_before, min_minutes_after: minutes with calls, likewise: one burst is one observation.
    alpha: share of false ones among what one look tells (false discovery rate).
    screen_z: sums of a series must differ by so many standard errors before its histograms are read.
    spike_z, spike_ratio: how far a minute must stand out to be an anomaly, both.
    """

    before_min: int = 60
    reach_min: int = 30
    persist_min: int = 5
    min_ratio: float = 1.05
    min_ms: float = 0.25
    tail_ratio: float = 1.2
    tail_ms: float = 2.0
    error_share: float = 0.01
    min_calls_before: int = 100
    min_calls_after: int = 30
    min_minutes_before: int = 10
    min_minutes_after: int = 3
    alpha: float = 1e-4
    screen_z: float = 5.0
    spike_z: float = 8.0
    spike_ratio: float = 1.5

    @property
    def look_min(self) -> int:
        """Minutes that one look reads."""
        return self.before_min + self.reach_min

    @property
    def sure_ratio(self) -> float:
        """What the lower end of a ratio's interval must reach: half way on the log scale to `min_ratio`."""
        return math.sqrt(self.min_ratio)

    @property
    def sure_tail_ratio(self) -> float:
        """The same of percentiles."""
        return math.sqrt(self.tail_ratio)


LIMITS = Limits()
