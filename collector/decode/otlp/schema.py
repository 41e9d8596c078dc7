"""The OTLP schema as far as eastwatch reads it, and its two readers: ptars (to Arrow) and upb (one message).

It is a projection of opentelemetry-proto: same field numbers and wire types, fewer fields, and two deliberate
differences. Texts are declared `bytes`, so that a value which is not UTF-8 spoils itself and not its message. The
recursive members of `AnyValue` (array and kvlist) are declared `bytes` too, since Arrow has no recursive type; the few
that occur are decoded by upb (`any_value_class`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pyarrow as pa
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message
from ptars import HandlerPool

Signal = Literal["traces", "metrics", "logs"]
SIGNALS: tuple[Signal, ...] = ("traces", "metrics", "logs")

_PACKAGE = "eastwatch.otlp"
_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bytes": _Field.TYPE_BYTES,
    "bool": _Field.TYPE_BOOL,
    "int32": _Field.TYPE_INT32,
    "sint32": _Field.TYPE_SINT32,
    "uint32": _Field.TYPE_UINT32,
    "int64": _Field.TYPE_INT64,
    "uint64": _Field.TYPE_UINT64,
    "fixed32": _Field.TYPE_FIXED32,
    "fixed64": _Field.TYPE_FIXED64,
    "sfixed64": _Field.TYPE_SFIXED64,
    "double": _Field.TYPE_DOUBLE,
}

# message -> field -> "NUMBER TYPE"; * repeated, ? explicit presence, | member of the message's oneof.
_MESSAGES: Mapping[str, Mapping[str, str]] = {
    "Traces": {"resources": "1 *ResourceSpans"},
    "ResourceSpans": {"resource": "1 Resource", "scopes": "2 *ScopeSpans"},
    "ScopeSpans": {"scope": "1 Scope", "records": "2 *Span"},
    "Metrics": {"resources": "1 *ResourceMetrics"},
    "ResourceMetrics": {"resource": "1 Resource", "scopes": "2 *ScopeMetrics"},
    "ScopeMetrics": {"scope": "1 Scope", "records": "2 *Metric"},
    "Logs": {"resources": "1 *ResourceLogs"},
    "ResourceLogs": {"resource": "1 Resource", "scopes": "2 *ScopeLogs"},
    "ScopeLogs": {"scope": "1 Scope", "records": "2 *LogRecord"},
    "Resource": {"attributes": "1 *KeyValue"},
    "Scope": {"name": "1 bytes"},
    "KeyValue": {"key": "1 bytes", "value": "2 Value"},
    "Value": {
        "string": "1 |bytes",
        "bool": "2 |bool",
        "int": "3 |int64",
        "double": "4 |double",
        "array": "5 |bytes",
        "kvlist": "6 |bytes",
        "bytes": "7 |bytes",
    },
    "Span": {
        "trace_id": "1 bytes",
        "span_id": "2 bytes",
        "parent_span_id": "4 bytes",
        "name": "5 bytes",
        "kind": "6 int32",
        "start_time_unix_nano": "7 fixed64",
        "end_time_unix_nano": "8 fixed64",
        "attributes": "9 *KeyValue",
        "events": "11 *Event",
        "links": "13 *Link",
        "status": "15 Status",
    },
    "Event": {"time_unix_nano": "1 fixed64", "name": "2 bytes", "attributes": "3 *KeyValue"},
    "Link": {"trace_id": "1 bytes", "span_id": "2 bytes", "attributes": "4 *KeyValue"},
    "Status": {"message": "2 bytes", "code": "3 int32"},
    "LogRecord": {
        "time_unix_nano": "1 fixed64",
        "observed_time_unix_nano": "11 fixed64",
        "body": "5 Value",
        "attributes": "6 *KeyValue",
        "trace_id": "9 bytes",
        "span_id": "10 bytes",
    },
    "Metric": {
        "name": "1 bytes",
        "unit": "3 bytes",
        "gauge": "5 |Gauge",
        "sum": "7 |Sum",
        "histogram": "9 |Histogram",
        "exponential_histogram": "10 |ExponentialHistogram",
        "summary": "11 |Summary",
    },
    "Gauge": {"points": "1 *NumberPoint"},
    "Sum": {"points": "1 *NumberPoint", "temporality": "2 int32", "monotonic": "3 bool"},
    "Histogram": {"points": "1 *HistogramPoint", "temporality": "2 int32"},
    "ExponentialHistogram": {"points": "1 *ExponentialPoint", "temporality": "2 int32"},
    "Summary": {"points": "1 *SummaryPoint"},
    "NumberPoint": {
        "start_time_unix_nano": "2 fixed64",
        "time_unix_nano": "3 fixed64",
        "as_double": "4 |double",
        "as_int": "6 |sfixed64",
        "attributes": "7 *KeyValue",
        "flags": "8 uint32",
    },
    "HistogramPoint": {
        "start_time_unix_nano": "2 fixed64",
        "time_unix_nano": "3 fixed64",
        "count": "4 fixed64",
        "sum": "5 ?double",
        "bucket_counts": "6 *fixed64",
        "bounds": "7 *double",
        "attributes": "9 *KeyValue",
        "flags": "10 uint32",
        "min": "11 ?double",
        "max": "12 ?double",
    },
    "ExponentialPoint": {
        "attributes": "1 *KeyValue",
        "start_time_unix_nano": "2 fixed64",
        "time_unix_nano": "3 fixed64",
        "count": "4 fixed64",
        "sum": "5 ?double",
        "scale": "6 sint32",
        "zero_count": "7 fixed64",
        "positive": "8 Buckets",
        "negative": "9 Buckets",
        "flags": "10 uint32",
        "min": "12 ?double",
        "max": "13 ?double",
    },
    "Buckets": {"offset": "1 sint32", "counts": "2 *uint64"},
    "SummaryPoint": {
        "start_time_unix_nano": "2 fixed64",
        "time_unix_nano": "3 fixed64",
        "count": "4 fixed64",
        "sum": "5 double",
        "quantiles": "6 *Quantile",
        "attributes": "7 *KeyValue",
        "flags": "8 uint32",
    },
    "Quantile": {"quantile": "1 double", "value": "2 double"},
    # The recursive form, for upb only.
    "AnyValue": {
        "string": "1 |bytes",
        "bool": "2 |bool",
        "int": "3 |int64",
        "double": "4 |double",
        "array": "5 |AnyArray",
        "kvlist": "6 |AnyMap",
        "bytes": "7 |bytes",
    },
    "AnyArray": {"values": "1 *AnyValue"},
    "AnyMap": {"values": "1 *AnyKeyValue"},
    "AnyKeyValue": {"key": "1 bytes", "value": "2 AnyValue"},
}
_RECURSIVE = {"AnyValue", "AnyArray", "AnyMap", "AnyKeyValue"}


def file_of(
    name: str, messages: Mapping[str, Mapping[str, str]], package: str = _PACKAGE
) -> descriptor_pb2.FileDescriptorProto:
    """The descriptor of `messages` in the notation above."""
    file = descriptor_pb2.FileDescriptorProto(name=name, package=package, syntax="proto3")
    for message, fields in messages.items():
        proto = file.message_type.add(name=message)
        in_oneof = [field for field, text in fields.items() if "|" in text]
        if in_oneof:
            proto.oneof_decl.add(name="kind_of_value")
        for name_, text in fields.items():
            number, kind = text.split(" ")
            mark, kind = (kind[0], kind[1:]) if kind[0] in "*?|" else ("", kind)
            field = proto.field.add(name=name_, number=int(number))
            field.label = _Field.LABEL_REPEATED if mark == "*" else _Field.LABEL_OPTIONAL
            if kind in _SCALARS:
                field.type = _SCALARS[kind]
            else:
                field.type = _Field.TYPE_MESSAGE
                field.type_name = f".{package}.{kind}"
            if mark == "|":
                field.oneof_index = 0
            elif mark == "?":  # a synthetic oneof of one, as protoc writes `optional`; after all real ones
                field.proto3_optional = True
                field.oneof_index = len(proto.oneof_decl)
                proto.oneof_decl.add(name=f"_{name_}")
    return file


_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(file_of("eastwatch/otlp.proto", {k: v for k, v in _MESSAGES.items() if k not in _RECURSIVE}))
_POOL.Add(file_of("eastwatch/any.proto", {k: v for k, v in _MESSAGES.items() if k in _RECURSIVE}))
_ROOTS: Mapping[Signal, str] = {"traces": "Traces", "metrics": "Metrics", "logs": "Logs"}
_HANDLERS = HandlerPool([_POOL.FindFileByName("eastwatch/otlp.proto")])


def _class_of(message: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{message}"))


any_array_class = _class_of("AnyArray")
any_map_class = _class_of("AnyMap")
_MESSAGE_CLASS = {signal: _class_of(root) for signal, root in _ROOTS.items()}
_HANDLER = {
    signal: _HANDLERS.get_for_message(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{root}"))
    for signal, root in _ROOTS.items()
}


def to_arrow(signal: Signal, values: pa.BinaryArray) -> pa.ListArray:
    """`values` as one list of resources for each message.

    Raises:
        ValueError: when any of them is no such protobuf message.
    """
    return _HANDLER[signal].array_to_record_batch(values).column(0)


def to_message(signal: Signal, payload: bytes) -> Any:
    """`payload` as an upb message of the projection.

    Raises:
        google.protobuf.message.DecodeError: when it is none.
    """
    message: Message = _MESSAGE_CLASS[signal]()
    message.ParseFromString(payload)
    return message


def new_message(signal: Signal) -> Any:
    """An empty upb message of the projection."""
    return _MESSAGE_CLASS[signal]()
