"""Lines are what Istio prints: its keys, its types, its addresses; both sides of a call agree."""

from __future__ import annotations

import json
import re
from collections import defaultdict

from eastwatch.world import ACCESS_LOGS, Message
from tests.eastwatch.world.recount import Account

ISTIO_KEYS = {
    "start_time", "route_name", "method", "path", "protocol", "response_code", "response_flags",
    "response_code_details", "connection_termination_details", "bytes_received", "bytes_sent", "duration",
    "upstream_service_time", "x_forwarded_for", "user_agent", "request_id", "authority", "upstream_host",
    "upstream_cluster", "upstream_local_address", "downstream_local_address", "downstream_remote_address",
    "requested_server_name", "upstream_transport_failure_reason",
}  # fmt: skip
ADDED = {
    "downstream_direct_remote_address", "downstream_peer_uri_san", "downstream_tls_version", "upstream_peer_uri_san",
    "upstream_request_attempt_count", "grpc_status", "traceparent",
}  # fmt: skip
NUMBERS = {
    "response_code", "bytes_received", "bytes_sent", "duration", "upstream_request_attempt_count", "grpc_status",
}  # fmt: skip
NEVER_NULL = {"start_time", "response_code", "response_flags", "bytes_received", "bytes_sent", "duration"}
ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+:\d+")


def test_keys_and_types(account: Account) -> None:
    for line in account.lines:
        assert {key for key in line if not key.startswith("_")} == ISTIO_KEYS | ADDED
        for key in ISTIO_KEYS | ADDED:
            value = line[key]
            if value is None:
                assert key not in NEVER_NULL
            else:
                # bool is an int: types are compared exactly.
                assert type(value) is (int if key in NUMBERS else str), (key, value)
                assert (value != "" and value != "-") or key == "response_flags"
        assert re.fullmatch(r"2026-03-02T10:\d\d:\d\d\.\d{3}Z", line["start_time"])
        for key in ("downstream_local_address", "downstream_remote_address", "downstream_direct_remote_address"):
            assert ADDRESS.fullmatch(line[key])


def test_tcp_lines_have_nothing_of_http(account: Account) -> None:
    lines = [line for line in account.lines if line["method"] is None]
    assert lines
    for line in lines:
        assert (line["response_code"], line["path"], line["protocol"], line["request_id"]) == (0, None, None, None)
        assert (line["grpc_status"], line["response_code_details"], line["upstream_service_time"]) == (None, None, None)


def test_both_sides_of_a_call_agree(account: Account) -> None:
    pairs = 0
    for sides in account.sides.values():
        callee = {line["downstream_direct_remote_address"]: line for line in sides["destination"]}
        if len(callee) < len(sides["destination"]):
            continue  # a port came twice in this time: the pair is not unique
        for line in sides["source"]:
            other = callee.get(line["upstream_local_address"])
            if other is None or line["upstream_request_attempt_count"] > 1:
                continue
            pairs += 1
            assert other["downstream_local_address"] == line["upstream_host"]
            assert other["upstream_host"] in (line["upstream_host"], None)
            assert other["start_time"] >= line["start_time"]
            for key in ("request_id", "path", "method", "traceparent", "bytes_received"):
                assert other[key] == line[key]
            cut_off = {"DC", "UT"} & {line["response_flags"], other["response_flags"]}
            assert other["duration"] <= line["duration"] or cut_off
            port, host = line["upstream_cluster"].split("|")[1::2]
            assert other["requested_server_name"] == f"outbound_.{port}_._.{host}"
            assert line["upstream_peer_uri_san"].startswith("spiffe://cluster.local/ns/")
    assert pairs > 100


def test_one_request_id_along_a_call_tree(account: Account) -> None:
    wrote: dict[str, set[str]] = defaultdict(set)
    for line in account.lines:
        if line["request_id"]:
            wrote[line["request_id"]].add(line["_wrote"])
    assert max(map(len, wrote.values())) >= 8


def test_a_caller_without_a_sidecar_has_no_identity(account: Account) -> None:
    lines = account.sides["legacy/erp", "shop/orders"]
    assert lines["source"] == []
    for line in lines["destination"]:
        assert (line["downstream_peer_uri_san"], line["requested_server_name"]) == (None, None)
        assert line["downstream_tls_version"] is None


def test_services_that_do_not_log_write_nothing(account: Account) -> None:
    wrote = {line["_wrote"] for line in account.lines}
    assert wrote.isdisjoint({"shop/currency", "data/orders-db", "data/rates-db", "legacy/erp"})


def test_part_of_the_pods_ship_plain_lines(account: Account) -> None:
    plain = {line["_wrote"] for line in account.lines if line["_pod"] is None}
    wrapped = {line["_wrote"] for line in account.lines if line["_pod"]}
    assert plain == {"shop/search", "payments/payment", "payments/fraud", "payments/ledger", "payments/ledger-db"}
    assert wrapped.isdisjoint(plain)


def test_messages_hold_one_pods_lines_of_one_window(messages: list[Message]) -> None:
    logs = [message for message in messages if message.topic == ACCESS_LOGS]
    assert max(message.value.count(b"\n") for message in logs) > 20
    for message in logs:
        names = {json.loads(line).get("kubernetes", {}).get("pod_name") for line in message.value.splitlines()}
        assert names in ({message.key.decode()}, {None})
        for line in message.value.splitlines():
            record = json.loads(line)
            if "date" in record:
                assert message.ts_us / 1e6 - 10 <= record["date"] < message.ts_us / 1e6


def test_nasty_values_survive_the_envelope(account: Account) -> None:
    agents = {line["user_agent"] for line in account.lines}
    assert any(agent and '"' in agent and "\\" in agent for agent in agents)


def test_failures_are_worded_as_envoy_words_them(troubled_account: Account) -> None:
    """Flags, details and the endpoint as Envoy 1.40 printed them for the same failures."""
    seen: dict[str, set[tuple[object, ...]]] = defaultdict(set)
    for line in troubled_account.lines:
        if line["response_flags"] != "-":
            status, why = line["response_code"], line["response_code_details"]
            tried, local = line["upstream_host"] is not None, line["upstream_local_address"] is not None
            seen[line["response_flags"]].add((status, why, tried, local))
    expected = {
        "UH": (503, "no_healthy_upstream", False, False),
        "UT": (504, "response_timeout", True, True),
        "UC": (503, "upstream_reset_before_response_started{connection_termination}", True, True),
        "DC": (0, "downstream_remote_disconnect", True, True),
        "URX,UF": (
            503,
            "upstream_reset_before_response_started"
            "{remote_connection_failure|delayed_connect_error:_Connection_refused}",
            True,
            False,
        ),
        "UF,URX": (0, None, True, False),
    }
    assert seen.keys() == expected.keys()
    for flags, found in seen.items():
        # gRPC callers get HTTP 200 and the rest in trailers.
        assert found <= {expected[flags], (200, *expected[flags][1:])}, flags
