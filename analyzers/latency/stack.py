"""Many latency histograms at once: rows of counts over the same buckets, which are those of the rollups.

maps of the rollups (bucket -> count) ──► Stack ──► comparison (tests between two stacks, row by row)

Bucket -1 holds durations of 0 us, bucket i >= 0 those in (g^(i-1), g^i] us (`analyzers.dependencies.histograms`): a
ratio of durations is a number of buckets, so a shift on the log scale is a shift of the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from analyzers.dependencies.histograms import GAMMA, ZERO_BUCKET, value_us

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

TOP_BUCKET = 1400
"""Longer durations (17 days) are counted as this long."""
MILLISECOND_US = 1000.0
_LOG_GAMMA = float(np.log(GAMMA))


@dataclass(frozen=True, slots=True)
class Stack:
    """Histograms as rows.

    Attributes:
        counts: shape (rows, width): calls in bucket `first + column`.
        first: the bucket of the first column.
    """

    counts: Floats
    first: int

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def calls(self) -> Floats:
        """Calls per row."""
        return self.counts.sum(axis=1)

    @property
    def buckets(self) -> Ints:
        """The bucket of each column."""
        return np.arange(self.first, self.first + self.counts.shape[1])

    def mean_us(self) -> Floats:
        """Mean duration (us) per row, each bucket at its value; NaN for empty rows."""
        with np.errstate(invalid="ignore"):
            return self.counts @ value_us(self.buckets) / self.calls

    def quantiles_us(self, shares: Sequence[float]) -> Floats:
        """Nearest-rank quantiles (us), shape (rows, shares); NaN for empty rows."""
        cumulated = np.cumsum(self.counts, axis=1)
        total = cumulated[:, -1] if self.counts.shape[1] else np.zeros(len(self))
        values = value_us(self.buckets)
        found = np.full((len(self), len(shares)), np.nan)
        for place, share in enumerate(shares):
            ranks = np.maximum(np.ceil(share * total - 1e-9), 1e-9)
            column = (cumulated < ranks[:, None]).sum(axis=1)
            known = total > 0
            found[known, place] = values[np.minimum(column[known], len(values) - 1)]
        return found

    def log_quantiles(self, shares: Floats) -> Floats:
        """Quantiles as natural logs of us, even within a bucket; `shares` has shape (rows, any). NaN for empty rows."""
        cumulated = np.cumsum(self.counts, axis=1)
        total = cumulated[:, -1:]
        ranks = np.clip(shares, 0.0, 1.0) * total
        found = np.full(shares.shape, np.nan)
        for row in np.flatnonzero(total[:, 0] > 0).tolist():
            column = np.searchsorted(cumulated[row], np.maximum(ranks[row], 1e-12), side="left")
            column = np.minimum(column, self.counts.shape[1] - 1)
            inside = self.counts[row, column]
            below = cumulated[row, column] - inside
            part = np.divide(ranks[row] - below, inside, out=np.ones(len(column)), where=inside > 0)
            found[row] = (self.first + column - 1 + np.clip(part, 0.0, 1.0)) * _LOG_GAMMA
        return found

    def take(self, rows: npt.ArrayLike) -> Stack:
        """Some of the rows (indices or flags)."""
        return Stack(self.counts[np.asarray(rows)], self.first)

    def __add__(self, other: Stack) -> Stack:
        one, two = aligned(self, other)
        return Stack(one.counts + two.counts, one.first)


def aligned(one: Stack, two: Stack) -> tuple[Stack, Stack]:
    """Both over the same buckets."""
    first = min(one.first, two.first)
    end = max(one.first + one.counts.shape[1], two.first + two.counts.shape[1])
    return _padded(one, first, end), _padded(two, first, end)


def _padded(stack: Stack, first: int, end: int) -> Stack:
    before, after = stack.first - first, end - stack.first - stack.counts.shape[1]
    return Stack(np.pad(stack.counts, ((0, 0), (before, after))), first) if before or after else stack


def empty(rows: int) -> Stack:
    """Rows without calls."""
    return Stack(np.zeros((rows, 1)), 0)


def scattered(rows: npt.ArrayLike, buckets: npt.ArrayLike, counts: npt.ArrayLike, size: int) -> Stack:
    """A stack of `size` rows from (row, bucket, count) triples; equal places are summed. Negative counts count as 0."""
    row, bucket = np.asarray(rows, np.int64), np.clip(np.asarray(buckets, np.int64), ZERO_BUCKET, TOP_BUCKET)
    if not len(row):
        return empty(size)
    first = int(bucket.min())
    width = int(bucket.max()) - first + 1
    weights = np.maximum(np.asarray(counts, np.float64), 0.0)
    flat = np.bincount(row * width + bucket - first, weights, minlength=size * width).astype(np.float64)
    return Stack(flat.reshape(size, width), first)


def from_maps(column: pa.Array, rows: npt.ArrayLike, size: int) -> Stack:
    """A stack from a column of maps (bucket -> count): entry i is added to row `rows[i]`."""
    offsets = column.offsets.to_numpy()
    length = np.diff(offsets)
    keys = column.keys.to_numpy()[offsets[0] : offsets[-1]]
    items = column.items.to_numpy()[offsets[0] : offsets[-1]]
    return scattered(np.repeat(np.asarray(rows, np.int64), length), keys, items, size)


def is_cut_to_milliseconds(stack: Stack) -> Flags:
    """Which rows hold whole milliseconds only, as proxies print them: no calls in buckets without a whole one."""
    whole = _holds_millisecond(stack.first, stack.counts.shape[1])
    return np.asarray(~(stack.counts[:, ~whole] > 0).any(axis=1), np.bool_)


def uncut(stack: Stack, rows: Flags) -> Stack:
    """The stack with each whole millisecond d of the flagged rows spread evenly over [d, d + 1) ms.

    Envoy cuts durations to whole milliseconds. Without this a median moves in steps, and 0 ms has no logarithm.
    """
    if not rows.any():
        return stack
    top = stack.first + stack.counts.shape[1] - 1
    end = max(top, int(np.ceil(np.log(MILLISECOND_US) / _LOG_GAMMA))) + 40
    wide = _padded(stack, min(stack.first, ZERO_BUCKET), end + 1)
    spread = _spread(wide.first, wide.counts.shape[1])
    return Stack(np.where(rows[:, None], wide.counts @ spread, wide.counts), wide.first)


def _whole_milliseconds(first: int, width: int) -> tuple[Ints, Ints]:
    """The first and the last whole number of milliseconds in each bucket; the first is larger where there is none."""
    bucket = np.arange(first, first + width)
    upper = np.floor(GAMMA ** bucket.astype(np.float64) / MILLISECOND_US + 1e-9)
    lower = np.floor(GAMMA ** (bucket.astype(np.float64) - 1) / MILLISECOND_US + 1e-9) + 1
    zero = bucket == ZERO_BUCKET
    return np.where(zero, 0, lower).astype(np.int64), np.where(zero, 0, upper).astype(np.int64)


def _holds_millisecond(first: int, width: int) -> Flags:
    low, high = _whole_milliseconds(first, width)
    return np.asarray(low <= high, np.bool_)


@lru_cache(maxsize=8)
def _spread(first: int, width: int) -> Floats:
    """Where each bucket's calls go, shape (width, width), rows sum to 1."""
    low, high = _whole_milliseconds(first, width)
    bucket = np.arange(first, first + width).astype(np.float64)
    upper = np.where(bucket == ZERO_BUCKET, 0.0, GAMMA**bucket)
    lower = np.where(bucket <= 0, 0.0, GAMMA ** (bucket - 1))
    upper[-1] = np.inf
    start, end = low * MILLISECOND_US, (high + 1) * MILLISECOND_US
    overlap = np.minimum(upper[None, :], end[:, None]) - np.maximum(lower[None, :], start[:, None])
    matrix = np.maximum(overlap, 0.0) / np.maximum(end - start, MILLISECOND_US)[:, None]
    matrix[low > high] = np.eye(width)[low > high]
    return matrix
