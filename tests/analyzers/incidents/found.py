"""Findings made by hand, and by hypothesis."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st

from analyzers.findings.model import SEVERITIES, Evidence, Finding, Subject
from tests.analyzers.records import T0

MINUTE = timedelta(minutes=1)


def finding(
    id_: str,
    source: str | None = None,
    destination: str | None = None,
    *,
    at: float = 0,
    lasts: float = 5,
    kind: str = "unauthorized",
    principal: str | None = None,
    severity: Any = "high",
    details: Mapping[str, str] | None = None,
    techniques: tuple[str, ...] = (),
) -> Finding:
    """A finding that begins `at` minutes after T0 and goes on for `lasts` minutes."""
    return Finding(
        id=id_,
        kind=kind,
        severity=severity,
        title=f"{source} called {destination}",
        subject=Subject(source, destination, None, principal),
        first_seen=T0 + at * MINUTE,
        last_seen=T0 + (at + lasts) * MINUTE,
        score=1.0,
        threshold=1.0,
        techniques=techniques,
        evidence=Evidence("SELECT 1", {}),
        false_alarm_if="",
        details=details or {},
    )


def slow(id_: str, source: str, destination: str, **more: Any) -> Finding:
    """A latency regression."""
    return finding(id_, source, destination, **{"kind": "latency_regression", "severity": "medium", **more})


NODES = ("a", "b", "c", "d", "e", "unknown")
KINDS = ("unauthorized", "repeated_denials", "refused_though_allowed", "latency_regression", "error_regression")

EDGES = st.sets(st.tuples(st.sampled_from(NODES), st.sampled_from(NODES)), max_size=14)


@st.composite
def many_findings(draw: st.DrawFn, least: int = 0, most: int = 12) -> list[Finding]:
    """Findings at few nodes and in few hours, so that links of every kind come about."""
    found: list[Finding] = []
    for n in range(draw(st.integers(least, most))):
        details = draw(
            st.sampled_from(
                ({}, {}, {"explained_by": "f0"}, {"explained_by": "r9"}, {"policies": "p", "cause": "x"}),
            )
        )
        found.append(
            finding(
                f"f{n}",
                draw(st.sampled_from((*NODES, None))),
                draw(st.sampled_from((*NODES, None))),
                at=draw(st.integers(0, 40)) * 10 + draw(st.sampled_from((0, 0, 0, 2000))),
                lasts=draw(st.sampled_from((0, 5, 60, 3000))),
                kind=draw(st.sampled_from(KINDS)),
                principal=draw(st.sampled_from((None, None, "p", "q"))),
                severity=draw(st.sampled_from(SEVERITIES)),
                details=details,
            )
        )
    return found
