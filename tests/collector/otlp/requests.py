"""Hypothesis strategies for OTLP requests: plausible keys with plausible and absurd values, and plain nonsense."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1 import metrics_pb2 as m
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collector.decode.otlp import peers, requests, resources

NOW = 1_700_000_000_000_000_000
SPAN_KEYS = sorted({k for keys in (*requests.WANTED, *peers.WANTED) for k in keys} | {"error", "istio.namespace"})
RESOURCE_KEYS = sorted({k for keys in resources.IDENTITY.values() for k in keys})

words = st.one_of(
    st.sampled_from(
        [
            *("", "GET", "POST", "cart", "Cart.Shop.svc:8080", "[::1]:80", "10.0.0.7", "10.0.0.7:9000", "::1"),
            *("http://cart.shop.svc:80/cart/1?x=2#top", "https://api.example.com", "http://h?q=1", "http://[", "//x/y"),
            *("outbound|80||cart.shop.svc.cluster.local", "outbound|443|v1|api.example.com", "inbound|8080||"),
            *("outbound|99999||x", "true", "True", "200", "14", "UNAVAILABLE", "/cart/{id}", "shop", "cart.shop"),
            *('quo"te\\', "tab\there", "zwölf", "\x00", "-1", "99999999999999999999", "kafka", "redis", "grpc", "x#y"),
        ]
    ),
    st.text(max_size=8),
)
numbers = st.one_of(st.sampled_from([0, 1, 14, 80, 200, 404, 503, 70000, -1]), st.integers(-(2**63), 2**63 - 1))


@st.composite
def any_values(draw: Any, depth: int = 0) -> AnyValue:
    kind = draw(st.sampled_from(["s", "s", "s", "s", "i", "i", "b", "d", "y", "none", *(["a", "k"] * (depth < 2))]))
    if kind == "s":
        return AnyValue(string_value=draw(words))
    if kind == "i":
        return AnyValue(int_value=draw(numbers))
    if kind == "b":
        return AnyValue(bool_value=draw(st.booleans()))
    if kind == "d":
        # Doubles inside arrays are JSON's, and JSON has no NaN.
        return AnyValue(double_value=draw(st.floats(allow_nan=False, allow_infinity=False, width=32)))
    if kind == "y":
        return AnyValue(bytes_value=draw(st.binary(max_size=4)))
    value = AnyValue()
    if kind == "a":
        value.array_value.values.extend(draw(st.lists(any_values(depth + 1), max_size=3)))
        value.array_value.SetInParent()
    elif kind == "k":
        value.kvlist_value.values.extend(draw(st.lists(key_values(st.text(max_size=4), depth + 1), max_size=3)))
        value.kvlist_value.SetInParent()
    return value


@st.composite
def key_values(draw: Any, keys: st.SearchStrategy[str], depth: int = 0) -> KeyValue:
    return KeyValue(key=draw(keys), value=draw(any_values(depth)))


def attributes(known: list[str], most: int = 8) -> st.SearchStrategy[list[KeyValue]]:
    return st.lists(key_values(st.one_of(st.sampled_from(known), st.text(max_size=5))), max_size=most)


def unique(pairs: list[KeyValue]) -> list[KeyValue]:
    return list({pair.key: pair for pair in pairs}.values())


ids = st.one_of(st.binary(min_size=16, max_size=16), st.sampled_from([b"\x01" * 16] * 3 + [bytes(16), b"short"]))
short_ids = st.one_of(st.binary(min_size=8, max_size=8), st.sampled_from([b"\x02" * 8] * 3 + [bytes(8), b"", b"x" * 9]))
times = st.one_of(st.integers(NOW, NOW + 10**12), st.sampled_from([0, 1, 2**64 - 1, 2**63, 4_102_444_800 * 10**9, NOW]))


@st.composite
def spans(draw: Any) -> Span:
    span = Span(
        trace_id=draw(ids),
        span_id=draw(short_ids),
        parent_span_id=draw(short_ids),
        name=draw(words),
        kind=draw(st.integers(0, 5)),
        start_time_unix_nano=draw(times),
        end_time_unix_nano=draw(times),
        attributes=draw(attributes(SPAN_KEYS)),
    )
    for _ in range(draw(st.integers(0, 2))):
        span.events.add(
            time_unix_nano=draw(times), name=draw(words), attributes=unique(draw(attributes(["exception.type"], 2)))
        )
    for _ in range(draw(st.integers(0, 1))):
        span.links.add(trace_id=draw(ids), span_id=draw(short_ids), attributes=unique(draw(attributes(["x"], 2))))
    if draw(st.booleans()):
        span.status.code = draw(st.integers(0, 2))  # pyright: ignore[reportAttributeAccessIssue]
        span.status.message = draw(words)
    return span


@st.composite
def trace_requests(draw: Any) -> bytes:
    request = ExportTraceServiceRequest()
    for _ in range(draw(st.integers(0, 2))):
        resource = request.resource_spans.add()
        if draw(st.booleans()):
            resource.resource.attributes.extend(draw(attributes(RESOURCE_KEYS)))
        for _ in range(draw(st.integers(0, 2))):
            scope = resource.scope_spans.add()
            if draw(st.booleans()):
                scope.scope.name = draw(words)
            scope.spans.extend(draw(st.lists(spans(), max_size=4)))
    return request.SerializeToString()


doubles = st.floats(allow_nan=False)
counts = st.integers(0, 2**64 - 1)


@st.composite
def metrics(draw: Any) -> m.Metric:
    metric = m.Metric(name=draw(words), unit=draw(words))
    kind = draw(st.sampled_from(["gauge", "sum", "histogram", "exponential_histogram", "summary", None]))
    if kind is None:
        return metric
    data = getattr(metric, kind)
    data.SetInParent()
    if kind in ("sum", "histogram", "exponential_histogram"):
        data.aggregation_temporality = draw(st.integers(0, 2))
    if kind == "sum":
        data.is_monotonic = draw(st.booleans())
    for _ in range(draw(st.integers(0, 3))):
        point = data.data_points.add(
            start_time_unix_nano=draw(times),
            time_unix_nano=draw(times),
            attributes=draw(attributes(["http.route", "le"], 3)),
            flags=draw(st.integers(0, 3)),
        )
        if kind in ("gauge", "sum"):
            if draw(st.booleans()):
                point.as_double = draw(doubles)
            elif draw(st.booleans()):
                point.as_int = draw(st.integers(-(2**63), 2**63 - 1))
            continue
        point.count = draw(counts)
        if draw(st.booleans()):
            point.sum = draw(doubles)
        if kind in ("histogram", "exponential_histogram") and draw(st.booleans()):
            point.min, point.max = draw(doubles), draw(doubles)
        if kind == "histogram":
            point.bucket_counts.extend(draw(st.lists(counts, max_size=3)))
            point.explicit_bounds.extend(draw(st.lists(doubles, max_size=3)))
        elif kind == "exponential_histogram":
            point.scale, point.zero_count = draw(st.integers(-10, 20)), draw(counts)
            point.positive.offset = draw(st.integers(-(2**31), 2**31 - 1))
            point.positive.bucket_counts.extend(draw(st.lists(counts, max_size=3)))
            if draw(st.booleans()):
                point.negative.offset = 3
        else:
            for _ in range(draw(st.integers(0, 2))):
                point.quantile_values.add(quantile=draw(doubles), value=draw(doubles))
    return metric


@st.composite
def metric_requests(draw: Any) -> bytes:
    request = ExportMetricsServiceRequest()
    for _ in range(draw(st.integers(0, 2))):
        resource = request.resource_metrics.add()
        resource.resource.attributes.extend(draw(attributes(RESOURCE_KEYS)))
        for _ in range(draw(st.integers(0, 2))):
            scope = resource.scope_metrics.add()
            scope.scope.name = draw(words)
            scope.metrics.extend(draw(st.lists(metrics(), max_size=4)))
    return request.SerializeToString()
