"""`otlp_json`: OTLP requests in JSON, one a message, of any signal. Written as protobuf and read like `otlp_proto`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from collector.contract import MESSAGE, DeadLetter, Decoded
from collector.decode.describe import looks_like
from collector.decode.limits import DEFAULT_LIMITS, Limits
from collector.decode.otlp.json_form import NotOtlp, to_protobuf
from collector.decode.otlp.schema import Signal
from collector.decode.otlp_proto import OtlpProto, joined_batches


@dataclass(frozen=True, slots=True)
class OtlpJson:
    """OTLP in JSON. The dead letter of one record is of format `otlp_proto`: its payload is in protobuf.

    Args:
        limits: see `OtlpProto`.
        signal: what all messages carry; None = what each says.
    """

    limits: Limits = DEFAULT_LIMITS
    signal: Signal | None = None
    name: str = "otlp_json"
    version: int = 1

    def decode(self, values: pa.LargeBinaryArray) -> Decoded:
        """Rows of `spans`, `metric_points` and `calls`."""
        dead: list[DeadLetter] = []
        groups: dict[Signal, tuple[list[int], list[bytes]]] = {}
        for index, payload in enumerate(values.to_pylist()):
            try:
                signal, protobuf = to_protobuf(payload, self.signal)
            except NotOtlp as error:
                dead.append(DeadLetter(index, 0, payload, str(error) + looks_like(payload, self.name), self.name))
                continue
            indices, payloads = groups.setdefault(signal, ([], []))
            indices.append(index)
            payloads.append(protobuf)
        parts: dict[str, list[pa.RecordBatch]] = {}
        for signal, (indices, payloads) in groups.items():
            decoder = OtlpProto(self.limits, signal)
            decoded = decoder.decode(pa.array(payloads, pa.large_binary()))
            dead += (replace(letter, message=indices[letter.message]) for letter in decoded.dead)
            for table, batch in decoded.tables.items():
                parts.setdefault(table, []).append(_of_batch(batch, indices))
        tables = {table: joined_batches(batches) for table, batches in parts.items()}
        return Decoded(tables, sorted(dead, key=lambda letter: (letter.message, letter.record)))


def _of_batch(batch: pa.RecordBatch, indices: Sequence[int]) -> pa.RecordBatch:
    """`batch` with the indices of the messages in the whole batch."""
    at = batch.schema.get_field_index(MESSAGE)
    return batch.set_column(at, MESSAGE, pa.array(indices, pa.int32()).take(batch.column(at)))
