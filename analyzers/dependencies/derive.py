"""The derivation job: edges that no view can make, written minute by minute and replaced when the minute changes.

Three kinds: `trace` (span pairs arrive in several inserts), `address` (calls whose caller or destination is known only
by an address, whose name may be learnt later) and `metric` (counters are cumulative: a point counts what it has more
than the one before it). A minute whose record count differs from what it was derived from is derived again, and so are
the minutes that hold partners of its records: the other spans of a pair, the next points of a series. Readers switch to
the new generation at once. Any number of processes may run it: the same input gives the same edges, and the last
generation wins. What was derived from records or edges that are gone by now stays as it is (`closed`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise
from typing import Any, Literal

import pyarrow as pa

from analyzers.dependencies.closed import Closed, Coarse, period_of
from storage.engine import Engine, Settings
from storage.materialize import KEEPS, can_materialize, materialized
from storage.sql import load

GoOn = Callable[[], bool]
"""Asked between two statements: False ends the run there, and stays False. A later run finds what is left undone."""
Kind = Literal["trace", "address", "metric"]
KINDS: tuple[Kind, ...] = ("trace", "address", "metric")

HORIZON_S = 600
"""A span and its parent pair when they begin within this many seconds of each other, however late either arrives."""
METRIC_HORIZON_S = 900
"""A metric point continues the one before it of its series when that is at most this many seconds older."""
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
    whole: bool = True
    """False when it was ended before it was through; the kind that it was at does not stand in `minutes` then."""


@dataclass(frozen=True, slots=True)
class _Reach:
    """How far records of a kind depend on each other: seconds, and the statements that find who does."""

    horizon_s: int
    held: str
    """Minutes that hold records, and how many."""
    partners: str
    """Minutes that hold partners of the records of other minutes."""
    back: bool
    """Whether a record also changes what earlier minutes say."""


def _reaches(horizon_s: int) -> Mapping[Kind, _Reach]:
    return {
        "trace": _Reach(horizon_s, "dependencies/span_minutes", "dependencies/span_partner_minutes", back=True),
        "metric": _Reach(
            METRIC_HORIZON_S, "dependencies/metric_minutes", "dependencies/metric_partner_minutes", back=False
        ),
    }


def derive(
    engine: Engine,
    *,
    now: datetime,
    until: datetime | None = None,
    horizon_s: int = HORIZON_S,
    go_on: GoOn = lambda: True,
) -> Derived:
    """Bring the derived edges of every minute before `until` up to what is stored, but for those that are closed.

    Args:
        now: the clock's time (UTC); generations are numbered by it, and its day says what has expired.
        until: only minutes that begin before it (a live ingester passes the end of those that are settled); by default
            all of them, the last one included.
        horizon_s: seconds between the starts of a span and its parent within which they pair.
        go_on: whether there is time for more.
    """
    closed = Closed(engine, now.astimezone(UTC).date())
    generations = count((now - _EPOCH) // timedelta(microseconds=1))
    done: dict[str, int] = {}
    reaches = _reaches(horizon_s)
    for kind in KINDS:
        if not go_on():
            return Derived(done, whole=False)
        knowledge = _knowledge(engine) if kind == "address" else NO_KNOWLEDGE
        dirty = closed.open_minutes(kind, _dirty_minutes(engine, kind, until or _END, knowledge))
        reach = reaches.get(kind)
        # Of open minutes only: a closed one stays dirty, its partners would be derived again in every run.
        partners = _partners(engine, dirty, reach, go_on) if reach else {}
        # Marked with what they were found with: nobody looked for the partners of what came since.
        partners = {minute: partners[minute] for minute in closed.open_minutes(kind, partners)}
        # Partners first: only what is dirty is found again when this run dies in between.
        for step in (*steps(partners), *steps(dirty)):
            _derive_minutes(engine, kind, step, knowledge, next(generations), now, reach, go_on)
        _derive_coarse(engine, kind, {*dirty, *partners}, closed, generations, now, go_on)
        if not go_on():
            return Derived(done, whole=False)
        done[kind] = len(dirty) + len(partners)
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


def _partners(engine: Engine, dirty: Mapping[datetime, int], reach: _Reach, go_on: GoOn) -> dict[datetime, int]:
    """The minutes outside `dirty` that hold a partner of one of its records."""
    found: dict[datetime, int] = {}
    horizon = timedelta(seconds=reach.horizon_s)
    for step in steps(dirty):
        if not go_on():
            break
        since, until = min(step), max(step) + _MINUTE
        near = {"since": since - horizon if reach.back else since, "until": until + horizon, "row_limit": MINUTES_LIMIT}
        # Behind a backlog all minutes in reach are dirty themselves: then nobody has to look for partners.
        if _minutes(engine, reach.held, near).keys() <= dirty.keys():
            continue
        parameters = {"since": since, "until": until, "horizon_s": reach.horizon_s, "row_limit": MINUTES_LIMIT}
        found.update(_minutes(engine, reach.partners, parameters))
    return {minute: records for minute, records in found.items() if minute not in dirty}


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
    reach: _Reach | None,
    go_on: GoOn,
) -> None:
    numbered = {"generation": generation, "derived_on": now.date()}
    text, settings = _edges_statement(engine, kind)
    for since, until in _ranges(sorted(minutes), _MINUTE):
        if not go_on():
            return  # nothing is marked: for readers nothing has happened
        parameters: dict[str, Any] = {**numbered, "since": since, "until": until}
        if reach:
            parameters["horizon_s"] = reach.horizon_s
        engine.execute(text, parameters, settings=settings)
    engine.execute(load("dependencies/announce_derived_keys").text, {"generation": generation})
    _mark(engine, kind, "1m", minutes, knowledge, numbered)


def _edges_statement(engine: Engine, kind: Kind) -> tuple[str, Settings | None]:
    statement = load(f"dependencies/{kind}_edges")
    if kind == "trace" and can_materialize(engine):
        return materialized(statement, "near"), KEEPS
    return statement.text, None


def _derive_coarse(
    engine: Engine,
    kind: Kind,
    minutes: Collection[datetime],
    closed: Closed,
    generations: Iterator[int],
    now: datetime,
    go_on: GoOn,
) -> None:
    """Sum the open hours and days anew that hold something newer than they are, whoever derived it.

    `minutes` are those that this run found open: so are their hours and days.
    """
    grains: tuple[tuple[str, Coarse, str, timedelta], ...] = (
        ("1m", "1h", "dependencies/derived_hours", timedelta(hours=1)),
        ("1h", "1d", "dependencies/derived_days", timedelta(days=1)),
    )
    for fine, grain, statement, length in grains:
        stale = {"edge_kind": kind, "fine_grain": fine, "coarse_grain": grain, "row_limit": MINUTES_LIMIT}
        periods = engine.query(load("dependencies/stale_periods").text, stale)["period"].to_pylist()
        left = set(periods) - {period_of(minute, grain) for minute in minutes}
        shut = closed.closed(kind, grain, left)
        periods = [period for period in periods if period not in shut]
        if not periods:
            continue
        numbered = {"generation": next(generations), "derived_on": now.date()}
        for since, until in _ranges(periods, length):
            if not go_on():
                return
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
