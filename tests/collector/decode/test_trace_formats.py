"""Zipkin's and Jaeger's spans: what each encoding of one trace says is the same, and how odd spans are treated."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from collector.contract import Decoded
from collector.decode import lines as lines_module
from collector.decode.json_lists import records_of
from collector.decode.limits import Limits
from collector.decode.registry import decoder
from tests.collector.decode import trace_samples as samples

START_US = 1_700_000_000_000_000


def decode(format: str, *messages: str | bytes, limits: Limits | None = None) -> Decoded:
    bodies = [message.encode() if isinstance(message, str) else message for message in messages]
    reader = decoder(format, limits) if limits else decoder(format)
    return reader.decode(pa.array(bodies, pa.large_binary()))


def spans_of(decoded: Decoded) -> list[dict[str, Any]]:
    """Rows of `spans` in the order of their records, maps as dicts, zeros for what is absent."""
    if "spans" not in decoded.tables:
        return []
    rows: list[dict[str, Any]] = []
    for row in decoded.tables["spans"].to_pylist():
        rows.append({**row, **{name: dict(row.get(name) or ()) for name in ("attributes", "resource")}})
    return sorted(rows, key=lambda row: (row["_message"], row.get("_record", 0)))


def zipkin(**fields: Any) -> str:
    """A span in Zipkin's form; a field that is None is left out."""
    span = {"traceId": "5982fe77008310cc", "id": "bd7a977555f6b982", "timestamp": START_US, "duration": 5} | fields
    return json.dumps({key: value for key, value in span.items() if value is not None})


def jaeger(**fields: Any) -> str:
    """A span as Jaeger's UI has it."""
    span = {"traceID": "5982fe77008310cc", "spanID": "bd7a977555f6b982", "operationName": "get"}
    return json.dumps(span | {"startTime": START_US, "duration": 5, "process": {"serviceName": "a"}} | fields)


SAME = (
    *("trace_id", "span_id", "parent_span_id", "kind", "status", "status_message", "error", "service", "namespace"),
    *("pod", "version", "protocol", "method", "path", "http_status", "peer_service", "peer_host", "peer_port"),
)


@pytest.mark.parametrize(
    ("format", "messages"),
    [
        ("zipkin_json", (samples.ZIPKIN_LIST,)),
        ("jaeger_json", samples.JAEGER_JSON),
        ("jaeger_proto", samples.JAEGER_PROTO),
    ],
)
def test_a_trace_is_the_same_however_the_collector_encodes_it(format: str, messages: tuple[str | bytes, ...]) -> None:
    expected = sorted(spans_of(decode("otlp_json", samples.OTLP_JSON)), key=lambda row: row["span_id"])
    for name in (format, "auto"):
        decoded = decode(name, *messages)
        assert not decoded.dead
        found = sorted(spans_of(decoded), key=lambda row: row["span_id"])
        for row, told in zip(found, expected, strict=True):
            assert {key: row.get(key) or None for key in SAME} == {key: told.get(key) or None for key in SAME}
            # Zipkin's clocks have microseconds, rounded; the others are cut.
            assert abs((row["ts"] - told["ts"]).total_seconds()) <= 1e-6
            assert abs(row["duration_us"] - told["duration_us"]) <= (format == "zipkin_json")
            assert (row.get("events") or "") == (told.get("events") or "")
            if format != "zipkin_json":
                assert row["name"] == told["name"]
                assert row["operation"] == told["operation"]
                assert row["resource"] == told["resource"]
                assert (row.get("links") or "") == (told.get("links") or "")


def test_zipkin_shared_halves_and_their_endpoints() -> None:
    client, server = spans_of(decode("zipkin_json", samples.ZIPKIN_CLIENT, samples.ZIPKIN_SERVER))
    assert (client["kind"], client["shared"], client["service"]) == ("client", 0, "frontend")
    assert (server["kind"], server["shared"], server["service"]) == ("server", 1, "backend")
    assert client["trace_id"] == server["trace_id"] == "0" * 16 + "5982fe77008310cc"
    assert client["span_id"] == server["span_id"]
    assert (client["peer_service"], client["peer_host"], client["peer_port"]) == ("backend", "172.17.0.9", 9000)
    assert (server["peer_service"], server["peer_host"], server["peer_port"]) == ("", "172.17.0.13", 58648)
    assert (client["protocol"], client["method"], client["path"]) == ("http", "GET", "/api")
    assert (client["operation"], server["operation"]) == ("", "")  # the name is none; see collector/operations
    assert (client["error"], client["status"]) == (0, "unset")
    assert (server["error"], server["status"], server["status_message"]) == (1, "error", "500")
    assert server["resource"] == {"host.ip": "172.17.0.9", "host.port": "9000"}
    assert client["resource"] == {"host.ip": "172.17.0.13"}
    assert json.loads(server["events"]) == [
        {"ts": "2017-08-15T09:00:00.006000Z", "name": "cache.miss", "attributes": {}}
    ]
    assert (server["ts"], server["duration_us"]) == (datetime(2017, 8, 15, 9, 0, 0, 5000, UTC), 9000)


def test_zipkin_spans_that_say_little_or_oddly() -> None:
    messages = (
        zipkin(timestamp=None, duration=None, annotations=[{"timestamp": START_US + 7, "value": "sr"}, {"value": "x"}]),
        zipkin(tags={"n": 1, "yes": True, "none": None, "s": "t"}, localEndpoint={"serviceName": "a", "port": "80"}),
        zipkin(tags={"error": "false"}, localEndpoint=None, kind="CLIENT", remoteEndpoint={"ipv6": "2001:DB8::1"}),
        zipkin(tags={"error": ""}, parentId="not hex", timestamp=str(START_US), unheard="of"),
        zipkin(tags=None, localEndpoint=None, kind="SOMETHING", parentId="0" * 16),
        zipkin(traceId="463AC35C9F6413AD48485A3953BB6124", kind="PRODUCER", remoteEndpoint={"serviceName": "kafka"}),
        zipkin(localEndpoint={"serviceName": "OTLPResourceNoServiceName"}),
        f'{{"traceId":"1","id":"2","timestamp":{START_US},"tags":{{"a":"\\ud800","b":"caf\\u00e9"}}}}',
    )
    decoded = decode("zipkin_json", *messages)
    assert not decoded.dead
    rows = spans_of(decoded)
    assert (rows[0]["ts"].microsecond, rows[0]["duration_us"]) == (7, 0)
    assert rows[1]["attributes"] == {"n": "1", "yes": "true", "none": "null", "s": "t"}
    assert rows[1]["resource"] == {"host.port": "80"}
    assert (rows[2]["error"], rows[2]["status_message"], rows[2]["peer_host"]) == (0, "", "2001:db8::1")
    assert (rows[3]["error"], rows[3]["status"], rows[3]["parent_span_id"]) == (1, "error", "")
    assert (rows[4]["kind"], rows[4]["parent_span_id"], rows[4]["service"]) == ("unspecified", "", "")
    assert rows[5]["trace_id"] == "463ac35c9f6413ad48485a3953bb6124"
    assert (rows[5]["protocol"], rows[5]["peer_service"]) == ("messaging", "kafka")
    assert rows[6]["service"] == ""
    assert rows[7]["attributes"] == {"a": "\\ud800", "b": "café"}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"traceId": "xyz"}, "traceId is 'xyz', expected up to 32 hex digits, not all zero"),
        ({"traceId": "0" * 32}, "traceId is '0000"),
        ({"id": "f" * 17}, "id is 'fffffffffffffffff', expected up to 16 hex digits"),
        ({"timestamp": None}, "timestamp is missing, expected µs since 1970"),
        ({"timestamp": 1_700_000_000}, "timestamp is '1700000000', expected µs since 1970"),
        ({"timestamp": "yesterday"}, "timestamp is 'yesterday'"),
        ({"tags": {str(number): "" for number in range(300)}}, "expected at most 256 of them"),
    ],
)
def test_zipkin_spans_that_cannot_be_used(fields: dict[str, Any], reason: str) -> None:
    body = f"[{zipkin()},{zipkin(**fields)},{zipkin()}]"
    decoded = decode("zipkin_json", body)
    (letter,) = decoded.dead
    assert reason in letter.reason
    assert (letter.message, letter.record, letter.payload.decode()) == (0, 1, zipkin(**fields))
    assert [row["_record"] for row in spans_of(decoded)] == [0, 2]


def test_jaeger_export_with_its_processes() -> None:
    for body in (samples.JAEGER_EXPORT, json.dumps(json.loads(samples.JAEGER_EXPORT), indent=2)):
        decoded = decode("auto", body)
        assert not decoded.dead
        client, server = spans_of(decoded)
        assert client["trace_id"] == "0" * 16 + "463ac35c9f6413ad"
        assert (client["service"], client["namespace"], server["service"]) == ("frontend", "shop", "orders")
        assert (client["kind"], client["protocol"], client["name"]) == ("client", "grpc", "/orders.Orders/Place")
        assert (client["peer_host"], client["peer_port"]) == ("orders.shop.svc", 50051)
        assert json.loads(client["events"]) == [
            {"ts": "2022-06-20T19:36:08.508600Z", "name": "retry", "attributes": {"n": "2"}}
        ]
        # Its id is written without the leading zero; the parent is the CHILD_OF, although another stands before it.
        assert (server["span_id"], server["parent_span_id"]) == ("02fb4a1d1a96d312", "a2fb4a1d1a96d312")
        assert [link["span_id"] for link in json.loads(server["links"])] == ["0000000000000001"]
        assert (server["error"], server["status"]) == (1, "error")


def test_jaeger_spans_of_every_writer() -> None:
    same, other = "5982fe77008310cc", "5982fe77008310cd"
    false = {"key": "error", "vType": "BOOL"}
    messages = (
        jaeger(references=[{"refType": "FOLLOWS_FROM", "traceID": same, "spanID": "7"}]),
        jaeger(references=[{"refType": "CHILD_OF", "traceID": other, "spanID": "7"}]),
        jaeger(parentSpanID="8", references=[], tags=[{"key": "db.type", "value": "redis"}, "odd", {"value": 1}]),
        jaeger(tags=[false, {"key": "n", "vType": "INT64"}, {"key": "s"}], startTime="2023-11-14T22:13:20.5Z"),
        jaeger(duration="0.0041s", tags=[{"key": "error", "value": "timeout"}]),
        jaeger(duration="-1s", process=None, tags={"not": "a list"}, logs="neither", references={"nor": "this"}),
    )
    decoded = decode("jaeger_json", *messages)
    assert not decoded.dead
    rows = spans_of(decoded)
    assert [row["parent_span_id"] for row in rows[:3]] == ["0" * 15 + "7", "", "0" * 15 + "8"]
    assert json.loads(rows[1]["links"])[0]["trace_id"] == other.rjust(32, "0")
    assert (rows[2]["protocol"], rows[2]["attributes"]) == ("database", {"db.type": "redis"})
    assert (rows[3]["error"], rows[3]["attributes"]) == (0, {"error": "false", "n": "0", "s": ""})
    assert rows[3]["ts"] == datetime(2023, 11, 14, 22, 13, 20, 500_000, UTC)
    assert (rows[4]["duration_us"], rows[4]["error"], rows[4]["status_message"]) == (4100, 1, "timeout")
    assert (rows[5]["duration_us"], rows[5]["service"], rows[5]["attributes"]) == (0, "", {})


def test_jaeger_spans_that_cannot_be_used() -> None:
    proto = samples.JAEGER_PROTO[0]
    decoded = decode(
        "jaeger_proto", proto, proto[2:], proto[:40], b"", proto.replace(proto[:18], b"\x0a\x10" + bytes(16))
    )
    assert [row["_message"] for row in spans_of(decoded)] == [0]
    assert [letter.message for letter in decoded.dead] == [1, 2, 3, 4]
    assert all(letter.reason.startswith("no Jaeger span: ") for letter in decoded.dead)
    assert "trace_id is not 16 bytes" in decoded.dead[3].reason
    few = decode("jaeger_proto", proto, limits=Limits(keys=3))
    assert "more than 3 tags" in few.dead[0].reason
    (letter,) = decode("jaeger_json", jaeger(spanID="0", startTime=7)).dead
    assert "spanID is '0', expected up to 16 hex digits" in letter.reason
    (letter,) = decode("jaeger_json", jaeger(startTime="soon")).dead
    assert "startTime is 'soon', expected µs since 1970, or RFC 3339" in letter.reason


def test_a_span_of_another_format_is_told_by_its_name() -> None:
    of = {
        "zipkin_json": samples.ZIPKIN_LIST,
        "jaeger_json": samples.JAEGER_JSON[0],
        "jaeger_proto": samples.JAEGER_PROTO[0],
        "otlp_json": samples.OTLP_JSON,
    }
    for topic in (*of, "otlp_proto", "calls_json", "istio_text"):
        for format, message in of.items():
            decoded = decode(topic, message)
            if topic == format:
                assert not decoded.dead
            else:
                assert not decoded.tables
                assert all(f"looks like {format}" in letter.reason for letter in decoded.dead), (topic, decoded.dead)
                assert decoded.dead


def test_micrometer_observations_fill_the_same_columns() -> None:
    tags = {"method": "GET", "uri": "/orders/{id}", "status": "503", "outcome": "SERVER_ERROR", "exception": "none"}
    messages = (
        zipkin(kind="SERVER", name="http get /orders/{id}", tags=tags | {"http.url": "/orders/42?full=1"}),
        zipkin(kind="CLIENT", tags=tags | {"client.name": "orders", "http.url": "http://orders:8080/orders/42"}),
        zipkin(kind="CLIENT", tags=tags | {"client.name": "orders.shop", "status": "IO_ERROR", "error": "refused"}),
        zipkin(kind="SERVER", name="http get", tags=tags | {"uri": "UNKNOWN", "outcome": "CLIENT_ERROR"}),
        zipkin(name="handle", tags={"class": "Projector", "method": "handle"}),
    )
    server, client, refused, unknown, local = spans_of(decode("zipkin_json", *messages))
    assert (server["protocol"], server["method"], server["http_status"]) == ("http", "GET", 503)
    assert (server["operation"], server["path"]) == ("GET /orders/{id}", "/orders/42?full=1")
    assert (client["peer_host"], client["peer_port"], client["path"]) == ("orders", 8080, "/orders/42")
    assert (refused["peer_host"], refused["http_status"], refused["error"]) == ("orders.shop", 0, 1)
    assert (unknown["operation"], unknown["name"]) == ("", "http get")
    assert (local["protocol"], local.get("method") or "", local["operation"]) == ("", "", "")


def test_lists_are_opened_on_one_line_and_on_many() -> None:
    one, two, three = zipkin(id="1"), zipkin(id="2"), zipkin(id="3")
    pretty = json.dumps([json.loads(one), json.loads(two)], indent=2)
    for body in (
        f"[{one},{two}]",
        f" [ {one} , {two} ] \n",
        pretty,
        f"\n{pretty}\n",
        f"[{one}]\n[{two}]",
        f"{one}\n{two}",
    ):
        decoded = decode("zipkin_json", body)
        assert not decoded.dead
        assert [row["span_id"][-1] for row in spans_of(decoded)] == ["1", "2"], body
    decoded = decode("auto", f"[{one},{two}]", three, f"{one}\n[{two},{three}]")
    assert [(row["_message"], row["_record"]) for row in spans_of(decoded)] == [
        (0, 0),
        (0, 1),
        (1, 0),
        *((2, n) for n in range(3)),
    ]
    shipped = json.dumps({"log": one, "kubernetes": {"pod_name": "p"}})
    assert len(spans_of(decode("auto", f"[{shipped},{shipped}]"))) == 2


def test_what_stands_before_the_damage_in_a_list_is_kept() -> None:
    one, two = zipkin(id="1"), zipkin(id="2")
    body = f"[{one},{two}]"
    decoded = decode("zipkin_json", body[:-20])
    assert [row["span_id"][-1] for row in spans_of(decoded)] == ["1"]
    (letter,) = decoded.dead
    assert (letter.record, letter.payload.decode()) == (1, two[:-19])
    assert "not valid JSON" in letter.reason
    # A span in the middle whose text is no JSON.
    broken = decode("zipkin_json", f"[{one},{{oops}},{two}]")
    assert [row["_record"] for row in spans_of(broken)] == [0, 2]
    assert [letter.payload for letter in broken.dead] == [b"{oops}"]
    # Not every bracket begins a list.
    assert records_of(b'[2020-11-25T21:26:18.409Z] "GET / HTTP/1.1" 200') is None
    for other in (b'{"data":[1,2]}', b'{"data":[]}', b'{"data":[{"name":"x"}]}', b'{"data":"x"}', b'{"data":[{"spans"'):
        assert records_of(other) is None


def test_a_list_of_rubbish_makes_a_bounded_number_of_dead_letters() -> None:
    body = "[" + ",".join(["{}"] * 50_000) + "]"
    decoded = decode("zipkin_json", body, zipkin())
    assert len(decoded.dead) == lines_module.MAX_LETTERS + 1
    assert "49000 more records of this list cannot be used" in decoded.dead[-1].reason
    assert decoded.dead[-1].payload == body.encode()
    assert [row["_message"] for row in spans_of(decoded)] == [1]
