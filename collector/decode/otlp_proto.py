"""`otlp_proto`: OTLP requests in protobuf, one a message, of any signal. Spans, metric points, and the access-log
lines that log records carry.

The signal is found from the bytes when it is not told. A message that is no OTLP protobuf is a dead letter, and so is
each unusable record; neither touches its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from collector.contract import MESSAGE, DeadLetter, Decoded
from collector.decode.limits import DEFAULT_LIMITS, Limits
from collector.decode.otlp import isolate
from collector.decode.otlp.metrics import metric_points
from collector.decode.otlp.records import Records
from collector.decode.otlp.schema import SIGNALS, Signal
from collector.decode.otlp.traces import spans
from collector.decode.otlp.wire import NotProtobuf, signal_of

_TABLE: Mapping[Signal, str] = {"traces": "spans", "metrics": "metric_points"}
_ROWS: Mapping[Signal, Callable[[pa.ListArray, Limits], Records]] = {"traces": spans, "metrics": metric_points}

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
        groups = self._by_signal(values, dead)
        parts: dict[str, list[pa.RecordBatch]] = {}
        for signal, indices in groups.items():
            for run in _runs(values, indices):
                decoded = decode_run(signal, values.take(pa.array(run)).cast(pa.binary()), run, self.limits, self.name)
                dead += decoded.dead
                for table, batch in decoded.tables.items():
                    parts.setdefault(table, []).append(batch)
        tables = {table: joined_batches(batches) for table, batches in parts.items()}
        return Decoded(tables, sorted(dead, key=lambda letter: (letter.message, letter.record)))

    def _by_signal(self, values: pa.LargeBinaryArray, dead: list[DeadLetter]) -> dict[Signal, list[int]]:
        if self.signal is not None:
            return {self.signal: list(range(len(values)))}
        groups: dict[Signal, list[int]] = {signal: [] for signal in SIGNALS}
        for index, payload in enumerate(values.to_pylist()):
            try:
                signal = signal_of(payload)
            except NotProtobuf:
                reason = "no OTLP protobuf: expected an ExportTraceServiceRequest, or one of metrics or logs"
                dead.append(DeadLetter(index, 0, payload, reason, self.name))
                continue
            if signal is not None:
                groups[signal].append(index)
        return groups


def _runs(values: pa.LargeBinaryArray, indices: list[int]) -> list[list[int]]:
    """`indices` cut into runs of about `_CHUNK_BYTES` of messages."""
    if not indices:
        return []
    sizes = np.cumsum(pa.compute.binary_length(values).to_numpy()[indices])
    run_of = (sizes - 1) // _CHUNK_BYTES
    cuts = np.flatnonzero(np.diff(run_of)) + 1
    return [list(run) for run in np.split(np.array(indices), cuts)]


def decode_run(signal: Signal, values: pa.BinaryArray, index: list[int], limits: Limits, name: str) -> Decoded:
    """Decode messages of one signal.

    Args:
        signal: what they carry.
        values: the messages.
        index: each one's index in the batch.
        limits: see `OtlpProto`.
        name: the format that dead letters name.
    """
    nested, good, failed = isolate.read(signal, values)
    dead = [
        DeadLetter(index[i], 0, values[i].as_py(), f"no OTLP protobuf ({signal}): {reason}", name)
        for i, reason in failed.items()
    ]
    if failed:
        values = values.take(pa.array(good, pa.int64()))
    index = [index[i] for i in good]
    records = _ROWS[signal](nested, limits)
    wrong = np.zeros(len(records.message), bool)
    for rows in records.wrong.values():
        wrong |= rows
    batch = pa.RecordBatch.from_arrays(
        [pa.array(np.array(index, np.int32)[records.message]), *records.columns.values()],
        names=[MESSAGE, *records.columns],
    )
    if wrong.any():
        reasons = {
            int(row): next(reason for reason, rows in records.wrong.items() if rows[row])
            for row in np.flatnonzero(wrong)
        }
        dead += isolate.unusable(records, values, index, reasons, name)
        batch = batch.filter(pa.array(~wrong))
    return Decoded({_TABLE[signal]: batch} if len(batch) else {}, dead)


def joined_batches(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Batches of one table end to end, in the order of their messages; a column that some lack is null there."""
    if len(batches) == 1:
        return batches[0]
    table = pa.concat_tables([pa.Table.from_batches([b]) for b in batches], promote_options="permissive")
    order = np.argsort(table.column(MESSAGE).to_numpy(), kind="stable")
    return table.combine_chunks().take(pa.array(order)).combine_chunks().to_batches()[0]
