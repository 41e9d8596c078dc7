"""`otlp_proto`: OTLP requests in protobuf, one a message, of any signal. Spans, metric points, and the access-log
lines that log records carry.

The signal is found from the bytes when it is not told. A message that is no OTLP protobuf is a dead letter, and so is
each unusable record; neither touches its neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from collector.contract import MESSAGE, DeadLetter, Decoded
from collector.decode.describe import looks_like
from collector.decode.limits import DEFAULT_LIMITS, Limits
from collector.decode.lines import decode_lines
from collector.decode.otlp import isolate
from collector.decode.otlp.logs import log_lines, with_trace
from collector.decode.otlp.metrics import metric_points
from collector.decode.otlp.schema import SIGNALS, Signal, to_arrow
from collector.decode.otlp.traces import spans
from collector.decode.otlp.wire import NotProtobuf, signal_of

TABLE_OF: Mapping[Signal, str] = {"traces": "spans", "metrics": "metric_points", "logs": "calls"}
"""The table that each signal's rows go to."""

_CHUNK_BYTES = 64 << 20
"""Messages are read in runs of this many bytes: nested Arrow takes some times the size of its protobuf."""


@dataclass(frozen=True, slots=True)
class OtlpProto:
    """OTLP in protobuf.

    Args:
        limits: attributes on one record (`keys`), and what the lines in log records may hold.
        signal: what all messages carry; None = find it for each message.
    """

    limits: Limits = DEFAULT_LIMITS
    signal: Signal | None = None
    name: str = "otlp_proto"
    version: int = 1

    def decode(self, values: pa.LargeBinaryArray) -> Decoded:
        """Rows of `spans`, `metric_points` and `calls`."""
        dead: list[DeadLetter] = []
        parts: dict[str, list[pa.RecordBatch]] = {}
        for signal, indices in self._by_signal(values, dead).items():
            for run in runs_of(values, indices):
                decoded = self._run(signal, messages_of(values, run), run)
                dead += decoded.dead
                for table, batch in decoded.tables.items():
                    parts.setdefault(table, []).append(batch)
        tables = {table: joined_batches(batches) for table, batches in parts.items()}
        return Decoded(tables, sorted(dead, key=lambda letter: (letter.message, letter.record)))

    def _run(self, signal: Signal, values: pa.BinaryArray, index: list[int]) -> Decoded:
        """Decode messages of one signal; `index` is each one's index in the batch."""
        nested, good, failed = isolate.read(partial(to_arrow, signal), values)
        dead = [
            DeadLetter(
                index[i],
                0,
                payload,
                f"no OTLP protobuf ({signal}): {reason}{looks_like(payload, self.name)}",
                self.name,
            )
            for i, reason, payload in ((i, reason, values[i].as_py()) for i, reason in failed.items())
        ]
        if failed:
            values = values.take(pa.array(good, pa.int64()))
        index = [index[i] for i in good]
        if signal == "logs":
            found = log_lines(nested, index, self.limits)
            calls = decode_lines(found.lines, limits=self.limits)
            records = found.records
            tables = dict(calls.tables)
            if "calls" in tables:
                tables["calls"] = with_trace(tables["calls"], records, index)
            dead += calls.dead
        else:
            records = spans(nested, self.limits) if signal == "traces" else metric_points(nested, self.limits)
            tables = {}
        wrong = np.zeros(len(records.message), bool)
        for rows in records.wrong.values():
            wrong |= rows
        if wrong.any():
            dead += isolate.unusable(records, values, index, self.name)
        if signal != "logs" and not wrong.all():
            of_batch = pa.array(np.array(index, np.int32)[records.message])
            batch = pa.RecordBatch.from_pydict({MESSAGE: of_batch, **records.columns})
            tables = {TABLE_OF[signal]: batch.filter(pa.array(~wrong)) if wrong.any() else batch}
        return Decoded(tables, dead)

    def _by_signal(self, values: pa.LargeBinaryArray, dead: list[DeadLetter]) -> dict[Signal, list[int]]:
        if self.signal is not None:
            return {self.signal: list(range(len(values)))}
        groups: dict[Signal, list[int]] = {signal: [] for signal in SIGNALS}
        for index, payload in enumerate(values.to_pylist()):
            try:
                signal = signal_of(payload)
            except NotProtobuf:
                reason = (
                    "no OTLP protobuf: expected an ExportTraceServiceRequest, or one of metrics or logs"
                    + looks_like(payload, self.name)
                )
                dead.append(DeadLetter(index, 0, payload, reason, self.name))
                continue
            if signal is not None:
                groups[signal].append(index)
        return groups


def runs_of(values: pa.LargeBinaryArray, indices: list[int]) -> list[list[int]]:
    """`indices` cut into runs of about `_CHUNK_BYTES` of messages."""
    if not indices:
        return []
    sizes = np.cumsum(pc.binary_length(values).to_numpy()[indices])
    run_of = (sizes - 1) // _CHUNK_BYTES
    cuts = np.flatnonzero(np.diff(run_of)) + 1
    return [run.tolist() for run in np.split(np.array(indices), cuts)]


def messages_of(values: pa.LargeBinaryArray, run: list[int]) -> pa.BinaryArray:
    """The messages of a run; without a copy where they lie end to end."""
    if run[-1] - run[0] == len(run) - 1:
        return values.slice(run[0], len(run)).cast(pa.binary())
    return values.take(pa.array(run)).cast(pa.binary())


def joined_batches(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Batches of one table end to end, in the order of their messages; a column that some lack is null there."""
    if len(batches) == 1:
        return batches[0]
    table = pa.concat_tables([pa.Table.from_batches([b]) for b in batches], promote_options="permissive")
    message = table.column(MESSAGE).to_numpy()
    table = table.combine_chunks()
    if (message[1:] < message[:-1]).any():
        table = table.take(pa.array(np.argsort(message, kind="stable"))).combine_chunks()
    return table.to_batches()[0]
