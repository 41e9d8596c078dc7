"""The verdicts of a check: in numbers with their reasons, or call by call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

from rich.console import Console

from analyzers.columns import Columns, aligned, many, write
from analyzers.dependencies.render.text import printable
from analyzers.policy.check import Check
from analyzers.policy.each import Each, Judged
from analyzers.policy.fields import name_of, switch_on

_DID = {"allowed": "let through", "denied": "refused", "unknown": "?"}


def print_check(found: Check, skipped: Mapping[str, int], console: Console | None = None) -> None:
    """Counts by verdict and reason, and what to switch on so that more is known."""
    rows = [
        (
            one.verdict,
            _DID.get(one.did, "?"),
            f"{one.calls:,}",
            printable(one.policy or "-"),
            printable(one.rule or "-", 40),
            ", ".join(printable(name_of(subject), 60) for subject in one.missing),
        )
        for one in found.decided
    ]
    lines = list(aligned(("verdict", "the proxy", "calls", "policy", "rule", "not logged"), rows, numbers=("calls",)))
    governed = sum(one.calls for one in found.decided)
    counts = ", ".join(f"{found.count(verdict):,} {verdict}" for verdict in ("allow", "deny", "unknown"))
    lines += (
        ["", f"{found.calls:,} calls, {governed:,} governed: {counts}"]
        if rows
        else [f"{found.calls:,} calls, none governed"]
    )
    for subject, calls in found.missing:
        field, remedy = printable(name_of(subject), 60), printable(switch_on(subject), 160)
        lines.append(f"unknown for want of {field} ({calls:,} calls): needs {remedy}")
    lines += skipped_lines(skipped)
    write(lines, console)


def skipped_lines(skipped: Mapping[str, int]) -> Sequence[str]:
    """Which documents were read by no engine."""
    if not skipped:
        return []
    kinds = ", ".join(f"{printable(kind, 60)} ({count:,})" for kind, count in sorted(skipped.items())[:20])
    return [f"skipped, as they say nothing of who may call: {kinds}"]


_HEADING = ("time", "request", "source", "destination", "operation", "verdict", "the proxy", "policy", "rule")
PAGE = 1000
"""Calls whose columns are aligned together."""


def print_each(calls: Each, console: Console | None = None) -> None:
    """A line for each call."""
    columns = Columns((*_HEADING, "not logged"))
    rest = iter(calls)
    while page := [_line(call) for call in islice(rest, PAGE)]:
        write(list(columns.lines(page)), console)
    write([many(len(calls), "call")], console)


def _line(call: Judged) -> Sequence[str]:
    return (
        f"{call.ts:%Y-%m-%d %H:%M:%S.%f}",
        printable(call.request_id or "-", 60),
        printable(call.source),
        printable(call.destination),
        printable(call.operation or "-", 60),
        call.verdict,
        _DID.get(call.did, "?"),
        printable(call.policy or "-"),
        printable(call.rule or "-", 40),
        ", ".join(printable(name, 60) for name in call.missing),
    )
