"""Rows of `calls` and `spans` by the million, as decoding gives them, without decoding each.

Some ten thousand real lines and spans of `benchmarks.workload` are decoded, named and hashed by the pipeline itself.
Each generated row is one of these with what differs from call to call drawn anew: time, ids, duration, size, port,
number in the path, offset, and these in the original line too. `tests/benchmarks/test_stored_calls.py` decodes such
lines again: every column must come out the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.workload import START, lines, span_messages
from collector.contract import Batch
from collector.decode.registry import decoder
from collector.identity.addresses import AddressBook
from collector.ingest.prepare import Prepared, prepare
from collector.sources.source import Bounds, Cut, Lease

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

RECORDS_PER_MESSAGE = 300
LINES_PER_CALL = 2
"""Caller's and callee's line of a call have one request id."""
CALLS_PER_TRACE = 8
PARTITIONS = 4
JITTER_US = 200_000
"""How much earlier than its neighbours a line may have begun."""

_VARIABLE = re.compile(
    rb'(\{"start_time":")([^"]+)(".*?"path":"/[^"?]*/)(\d+)(\?.*?"bytes_sent":)(\d+)(,"duration":)(\d+)'
    rb'(,"upstream_service_time":")(\d+)(".*?"request_id":")([^"]+)(".*?"upstream_local_address":"[^:]+:)(\d+)'
    rb'(".*?"downstream_remote_address":"[^:]+:)(\d+)(".*?"trace_id":")([^"]+)("\})'
)
_NUMBER = re.compile(r"(.*/)\d+(.*)")
_MICROSECOND = pa.timestamp("us", "UTC")


@dataclass(frozen=True, slots=True)
class Arrival:
    """When a batch arrived and what its first row is: `first` counts rows since the start, `since` is the event time of
    row 0, `per_second` how many rows a second of event time has."""

    first: int
    since: datetime
    per_second: float

    def times_us(self, count: int, random: np.random.Generator) -> Ints:
        """Event times, advancing with some disorder, in microseconds."""
        begin = int(self.since.timestamp() * 1e6)
        even = (np.arange(self.first, self.first + count) * (1e6 / self.per_second)).astype(np.int64)
        return begin + even - random.integers(0, JITTER_US, count)

    def received_at(self, count: int) -> datetime:
        """A second after the last event of the batch."""
        return self.since + timedelta(seconds=(self.first + count) / self.per_second + 1)


class CallShapes:
    """Calls to draw from: `count` JSON lines of `workload.lines`, decoded with the names of `book`.

    Of their edges, `one_in` keeps one in so many; of both sides' lines, `reporter` keeps one's.
    """

    def __init__(
        self, book: AddressBook, count: int = 60_000, seed: int = 7, *, one_in: int = 1, reporter: str = ""
    ) -> None:
        written = list(lines(count, "json", seed))
        prepared = prepared_batch([b"\n".join(written)], "envoy_json", book)
        self.edge_keys = prepared.edge_keys
        rows = rows_of(prepared, "calls")
        edges = np.asarray(rows.column("base_edge_id"))
        # Decoding may put lines into another order: each row's own line is in it.
        kept = edges % np.uint64(one_in) == 0
        if reporter:
            kept &= np.asarray(pc.equal(rows.column("reporter").cast(pa.string()), reporter))
        self._rows = rows.take(pa.array(np.flatnonzero(kept)))
        self._paths = _around_number(self._rows.column("path"))
        parts = [_VARIABLE.fullmatch(line) for line in self._rows.column("raw").to_pylist()]
        if None in parts:
            raise ValueError("lines of benchmarks.workload have another form than _VARIABLE, expected the same")
        self._raw = [pa.array([part[group] for part in parts if part], pa.binary()) for group in range(1, 20, 2)]

    def rows(self, arrival: Arrival, count: int, random: np.random.Generator, *, raw: bool = False) -> pa.RecordBatch:
        """`count` rows with the schema of `calls`; `raw` = with the lines that they come from."""
        chosen = pa.array(random.integers(0, self._rows.num_rows, count))
        times = arrival.times_us(count, random) // 1_000 * 1_000  # START_TIME of Envoy has milliseconds
        ms = random.lognormal(2.5, 0.8, count).astype(np.int64)
        upstream = np.maximum(ms - random.choice([0, 1, 2], count, p=[0.6, 0.3, 0.1]), 0)
        sizes, ports = random.integers(10, 20_000, count), random.integers(20_000, 60_000, count)
        numbers = _text(random.integers(0, 10**6, count))
        requests = uuids(_shared(count, LINES_PER_CALL), random)
        traces = hex_ids(_shared(count, CALLS_PER_TRACE), 16, random)
        columns = {
            "ts": pa.array(times, _MICROSECOND),
            "source_port": pa.array(ports, pa.int64()),
            "path": _joined(self._paths, chosen, [numbers]),
            "duration_us": pa.array(ms * 1000),
            "upstream_duration_us": pa.array(upstream * 1000),
            "bytes_sent": pa.array(sizes),
            "request_id": requests,
            "trace_id": traces,
        }
        if raw:
            port, size = _text(ports), _text(sizes)
            drawn = [_rfc3339(times), numbers, size, _text(ms), _text(upstream), requests, port, port, traces]
            columns["raw"] = _joined(self._raw, chosen, drawn)
        else:
            columns["raw"] = _same(b"", pa.binary(), count)
        return _arrived(self._rows, chosen, columns, arrival)


class SpanShapes:
    """Spans to draw from: `count` of `workload.span_messages`, decoded."""

    def __init__(self, book: AddressBook, count: int = 60_000, seed: int = 8) -> None:
        prepared = prepared_batch(list(span_messages(count, seed=seed)), "otlp_proto", book)
        self._rows = rows_of(prepared, "spans")
        self._paths = _around_number(self._rows.column("path"))
        self._servers = np.asarray(pc.equal(self._rows.column("kind").cast(pa.string()), "server"))

    def rows(self, arrival: Arrival, count: int, random: np.random.Generator) -> pa.RecordBatch:
        """`count` rows with the schema of `spans`."""
        drawn = random.integers(0, self._rows.num_rows, count)
        chosen = pa.array(drawn)
        numbers = _text(random.integers(0, 10**6, count))
        paths = _joined(self._paths, chosen, [numbers])
        ids = hex_ids(np.arange(count), 8, random)
        caller = ids.take(pa.array(np.maximum(np.arange(count) - 1, 0)))
        attributes = self._rows.column("attributes").take(chosen)
        columns = {
            "ts": pa.array(arrival.times_us(count, random), _MICROSECOND),
            "duration_us": pa.array(random.lognormal(9.1, 0.8, count).astype(np.uint64)),
            "trace_id": hex_ids(_shared(count, CALLS_PER_TRACE), 16, random),
            "span_id": ids,
            "parent_span_id": pc.if_else(pa.array(self._servers[drawn]), caller, ""),
            "path": paths,
            "attributes": _with_value(attributes, "url.path", paths),
        }
        return _arrived(self._rows, chosen, columns, arrival)


def prepared_batch(bodies: Sequence[bytes], form: str, book: AddressBook) -> Prepared:
    """Message bodies through the pipeline's own decoder, names and hashes."""
    batch = Batch(
        "bench", "bench", "id", 0, pa.array(bodies, pa.large_binary()), pa.array(range(len(bodies)), pa.int64())
    )
    bounds = Bounds(batch.first, batch.last, START, "bench")
    found = prepare(Cut(batch=batch, format=form, lease=Lease()), bounds, decoder(form), book)
    if found.dead:
        raise ValueError(f"benchmarks.workload: {found.dead[0].reason}, expected lines and spans that decode")
    return found


def rows_of(prepared: Prepared, table: str) -> pa.RecordBatch:
    """The batch for `table`."""
    return next(insert.batch for insert in prepared.inserts if insert.table == table)


def hex_ids(groups: Ints, size: int, random: np.random.Generator) -> pa.StringArray:
    """A random id of `size` bytes for each group (numbers from 0, ascending), in lower-case hex digits."""
    return _fixed_width(_digits(groups, size, random))


def uuids(groups: Ints, random: np.random.Generator) -> pa.StringArray:
    """A random UUID for each group (numbers from 0, ascending)."""
    digits = _digits(groups, 16, random)
    text = np.full((len(groups), 36), ord("-"), np.uint8)
    for begin, end, at in ((0, 8, 0), (8, 12, 9), (12, 16, 14), (16, 20, 19), (20, 32, 24)):
        text[:, at : at + end - begin] = digits[:, begin:end]
    return _fixed_width(text)


def _digits(groups: Ints, size: int, random: np.random.Generator) -> Bytes:
    number = int(groups[-1]) + 1
    written = np.frombuffer(random.bytes(number * size).hex().encode(), np.uint8)
    return written.reshape(number, 2 * size)[groups]


def _fixed_width(text: Bytes) -> pa.StringArray:
    count, width = text.shape
    offsets = np.arange(0, (count + 1) * width, width, dtype=np.int32)
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(text)))


def _shared(count: int, by: int) -> Ints:
    """0 .. 0, 1 .. 1, 2 ..: `by` rows each."""
    return np.arange(count) // by


def _text(numbers: Ints) -> pa.Array:
    return pa.array(numbers).cast(pa.string())


def _rfc3339(times_us: Ints) -> pa.Array:
    stamps = pa.array(times_us // 1_000, pa.timestamp("ms", "UTC"))
    return pc.binary_join_element_wise(pc.strftime(stamps, "%Y-%m-%dT%H:%M:%S"), "Z", "")


def _around_number(paths: pa.Array) -> list[pa.Array]:
    """What stands before and behind the last number of each path."""
    found = [_NUMBER.fullmatch(path) for path in paths.to_pylist()]
    if None in found:
        raise ValueError("paths of benchmarks.workload have no number, expected one in each")
    return [pa.array([match[group] for match in found if match]) for group in (1, 2)]


def _joined(constant: Sequence[pa.Array], chosen: pa.Array, variable: Sequence[pa.Array]) -> pa.Array:
    """constant[0], variable[0], constant[1] .. as one text a row; the constants' are the chosen ones."""
    kind = constant[0].type
    parts = [constant[0].take(chosen)]
    for fixed, drawn in zip(constant[1:], variable, strict=True):
        parts += [drawn.cast(kind), fixed.take(chosen)]
    return pc.binary_join_element_wise(*parts, pa.scalar(b"" if pa.types.is_binary(kind) else "", kind))


def _with_value(maps: pa.MapArray, key: str, values: pa.Array) -> pa.MapArray:
    """`maps` with another value of `key`, which each of them has once."""
    place = pc.equal(maps.keys, key)
    return pa.MapArray.from_arrays(maps.offsets, maps.keys, pc.replace_with_mask(maps.items, place, values))


def _arrived(
    shapes: pa.RecordBatch, chosen: pa.Array, columns: Mapping[str, pa.Array], arrival: Arrival
) -> pa.RecordBatch:
    """The chosen shapes with `columns` in place of theirs, arrived as one batch."""
    count = len(chosen)
    numbers = np.arange(arrival.first, arrival.first + count)
    arrived = {
        "received_at": _same(arrival.received_at(count), _MICROSECOND, count),
        "partition": _same(arrival.first // count % PARTITIONS, pa.int32(), count),
        "offset": pa.array(numbers // RECORDS_PER_MESSAGE),
        **columns,
    }
    arrays = [
        arrived[field.name].cast(field.type) if field.name in arrived else shapes.column(field.name).take(chosen)
        for field in shapes.schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=shapes.schema)


def _same(value: object, kind: pa.DataType, count: int) -> pa.Array:
    return pa.array([value], kind).take(pa.array(np.zeros(count, np.int32)))
