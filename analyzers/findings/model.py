"""A finding: what was seen, between whom, since when, how sure, and how to see it again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from analyzers.dependencies.model import rfc3339

Severity = Literal["info", "low", "medium", "high", "critical"]
SEVERITIES: Sequence[Severity] = ("info", "low", "medium", "high", "critical")
QUIET = timedelta(minutes=30)
"""So long without anything new ends an episode."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Who it is about; None = of several, or not known.

    Attributes:
        source, destination: nodes of the map.
        operation: method and path template.
        principal: the caller's.
    """

    source: str | None = None
    destination: str | None = None
    operation: str | None = None
    principal: str | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What shows it: a statement with its parameters (`as_json`), and some of the calls."""

    sql: str
    parameters: Mapping[str, Any]
    request_ids: Sequence[str] = ()
    trace_ids: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """One episode.

    Attributes:
        id: the same for the same episode, whenever it is found.
        score, threshold: the finding stands where the score reaches the threshold.
        techniques: ATT&CK ids.
        false_alarm_if: what would make it one.
        details: more facts, as text.
    """

    id: str
    kind: str
    severity: Severity
    title: str
    subject: Subject
    first_seen: datetime
    last_seen: datetime
    score: float
    threshold: float
    techniques: Sequence[str]
    evidence: Evidence
    false_alarm_if: str
    details: Mapping[str, str] = field(default_factory=dict[str, str])

    def to_document(self) -> dict[str, Any]:
        """The finding as JSON-ready values."""
        subject, evidence = self.subject, self.evidence
        return {
            "id": self.id,
            "kind": self.kind,
            "severity": self.severity,
            "title": self.title,
            "subject": {name: getattr(subject, name) for name in ("source", "destination", "operation", "principal")},
            "first_seen": rfc3339(self.first_seen),
            "last_seen": rfc3339(self.last_seen),
            "score": self.score,
            "threshold": self.threshold,
            "techniques": list(self.techniques),
            "evidence": {
                "sql": evidence.sql,
                "parameters": dict(evidence.parameters),
                "request_ids": list(evidence.request_ids),
                "trace_ids": list(evidence.trace_ids),
            },
            "false_alarm_if": self.false_alarm_if,
            "details": dict(self.details),
        }


def as_json(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """Parameters of a statement as JSON values, times in the form that ClickHouse's clients take."""
    return {
        name: value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f") if isinstance(value, datetime) else value
        for name, value in parameters.items()
    }


def finding_id(kind: str, subject: Subject, first_seen: datetime) -> str:
    """An id for a new episode of a subject."""
    parts = (kind, subject.source, subject.destination, subject.principal, rfc3339(first_seen))
    text = "".join(f"{len(part or '')}:{part or ''}" for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
