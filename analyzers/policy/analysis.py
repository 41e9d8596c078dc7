"""All findings that policies and refusals give: the analyzer `policy`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from analyzers.findings.model import Evidence, Finding, Subject, as_json, finding_id
from analyzers.policy.judging import Progress
from analyzers.policy.probing import FALSE_ALARM_IF, RepeatedDenials, repeated_denials
from analyzers.policy.unauthorized import disagreements
from storage.engine import Engine

REPEATED = "repeated_denials"
_MOST_SHOWN = 12


def policy_findings(
    engine: Engine,
    since: datetime | None = None,
    until: datetime | None = None,
    progress: Progress | None = None,
) -> Sequence[Finding]:
    """What calls of [since, until) show; nothing is stored.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
        BadPolicy: a stored set that this version of eastwatch does not take.
    """
    probing = [_probing(one) for one in repeated_denials(engine, since, until)]
    return [*disagreements(engine, since, until, progress), *probing]


def _probing(one: RepeatedDenials) -> Finding:
    destination = one.destinations[0] if len(one.destinations) == 1 else None
    subject = Subject(one.source, destination, None, one.principal)
    who = one.principal or one.address or one.source
    doors = f"{one.targets:,} operations of {len(one.destinations):,} services"
    return Finding(
        id=finding_id(REPEATED, subject, one.first_seen),
        kind=REPEATED,
        severity="medium",
        title=f"{who} was refused {one.calls:,} times: {doors}",
        subject=subject,
        first_seen=one.first_seen,
        last_seen=one.last_seen,
        score=one.score,
        threshold=one.threshold,
        techniques=("T1046",),
        evidence=Evidence(one.sql, as_json(one.parameters), one.request_ids, one.trace_ids),
        false_alarm_if=FALSE_ALARM_IF,
        details={
            "calls": str(one.calls),
            "targets": str(one.targets),
            "destinations": ", ".join(one.destinations[:_MOST_SHOWN]),
        },
    )
