"""Incidents in the store: kept from what analyzers told lately, read by window, closed by people.

findings told lately and those around them, known incidents, the map's edges ──► group ──► what is new or changed
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from analyzers.dependencies.ledger import ledger
from analyzers.dependencies.windows import EARLIEST, LATEST
from analyzers.findings.model import Finding
from analyzers.findings.store import findings
from analyzers.incidents.group import group
from analyzers.incidents.links import Pair
from analyzers.incidents.model import TOGETHER, Incident, State, Together
from storage.conform import conform
from storage.engine import Engine
from storage.sql import load
from storage.tables import INCIDENTS, arrow_schema

ROW_LIMIT = 100_000
DAYS = 2
"""Findings that were told so long ago, at most, are grouped; what is older was, whenever analyzers ran."""
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_TEXTS = ("id", "state", "severity", "summary")
_LISTS = ("principals", "services", "path", "findings", "techniques")


class NoSuchIncident(LookupError):
    """No incident has this id."""


def incidents(
    engine: Engine,
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    ids: Sequence[str] = (),
    states: Sequence[State] = (),
) -> Sequence[Incident]:
    """Incidents that overlap [since, until), the latest first.

    Args:
        ids, states: keep these only; none = all.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    return [_incident(row) for row in _rows(engine, since, until, ids, states)]


def keep_incidents(engine: Engine, now: datetime, together: Together = TOGETHER) -> Sequence[Incident]:
    """Group what analyzers told in the last DAYS with what happened around it, and store what is new or has changed.

    Doing it again, or in several processes, stores the same.

    Args:
        now: of the clock that findings were kept by; what they tell of may be of any time.

    Returns:
        the incidents of those findings, the latest first.

    Raises:
        storage.errors.StorageError: nothing is lost by doing it again.
    """
    asked = {"found_since": now - timedelta(days=DAYS), "found_until": LATEST, "days": DAYS, "row_limit": ROW_LIMIT}
    span = engine.query(load("incidents/found_span").text, asked).to_pylist()[0]
    if not span["findings"]:
        return []
    around = findings(engine, span["since"] - together.apart, span["until"] + together.apart)
    # An incident that holds one of them was updated when that one began, or later.
    known = incidents(engine, min(one.first_seen for one in around))
    edges = () if _all_known(around, known) else _edges(engine, around, together)
    found = group(around, edges, known, now, together)
    before = {one.id: one for one in known}
    _insert(engine, [one for one in found if one != before.get(one.id)], now)
    told = {one.id for one in around}
    return [one for one in found if told.intersection(one.findings)]


def close(engine: Engine, id_: str, now: datetime, note: str | None = None) -> Incident:
    """Close an incident; of one that is closed already only the note changes, where one is given.

    Raises:
        NoSuchIncident: there is none.
        storage.errors.StorageError: the engine cannot answer, or take it.
    """
    rows = _rows(engine, None, None, [id_], ())
    if not rows:
        raise NoSuchIncident(id_)
    known = _incident(rows[0])
    closed = replace(known, state="closed", note=note or known.note, closed_at=known.closed_at or now)
    if closed != known:
        # Of two rows the later one stands: what a process with a clock ahead of ours has kept is not later than this.
        _insert(engine, [closed], max(now, rows[0]["kept_at"] + timedelta(microseconds=1)))
    return closed


def _all_known(around: Iterable[Finding], known: Iterable[Incident]) -> bool:
    held = {id_ for one in known for id_ in one.findings}
    return all(one.id in held for one in around)


def _edges(engine: Engine, around: Sequence[Finding], together: Together) -> Sequence[Pair]:
    """Who called whom about that time."""
    since = min(one.first_seen for one in around) - together.near
    until = max(one.last_seen for one in around) + together.near
    return sorted({(one.source, one.destination) for one in ledger(engine, since, until)})


def _rows(
    engine: Engine, since: datetime | None, until: datetime | None, ids: Sequence[str], states: Sequence[State]
) -> Sequence[Mapping[str, Any]]:
    asked = {"since": since or EARLIEST, "until": until or LATEST, "ids": list(ids), "states": list(states)}
    return engine.query(load("incidents/incidents").text, {**asked, "row_limit": ROW_LIMIT}).to_pylist()


def _incident(row: Mapping[str, Any]) -> Incident:
    values: dict[str, Any] = {name: row[name] for name in (*_TEXTS, "started", "updated")}
    values |= {name: tuple(row[name]) for name in _LISTS}
    return Incident(
        **values,
        note=row["note"] or None,
        merged_into=row["merged_into"] or None,
        closed_at=row["closed_at"] if row["closed_at"] > _NEVER else None,
    )


def _insert(engine: Engine, changed: Sequence[Incident], now: datetime) -> None:
    if not changed:
        return
    schema = arrow_schema(INCIDENTS)
    rows = [_row(one) for one in sorted(changed, key=lambda one: one.id)]
    names = [name for name in schema.names if name in rows[0]]
    arrays = [pa.array([row[name] for row in rows], _plain(schema.field(name).type)) for name in names]
    engine.insert(INCIDENTS.name, conform(INCIDENTS, pa.RecordBatch.from_arrays(arrays, names=names), kept_at=now))


def _row(one: Incident) -> dict[str, Any]:
    return {
        **{name: getattr(one, name) for name in (*_TEXTS, "started", "updated")},
        **{name: list(getattr(one, name)) for name in _LISTS},
        "note": one.note or "",
        "merged_into": one.merged_into or "",
        "closed_at": one.closed_at or _NEVER,
    }


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind
