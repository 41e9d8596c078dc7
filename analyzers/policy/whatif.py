"""`policy whatif`: what other policies would have done to recorded calls, and how much the record can tell.

Each call's verdict under the policies is held against what its proxy did. What is the same in both is only counted;
where no line says what was done, only a refusal is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from analyzers.dependencies.model import rfc3339
from analyzers.policy.fields import name_of
from analyzers.policy.judge import Wanted
from analyzers.policy.judging import DID, Interval, Progress, bounds, over, prepare, reason
from analyzers.policy.nodes import ENDS, Nodes
from analyzers.policy.policy_set import PolicySet
from storage.engine import Engine

SAMPLES = 5
"""Request ids that a change shows."""
RARE_HOURS, RARE_CALLS = 2, 5
"""A caller heard in so few hours (of a window of a day and more), or so few times: others like it may not be heard."""
MAX_RARE = 100
MOST_HOURS = 100_000
"""Of the clock, in which calls of one caller are told apart: eleven years."""
_DAY_HOURS = 24


@dataclass(frozen=True, slots=True)
class Change:
    """Calls of one caller for one operation whose verdict would be another one.

    Attributes:
        source, destination: nodes of the map.
        source_principal: None where the caller had none, or it is not known.
        now, then: allow, deny or unknown: what was done, and what would be.
        policy, rule: what would decide; None where nothing that has a name would.
        missing: fields that were not logged and would have told.
        samples: request ids.
    """

    source: str
    source_principal: str | None
    destination: str
    operation: str | None
    calls: int
    now: str
    then: str
    policy: str | None
    rule: str | None
    missing: Sequence[str]
    samples: Sequence[str]
    first_seen: datetime
    last_seen: datetime

    @property
    def breaks(self) -> bool:
        """Whether somebody would be refused who is let in."""
        return (self.now, self.then) == ("allow", "deny")

    @property
    def opens(self) -> bool:
        """Whether somebody would be let in who is refused."""
        return (self.now, self.then) == ("deny", "allow")

    def to_document(self) -> dict[str, Any]:
        """The change as JSON-ready values."""
        document = {name: getattr(self, name) for name in self.__slots__}
        return document | {
            "missing": list(self.missing),
            "samples": list(self.samples),
            "first_seen": rfc3339(self.first_seen),
            "last_seen": rfc3339(self.last_seen),
        }


@dataclass(frozen=True, slots=True)
class Rare:
    """A caller that was heard so seldom that the record may lack others like it."""

    source: str
    source_principal: str | None
    destination: str
    calls: int
    hours: int
    last_seen: datetime

    def to_document(self) -> dict[str, Any]:
        """The caller as JSON-ready values."""
        return {name: getattr(self, name) for name in self.__slots__} | {"last_seen": rfc3339(self.last_seen)}


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much evidence there is.

    Attributes:
        first_seen, last_seen: of the calls that were judged; None without any.
        hours: whole hours of the clock in which there were some, and `of_hours` those of the window.
        rare: callers that were heard seldom, seldomest first; at most `MAX_RARE` of `rare_callers`.
    """

    first_seen: datetime | None
    last_seen: datetime | None
    hours: int
    of_hours: int
    callers: int
    rare_callers: int
    rare: Sequence[Rare]

    def to_document(self) -> dict[str, Any]:
        """The coverage as JSON-ready values."""
        return {
            "first_seen": rfc3339(self.first_seen) if self.first_seen else None,
            "last_seen": rfc3339(self.last_seen) if self.last_seen else None,
            "hours": self.hours,
            "of_hours": self.of_hours,
            "callers": self.callers,
            "rare_callers": self.rare_callers,
            "rare": [one.to_document() for one in self.rare],
        }


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What would change.

    Attributes:
        calls: all that arrived somewhere in the window; `evaluated` of them where policies would decide.
        allow, deny, unknown: how those would be decided.
        changes: most calls first, breaks before all others.
    """

    since: datetime | None
    until: datetime | None
    calls: int
    evaluated: int
    allow: int
    deny: int
    unknown: int
    changes: Sequence[Change]
    coverage: Coverage

    def to_document(self) -> dict[str, Any]:
        """The document of `policy whatif --json`."""
        return {
            "window": {
                "since": rfc3339(self.since) if self.since else None,
                "until": rfc3339(self.until) if self.until else None,
            },
            "calls": self.calls,
            "evaluated": self.evaluated,
            "allow": self.allow,
            "deny": self.deny,
            "unknown": self.unknown,
            "changes": [change.to_document() for change in self.changes],
            "coverage": self.coverage.to_document(),
        }


@dataclass(slots=True)
class _Caller:
    first_seen: datetime
    last_seen: datetime
    calls: int = 0
    hours: set[datetime] = field(default_factory=set[datetime])

    def add(self, row: Mapping[str, Any]) -> None:
        """Calls of it, and when they were."""
        self.calls += row["calls"]
        self.hours.update(row["hours"])
        self.first_seen = min(self.first_seen, row["first_seen"])
        self.last_seen = max(self.last_seen, row["last_seen"])


_CALLS = Wanted(
    f"{', '.join(ENDS)}, source_principal, operation, verdict",
    {
        "calls": "sum(weight)",
        "first_seen": "min(ts)",
        "last_seen": "max(ts)",
        "hours": f"groupUniqArray({MOST_HOURS})(toStartOfHour(ts))",
        "samples": f"groupArrayIf({SAMPLES})(request_id, request_id != '')",
    },
    "ts, weight, request_id",
)


def whatif(
    engine: Engine,
    policies: PolicySet,
    since: datetime | None = None,
    until: datetime | None = None,
    progress: Progress | None = None,
) -> WhatIf:
    """What `policies`, and nothing else, would have done to the calls of [since, until).

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    start, end = bounds(engine, since, until)
    nodes = Nodes(engine)
    judging = prepare(engine, [Interval(policies, start, end)], ungoverned=True)
    counts = {"allow": 0, "deny": 0, "unknown": 0}
    changes: dict[Any, Change] = {}
    callers: dict[tuple[str, str, str], _Caller] = {}
    evaluated = 0
    for _, rows, told in over(judging, _CALLS, progress):
        for row in rows:
            verdict, policy, rule, missing = reason(row, told)
            source, destination = nodes.ends(row)
            if told.steps:
                evaluated += row["calls"]
                counts[verdict] += row["calls"]
                caller = _Caller(row["first_seen"], row["last_seen"])
                callers.setdefault((source, row["source_principal"], destination), caller).add(row)
            now = DID.get(row["verdict"], "unknown")
            # Nobody knows what was done: only a refusal to come is news.
            if now == verdict or (now == "unknown" and verdict != "deny"):
                continue
            names = tuple(name_of(subject) for subject in missing)
            key = (source, row["source_principal"], destination, row["operation"], now, verdict, policy, rule, names)
            changes[key] = _merged(changes.get(key), _change(key, row))
    order = sorted(changes.values(), key=_urgency)
    return WhatIf(
        since, until, judging.calls, evaluated, **counts, changes=order, coverage=_coverage(callers, start, end)
    )


def _urgency(one: Change) -> tuple[Any, ...]:
    named = (one.source, one.destination, one.operation or "", one.source_principal or "", one.policy or "")
    return not one.breaks, not one.opens, -one.calls, *named, one.rule or "", one.now, one.then, one.missing


def _change(key: Any, row: Mapping[str, Any]) -> Change:
    source, principal, destination, operation, now, verdict, policy, rule, names = key
    return Change(
        source=source,
        source_principal=principal or None,
        destination=destination,
        operation=operation or None,
        calls=row["calls"],
        now=now,
        then=verdict,
        policy=policy,
        rule=rule,
        missing=names,
        samples=row["samples"],
        first_seen=row["first_seen"],
        last_seen=row["last_seen"],
    )


def _merged(one: Change | None, other: Change) -> Change:
    if one is None:
        return other
    return Change(
        *(getattr(one, name) for name in ("source", "source_principal", "destination", "operation")),
        calls=one.calls + other.calls,
        now=one.now,
        then=one.then,
        policy=one.policy,
        rule=one.rule,
        missing=one.missing,
        samples=[*one.samples, *other.samples][:SAMPLES],
        first_seen=min(one.first_seen, other.first_seen),
        last_seen=max(one.last_seen, other.last_seen),
    )


def _coverage(callers: Mapping[tuple[str, str, str], _Caller], start: datetime, end: datetime) -> Coverage:
    first_hour = start.replace(minute=0, second=0, microsecond=0)
    of_hours = -((first_hour - end) // timedelta(hours=1)) if start < end else 0
    rare = [
        Rare(source, principal or None, destination, found.calls, len(found.hours), found.last_seen)
        for (source, principal, destination), found in callers.items()
        if found.calls <= RARE_CALLS or (of_hours >= _DAY_HOURS and len(found.hours) <= RARE_HOURS)
    ]
    rare.sort(key=lambda one: (one.hours, one.calls, one.source, one.destination))
    return Coverage(
        first_seen=min((found.first_seen for found in callers.values()), default=None),
        last_seen=max((found.last_seen for found in callers.values()), default=None),
        hours=len(set[datetime]().union(*(found.hours for found in callers.values()))),
        of_hours=of_hours,
        callers=len(callers),
        rare_callers=len(rare),
        rare=rare[:MAX_RARE],
    )
