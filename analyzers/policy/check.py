"""`policy check`: what policies say of recorded calls, counted or one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from analyzers.dependencies.model import rfc3339
from analyzers.policy.fields import name_of, switch_on
from analyzers.policy.formula import Subject
from analyzers.policy.inventory import read_inventory
from analyzers.policy.judge import Group, Window, grouped, judged
from analyzers.policy.places import found_places
from analyzers.policy.policy_set import PolicySet
from analyzers.policy.sql import Verdict
from storage.engine import Engine
from storage.sql import load

VERDICTS: Mapping[int | None, str] = {1: "allow", 0: "deny", None: "unknown"}
MAX_EACH = 5_000_000
"""Calls that are listed one by one, at most."""

Progress = Callable[[int, int], None]
"""Told after each group of places: how many calls are judged, of how many."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One recorded call and what the policies say of it.

    Attributes:
        verdict: allow, deny or unknown.
        policy, rule: what decided; None where nothing that has a name did.
        missing: fields that were not logged and would have told.
        did: what the proxy did (allowed, denied, unknown).
    """

    ts: datetime
    request_id: str
    verdict: str
    policy: str | None
    rule: str | None
    missing: Sequence[str]
    did: str

    def to_document(self) -> dict[str, Any]:
        """The call as JSON-ready values."""
        return {
            "ts": rfc3339(self.ts),
            "request_id": self.request_id,
            "verdict": self.verdict,
            "policy": self.policy,
            "rule": self.rule,
            "missing": list(self.missing),
            "did": self.did,
        }


@dataclass(frozen=True, slots=True)
class Decided:
    """Calls of the same verdict for the same reason."""

    verdict: str
    policy: str | None
    rule: str | None
    missing: tuple[Subject, ...]
    did: str
    calls: int


@dataclass(frozen=True, slots=True)
class Check:
    """What policies say of the calls of a window.

    Attributes:
        calls: all that arrived somewhere in the window.
        decided: those that policies govern, by verdict and reason, most calls first.
    """

    since: datetime | None
    until: datetime | None
    calls: int
    decided: Sequence[Decided]

    def count(self, verdict: str) -> int:
        """Calls with this verdict."""
        return sum(one.calls for one in self.decided if one.verdict == verdict)

    @property
    def missing(self) -> Sequence[tuple[Subject, int]]:
        """Fields that were not logged, with the calls that are unknown for want of them; most first."""
        found: Counter[Subject] = Counter()
        for one in self.decided:
            for subject in one.missing:
                found[subject] += one.calls
        return sorted(found.items(), key=lambda item: (-item[1], name_of(item[0])))

    def to_document(self) -> dict[str, Any]:
        """The document of `policy check --json`, without `each`."""
        return {
            "window": {
                "since": rfc3339(self.since) if self.since else None,
                "until": rfc3339(self.until) if self.until else None,
            },
            "calls": self.calls,
            "allow": self.count("allow"),
            "deny": self.count("deny"),
            "unknown": self.count("unknown"),
            "decided": [
                {
                    "verdict": one.verdict,
                    "policy": one.policy,
                    "rule": one.rule,
                    "missing": [name_of(subject) for subject in one.missing],
                    "did": one.did,
                    "calls": one.calls,
                }
                for one in self.decided
            ],
            "missing": [
                {"field": name_of(subject), "calls": calls, "switch_on": switch_on(subject)}
                for subject, calls in self.missing
            ],
        }


@dataclass(frozen=True, slots=True)
class Judging:
    """Policies over a window, made ready: which calls arrived where, and which are judged alike."""

    window: Window
    groups: Sequence[Group]
    calls: int
    """Of all places, governed or not."""


def prepare(engine: Engine, policies: PolicySet, since: datetime | None, until: datetime | None) -> Judging:
    """Read what arrived in the window, and make the programs.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    bounds = engine.query(load("policy/bounds").text).to_pylist()[0]
    window = Window(
        engine,
        since or bounds["first"],
        until or bounds["after"],
        inventory=read_inventory(engine, since or bounds["first"], until or bounds["after"]),
    )
    places = found_places(engine, window.since, window.until, window.inventory)
    return Judging(window, grouped(policies, places, window.inventory), sum(found.calls for found in places))


def check(
    engine: Engine,
    policies: PolicySet,
    since: datetime | None = None,
    until: datetime | None = None,
    progress: Progress | None = None,
) -> Check:
    """Judge every call of [since, until) that the policies govern.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    judging = prepare(engine, policies, since, until)
    found: Counter[tuple[str, str | None, str | None, tuple[Subject, ...], str]] = Counter()
    for table, told in _over(judging, "weight, verdict", _COUNTS, progress):
        for row in table:
            found[(*reason(row, told), row["verdict"])] += row["calls"]
    decided = [Decided(*key, calls) for key, calls in found.items()]
    order = sorted(decided, key=lambda one: (-one.calls, one.verdict, one.policy or "", one.rule or "", one.did))
    return Check(since, until, judging.calls, order)


_COUNTS = """
SELECT allowed, decided_by, missing, verdict, sum(weight) AS calls
FROM judged
GROUP BY allowed, decided_by, missing, verdict
"""
_EACH = "SELECT ts, request_id, allowed, decided_by, missing, verdict FROM judged"


def each(
    engine: Engine,
    policies: PolicySet,
    since: datetime | None = None,
    until: datetime | None = None,
    progress: Progress | None = None,
) -> Sequence[Judged]:
    """Every call of [since, until) that the policies govern, with its verdict; in the order of time.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
        ValueError: more calls than can be listed.
    """
    judging = prepare(engine, policies, since, until)
    governed = sum(group.calls for group in judging.groups)
    if governed > MAX_EACH:
        raise ValueError(f"{governed:,} calls to list one by one, expected at most {MAX_EACH:,}: narrow the window")
    found: list[Judged] = []
    for table, told in _over(judging, "ts, request_id, verdict", _EACH, progress):
        for row in table:
            verdict, policy, rule, missing = reason(row, told)
            found.append(
                Judged(
                    row["ts"],
                    row["request_id"],
                    verdict,
                    policy,
                    rule,
                    [name_of(one) for one in missing],
                    row["verdict"],
                )
            )
    return sorted(found, key=lambda one: (one.ts, one.request_id))


def _over(
    judging: Judging, columns: str, outer: str, progress: Progress | None
) -> Iterator[tuple[Iterable[Mapping[str, Any]], Verdict]]:
    done, total = 0, sum(group.calls for group in judging.groups)
    for group in judging.groups:
        table, told = judged(judging.window, group, columns, outer)
        yield table.to_pylist(), told
        done += group.calls
        if progress:
            progress(done, total)


def reason(row: Mapping[str, Any], told: Verdict) -> tuple[str, str | None, str | None, tuple[Subject, ...]]:
    """Verdict, policy, rule and missing fields of a row with the columns of `sql.Verdict`."""
    step = told.steps[row["decided_by"] - 1] if row["decided_by"] else None
    missing = tuple(told.fields[place - 1] for place in row["missing"])
    return (
        VERDICTS[row["allowed"]],
        (step.policy or None) if step else None,
        (step.rule or None) if step else None,
        missing,
    )
