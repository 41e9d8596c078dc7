"""The messages of OTLP/JSON as msgspec reads them: the fields that eastwatch uses, all optional."""

from __future__ import annotations

from typing import Literal

import msgspec

Integer = int | str
Double = float | Literal["NaN", "Infinity", "-Infinity"]


class _Node(msgspec.Struct, rename="camel", gc=False):
    """Base: snake_case attributes, lowerCamelCase keys, unknown keys ignored."""


class Value(_Node):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: Integer | None = None
    double_value: Double | Integer | None = None
    array_value: Values | None = None
    kvlist_value: KeyValues | None = None
    bytes_value: str | None = None


class Values(_Node):
    values: list[Value] = []


class KeyValue(_Node):
    key: str = ""
    value: Value | None = None


class KeyValues(_Node):
    values: list[KeyValue] = []


class Resource(_Node):
    attributes: list[KeyValue] = []


class Scope(_Node):
    name: str = ""


class Event(_Node):
    time_unix_nano: Integer = 0
    name: str = ""
    attributes: list[KeyValue] = []


class Link(_Node):
    trace_id: str = ""
    span_id: str = ""
    attributes: list[KeyValue] = []


class Status(_Node):
    message: str = ""
    code: Integer = 0


class Span(_Node):
    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str = ""
    name: str = ""
    kind: Integer = 0
    start_time_unix_nano: Integer = 0
    end_time_unix_nano: Integer = 0
    attributes: list[KeyValue] = []
    events: list[Event] = []
    links: list[Link] = []
    status: Status | None = None


class LogRecord(_Node):
    time_unix_nano: Integer = 0
    observed_time_unix_nano: Integer = 0
    body: Value | None = None
    attributes: list[KeyValue] = []
    trace_id: str = ""
    span_id: str = ""


class NumberPoint(_Node):
    start_time_unix_nano: Integer = 0
    time_unix_nano: Integer = 0
    as_double: Double | Integer | None = None
    as_int: Integer | None = None
    attributes: list[KeyValue] = []
    flags: Integer = 0


class HistogramPoint(_Node):
    start_time_unix_nano: Integer = 0
    time_unix_nano: Integer = 0
    count: Integer = 0
    sum: Double | Integer | None = None
    bucket_counts: list[Integer] = []
    explicit_bounds: list[Double | Integer] = []
    attributes: list[KeyValue] = []
    flags: Integer = 0
    min: Double | Integer | None = None
    max: Double | Integer | None = None


class Buckets(_Node):
    offset: Integer = 0
    bucket_counts: list[Integer] = []


class ExponentialPoint(_Node):
    attributes: list[KeyValue] = []
    start_time_unix_nano: Integer = 0
    time_unix_nano: Integer = 0
    count: Integer = 0
    sum: Double | Integer | None = None
    scale: Integer = 0
    zero_count: Integer = 0
    positive: Buckets | None = None
    negative: Buckets | None = None
    flags: Integer = 0
    min: Double | Integer | None = None
    max: Double | Integer | None = None


class Quantile(_Node):
    quantile: Double | Integer = 0.0
    value: Double | Integer = 0.0


class SummaryPoint(_Node):
    start_time_unix_nano: Integer = 0
    time_unix_nano: Integer = 0
    count: Integer = 0
    sum: Double | Integer = 0.0
    quantile_values: list[Quantile] = []
    attributes: list[KeyValue] = []
    flags: Integer = 0


class Gauge(_Node):
    data_points: list[NumberPoint] = []


class Sum(_Node):
    data_points: list[NumberPoint] = []
    aggregation_temporality: Integer = 0
    is_monotonic: bool = False


class Histogram(_Node):
    data_points: list[HistogramPoint] = []
    aggregation_temporality: Integer = 0


class ExponentialHistogram(_Node):
    data_points: list[ExponentialPoint] = []
    aggregation_temporality: Integer = 0


class Summary(_Node):
    data_points: list[SummaryPoint] = []


class Metric(_Node):
    name: str = ""
    unit: str = ""
    gauge: Gauge | None = None
    sum: Sum | None = None
    histogram: Histogram | None = None
    exponential_histogram: ExponentialHistogram | None = None
    summary: Summary | None = None


class ScopeSpans(_Node):
    scope: Scope | None = None
    spans: list[Span] = []


class ScopeMetrics(_Node):
    scope: Scope | None = None
    metrics: list[Metric] = []


class ScopeLogs(_Node):
    scope: Scope | None = None
    log_records: list[LogRecord] = []


class ResourceSpans(_Node):
    resource: Resource | None = None
    scope_spans: list[ScopeSpans] = []


class ResourceMetrics(_Node):
    resource: Resource | None = None
    scope_metrics: list[ScopeMetrics] = []


class ResourceLogs(_Node):
    resource: Resource | None = None
    scope_logs: list[ScopeLogs] = []


class Request(_Node):
    """Any of the three requests."""

    resource_spans: list[ResourceSpans] | None = None
    resource_metrics: list[ResourceMetrics] | None = None
    resource_logs: list[ResourceLogs] | None = None
