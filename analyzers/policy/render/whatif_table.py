"""What would change, as people read it: what breaks first."""

from __future__ import annotations

from rich.console import Console

from analyzers.columns import aligned, write
from analyzers.dependencies.render.text import UNKNOWN, printable
from analyzers.policy.whatif import Change, WhatIf

MOST_RARE = 10
_HEADING = ("change", "calls", "source", "principal", "destination", "operation", "policy", "rule", "samples")


def print_whatif(found: WhatIf, console: Console | None = None) -> None:
    """A line for each change, how many calls were judged, and what the record may lack."""
    lines = list(aligned(_HEADING, [_row(change) for change in found.changes], numbers=("calls",)))
    breaks = sum(change.calls for change in found.changes if change.breaks)
    opens = sum(change.calls for change in found.changes if change.opens)
    lines += [""] if lines else []
    lines.append(
        f"{found.evaluated:,} of {found.calls:,} calls judged: {found.allow:,} allow, {found.deny:,} deny, "
        f"{found.unknown:,} unknown"
    )
    lines.append(f"{breaks:,} calls would break, {opens:,} refused ones would pass")
    coverage = found.coverage
    lines.append(f"evidence of {coverage.hours:,} of {coverage.of_hours:,} hours, from {coverage.callers:,} callers")
    if coverage.rare_callers:
        lines.append(f"{coverage.rare_callers:,} callers were heard seldom, others like them may not be in the record:")
    for one in coverage.rare[:MOST_RARE]:
        principal = printable(one.source_principal or "no principal")
        lines.append(
            f"  {printable(one.source)} ({principal}) to {printable(one.destination)}: "
            f"{one.calls:,} calls in {one.hours} hours, last {one.last_seen:%Y-%m-%d %H:%M}"
        )
    if coverage.rare_callers > MOST_RARE:
        lines.append(f"  and {coverage.rare_callers - MOST_RARE:,} more")
    write(lines, console)


def _row(change: Change) -> tuple[str, ...]:
    missing = f" (not logged: {', '.join(printable(name, 40) for name in change.missing)})" if change.missing else ""
    return (
        f"{change.now} → {change.then}",
        f"{change.calls:,}",
        printable(change.source),
        printable(change.source_principal or UNKNOWN),
        printable(change.destination),
        printable(change.operation or UNKNOWN, 60),
        printable(change.policy or "-") + missing,
        printable(change.rule or "-", 40),
        " ".join(printable(sample, 40) for sample in change.samples[:2]),
    )
