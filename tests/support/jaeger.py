"""Jaeger's JSON traces (the answer of `/api/traces`, one object per trace search) as OTLP protobuf requests.

Rules of the OpenTelemetry specification, "OpenTelemetry to Jaeger transformation", read backwards: the first CHILD_OF
reference is the parent and every other reference a link, `span.kind` and `error` tags become kind and status, process
tags become resource attributes, times go from microseconds to nanoseconds, 64-bit trace ids are padded on the left.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, Status

Json = Mapping[str, Any]

_KINDS = {
    "internal": Span.SPAN_KIND_INTERNAL,
    "server": Span.SPAN_KIND_SERVER,
    "client": Span.SPAN_KIND_CLIENT,
    "producer": Span.SPAN_KIND_PRODUCER,
    "consumer": Span.SPAN_KIND_CONSUMER,
}


def to_otlp(export: Json) -> ExportTraceServiceRequest:
    """One request with all traces of one Jaeger export; spans of one process stand under one resource."""
    request = ExportTraceServiceRequest()
    for trace in export["data"]:
        resources: dict[str, ResourceSpans] = {}
        for span in trace["spans"]:
            process_id = span["processID"]
            if process_id not in resources:
                resources[process_id] = _resource(request, trace["processes"][process_id])
            _span(resources[process_id].scope_spans[0].spans.add(), span)
    return request


def _resource(request: ExportTraceServiceRequest, process: Json) -> ResourceSpans:
    resource = request.resource_spans.add()
    resource.resource.attributes.append(
        KeyValue(key="service.name", value=AnyValue(string_value=process["serviceName"]))
    )
    resource.resource.attributes.extend(_attributes(process.get("tags") or ()))
    resource.scope_spans.add()
    return resource


def _span(span: Span, jaeger: Json) -> None:
    span.trace_id, span.span_id = _trace_id(jaeger["traceID"]), bytes.fromhex(jaeger["spanID"].zfill(16))
    span.name = jaeger["operationName"]
    span.start_time_unix_nano = jaeger["startTime"] * 1000
    span.end_time_unix_nano = (jaeger["startTime"] + jaeger["duration"]) * 1000
    for reference in jaeger.get("references") or ():
        span_id = bytes.fromhex(reference["spanID"].zfill(16))
        same_trace = reference["traceID"] == jaeger["traceID"]
        if reference["refType"] == "CHILD_OF" and same_trace and not span.parent_span_id:
            span.parent_span_id = span_id
        else:
            span.links.add(trace_id=_trace_id(reference["traceID"]), span_id=span_id)
    tags = {tag["key"]: tag["value"] for tag in jaeger["tags"]}
    span.kind = _KINDS.get(tags.get("span.kind", ""), Span.SPAN_KIND_UNSPECIFIED)
    if tags.get("error") in {True, "true"}:
        span.status.code = Status.STATUS_CODE_ERROR
    span.attributes.extend(_attributes([tag for tag in jaeger["tags"] if tag["key"] not in {"span.kind", "error"}]))
    for log in jaeger.get("logs") or ():
        fields = {item["key"]: item for item in log["fields"]}
        name = str(fields.pop("event")["value"]) if "event" in fields else "log"
        span.events.add(
            time_unix_nano=log["timestamp"] * 1000, name=name, attributes=list(_attributes(list(fields.values())))
        )


def _trace_id(text: str) -> bytes:
    return bytes.fromhex(text.zfill(32))


def _attributes(tags: Sequence[Json]) -> Iterator[KeyValue]:
    for tag in tags:
        yield KeyValue(key=tag["key"], value=_value(tag.get("type", "string"), tag["value"]))


def _value(kind: str, value: Any) -> AnyValue:
    match kind:
        case "bool":
            return AnyValue(bool_value=value in {True, "true"})
        case "int64":
            return AnyValue(int_value=int(value))
        case "float64":
            return AnyValue(double_value=float(value))
        case _:
            return AnyValue(string_value=str(value))
