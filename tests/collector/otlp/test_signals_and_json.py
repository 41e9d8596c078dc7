"""Which signal a message carries, and JSON requests read like their protobuf twins."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.decode.otlp.json_form import NotOtlp, to_protobuf
from collector.decode.otlp.schema import Signal
from collector.decode.otlp.wire import signal_of
from collector.decode.otlp_json import OtlpJson
from collector.decode.otlp_proto import OtlpProto
from tests.collector.otlp.reference import point_rows, span_rows
from tests.collector.otlp.requests import metric_requests, trace_requests

quick = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
_REQUESTS: dict[Signal, Any] = {
    "traces": ExportTraceServiceRequest,
    "metrics": ExportMetricsServiceRequest,
    "logs": ExportLogsServiceRequest,
}
IDS = {"traceId", "spanId", "parentSpanId"}


def otlp_json(signal: Signal, payload: bytes, *, numbers_as_text: bool, upper: bool) -> bytes:
    """`payload` in OTLP/JSON: protobuf's mapping with hex ids and enums as numbers."""
    tree = MessageToDict(_REQUESTS[signal].FromString(payload), use_integers_for_enums=True)

    def walk(node: Any) -> Any:
        if isinstance(node, list):
            return [walk(item) for item in node]
        if not isinstance(node, dict):
            return node
        out: dict[str, Any] = {}
        for key, value in node.items():
            if key in IDS:
                text = base64.b64decode(value).hex()
                out[key] = text.upper() if upper else text
            elif not numbers_as_text and key.endswith(("UnixNano", "intValue", "asInt", "count")):
                out[key] = int(value)
            else:
                out[key] = walk(value)
        return out

    return json.dumps({**walk(tree), "unknownField": {"x": [1, None]}}).encode()


@quick
@given(trace_requests(), st.booleans(), st.booleans())
def test_json_spans(payload: bytes, numbers_as_text: bool, upper: bool) -> None:
    message = otlp_json("traces", payload, numbers_as_text=numbers_as_text, upper=upper)
    assume(b"resourceSpans" in message)
    twin = OtlpProto(signal="traces").decode(pa.array([payload], pa.large_binary()))
    decoded = OtlpJson().decode(pa.array([message], pa.large_binary()))
    assert decoded.tables == twin.tables
    assert [(d.record, d.reason) for d in decoded.dead] == [(d.record, d.reason) for d in twin.dead]


@quick
@given(metric_requests(), st.booleans())
def test_json_metric_points(payload: bytes, numbers_as_text: bool) -> None:
    message = otlp_json("metrics", payload, numbers_as_text=numbers_as_text, upper=False)
    assume(b"resourceMetrics" in message)
    twin = OtlpProto(signal="metrics").decode(pa.array([payload], pa.large_binary()))
    decoded = OtlpJson().decode(pa.array([message], pa.large_binary()))
    for table, batch in twin.tables.items():
        # NaN is not equal to itself, so compare what is printed.
        assert str(decoded.tables[table].to_pylist()) == str(batch.to_pylist())
    assert [(d.record, d.reason) for d in decoded.dead] == [(d.record, d.reason) for d in twin.dead]


@quick
@given(trace_requests())
def test_span_requests_are_recognised(payload: bytes) -> None:
    rows, _ = span_rows([payload])
    assume(rows)
    assert signal_of(payload) == "traces"


@quick
@given(metric_requests())
def test_metric_requests_are_recognised(payload: bytes) -> None:
    rows, _ = point_rows([payload])
    request = ExportMetricsServiceRequest.FromString(payload)
    first = next(s.metrics[0] for r in request.resource_metrics for s in r.scope_metrics if s.metrics) if rows else None
    assume(first is not None and first.name and first.WhichOneof("data"))
    assert signal_of(payload) == "metrics"


@pytest.mark.parametrize(
    "record",
    [
        {"time_unix_nano": 1},
        {"observed_time_unix_nano": 1},
        {"severity_number": 9},
        {"flags": 1},
        {"body": {"string_value": "a line"}},
        {"body": {"string_value": "a line"}, "trace_id": b"t" * 16, "span_id": b"s" * 8},
    ],
)
def test_log_requests_are_recognised(record: dict[str, Any]) -> None:
    request = ExportLogsServiceRequest(resource_logs=[{"scope_logs": [{"log_records": [record]}]}])
    assert signal_of(request.SerializeToString()) == "logs"


def test_mixed_signals_in_one_batch() -> None:
    span = {"trace_id": b"t" * 16, "span_id": b"s" * 8, "start_time_unix_nano": 10**18, "name": "n"}
    trace = ExportTraceServiceRequest(resource_spans=[{"scope_spans": [{"spans": [span]}]}])
    gauge = {"name": "g", "gauge": {"data_points": [{"time_unix_nano": 10**18, "as_int": 7}]}}
    metric = ExportMetricsServiceRequest(resource_metrics=[{"scope_metrics": [{"metrics": [gauge]}]}])
    batch = [metric.SerializeToString(), b"", trace.SerializeToString(), b"nonsense", metric.SerializeToString()]
    decoded = OtlpProto().decode(pa.array(batch, pa.large_binary()))
    assert decoded.tables["spans"].column("_message").to_pylist() == [2]
    assert decoded.tables["metric_points"].column("_message").to_pylist() == [0, 4]
    assert decoded.tables["metric_points"].column("value").to_pylist() == [7.0, 7.0]
    assert [letter.message for letter in decoded.dead] == [3]


def test_nulls_and_enum_names_in_json() -> None:
    message = b"""{"resourceSpans": [{"resource": null, "scopeSpans": [{"scope": null, "spans": [{
        "traceId": "0123456789abcdef0123456789abcdef", "spanId": "0123456789abcdef", "parentSpanId": "", "name": "n",
        "kind": "SPAN_KIND_CLIENT", "startTimeUnixNano": "1544712660000000000", "attributes": null,
        "status": {"code": "STATUS_CODE_ERROR"}}]}]}]}"""
    (row,) = OtlpJson().decode(pa.array([message], pa.large_binary())).tables["spans"].to_pylist()
    assert (row["kind"], row["status"], row["trace_id"]) == ("client", "error", "0123456789abcdef0123456789abcdef")


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b'{"resourceSpans":[],"resourceLogs":[]}', "expected resourceSpans, resourceMetrics or resourceLogs"),
        (b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"xyz"}]}]}]}', "the id 'xyz' is not hex"),
        (b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"kind":1e99}]}]}]}', "kind"),
        (b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"startTimeUnixNano":"-1"}]}]}]}', "'-1' is beyond"),
        (b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"startTimeUnixNano":"abc"}]}]}]}', "abc"),
    ],
)
def test_json_that_is_wrong_says_where(message: bytes, reason: str) -> None:
    with pytest.raises(NotOtlp) as error:
        to_protobuf(message)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_the_documented_example() -> None:
    """The shape of the specification's own example: upper-case hex, integers as text."""
    message = Path(__file__).with_name("example_trace.json").read_bytes()
    (row,) = OtlpJson().decode(pa.array([message], pa.large_binary())).tables["spans"].to_pylist()
    assert row["trace_id"] == "5b8efff798038103d269b633813fc60c"
    assert row["parent_span_id"] == "eee19b7ec3c1b173"
    assert row["service"] == "my.service"
    assert row["kind"] == "server"
    assert row["duration_us"] == 1_000_000
