"""How the counted requests of groups of edges are spread over statuses, faults and durations.

rows of edge_spread.sql, rollup by rollup ──► Breakdown.of ──► quantiles (ms) and counts by status or fault, by group

The items of a map column lie one behind the other in Arrow, so counting them up is arithmetic on whole columns: a grid
with one line per group and one place per bucket, filled by `numpy.add.at`. `tests/analyzers/test_breakdown.py` has the
plain version with dictionaries.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from analyzers.dependencies.histograms import QUANTILES, value_us
from analyzers.dependencies.map_keys import Ints

PLACES = 1 << 23
"""Most places of a grid (64 MB): more groups are counted one share after the other."""
STEP = 2_000
"""Rows at a time: what is computed of them stays in the processor's cache, and in memory that was touched before."""

Quantiles = tuple[float | None, ...]
Pairs = Sequence[Sequence[tuple[Any, int]]]
"""(key, requests) pairs in order of the keys, by group."""
_SPREADS = {"statuses": "status_counts", "grpc_statuses": "grpc_status_counts", "faults": "fault_counts"}
_UNTIMED: Quantiles = (None,) * len(QUANTILES)


@dataclass(frozen=True, slots=True)
class Breakdown:
    """By group, from 0.

    Attributes:
        quantiles_ms: those of `QUANTILES`, nearest rank; all None where nothing was timed.
        statuses, grpc_statuses, faults: (key, requests) pairs in order of the keys.
    """

    quantiles_ms: Sequence[Quantiles]
    statuses: Pairs
    grpc_statuses: Pairs
    faults: Pairs

    @classmethod
    def of(cls, rows: Sequence[tuple[pa.Table, Ints, bool]], groups: int) -> Breakdown:
        """Count up `rows`: of each rollup its rows, their groups (-1: none), and whether its buckets are of days."""
        chosen = [(table, group, coarse) for table, group, coarse in rows if table.num_rows]
        counted: Mapping[str, Any] = {
            key: _pairs([_items(table, group, key, counts) for table, group, _ in chosen], groups)
            for key, counts in _SPREADS.items()
        }
        return cls(_quantiles(chosen, groups), **counted)


def fault_pairs(rows: Sequence[tuple[pa.Table, Ints]], groups: int) -> Pairs:
    """Faults of `rows` by their groups (-1: none)."""
    return _pairs([_items(table, group, "faults", _SPREADS["faults"]) for table, group in rows], groups)


@dataclass(frozen=True, slots=True)
class _Items:
    """The items of a map column, one behind the other."""

    group: Ints
    key: pa.Array
    count: npt.NDArray[np.int64]


def _items(table: pa.Table, group: Ints, key: str, count: str) -> _Items:
    keys, counts = table[key].combine_chunks(), table[count].combine_chunks()
    lengths = np.diff(keys.offsets.to_numpy())
    items = _Items(np.repeat(group, lengths), keys.flatten(), counts.flatten().to_numpy().astype(np.int64))
    if not len(group) or int(group.min()) >= 0:
        return items
    known = items.group >= 0
    return _Items(items.group[known], items.key.filter(pa.array(known)), items.count[known])


def _pairs(parts: Sequence[_Items], groups: int) -> Pairs:
    """(key, count) pairs by group, in order of the keys."""
    found: list[list[tuple[Any, int]]] = [[] for _ in range(groups)]
    if not sum(len(items.group) for items in parts):
        return found
    group = np.concatenate([items.group for items in parts])
    count = np.concatenate([items.count for items in parts])
    coded = pa.chunked_array([items.key for items in parts]).combine_chunks().dictionary_encode()
    texts = coded.dictionary.to_pylist()
    order = sorted(range(len(texts)), key=texts.__getitem__)
    place = np.zeros(len(texts), np.int64)
    place[order] = np.arange(len(texts))
    which, number = np.unique(group * len(texts) + place[coded.indices.to_numpy()], return_inverse=True)
    sums = np.zeros(len(which), np.int64)
    np.add.at(sums, number, count)
    whose, what = np.divmod(which, len(texts))
    named = [texts[at] for at in order]
    for of, code, requests in zip(whose.tolist(), what.tolist(), sums.tolist(), strict=True):
        if requests:
            found[of].append((named[code], requests))
    return found


def _quantiles(rows: Sequence[tuple[pa.Table, Ints, bool]], groups: int) -> list[Quantiles]:
    parts = [_Hits.of(table, group, coarse) for table, group, coarse in rows]
    parts = [hits for hits in parts if len(hits.bucket)]
    if not parts:
        return [_UNTIMED] * groups
    low = min(int(hits.bucket.min()) for hits in parts)
    width = max(int(hits.bucket.max()) for hits in parts) - low + 1
    found: list[Quantiles] = []
    for first, after in _shares(groups, max(PLACES // width, 1)):
        grid = np.zeros((after - first) * width, np.int64)
        for hits in parts:
            hits.add_to(grid, first, after, width, low)
        found += _read_off(grid, width, low)
    return found


@dataclass(frozen=True, slots=True)
class _Hits:
    """Histograms of rows: of each its group, and where its buckets begin and end."""

    group: Ints
    starts: Ints
    ends: Ints
    bucket: npt.NDArray[np.int16]
    count: npt.NDArray[np.int64]

    @classmethod
    def of(cls, table: pa.Table, group: Ints, coarse: bool) -> _Hits:
        keys, counts = table["buckets"].combine_chunks(), table["hits"].combine_chunks()
        offsets = keys.offsets.to_numpy().astype(np.int64)
        offsets -= offsets[0]
        bucket = keys.flatten().to_numpy()
        if coarse:
            # A bucket of days is five wide, and stands where the middle one of the five does.
            bucket = np.where(bucket > 0, 5 * bucket - 2, bucket)
        return cls(group, offsets[:-1], offsets[1:], bucket, counts.flatten().to_numpy().view(np.int64))

    def add_to(self, grid: npt.NDArray[np.int64], first: int, after: int, width: int, low: int) -> None:
        """Add the rows of groups first..after to `grid`: a line of `width` places for each, from bucket `low` on."""
        line = (self.group - first) * width - low
        for start in range(0, len(line), STEP):
            rows = slice(start, start + STEP)
            begin, end = int(self.starts[start]), int(self.ends[rows][-1])
            place = np.repeat(line[rows], self.ends[rows] - self.starts[rows])
            place += self.bucket[begin:end]
            count = self.count[begin:end]
            inside = (self.group[rows] >= first) & (self.group[rows] < after)
            if not inside.all():
                here = np.repeat(inside, self.ends[rows] - self.starts[rows])
                place, count = place[here], count[here]
            np.add.at(grid, place, count)


def _shares(groups: int, share: int) -> Iterator[tuple[int, int]]:
    for first in range(0, groups, share):
        yield first, min(first + share, groups)


def _read_off(grid: npt.NDArray[np.int64], width: int, low: int) -> list[Quantiles]:
    """Nearest-rank quantiles (ms) of each line of `grid`, whose first bucket is `low`."""
    reached = np.cumsum(grid, out=grid)
    ends = reached[width - 1 :: width]
    before = np.concatenate([[0], ends[:-1]])
    total = ends - before
    # A hair below: n * share may come out above a whole number.
    ranks = np.maximum(np.ceil(total[:, None] * np.array(QUANTILES) - 1e-9).astype(np.int64), 1)
    at = np.searchsorted(reached, before[:, None] + ranks)
    line = np.arange(len(total))[:, None]
    values = np.round(value_us(at - line * width + low) / 1000, 6).tolist()
    return [tuple(row) if known else _UNTIMED for row, known in zip(values, (total > 0).tolist(), strict=True)]
