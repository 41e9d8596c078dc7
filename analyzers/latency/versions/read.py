"""Two versions of a service read from the rollups, in the time in which both had calls.

StoredRollups (series by number) ──► version_calls.sql ──► common time ──► version_histograms.sql ──► Cells ──► compare

Calls are those of the service's own proxy where it tells of both versions, else of the caller's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from analyzers.dependencies.windows import EARLIEST, LATEST
from analyzers.latency.stack import Flags, Floats, Ints, Stack, empty, from_maps
from analyzers.latency.stored_rollups import StoredRollups
from analyzers.latency.versions.choose import chosen_versions, node_named
from analyzers.latency.versions.compare import compare
from analyzers.latency.versions.outcome import Margins, Verdict, VersionComparison
from analyzers.latency.versions.parts import Cells
from storage.engine import Engine
from storage.errors import StorageError
from storage.sql import load

MINUTE_S, HOUR_S = 60, 3600
SLOTS = 48
"""Histograms are read in at most so many slots of equal length: within one, time is taken to be the same."""
ROW_LIMIT = 5_000_000
REPORTERS = ("destination", "waypoint", "source", "gateway")
"""Whose lines are compared, the best first."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls of the service's series by period, as columns of one length.

    Attributes:
        series: numbers of `SeriesKeys`.
        moment: begin of the period, seconds since 1970.
    """

    series: Ints
    moment: Ints
    requests: Floats
    errors: Floats

    def take(self, rows: Flags) -> Calls:
        """Some of the rows."""
        return Calls(self.series[rows], self.moment[rows], self.requests[rows], self.errors[rows])


def compare_versions(
    engine: Engine,
    service: str,
    *,
    baseline: str | None = None,
    canary: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    margins: Margins | None = None,
) -> VersionComparison:
    """Hold two versions of a service against each other.

    Args:
        service: a node of the map, or its name alone where only one has it.
        baseline, canary: versions; None = of the two with calls in the window, the one seen first, and the other.
        since, until: the window, taken in whole minutes (whole hours where minutes are no longer kept); None = all that
            is kept by minute.

    Raises:
        analyzers.latency.versions.choose.CannotCompare: no such service or version, or not two versions.
        storage.errors.StorageError: the engine cannot answer.
    """
    reader = _Reader(engine, service)
    grain_s, start, end = reader.window(since, until)
    calls = reader.calls(grain_s, start, end)
    pair = chosen_versions(reader.node, baseline, canary, reader.by_version(calls), reader.known, reader.first_seen)
    calls = calls.take(reader.spoken(calls, pair))
    common = reader.common(calls, pair)
    if len(common):
        start, end = int(common[0]), int(common[-1]) + grain_s
    verdict = compare(reader.cells(calls, common, pair, grain_s), margins, pair)
    if not len(common):
        verdict = _apart(verdict, pair, grain_s)
    return VersionComparison(reader.node, *pair, since or _time(start), until or _time(end), grain_s, verdict)


def _apart(verdict: Verdict, pair: tuple[str, str], grain_s: int) -> Verdict:
    """Nothing at the same time: that is what is missing, not a number of calls."""
    of = "minute" if grain_s == MINUTE_S else "hour"
    note = f"not enough data: has no {of} in which both {pair[0]} and {pair[1]} had calls, needs one or more"
    overall = verdict.overall
    latency, errors = (replace(each, note=note, needed=None) for each in (overall.latency, overall.errors))
    return replace(verdict, overall=replace(overall, latency=latency, errors=errors))


class _Reader:
    """The series of one service, and what the rollups have of them."""

    def __init__(self, engine: Engine, service: str) -> None:
        self._engine = engine
        self._rollups = StoredRollups(engine)
        self._keys = self._rollups.keys
        self.node = node_named(service, {one.destination for one in self._keys.series})
        ours = [number for number, one in enumerate(self._keys.series) if one.destination == self.node]
        self._ours = np.array(ours, np.int64)
        self._ids: list[int] = self._keys.ids(self._ours).tolist()
        self.known: frozenset[str] = frozenset(self._keys.series[number].version for number in ours) - {""}

    def window(self, since: datetime | None, until: datetime | None) -> tuple[int, int, int]:
        """(grain, since, until) in seconds: minutes where those are kept for all of it, else hours."""
        kept = self._rollups.first
        grain_s = MINUTE_S if kept else HOUR_S
        start = kept if since is None else _seconds(since)
        if since is None and until is not None and _seconds(until) <= kept:
            start = _seconds(EARLIEST)
        end = _seconds(until) if until else (self._rollups.last + MINUTE_S if kept else _seconds(LATEST))
        if kept and start < kept - kept % HOUR_S:
            older = self.calls(HOUR_S, start - start % HOUR_S, kept - kept % HOUR_S)
            grain_s = HOUR_S if len(older.series) else MINUTE_S
        return grain_s, start - start % grain_s, -(-end // grain_s) * grain_s

    def calls(self, grain_s: int, since: int, until: int) -> Calls:
        """Calls of every version in [since, until)."""
        rows = self._read("version_calls", grain_s, since, until)
        moment = rows["moment"].to_numpy().astype(np.int64)
        found = Calls(
            self._keys.numbers(rows["edge_id"].to_numpy().astype(np.uint64), moment),
            moment,
            rows["requests"].to_numpy().astype(np.float64),
            rows["errors"].to_numpy().astype(np.float64),
        )
        return found.take(np.isin(found.series, self._ours) & (found.requests > 0))

    def by_version(self, calls: Calls) -> Mapping[str, int]:
        """Calls of each known version: of each caller, those of whoever tells of most."""
        most: dict[tuple[str, str], int] = defaultdict(int)
        for (version, caller, _), count in self._told(calls).items():
            most[version, caller] = max(most[version, caller], count)
        found: dict[str, int] = defaultdict(int)
        for (version, _), count in most.items():
            found[version] += count
        return {version: count for version, count in found.items() if version}

    def _told(self, calls: Calls) -> Mapping[tuple[str, str, str], int]:
        """Calls by version, caller and reporter."""
        found: dict[tuple[str, str, str], int] = defaultdict(int)
        numbers, place = np.unique(calls.series, return_inverse=True)
        for number, count in zip(
            numbers.tolist(), np.bincount(place, calls.requests, len(numbers)).tolist(), strict=True
        ):
            one = self._keys.series[number]
            found[one.version, one.source, one.reporter] += int(count)
        return found

    def spoken(self, calls: Calls, pair: tuple[str, str]) -> Flags:
        """Rows of the two versions as the one reporter of each caller tells who is the best that knows both."""
        told = self._told(calls)
        rank = {name: place for place, name in enumerate(REPORTERS)}
        best: dict[str, tuple[bool, int, str]] = {}
        for _, caller, reporter in told:
            both = all(told.get((version, caller, reporter)) for version in pair)
            merit = not both, rank.get(reporter, len(rank)), reporter
            best[caller] = min(best.get(caller, merit), merit)
        series = self._keys.series
        chosen = [
            number
            for number in np.unique(calls.series).tolist()
            if series[number].version in pair and best[series[number].source][2] == series[number].reporter
        ]
        return np.isin(calls.series, chosen)

    def common(self, calls: Calls, pair: tuple[str, str]) -> Ints:
        """Begins of the periods in which both versions had calls, in order."""
        side = self._sides(calls.series, pair)
        return np.intersect1d(calls.moment[side == 0], calls.moment[side == 1])

    def cells(self, calls: Calls, common: Ints, pair: tuple[str, str], grain_s: int) -> Cells:
        """What both versions did in the common periods."""
        none = np.zeros(0, np.int64)
        if not len(common):
            return Cells([], none, none, none, empty(0), empty(0), np.zeros((0, 2)), np.zeros((0, 2)), 0.0)
        calls = calls.take(np.isin(calls.moment, common))
        since, until = int(common[0]), int(common[-1]) + grain_s
        slot_s = -(-(until - since) // grain_s // SLOTS) * grain_s
        cell = _cells_of(self._keys.series, calls.series, (calls.moment - since) // slot_s)
        side = self._sides(calls.series, pair)
        counts, errors = np.zeros((len(cell.names), 2)), np.zeros((len(cell.names), 2))
        np.add.at(counts, (cell.row, side), calls.requests)
        np.add.at(errors, (cell.row, side), calls.errors)
        stacks = self._stacks(calls, common, pair, (grain_s, slot_s, since, until), cell.names)
        operations = sorted({name[0] for name in cell.names})
        callers = sorted({name[1] for name in cell.names})
        return Cells(
            operations,
            np.array([operations.index(name[0]) for name in cell.names], np.int64),
            np.array([callers.index(name[1]) for name in cell.names], np.int64),
            np.array([name[2] for name in cell.names], np.int64),
            *stacks,
            counts,
            errors,
            float(len(common) * grain_s),
        )

    def _stacks(
        self,
        calls: Calls,
        common: Ints,
        pair: tuple[str, str],
        time: tuple[int, int, int, int],
        names: Mapping[tuple[str, str, int], int],
    ) -> tuple[Stack, Stack]:
        """Durations of (baseline, canary), a row per cell."""
        grain_s, slot_s, since, until = time
        ids = self._keys.ids(np.unique(calls.series)).tolist()
        more = {"ids": ids, "moments": common.tolist(), "slot_s": slot_s}
        rows = self._read("version_histograms", grain_s, since, until, **more)
        slot = rows["slot"].to_numpy().astype(np.int64)
        series = self._keys.numbers(rows["edge_id"].to_numpy().astype(np.uint64), since + slot * slot_s)
        place = np.full(len(slot), -1, np.int64)
        for row, (number, at) in enumerate(zip(series.tolist(), slot.tolist(), strict=True)):
            if number >= 0:
                one = self._keys.series[number]
                place[row] = names.get((one.operation, one.source, at), -1)
        side = self._sides(series, pair)
        maps = _whole(rows["histogram"])
        found: list[Stack] = []
        for number in (0, 1):
            used = np.flatnonzero((side == number) & (place >= 0))
            found.append(from_maps(maps.take(pa.array(used)), place[used], len(names)))
        return found[0], found[1]

    def _sides(self, series: Ints, pair: tuple[str, str]) -> Ints:
        """0 = baseline, 1 = canary, -1 = neither."""
        side = {version: number for number, version in enumerate(pair)}
        by_number = np.array([side.get(one.version, -1) for one in self._keys.series] + [-1], np.int64)
        return by_number[series]

    def first_seen(self, version: str) -> datetime | None:
        """The first call of a version, over all that is kept."""
        series = [number for number in self._ours.tolist() if self._keys.series[number].version == version]
        ids = self._keys.ids(np.array(series, np.int64)).tolist()
        rows = self._engine.query(load("latency/version_first_seen").text, {"ids": ids, "row_limit": ROW_LIMIT})
        return min(rows["first_ts"].to_pylist(), default=None)

    def _read(self, name: str, grain_s: int, since: int, until: int, **more: Any) -> pa.Table:
        given = {"ids": self._ids, "grain_s": grain_s, "since": _time(since), "until": _time(until), **more}
        rows = self._engine.query(load(f"latency/{name}").text, {**given, "row_limit": ROW_LIMIT})
        if rows.num_rows >= ROW_LIMIT:
            raise StorageError(f"more than {ROW_LIMIT} rows of rollups of {self.node}: a shorter window expected")
        return rows


@dataclass(frozen=True, slots=True)
class _CellsOf:
    """Cells by (operation, caller, slot), and the cell of each row."""

    names: Mapping[tuple[str, str, int], int]
    row: Ints


def _cells_of(series: Sequence[Any], numbers: Ints, slot: Ints) -> _CellsOf:
    names: dict[tuple[str, str, int], int] = {}
    pairs, back = np.unique(np.stack([numbers, slot]), axis=1, return_inverse=True)
    rows: list[int] = []
    for number, at in pairs.T.tolist():
        one = series[number]
        rows.append(names.setdefault((one.operation, one.source, at), len(names)))
    return _CellsOf(names, np.array(rows, np.int64)[back.reshape(-1)])


def _whole(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    if isinstance(combined, pa.ChunkedArray):
        return pa.concat_arrays(combined.chunks) if combined.num_chunks else pa.array([], column.type)
    return combined


def _seconds(time: datetime) -> int:
    return int((time - _EPOCH).total_seconds())


def _time(seconds: int) -> datetime:
    return _EPOCH + timedelta(seconds=seconds)
