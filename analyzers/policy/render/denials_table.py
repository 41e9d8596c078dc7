"""The ledger of denials as a table: how often and since when, who was refused where, for what, and by what."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from analyzers.columns import aligned, write
from analyzers.dependencies.render.text import UNKNOWN, printable
from analyzers.policy.denials import Denial

COLUMNS = ("calls", "first seen", "last seen", "source", "principal", "destination", "operation", "refused by")
_WHY = {
    "no_allow": "no policy allows it",
    "policy_changed": "a policy changed while it was open",
    "error": "the authorizer could not be asked",
}


def print_denials(found: Sequence[Denial], console: Console | None = None) -> None:
    """Print the entries on `console` (default: stdout)."""
    write(denial_lines(found), console)


def denial_lines(found: Sequence[Denial]) -> Sequence[str]:
    """The entries as aligned columns of plain text, a heading line first, and their sums. Nothing in them steers a
    terminal."""
    rows = [_row(entry) for entry in found]
    enforced = [entry for entry in found if not entry.dry_run]
    trials = len(found) - len(enforced)
    total = f"{sum(entry.calls for entry in enforced):,} calls refused, {len(enforced):,} entries"
    if trials:
        passed = sum(entry.calls for entry in found if entry.dry_run)
        total += f"; {passed:,} let pass that policies on trial would refuse, {trials:,} entries"
    return [*aligned(COLUMNS, rows, numbers=("calls",)), *([""] if rows else ()), total]


def _row(entry: Denial) -> tuple[str, ...]:
    return (
        f"{entry.calls:,}",
        f"{entry.first_seen:%Y-%m-%d %H:%M:%S}",
        f"{entry.last_seen:%Y-%m-%d %H:%M:%S}",
        printable(entry.source),
        printable(entry.principal or UNKNOWN),
        printable(entry.destination),
        printable(entry.operation or UNKNOWN, 60),
        printable(refused_by(entry), 160),
    )


def refused_by(entry: Denial) -> str:
    """What refused, in words; names in it are as they came."""
    words = ["on trial:" if entry.dry_run else "", "not named" if entry.kind == "unnamed" else entry.kind]
    words.append(entry.provider or "")
    if entry.policy is not None:
        words.append(f"{entry.policy_namespace}/{entry.policy}" if entry.policy_namespace else entry.policy)
        words.append(f"rule {entry.rule}" if entry.rule is not None else "")
    # Linkerd has policies that allow only: behind a server's name the reason says nothing more.
    if entry.reason is not None and not (entry.policy is not None and entry.reason == "no_allow"):
        words.append(f"({_WHY.get(entry.reason, entry.reason)})")
    return " ".join(filter(None, words))
