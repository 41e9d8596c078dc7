"""The derivation job: edges that no view can make, written minute by minute and replaced when the minute changes.

Two kinds: `trace` (span pairs arrive in several inserts) and `address` (calls whose caller or destination is known only
by an address, whose name may be learnt later). A minute whose record count differs from what it was derived from is
derived again, and so are the minutes of its spans' partners; readers switch to the new generation at once. Any number
of processes may run it: the same input gives the same edges, and the last generation wins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise
from typing import Any, Literal

import pyarrow as pa

from storage.engine import Engine
from storage.sql import load

Kind = Literal["trace", "address"]
KINDS: tuple[Kind, ...] = ("trace", "address")

HORIZON_S = 600
"""A span and its parent pair when they begin within this many seconds of each other, however late either arrives."""
RECORDS_PER_STEP = 2_000_000
"""Minutes are derived together until they hold this many records: it bounds the memory of one join."""
GAP = timedelta(minutes=10)
"""Minutes further apart than this are derived in separate steps: what lies between would be read for nothing."""
MINUTES_LIMIT = 1_000_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_END = datetime(2100, 1, 1, tzinfo=UTC)
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Derived:
    """What one run did: minutes derived, by kind."""

    minutes: Mapping[str, int]


def derive(engine: Engine, *, now: datetime, until: datetime | None = None, horizon_s: int = HORIZON_S) -> Derived:
    """Bring the derived edges of every minute before `until` up to what is stored.

    Args:
        now: the clock's time; generations are numbered by it.
        until: only minutes that begin before it (a live ingester passes the start of the running minute); by default
            all of them, the last one included.
        horizon_s: seconds between the starts of a span and its parent within which they pair.
    """
    generations = count((now - _EPOCH) // timedelta(microseconds=1))
    done: dict[str, int] = {}
    for kind in KINDS:
        knowledge = _knowledge(engine) if kind == "address" else NO_KNOWLEDGE
        dirty = _dirty_minutes(engine, kind, until or _END, knowledge)
        if kind == "trace":
            dirty = _with_partners(engine, dirty, horizon_s)
        for step in steps(dirty):
            _derive_minutes(engine, kind, step, knowledge, next(generations), now, horizon_s)
        if dirty:
            _derive_coarse(engine, kind, sorted(dirty), next(generations), now)
        done[kind] = len(dirty)
    return Derived(done)


def steps(minutes: Mapping[datetime, int]) -> Iterator[Mapping[datetime, int]]:
    """Cut minutes (with their record counts) into runs that are near in time and small enough for one join."""
    step: dict[datetime, int] = {}
    held = 0
    for minute in sorted(minutes):
        if step and (minute - max(step) > GAP or held + minutes[minute] > RECORDS_PER_STEP):
            yield step
            step, held = {}, 0
        step[minute] = minutes[minute]
        held += minutes[minute]
    if step:
        yield step


@dataclass(frozen=True, slots=True)
class _Knowledge:
    """What the alias table knows, as numbers that change when it does."""

    stated: int
    """The inventory: it bears on every minute."""
    learnt: Mapping[datetime, int]
    """What telemetry taught of addresses, by the hour that it bears on."""

    def of(self, minute: datetime) -> int:
        """What bears on a minute."""
        return self.stated ^ self.learnt.get(minute.replace(minute=0), 0)


NO_KNOWLEDGE = _Knowledge(0, {})
_LEARNT = pa.schema([("hour", pa.timestamp("s", "UTC")), ("knowledge", pa.uint64())])


def _knowledge(engine: Engine) -> _Knowledge:
    stated: int = engine.query(load("dependencies/knowledge").text)["knowledge"][0].as_py()
    rows = engine.query(load("dependencies/learnt_knowledge").text, {"row_limit": MINUTES_LIMIT})
    return _Knowledge(stated, dict(zip(rows["hour"].to_pylist(), rows["knowledge"].to_pylist(), strict=True)))


def _dirty_minutes(engine: Engine, kind: Kind, until: datetime, knowledge: _Knowledge) -> dict[datetime, int]:
    parameters = {"edge_kind": kind, "until": until, "knowledge": knowledge.stated, "row_limit": MINUTES_LIMIT}
    columns = [
        pa.array(list(knowledge.learnt), _LEARNT[0].type),
        pa.array(list(knowledge.learnt.values()), pa.uint64()),
    ]
    learnt = {"learnt_knowledge": pa.table(columns, schema=_LEARNT)}
    rows = engine.query(load("dependencies/dirty_minutes").text, parameters, external=learnt)
    return dict(zip(rows["minute"].to_pylist(), rows["records"].to_pylist(), strict=True))


def _with_partners(engine: Engine, dirty: Mapping[datetime, int], horizon_s: int) -> dict[datetime, int]:
    """`dirty` and the minutes outside it that hold a partner of one of its spans."""
    found = dict(dirty)
    horizon = timedelta(seconds=horizon_s)
    for step in steps(dirty):
        since, until = min(step), max(step) + _MINUTE
        reach = {"since": since - horizon, "until": until + horizon, "row_limit": MINUTES_LIMIT}
        # Behind a backlog all minutes in reach are dirty themselves: then nobody has to look for partners.
        if _minutes(engine, "dependencies/span_minutes", reach).keys() <= dirty.keys():
            continue
        parameters = {"since": since, "until": until, "horizon_s": horizon_s, "row_limit": MINUTES_LIMIT}
        found.update(_minutes(engine, "dependencies/partner_minutes", parameters))
    return found


def _minutes(engine: Engine, statement: str, parameters: Mapping[str, Any]) -> dict[datetime, int]:
    rows = engine.query(load(statement).text, parameters)
    return dict(zip(rows["minute"].to_pylist(), rows["records"].to_pylist(), strict=True))


def _derive_minutes(
    engine: Engine,
    kind: Kind,
    minutes: Mapping[datetime, int],
    knowledge: _Knowledge,
    generation: int,
    now: datetime,
    horizon_s: int,
) -> None:
    numbered = {"generation": generation, "derived_on": now.date()}
    for since, until in _ranges(sorted(minutes), _MINUTE):
        parameters: dict[str, Any] = {**numbered, "since": since, "until": until}
        if kind == "trace":
            parameters["horizon_s"] = horizon_s
        engine.execute(load(f"dependencies/{kind}_edges").text, parameters)
    engine.execute(load("dependencies/announce_derived_keys").text, {"generation": generation})
    _mark(engine, kind, "1m", minutes, knowledge, numbered)


def _derive_coarse(engine: Engine, kind: Kind, minutes: Sequence[datetime], generation: int, now: datetime) -> None:
    """Sum the hours and days that hold `minutes` anew."""
    numbered = {"generation": generation, "derived_on": now.date()}
    hours = sorted({minute.replace(minute=0) for minute in minutes})
    days = sorted({hour.replace(hour=0) for hour in hours})
    for grain, statement, periods, length in (
        ("1h", "dependencies/derived_hours", hours, timedelta(hours=1)),
        ("1d", "dependencies/derived_days", days, timedelta(days=1)),
    ):
        for since, until in _ranges(periods, length):
            parameters = {**numbered, "edge_kind": kind, "since": since, "until": until}
            engine.execute(load(statement).text, parameters)
        _mark(engine, kind, grain, dict.fromkeys(periods, 0), NO_KNOWLEDGE, numbered)


def _mark(
    engine: Engine,
    kind: Kind,
    grain: str,
    periods: Mapping[datetime, int],
    knowledge: _Knowledge,
    numbered: Mapping[str, Any],
) -> None:
    parameters = {
        **numbered,
        "edge_kind": kind,
        "grain": grain,
        "periods": [(period - _EPOCH) // timedelta(seconds=1) for period in periods],
        "records": list(periods.values()),
        "knowledge": [knowledge.of(period) for period in periods],
    }
    engine.execute(load("dependencies/mark_derived").text, parameters)


def _ranges(periods: Sequence[datetime], length: timedelta) -> Iterator[tuple[datetime, datetime]]:
    """Runs of adjacent periods as [since, until)."""
    start = None
    for period, following in pairwise([*periods, None]):
        assert period is not None
        start = start or period
        if following != period + length:
            yield start, period + length
            start = None
