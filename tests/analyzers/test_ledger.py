"""The ledger: first and last call per edge, principal, operation and evidence; withdrawn edges leave it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from analyzers.dependencies.derive import derive
from analyzers.dependencies.ledger import LedgerEntry, first_seen, ledger
from analyzers.dependencies.render.ledger_table import to_ledger_table
from storage.engine import Engine
from tests.analyzers.records import at, call, insert_calls, insert_spans, span

NOW = datetime(2026, 1, 2, tzinfo=UTC)
WEB, CRON = (f"spiffe://cluster.local/ns/shop/sa/{name}" for name in ("web", "cron"))


def named(ts_s: float, **fields: Any) -> dict[str, Any]:
    common = {"source_namespace": "shop", "source_service": "web", "destination_namespace": "shop"}
    return call(ts_s, **{**common, "destination_service": "api", "operation": "GET /", **fields})


def rows(entries: Any) -> list[tuple[Any, ...]]:
    return [(e.principal, e.operation, e.evidence, e.first_seen, e.last_seen) for e in entries]


def test_one_entry_per_principal_and_operation(engine: Engine) -> None:
    seen = {"reporter": "destination", "tls": "mtls"}
    insert_calls(
        engine,
        [
            named(100, source_principal=WEB, **seen),
            named(7300, source_principal=WEB, **seen),
            named(50, source_principal=CRON, **seen),
            named(500, source_principal=WEB, **{**seen, "operation": "PUT /"}),
            named(30, reporter="source"),
        ],
    )
    insert_calls(engine, [named(20, source_principal=WEB, **seen)])
    assert rows(ledger(engine)) == [
        (WEB, "GET /", "log", at(20), at(7300)),
        (None, "GET /", "log", at(30), at(30)),  # two principals: the caller's line may be of either
        (CRON, "GET /", "log", at(50), at(50)),
        (WEB, "PUT /", "log", at(500), at(500)),
    ]
    assert rows(ledger(engine, since=at(400), until=at(7300))) == [
        (WEB, "GET /", "log", at(20), at(7300)),
        (WEB, "PUT /", "log", at(500), at(500)),
    ]
    assert first_seen(ledger(engine)) == {("shop/web", "shop/api"): at(20)}


def test_a_line_without_a_principal_joins_the_only_one_unless_it_came_in_plaintext(engine: Engine) -> None:
    insert_calls(
        engine,
        [
            named(10, reporter="source"),
            named(11, reporter="destination", tls="mtls", source_principal=WEB),
            named(60, reporter="destination", tls="plaintext"),
        ],
    )
    found = ledger(engine)
    assert rows(found) == [(WEB, "GET /", "log", at(10), at(11)), (None, "GET /", "log", at(60), at(60))]
    assert [(list(entry.reporters), list(entry.tls)) for entry in found] == [
        (["destination", "source"], ["mtls"]),
        (["destination"], ["plaintext"]),
    ]


def test_a_withdrawn_derived_edge_is_gone(engine: Engine) -> None:
    insert_spans(engine, [span(0, "a", "", "web", "client", peer_host="db.example.com")])
    derive(engine, now=NOW)
    assert [(e.source, e.destination, e.evidence) for e in ledger(engine)] == [
        ("web", "external:db.example.com", "trace")
    ]
    insert_spans(engine, [span(1, "b", "a", "db", "server")])
    derive(engine, now=NOW + timedelta(minutes=1))
    assert {(e.source, e.destination, e.first_seen) for e in ledger(engine)} == {("web", "db", at(0))}


def test_each_evidence_has_its_own_times_and_filters_apply(engine: Engine) -> None:
    insert_calls(engine, [named(600, reporter="source")])
    insert_spans(
        engine,
        [
            span(0, "a", "", "web", "client", namespace="shop", name="GET /"),
            span(0, "b", "a", "api", "server", namespace="shop", name="GET /"),
        ],
    )
    derive(engine, now=NOW)
    found = ledger(engine)
    assert {entry.evidence: entry.first_seen for entry in found} == {"log": at(600), "trace": at(0)}
    assert ledger(engine, namespace="shop") == ledger(engine, service="web") == ledger(engine, service="shop/api")
    assert ledger(engine, namespace="nowhere") == []


def test_an_entry_is_a_document() -> None:
    entry = LedgerEntry("a/b", "c/d", None, "GET /", "log", ("source",), (), at(0), at(1))
    assert entry.to_document() == {
        "source": "a/b", "destination": "c/d", "principal": None, "operation": "GET /", "evidence": "log",
        "reporters": ["source"], "tls": [], "first_seen": "2026-01-01T10:00:00Z",
        "last_seen": "2026-01-01T10:00:01Z",
    }  # fmt: skip


def test_days_know_the_edge_but_not_the_operation(engine: Engine) -> None:
    insert_spans(engine, [span(0, "a", "", "web", "client", peer_service="db", operation="SELECT orders")])
    derive(engine, now=NOW)
    (whole,) = ledger(engine)
    assert whole.operation is not None
    for table in ("derived_edges_1m", "derived_edges_1h"):
        engine.execute(f"TRUNCATE TABLE {table}")
    (left,) = ledger(engine)
    assert (left.source, left.destination, left.operation) == ("web", "db", None)
    assert (left.first_seen, left.last_seen, left.evidence) == (whole.first_seen, whole.last_seen, "trace")


def test_names_in_the_table_are_only_names() -> None:
    hostile = "\x1b[31mroot\n"
    entry = LedgerEntry("a/b", hostile, hostile, hostile, "log", ("destination",), ("plaintext",), at(0), at(1))
    lines = to_ledger_table([entry, replace(entry, principal=None)]).splitlines()
    assert "\x1b" not in "".join(lines)
    assert lines[0].index("destination") == lines[1].index(r"\x1b[31mroot\x0a")
    assert len(lines) == 5 and "none (plaintext)" in lines[2] and lines[4] == "1 edges, 2 entries"
    assert to_ledger_table([]) == "0 edges, 0 entries\n"
