"""Regressions as findings: one for each cause, not one for each hop above it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from analyzers.findings.model import Evidence, Finding, Severity, Subject, as_json
from analyzers.latency.limits import Limits
from analyzers.latency.regression import Regression
from storage.sql import load

SLOWER, FAILING = "latency_regression", "error_regression"
KINDS = (SLOWER, FAILING)
_FALSE_ALARM_IF: Mapping[str, str] = {
    SLOWER: "slower calls were meant (a larger page, a heavier query), or other clients with other requests came",
    FAILING: "the calls are meant to fail (a probe, a test), or clients send what the callee has to refuse with a 5xx",
}
_HIGH_RATIO, _HIGH_SHARE = 2.0, 0.1


def to_findings(found: Sequence[Regression], edges: Mapping[str, Sequence[int]], limits: Limits) -> Sequence[Finding]:
    """A finding for each regression that no other one explains.

    Args:
        edges: edge ids of each regression, by its id.
    """
    return [
        _finding(one, edges.get(one.id, ()), limits)
        for one in found
        if one.verdict == "regression" and not one.explained_by
    ]


def _finding(one: Regression, edges: Sequence[int], limits: Limits) -> Finding:
    kind = FAILING if one.what == "errors" else SLOWER
    score = _share(one) if one.what == "errors" else one.ratio
    threshold = {"errors": limits.error_share, "typical": limits.min_ratio}.get(one.shape, limits.tail_ratio)
    parameters = {
        "since": one.since - timedelta(minutes=limits.before_min),
        "until": one.last_seen,
        "edges": list(edges),
        "row_limit": 10_000,
    }
    cause = one.causes[0] if one.causes else None
    details = {
        "calls": str(one.after.requests),
        "what grew": _GREW[one.shape],
        "ratio": f"{one.ratio:.2f} ({one.ratio_low:.2f} to {one.ratio_high:.2f})",
        "regression": one.id,
        "reporters": ", ".join(one.reporters),
    }
    if cause:
        details |= {"cause": cause.kind, "likely": cause.why}
    if one.explains:
        details["shows also at"] = f"{len(one.explains)} more edges: {', '.join(one.explains)}"
    return Finding(
        id=one.id,
        kind=kind,
        severity=_severity(one),
        title=title(one),
        subject=Subject(one.source, one.destination, one.operation, None),
        first_seen=one.since,
        last_seen=max(one.last_seen, one.since),
        score=round(score, 4),
        threshold=threshold,
        techniques=(),
        evidence=Evidence(load("latency/regression_evidence").text, as_json(parameters), (), tuple(one.slow_ids)),
        false_alarm_if=_FALSE_ALARM_IF[kind],
        details=details,
    )


_GREW: Mapping[str, str] = {
    "typical": "the duration of a typical call",
    "p95": "the 95th percentile of durations",
    "p99": "the 99th percentile of durations",
    "errors": "the share of failed calls",
}


def title(one: Regression) -> str:
    """In one sentence, without the cause."""
    where = f"{one.source} -> {one.destination}" + (f" {one.operation}" if one.operation else "")
    if one.what == "errors":
        before = one.before.errors / max(one.before.requests, 1)
        return f"{where} fails in {_share(one):.1%} of its calls, {before:.1%} before"
    place = {"typical": 0, "p95": 1, "p99": 2}[one.shape]
    name = ("p50", "p95", "p99")[place]
    known = one.before.quantiles_us and one.after.quantiles_us
    if not known or one.before.quantiles_us is None or one.after.quantiles_us is None:
        return f"{where} takes {one.ratio:.2f} times as long"
    before, after = (level[place] / 1000 for level in (one.before.quantiles_us, one.after.quantiles_us))
    return f"{where} takes {one.ratio:.2f} times as long ({name} {after:.3g} ms, {before:.3g} ms before)"


def _share(one: Regression) -> float:
    return one.after.errors / max(one.after.requests, 1)


def _severity(one: Regression) -> Severity:
    if one.what == "errors":
        return "high" if _share(one) >= _HIGH_SHARE else "medium"
    return "high" if one.shape == "typical" and one.ratio >= _HIGH_RATIO else "medium"
