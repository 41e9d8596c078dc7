"""The map: its numbers against the slow reference, its windows, names and filters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyzers.dependencies.derive import derive
from analyzers.dependencies.model import Edge
from analyzers.dependencies.service_map import service_map
from storage.engine import Engine
from storage.tables import ALIASES
from tests.analyzers.map_reference import numbers
from tests.analyzers.records import T0, at, call, insert, insert_calls, insert_spans, span

NOW = datetime(2026, 1, 2, tzinfo=UTC)
BASE = ("base_edges_1m", "base_edges_10m", "base_edges_1h", "base_edges_6h")
TABLES = ("calls", "edges_1m", "edges_1h", *BASE, "edges_1d", "edge_keys", "edge_ledger", "address_minutes")


def edges(engine: Engine, **arguments: Any) -> dict[tuple[str, str], Edge]:
    return {(edge.source, edge.destination): edge for edge in service_map(engine, **arguments).edges}


def named(ts_s: float, source: str, destination: str, **fields: Any) -> dict[str, Any]:
    return call(
        ts_s,
        source_namespace="shop",
        source_service=source,
        destination_namespace="shop",
        destination_service=destination,
        **{"reporter": "source", "direction": "east_west", "protocol": "http", "status": 200, **fields},
    )


CALL = st.builds(
    named,
    st.sampled_from([0, 59.999999, 60, 1800, 3599.5, 3600, 7300]),
    st.sampled_from(["web", "api"]),
    st.sampled_from(["api", "db"]),
    reporter=st.sampled_from(["source", "destination", "gateway", "waypoint", "unknown"]),
    protocol=st.sampled_from(["http", "http", "tcp"]),
    status=st.sampled_from([0, 200, 404, 500, 503]),
    grpc_status=st.sampled_from([0, 5, 14]),
    response_flags=st.sampled_from(["-", "DC", "UF", "UF,URX"]),
    verdict=st.sampled_from(["allowed", "denied", "unknown"]),
    fault=st.sampled_from(["none", "callee", "network"]),
    tls=st.sampled_from(["mtls", "plaintext", "unknown"]),
    duration_us=st.one_of(st.just(0), st.integers(1, 10**10)),
    bytes_sent=st.integers(0, 10**6),
    operation=st.sampled_from(["GET /", "GET /a"]),
    weight=st.sampled_from([1, 1, 1, 2, 5]),
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=st.lists(CALL, min_size=1, max_size=40), cut=st.sampled_from([None, (0, 3600), (60, 7200), (30, 7320)]))
def test_numbers_equal_the_reference(engine: Engine, calls: list[dict[str, Any]], cut: tuple[int, int] | None) -> None:
    for table in TABLES:
        engine.execute(f"TRUNCATE TABLE {table}")
    insert_calls(engine, calls[::2])
    insert_calls(engine, calls[1::2])
    since, until = (at(cut[0]), at(cut[1])) if cut else (None, None)
    whole_minute = since.replace(second=0) if since else None
    inside = [c for c in calls if (not whole_minute or c["ts"] >= whole_minute) and (not until or c["ts"] < until)]
    found, expected = edges(engine, since=since, until=until), numbers(inside)
    assert found.keys() == expected.keys()
    for pair, edge in found.items():
        want = expected[pair]
        assert (edge.requests, edge.attempts, edge.denied, edge.errors) == (
            want.requests,
            want.attempts,
            want.denied,
            want.errors,
        )
        assert (dict(edge.statuses), dict(edge.faults), edge.bytes_sent) == (
            want.statuses,
            want.faults,
            want.bytes_sent,
        )
        assert edge.mtls_share == (None if want.mtls_share is None else pytest.approx(want.mtls_share, abs=1e-6))
        assert edge.p50_ms is not None
        assert edge.p95_ms is not None
        assert edge.p99_ms is not None
        for got, exact in zip((edge.p50_ms, edge.p95_ms, edge.p99_ms), want.quantiles_us, strict=True):
            assert got * 1000 == pytest.approx(exact, rel=0.0101)


def test_a_retried_call_is_one_request_and_two_attempts(engine: Engine) -> None:
    attempts = [named(n, "web", "api", reporter="destination", status=status) for n, status in enumerate((503, 200))]
    insert_calls(engine, [named(0, "web", "api"), *attempts])
    edge = edges(engine)["shop/web", "shop/api"]
    assert (edge.requests, edge.attempts, list(edge.disagreements)) == (1, 2, [])


@pytest.mark.parametrize(
    ("sent", "received", "told"),
    [
        ([200, 503], [503, 200, 503, 503], False),  # each of the callee's failures may have been tried again
        ([504], [0, 0], False),  # the caller gave up twice
        ([503], [503, 403, 200, 200], True),  # the caller's log is filtered to errors
        ([200] * 5, [200] * 50, True),  # the caller's log is sampled
        ([503], [429, 503], False),
    ],
)
def test_more_at_the_callee_is_a_disagreement_where_no_retry_explains_it(
    engine: Engine, sent: list[int], received: list[int], told: bool
) -> None:
    def line(second: int, status: int, reporter: str) -> dict[str, Any]:
        flags = "DC" if reporter == "destination" and not status else "-"
        fault = "callee" if status >= 500 else "none" if 200 <= status < 400 else "caller"
        return named(second, "web", "api", status=status, reporter=reporter, response_flags=flags, fault=fault)

    insert_calls(
        engine,
        [
            line(n, status, side)
            for side, all in (("source", sent), ("destination", received))
            for n, status in enumerate(all)
        ],
    )
    edge = edges(engine)["shop/web", "shop/api"]
    assert (edge.requests, edge.attempts) == (len(sent), len(received))
    values = [len(sent), len(received)]
    expected = [{"what": "requests", "between": ["source", "destination"], "values": values}]
    assert list(edge.disagreements) == (expected if told else [])
    # The callee sees some requests begin in a window that the caller saw begin before it.
    insert_calls(engine, [named(60 + n / 100, "web", "old", reporter="source") for n in range(5800)])
    insert_calls(engine, [named(60.001 + n / 100, "web", "old", reporter="destination") for n in range(5900)])
    assert not edges(engine, since=at(60), until=at(120))["shop/web", "shop/old"].disagreements


def test_retried_grpc_calls_are_no_disagreement(engine: Engine) -> None:
    def line(second: int, grpc_status: int, reporter: str) -> dict[str, Any]:
        fault = "callee" if grpc_status else "none"
        return named(second, "web", "api", protocol="grpc", grpc_status=grpc_status, reporter=reporter, fault=fault)

    insert_calls(
        engine, [line(0, 0, "source"), *(line(n, status, "destination") for n, status in enumerate([14, 8, 0]))]
    )
    assert not edges(engine)["shop/web", "shop/api"].disagreements
    insert_calls(engine, [line(3, 0, "destination")])
    assert edges(engine)["shop/web", "shop/api"].disagreements


def test_a_row_that_stands_for_no_new_call_shows_the_edge_and_its_bytes(engine: Engine) -> None:
    row = named(0, "web", "api", weight=0, bytes_sent=7, duration_us=1000, fault="callee", verdict="denied")
    insert_calls(engine, [row, by_address(0, "10.0.0.1", weight=0, bytes_sent=9, status=200)])
    derive(engine, now=NOW)
    found = edges(engine)
    assert {pair: (edge.requests, edge.bytes_sent) for pair, edge in found.items()} == {
        ("shop/web", "shop/api"): (0, 7),
        ("unknown", "shop/db"): (0, 9),
    }
    for edge in found.values():
        assert (dict(edge.statuses), dict(edge.faults), edge.p50_ms, edge.errors) == ({}, {}, None, 0)


def test_a_weight_counts_in_derived_edges_too(engine: Engine) -> None:
    rows = [by_address(0, "10.0.0.1", weight=4, status=503, fault="callee"), by_address(1, "10.0.0.1", status=200)]
    insert_calls(engine, rows)
    derive(engine, now=NOW)
    edge = edges(engine)["unknown", "shop/db"]
    assert (edge.requests, edge.errors, dict(edge.statuses)) == (5, 4, {"200": 1, "503": 4})
    assert dict(edge.faults) == {"callee": 4}


def test_what_no_line_tells_is_none(engine: Engine) -> None:
    row = named(0, "web", "api")
    del row["status"]
    insert_calls(engine, [call(0, **{k: v for k, v in row.items() if k not in ("ts", "logged", "log_type")})])
    edge = edges(engine)["shop/web", "shop/api"]
    assert edge.attempts is None
    assert edge.denied is None
    assert edge.mtls_share is None
    assert (edge.p50_ms, edge.bytes_sent, dict(edge.statuses)) == (None, None, {})


def test_an_empty_store_has_an_empty_map(engine: Engine) -> None:
    assert service_map(engine).to_document() == {"since": None, "until": None, "nodes": [], "edges": []}


def test_a_workload_and_a_principal_join_the_service_that_another_line_names(engine: Engine) -> None:
    common = {"reporter": "destination", "destination_namespace": "shop", "destination_service": "db"}
    insert_calls(
        engine,
        [
            call(0, source_namespace="shop", source_workload="api-v1", source_service="api", **common),
            call(1, source_namespace="shop", source_workload="api-v1", **common),
            call(
                2,
                source_namespace="shop",
                source_workload="api-v1",
                source_principal="spiffe://cluster.local/ns/shop/sa/api-account",
                **common,
            ),
            call(3, source_principal="spiffe://cluster.local/ns/shop/sa/api-account", **common),
            call(4, source_principal="api-account.shop.serviceaccount.identity.linkerd.cluster.local", **common),
        ],
    )
    found = edges(engine)
    assert {pair: edge.requests for pair, edge in found.items()} == {("shop/api", "shop/db"): 5}


def test_a_span_without_namespace_joins_its_only_namesake(engine: Engine) -> None:
    insert_calls(engine, [named(0, "web", "api", tls="mtls", reporter="destination")])
    insert_spans(engine, [span(1, "a", "", "web", "client"), span(1, "b", "a", "api", "server")])
    derive(engine, now=NOW)
    (edge,) = service_map(engine).edges
    assert (edge.source, edge.destination, edge.evidence) == ("shop/web", "shop/api", ["log", "trace"])
    assert (edge.requests, edge.mtls_share) == (1, 1.0)


def test_a_name_in_two_namespaces_stays_bare(engine: Engine) -> None:
    other = {"reporter": "source", "destination_namespace": "other", "destination_service": "api"}
    insert_calls(engine, [named(0, "web", "api"), call(0, source_namespace="shop", source_service="web", **other)])
    insert_spans(engine, [span(1, "a", "", "web", "client"), span(1, "b", "a", "api", "server")])
    derive(engine, now=NOW)
    assert ("shop/web", "api") in edges(engine)


def test_hosts_outside_and_unknown_callers(engine: Engine) -> None:
    insert_calls(
        engine,
        [
            call(
                0,
                reporter="source",
                source_namespace="shop",
                source_service="pay",
                direction="egress",
                destination_service="api.bank.example",
            ),
            call(0, reporter="destination", destination_namespace="shop", destination_service="web"),
        ],
    )
    found = service_map(engine)
    assert {(e.source, e.destination, e.direction) for e in found.edges} == {
        ("shop/pay", "external:api.bank.example", "egress"),
        ("unknown", "shop/web", "east_west"),
    }
    assert {node.id: node.kind for node in found.nodes} == {
        "shop/pay": "service",
        "shop/web": "service",
        "external:api.bank.example": "external",
        "unknown": "unknown",
    }


def alias(name: str, service: str, valid_from_s: float, valid_to_s: float) -> dict[str, Any]:
    return {
        "kind": "pod_ip",
        "name": name,
        "valid_from": at(valid_from_s),
        "valid_to": at(valid_to_s),
        "namespace": "shop",
        "workload": service,
        "service": service,
        "evidence": "inventory",
        "loaded_at": T0,
    }


def by_address(ts_s: float, source_ip: str, **fields: Any) -> dict[str, Any]:
    mapped = bytes(10) + b"\xff\xff" + bytes(int(part) for part in source_ip.split("."))
    return call(
        ts_s,
        edge_id=0,
        reporter="destination",
        source_ip=mapped,
        destination_namespace="shop",
        destination_service="db",
        **{"status": 200, **fields},
    )


def test_a_caller_known_by_address_gets_its_name_from_a_later_inventory(engine: Engine) -> None:
    insert_calls(engine, [by_address(0, "10.0.0.7"), by_address(100, "10.0.0.7"), by_address(5000, "10.0.0.7")])
    derive(engine, now=NOW)
    assert edges(engine).keys() == {("unknown", "shop/db")}
    insert(engine, ALIASES, [alias("10.0.0.7", "web", -60, 60), alias("10.0.0.7", "job", 60, 4000)])
    derive(engine, now=NOW + timedelta(minutes=1))
    assert {pair: edge.requests for pair, edge in edges(engine).items()} == {
        ("shop/web", "shop/db"): 1,
        ("shop/job", "shop/db"): 1,
        ("unknown", "shop/db"): 1,
    }


def test_a_caller_known_by_address_is_named_by_the_other_side_of_the_same_request(engine: Engine) -> None:
    insert_calls(engine, [by_address(0.1, "127.0.0.1", request_id="r1"), named(0, "web", "db", request_id="r1")])
    derive(engine, now=NOW)
    edge = edges(engine)["shop/web", "shop/db"]
    assert (edge.requests, edge.attempts) == (1, 1)


def test_filters_keep_edges_with_an_end_there(engine: Engine) -> None:
    insert_calls(engine, [named(0, "web", "api"), named(0, "api", "db")])
    assert edges(engine, service="web").keys() == {("shop/web", "shop/api")}
    assert edges(engine, service="shop/db").keys() == {("shop/api", "shop/db")}
    assert edges(engine, namespace="nowhere") == {}


def test_a_gateways_edge_is_ingress_on_both_sides_lines(engine: Engine) -> None:
    insert_calls(
        engine,
        [
            named(0, "gateway", "web", reporter="gateway", direction="ingress"),
            named(0, "gateway", "web", reporter="destination"),
        ],
    )
    found = service_map(engine)
    (edge,) = found.edges
    assert (edge.direction, edge.requests, edge.attempts) == ("ingress", 1, 1)
    assert {node.id: node.kind for node in found.nodes} == {"shop/gateway": "gateway", "shop/web": "service"}


def test_what_retention_left_in_coarser_rollups_is_still_shown(engine: Engine) -> None:
    insert_calls(engine, [named(0, "web", "api"), named(1800, "web", "api", operation="GET /a")])
    insert_spans(engine, [span(1, "a", "", "jobs", "client", peer_service="mail")])
    derive(engine, now=NOW)
    log, trace = ("shop/web", "shop/api"), ("jobs", "mail")

    def requests(**window: Any) -> dict[tuple[str, str], int]:
        return {pair: edge.requests for pair, edge in edges(engine, **window).items()}

    half_hour = {"since": at(0), "until": at(1800)}
    assert requests(**half_hour) == {log: 1, trace: 1}
    for table in ("edges_1m", "base_edges_1m", "base_edges_10m", "derived_edges_1m"):
        engine.execute(f"TRUNCATE TABLE {table}")
    assert requests(**half_hour) == requests() == {log: 2, trace: 1}
    for table in ("edges_1h", "base_edges_1h", "base_edges_6h", "derived_edges_1h"):
        engine.execute(f"TRUNCATE TABLE {table}")
    assert requests() == {log: 2, trace: 1}


def test_a_rate_is_over_the_whole_minutes_that_were_counted(engine: Engine) -> None:
    insert_calls(engine, [named(30, "web", "api"), named(31, "web", "api")])
    found = service_map(engine, at(45), at(46))
    assert (found.since, found.until) == (at(0), at(60))
    assert [edge.rps for edge in found.edges] == [pytest.approx(2 / 60, abs=1e-6)]


def test_lines_do_not_speak_for_an_address_that_the_inventory_knows_of_another_time(engine: Engine) -> None:
    """A pod had the address before and another after; the lines of the later one say nothing of the time between."""
    insert(engine, ALIASES, [alias("10.0.0.7", "web", -600, 0), alias("10.0.0.7", "job", 600, 6000)])
    mapped = bytes(10) + b"\xff\xff" + bytes((10, 0, 0, 7))
    insert_calls(engine, [by_address(300, "10.0.0.7"), named(700, "job", "db", source_ip=mapped)])
    derive(engine, now=NOW)
    assert edges(engine).keys() == {("unknown", "shop/db"), ("shop/job", "shop/db")}


def test_the_pod_under_a_sidecar_is_no_host_outside(engine: Engine) -> None:
    mapped = bytes(10) + b"\xff\xff" + bytes((10, 0, 0, 20))
    inbound = {"edge_id": 0, "reporter": "destination", "destination_ip": mapped, "verdict": "denied"}
    insert_calls(engine, [call(0, **inbound)])
    derive(engine, now=NOW)
    (edge,) = service_map(engine).edges
    assert (edge.source, edge.destination, edge.direction) == ("unknown", "10.0.0.20", "east_west")
    insert_calls(engine, [call(1, **inbound, destination_namespace="shop", destination_service="cart")])
    derive(engine, now=NOW + timedelta(minutes=1))
    assert {pair: edge.denied for pair, edge in edges(engine).items()} == {("unknown", "shop/cart"): 2}
