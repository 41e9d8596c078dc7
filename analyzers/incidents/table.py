"""Incidents as people read them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from analyzers.columns import aligned, many, write
from analyzers.dependencies.render.text import printable
from analyzers.findings.model import Finding
from analyzers.incidents.model import Incident

_HEADING = ("id", "state", "severity", "findings", "started", "updated (UTC)", "what")
_FINDINGS = ("finding", "severity", "kind", "first seen", "last seen (UTC)", "what")


def print_incidents(found: Sequence[Incident], console: Console | None = None) -> None:
    """A line for each incident."""
    rows = [
        (
            printable(one.id, 40),
            one.state,
            one.severity,
            f"{len(one.findings):,}",
            f"{one.started:%Y-%m-%d %H:%M}",
            f"{one.updated:%Y-%m-%d %H:%M}",
            printable(one.summary, 240),
        )
        for one in found
    ]
    number = many(len(found), "incident")
    more = ["", f"{number}; `eastwatch incidents show ID` tells which findings are of one"]
    write([*aligned(_HEADING, rows, ("findings",)), *(more if rows else [number])], console)


def print_incident(one: Incident, findings: Sequence[Finding], console: Console | None = None) -> None:
    """All that is known of one, with those of its findings that are still stored."""
    closed = f" at {one.closed_at:%Y-%m-%d %H:%M:%S} UTC" if one.closed_at else ""
    facts = [
        ("incident", one.id),
        ("state", f"{one.state}{closed}"),
        ("note", one.note),
        ("merged into", one.merged_into),
        ("severity", one.severity),
        ("what", one.summary),
        ("path", " -> ".join(printable(node, 120) for node in one.path)),
        ("services", ", ".join(printable(node, 120) for node in one.services)),
        ("principals", ", ".join(printable(name, 240) for name in one.principals)),
        ("seen", f"{one.started:%Y-%m-%d %H:%M:%S} to {one.updated:%Y-%m-%d %H:%M:%S} UTC"),
        ("techniques", ", ".join(one.techniques)),
    ]
    told = [(name, printable(text, 2000)) for name, text in facts if text]
    size = max(len(name) for name, _ in told)
    rows = [
        (
            printable(each.id, 40),
            each.severity,
            each.kind,
            f"{each.first_seen:%Y-%m-%d %H:%M}",
            f"{each.last_seen:%Y-%m-%d %H:%M}",
            printable(each.title, 240),
        )
        for each in findings
    ]
    gone = len(one.findings) - len(rows)
    more = [f"{many(gone, 'finding')} of it {'is' if gone == 1 else 'are'} not stored any more"] if gone else []
    write([*(f"{name:<{size}}  {text}" for name, text in told), "", *aligned(_FINDINGS, rows), *more], console)
