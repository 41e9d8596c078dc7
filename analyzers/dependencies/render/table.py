"""The map as a table: coloured on a terminal, aligned plain text anywhere else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analyzers.dependencies.model import Edge, ServiceMap, rfc3339
from analyzers.dependencies.render import palette
from analyzers.dependencies.render.text import UNKNOWN, duration, notes, printable, share, statuses

_HEAT_STYLES = {"fine": "", "warm": "yellow", "hot": "red", "burning": "bold red"}
_LOCK_STYLES = {"mtls": "green", "mixed": "yellow", "plain": "red", "unknown": "dim"}


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    numeric: bool = False


_COLUMNS = (
    _Column("source"),
    _Column("destination"),
    _Column("protocol"),
    _Column("requests", numeric=True),
    _Column("errors", numeric=True),
    _Column("p50", numeric=True),
    _Column("p95", numeric=True),
    _Column("p99", numeric=True),
    _Column("mTLS", numeric=True),
    _Column("status"),
    _Column("evidence"),
    _Column("notes"),
)


def print_table(found: ServiceMap, console: Console | None = None) -> None:
    """Print the map: a rich table when `console` (default: stdout) is a terminal, `to_table` otherwise."""
    console = console or Console()
    if not console.is_terminal:
        console.file.write(to_table(found))
        return
    table = Table(box=box.SIMPLE_HEAD, caption=_caption(found), caption_justify="left", pad_edge=False)
    kept = _kept(found)
    for index in kept:
        column = _COLUMNS[index]
        foldable = not column.numeric
        table.add_column(
            column.title, justify="right" if column.numeric else "left", overflow="fold", no_wrap=not foldable
        )
    for edge in _ordered(found):
        cells = _cells(edge)
        styles = _styles(edge)
        # Text, not markup: a service named "[red]" is only its name.
        table.add_row(*(Text(cells[index], style=styles.get(_COLUMNS[index].title, "")) for index in kept))
    console.print(table, soft_wrap=False)


def to_table(found: ServiceMap) -> str:
    """The map as aligned columns of plain text, a heading line first; nothing is cut to a width."""
    kept = _kept(found)
    rows = [[_COLUMNS[index].title for index in kept]]
    rows += [[_cells(edge)[index] for index in kept] for edge in _ordered(found)]
    if len(rows) == 1:
        return _caption(found) + "\n"
    sizes = [max(cell_len(row[place]) for row in rows) for place in range(len(kept))]
    lines = [
        "  ".join(_padded(cell, sizes[place], _COLUMNS[kept[place]].numeric) for place, cell in enumerate(row)).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, "", _caption(found)]) + "\n"


def _padded(cell: str, size: int, right: bool) -> str:
    space = " " * (size - cell_len(cell))
    return space + cell if right else cell + space


def _ordered(found: ServiceMap) -> Sequence[Edge]:
    return sorted(found.edges, key=lambda edge: (edge.source, edge.destination))


def _kept(found: ServiceMap) -> list[int]:
    """The columns to show: notes only where there are any."""
    noted = any(notes(edge) for edge in found.edges)
    return [index for index, column in enumerate(_COLUMNS) if noted or column.title != "notes"]


def _cells(edge: Edge) -> list[str]:
    return [
        printable(edge.source),
        printable(edge.destination),
        printable(edge.protocol or UNKNOWN, 20),
        str(edge.requests),
        share(edge.error_rate) if edge.requests else UNKNOWN,
        duration(edge.p50_ms),
        duration(edge.p95_ms),
        duration(edge.p99_ms),
        share(edge.mtls_share),
        statuses(edge),
        "+".join(edge.evidence),
        ", ".join(notes(edge)),
    ]


def _styles(edge: Edge) -> dict[str, str]:
    return {
        "errors": _HEAT_STYLES[palette.heat(edge)],
        "mTLS": _LOCK_STYLES[palette.lock(edge)],
        "status": "dim",
        "evidence": "dim",
        "notes": "yellow",
    }


def _caption(found: ServiceMap) -> str:
    if found.since is None or found.until is None:
        window = "nothing stored"
    else:
        window = f"{rfc3339(found.since)} .. {rfc3339(found.until)}"
    requests = sum(edge.requests for edge in found.edges)
    return f"{window}: {len(found.nodes)} nodes, {len(found.edges)} edges, {requests} requests"
