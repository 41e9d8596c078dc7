"""Topics of several formats: `format=auto` reads each, and any other says of what is not its own what it is."""

from __future__ import annotations

import pyarrow as pa
import pytest
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.decode.registry import FORMATS, decoder
from tests.collector.decode import flow_samples, proxy_samples, samples, trace_samples
from tests.test_docs import samples as documented


def request(name: str) -> ExportTraceServiceRequest:
    message = ExportTraceServiceRequest()
    span = message.resource_spans.add().scope_spans.add().spans.add()
    span.name, span.trace_id, span.span_id = name, b"\x01" * 16, b"\x02" * 8
    span.start_time_unix_nano, span.end_time_unix_nano = 1767225600 * 10**9, 1767225601 * 10**9
    return message


def test_every_message_reaches_its_decoder() -> None:
    json_request = MessageToJson(request("b"))
    values = [
        samples.JSON.encode(),
        request("a").SerializeToString(),
        b"neither",
        samples.CLIENT.encode(),
        json_request.encode(),
        samples.CALL.encode(),
        request("c").SerializeToString(),
    ]
    decoded = decoder("auto").decode(pa.array(values, pa.large_binary()))
    assert sorted(decoded.tables["calls"]["_message"].to_pylist()) == [0, 3, 5]
    spans = decoded.tables["spans"]
    found = dict(zip(spans["_message"].to_pylist(), spans["name"].to_pylist(), strict=True))
    # The second request's ids are base64 in protobuf's own JSON, which OTLP's is not: its fate is the decoder's affair.
    assert {message: name for message, name in found.items() if message != 4} == {1: "a", 6: "c"}
    assert {letter.message for letter in decoded.dead} - {4} == {2}
    assert (4 in found) != (4 in {letter.message for letter in decoded.dead})


OF: list[tuple[str, bytes]] = [
    *((format, message) for format, _, message in documented() if format != "auto"),
    *((format, line.encode()) for format, lines in proxy_samples.BY_FORMAT.items() for line in lines),
    *(("istio_text", line.encode()) for line in samples.ISTIO_TEXT),
    *(("istio_text", b"2026-03-02T10:00:00.682034460Z " + line.encode()) for line in samples.ISTIO_TEXT[:2]),
    ("istio_text", b"2026-03-02T10:00:00.682034460Z stdout F " + samples.CLIENT.encode()),
    ("istio_text", b"[pod/orders-6d84/istio-proxy] " + samples.CLIENT.encode()),
    *(("envoy_json", line.encode()) for line in (samples.JSON, samples.JSON_SAN, samples.OSM)),
    ("calls_json", samples.CALL.encode()),
    *(("hubble_json", line.encode()) for line in flow_samples.HUBBLE),
    *(("calico_json", line.encode()) for line in flow_samples.CALICO),
    ("otlp_proto", request("a").SerializeToString()),
    ("otlp_json", MessageToJson(request("b")).encode()),
    ("zipkin_json", trace_samples.ZIPKIN_LIST.encode()),
    ("jaeger_json", trace_samples.JAEGER_EXPORT.encode()),
]


@pytest.mark.parametrize("format", [format for format in FORMATS if format != "auto"])
def test_what_is_of_another_format_is_told_by_its_name(format: str) -> None:
    others = [(other, message) for other, message in OF if other != format]
    decoded = decoder(format).decode(pa.array([message for _, message in others], pa.large_binary()))
    assert decoded.tables == {}
    said = {letter.message: letter.reason for letter in decoded.dead}
    for place, (other, message) in enumerate(others):
        looks = said[place].partition("looks like ")[2].partition("; expected")[0]
        assert other in looks, (other, message[:200], said[place])
