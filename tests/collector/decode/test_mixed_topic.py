"""`format=auto` on a topic that mixes OTLP in both encodings with lines of every format."""

from __future__ import annotations

import pyarrow as pa
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.decode.registry import decoder
from tests.collector.decode import samples


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
