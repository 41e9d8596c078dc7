"""What a look reads of the rollups: the seam between the stages and the store.

`StoredRollups` (store_rollups.py) reads an engine; a simulation may stand in its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from analyzers.latency.grid import MINUTE_S, Sums
from analyzers.latency.judge import Minutes
from analyzers.latency.stack import Ints, Stack, empty


@dataclass(frozen=True, slots=True)
class MinuteHistograms:
    """Histograms as (series, minute, bucket, count), one entry per bucket that has calls.

    Attributes:
        minute: begin, seconds since 1970.
    """

    series: Ints
    minute: Ints
    bucket: Ints
    count: Ints

    def minutes(self, row: Ints, rows: int, start: int, length: int) -> Minutes:
        """Dense, shape (rows, length, width).

        Args:
            row: by number of the series, where its calls are counted; -1 = nowhere. Several may share one.
        """
        column = (self.minute - start) // MINUTE_S
        place = row[self.series] if len(self.series) else self.series
        inside = (column >= 0) & (column < length) & (place >= 0)
        if not inside.any():
            return Minutes(np.zeros((rows, length, 1)), 0, start)
        bucket = self.bucket[inside]
        first = int(bucket.min())
        width = int(bucket.max()) - first + 1
        flat = (place[inside] * length + column[inside]) * width + bucket - first
        counts = np.bincount(flat, self.count[inside].astype(np.float64), minlength=rows * length * width)
        return Minutes(counts.reshape(rows, length, width).astype(np.float64), first, start)

    def stack(self, row: Ints, rows: int) -> Stack:
        """All minutes together, one row each."""
        if not len(self.series):
            return empty(rows)
        place = row[self.series]
        inside = place >= 0
        if not inside.any():
            return empty(rows)
        bucket = self.bucket[inside]
        first = int(bucket.min())
        width = int(bucket.max()) - first + 1
        counts = np.bincount(
            place[inside] * width + bucket - first, self.count[inside].astype(np.float64), minlength=rows * width
        )
        return Stack(counts.reshape(rows, width).astype(np.float64), first)


class Rollups(Protocol):
    """Series by number, from 0; times are seconds since 1970, whole minutes."""

    @property
    def families(self) -> Ints:
        """The number of each series' edge and reporter, whatever the operation."""
        ...

    @property
    def operations(self) -> Ints:
        """The number of each series' operation of its edge and reporter: several where several versions answer it."""
        ...

    def sums(self, since: int, until: int) -> Sums:
        """Sums of every series in [since, until)."""
        ...

    def histograms(self, series: Ints, since: int, until: int) -> MinuteHistograms:
        """Histograms of some series in [since, until); of what is kept by hours only, in whole hours."""
        ...


class HourRollups(Protocol):
    """The same by the hour: what is kept for weeks."""

    @property
    def families(self) -> Ints:
        """As in `Rollups`."""
        ...

    @property
    def operations(self) -> Ints:
        """As in `Rollups`."""
        ...

    def hour_sums(self, since: int, until: int) -> Sums:
        """Sums of every series by hour in [since, until)."""
        ...

    def hour_histograms(self, series: Ints, since: int, until: int) -> MinuteHistograms:
        """Histograms of some series by hour in [since, until)."""
        ...
