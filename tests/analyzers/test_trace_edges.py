"""Trace edges: compiled SQL against the slow reference, late spans, and replacement by minute."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyzers.dependencies.derive import derive
from analyzers.dependencies.service_map import service_map
from storage.engine import Engine
from tests.analyzers.records import insert_spans, span
from tests.analyzers.trace_reference import Row, Told, trace_rows, trace_statuses

NOW = datetime(2026, 1, 2, tzinfo=UTC)
KINDS = ("client", "server", "server", "producer", "consumer", "internal")


def derived_rows(engine: Engine) -> Counter[Row]:
    """What the store holds as current trace edges, in the reference's form."""
    return derived(engine)[0]


def derived(engine: Engine) -> tuple[Counter[Row], Counter[Told]]:
    found = engine.query(
        """
        SELECT reporter, direction, source_namespace, source_service, destination_namespace, destination_service,
            sum(requests) AS requests, sum(errors) AS errors, sumMap(statuses) AS statuses
        FROM derived_edges_1m
        WHERE (kind, minute, generation) IN
            (SELECT kind, period, max(generation) FROM derived_periods WHERE grain = '1m' GROUP BY kind, period)
        GROUP BY ALL SETTINGS prefer_column_name_to_alias = 1"""
    )
    rows: Counter[Row] = Counter()
    statuses: Counter[Told] = Counter()
    for row in found.to_pylist():
        source = "/".join(filter(None, (row["source_namespace"], row["source_service"])))
        destination = "/".join(filter(None, (row["destination_namespace"], row["destination_service"])))
        if row["direction"] == "egress":
            destination = f"external:{destination}"
        rows[row["reporter"], source, destination, True] += row["errors"]
        rows[row["reporter"], source, destination, False] += row["requests"] - row["errors"]
        for status, count in row["statuses"]:
            statuses[row["reporter"], source, destination, status] += count
    return +rows, +statuses


@st.composite
def traces(draw: st.DrawFn) -> list[dict[str, Any]]:
    spans: list[dict[str, Any]] = []
    for trace in range(draw(st.integers(1, 8))):
        for number in range(draw(st.integers(1, 7))):
            parents = [s["span_id"] for s in spans if s["trace_id"] == f"{trace + 1:032x}"]
            parent = draw(st.sampled_from(["", "dead", *parents])) if parents else draw(st.sampled_from(["", "dead"]))
            kind = draw(st.sampled_from(KINDS))
            shared = int(kind == "server" and draw(st.booleans()))
            # The other half of an id, or (below the first choice) one whose client half is missing.
            span_id = draw(st.sampled_from([f"{trace}{number}", *parents])) if shared else f"{trace}{number}"
            spans.append(
                span(
                    draw(st.sampled_from([0, 1.5, 59.9, 61, 3599.9, 3601])),
                    span_id,
                    parent,
                    draw(st.sampled_from(["a", "b", "c"])),
                    kind,
                    trace=trace + 1,
                    namespace=draw(st.sampled_from(["", "shop"])),
                    shared=shared,
                    error=draw(st.integers(0, 1)),
                    http_status=draw(st.sampled_from([0, 0, 200, 404, 503])),
                    peer_service=draw(st.sampled_from(["", "", "peer"])),
                    peer_host=draw(st.sampled_from(["", "db.example.com"])),
                )
            )
    return spans


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=traces(), split=st.integers(0, 21), kept=st.booleans())
def test_sql_counts_what_the_reference_counts_in_any_order_of_arrival(
    engine: Engine, rows: list[dict[str, Any]], split: int, kept: bool
) -> None:
    for table in (
        "spans",
        "span_minutes",
        "derived_edges_1m",
        "derived_edges_1h",
        "derived_edges_1d",
        "derived_periods",
    ):
        engine.execute(f"TRUNCATE TABLE {table}")
    first, second = rows[:split], rows[split:]
    with pytest.MonkeyPatch.context() as older:
        if not kept:
            older.setattr("analyzers.dependencies.derive.can_materialize", lambda _: False)
        for part, number in ((first, 0), (second, 1)):
            if part:
                insert_spans(engine, part)
                derive(engine, now=NOW + timedelta(minutes=number))
    assert derived(engine) == (trace_rows(rows), trace_statuses(rows))


def test_a_second_run_finds_nothing_to_do(engine: Engine) -> None:
    insert_spans(engine, [span(0, "a", "", "web", "client"), span(0.1, "b", "a", "api", "server")])
    assert derive(engine, now=NOW).minutes["trace"] == 1
    assert derive(engine, now=NOW).minutes["trace"] == 0


def test_a_late_consumer_moves_its_producers_edge(engine: Engine) -> None:
    insert_spans(engine, [span(0, "a", "", "orders", "producer", peer_host="queue.example.com")])
    derive(engine, now=NOW)
    assert [(e.source, e.destination) for e in service_map(engine).edges] == [("orders", "external:queue.example.com")]
    insert_spans(engine, [span(400, "b", "a", "mail", "consumer")])
    derive(engine, now=NOW + timedelta(minutes=1))
    (edge,) = service_map(engine).edges
    assert (edge.source, edge.destination, edge.requests, edge.attempts) == ("orders", "mail", 1, 1)


@pytest.mark.parametrize("parent", ["", "root"])
def test_a_server_span_that_shares_its_clients_id(engine: Engine, parent: str) -> None:
    # As Zipkin joins them: the server's parent is the client's parent, not the client.
    root = [span(0, "root", "", "web", "server")] if parent else []
    client, server = span(0.1, "a", parent, "web", "client"), span(0.2, "a", parent, "api", "server", shared=1)
    insert_spans(engine, [*root, client, server])
    derive(engine, now=NOW)
    (edge,) = service_map(engine).edges
    assert (edge.source, edge.destination, edge.requests, edge.attempts) == ("web", "api", 1, 1)
    assert derived_rows(engine) == trace_rows([*root, client, server])


def test_minutes_between_those_derived_before_are_derived_with_their_partners(engine: Engine) -> None:
    insert_spans(
        engine, [span(0, "a", "", "web", "client", peer_host="x.example"), span(500, "z", "", "web", "internal")]
    )
    derive(engine, now=NOW)
    insert_spans(engine, [span(61, "b", "a", "api", "server")])
    assert derive(engine, now=NOW + timedelta(minutes=1)).minutes["trace"] == 2
    assert [edge.destination for edge in service_map(engine).edges] == ["api"]


class _Killed(Exception):
    """Where a process would have died."""


class _Mortal:
    """An engine whose user dies before the statement number `at`."""

    def __init__(self, engine: Engine, at: int) -> None:
        self.query = engine.query
        self.left = at
        self._engine = engine

    def execute(self, sql: str, parameters: Any = None, *, settings: Any = None) -> None:
        if not self.left:
            raise _Killed
        self.left -= 1
        self._engine.execute(sql, parameters, settings=settings)


def test_a_run_that_died_at_any_statement_is_made_up_for(engine: Engine) -> None:
    insert_spans(engine, [span(0, "a", "", "web", "client", peer_host="x.example")])
    derive(engine, now=NOW)
    insert_spans(
        engine, [span(61, "b", "a", "api", "server"), span(7200, "c", "", "web", "client", peer_host="y.example")]
    )
    for at in range(100):
        mortal = _Mortal(engine, at)
        try:
            derive(cast("Engine", mortal), now=NOW + timedelta(minutes=1 + at))
        except _Killed:
            continue
        break
    assert mortal.left  # the last run had something left to do, and came to its end
    whole = {(edge.source, edge.destination, edge.requests) for edge in service_map(engine).edges}
    assert whole == {("web", "api", 1), ("web", "external:y.example", 1)}
    hours = service_map(engine, datetime(2026, 1, 1, 10, tzinfo=UTC), datetime(2026, 1, 1, 13, tzinfo=UTC))
    assert {(edge.source, edge.destination, edge.requests) for edge in hours.edges} == whole


def test_a_partner_beyond_the_horizon_is_not_paired(engine: Engine) -> None:
    insert_spans(engine, [span(0, "a", "", "orders", "producer"), span(700, "b", "a", "mail", "consumer")])
    derive(engine, now=NOW)
    assert service_map(engine).edges == []


def test_only_closed_minutes_are_derived(engine: Engine) -> None:
    insert_spans(engine, [span(0, "a", "", "web", "client", peer_host="x.example")])
    insert_spans(engine, [span(60, "b", "", "web", "client", peer_host="y.example")])
    derive(engine, now=NOW, until=datetime(2026, 1, 1, 10, 1, tzinfo=UTC))
    assert [edge.destination for edge in service_map(engine).edges] == ["external:x.example"]


@pytest.mark.parametrize(("count", "failed", "errors"), [(1, 1, 1), (2, 1, 0), (2, 2, 1)])
def test_a_retried_request_fails_only_when_every_attempt_did(
    engine: Engine, count: int, failed: int, errors: int
) -> None:
    attempts = [span(0.1 * n, f"b{n}", "a", "api", "server", error=int(n < failed)) for n in range(count)]
    insert_spans(engine, [span(0, "a", "", "web", "client"), *attempts])
    derive(engine, now=NOW)
    (edge,) = service_map(engine).edges
    assert (edge.requests, edge.attempts, edge.errors) == (1, count, errors)


@pytest.mark.parametrize(
    ("client", "servers", "statuses"),
    [
        ({}, [{"http_status": 200}], {"200": 1}),
        ({}, [{"http_status": 500, "error": 1}], {"500": 1}),
        ({"http_status": 502, "error": 1}, [{"http_status": 200}], {"502": 1}),
        # A retried request ended as its last attempt did; a caller that gave up did not get the callee's answer.
        ({}, [{"http_status": 503, "error": 1}, {"http_status": 201}], {"201": 1}),
        ({"error": 1}, [{"http_status": 200}], {}),
    ],
)
def test_a_pair_has_the_status_that_either_side_knows(
    engine: Engine, client: dict[str, int], servers: list[dict[str, int]], statuses: dict[str, int]
) -> None:
    attempts = [span(0.1 * n, f"b{n}", "a", "api", "server", **told) for n, told in enumerate(servers)]
    insert_spans(engine, [span(0, "a", "", "web", "client", **client), *attempts])
    derive(engine, now=NOW)
    (edge,) = service_map(engine).edges
    assert (edge.requests, edge.statuses) == (1, statuses)


def test_a_pair_has_the_grpc_status_that_either_side_knows(engine: Engine) -> None:
    server = span(0.1, "b", "a", "api", "server", protocol="grpc", grpc_status=14, error=1)
    insert_spans(engine, [span(0, "a", "", "web", "client"), server])
    derive(engine, now=NOW)
    (edge,) = service_map(engine).edges
    assert (edge.requests, edge.errors, edge.grpc_statuses) == (1, 1, {"14": 1})
