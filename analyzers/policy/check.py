"""`policy check`: what policies say of recorded calls, by verdict and reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from analyzers.dependencies.model import rfc3339
from analyzers.policy.fields import name_of, switch_on
from analyzers.policy.formula import Subject
from analyzers.policy.judge import Wanted
from analyzers.policy.judging import Progress, Reason, intervals, over, prepare, reason
from analyzers.policy.policy_set import PolicySet
from storage.engine import Engine


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


def check(
    engine: Engine,
    policies: PolicySet | None,
    since: datetime | None = None,
    until: datetime | None = None,
    progress: Progress | None = None,
) -> Check:
    """Judge every call of [since, until) that the policies govern.

    Args:
        policies: None = those of the store, each in the time in which it held.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    judging = prepare(engine, intervals(engine, policies, since, until))
    found: Counter[tuple[Reason, str]] = Counter()
    for _, table, told in over(judging, _COUNTS, progress):
        for row in table:
            found[reason(row, told), row["verdict"]] += row["calls"]
    return Check(since, until, judging.calls, decided(found))


def decided(found: Mapping[tuple[Reason, str], int]) -> Sequence[Decided]:
    """Most calls first.

    Args:
        found: calls by their verdict's reason and what the proxy did.
    """
    some = [Decided(*reason, did, calls) for (reason, did), calls in found.items()]
    return sorted(some, key=lambda one: (-one.calls, one.verdict, one.policy or "", one.rule or "", one.did))


_COUNTS = Wanted("verdict", {"calls": "sum(weight)"}, "weight")
