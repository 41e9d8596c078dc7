"""Golden rows of real lines, and what belongs to every line format: envelopes, limits, wrong values, detection."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from collector.contract import Decoded
from collector.decode.detect import LINES, OTLP_JSON, OTLP_PROTO, kinds
from collector.decode.envelope import split_lines
from collector.decode.limits import Limits
from collector.decode.lines import decode_lines, read_lines
from collector.decode.operators import CARRIED_BIT, OPERATOR_NAMES, OPERATORS
from collector.decode.registry import FORMATS, decoder
from storage.tables import LOGGED_BIT
from tests.collector.decode import samples

ISTIO_KEYS = set(OPERATOR_NAMES[:25]) - {"downstream_direct_remote_address"}


def bodies(*lines: str | bytes) -> pa.LargeBinaryArray:
    return pa.array([line.encode() if isinstance(line, str) else line for line in lines], pa.large_binary())


def operators_of(*lines: str | bytes, format: str = "auto", limits: Limits | None = None) -> list[dict[str, Any]]:
    """Operator rows in the order of their lines, with `carried` as names; no line may be refused."""
    found = read_lines(split_lines(bodies(*lines)), format, limits or Limits())
    assert found.dead == []
    rows: list[dict[str, Any]] = []
    for batches in found.batches.values():
        for batch in batches:
            assert batch.schema.equals(OPERATORS)
            batch.validate(full=True)
            rows.extend(batch.to_pylist())
    rows.sort(key=lambda row: (row["_message"], row["_record"]))
    for row in rows:
        row["carried"] = {name for name, bit in CARRIED_BIT.items() if row["carried"] >> bit & 1}
    return rows


def dead_of(*lines: str | bytes, format: str = "auto", limits: Limits | None = None) -> list[str]:
    return [letter.reason for letter in decoder(format, limits or Limits()).decode(bodies(*lines)).dead]


def calls_of(decoded: Decoded) -> list[dict[str, Any]]:
    if "calls" not in decoded.tables:
        return []
    batch = decoded.tables["calls"]
    batch.validate(full=True)
    return sorted(batch.to_pylist(), key=lambda row: (row["_message"], row["_record"]))


def test_istio_text_client_line() -> None:
    row = operators_of(samples.CLIENT)[0]
    assert row["carried"] == ISTIO_KEYS
    assert row["raw"] == samples.CLIENT.encode()
    known = {name: row[name] for name in ISTIO_KEYS if row[name] is not None}
    assert known == {
        "start_time": datetime(2020, 11, 25, 21, 26, 18, 409000, UTC),
        "method": "GET",
        "path": "/status/418",
        "protocol": "HTTP/1.1",
        "response_code": 418,
        "response_code_details": "via_upstream",
        "bytes_received": 0,
        "bytes_sent": 135,
        "duration_ms": 4.0,
        "upstream_service_time_ms": 4.0,
        "user_agent": "curl/7.73.0-DEV",
        "request_id": "84961386-6d84-929d-98bd-c5aee93b5c88",
        "authority": "httpbin:8000",
        "upstream_host": "10.44.1.27:80",
        "upstream_cluster": "outbound|8000||httpbin.foo.svc.cluster.local",
        "upstream_local_address": "10.44.1.23:37652",
        "downstream_local_address": "10.0.45.184:8000",
        "downstream_remote_address": "10.44.1.23:46520",
        "route_name": "default",
    }


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (samples.SERVER, {"requested_server_name": "outbound_.8000_._.httpbin.foo.svc.cluster.local"}),
        (
            samples.DENIED,
            {
                "response_code": 403,
                "response_flags": None,
                "response_code_details": (
                    "rbac_access_denied_matched_policy[ns[starfleet]-policy[probe-deny-status]-rule[0]]"
                ),
                "upstream_host": None,
            },
        ),
        (
            samples.TCP,
            {
                "method": None,
                "path": None,
                "protocol": None,
                "response_code": 0,
                "bytes_sent": 2504306,
                "route_name": None,
            },
        ),
        (samples.TCP_DENIED, {"connection_termination_details": "rbac_access_denied_matched_policy[none]"}),
        (
            samples.JWT,
            {
                "response_code_details": "jwt_authn_access_denied{Jwt_issuer_is_not_configured}",
                "x_forwarded_for": "172.18.0.1",
            },
        ),
        (
            samples.WAYPOINT,
            {
                "upstream_host": "envoy://connect_originate/10.244.0.32:9080",
                "upstream_cluster": "inbound-vip|9080|http|details.bookinfo.svc.cluster.local",
            },
        ),
        (samples.EXT_AUTHZ, {"response_flags": "UAEX", "duration_ms": 11.0, "upstream_service_time_ms": None}),
        (
            samples.ISTIO_1_8,
            {"response_code_details": None, "upstream_cluster": "outbound|80||b.shop.svc.cluster.local"},
        ),
        (samples.ISTIO_1_4, {"authority": "b.shop:80", "downstream_remote_address": "10.0.0.2:2"}),
        (samples.ENVOY, {"upstream_host": "tcp://10.0.2.1:80", "bytes_received": 154, "duration_ms": 226.0}),
        (samples.OSM, {"upstream_cluster": "httpbin/httpbin|14001|local", "duration_ms": 508.0}),
    ],
)
def test_golden_lines(line: str, expected: dict[str, Any]) -> None:
    row = operators_of(line)[0]
    assert {name: row[name] for name in expected} == expected


def test_what_a_text_layout_does_not_have_is_not_carried() -> None:
    old, older, envoy = operators_of(samples.ISTIO_1_8, samples.ISTIO_1_4, samples.ENVOY)
    details = {"response_code_details", "connection_termination_details"}
    assert old["carried"] == older["carried"] == ISTIO_KEYS - details
    assert "upstream_cluster" not in envoy["carried"]
    assert "upstream_host" in envoy["carried"]


def test_quotes_in_headers_garble_only_headers() -> None:
    agent = 'x" 200 - via_upstream - "-" 9 9 9 9 "-" "y'
    forged = samples.DENIED.replace("curl/8.11.1", agent)
    row, neighbour = operators_of(forged, samples.CLIENT)
    assert row["response_code"] == 403
    assert row["bytes_sent"] == 19
    assert row["user_agent"] == agent
    assert row["downstream_remote_address"] == "10.244.0.12:52784"
    assert neighbour["response_code"] == 418


def test_quotes_and_blanks_in_path() -> None:
    row = operators_of(samples.CLIENT.replace("/status/418", '/a"b c/"d'))[0]
    assert row["path"] == '/a"b c/"d'
    assert row["response_code"] == 418


def test_istio_json_with_null_dash_and_missing() -> None:
    row = operators_of(samples.JSON)[0]
    assert row["carried"] == ISTIO_KEYS
    assert row["x_forwarded_for"] is None
    assert row["response_flags"] is None
    assert row["upstream_service_time_ms"] == 11.0
    assert row["attributes"] == []
    fewer = {key: value for key, value in samples.JSON_RECORD.items() if key != "x_forwarded_for"}
    assert operators_of(json.dumps(fewer))[0]["carried"] == ISTIO_KEYS - {"x_forwarded_for"}


def test_json_extra_keys_become_attributes() -> None:
    row = operators_of(samples.JSON_SAN)[0]
    assert row["downstream_peer_uri_san"] == "spiffe://cluster.local/ns/shop/sa/web"
    assert row["attributes"] == [("tenant", '{"id":7}')]
    assert operators_of(samples.OSM)[0]["attributes"] == [("time_to_first_byte", "504")]


ASKED = ("request.headers.x-team", "request.auth.presenter", "downstream_peer_fingerprint_256", "experimental.a[b]")


def test_what_is_absent_of_what_policies_ask_about_is_kept_as_empty() -> None:
    lines = [
        json.dumps({**samples.JSON_RECORD, **dict.fromkeys(ASKED, value), "tenant": None}) for value in (None, "-", "x")
    ]
    # Escapes that no template expresses: a line that is read alone.
    alone = json.dumps({**samples.JSON_RECORD, "user_agent": "\u00e9", **dict.fromkeys(ASKED)})
    rows = operators_of("\n".join([*lines, alone]))
    assert [dict(row["attributes"]) for row in rows] == [dict.fromkeys(ASKED, value) for value in ("", "-", "x", "")]
    without = operators_of(json.dumps(samples.JSON_RECORD))[0]
    assert without["attributes"] == []


def test_json_values_as_text() -> None:
    record = {key: None if value is None else str(value) for key, value in samples.JSON_RECORD.items()}
    text, typed = operators_of(json.dumps(record), samples.JSON)
    for name in set(OPERATOR_NAMES) | {"carried"}:
        assert text[name] == typed[name]


@pytest.mark.parametrize(
    ("key", "value", "operator", "expected"),
    [
        ("DOWNSTREAM_PEER_URI_SAN", "spiffe://a/b", "downstream_peer_uri_san", "spiffe://a/b"),
        ("peerSan", "spiffe://a/b", "downstream_peer_uri_san", "spiffe://a/b"),
        ("x-request-id", "r", "request_id", "r"),
        (":authority", "h:80", "authority", "h:80"),
        ("x-envoy-upstream-service-time", "7", "upstream_service_time_ms", 7.0),
        ("grpc_status", "DeadlineExceeded", "grpc_status", 4),
        ("grpc_status", "DEADLINE_EXCEEDED", "grpc_status", 4),
        ("grpc_status_number", 14, "grpc_status", 14),
        ("grpc_status", "nonsense", "grpc_status", None),
        ("upstream_request_attempt_count", "3", "attempt_count", 3),
        ("upstream_request_attempt_count", 99999999, "attempt_count", 65535),
        ("downstream_tls_version", "TLSv1.3", "downstream_tls_version", "TLSv1.3"),
        ("DOWNSTREAM_TLS_CIPHER", "AES128-GCM-SHA256", "downstream_tls_cipher", "AES128-GCM-SHA256"),
        ("access_log_type", "DownstreamStart", "access_log_type", "DownstreamStart"),
    ],
)
def test_key_spellings(key: str, value: object, operator: str, expected: object) -> None:
    record = {"start_time": "2026-01-01T00:00:00Z", "response_code": 200, "duration": 1, key: value}
    row = operators_of(json.dumps(record), format="envoy_json")[0]
    assert row[operator] == expected
    assert operator in row["carried"]


def test_shippers_host_is_no_authority() -> None:
    record = {**samples.JSON_RECORD, "authority": None, "host": "node-1"}
    assert operators_of(json.dumps(record))[0]["authority"] is None
    alone = {"start_time": "2026-01-01T00:00:00Z", "response_code": 200, "host": "orders:80"}
    assert operators_of(json.dumps(alone), format="envoy_json")[0]["authority"] == "orders:80"


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2026-01-01T00:00:00.123456789Z", datetime(2026, 1, 1, 0, 0, 0, 123456, UTC)),
        ("2026-01-01T02:00:00+02:00", datetime(2026, 1, 1, tzinfo=UTC)),
        ("2026-01-01 00:00:00", datetime(2026, 1, 1, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        (1767225600, datetime(2026, 1, 1, tzinfo=UTC)),
        (1767225600.25, datetime(2026, 1, 1, 0, 0, 0, 250000, UTC)),
        ("1767225600123", datetime(2026, 1, 1, 0, 0, 0, 123000, UTC)),
        (1767225600123456, datetime(2026, 1, 1, 0, 0, 0, 123456, UTC)),
        (1767225600123456789, datetime(2026, 1, 1, 0, 0, 0, 123456, UTC)),
    ],
)
def test_forms_of_time(time: object, expected: datetime) -> None:
    line = json.dumps({**samples.JSON_RECORD, "start_time": time})
    assert operators_of(line, samples.JSON)[0]["start_time"] == expected


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"start_time": None}, "start_time is missing"),
        ({"start_time": "yesterday"}, "start_time is 'yesterday'"),
        ({"start_time": "1969-12-31T00:00:00Z"}, "expected a time within 1971..2100"),
        ({"start_time": "2100-01-01T00:00:00Z"}, "expected a time within 1971..2100"),
        ({"start_time": 0}, "start_time is '0'"),
        ({"duration": -1}, "duration_ms is '-1', expected milliseconds, not negative"),
        ({"duration": 1e300}, "duration_ms is"),
        ({"bytes_sent": -5}, "bytes_sent is '-5'"),
        ({"bytes_sent": 1 << 80}, "bytes_sent is"),
        ({"response_code": 70000}, "response_code is '70000', expected a status 0..999"),
        ({"response_code": "OK"}, "response_code is 'OK'"),
    ],
)
def test_what_the_proxy_wrote_wrongly_is_a_dead_letter(change: dict[str, object], reason: str) -> None:
    decoded = decoder("envoy_json").decode(
        bodies(samples.JSON, json.dumps({**samples.JSON_RECORD, **change}), samples.JSON_SAN)
    )
    assert [(letter.message, letter.format) for letter in decoded.dead] == [(1, "envoy_json")]
    assert reason in decoded.dead[0].reason
    assert [row["_message"] for row in calls_of(decoded)] == [0, 2]


def test_what_a_caller_chose_is_never_a_reason_to_lose_the_call() -> None:
    hostile = {
        **samples.JSON_RECORD,
        "upstream_service_time": "fast",
        "user_agent": "\x00\x1b[31m",
        "grpc_status": "no",
    }
    row = operators_of(json.dumps(hostile))[0]
    assert row["upstream_service_time_ms"] is None
    assert row["user_agent"] == "\x00\x1b[31m"
    assert row["grpc_status"] is None


def test_bytes_that_are_no_text_survive() -> None:
    json_line = samples.JSON.encode().replace(b"Go-http-client", b"\xff\xfe\\\\ \xc3\xa9")
    text_line = samples.CLIENT.encode().replace(b"curl", b"\xff\xfe")
    first, second = operators_of(json_line, text_line)
    assert first["user_agent"] == "\\xff\\xfe\\ é/1.1"
    assert first["raw"] == json_line
    assert second["user_agent"] == "\\xff\\xfe/7.73.0-DEV"
    assert second["raw"] == text_line


def test_several_lines_in_one_message() -> None:
    body = f"\r\n{samples.CLIENT}\r\n\n{samples.JSON}\nbad\n{samples.CALL}".encode() + b"\n \t\n"
    decoded = decoder("auto").decode(bodies(body, samples.SERVER, b"", b"\n"))
    assert [(row["_message"], row["_record"]) for row in calls_of(decoded)] == [(0, 1), (0, 3), (0, 5), (1, 0)]
    assert [(letter.message, letter.record, letter.payload) for letter in decoded.dead] == [(0, 4, b"bad")]


KUBERNETES = {
    "pod_name": "orders-6d8bcd654d-t88gp",
    "namespace_name": "shop",
    "labels": {"app": "orders", "version": "v2"},
    "container_name": "istio-proxy",
    "host": "node-1",
    "docker_id": "abc",
    "pod_ip": "10.1.2.3",
    "annotations": {"a": "b"},
}
POD = {
    "pod_namespace": "shop",
    "pod_name": "orders-6d8bcd654d-t88gp",
    "pod_ip": "10.1.2.3",
    "pod_labels": [("app", "orders"), ("version", "v2")],
    "node": "node-1",
    "container": "istio-proxy",
}


@pytest.mark.parametrize("inner", [samples.CLIENT, samples.JSON_SAN, samples.JSON.replace("Go", 'q\\"\\\\')])
@pytest.mark.parametrize(
    "envelope",
    [
        {"log": "%s\n", "stream": "stdout", "time": "2026-01-01T00:00:00.1Z", "kubernetes": KUBERNETES},
        {"@timestamp": "2026-01-01T00:00:00.1Z", "message": "%s", "kubernetes": KUBERNETES, "cluster": "east"},
        {"log": "2026-01-01T00:00:00.1Z stdout F %s", "kubernetes": KUBERNETES},
        {
            "message": "%s",
            "stream": "stdout",
            "kubernetes": {
                "pod_name": POD["pod_name"],
                "pod_namespace": "shop",
                "pod_labels": KUBERNETES["labels"],
                "pod_ip": "10.1.2.3",
                "pod_node_name": "node-1",
                "container_name": "istio-proxy",
            },
        },
        {
            "message": "%s",
            "@timestamp": "x",
            "kubernetes": {
                "pod": {"name": POD["pod_name"], "ip": "10.1.2.3", "uid": "u"},
                "namespace": "shop",
                "labels": KUBERNETES["labels"],
                "node": {"name": "node-1"},
                "container": {"name": "istio-proxy"},
            },
        },
    ],
)
def test_envelopes(envelope: dict[str, Any], inner: str) -> None:
    wrapped = {key: value % inner if "%s" in value else value for key, value in envelope.items()}
    enclosed, bare = operators_of(json.dumps(wrapped), inner)
    assert enclosed["raw"] == inner.encode()
    for name in (*OPERATOR_NAMES, "carried", "attributes"):
        assert enclosed[name] == bare[name]
    assert {name: enclosed[name] for name in POD} == POD
    assert enclosed["cluster"] == envelope.get("cluster")
    assert bare["pod_name"] is None


def test_docker_and_runtime_and_kubectl_prefixes() -> None:
    lines = (
        json.dumps({"log": samples.CLIENT + "\n", "stream": "stdout", "time": "2026-01-01T00:00:00Z"}),
        "2026-01-01T00:00:00.123456789Z stdout F " + samples.CLIENT,
        "2026-01-01T00:00:00.123456789+02:00 stderr F " + samples.JSON,
        "[pod/web-1/istio-proxy] " + samples.CLIENT,
        "ACCESS " + samples.ENVOY,
    )
    rows = operators_of(*lines)
    assert [row["raw"].decode() for row in rows] == [
        samples.CLIENT,
        samples.CLIENT,
        samples.JSON,
        samples.CLIENT,
        samples.ENVOY,
    ]
    assert [row["pod_name"] for row in rows] == [None, None, None, "web-1", None]


def test_line_parsed_by_the_shipper_keeps_its_pod() -> None:
    merged = {**samples.JSON_RECORD, "kubernetes": KUBERNETES, "stream": "stdout", "time": "2030-01-01T00:00:00Z"}
    row = operators_of(json.dumps(merged))[0]
    assert row["pod_name"] == POD["pod_name"]
    assert row["start_time"].year == 2026
    nested = {"log": samples.JSON_RECORD, "kubernetes": KUBERNETES}
    assert operators_of(json.dumps(nested))[0]["response_code"] == 200


def test_a_json_string_holds_the_line() -> None:
    # The Collector's encoding `raw` writes a body of text so.
    lines = [json.dumps(samples.CLIENT + "\n"), json.dumps(samples.JSON), json.dumps({"log": samples.SERVER})]
    lines.append(json.dumps(lines[2]))
    rows = operators_of("\n".join([*lines, samples.DENIED]))
    assert [row["_record"] for row in rows] == [0, 1, 2, 3, 4]
    assert [row["request_id"] for row in rows[2:4]] == [operators_of(samples.SERVER)[0]["request_id"]] * 2


@pytest.mark.parametrize("line", ['"', '""', '"a" b"', '"\\ud800"', '" "', '"' * 99, '"' + "\\\\" * 99 + '"'])
def test_a_string_without_a_line_is_a_dead_letter_as_it_was_sent(line: str) -> None:
    (letter,) = decoder("auto").decode(pa.array([line.encode()], pa.large_binary())).dead
    assert letter.payload == line.encode()


def test_an_envelope_may_hold_several_lines() -> None:
    rows = operators_of(
        json.dumps({"log": f"{samples.CLIENT}\r\n{samples.SERVER}\n", "kubernetes": {"pod_name": "a-1"}}),
        samples.DENIED,
    )
    assert [(row["raw"].decode(), row["_message"], row["pod_name"]) for row in rows] == [
        (samples.CLIENT, 0, "a-1"),
        (samples.SERVER, 0, "a-1"),
        (samples.DENIED, 1, None),
    ]


def test_a_byte_order_mark_before_a_line() -> None:
    rows = operators_of(b"\xef\xbb\xbf" + samples.CLIENT.encode())
    assert [row["raw"] for row in rows] == [samples.CLIENT.encode()]


def test_envelope_without_a_line() -> None:
    assert dead_of(json.dumps({"log": None, "stream": "stdout"})) == [
        "an envelope without a line: expected text in `log` or `message`"
    ]


def test_envelopes_are_not_opened_for_ever() -> None:
    line = samples.JSON
    for _ in range(6):
        line = json.dumps({"log": line})
    assert "looks like envelope" in dead_of(line)[0]


def test_calls_json() -> None:
    row = calls_of(decoder("calls_json").decode(bodies(samples.CALL)))[0]
    assert row["ts"] == datetime(2026, 1, 1, 0, 0, 0, 500000, UTC)
    assert row["destination_service"] == "orders"
    assert row["source_ip"] == b"\0" * 10 + b"\xff\xff" + bytes((10, 1, 2, 3))
    assert (row["status"], row["duration_us"], row["destination_port"]) == (200, 1250, 8080)
    assert dict(row["attributes"]) == {"request.headers.x-user": "ann", "request.auth.claims": '{"sub":"ann"}'}
    given = json.loads(samples.CALL)
    names = {name for name, bit in LOGGED_BIT.items() if row["logged"] >> bit & 1}
    assert names == set(given) - {"attributes"}


def test_calls_json_null_is_not_logged_and_empty_is_absent() -> None:
    base = {"ts": 1767225600, "destination_service": "orders"}
    lines = [
        {**base, "source_principal": None, "status": None},
        {**base, "source_principal": "", "status": "", "source_ip": ""},
        base,
    ]
    null, empty, missing = calls_of(decoder("calls_json").decode(bodies(*map(json.dumps, lines))))
    logged = {"ts", "destination_service"}

    def names(row: dict[str, Any]) -> set[str]:
        return {name for name, bit in LOGGED_BIT.items() if row["logged"] >> bit & 1}

    assert names(null) == names(missing) == logged
    assert names(empty) == logged | {"source_principal", "status", "source_ip"}
    assert empty["source_principal"] == ""
    assert not empty["status"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ts": None}, "ts is missing"),
        ({"destination_service": ""}, "nothing names the destination"),
        ({"status": "teapot"}, "status is 'teapot', expected a number 0..999"),
        ({"status": -1}, "status is '-1'"),
        ({"destination_port": 70000}, "destination_port is '70000', expected a number 0..65535"),
        ({"duration_us": -1}, "duration_us is '-1'"),
        ({"source_ip": "10.0.0"}, "source_ip is '10.0.0', expected an IP address"),
        ({"tls": "maybe"}, "tls is 'maybe', expected one of mtls, tls, plaintext, unknown"),
        ({"trace_id": "xyz"}, "trace_id is 'xyz', expected up to 32 hex digits"),
        ({"source_service": {"a": 1}}, "source_service is '{\"a\": 1}', expected text"),
        ({"attributes": [1]}, "attributes is '[1]', expected an object"),
    ],
)
def test_calls_json_wrong_values(change: dict[str, object], reason: str) -> None:
    line = json.dumps({"ts": 1767225600, "destination_service": "orders", **change})
    decoded = decoder("calls_json").decode(bodies(line, samples.CALL))
    assert [letter.message for letter in decoded.dead] == [0]
    assert reason in decoded.dead[0].reason
    assert [row["_message"] for row in calls_of(decoded)] == [1]


def test_calls_json_other_keys_become_attributes() -> None:
    line = {"ts": 1767225600, "destination_service": "orders", "colour": "red", "offset": 7, "attributes": {"a": True}}
    row = calls_of(decoder("calls_json").decode(bodies(json.dumps(line))))[0]
    assert dict(row["attributes"]) == {"a": "true", "colour": "red", "offset": "7"}


def test_ids_are_hex_of_full_width() -> None:
    line = {"ts": 1767225600, "destination_service": "x", "trace_id": "ABC1", "span_id": "0000000000000000"}
    row = calls_of(decoder("calls_json").decode(bodies(json.dumps(line))))[0]
    assert row["trace_id"] == "0" * 28 + "abc1"
    assert row["span_id"] == ""


def test_a_named_format_refuses_others_and_says_what_it_saw() -> None:
    assert "looks like an Istio access log line (istio_text)" in dead_of(samples.CLIENT, format="envoy_json")[0]
    assert "looks like an Envoy access log line (envoy_text)" in dead_of(samples.ENVOY, format="ztunnel_text")[0]
    assert "looks like an Emissary access log line" in dead_of("ACCESS " + samples.ENVOY, format="envoy_text")[0]
    assert "its fields do not follow" in dead_of(samples.CLIENT[:120], format="istio_text")[0]
    assert "expected istio_text" in dead_of(samples.ENVOY, format="istio_text")[0]
    assert "a JSON object with keys" in dead_of('{"hello":1}')[0]
    assert "binary data" in dead_of(b"\x00\x01\x02\x03\x04")[0]
    ztunnel = '2024-04-11T15:38:42.182974Z  INFO access: connection complete src.addr=10.244.0.24:46238 direction="x"'
    assert "looks like a ztunnel access log line" in dead_of(ztunnel, format="istio_text")[0]


def test_a_dead_letter_tells_the_keys_of_its_own_line() -> None:
    # The last two are read one by one: an escape and a repeated key.
    lines = ('{"hello":"world"}', '{"good":"morning"}', '{"bon":"\\u006aour"}', '{"buon":1,"buon":2}')
    told = [reason.partition("keys ")[2].partition(";")[0] for reason in dead_of(*lines)]
    assert told == ["'hello'", "'good'", "'bon'", "'buon'"]


@pytest.mark.parametrize(
    "line",
    [
        {"timestamp": "2026-01-01T00:00:00Z", "status": 200, "method": "GET", "client.id": "a.b", "total_ns": "1"},
        {"time": "2026-01-01T00:00:00Z", "level": "info", "response_code": 200, "msg": "served"},
        {"ts": 1767225600, "level": "info", "msg": "started"},
    ],
)
def test_logs_of_other_programs_are_not_claimed(line: dict[str, object]) -> None:
    assert "not recognised: a JSON object with keys" in dead_of(json.dumps(line))[0]


def test_oversized_line_does_not_touch_its_neighbours() -> None:
    long = samples.JSON.replace("Go-http", "G" * 3000)
    decoded = decoder("auto", Limits(record_bytes=2000)).decode(bodies(samples.JSON, long, samples.CLIENT))
    assert [letter.message for letter in decoded.dead] == [1]
    assert "the limit is 2000" in decoded.dead[0].reason
    assert [row["_message"] for row in calls_of(decoded)] == [0, 2]
    fields = Limits(value_bytes=500)
    for line in (samples.JSON.replace("Go-http", "G" * 600), samples.CLIENT.replace("curl", "c" * 600)):
        assert "500" in dead_of(line, limits=fields)[0]


def test_kinds_of_messages() -> None:
    # The smallest request of each: one resource with one scope.
    proto = bytes.fromhex("0a040a001200")
    messages = [
        samples.JSON,
        samples.CLIENT,
        proto,
        proto + proto,
        '{"resourceSpans":[]}',
        '{\n  "resourceLogs" : []}',
        "\n" + samples.CLIENT,
        "\n\n",
        b"",
        b"\x0a\xff\xff\xff\xff\xff",
        '{"response_code":1}',
    ]
    assert kinds(bodies(*messages)).tolist() == [
        LINES,
        LINES,
        OTLP_PROTO,
        OTLP_PROTO,
        OTLP_JSON,
        OTLP_JSON,
        LINES,
        LINES,
        LINES,
        LINES,
        LINES,
    ]


def test_registry_names() -> None:
    for name in FORMATS:
        found = decoder(name)
        assert found.name == name
        assert found.version >= 1
        assert decoder(name).decode(bodies()).dead == []
    with pytest.raises(ValueError, match="unknown format 'xml', expected one of auto, "):
        decoder("xml")
    with pytest.raises(ValueError, match="no line format 'otlp_proto'"):
        decode_lines(split_lines(bodies()), "otlp_proto")


@pytest.mark.parametrize("format", ["auto", "calls_json"])
def test_a_dead_letter_is_its_line_as_it_was_sent(format: str) -> None:
    lines = [
        b"\x00\x00bad\x00",
        b" \t{broken ",
        b'2026-01-01T00:00:00Z stdout F {"a":1}',
        b'{"log":"nothing\\n","stream":"stdout"}',
        b'{"ts":"2026-01-01T00:00:00Z","destination_service":"cart","status":"fine"} ',
    ]
    messages = [lines[0], b"\r\n".join([b"", *lines[1:3], b""]), lines[3] + b"\n" + lines[4]]
    decoded = decoder(format).decode(pa.array(messages, pa.large_binary()))
    found = [(letter.message, letter.record, letter.payload) for letter in decoded.dead]
    assert found == [(0, 0, lines[0]), (1, 1, lines[1]), (1, 2, lines[2]), (2, 0, lines[3]), (2, 1, lines[4])]
