"""OTLP metric requests as a collector's Prometheus receiver, or an application's SDK, would send them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1 import metrics_pb2 as m
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

SCRAPER = "github.com/open-telemetry/opentelemetry-collector-contrib/receiver/prometheusreceiver"
T0_S = 1_772_445_600
"""2026-03-02T10:00:00Z."""

_CUMULATIVE = m.AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
_DELTA = m.AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA


def counter(name: str, labels: Mapping[str, str], at_s: float, value: float, start_s: float | None = 0) -> m.Metric:
    """A cumulative counter with one point `at_s` seconds after T0; `start_s` None = not given."""
    point = m.NumberDataPoint(
        attributes=_pairs(labels), as_double=value, time_unix_nano=_nanos(at_s), start_time_unix_nano=_nanos(start_s)
    )
    return m.Metric(name=name, sum=m.Sum(data_points=[point], aggregation_temporality=_CUMULATIVE, is_monotonic=True))


def histogram(
    name: str,
    labels: Mapping[str, str],
    at_s: float,
    bounds: Sequence[float],
    counts: Sequence[int],
    start_s: float | None = 0,
    *,
    unit: str = "",
    delta: bool = False,
) -> m.Metric:
    """A histogram with one point `at_s` seconds after T0."""
    point = m.HistogramDataPoint(
        attributes=_pairs(labels),
        count=sum(counts),
        explicit_bounds=bounds,
        bucket_counts=counts,
        time_unix_nano=_nanos(at_s),
        start_time_unix_nano=_nanos(start_s),
    )
    temporality = _DELTA if delta else _CUMULATIVE
    return m.Metric(
        name=name, unit=unit, histogram=m.Histogram(data_points=[point], aggregation_temporality=temporality)
    )


def request(resource: Mapping[str, str], metrics: Iterable[m.Metric], scope: str = SCRAPER) -> bytes:
    """One ExportMetricsServiceRequest from one resource."""
    scoped = m.ScopeMetrics(scope=InstrumentationScope(name=scope), metrics=metrics)
    owned = m.ResourceMetrics(resource=Resource(attributes=_pairs(resource)), scope_metrics=[scoped])
    return ExportMetricsServiceRequest(resource_metrics=[owned]).SerializeToString()


def _pairs(labels: Mapping[str, str]) -> list[KeyValue]:
    return [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in labels.items()]


def _nanos(seconds: float | None) -> int:
    """Nanoseconds since 1970 of a moment `seconds` after T0; 0, as OTLP has it, for none."""
    return 0 if seconds is None else int((T0_S + seconds) * 1e9)
