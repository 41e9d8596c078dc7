"""The rollups of a store, as looks read them: sums of all series by minute, histograms of a few."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from analyzers.dependencies.map_keys import map_keys
from analyzers.latency.grid import Sums
from analyzers.latency.rollups import MinuteHistograms
from analyzers.latency.series_keys import SeriesKeys, series_keys
from analyzers.latency.stack import TOP_BUCKET, Ints
from storage.engine import Engine
from storage.errors import StorageError
from storage.sql import load

ROW_LIMIT = 50_000_000
"""Most rows that one statement reads."""
_HOUR_S = 3600


class EdgeTotals(NamedTuple):
    """One edge id over a window; `histogram` is (bucket, calls) pairs."""

    series: int
    version: str
    requests: int
    errors: int
    histogram: Sequence[tuple[int, int]]


class StoredRollups:
    """Reads an engine; names are those of the moment it is made.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.keys: SeriesKeys = series_keys(engine, map_keys(engine))
        kept = engine.query(load("latency/minutes_kept").text).to_pylist()[0]
        self.first: int = kept["first"]
        """The first minute that is kept by minute, seconds since 1970; 0 = none."""
        self.last: int = kept["last"]

    @property
    def families(self) -> Ints:
        """The number of each series' edge and reporter."""
        return self.keys.families

    @property
    def operations(self) -> Ints:
        """The number of each series' operation of its edge and reporter."""
        return self.keys.operations

    def sums(self, since: int, until: int, series: Ints | None = None) -> Sums:
        """Sums of every series, or of some, in [since, until)."""
        ids = [] if series is None else self.keys.ids(series).tolist() or [0]
        return self._sums(self._read("minute_sums", since, until, ids=ids))

    def hour_sums(self, since: int, until: int) -> Sums:
        """Sums of every series by hour in [since, until)."""
        return self._sums(self._read("hour_sums", since, until))

    def _sums(self, rows: pa.Table) -> Sums:
        minute = rows["minute"].to_numpy().astype(np.int64)
        values = (rows[name].to_numpy().astype(np.float64) for name in ("calls", "log_sum", "log_sum2"))
        counted = (rows[name].to_numpy().astype(np.float64) for name in ("requests", "errors"))
        return Sums(self.keys.numbers(rows["edge_id"].to_numpy().astype(np.uint64), minute), minute, *values, *counted)

    def histograms(self, series: Ints, since: int, until: int) -> MinuteHistograms:
        """Histograms of some series in [since, until); of what is kept by hours only, in whole hours."""
        if until <= self.first:
            return self.hour_histograms(series, since, until)
        return self._histograms(self._read("minute_histograms", since, until, ids=self.keys.ids(series).tolist()))

    def hour_histograms(self, series: Ints, since: int, until: int) -> MinuteHistograms:
        """Histograms of some series by hour, of the hours around [since, until)."""
        start, end = since // _HOUR_S * _HOUR_S, until // _HOUR_S * _HOUR_S
        ids = self.keys.ids(series).tolist()
        return self._histograms(self._read("hour_histograms", start, max(end, start + _HOUR_S), ids=ids))

    def _histograms(self, rows: pa.Table) -> MinuteHistograms:
        minute = rows["minute"].to_numpy().astype(np.int64)
        number = self.keys.numbers(rows["edge_id"].to_numpy().astype(np.uint64), minute)
        maps = rows["histogram"].combine_chunks()
        if isinstance(maps, pa.ChunkedArray):
            maps = pa.concat_arrays(maps.chunks) if maps.num_chunks else pa.array([], rows.schema.field(2).type)
        offsets = maps.offsets.to_numpy()
        length = np.diff(offsets)
        inside = slice(offsets[0], offsets[-1])
        bucket = np.clip(maps.keys.to_numpy()[inside].astype(np.int64), -1, TOP_BUCKET)
        return MinuteHistograms(
            np.repeat(number, length), np.repeat(minute, length), bucket, maps.items.to_numpy()[inside].astype(np.int64)
        )

    def totals(self, series: Ints, since: int, until: int) -> Sequence[EdgeTotals]:
        """Every edge id of some series over [since, until), merged by the engine."""
        ids = self.keys.ids(series)
        if since >= until or not len(ids):
            return []
        rows = self._read("window_histograms", since, until, ids=ids.tolist())
        number = self.keys.numbers(
            rows["edge_id"].to_numpy().astype(np.uint64), np.full(rows.num_rows, until - 60, np.int64)
        )
        version = self.keys.versions(rows["edge_id"].to_numpy().astype(np.uint64))
        found = zip(
            number.tolist(),
            version,
            rows["requests"].to_pylist(),
            rows["errors"].to_pylist(),
            rows["histogram"].to_pylist(),
            strict=True,
        )
        return [EdgeTotals(*one) for one in found if one[0] >= 0]

    def slow_calls(
        self, ids: Sequence[int], since: datetime, until: datetime, low_us: float, high_us: float, limit: int
    ) -> Sequence[str]:
        """Trace ids (else request ids) of calls of some edges that took [low_us, high_us), the slowest first."""
        bounds = {"low_us": max(int(low_us), 0), "high_us": min(int(high_us), 1 << 62)}
        window = {"since": since, "until": until, "row_limit": limit}
        rows = self._engine.query(load("latency/sample_calls").text, {"ids": list(ids), **window, **bounds})
        return rows["id"].to_pylist()

    def _read(self, name: str, since: int, until: int, **more: Any) -> pa.Table:
        window = {"since": _time(since), "until": _time(until)}
        rows = self._engine.query(load(f"latency/{name}").text, {**window, **more, "row_limit": ROW_LIMIT})
        if rows.num_rows >= ROW_LIMIT:
            raise StorageError(
                f"more than {ROW_LIMIT} rows of rollups from {window['since']} on: a shorter window expected"
            )
        return rows


def _time(seconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
