"""eastwatch's own metrics and traces: one set of instruments, sent (OTLP/HTTP) and offered to Prometheus.

They are sent where an endpoint is set: `otlp_endpoint` (`EASTWATCH_OTLP_ENDPOINT`), else what
`OTEL_EXPORTER_OTLP_ENDPOINT` says as everywhere. `eastwatch up` offers the same instruments as text
(`exposition`, served by `eastwatch.health`). Where neither is asked for, every call does nothing and OpenTelemetry is
not even imported. Telemetry never stands in the way: it is sent from threads of its own, what cannot be sent is
dropped, and `close` takes at most `CLOSE_LIMIT_S`.

Accepted, stored, dead-lettered and refused records add up, so that loss is always visible.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

CLOSE_LIMIT_S = 2.0
"""Longest time that `close` waits for the last export."""
EXPORT_INTERVAL_S = 10.0
EXPORT_TIMEOUT_S = 2.0
ENDPOINT_VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"

CounterName = Literal[
    "eastwatch.messages.read",
    "eastwatch.read",
    "eastwatch.batches.stored",
    "eastwatch.records.accepted",
    "eastwatch.records.stored",
    "eastwatch.records.dead_lettered",
    "eastwatch.records.refused",
    "eastwatch.rows.stored",
    "eastwatch.engine.failures",
    "eastwatch.source.failures",
    "eastwatch.retention.dropped",
    "eastwatch.analysis.failures",
    "eastwatch.findings.new",
]
MeasureName = Literal[
    "eastwatch.decode.duration",
    "eastwatch.insert.duration",
    "eastwatch.batch.rows",
    "eastwatch.batch.size",
    "eastwatch.source.lag",
    "eastwatch.source.ready",
    "eastwatch.memory.in_flight",
    "eastwatch.analysis.duration",
    "eastwatch.store.disk",
    "eastwatch.store.over_budget",
]
SpanName = Literal["insert", "derive", "analyze"]


@dataclass(frozen=True, slots=True)
class Instrument:
    """One metric: its kind, unit and meaning, and the bucket bounds of a histogram."""

    kind: Literal["counter", "histogram", "gauge"]
    unit: str
    description: str
    bounds: Sequence[float] = ()


_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES = tuple(float(10**exponent) for exponent in range(1, 9))

INSTRUMENTS: Mapping[str, Instrument] = {
    "eastwatch.messages.read": Instrument("counter", "{message}", "Messages read from sources"),
    "eastwatch.read": Instrument("counter", "By", "Bytes of message bodies read from sources"),
    "eastwatch.batches.stored": Instrument("counter", "{batch}", "Batches of which everything is in the store"),
    "eastwatch.records.accepted": Instrument("counter", "{record}", "Records decoded, or found undecodable"),
    "eastwatch.records.stored": Instrument("counter", "{record}", "Rows in the store"),
    "eastwatch.records.dead_lettered": Instrument("counter", "{record}", "Undecodable records in dead_letters"),
    "eastwatch.records.refused": Instrument("counter", "{record}", "Records decoded, then not stored; they come again"),
    "eastwatch.rows.stored": Instrument("counter", "{row}", "Rows in the store, by table, dead letters among them"),
    "eastwatch.engine.failures": Instrument("counter", "{statement}", "Statements the engine failed, later repeated"),
    "eastwatch.source.failures": Instrument("counter", "{failure}", "Times that a source broke; it is opened again"),
    "eastwatch.decode.duration": Instrument("histogram", "s", "Decoding one batch", _SECONDS),
    "eastwatch.insert.duration": Instrument("histogram", "s", "Inserting one batch into one table", _SECONDS),
    "eastwatch.batch.rows": Instrument("histogram", "{row}", "Rows of one inserted batch", _SIZES),
    "eastwatch.batch.size": Instrument("histogram", "By", "Message bytes of one batch", _SIZES),
    "eastwatch.source.lag": Instrument("gauge", "{message}", "Messages between the stored position and the end"),
    "eastwatch.source.ready": Instrument("gauge", "", "Whether a source is joined and read (1) or not (0)"),
    "eastwatch.memory.in_flight": Instrument("gauge", "By", "Memory of batches on their way, estimated"),
    "eastwatch.analysis.duration": Instrument("histogram", "s", "One run of one analyzer", _SECONDS),
    "eastwatch.analysis.failures": Instrument("counter", "{run}", "Runs of an analyzer that failed; it is tried again"),
    "eastwatch.findings.new": Instrument("counter", "{finding}", "Findings that were not in the store before"),
    "eastwatch.retention.dropped": Instrument("counter", "By", "What days that the disk budget dropped took on disk"),
    "eastwatch.store.disk": Instrument("gauge", "By", "What the store takes on disk"),
    "eastwatch.store.over_budget": Instrument("gauge", "By", "What it takes beyond the budget, nothing left to drop"),
}
"""Every metric by name. Labels: `source`, `table`, `topic`, `partition`, `format`, `analyzer`, `error`, `kind`,
`severity`."""

Label = str | int | float | bool


class Telemetry:
    """Counts, measures and spans of one process. All methods are safe from any thread and never raise.

    Args:
        endpoint: base URL of an OTLP/HTTP receiver, e.g. `http://127.0.0.1:4318`; empty = the standard variable's, and
            without that nothing is sent.
        interval_s: seconds between exports of metrics.
        scraped: whether `exposition` will be asked for.
    """

    def __init__(self, endpoint: str = "", *, interval_s: float = EXPORT_INTERVAL_S, scraped: bool = False) -> None:
        endpoint = (endpoint or os.environ.get(ENDPOINT_VARIABLE, "")).rstrip("/")
        self.enabled = bool(endpoint) or scraped
        self._closed = False
        self._levels: dict[str, dict[tuple[tuple[str, Label], ...], float]] = {}
        """Gauge -> labels -> its present value."""
        self._levels_lock = threading.Lock()
        self._before: list[Callable[[], None]] = []
        self._registry: Any = None
        self._scrape_lock = threading.Lock()
        self._instruments: dict[str, Any] = {}
        self._providers: list[Any] = []
        self._tracer: Any = None
        if self.enabled:
            self._start(endpoint, interval_s, scraped)

    def _start(self, endpoint: str, interval_s: float, scraped: bool) -> None:
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.resources import Resource

        # A receiver that is down is not what eastwatch's users read their terminal for.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        resource = Resource.create({"service.name": "eastwatch", "service.version": _version()})
        readers: list[Any] = []
        if endpoint:
            readers.append(_sender(endpoint, interval_s))
            self._trace(endpoint, resource)
        if scraped:
            from opentelemetry.exporter.prometheus import PrometheusMetricReader
            from prometheus_client import CollectorRegistry

            self._registry = CollectorRegistry()
            readers.append(PrometheusMetricReader(scope_info_enabled=False, registry=self._registry))
        meters = MeterProvider(readers, resource=resource, shutdown_on_exit=False)
        meter = meters.get_meter("eastwatch")
        for name, instrument in INSTRUMENTS.items():
            self._instruments[name] = self._made(meter, name, instrument)
        self._providers.append(meters)

    def _trace(self, endpoint: str, resource: Any) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        tracers.add_span_processor(
            BatchSpanProcessor(OTLPSpanExporter(f"{endpoint}/v1/traces", timeout=EXPORT_TIMEOUT_S))
        )
        self._tracer = tracers.get_tracer("eastwatch")
        self._providers.append(tracers)

    def _made(self, meter: Any, name: str, instrument: Instrument) -> Any:
        about = {"unit": instrument.unit, "description": instrument.description}
        if instrument.kind == "counter":
            return meter.create_counter(name, **about)
        if instrument.kind == "gauge":
            self._levels[name] = {}
            return meter.create_observable_gauge(name, [lambda _options: self._observed(name)], **about)
        bounds = list(instrument.bounds)
        return meter.create_histogram(name, **about, explicit_bucket_boundaries_advisory=bounds)

    def _observed(self, name: str) -> Iterable[Any]:
        from opentelemetry.metrics import Observation

        with self._levels_lock:
            return [Observation(value, dict(labels)) for labels, value in self._levels[name].items()]

    def count(self, name: CounterName, n: int = 1, **labels: Label) -> None:
        """Add `n` to a counter."""
        if self._instruments:
            self._instruments[name].add(n, _safe(labels))

    def record(self, name: MeasureName, value: float, **labels: Label) -> None:
        """Record one value of a histogram, or the present value of a gauge."""
        if not self._instruments:
            return
        if name in self._levels:
            with self._levels_lock:
                self._levels[name][_key(labels)] = value
        else:
            self._instruments[name].record(value, _safe(labels))

    def forget(self, name: MeasureName, **labels: Label) -> None:
        """A gauge with these labels measures nothing any more: no stale value is exported."""
        with self._levels_lock:
            self._levels.get(name, {}).pop(_key(labels), None)

    @contextmanager
    def before_exposition(self, refresh: Callable[[], None]) -> Generator[None]:
        """While the block runs, `refresh` is called before each `exposition`: what it tells is up to date there."""
        self._before.append(refresh)
        try:
            yield
        finally:
            self._before.remove(refresh)

    def exposition(self) -> bytes:
        """Every metric in Prometheus's text format (0.0.4); nothing without `scraped`.

        Names are OpenTelemetry's mapping: `eastwatch.records.stored` is `eastwatch_records_stored_total`,
        `eastwatch.insert.duration` is `eastwatch_insert_duration_seconds`.
        """
        if self._registry is None:
            return b""
        from prometheus_client import generate_latest

        for refresh in list(self._before):
            refresh()
        with self._scrape_lock:
            return generate_latest(self._registry)

    @contextmanager
    def span(self, name: SpanName, **labels: Label) -> Generator[None]:
        """A span around the block; an exception that leaves it is recorded in it."""
        if self._tracer is None:
            yield
            return
        with self._tracer.start_as_current_span(name, attributes=labels):
            yield

    def close(self) -> None:
        """Send what is left, within `CLOSE_LIMIT_S`; the exporters' own shutdown can take minutes."""
        if self._closed:
            return
        self._closed = True
        threads = [
            threading.Thread(target=provider.shutdown, name="telemetry shutdown", daemon=True)
            for provider in self._providers
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(CLOSE_LIMIT_S / len(threads))

    def __enter__(self) -> Telemetry:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _sender(endpoint: str, interval_s: float) -> Any:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    return PeriodicExportingMetricReader(
        OTLPMetricExporter(f"{endpoint}/v1/metrics", timeout=EXPORT_TIMEOUT_S),
        export_interval_millis=interval_s * 1000,
        export_timeout_millis=EXPORT_TIMEOUT_S * 1000,
    )


def _safe(labels: Mapping[str, Label]) -> Mapping[str, Label]:
    """Labels that can be written as UTF-8: a name from the command line may hold bytes that are none."""
    return {
        name: value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
        for name, value in labels.items()
    }


def _key(labels: Mapping[str, Label]) -> tuple[tuple[str, Label], ...]:
    return tuple(sorted(_safe(labels).items()))


def _version() -> str:
    try:
        return version("eastwatch")
    except PackageNotFoundError:
        return "unknown"
