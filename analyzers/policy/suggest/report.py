"""`policy suggest`: policies learnt on the first part of a window, and what they would do to the rest of it.

first part ──► learn ──► policies ──(read back)──┬──► the first part itself: who cannot be named is not let in
                                                 ├──► the part held out: calls in order that would break
                                                 └──► openness
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from analyzers.dependencies.model import rfc3339
from analyzers.policy.documents import listed
from analyzers.policy.engines import Place
from analyzers.policy.errors import BadPolicy
from analyzers.policy.judge import Wanted
from analyzers.policy.judging import Interval, Progress, bounds, over, prepare
from analyzers.policy.nodes import ENDS, Nodes
from analyzers.policy.policy_set import PolicySet
from analyzers.policy.suggest.learn import MAKERS, Learnt, as_yaml, learn, meant
from analyzers.policy.suggest.observed import Flags, read_flags, read_observed
from analyzers.policy.suggest.openness import Openness, openness
from analyzers.policy.suggest.targets import LeftOut
from storage.engine import Engine

HOLDOUT = 0.2
"""Share of the window, at its end, of which nothing is learnt."""
MAX_HOLDOUT = 0.9
MAX_LISTED = 1_000
"""Callers that a document lists, of each kind."""


@dataclass(frozen=True, slots=True)
class Broken:
    """Calls in order of one caller for one operation that would be refused."""

    source: str
    principal: str
    destination: str
    operation: str
    calls: int

    def to_document(self) -> dict[str, Any]:
        """The calls as JSON-ready values."""
        return {
            "source": self.source,
            "source_principal": self.principal or None,
            "destination": self.destination,
            "operation": self.operation or None,
            "calls": self.calls,
        }


@dataclass(frozen=True, slots=True)
class Trial:
    """The policies tried on [since, until).

    Attributes:
        calls: all that arrived where the policies are for: where the engine judges, in the namespaces asked for.
        elsewhere: all that arrived elsewhere; nothing else here counts them.
        legitimate: those in order: let in, and no finding is about them.
        broken: of these, those that would be refused.
        unknown: of these, those of which the record cannot tell.
        callers: of the broken ones, most calls first.
    """

    since: datetime
    until: datetime
    calls: int
    elsewhere: int
    legitimate: int
    broken: int
    unknown: int
    callers: Sequence[Broken]

    def to_document(self) -> dict[str, Any]:
        """The trial as JSON-ready values; at most `MAX_LISTED` callers."""
        return {
            "since": rfc3339(self.since),
            "until": rfc3339(self.until),
            "calls": self.calls,
            "elsewhere": self.elsewhere,
            "legitimate": self.legitimate,
            "broken": self.broken,
            "unknown": self.unknown,
            "callers": [one.to_document() for one in self.callers[:MAX_LISTED]],
        }


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Policies, and how good they are.

    Attributes:
        learning: tried on the calls from which they were learnt.
        held_out: on those that came later; None where nothing was held out.
    """

    learnt: Learnt
    since: datetime
    until: datetime
    learning: Trial
    held_out: Trial | None
    openness: Openness

    @property
    def left_out(self) -> Sequence[LeftOut]:
        """Calls of which nothing was learnt."""
        return self.learnt.left_out

    def yaml(self) -> str:
        """The policies, and at their head how they were learnt, in words of our own only."""
        judged = self.held_out
        head = [
            f"Least-privilege policies for {MAKERS[self.learnt.engine].title}, suggested by eastwatch.",
            f"Learnt from calls of {rfc3339(self.learning.since)} to {rfc3339(self.learning.until)}: "
            f"{self.learning.legitimate} in order, {self.learning.broken} of which these policies refuse all the same.",
            f"Of {judged.legitimate} calls in order until {rfc3339(judged.until)}, {judged.broken} would be refused."
            if judged
            else "No later calls were held out to try them on.",
            "They replace what allows today: a policy that stays beside them lets in whom it lets in now.",
        ]
        return "".join(f"# {line}\n" for line in head) + (
            as_yaml(self.learnt.documents) if self.learnt.documents else ""
        )

    def to_document(self) -> dict[str, Any]:
        """The document of `policy suggest --json`."""
        return {
            "engine": self.learnt.engine,
            "window": {"since": rfc3339(self.since), "until": rfc3339(self.until)},
            "documents": list(self.learnt.documents),
            "report": {
                "destinations": self.learnt.targets,
                "closed": list(self.learnt.closed),
                "learning": self.learning.to_document(),
                "held_out": self.held_out.to_document() if self.held_out else None,
                "openness": self.openness.to_document(),
                "left_out": [one.to_document() for one in self.left_out[:MAX_LISTED]],
            },
        }


def suggest(
    engine: Engine,
    of: str,
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    namespaces: Collection[str] = (),
    holdout: float = HOLDOUT,
    progress: Progress | None = None,
    settings: PolicySet | None = None,
) -> Suggestion:
    """Policies of engine `of`, learnt from the calls of [since, until) but for the last part.

    Args:
        of: one of `MAKERS`.
        namespaces: of destinations; none = all.
        holdout: share of the window that is held out, 0 to `MAX_HOLDOUT`.
        settings: MeshSettings, by which the policies are tried; None = nothing is told.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
        BadPolicy: of what cannot be made.
        TooMuch: more callers and operations than can be learnt from.
    """
    if of not in MAKERS:
        raise BadPolicy(f"no policies of {of} can be suggested, expected {listed(MAKERS)}")
    start, end = bounds(engine, since, until)
    cut = end - (end - start) * holdout
    flags = read_flags(engine, start, end)
    observed = read_observed(engine, start, cut, flags)
    learnt = learn(of, observed, namespaces)
    policies = learnt.policies().with_settings(settings or PolicySet())
    nodes, is_meant = Nodes(engine), meant(of, namespaces)

    def tried(since: datetime, until: datetime) -> Trial:
        return _tried(engine, Interval(policies, since, until), is_meant, flags, nodes, progress)

    return Suggestion(
        learnt,
        start,
        end,
        tried(start, cut),
        tried(cut, end) if cut < end else None,
        openness(engine, policies, of, observed, namespaces),
    )


_CALLS = Wanted(
    f"{', '.join(ENDS)}, source_principal, operation, verdict",
    {"calls": "sum(weight)"},
    "weight",
)


def _tried(
    engine: Engine,
    interval: Interval,
    is_meant: Callable[[Place], bool],
    flags: Flags,
    nodes: Nodes,
    progress: Progress | None,
) -> Trial:
    everywhere = prepare(engine, [interval], ungoverned=True)
    judging = everywhere.at(is_meant)
    legitimate, unknown = 0, 0
    broken: Counter[tuple[str, str, str, str]] = Counter()
    for _, rows, _ in over(judging, _CALLS, progress):
        for row in rows:
            source, destination = nodes.ends(row)
            principal = row["source_principal"]
            if row["verdict"] != "allowed" or flags(principal, source, destination, row["operation"]):
                continue
            legitimate += row["calls"]
            if row["allowed"] is None:
                unknown += row["calls"]
            elif not row["allowed"]:
                broken[source, principal, destination, row["operation"]] += row["calls"]
    callers = sorted(
        (Broken(*key, calls) for key, calls in broken.items()),
        key=lambda one: (-one.calls, one.destination, one.source, one.principal, one.operation),
    )
    return Trial(
        interval.since,
        interval.until,
        calls=judging.calls,
        elsewhere=everywhere.calls - judging.calls,
        legitimate=legitimate,
        broken=broken.total(),
        unknown=unknown,
        callers=callers,
    )
