"""Findings as people read them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from analyzers.columns import aligned, write
from analyzers.dependencies.render.text import printable
from analyzers.findings.model import Finding

_HEADING = ("id", "severity", "kind", "first seen", "last seen", "what")


def print_findings(found: Sequence[Finding], console: Console | None = None) -> None:
    """A line for each finding."""
    rows = [
        (
            one.id,
            one.severity,
            one.kind,
            f"{one.first_seen:%Y-%m-%d %H:%M}",
            f"{one.last_seen:%Y-%m-%d %H:%M}",
            printable(one.title, 240),
        )
        for one in found
    ]
    write([*aligned(_HEADING, rows), *([""] if rows else []), f"{len(found):,} findings"], console)


def print_finding(one: Finding, console: Console | None = None) -> None:
    """All that is known of one."""
    subject = one.subject
    facts = [
        ("finding", one.id),
        ("kind", one.kind),
        ("severity", one.severity),
        ("what", one.title),
        ("source", subject.source),
        ("principal", subject.principal),
        ("destination", subject.destination),
        ("operation", subject.operation),
        ("seen", f"{one.first_seen:%Y-%m-%d %H:%M:%S} to {one.last_seen:%Y-%m-%d %H:%M:%S}"),
        ("score", f"{one.score:g}, told from {one.threshold:g} on"),
        ("techniques", ", ".join(one.techniques)),
        *one.details.items(),
        ("a false alarm if", one.false_alarm_if),
        ("requests", " ".join(one.evidence.request_ids)),
        ("traces", " ".join(one.evidence.trace_ids)),
    ]
    rows = [(name, printable(text, 400)) for name, text in facts if text]
    size = max(len(name) for name, _ in rows)
    lines = [f"{name:<{size}}  {text}" for name, text in rows]
    parameters = [
        f"  {printable(name, 60)} = {printable(str(value), 400)}" for name, value in one.evidence.parameters.items()
    ]
    write([*lines, "", one.evidence.sql, "", *parameters], console)
