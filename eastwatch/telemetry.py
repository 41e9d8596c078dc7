"""eastwatch's own metrics and traces, sent by OpenTelemetry's exporters (OTLP/HTTP) where an endpoint is set.

The endpoint is the setting `otlp_endpoint` (`EASTWATCH_OTLP_ENDPOINT`), else what `OTEL_EXPORTER_OTLP_ENDPOINT` says as
everywhere. Without one every call does nothing and OpenTelemetry is not even imported. Telemetry never stands in the
way: it is sent from threads of its own, what cannot be sent is dropped, and `close` takes at most `CLOSE_LIMIT_S`.

Accepted, stored, dead-lettered and refused records add up, so that loss is always visible.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Generator, Mapping, Sequence
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
    "eastwatch.records.accepted",
    "eastwatch.records.stored",
    "eastwatch.records.dead_lettered",
    "eastwatch.records.refused",
]
MeasureName = Literal[
    "eastwatch.decode.duration",
    "eastwatch.insert.duration",
    "eastwatch.batch.rows",
    "eastwatch.batch.bytes",
    "eastwatch.source.lag",
    "eastwatch.analysis.duration",
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
    "eastwatch.records.accepted": Instrument("counter", "{record}", "Records decoded, or found undecodable"),
    "eastwatch.records.stored": Instrument("counter", "{record}", "Rows in the store"),
    "eastwatch.records.dead_lettered": Instrument("counter", "{record}", "Undecodable records in dead_letters"),
    "eastwatch.records.refused": Instrument("counter", "{record}", "Records decoded, then not stored; they come again"),
    "eastwatch.decode.duration": Instrument("histogram", "s", "Decoding one batch", _SECONDS),
    "eastwatch.insert.duration": Instrument("histogram", "s", "Inserting one batch into one table", _SECONDS),
    "eastwatch.batch.rows": Instrument("histogram", "{row}", "Rows of one inserted batch", _SIZES),
    "eastwatch.batch.bytes": Instrument("histogram", "By", "Message bytes of one batch", _SIZES),
    "eastwatch.source.lag": Instrument("gauge", "{message}", "Messages between the stored position and the end"),
    "eastwatch.analysis.duration": Instrument("histogram", "s", "One run of one analyzer", _SECONDS),
}
"""Every metric by name. Labels: `table`, `topic`, `partition`, `format`, `analyzer`."""

Label = str | int | float | bool


class Telemetry:
    """Counts, measures and spans of one process. All methods are safe from any thread and never raise.

    Args:
        endpoint: base URL of an OTLP/HTTP receiver, e.g. `http://127.0.0.1:4318`; empty = the standard variable's, and
            without that nothing is sent.
        interval_s: seconds between exports of metrics.
    """

    def __init__(self, endpoint: str = "", *, interval_s: float = EXPORT_INTERVAL_S) -> None:
        endpoint = (endpoint or os.environ.get(ENDPOINT_VARIABLE, "")).rstrip("/")
        self.enabled = bool(endpoint)
        self._closed = False
        self._instruments: dict[str, Any] = {}
        self._providers: list[Any] = []
        self._tracer: Any = None
        if self.enabled:
            self._start(endpoint, interval_s)

    def _start(self, endpoint: str, interval_s: float) -> None:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        # A receiver that is down is not what eastwatch's users read their terminal for.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        resource = Resource.create({"service.name": "eastwatch", "service.version": _version()})
        reader = PeriodicExportingMetricReader(
            OTLPMetricExporter(f"{endpoint}/v1/metrics", timeout=EXPORT_TIMEOUT_S),
            export_interval_millis=interval_s * 1000,
            export_timeout_millis=EXPORT_TIMEOUT_S * 1000,
        )
        meters = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
        tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        tracers.add_span_processor(
            BatchSpanProcessor(OTLPSpanExporter(f"{endpoint}/v1/traces", timeout=EXPORT_TIMEOUT_S))
        )
        meter = meters.get_meter("eastwatch")
        for name, instrument in INSTRUMENTS.items():
            self._instruments[name] = _made(meter, name, instrument)
        self._tracer = tracers.get_tracer("eastwatch")
        self._providers = [tracers, meters]

    def count(self, name: CounterName, n: int = 1, **labels: Label) -> None:
        """Add `n` to a counter."""
        if self._instruments:
            self._instruments[name].add(n, labels)

    def record(self, name: MeasureName, value: float, **labels: Label) -> None:
        """Record one value of a histogram, or the present value of a gauge."""
        if self._instruments:
            instrument = self._instruments[name]
            (instrument.set if INSTRUMENTS[name].kind == "gauge" else instrument.record)(value, labels)

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


def _made(meter: Any, name: str, instrument: Instrument) -> Any:
    if instrument.kind == "counter":
        return meter.create_counter(name, unit=instrument.unit, description=instrument.description)
    if instrument.kind == "gauge":
        return meter.create_gauge(name, unit=instrument.unit, description=instrument.description)
    return meter.create_histogram(
        name,
        unit=instrument.unit,
        description=instrument.description,
        explicit_bucket_boundaries_advisory=list(instrument.bounds),
    )


def _version() -> str:
    try:
        return version("eastwatch")
    except PackageNotFoundError:
        return "unknown"
