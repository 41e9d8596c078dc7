"""A regression as it is kept and told: an edge, since when, by how much, how sure, and whose doing."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from analyzers.dependencies.model import rfc3339
from analyzers.latency.judged import Shape, Stage, What

Verdict = Literal["regression", "anomaly"]
CauseKind = Literal["self", "callee", "network", "load", "deploy"]


@dataclass(frozen=True, slots=True)
class Level:
    """One side of a change: p50, p95 and p99 (us), None where nothing was timed; requests and failed ones."""

    quantiles_us: Sequence[float] | None
    requests: int
    errors: int

    def to_document(self) -> dict[str, Any]:
        """As JSON-ready values."""
        known = [round(value / 1000, 6) for value in self.quantiles_us] if self.quantiles_us else [None] * 3
        quantiles = dict(zip(("p50_ms", "p95_ms", "p99_ms"), known, strict=True))
        return {**quantiles, "requests": self.requests, "errors": self.errors}


@dataclass(frozen=True, slots=True)
class Cause:
    """A likely cause.

    Attributes:
        service: node of the map; None = not known.
        kind: the service itself, what it calls, the network or proxies between, the load, or a deploy of it.
        share: of the slow-down that it explains, 0..1.
        why: in a sentence, with numbers.
    """

    service: str | None
    kind: CauseKind
    share: float
    why: str

    def to_document(self) -> dict[str, Any]:
        """As JSON-ready values."""
        return {"service": self.service, "kind": self.kind, "share": round(self.share, 4), "why": self.why}


@dataclass(frozen=True, slots=True)
class Regression:
    """One episode; see `storage.tables.REGRESSIONS` for the attributes.

    Attributes:
        operation: None = all operations of the edge together, or none known.
        ended: None = not, as far as was seen.
    """

    id: str
    verdict: Verdict
    what: What
    shape: Shape
    source: str
    destination: str
    operation: str | None
    reporters: Sequence[str]
    evidence: str
    since: datetime
    last_seen: datetime
    ended: datetime | None
    told_at: datetime
    before: Level
    after: Level
    ratio: float
    ratio_low: float
    ratio_high: float
    p_value: float
    superiority: float
    distance: float
    score: float
    tested: int
    stages: Sequence[Stage] = ()
    causes: Sequence[Cause] = ()
    explains: Sequence[str] = ()
    explained_by: str | None = None
    slow_ids: Sequence[str] = ()
    typical_ids: Sequence[str] = ()

    @property
    def place(self) -> tuple[str, str, str, str]:
        """What it is about; of one place there is one episode at a time."""
        return self.source, self.destination, self.operation or "", self.what

    def to_document(self) -> dict[str, Any]:
        """The regression as JSON-ready values."""
        return {
            "id": self.id,
            "what": self.what,
            "shape": self.shape,
            "source": self.source,
            "destination": self.destination,
            "operation": self.operation,
            "reporters": list(self.reporters),
            "evidence": self.evidence,
            "since": rfc3339(self.since),
            "last_seen": rfc3339(self.last_seen),
            "ended": rfc3339(self.ended) if self.ended else None,
            "told_at": rfc3339(self.told_at),
            "before": self.before.to_document(),
            "after": self.after.to_document(),
            "ratio": round(self.ratio, 4),
            "ratio_low": round(self.ratio_low, 4),
            "ratio_high": round(self.ratio_high, 4),
            "p_value": self.p_value,
            "superiority": round(self.superiority, 4),
            "distance": round(self.distance, 4),
            "causes": [cause.to_document() for cause in self.causes],
            "explains": list(self.explains),
            "explained_by": self.explained_by,
            "slow_ids": list(self.slow_ids),
            "typical_ids": list(self.typical_ids),
        }

    def to_anomaly(self) -> dict[str, Any]:
        """What went away, as JSON-ready values."""
        return {
            "id": self.id,
            "what": self.what,
            "source": self.source,
            "destination": self.destination,
            "operation": self.operation,
            "from": rfc3339(self.since),
            "to": rfc3339(self.ended or self.last_seen),
            "ratio": round(self.ratio, 4),
            "score": round(self.score, 4),
        }


def regression_id(verdict: str, what: str, source: str, destination: str, operation: str, since: datetime) -> str:
    """An id for a new episode."""
    parts = (verdict, what, source, destination, operation, since.isoformat())
    return hashlib.sha256("".join(f"{len(part)}:{part}" for part in parts).encode()).hexdigest()[:16]


def stages_document(stages: Sequence[Stage]) -> list[Mapping[str, Any]]:
    """Stages as JSON-ready values."""
    return [{"name": stage.name, "passed": bool(stage.passed), "text": stage.text} for stage in stages]
