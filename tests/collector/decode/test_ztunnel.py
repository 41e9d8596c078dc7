"""ztunnel's access log: golden rows of real lines in each of its layouts, and what hostile text cannot do.

Lines are those of istio/ztunnel's README, kiali's test data and public notes of people who ran it.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.ambient.connections import FIELDS
from collector.ambient.failures import Failure, judge
from collector.decode.envelope import split_lines
from collector.decode.limits import Limits
from collector.decode.logfmt import cut_fields, line_fields
from collector.decode.registry import decoder
from collector.identity.socket_addresses import ip_text
from storage.tables import LOGGED_BIT

README = (
    "2024-04-11T15:38:42.182974Z  INFO access: connection complete src.addr=10.244.0.24:46238 "
    'src.workload="shell-6d8bcd654d-t88gp" src.namespace="default" '
    'src.identity="spiffe://cluster.local/ns/default/sa/default" dst.addr=10.244.0.42:15008 '
    'dst.hbone_addr=10.96.108.116:80 dst.service="echo.default.svc.cluster.local" direction="outbound" '
    'bytes_sent=67 bytes_recv=490 duration="13ms"'
)
KIALI = (
    "2024-04-12T10:17:44.081519Z\tinfo\taccess\tconnection complete\tsrc.addr=10.244.0.5:45896 "
    "src.workload=istio-ingressgateway-cbdcbb75c-9q9nb src.namespace=istio-system "
    'src.identity="spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account" '
    'dst.addr=10.244.0.16:9080 dst.hbone_addr="10.244.0.16:9080" '
    "dst.service=productpage.bookinfo.svc.cluster.local dst.workload=productpage-v1-87d54dd59-fzflt "
    'dst.namespace=productpage dst.identity="spiffe://cluster.local/ns/bookinfo/sa/bookinfo-productpage" '
    'direction="inbound" bytes_sent=5483 bytes_recv=1551 duration="8ms"'
)
KIALI_WITHOUT_TARGET = (
    "2024-04-12T10:17:44.080629Z\tinfo\taccess\tconnection complete\tsrc.addr=10.244.0.16:52008 "
    "src.workload=productpage-v1-87d54dd59-fzflt src.namespace=bookinfo "
    'src.identity="spiffe://cluster.local/ns/bookinfo/sa/bookinfo-productpage" dst.addr=10.244.0.14:15008 '
    "dst.service=reviews.bookinfo.svc.cluster.local dst.workload=reviews-v2-6f9b55c5db-vnpzr dst.namespace=bookinfo "
    'dst.identity="spiffe://cluster.local/ns/bookinfo/sa/bookinfo-reviews" direction="outbound" bytes_sent=200 '
    'bytes_recv=603 duration="2ms"'
)
NOT_ALLOWED = (
    "2026-10-09T11:55:01.094336Z\terror\taccess\tconnection complete\tsrc.addr=10.244.0.14:46992 "
    'src.workload="shuttle-7b5db664c-v7b6x" src.namespace="starfleet" '
    'src.identity="spiffe://cluster.local/ns/starfleet/sa/shuttle" dst.addr=10.244.0.9:15008 '
    'dst.hbone_addr=10.244.0.9:9080 dst.service="navcom.starfleet.svc.cluster.local" '
    'dst.workload="navcom-v1-7467bbc689-bj5jz" dst.namespace="starfleet" '
    'dst.identity="spiffe://cluster.local/ns/starfleet/sa/starfleet-navcom" direction="inbound" bytes_sent=0 '
    'bytes_recv=0 duration="0ms" '
    'error="connection closed due to policy rejection: allow policies exist, but none allowed"'
)
STRICT = (
    "2025-10-30T22:23:01.119792Z error access connection complete src.addr=10.217.0.2:44480 dst.addr=10.217.0.248:8080 "
    'dst.workload="golang-ex-6d957754b-nfbfv" dst.namespace="test" direction="inbound" bytes_sent=0 bytes_recv=0 '
    'duration="0ms" error="connection closed due to policy rejection: explicitly denied by: '
    'istio-system/istio_converted_static_strict"'
)
BLOCKED = (
    "2025-12-11T15:27:11.175852Z    error    access    connection complete    src.addr=10.244.2.6:48718 "
    'src.workload="client-7d4c8b9f5-abc12" src.namespace="client" '
    'src.identity="spiffe://cluster1/ns/client/sa/client" '
    'dst.addr=10.244.1.9:15008 dst.hbone_addr=10.244.1.9:8080 dst.service="server.server.svc.cluster.local" '
    'dst.workload="server-6f8a4d3c7-xyz45" dst.namespace="server" '
    'dst.identity="spiffe://cluster1/ns/server/sa/default" '
    'direction="outbound" bytes_sent=0 bytes_recv=0 duration="10002ms" '
    'error="io error: deadline has elapsed" '
    'error="connection timed out, maybe a NetworkPolicy is blocking HBONE port 15008: deadline has elapsed"'
)
VIRTUAL_MACHINE = (
    "2026-05-05T10:00:00.000001Z\tinfo\taccess\tconnection complete\tsrc.addr=10.4.0.9:50412 "
    'src.workload="orders-api-6d8bcd654d-t88gp" src.namespace="db-clients" '
    'src.identity="spiffe://cluster1.local/ns/db-clients/sa/orders-api" dst.addr=127.0.0.1:15100 '
    'dst.hbone_addr=mysql.vm-db.svc.cluster.local:3306 dst.service="mysql.vm-db.svc.cluster.local" '
    'dst.workload="vm-mysql" dst.namespace="vm-db" dst.identity="spiffe://cluster1.local/ns/vm-db/sa/mysql" '
    'direction="inbound" bytes_sent=812 bytes_recv=97 duration="4ms"'
)
JSON = (
    '{"level":"info","time":"2026-08-10T08:19:58.950669Z","scope":"access","message":"connection complete",'
    '"src.addr":"10.244.0.6:57866","src.workload":"http-client-7fc85576c4-h95l5","src.namespace":"default",'
    '"src.identity":"spiffe://cluster.local/ns/default/sa/http-client-sa","dst.addr":"10.244.0.7:15008",'
    '"dst.hbone_addr":"10.244.0.7:18080","dst.service":"http-service.default.svc.cluster.local",'
    '"dst.workload":"http-server-7bbf596dd9-4rgdc","dst.namespace":"default",'
    '"dst.identity":"spiffe://cluster.local/ns/default/sa/http-server-sa","direction":"outbound","bytes_sent":16,'
    '"bytes_recv":16,"duration":"1006ms"}'
)
EMISSARY = (
    'ACCESS [2019-08-22T09:14:59.499Z] "GET /openapi-docs HTTP/1.1" 200 - 0 989 5 1 "10.52.2.21" "Go-http-client/1.1" '
    '"bc391742-0ad4-4f0d-9e00-6e81266a1480" "ambassador" "10.55.253.138:5000"',
    'ACCESS [2019-04-06T06:20:05.972Z] "- - -" 0 UF,URX 0 0 0 - "-" "-" "-" "-" "127.0.0.1:9200"',
)
LINES = (README, KIALI, KIALI_WITHOUT_TARGET, NOT_ALLOWED, STRICT, BLOCKED, VIRTUAL_MACHINE, JSON)


def calls(*lines: str | bytes, format: str = "auto", limits: Limits | None = None) -> list[dict[str, Any]]:
    """Rows in the order of their lines, addresses as text, `logged` as names, without what is empty."""
    bodies = pa.array([line.encode() if isinstance(line, str) else line for line in lines], pa.large_binary())
    decoded = decoder(format, limits or Limits()).decode(bodies)
    assert decoded.dead == []
    rows: list[dict[str, Any]] = sorted(decoded.tables["calls"].to_pylist(), key=lambda row: row["_message"])
    for row in rows:
        row |= {name: ip_text(row[name]) for name in ("source_ip", "destination_ip")}
        row["logged"] = {name for name, bit in LOGGED_BIT.items() if row["logged"] >> bit & 1}
        row["attributes"] = dict(row["attributes"])
    return [{name: value for name, value in row.items() if value} for row in rows]


def dead(*lines: str, format: str = "auto", limits: Limits | None = None) -> list[str]:
    bodies = pa.array([line.encode() for line in lines], pa.large_binary())
    return [letter.reason for letter in decoder(format, limits or Limits()).decode(bodies).dead]


def test_an_outbound_line_reports_as_the_source() -> None:
    (row,) = calls(JSON)
    assert row.pop("raw") == JSON.encode()
    assert row.pop("logged") == {
        *("ts", "log_type", "source_ip", "source_port", "source_workload", "source_pod", "source_namespace"),
        *("source_principal", "destination_ip", "destination_port", "destination_workload", "destination_pod"),
        *("destination_namespace", "destination_service", "destination_principal", "duration_us", "bytes_sent"),
        *("bytes_received", "tls", "verdict", "termination_details"),
    }
    assert row == {
        "ts": datetime(2026, 8, 10, 8, 19, 57, 944669, UTC),
        "mesh": "istio",
        "reporter": "source",
        "log_type": "connection_end",
        "direction": "east_west",
        "protocol": "tcp",
        "tls": "mtls",
        "source_ip": "10.244.0.6",
        "source_port": 57866,
        "source_namespace": "default",
        "source_workload": "http-client",
        "source_pod": "http-client-7fc85576c4-h95l5",
        "source_principal": "spiffe://cluster.local/ns/default/sa/http-client-sa",
        "destination_ip": "10.244.0.7",
        "destination_port": 18080,
        "destination_namespace": "default",
        "destination_service": "http-service",
        "destination_workload": "http-server",
        "destination_pod": "http-server-7bbf596dd9-4rgdc",
        "destination_principal": "spiffe://cluster.local/ns/default/sa/http-server-sa",
        "duration_us": 1_006_000,
        "bytes_sent": 16,
        "bytes_received": 16,
        "verdict": "allowed",
        "fault": "none",
    }


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            README,  # the tunnel ends at a waypoint: what was asked for is a service's address
            {
                "reporter": "source",
                "destination_service": "echo",
                "destination_namespace": "default",
                "destination_workload": None,
                "destination_ip": "10.96.108.116",
                "destination_port": 80,
                "bytes_received": 67,
                "bytes_sent": 490,
                "duration_us": 13_000,
                "tls": "mtls",
            },
        ),
        (
            KIALI,  # dst.namespace holds the service's name
            {
                "reporter": "destination",
                "source_workload": "istio-ingressgateway",
                "source_namespace": "istio-system",
                "destination_namespace": "bookinfo",
                "destination_service": "productpage",
                "destination_workload": "productpage-v1",
                "destination_ip": "10.244.0.16",
                "destination_port": 9080,
                "bytes_received": 1551,
                "bytes_sent": 5483,
            },
        ),
        (
            KIALI_WITHOUT_TARGET,  # the tunnel's port is nobody's
            {"destination_ip": "10.244.0.14", "destination_port": None, "destination_workload": "reviews-v2"},
        ),
        (
            NOT_ALLOWED,
            {"verdict": "denied", "denied_by": "none", "fault": "mesh", "response_flags": None, "tls": "mtls"},
        ),
        (
            STRICT,  # a caller that nobody knows, without a certificate
            {
                "verdict": "denied",
                "denied_by": "istio-system/istio_converted_static_strict",
                "tls": "plaintext",
                "source_ip": "10.217.0.2",
                "source_workload": None,
                "destination_workload": "golang-ex",
                "destination_port": 8080,
            },
        ),
        (
            BLOCKED,
            {
                "verdict": None,
                "fault": "network",
                "response_flags": "UF",
                "reporter": "source",
                "duration_us": 10_002_000,
            },
        ),
        (
            VIRTUAL_MACHINE,
            {
                "destination_ip": None,
                "destination_port": 3306,
                "destination_service": "mysql",
                "destination_namespace": "vm-db",
                "destination_workload": "vm-mysql",
            },
        ),
    ],
)
def test_real_lines(line: str, expected: dict[str, Any]) -> None:
    (row,) = calls(line)
    if row["verdict"] == "unknown":
        del row["verdict"]
    assert {name: row.get(name) for name in expected} == expected


def test_text_and_json_of_one_connection_are_one_row() -> None:
    record = json.loads(JSON)
    head = f"{record.pop('time')}\t{record.pop('level')}\t{record.pop('scope')}\t{record.pop('message')}\t"
    text = head + " ".join(f'{k}="{v}"' if isinstance(v, str) else f"{k}={v}" for k, v in record.items())
    bare = head + " ".join(f"{k}={v}" for k, v in reversed(record.items()))
    rows = calls(text, bare, JSON)
    assert len({repr(sorted({**row, "raw": b"", "logged": "", "_message": 0}.items())) for row in rows}) == 1
    assert len({frozenset(row["logged"]) for row in rows}) == 1


def test_an_opening_line_is_not_counted_and_a_waypoints_leg_neither() -> None:
    opened = README.replace("INFO", "DEBUG").replace("complete", "opened").partition(" bytes_sent")[0]
    leg = KIALI.replace("istio-ingressgateway-cbdcbb75c-9q9nb", "waypoint-5567b86c58-jtj8k")
    nameless = KIALI.replace("src.workload=istio-ingressgateway-cbdcbb75c-9q9nb ", "").replace(
        "istio-ingressgateway-service-account", "reviews-waypoint"
    )
    sandwiched = nameless.replace("reviews-waypoint", "envoy-default-reviews-waypoint-b1b67dfe")
    assert [row["log_type"] for row in calls(opened, leg, nameless, sandwiched)] == [
        "connection_start",
        *["upstream_end"] * 3,
    ]
    assert "duration_us" not in calls(opened)[0]["logged"]


def test_an_early_failure_tells_little() -> None:
    line = (
        "2025-01-01T00:00:00Z\twarn\taccess\tconnection failed\tsrc.addr=10.0.0.1:5 dst.addr=10.0.0.2:80 "
        'direction="inbound" error="unknown source: 10.0.0.1"'
    )
    (row,) = calls(line)
    assert (row["tls"], row["verdict"], row["fault"]) == ("unknown", "unknown", "mesh")
    assert not row["logged"] & {"tls", "source_principal", "duration_us"}


def test_wrappings_leave_the_line_its_own_time() -> None:
    envelope = json.dumps({"log": KIALI, "kubernetes": {"pod_name": "ztunnel-x", "cluster_name": "east"}})
    wrapped = calls(
        KIALI,
        "2031-01-01T00:00:00.5Z " + KIALI,
        "2031-01-01T00:00:00.5Z stdout F " + KIALI,
        "[pod/ztunnel-abc/istio-proxy] " + KIALI,
        envelope,
    )
    assert {row["ts"] for row in wrapped} == {datetime(2024, 4, 12, 10, 17, 44, 73519, UTC)}
    assert [row.get("destination_cluster") for row in wrapped] == [None, None, None, None, "east"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            ("2024-04-12T10", "2424-04-12T10"),
            "time is '2424-04-12T10:17:44.081519Z', expected a time within 1971..2100",
        ),
        (('direction="inbound"', "direction=up"), "direction is 'up', expected inbound or outbound"),
        (('direction="inbound" ', ""), "direction is missing, expected inbound or outbound"),
        (("bytes_sent=5483", "bytes_sent=-1"), "bytes_sent is '-1', expected a count of bytes"),
        (('"8ms"', '"8 parsecs"'), "duration is '8 parsecs', expected a time such as 13ms"),
        ((" dst.addr=", " src.addr=1.1.1.1:1 dst.addr="), "'src.addr' twice"),
        (("src.namespace=istio-system", 'src.namespace="istio-system'), "no field at character"),
    ],
)
def test_a_wrong_line_is_told(change: tuple[str, str], reason: str) -> None:
    assert reason in dead(KIALI.replace(*change))[0]


def test_a_ztunnel_line_elsewhere_is_told() -> None:
    assert "looks like a ztunnel access log line" in dead(KIALI, format="istio_text")[0]
    assert "looks like ztunnel_json" in dead(JSON, format="ztunnel_text")[0]
    assert "expected ztunnel_text" in dead('[2016-04-15T20:17:00Z] "GET / HTTP/2" 200', format="ztunnel_text")[0]


def test_text_in_quotes_is_no_field() -> None:
    spoof = 'x\\" src.identity=\\"spiffe://a/ns/b/sa/c'
    (row,) = calls(KIALI + f' error="{spoof}" note="a b=c" odd=1')
    assert row["source_principal"].endswith("istio-ingressgateway-service-account")
    assert row["termination_details"] == spoof.replace("\\", "")
    assert row["attributes"] == {"note": "a b=c", "odd": "1"}


def test_limits_hold() -> None:
    assert "longer than 64 bytes" in dead(KIALI, limits=Limits(value_bytes=64))[0]
    assert "more than 9 fields" in dead(KIALI, limits=Limits(keys=9))[0]


def test_failures() -> None:
    cases = {
        "connection closed due to policy rejection: explicitly denied by: ns/name": Failure(
            "denied", "ns/name", "mesh", ""
        ),
        "connection closed due to policy change": Failure("denied", "", "mesh", ""),
        "http status: 401 Unauthorized": Failure("denied", "", "mesh", ""),
        "http status: 503 Service Unavailable": Failure("unknown", "", "callee", "UF"),
        "connection failed: Connection refused (os error 111)": Failure("unknown", "", "network", "UF"),
        "no healthy upstream: 10.0.0.1:80": Failure("unknown", "", "callee", "UH"),
        "tls error: certificate expired": Failure("unknown", "", "mesh", "UF"),
        "client disconnected before all data was written": Failure("unknown", "", "caller", "DC"),
        "something new": Failure("unknown", "", "unknown", "UC"),
    }
    assert {error: judge(error, inbound=False) for error in cases} == cases
    assert judge("connection failed: Connection refused", inbound=True).fault == "callee"


FIELD_TEXT = st.lists(
    st.sampled_from(
        [
            *FIELDS[:4],
            "error",
            "new.key",
            "=",
            '"',
            "\\",
            " ",
            "\t",
            '="a b"',
            "=word",
            '="\\"x\\" y=z"',
            '=""',
            "é",
            "=",
        ]
    ),
    max_size=12,
).map("".join)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(FIELD_TEXT, st.binary(max_size=20).filter(lambda b: b"\n" not in b)), max_size=6))
def test_all_at_once_says_what_one_by_one_says(texts: list[str | bytes]) -> None:
    bodies = [text.encode() if isinstance(text, str) else text for text in texts]
    lines = split_lines(pa.array(bodies, pa.large_binary()))
    found = cut_fields(lines.spans, FIELDS, Limits(), joined=frozenset({"error"}))
    for row in range(len(lines)):
        expected = line_fields(lines.spans[row].decode("utf-8", "backslashreplace"), Limits(), frozenset({"error"}))
        columns = {name: column[row].as_py() for name, column in found.columns.items() if column[row].is_valid}
        if isinstance(expected, str):
            assert found.wrong[row] == expected
            assert (columns, found.extra[row].as_py()) == ({}, [])
        else:
            assert row not in found.wrong
            assert {**columns, **dict(found.extra[row].as_py())} == expected
