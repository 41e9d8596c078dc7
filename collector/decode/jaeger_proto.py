"""`jaeger_proto`: one `jaeger.api_v2.Span` in protobuf a message → `spans`, as the Collector's Kafka exporter and
Jaeger's own collectors write them. The process stands in the span.

Field numbers are those of jaeger-idl's `model.proto`; texts are declared `bytes` for the reason given in `otlp.schema`,
and so is the process, which many spans share and which is read once for each distinct one.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from ptars import HandlerPool

from collector.contract import MESSAGE, DeadLetter, Decoded
from collector.decode.describe import looks_like
from collector.decode.jaeger_spans import named, parents_and_links, process_columns
from collector.decode.limits import DEFAULT_LIMITS, EARLIEST_US, LATEST_US, Limits
from collector.decode.otlp import isolate
from collector.decode.otlp.attributes import Attributes, children, key_values
from collector.decode.otlp.schema import file_of
from collector.decode.otlp.text import EMPTY, Indices, hex_ids, joined, json_string, utf8
from collector.decode.otlp_proto import joined_batches, messages_of, runs_of
from collector.decode.span_json import event_times
from collector.decode.tagged_spans import tagged_columns

_PACKAGE = "eastwatch.jaeger"
_MESSAGES: Mapping[str, Mapping[str, str]] = {
    "Span": {
        "trace_id": "1 bytes",
        "span_id": "2 bytes",
        "operation_name": "3 bytes",
        "references": "4 *SpanRef",
        "start_time": "6 Time",
        "duration": "7 Time",
        "tags": "8 *KeyValue",
        "logs": "9 *Log",
        "process": "10 bytes",
    },
    "SpanRef": {"trace_id": "1 bytes", "span_id": "2 bytes", "ref_type": "3 int32"},
    "Time": {"seconds": "1 int64", "nanos": "2 int32"},
    "Log": {"timestamp": "1 Time", "fields": "2 *KeyValue"},
    "KeyValue": {
        "key": "1 bytes",
        "v_type": "2 int32",
        "v_str": "3 bytes",
        "v_bool": "4 bool",
        "v_int64": "5 int64",
        "v_float64": "6 double",
        "v_binary": "7 bytes",
    },
    "Process": {"service_name": "1 bytes", "tags": "2 *KeyValue"},
}
# Fields of KeyValue and the kinds of OTLP's values, by v_type.
_VALUES = (("v_str", "string"), ("v_bool", "bool"), ("v_int64", "int"), ("v_float64", "double"), ("v_binary", "bytes"))

_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(file_of("eastwatch/jaeger.proto", _MESSAGES, _PACKAGE))
_HANDLER = HandlerPool([_POOL.FindFileByName("eastwatch/jaeger.proto")]).get_for_message(
    _POOL.FindMessageTypeByName(f"{_PACKAGE}.Span")
)
_PROCESS: Any = message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.Process"))

_MICROS = 1_000_000
_LONGEST_S = 1 << 40


@dataclass(frozen=True, slots=True)
class JaegerProto:
    """Jaeger's spans in protobuf.

    Args:
        limits: how many tags a span may have (`keys`).
    """

    limits: Limits = DEFAULT_LIMITS
    name: str = "jaeger_proto"
    version: int = 1

    def decode(self, values: pa.LargeBinaryArray) -> Decoded:
        """Rows of `spans`, one a message. Never raises for any input bytes."""
        parts: list[pa.RecordBatch] = []
        dead: list[DeadLetter] = []
        for run in runs_of(values, list(range(len(values)))):
            messages = messages_of(values, run)
            spans, good, failed = isolate.read(_spans, messages)
            wrong = dict(failed)
            if good:
                index = np.array(run, np.int32)[good]
                batch, unusable = self._rows(spans, index)
                if batch.num_rows:
                    parts.append(batch)
                wrong |= {good[row]: reason for row, reason in unusable.items()}
            for place, reason in wrong.items():
                payload = messages[place].as_py()
                said = f"no Jaeger span: {reason}{looks_like(payload, self.name)}"
                dead.append(DeadLetter(run[place], 0, payload, said, self.name))
        tables = {"spans": joined_batches(parts)} if parts else {}
        return Decoded(tables, sorted(dead, key=lambda letter: letter.message))

    def _rows(self, spans: pa.StructArray, message: np.ndarray[Any, np.dtype[np.int32]]) -> tuple[Any, dict[int, str]]:
        """Rows of the spans that can be used, and why the others cannot."""
        trace_id, has_trace = hex_ids(spans.field("trace_id"), 16)
        span_id, has_span = hex_ids(spans.field("span_id"), 8)
        start, has_start = _micros(spans.field("start_time"))
        duration, has_duration = _micros(spans.field("duration"))
        tags = spans.field("tags")
        attributes = Attributes(_key_values(tags))
        wrong: dict[int, str] = {}
        for reason, rows in {
            "trace_id is not 16 bytes, or all zero": ~has_trace,
            "span_id is not 8 bytes, or all zero": ~has_span,
            "start_time is outside 1971..2099": ~(has_start & (start >= EARLIEST_US) & (start < LATEST_US)),
            f"it has more than {self.limits.keys} tags": attributes.counts > self.limits.keys,
        }.items():
            for row in np.flatnonzero(rows).tolist():
                wrong.setdefault(row, reason)
        references, counts = children(spans.field("references"))
        columns: dict[str, pa.Array] = {
            "ts": pa.array(start, pa.timestamp("us", "UTC")),
            "trace_id": trace_id,
            "span_id": span_id,
            "name": utf8(spans.field("operation_name")),
            "duration_us": pa.array(np.where(has_duration & (duration > 0), duration, 0).astype(np.uint64)),
            "attributes": attributes.maps(),
            **parents_and_links(
                trace_id,
                counts,
                hex_ids(references.field("trace_id"), 16)[0],
                hex_ids(references.field("span_id"), 8)[0],
                pc.equal(references.field("ref_type"), 1),
            ),
            **_events(spans.field("logs")),
            **_processes(spans.field("process")),
            MESSAGE: pa.array(message),
            "_record": pa.array(np.zeros(len(message), np.int32)),
        }
        batch = pa.RecordBatch.from_pydict(columns | tagged_columns(attributes, columns))
        if wrong:
            kept = np.ones(len(message), np.bool_)
            kept[list(wrong)] = False
            batch = batch.filter(pa.array(kept))
        return batch, wrong


def _spans(values: pa.BinaryArray) -> pa.StructArray:
    """One span for each message.

    Raises:
        ValueError: when any of them is no such protobuf message.
    """
    return _HANDLER.array_to_record_batch(values).to_struct_array()


def _micros(times: pa.StructArray) -> tuple[Indices, np.ndarray[Any, np.dtype[np.bool_]]]:
    """Timestamps or durations in µs, and which are sound; 0 where there is none."""
    seconds = times.field("seconds").fill_null(0).to_numpy(zero_copy_only=False)
    nanos = times.field("nanos").fill_null(0).to_numpy(zero_copy_only=False)
    sound = (seconds > -_LONGEST_S) & (seconds < _LONGEST_S) & (nanos > -(10**9)) & (nanos < 10**9)
    return np.where(sound, np.where(sound, seconds, 0) * _MICROS + nanos // 1000, 0), sound


def _key_values(tags: pa.ListArray) -> pa.ListArray:
    """Tags as OTLP's KeyValues."""
    entries, counts = children(tags)
    kind = entries.field("v_type")
    values = {
        name: pc.if_else(pc.equal(kind, number), entries.field(field), None)
        for number, (field, name) in enumerate(_VALUES)
    }
    return key_values(counts, entries.field("key"), **values)


def _events(logs: pa.ListArray) -> dict[str, pa.Array]:
    """Logs as `events`: the field `event` is the name, the others are attributes."""
    entries, counts = children(logs)
    if not len(entries):
        return {}
    lists = _key_values(entries.field("fields"))
    fields = Attributes(lists)
    fields.index(frozenset({b"event"}))
    name = fields.pick("event").text()
    others = pc.not_equal(fields.key, b"event")
    kept = others.to_numpy(zero_copy_only=False)
    left = np.bincount(fields.owner[kept], minlength=fields.records)
    flat = fields.value.filter(others)
    attributes = Attributes(key_values(left, fields.key.filter(others), **{of: flat.field(of) for _, of in _VALUES}))
    micros, sound = _micros(entries.field("timestamp"))
    sound &= (micros >= EARLIEST_US) & (micros < LATEST_US)
    when = pc.if_else(pa.array(sound), event_times(pa.array(np.where(sound, micros, 0))), EMPTY)
    items = pc.binary_join_element_wise(
        *('{"ts":"', when, '","name":', json_string(pc.if_else(pc.equal(name, ""), "log", name).fill_null("log"))),
        *(',"attributes":', attributes.json_objects(), "}", ""),
    )
    return {"events": pc.if_else(pa.array(counts > 0), joined(items, counts, "[", "]"), EMPTY)}


def _processes(processes: pa.BinaryArray) -> dict[str, pa.Array]:
    encoded = processes.fill_null(b"").dictionary_encode()
    return process_columns(
        [_process(payload) for payload in encoded.dictionary.to_pylist()],
        encoded.indices.to_numpy().astype(np.int32),
    )


def _process(payload: bytes) -> list[tuple[str, str]]:
    """A process as pairs of a resource; none where it cannot be read."""
    process = _PROCESS()
    try:
        process.ParseFromString(payload)
    except DecodeError:
        return []
    tags = [(_text(tag.key), _tag_text(tag)) for tag in process.tags]
    return named(_text(process.service_name)) + tags


def _text(payload: bytes) -> str:
    return payload.decode("utf-8", "backslashreplace")


def _tag_text(tag: Any) -> str:
    if not 0 <= tag.v_type < len(_VALUES):
        return ""
    value = getattr(tag, _VALUES[tag.v_type][0])
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return _text(value) if tag.v_type == 0 else base64.b64encode(value).decode()
    return str(value)
