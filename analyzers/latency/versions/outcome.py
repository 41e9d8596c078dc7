"""The result of a comparison of two versions, and how it is written as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from analyzers.dependencies.model import rfc3339
from analyzers.latency.versions.power import Needed
from analyzers.latency.versions.strata import Estimate

LatencyVerdict = Literal["slower", "faster", "same", "unsure"]
ErrorVerdict = Literal["more errors", "fewer errors", "same", "unsure"]
Shape = Literal["typical", "p95"]


@dataclass(frozen=True, slots=True)
class Margins:
    """What people care about, and how sure a verdict is.

    Attributes:
        ratio: durations are the same when their ratio's interval lies within 1 / (1 + ratio) and 1 + ratio.
        error_share: shares of failed calls are the same when their difference lies within this.
        tail_ratio, tail_ms: what the 95th percentile must be above, both, to be slower where typical calls are not; the
            ratio is at least 1 + `ratio`.
        level: of intervals; 1 - level is the chance of a wrong "slower" or "faster" among all tests of a comparison.
        min_calls: of each side, without which a service is not judged.
        min_operation_calls: the same of an operation.
        min_tail_calls: the same of its 95th percentile: ten beyond it.
    """

    ratio: float = 0.10
    error_share: float = 0.005
    tail_ratio: float = 1.2
    tail_ms: float = 2.0
    level: float = 0.95
    min_calls: int = 30
    min_operation_calls: int = 10
    min_tail_calls: int = 200


@dataclass(frozen=True, slots=True)
class Side:
    """What one version did in the time that is compared: durations are weighed as the comparison weighs them.

    Attributes:
        p50_ms, p95_ms, p99_ms: None where no duration is known.
    """

    calls: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None

    def to_document(self) -> dict[str, Any]:
        """As JSON-ready values."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Latency:
    """The verdict on durations.

    Attributes:
        shape: what told it: typical calls, or the slowest of them alone (p95).
        ratio: of a canary's call to a baseline's (Hodges-Lehmann); None where nothing could be compared.
        tail: the ratio of the 95th percentiles; None where there are too few calls.
        superiority: the chance that a canary's call takes longer than a baseline's.
        p_value: of "no difference", with Holm's correction for all tests of the comparison.
        needed: what would decide, where it is unsure.
    """

    verdict: LatencyVerdict
    shape: Shape | None = None
    ratio: Estimate | None = None
    tail: Estimate | None = None
    superiority: float | None = None
    p_value: float | None = None
    needed: Needed | None = None
    note: str | None = None

    def to_document(self) -> dict[str, Any]:
        """As JSON-ready values."""
        return {
            "verdict": self.verdict,
            "shape": self.shape,
            **_estimate("ratio", self.ratio),
            **_estimate("tail_ratio", self.tail),
            "superiority": _rounded(self.superiority),
            "p_value": self.p_value,
            "needed": _needed(self.needed),
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class Errors:
    """The verdict on failed calls.

    Attributes:
        difference: the canary's share less the baseline's; None where nothing could be compared.
        p_value, needed, note: as of `Latency`.
    """

    verdict: ErrorVerdict
    difference: Estimate | None = None
    p_value: float | None = None
    needed: Needed | None = None
    note: str | None = None

    def to_document(self) -> dict[str, Any]:
        """As JSON-ready values."""
        return {
            "verdict": self.verdict,
            **_estimate("difference", self.difference),
            "p_value": self.p_value,
            "needed": _needed(self.needed),
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class Compared:
    """One operation, or the whole service (`operation` None)."""

    operation: str | None
    baseline: Side
    canary: Side
    latency: Latency
    errors: Errors

    def to_document(self) -> dict[str, Any]:
        """As JSON-ready values; of the whole service without `operation`."""
        document = {name: getattr(self, name).to_document() for name in ("baseline", "canary", "latency", "errors")}
        return document if self.operation is None else {"operation": self.operation, **document}


@dataclass(frozen=True, slots=True)
class Mix:
    """How the calls of both sides were mixed.

    Attributes:
        apart: share of the canary's calls that would have to be of another operation for the same mix.
        differs: whether that is more than chance and more than a tenth.
        only_baseline, only_canary: operations that only one side got.
        left_out: share of the baseline's calls whose operations the verdict on the whole service leaves out.
    """

    apart: float
    differs: bool
    only_baseline: Sequence[str]
    only_canary: Sequence[str]
    left_out: float

    def to_document(self) -> dict[str, Any]:
        """As JSON-ready values."""
        return {
            "apart": _rounded(self.apart),
            "differs": self.differs,
            "only_baseline": list(self.only_baseline),
            "only_canary": list(self.only_canary),
            "left_out": _rounded(self.left_out),
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """The whole service, and its operations, those with the most calls first."""

    overall: Compared
    operations: Sequence[Compared]
    mix: Mix
    seconds: float
    margins: Margins


@dataclass(frozen=True, slots=True)
class VersionComparison:
    """Two versions of a service in a window.

    Attributes:
        since, until: the window; the first and the end of the last minute in which both had calls, where none is given.
        grain_s: seconds by which the time that both had calls in is told (minutes, or hours where only those are kept).
    """

    service: str
    baseline: str
    canary: str
    since: datetime
    until: datetime
    grain_s: int
    verdict: Verdict

    def to_document(self) -> dict[str, Any]:
        """As JSON-ready values."""
        verdict = self.verdict
        return {
            "service": self.service,
            "baseline": self.baseline,
            "canary": self.canary,
            "since": rfc3339(self.since),
            "until": rfc3339(self.until),
            "grain_s": self.grain_s,
            "compared_s": verdict.seconds,
            "margin_ratio": verdict.margins.ratio,
            "margin_error_share": verdict.margins.error_share,
            "level": verdict.margins.level,
            "overall": verdict.overall.to_document(),
            "operations": [one.to_document() for one in verdict.operations],
            "mix": verdict.mix.to_document(),
        }


def _estimate(name: str, of: Estimate | None) -> dict[str, Any]:
    values = (None, None, None) if of is None else (of.value, of.low, of.high)
    return dict(zip((name, f"{name}_low", f"{name}_high"), map(_rounded, values), strict=True))


def _needed(of: Needed | None) -> dict[str, Any] | None:
    if of is None:
        return None
    return {
        "baseline_calls": of.calls[0],
        "canary_calls": of.calls[1],
        "more_s": None if of.more_s is None else round(of.more_s),
        "canary_calls_per_s": _rounded(of.calls_per_s),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
