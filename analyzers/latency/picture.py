"""What a plot of one regression shows: the minutes around the change, and how long calls took before and after it.

regression + rollups of its edge ──► Picture ──► render/plot_svg (SVG)
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from analyzers.latency.judged import Shape, What
from analyzers.latency.stack import Flags, Floats, Ints, Stack

_LAST_S = int(datetime(9998, 12, 31, tzinfo=UTC).timestamp())


@dataclass(frozen=True, slots=True)
class Picture:
    """One regression with the series around it. All text may be hostile: who draws it makes it harmless.

    Attributes:
        operation: None = all operations of the edge together, or none known.
        reporter: whose telemetry it is.
        since: when the new level began; with a time zone.
        ended: when it went away; None = not, as far as was seen.
        minutes: begins of minutes, seconds since 1970, each once, ascending. A minute that is missing is a gap.
        calls: per minute, of the shape of `minutes`, as are the next four.
        p50_us, p95_us, p99_us: NaN = not known.
        error_share: of calls that failed, 0..1; NaN = not known.
        before, after: durations on both sides of the change, one row each.
        ratio, ratio_low, ratio_high: of what grew, after divided by before, with a 95 % interval.
        what, shape: what grew.
        cause: a short sentence; empty = not known.

    Raises:
        ValueError: the arrays differ in length, the minutes do not ascend, are no whole ones or lie outside of the
            years 1970 to 9998, a histogram has not one row, or a time has no time zone.
    """

    source: str
    destination: str
    operation: str | None
    reporter: str
    since: datetime
    minutes: Ints
    calls: Floats
    p50_us: Floats
    p95_us: Floats
    p99_us: Floats
    error_share: Floats
    before: Stack
    after: Stack
    ratio: float
    ratio_low: float
    ratio_high: float
    what: What = "latency"
    shape: Shape = "typical"
    cause: str = ""
    ended: datetime | None = None

    def __post_init__(self) -> None:
        for name in ("calls", "p50_us", "p95_us", "p99_us", "error_share"):
            has = len(getattr(self, name))
            if has != len(self.minutes):
                raise ValueError(f"{name} has {has} minutes, expected {len(self.minutes)}")
        if (np.diff(self.minutes) <= 0).any() or (self.minutes % 60 != 0).any():
            raise ValueError("the minutes do not ascend, or are no whole ones")
        if len(self.minutes) and not 0 <= self.minutes[0] <= self.minutes[-1] <= _LAST_S:
            raise ValueError("the minutes lie outside of the years 1970 to 9998")
        for name in ("before", "after"):
            has = len(getattr(self, name))
            if has != 1:
                raise ValueError(f"the histogram {name} has {has} rows, expected 1")
        for name, time in (("since", self.since), ("ended", self.ended)):
            if time is not None and time.tzinfo is None:
                raise ValueError(f"{name} has no time zone")

    @property
    def is_after(self) -> Flags:
        """Which minutes belong to the new level: most of such a minute lies behind the change."""
        middle = self.minutes + 30
        late = middle >= self.since.timestamp()
        return np.asarray(late if self.ended is None else late & (middle < self.ended.timestamp()), np.bool_)

    def failed_share(self, *, after: bool) -> float | None:
        """Of all calls in the minutes of one side, the share that failed; None where none is known.

        What came before the change counts as before, what came when it had ended as neither.
        """
        side = self.is_after if after else self.minutes + 30 < self.since.timestamp()
        known = side & np.isfinite(self.error_share) & np.isfinite(self.calls) & (self.calls > 0)
        calls = self.calls[known]
        return float((calls * self.error_share[known]).sum() / calls.sum()) if known.any() else None
