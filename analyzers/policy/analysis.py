"""All findings that policies and refusals give: the analyzer `policy`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from analyzers.findings.model import Evidence, Finding, Subject, as_json, finding_id
from analyzers.policy.judging import Progress
from analyzers.policy.probing import FALSE_ALARM_IF, RepeatedDenials, repeated_denials
from analyzers.policy.unauthorized import KINDS as DISAGREEMENTS
from analyzers.policy.unauthorized import disagreements
from storage.engine import Engine

REPEATED = "repeated_denials"
KINDS = (*DISAGREEMENTS, REPEATED)
"""Of findings that policies and refusals give."""
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
    services = "one service" if len(one.destinations) == 1 else f"{len(one.destinations):,} services"
    doors = f"{one.targets:,} operation{'' if one.targets == 1 else 's'} of {services}"
    return Finding(
        id=finding_id(REPEATED, subject, one.first_seen),
        kind=REPEATED,
        severity="medium",
        title=f"{who} was refused {one.calls:,} times, at {doors}",
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
            "densest ten minutes": f"{one.peak_calls:,} refused calls, {one.peak_targets:,} targets",
            "destinations": ", ".join(one.destinations[:_MOST_SHOWN]),
        },
    )
