"""Linkerd's access log: the documentation's lines as rows, what a 403 means, who is called, what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.collector.decode.proxy_rows import decoded, reasons
from tests.collector.decode.proxy_samples import LINKERD, LINKERD_JSON, LINKERD_JSON_RECORD, LINKERD_PROBE
from tests.collector.identity.rows import book

TRAFFIC = "traffic.booksapp.serviceaccount.identity.linkerd.cluster.local"
POD = {
    "namespace_name": "booksapp",
    "pod_name": "webapp-7c9f8d7b6d-x2x4z",
    "pod_ip": "10.42.0.71",
    "labels": {"linkerd.io/proxy-deployment": "webapp", "app": "webapp"},
}


def line(**changes: Any) -> str:
    return json.dumps({**LINKERD_JSON_RECORD, **changes})


def in_pod(text: str) -> str:
    return json.dumps({"log": text, "stream": "stderr", "kubernetes": POD})


def test_apache() -> None:
    called, probed = decoded(LINKERD, LINKERD_PROBE)
    assert called.pop("logged") == {
        *("ts", "method", "path", "operation", "authority", "protocol", "status", "tls"),
        *("source_ip", "source_port", "source_principal", "source_namespace"),
    }
    assert called == {
        "ts": datetime(2022, 8, 23, 20, 28, 20, 71809, UTC),
        "mesh": "linkerd",
        "reporter": "destination",
        "log_type": "request",
        "direction": "east_west",
        "protocol": "http2",
        "method": "GET",
        "path": "/",
        "operation": "GET /",
        "authority": "webapp:7000",
        "status": 200,
        "source_ip": "10.42.0.63",
        "source_port": 51160,
        "source_namespace": "booksapp",
        "source_principal": TRAFFIC,
        "destination_namespace": "booksapp",
        "destination_service": "webapp",
        "destination_port": 7000,
        "tls": "mtls",
        "verdict": "allowed",
        "fault": "none",
        "attributes": {},
    }
    assert (probed["tls"], probed["protocol"], probed["path"]) == ("plaintext", "http", "/ping")
    assert "source_principal" not in probed and "source_principal" in probed["logged"]
    assert "destination_service" not in probed


def test_json() -> None:
    (row,) = decoded(LINKERD_JSON)
    assert row["logged"] >= {"bytes_sent", "duration_us", "user_agent", "request_id", "trace_id"}
    assert "bytes_received" not in row["logged"], "no content-length says nothing of the size"
    told = {name: row.get(name) for name in ("bytes_sent", "duration_us", "user_agent", "request_id", "status")}
    assert told == {
        "bytes_sent": 19627,
        "duration_us": 14441,
        "user_agent": "Go-http-client/1.1",
        "request_id": None,
        "status": 200,
    }
    assert row["attributes"] == {"processing_ns": "39826"}
    assert row["ts"] == datetime(2022, 8, 23, 20, 33, 42, 321746, UTC)


@pytest.mark.parametrize("text", [LINKERD, LINKERD_JSON])
def test_the_pod_that_wrote_the_line_is_the_callee(text: str) -> None:
    (found,) = decoded(in_pod(text))
    assert {name: found[name] for name in found if name.startswith("destination")} == {
        "destination_namespace": "booksapp",
        "destination_workload": "webapp",
        "destination_service": "webapp",
        "destination_pod": "webapp-7c9f8d7b6d-x2x4z",
        "destination_ip": "10.42.0.71",
        "destination_port": 7000,
    }
    assert found["logged"] >= {"destination_namespace", "destination_workload", "destination_pod"}


def test_what_is_known_of_the_address_outranks_the_name_that_the_caller_chose() -> None:
    pod = {"name": "10.42.0.71", "namespace": "booksapp", "workload": "webapp", "service": "web"}
    text = json.dumps({"log": LINKERD, "kubernetes": {"namespace_name": "booksapp", "pod_ip": "10.42.0.71"}})
    assert decoded(text)[0]["destination_service"] == "webapp"
    assert decoded(text, book=book(pod))[0]["destination_service"] == "web"


@pytest.mark.parametrize(
    ("changes", "verdict", "fault"),
    [
        ({"status": 403, "response_bytes": "0"}, "denied", "mesh"),
        ({"status": 403, "response_bytes": "19"}, "allowed", "caller"),
        ({"status": 403, "response_bytes": ""}, "unknown", "caller"),
        ({"status": 200, "response_bytes": "0"}, "allowed", "none"),
        ({"status": 200, "response_bytes": "0", "user_agent": "grpc-go/1.60"}, "unknown", "unknown"),
        ({"status": 200, "response_bytes": "", "user_agent": "grpc-go/1.60"}, "allowed", "none"),
        ({"status": 503}, "allowed", "callee"),
        ({"status": None}, "unknown", "unknown"),
    ],
)
def test_a_refusal_of_the_proxy_has_no_body(changes: dict[str, Any], verdict: str, fault: str) -> None:
    (row,) = decoded(line(**changes))
    assert (row["verdict"], row["fault"]) == (verdict, fault)


def test_an_apache_line_cannot_tell_whose_a_403_is() -> None:
    (row,) = decoded(LINKERD.removesuffix("200") + "403")
    assert (row["status"], row["verdict"], row["fault"]) == (403, "denied", "mesh")


@pytest.mark.parametrize(
    ("given", "request_id", "trace_id"),
    [
        ("463ac35c9f6413ad48485a3953bb6124", "463ac35c9f6413ad48485a3953bb6124", "463ac35c9f6413ad48485a3953bb6124"),
        ("463ac35c9f6413ad", "463ac35c9f6413ad", "0000000000000000463ac35c9f6413ad"),
        ("7feeda0a-3f6e-4000-8000-000000000017", "7feeda0a-3f6e-4000-8000-000000000017", None),
        ("Root=1-67891233-abcdef012345678912345678", "Root=1-67891233-abcdef012345678912345678", None),
    ],
)
def test_one_key_for_three_headers(given: str, request_id: str, trace_id: str | None) -> None:
    (row,) = decoded(line(trace_id=given))
    assert (row.get("request_id"), row.get("trace_id")) == (request_id, trace_id)


@pytest.mark.parametrize(
    ("uri", "host", "path", "authority", "service"),
    [
        ("http://webapp:7000/books/12?x=1", "", "/books/12?x=1", "webapp:7000", "webapp"),
        ("http://webapp:7000", "", "/", "webapp:7000", "webapp"),
        (
            "/books",
            "webapp.booksapp.svc.cluster.local:7000",
            "/books",
            "webapp.booksapp.svc.cluster.local:7000",
            "webapp",
        ),
        ("http://shop.example.com/", "", "/", "shop.example.com", None),
        ("*", "", "*", None, None),
    ],
)
def test_who_was_asked(uri: str, host: str, path: str, authority: str | None, service: str | None) -> None:
    (row,) = decoded(line(uri=uri, host=host))
    assert (row["path"], row.get("authority"), row.get("destination_service")) == (path, authority, service)
    assert row["direction"] == "east_west"


def test_identities_of_external_workloads_are_spiffe() -> None:
    (row,) = decoded(line(**{"client.id": "spiffe://root.linkerd.cluster.local/ns/vm/sa/legacy"}))
    assert row["source_principal"] == "spiffe://root.linkerd.cluster.local/ns/vm/sa/legacy"
    assert row["source_namespace"] == "vm"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"timestamp": "yesterday"}, "timestamp is 'yesterday', expected a time"),
        ({"status": "ok"}, "status is 'ok', expected a status 0..999"),
        ({"total_ns": "-5"}, "total_ns is '-5', expected a duration, not negative"),
    ],
)
def test_refused(changes: dict[str, Any], reason: str) -> None:
    assert reasons(line(**changes))[0].startswith(reason)


def test_what_a_peer_writes_refuses_nothing() -> None:
    (row,) = decoded(line(request_bytes="lots", response_bytes="9" * 40, trace_id="\x00", user_agent='"'))
    assert row["logged"].isdisjoint({"bytes_received", "bytes_sent"})
