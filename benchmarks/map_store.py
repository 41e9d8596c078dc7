"""A store with the rollups of a large mesh, written straight into their tables: what `benchmarks.map` reads.

500 services call each other over 5 000 edges, each logged by both sidecars: 10 000 base edges, each of 5 operations.
Nearest to the end the finest rollup is written and its views make the coarser ones, as at ingestion: minutes for three
hours, ten minutes for a day, hours for three days and for the first day, and days for the month between. The calls
themselves need not exist: rollups say how many there were. Latencies are lognormal (sigma 0.8), 1 % of requests fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from collector.edge_ids import edge_id_of
from storage.conform import conform
from storage.engine import Engine
from storage.tables import CALLS, EDGE_KEY_FIELDS, EDGE_KEYS

SERVICES, EDGES, OPERATIONS = 500, 5_000, 5
END = datetime(2026, 11, 20, 15, 37, tzinfo=UTC)
DAYS = 30
POOL = 400
"""Histograms drawn for each size; a row takes one of them, moved to the latency of its edge."""
DRAWS = 2_000
"""Most calls drawn for one of them; beyond, each stands for several."""

_MINUTE, _TEN, _HOUR, _DAY = timedelta(minutes=1), timedelta(minutes=10), timedelta(hours=1), timedelta(days=1)
_SECOND, _MICROSECOND = pa.timestamp("s", "UTC"), pa.timestamp("us", "UTC")


@dataclass(frozen=True, slots=True)
class Rollup:
    """A table of rollups: the column of its time, how long a row is, how many buckets of edges_1m one of its is."""

    table: str
    time: str
    length: timedelta
    merged: int = 1


@dataclass(frozen=True, slots=True)
class Histograms:
    """POOL histograms of `size` calls each, as lists."""

    size: int
    buckets: pa.ListArray
    counts: pa.ListArray

    @classmethod
    def drawn(cls, size: int, merged: int, random: np.random.Generator) -> Histograms:
        """Lognormal ones around e^9 us."""
        logs = np.round(450 + 40 * random.standard_normal((POOL, min(size, DRAWS)))).astype(np.int64)
        weight = max(size // DRAWS, 1)
        found = [np.unique(-(-row // merged), return_counts=True) for row in logs]
        offsets = pa.array(np.cumsum([0, *(len(buckets) for buckets, _ in found)]), pa.int32())
        buckets = pa.array(np.concatenate([buckets for buckets, _ in found]), pa.int16())
        counts = pa.array(np.concatenate([counts for _, counts in found]) * weight, pa.uint64())
        lists = pa.ListArray.from_arrays
        return cls(min(size, DRAWS) * weight, lists(offsets, buckets), lists(offsets, counts))

    def maps(self, chosen: npt.NDArray[np.int64], moved: npt.NDArray[np.int64]) -> pa.MapArray:
        """The chosen ones, their buckets moved."""
        buckets, counts = self.buckets.take(pa.array(chosen)), self.counts.take(pa.array(chosen))
        shift = np.repeat(moved, np.diff(buckets.offsets.to_numpy())).astype(np.int16)
        return pa.MapArray.from_arrays(buckets.offsets, pc.add(buckets.values, pa.array(shift)), counts.values)


def fill(engine: Engine, calls: int, seed: int = 1) -> None:
    """Rollups of `calls` calls in the last 24 hours, and of as many again in the 29 days before."""
    random = np.random.default_rng(seed)
    ids = _announce(engine)
    this_hour = END.replace(minute=0)
    today = this_hour.replace(hour=0)
    minutes_from, tens_from, hours_from = this_hour - 2 * _HOUR, this_hour - 24 * _HOUR, today - 2 * _DAY
    first_day = today - DAYS * _DAY
    older = calls / (DAYS - 1)
    for rollup, since, until, daily in (
        (Rollup("edges_1d", "day", _DAY, 5), first_day + _DAY, hours_from, older),
        (Rollup("base_edges_1h", "hour", _HOUR), first_day, first_day + _DAY, older),
        (Rollup("base_edges_1h", "hour", _HOUR), hours_from, tens_from, older),
        (Rollup("base_edges_10m", "start", _TEN), tens_from, minutes_from, calls),
        (Rollup("base_edges_1m", "minute", _MINUTE), minutes_from, END, calls),
    ):
        each = daily / EDGES * (rollup.length / _DAY)
        histograms = Histograms.drawn(max(round(each), 1), rollup.merged, random)
        begins = [since + number * rollup.length for number in range(round((until - since) / rollup.length))]
        for at in range(0, len(begins), 10):
            rows = _rows(rollup, ids, begins[at : at + 10], min(each, 1.0), histograms, random)
            engine.insert(rollup.table, rows)


def fill_calls(engine: Engine, count: int, step: int = 1_000_000) -> None:
    """Rows of `calls` that no rollup counts (connections that began): they only make that table large."""
    end_us = int(END.timestamp() * 1e6)
    for first in range(0, count, step):
        number = np.arange(first, min(first + step, count))
        batch = pa.record_batch(
            {
                "ts": pa.array(end_us - number * 10, _MICROSECOND),
                "request_id": pa.array(number).cast(pa.string()),
                "duration_us": pa.array((number % 100_000).astype(np.uint64)),
            }
        )
        engine.insert("calls", conform(CALLS, batch, received_at=END, log_type="connection_start"))


def _announce(engine: Engine) -> npt.NDArray[np.uint64]:
    """Write the keys of all edges, with and without operation; the ids of those without, source's and destination's."""
    rows: list[dict[str, str]] = []
    ids: list[int] = []
    base: list[int] = []
    for number in range(EDGES):
        source = number % SERVICES
        destination = (source + 1 + number // SERVICES * 37) % SERVICES
        for reporter, tls in (("source", "unknown"), ("destination", "mtls")):
            fields = dict.fromkeys(EDGE_KEY_FIELDS, "")
            fields.update(evidence="log", reporter=reporter, direction="east_west", protocol="http", tls=tls)
            for side, service in (("source", source), ("destination", destination)):
                namespace, name = f"ns{service % 20}", f"svc{service}"
                fields[f"{side}_namespace"], fields[f"{side}_service"] = namespace, name
                fields[f"{side}_workload"], fields[f"{side}_version"] = f"{name}-v1", "v1"
                fields[f"{side}_principal"] = f"spiffe://cluster.local/ns/{namespace}/sa/{name}"
            for operation in ("", *(f"GET /r{place}" for place in range(OPERATIONS))):
                whole = {**fields, "operation": operation}
                rows.append(whole)
                ids.append(edge_id_of([whole[name] for name in EDGE_KEY_FIELDS]))
            base.append(ids[-1 - OPERATIONS])
    columns = {name: pa.array([row[name] for row in rows]).dictionary_encode() for name in EDGE_KEY_FIELDS}
    keys = pa.record_batch({"edge_id": pa.array(ids, pa.uint64()), **columns})
    engine.insert("edge_keys", conform(EDGE_KEYS, keys, received_on=END.date()))
    return np.array(base, np.uint64)


def _rows(
    rollup: Rollup,
    ids: npt.NDArray[np.uint64],
    begins: Sequence[datetime],
    busy: float,
    histograms: Histograms,
    random: np.random.Generator,
) -> pa.RecordBatch:
    """Rows of the periods that begin at `begins`; `busy` is the share of edges with a call in one."""
    begin = np.repeat([int(time.timestamp()) for time in begins], len(ids))
    edge = np.tile(ids, len(begins))
    if busy < 1:
        # Both sides of an edge saw the same calls.
        kept = np.repeat(random.random(len(edge) // 2) < busy, 2)
        begin, edge = begin[kept], edge[kept]
    rows, size = len(edge), histograms.size
    failed = size // 100
    requests = pa.array(np.full(rows, size, np.uint64))
    statuses = {200: size - failed, 503: failed} if failed else {200: size}
    faults = {"callee": failed} if failed else {}

    def same(value: object, kind: pa.DataType) -> pa.Array:
        return pa.array([value], kind).take(pa.array(np.zeros(rows, np.int32)))

    columns = {
        "received_on": pa.array(begin // 86_400, pa.int32()).cast(pa.date32()),
        rollup.time: pa.array(begin, _SECOND),
        "edge_id": pa.array(edge),
        "requests": requests,
        "errors": pa.array(np.full(rows, failed, np.uint64)),
        "timed": requests,
        "sized": requests,
        "bytes_sent": pa.array(np.full(rows, size * 900, np.uint64)),
        "statuses": same(list(statuses.items()), pa.map_(pa.uint16(), pa.uint64())),
        "faults": same(list(faults.items()), pa.map_(pa.string(), pa.uint64())),
        "histogram": histograms.maps(
            random.integers(0, POOL, rows), (edge % np.uint64(100)).astype(np.int64) // rollup.merged
        ),
        "first_ts": pa.array(begin * 1_000_000, _MICROSECOND),
        "last_ts": pa.array(begin * 1_000_000 + 1, _MICROSECOND),
    }
    if rollup.table == "edges_1d":
        columns["hours"] = pa.array(np.full(rows, (1 << 24) - 1, np.uint32))
    return pa.record_batch(columns)
