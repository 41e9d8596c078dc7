"""Whatever comes: rows or dead letters, never an exception, never a lost neighbour."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.contract import Decoded
from collector.decode.limits import Limits
from collector.decode.otlp import isolate
from collector.decode.otlp.schema import SIGNALS
from collector.decode.otlp_json import OtlpJson
from collector.decode.otlp_proto import OtlpProto
from tests.collector.otlp.requests import NOW, metric_requests, trace_requests

quick = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
JSON_SPAN = (
    b'{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"cart"}}]},"scopeSpans":'
    b'[{"scope":{"name":"s"},"spans":[{"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"EEE19B7EC3C1B174","name":'
    b'"n","kind":2,"startTimeUnixNano":"1544712660000000000","endTimeUnixNano":1544712661000000000,"attributes":[{"key":'
    b'"k","value":{"arrayValue":{"values":[{"intValue":"1"},{"kvlistValue":{"values":[]}}]}}}],"status":{"code":2}}]}]}]}'
)


def request(spans: int = 1, **more: object) -> bytes:
    """A sound trace request."""
    built = ExportTraceServiceRequest()
    scope = built.resource_spans.add().scope_spans.add()
    for number in range(spans):
        given = {
            "trace_id": b"t" * 16,
            "span_id": number.to_bytes(7, "big") + b"s",
            "start_time_unix_nano": NOW,
            "end_time_unix_nano": NOW + 5000,
            "name": f"span {number}",
            **more,
        }
        scope.spans.add(**given)
    return built.SerializeToString()


def decode(*messages: bytes, **options: object) -> Decoded:
    return OtlpProto(**options).decode(pa.array(messages, pa.large_binary()))


def neighbours_survive(name: str, messages: list[bytes], good: bytes) -> None:
    """Decode `messages` between two good ones: these give their rows, and twice the same comes out."""
    decoder = {"otlp_proto": OtlpProto(), "otlp_json": OtlpJson()}[name]
    batch = pa.array([good, *messages, good], pa.large_binary())
    decoded = decoder.decode(batch)
    rows = decoded.tables["spans"].column("_message").to_pylist()
    assert rows.count(0) == 1
    assert rows.count(len(messages) + 1) == 1
    assert all(0 < letter.message <= len(messages) and letter.reason for letter in decoded.dead)
    again = decoder.decode(batch)
    assert again.dead == decoded.dead
    for table, batch in decoded.tables.items():
        # NaN is not equal to itself, so compare what is printed.
        assert str(again.tables[table].to_pylist()) == str(batch.to_pylist())


@quick
@given(st.lists(st.binary(max_size=60), max_size=4))
def test_random_bytes(messages: list[bytes]) -> None:
    neighbours_survive("otlp_proto", messages, request())
    neighbours_survive("otlp_json", messages, JSON_SPAN)


def mutated(payload: bytes, seed: int) -> bytes:
    """A few bytes changed, dropped or doubled, or the end cut off."""
    chance = random.Random(seed)
    body = bytearray(payload)
    for _ in range(chance.randint(1, 4)):
        if not body:
            break
        at = chance.randrange(len(body))
        match chance.randrange(4):
            case 0:
                body[at] = chance.randrange(256)
            case 1:
                del body[at : at + chance.randint(1, 4)]
            case 2:
                body[at:at] = body[at : at + 6]
            case _:
                del body[at:]
    return bytes(body)


@quick
@given(st.one_of(trace_requests(), metric_requests()), st.integers(0, 2**32))
def test_mutated_protobuf(payload: bytes, seed: int) -> None:
    neighbours_survive("otlp_proto", [mutated(payload, seed + i) for i in range(3)], request())
    for signal in SIGNALS:
        decode(mutated(payload, seed), signal=signal)


@quick
@given(st.integers(0, 2**32))
def test_mutated_json(seed: int) -> None:
    neighbours_survive("otlp_json", [mutated(JSON_SPAN, seed + i) for i in range(3)], JSON_SPAN)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"trace_id": bytes(16)}, "trace_id is not 16 bytes, or all zero"),
        ({"trace_id": b"12345678"}, "trace_id is not 16 bytes, or all zero"),
        ({"span_id": b""}, "span_id is not 8 bytes, or all zero"),
        ({"start_time_unix_nano": 0}, "start_time_unix_nano is outside 1971..2100"),
        ({"start_time_unix_nano": 2**64 - 1}, "start_time_unix_nano is outside 1971..2100"),
        ({"end_time_unix_nano": 2**64 - 1}, "end_time_unix_nano is beyond 2100"),
    ],
)
def test_an_unusable_span_is_a_dead_letter_that_can_be_sent_again(bad: dict[str, object], reason: str) -> None:
    broken = request(1, **bad)
    both = ExportTraceServiceRequest.FromString(request(2))
    both.resource_spans[0].resource.attributes.add(key="service.name").value.string_value = "cart"
    both.resource_spans[0].scope_spans[0].scope.name = "lib"
    span = ExportTraceServiceRequest.FromString(broken).resource_spans[0].scope_spans[0].spans[0]
    both.resource_spans[0].scope_spans[0].spans.insert(1, span)
    decoded = decode(both.SerializeToString())
    assert decoded.tables["spans"].column("name").to_pylist() == ["span 0", "span 1"]
    (letter,) = decoded.dead
    assert (letter.message, letter.record, letter.reason) == (0, 1, reason)
    alone = ExportTraceServiceRequest.FromString(letter.payload)
    assert alone.resource_spans[0].scope_spans[0].spans[0] == span
    assert alone.resource_spans[0].resource == both.resource_spans[0].resource
    assert [again.reason for again in decode(letter.payload, signal="traces").dead] == [reason]


@pytest.mark.parametrize("end", [0, NOW - 1])
def test_a_missing_or_early_end_gives_no_duration(end: int) -> None:
    row = decode(request(end_time_unix_nano=end)).tables["spans"].to_pylist()[0]
    assert row["duration_us"] == 0


def test_too_many_attributes() -> None:
    built = ExportTraceServiceRequest.FromString(request(2))
    for number in range(9):
        built.resource_spans[0].scope_spans[0].spans[0].attributes.add(key=f"k{number}").value.int_value = number
    decoded = decode(built.SerializeToString(), limits=Limits(keys=8))
    assert [letter.reason for letter in decoded.dead] == ["has more than 8 attributes"]
    assert decoded.tables["spans"].num_rows == 1


def test_text_that_is_not_utf8_spoils_only_itself() -> None:
    built = ExportTraceServiceRequest.FromString(request(2))
    built.resource_spans[0].scope_spans[0].spans[0].attributes.add(key="agent").value.string_value = "0123"
    payload = built.SerializeToString().replace(b"0123", b"\xff\xfe\xc3a").replace(b"span 1", b"span\xff1")
    rows = decode(payload).tables["spans"].to_pylist()
    assert rows[0]["attributes"] == [("agent", "\\xff\\xfe\\xc3a")]
    assert rows[1]["name"] == "span\\xff1"


@pytest.mark.parametrize("body", [b"hello world", b"{}", b"\x08\x01", b"\xff" * 40, b'{"resourceSpans":[]}'])
def test_what_is_no_otlp_protobuf_says_so(body: bytes) -> None:
    (letter,) = decode(body).dead
    assert letter.payload == body
    assert letter.reason.startswith("no OTLP protobuf")


@pytest.mark.parametrize(
    "body", [b"", b"hello", b"[]", b'{"a":1}', b'{"resourceSpans":1}', b"[" * 100_000, b'{"resourceSpans":[{}' * 3000]
)
def test_what_is_no_otlp_json_says_so(body: bytes) -> None:
    (letter,) = OtlpJson().decode(pa.array([body], pa.large_binary())).dead
    assert letter.payload == body
    assert letter.reason.startswith("no OTLP/JSON")


def test_nothing_gives_nothing() -> None:
    for messages in ([], [b""], [ExportTraceServiceRequest(resource_spans=[{}]).SerializeToString()]):
        decoded = decode(*messages)
        assert not decoded.tables
        assert not decoded.dead


def test_many_bad_records_make_a_bounded_number_of_letters() -> None:
    decoded = decode(request(5000, trace_id=b""))
    assert len(decoded.dead) == isolate.MAX_LETTERS + 1
    assert decoded.dead[-1].reason.startswith("4000 more records of this message cannot be used")


def test_letters_do_not_multiply_a_large_resource() -> None:
    built = ExportTraceServiceRequest.FromString(request(3000, trace_id=b""))
    attribute = built.resource_spans[0].resource.attributes.add(key="command")
    attribute.value.string_value = "x" * (isolate.MAX_RESOURCE_BYTES - 100)
    payload = built.SerializeToString()
    decoded = decode(payload)
    assert sum(len(letter.payload) for letter in decoded.dead) < 6 * len(payload) + 2 * isolate.MAX_RESOURCE_BYTES


def test_rows_do_not_multiply_a_large_resource() -> None:
    built = ExportTraceServiceRequest.FromString(request(2000))
    resource = built.resource_spans[0].resource
    resource.attributes.add(key="service.name").value.string_value = "s" * 500_000
    resource.attributes.add(key="small").value.string_value = "kept"
    batch = decode(built.SerializeToString()).tables["spans"]
    assert batch.nbytes < 4_000_000
    row = batch.slice(0, 1).to_pylist()[0]
    assert row["service"] == "s" * 1024
    assert row["resource"] == [("small", "kept")]


def test_a_log_record_without_a_line() -> None:
    built = ExportLogsServiceRequest()
    records = built.resource_logs.add().scope_logs.add().log_records
    records.add(time_unix_nano=NOW)
    records.add(time_unix_nano=NOW).body.string_value = "listening on port 80"
    decoded = decode(built.SerializeToString())
    assert not decoded.tables
    assert [letter.record for letter in decoded.dead] == [0, 1]
    assert decoded.dead[1].payload == b"listening on port 80"
