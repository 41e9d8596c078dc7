"""OTLP/JSON to OTLP protobuf: the same request, so that one decoder reads both.

The encoding is protobuf's JSON mapping with the differences that the OTLP specification states: ids are hex of either
case, enums are integers (names are accepted), keys are lowerCamelCase and unknown ones are ignored. 64-bit integers
come as text or as numbers, and `null` stands for a field that is not there.

The result is wire format of the projection in `schema`: fields that eastwatch does not read are left out.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, cast

import msgspec

from collector.decode.otlp.json_types import (
    Buckets,
    Double,
    ExponentialHistogram,
    ExponentialPoint,
    Histogram,
    HistogramPoint,
    Integer,
    KeyValue,
    LogRecord,
    Metric,
    NumberPoint,
    Request,
    Resource,
    ResourceLogs,
    ResourceMetrics,
    ResourceSpans,
    Scope,
    Span,
    Sum,
    SummaryPoint,
    Value,
)
from collector.decode.otlp.schema import Signal
from collector.decode.otlp.varint import varint

_MASK = (1 << 64) - 1
_DECODER = msgspec.json.Decoder(Request)


class NotOtlp(ValueError):
    """Well-formed JSON of another kind, or a value that its field cannot hold."""


def to_protobuf(payload: bytes, signal: Signal | None = None) -> tuple[Signal, bytes]:
    """The signal that an OTLP/JSON request carries, and the request in protobuf.

    Args:
        payload: one JSON document.
        signal: what it must carry; None = what it does. `{}` is an empty request for traces.

    Raises:
        NotOtlp: with the reason, in one line.
    """
    try:
        request = _request(payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise NotOtlp(f"no OTLP/JSON: {error}") from error
    found: dict[Signal, bytes] = {}
    try:
        if request.resource_spans is not None:
            found["traces"] = b"".join(_message(b"\n", _resource_spans(r)) for r in request.resource_spans)
        if request.resource_metrics is not None:
            found["metrics"] = b"".join(_message(b"\n", _resource_metrics(r)) for r in request.resource_metrics)
        if request.resource_logs is not None:
            found["logs"] = b"".join(_message(b"\n", _resource_logs(r)) for r in request.resource_logs)
    except (ValueError, OverflowError, struct.error, RecursionError) as error:
        raise NotOtlp(f"no OTLP/JSON: {error}") from error
    if signal is not None and not found.keys() - {signal}:
        return signal, found.get(signal, b"")
    if len(found) != 1 or signal is not None:
        expected = "resourceSpans, resourceMetrics or resourceLogs" if signal is None else f"a request for {signal}"
        raise NotOtlp(f"no OTLP/JSON: it has {', '.join(found) or 'no resources'}, expected {expected}")
    return next(iter(found.items()))


def _request(payload: bytes) -> Request:
    try:
        return _DECODER.decode(payload)
    except msgspec.ValidationError:
        if b"null" not in payload:
            raise
        return msgspec.convert(_without_nulls(msgspec.json.decode(payload)), Request)


def _without_nulls(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_nulls(value) for key, value in cast(dict[str, Any], node).items() if value is not None}
    if isinstance(node, list):
        return [_without_nulls(value) for value in cast(list[Any], node) if value is not None]
    return node


def _message(tag: bytes, body: bytes) -> bytes:
    return tag + varint(len(body)) + body


def _tag(number: int, wire_type: int) -> bytes:
    return varint(number << 3 | wire_type)


def _text(number: int, text: str) -> bytes:
    return _message(_tag(number, 2), text.encode()) if text else b""


def _hex(number: int, text: str) -> bytes:
    if not text:
        return b""
    try:
        return _message(_tag(number, 2), bytes.fromhex(text))
    except ValueError:
        raise NotOtlp(f"the id {text[:40]!r} is not hex") from None


def _int(value: Integer, low: int, high: int) -> int:
    number = value if isinstance(value, int) else int(value) if len(value) < 24 else high + 1
    if not low <= number <= high:
        raise NotOtlp(f"{str(value)[:40]!r} is beyond its integer type")
    return number


def _unsigned(value: Integer) -> int:
    return _int(value, 0, _MASK)


def _fixed64(number: int, value: Integer) -> bytes:
    return _tag(number, 1) + struct.pack("<Q", _unsigned(value)) if value else b""


def _packed(number: int, values: Iterable[Integer], pack: Callable[[int], bytes]) -> bytes:
    body = b"".join(pack(_unsigned(value)) for value in values)
    return _message(_tag(number, 2), body) if body else b""


def _enum(number: int, value: Integer, names: tuple[str, ...] = ()) -> bytes:
    """An enum or other small integer; a name counts by its place in `names`."""
    if isinstance(value, str) and value in names:
        value = names.index(value)
    code = _int(value, -(1 << 31), (1 << 32) - 1)
    return _tag(number, 0) + varint(code) if code else b""


def _zigzag(number: int, value: Integer) -> bytes:
    code = _int(value, -(1 << 31), (1 << 31) - 1)
    return _tag(number, 0) + varint((code << 1) ^ (code >> 31)) if code else b""


def _double(number: int, value: Double | Integer) -> bytes:
    return _tag(number, 1) + struct.pack("<d", float(value))


_KINDS = tuple(f"SPAN_KIND_{k}" for k in ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"))
_STATUSES = tuple(f"STATUS_CODE_{s}" for s in ("UNSET", "OK", "ERROR"))
_TEMPORALITIES = tuple(f"AGGREGATION_TEMPORALITY_{t}" for t in ("UNSPECIFIED", "DELTA", "CUMULATIVE"))


def _value(value: Value) -> bytes:
    if value.string_value is not None:
        return _message(b"\n", value.string_value.encode())
    if value.int_value is not None:
        return b"\x18" + varint(_int(value.int_value, -(1 << 63), (1 << 63) - 1))
    if value.bool_value is not None:
        return b"\x10\x01" if value.bool_value else b"\x10\x00"
    if value.double_value is not None:
        return _double(4, value.double_value)
    if value.array_value is not None:
        return _message(b"*", b"".join(_message(b"\n", _value(v)) for v in value.array_value.values))
    if value.kvlist_value is not None:
        return _message(b"2", _attributes(b"\n", value.kvlist_value.values))
    if value.bytes_value is not None:
        try:
            return _message(b":", base64.b64decode(value.bytes_value, validate=True))
        except binascii.Error:
            raise NotOtlp(f"bytesValue {value.bytes_value[:40]!r} is not base64") from None
    return b""


@lru_cache(maxsize=8192)
def _short_pair(tag: bytes, key: str, text: str) -> bytes:
    value = _message(b"\n", text.encode())
    return _message(tag, _message(b"\n", key.encode()) + _message(b"\x12", value))


def _attributes(tag: bytes, pairs: list[KeyValue]) -> bytes:
    out: list[bytes] = []
    for pair in pairs:
        value = pair.value
        if value is None:
            out.append(_message(tag, _message(b"\n", pair.key.encode())))
        elif value.string_value is not None and len(value.string_value) < 64 and len(pair.key) < 64:
            out.append(_short_pair(tag, pair.key, value.string_value))
        else:
            out.append(_message(tag, _message(b"\n", pair.key.encode()) + _message(b"\x12", _value(value))))
    return b"".join(out)


def _resource(resource: Resource | None) -> bytes:
    return b"" if resource is None else _message(b"\n", _attributes(b"\n", resource.attributes))


def _scope(scope: Scope | None) -> bytes:
    return b"" if scope is None else _message(b"\n", _text(1, scope.name))


def _resource_spans(node: ResourceSpans) -> bytes:
    scopes = (
        _message(b"\x12", _scope(s.scope) + b"".join([_message(b"\x12", _span(span)) for span in s.spans]))
        for s in node.scope_spans
    )
    return _resource(node.resource) + b"".join(scopes)


def _span(span: Span) -> bytes:
    parts = [
        _hex(1, span.trace_id),
        _hex(2, span.span_id),
        _hex(4, span.parent_span_id),
        _text(5, span.name),
        _enum(6, span.kind, _KINDS),
        _fixed64(7, span.start_time_unix_nano),
        _fixed64(8, span.end_time_unix_nano),
        _attributes(b"J", span.attributes),
    ]
    for event in span.events:
        body = _fixed64(1, event.time_unix_nano) + _text(2, event.name) + _attributes(b"\x1a", event.attributes)
        parts.append(_message(_tag(11, 2), body))
    for link in span.links:
        body = _hex(1, link.trace_id) + _hex(2, link.span_id) + _attributes(b'"', link.attributes)
        parts.append(_message(_tag(13, 2), body))
    if span.status is not None:
        parts.append(_message(_tag(15, 2), _text(2, span.status.message) + _enum(3, span.status.code, _STATUSES)))
    return b"".join(parts)


def _resource_logs(node: ResourceLogs) -> bytes:
    scopes = (
        _message(b"\x12", _scope(s.scope) + b"".join([_message(b"\x12", _log(log)) for log in s.log_records]))
        for s in node.scope_logs
    )
    return _resource(node.resource) + b"".join(scopes)


def _log(log: LogRecord) -> bytes:
    return b"".join(
        (
            _fixed64(1, log.time_unix_nano),
            _fixed64(11, log.observed_time_unix_nano),
            b"" if log.body is None else _message(b"*", _value(log.body)),
            _attributes(b"2", log.attributes),
            _hex(9, log.trace_id),
            _hex(10, log.span_id),
        )
    )


def _resource_metrics(node: ResourceMetrics) -> bytes:
    scopes = (
        _message(b"\x12", _scope(s.scope) + b"".join([_message(b"\x12", _metric(m)) for m in s.metrics]))
        for s in node.scope_metrics
    )
    return _resource(node.resource) + b"".join(scopes)


def _metric(metric: Metric) -> bytes:
    body = _text(1, metric.name) + _text(3, metric.unit)
    if (data := metric.gauge) is not None:
        return body + _message(_tag(5, 2), _points(map(_number_point, data.data_points)))
    if (data := metric.sum) is not None:
        tail = _temporality(data) + (b"\x18\x01" if data.is_monotonic else b"")
        return body + _message(_tag(7, 2), _points(map(_number_point, data.data_points)) + tail)
    if (data := metric.histogram) is not None:
        return body + _message(_tag(9, 2), _points(map(_histogram_point, data.data_points)) + _temporality(data))
    if (data := metric.exponential_histogram) is not None:
        return body + _message(_tag(10, 2), _points(map(_exponential_point, data.data_points)) + _temporality(data))
    if (data := metric.summary) is not None:
        return body + _message(_tag(11, 2), _points(map(_summary_point, data.data_points)))
    return body


def _temporality(data: Sum | Histogram | ExponentialHistogram) -> bytes:
    return _enum(2, data.aggregation_temporality, _TEMPORALITIES)


def _points(bodies: Iterable[bytes]) -> bytes:
    return b"".join(_message(b"\n", body) for body in bodies)


def _times(point: NumberPoint | HistogramPoint | ExponentialPoint | SummaryPoint) -> bytes:
    return _fixed64(2, point.start_time_unix_nano) + _fixed64(3, point.time_unix_nano)


def _optional(number: int, value: Double | Integer | None) -> bytes:
    return b"" if value is None else _double(number, value)


def _little(value: int) -> bytes:
    return struct.pack("<Q", value)


def _number_point(point: NumberPoint) -> bytes:
    value = b""
    if point.as_int is not None:
        value = _tag(6, 1) + struct.pack("<q", _int(point.as_int, -(1 << 63), (1 << 63) - 1))
    elif point.as_double is not None:
        value = _double(4, point.as_double)
    return _times(point) + value + _attributes(b":", point.attributes) + _enum(8, point.flags)


def _histogram_point(point: HistogramPoint) -> bytes:
    bounds = b"".join(struct.pack("<d", float(bound)) for bound in point.explicit_bounds)
    return b"".join(
        (
            _times(point),
            _fixed64(4, point.count),
            _optional(5, point.sum),
            _packed(6, point.bucket_counts, _little),
            _message(_tag(7, 2), bounds) if bounds else b"",
            _attributes(b"J", point.attributes),
            _enum(10, point.flags),
            _optional(11, point.min),
            _optional(12, point.max),
        )
    )


def _buckets(number: int, buckets: Buckets | None) -> bytes:
    if buckets is None:
        return b""
    return _message(_tag(number, 2), _zigzag(1, buckets.offset) + _packed(2, buckets.bucket_counts, varint))


def _exponential_point(point: ExponentialPoint) -> bytes:
    return b"".join(
        (
            _attributes(b"\n", point.attributes),
            _times(point),
            _fixed64(4, point.count),
            _optional(5, point.sum),
            _zigzag(6, point.scale),
            _fixed64(7, point.zero_count),
            _buckets(8, point.positive),
            _buckets(9, point.negative),
            _enum(10, point.flags),
            _optional(12, point.min),
            _optional(13, point.max),
        )
    )


def _summary_point(point: SummaryPoint) -> bytes:
    quantiles = b"".join(
        _message(_tag(6, 2), _double(1, q.quantile) + _double(2, q.value)) for q in point.quantile_values
    )
    tail = _attributes(b":", point.attributes) + _enum(8, point.flags)
    return _times(point) + _fixed64(4, point.count) + _double(5, point.sum) + quantiles + tail
