"""The edge ledger as a table: since when who calls whom, as whom, for what, and who says so."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from analyzers.dependencies.ledger import LedgerEntry
from analyzers.dependencies.render.text import UNKNOWN, printable

COLUMNS = ("first seen", "last seen", "source", "destination", "operation", "principal", "evidence", "said by")


def print_ledger(entries: Sequence[LedgerEntry], console: Console | None = None) -> None:
    """Print the entries on `console` (default: stdout); a line that is too long wraps on a terminal."""
    console = console or Console()
    lines = to_ledger_table(entries)
    if console.is_terminal:
        console.print(Text(lines), soft_wrap=True, highlight=False, end="")
    else:
        console.file.write(lines)


def to_ledger_table(entries: Sequence[LedgerEntry]) -> str:
    """The entries as aligned columns of plain text, a heading line first."""
    rows = [_row(entry) for entry in entries]
    sizes = [max(map(cell_len, column)) for column in zip(COLUMNS, *rows, strict=True)]
    lines = [
        "  ".join(cell + " " * (size - cell_len(cell)) for cell, size in zip(row, sizes, strict=True)).rstrip()
        for row in ((COLUMNS, *rows) if rows else ())
    ]
    edges = len({(entry.source, entry.destination) for entry in entries})
    return "\n".join([*lines, *([""] if rows else ()), f"{edges} edges, {len(entries)} entries"]) + "\n"


def _row(entry: LedgerEntry) -> tuple[str, ...]:
    return (
        f"{entry.first_seen:%Y-%m-%d %H:%M:%S}",
        f"{entry.last_seen:%Y-%m-%d %H:%M:%S}",
        printable(entry.source),
        printable(entry.destination),
        printable(entry.operation or UNKNOWN, 60),
        printable(entry.principal or ("none (plaintext)" if "plaintext" in entry.tls else UNKNOWN)),
        entry.evidence,
        "+".join(printable(side, 20) for side in entry.reporters),
    )
