"""Findings as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console

from analyzers.columns import aligned, write
from analyzers.dependencies.render.text import printable
from analyzers.findings.model import Finding

_HEADING = ("id", "severity", "kind", "first seen", "last seen (UTC)", "what")


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
    more = ["", f"{number_of(len(found))}; `eastwatch findings show ID` tells the likely cause and shows the calls"]
    write([*aligned(_HEADING, rows), *(more if rows else [number_of(0)])], console)


def number_of(findings: int) -> str:
    """`1 finding`, `2 findings`."""
    return f"{findings:,} finding{'' if findings == 1 else 's'}"


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
        ("seen", f"{one.first_seen:%Y-%m-%d %H:%M:%S} to {one.last_seen:%Y-%m-%d %H:%M:%S} UTC"),
        ("score", f"{one.score:g}, told from {one.threshold:g} on"),
        ("techniques", ", ".join(one.techniques)),
        *_details(one),
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
    told = "The statement that shows the calls, for any client of the store, with its parameters:"
    write([*lines, "", told, "", one.evidence.sql, "", *parameters], console)


def _details(one: Finding) -> Iterable[tuple[str, str]]:
    """More facts, the cause's name behind its sentence."""
    cause = one.details.get("cause")
    for name, text in one.details.items():
        if name == "likely":
            yield "likely cause", f"{text} ({cause})" if cause else text
        elif name != "cause":
            yield name, text
