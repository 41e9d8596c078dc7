"""Policies over a window, made ready and run: which calls arrived where, what is judged alike, and the reasons.

policies of files, or of the store by their validity ──► intervals ──► groups of places ──► rows with verdicts
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from analyzers.policy.engines import Place
from analyzers.policy.formula import Subject
from analyzers.policy.groups import Group, Window, grouped
from analyzers.policy.inventory import read_inventory
from analyzers.policy.judge import AT_ONCE, Answer, Wanted, bundles, judged
from analyzers.policy.places import found_places
from analyzers.policy.policy_set import PolicySet
from analyzers.policy.sql import Verdict
from analyzers.policy.store import stored_set, versions
from storage.engine import Engine
from storage.sql import load

VERDICTS: Mapping[int | None, str] = {1: "allow", 0: "deny", None: "unknown"}
DID: Mapping[str, str] = {"allowed": "allow", "denied": "deny"}
"""What the proxy did, in the words of verdicts."""

Progress = Callable[[int, int], None]
"""Told after each group of places: how many calls are judged, of how many."""
Reason = tuple[str, str | None, str | None, tuple[Subject, ...]]
"""Verdict, policy, rule, and the fields that were not logged and would have told."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Policies that hold in [since, until)."""

    policies: PolicySet
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Judging:
    """Groups of places, each with the window in which its policies hold."""

    groups: Sequence[tuple[Window, Group]]
    calls: int
    """Of all places, governed or not."""

    @property
    def governed(self) -> int:
        """Calls at places that policies govern."""
        return sum(group.calls for _, group in self.groups if group.programs)

    def at(self, is_meant: Callable[[Place], bool]) -> Judging:
        """The same, of some places only."""
        groups = [
            (window, Group(group.programs, tuple(found for found in group.places if is_meant(found.place))))
            for window, group in self.groups
        ]
        kept = [(window, group) for window, group in groups if group.places]
        return Judging(kept, sum(group.calls for _, group in kept))


def bounds(engine: Engine, since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    """A window with both ends: those that are not given are the first call stored, and the moment after the last.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    found = engine.query(load("policy/bounds").text).to_pylist()[0]
    return since or found["first"], until or found["after"]


def intervals(
    engine: Engine, policies: PolicySet | None, since: datetime | None, until: datetime | None
) -> Sequence[Interval]:
    """What holds when in [since, until).

    Args:
        policies: hold throughout; None = those of the store, each in its time.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
        BadPolicy: a stored set that this version of eastwatch does not take.
    """
    start, end = bounds(engine, since, until)
    if policies is not None:
        return [Interval(policies, start, end)]
    found = [
        Interval(stored_set(engine, one), max(one.valid_from, start), min(one.valid_to, end))
        for one in versions(engine)
        if one.valid_from < end and one.valid_to > start
    ]
    first = found[0].since if found else end
    return [*([Interval(PolicySet(), start, first)] if start < first else []), *found]


def prepare(engine: Engine, held: Sequence[Interval], ungoverned: bool = False) -> Judging:
    """Read what arrived in each interval, and make the programs.

    Args:
        ungoverned: also places that no policy governs, which is to say where everybody is let in.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    groups: list[tuple[Window, Group]] = []
    calls = 0
    for one in held:
        window = Window(engine, one.since, one.until, read_inventory(engine, one.since, one.until))
        places = found_places(engine, one.since, one.until, window.inventory)
        calls += sum(found.calls for found in places)
        groups.extend(
            (window, group) for group in grouped(one.policies, places, window.inventory) if group.programs or ungoverned
        )
    return Judging(groups, calls)


def over(
    judging: Judging, wanted: Wanted, progress: Progress | None = None
) -> Iterator[tuple[Group, Sequence[Mapping[str, Any]], Verdict]]:
    """Each group, in its order, with its rows and what their numbers mean; see `judge.judged`.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    for group, table, told in answers(judging, wanted, progress):
        yield group, table.to_pylist(), told


def answers(judging: Judging, wanted: Wanted, progress: Progress | None = None) -> Iterator[Answer]:
    """The same, whose rows are tables.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    done, total = 0, sum(group.calls for _, group in judging.groups)
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="judge") as pool:
        asked: deque[Future[Sequence[Answer]]] = deque()
        waiting = bundles(judging.groups, wanted)
        try:
            while True:
                for bundle in islice(waiting, AT_ONCE - len(asked)):
                    asked.append(pool.submit(judged, bundle, wanted))
                if not asked:
                    return
                for answer in asked.popleft().result():
                    yield answer
                    done += answer[0].calls
                    if progress:
                        progress(done, total)
        finally:
            for future in asked:
                future.cancel()


def reason(row: Mapping[str, Any], told: Verdict) -> Reason:
    """What decided about a row with the columns of `sql.Verdict`."""
    step = told.steps[row["decided_by"] - 1] if row["decided_by"] else None
    missing = tuple(told.fields[place - 1] for place in row["missing"])
    policy, rule = (step.policy or None, step.rule or None) if step else (None, None)
    return VERDICTS[row["allowed"]], policy, rule, missing
