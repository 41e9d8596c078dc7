"""Findings in the store: written once an episode, read by window and kind."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pyarrow as pa

from analyzers.dependencies.windows import EARLIEST, LATEST
from analyzers.findings.model import QUIET, Evidence, Finding, Subject
from storage.conform import conform
from storage.engine import Engine
from storage.sql import load
from storage.tables import FINDINGS, arrow_schema

ROW_LIMIT = 100_000
_SUBJECT = ("source", "destination", "operation", "principal")


def findings(
    engine: Engine, since: datetime | None = None, until: datetime | None = None, kinds: Sequence[str] = ()
) -> Sequence[Finding]:
    """Findings whose episode overlaps [since, until), the latest first.

    Args:
        kinds: keep these only; none = all.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    window = {"since": since or EARLIEST, "until": until or LATEST}
    rows = engine.query(
        load("findings/findings").text, {**window, "kinds": list(kinds), "row_limit": ROW_LIMIT}
    ).to_pylist()
    return [_finding(row) for row in rows]


def _finding(row: Mapping[str, Any]) -> Finding:
    return Finding(
        id=row["id"],
        kind=row["kind"],
        severity=row["severity"],
        title=row["title"],
        subject=Subject(**{name: row[name] or None for name in _SUBJECT}),
        first_seen=row["first_seen"],
        last_seen=row["last_seen"],
        score=row["score"],
        threshold=row["threshold"],
        techniques=tuple(row["techniques"]),
        evidence=Evidence(
            row["sql"], json.loads(row["parameters"]), tuple(row["request_ids"]), tuple(row["trace_ids"])
        ),
        false_alarm_if=row["false_alarm_if"],
        details=dict(row["details"]),
    )


def keep(engine: Engine, found: Iterable[Finding], found_at: datetime, *, settled: bool = False) -> Sequence[Finding]:
    """Store findings; one of an episode that is stored already gets its id, and grows it.

    Of the two, what saw more of the episode stands: a narrower window takes nothing away.

    Args:
        settled: their ids are those of their episodes already, and they are stored as they are.

    Raises:
        storage.errors.StorageError: nothing is lost by doing it again.
    """
    listed = list(found)
    if not listed:
        return []
    since, until = min(one.first_seen for one in listed) - QUIET, max(one.last_seen for one in listed) + QUIET
    known = [] if settled else findings(engine, since, until, sorted({one.kind for one in listed}))
    kept = [_joined(one, known) for one in listed]
    rows = [_row(one) for one in {one.id: one for one in kept}.values()]
    schema = arrow_schema(FINDINGS)
    names = [name for name in schema.names if name in rows[0]]
    arrays = [pa.array([row[name] for row in rows], _plain(schema.field(name).type)) for name in names]
    engine.insert(FINDINGS.name, conform(FINDINGS, pa.RecordBatch.from_arrays(arrays, names=names), found_at=found_at))
    return kept


def _joined(one: Finding, known: Iterable[Finding]) -> Finding:
    """The finding as the episode that is known already, if one is."""
    for other in known:
        same = (other.kind, other.subject.source, other.subject.destination, other.subject.principal) == (
            *(one.kind, one.subject.source, one.subject.destination, one.subject.principal),
        )
        if same and other.first_seen - QUIET <= one.last_seen and one.first_seen <= other.last_seen + QUIET:
            return replace(
                one if _size(one) >= _size(other) else other,
                id=other.id,
                first_seen=min(one.first_seen, other.first_seen),
                last_seen=max(one.last_seen, other.last_seen),
            )
    return one


def _size(one: Finding) -> tuple[float, int]:
    """The larger of two that are of one episode saw more of it: its title, evidence and details stand."""
    calls = one.details.get("calls", "")
    return one.score, int(calls) if calls.isdecimal() else 0


def _row(one: Finding) -> dict[str, Any]:
    return {
        "id": one.id,
        "kind": one.kind,
        "severity": one.severity,
        "title": one.title,
        **{name: getattr(one.subject, name) or "" for name in _SUBJECT},
        "first_seen": one.first_seen,
        "last_seen": one.last_seen,
        "score": one.score,
        "threshold": one.threshold,
        "techniques": list(one.techniques),
        "sql": one.evidence.sql,
        "parameters": json.dumps(dict(one.evidence.parameters), sort_keys=True),
        "request_ids": list(one.evidence.request_ids),
        "trace_ids": list(one.evidence.trace_ids),
        "false_alarm_if": one.false_alarm_if,
        "details": list(one.details.items()),
    }


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind
