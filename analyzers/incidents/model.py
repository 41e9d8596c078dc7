"""An incident: findings that have one cause, as far as can be told, and what people said of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from analyzers.dependencies.model import rfc3339
from analyzers.findings.model import QUIET, Severity

State = Literal["open", "acknowledged", "closed"]
STATES: Sequence[State] = ("open", "acknowledged", "closed")


@dataclass(frozen=True, slots=True)
class Incident:
    """What is told as one thing.

    Attributes:
        id: that of its earliest finding when it began; it stays when the incident grows.
        severity: the highest of its findings.
        summary: one sentence.
        principals, services: of all findings, in order of their names.
        path: nodes in the order of the calls; where that leaves a choice, as they were first seen.
        findings: ids, the earliest first.
        started, updated: first and last time of its findings.
        note: what whoever closed it said.
        merged_into: id of the incident that its findings belong to since; only of one that is closed.
        closed_at: when it was closed.
    """

    id: str
    state: State
    severity: Severity
    summary: str
    principals: Sequence[str]
    services: Sequence[str]
    path: Sequence[str]
    findings: Sequence[str]
    started: datetime
    updated: datetime
    techniques: Sequence[str]
    note: str | None = None
    merged_into: str | None = None
    closed_at: datetime | None = None

    def to_document(self) -> dict[str, Any]:
        """The incident as JSON-ready values."""
        return {
            "id": self.id,
            "state": self.state,
            "severity": self.severity,
            "summary": self.summary,
            "principals": list(self.principals),
            "services": list(self.services),
            "path": list(self.path),
            "findings": list(self.findings),
            "started": rfc3339(self.started),
            "updated": rfc3339(self.updated),
            "techniques": list(self.techniques),
            "note": self.note,
            "merged_into": self.merged_into,
            "closed_at": rfc3339(self.closed_at),
        }


@dataclass(frozen=True, slots=True)
class Together:
    """How near findings must be to be one incident.

    Attributes:
        near: one begins within this time of the other's end, or of its begin where only the begin tells.
        apart: begins that are further apart than this are not grouped, whatever goes on all the while.
        few: a node that so many call, at most, is seldom met by chance; a way through a node counts as one of
            callers times callees, and is rare up to the square of this.
    """

    near: timedelta = QUIET
    apart: timedelta = timedelta(hours=24)
    few: int = 3


TOGETHER = Together()
