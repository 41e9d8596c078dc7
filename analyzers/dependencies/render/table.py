"""The map as a table: coloured on a terminal, aligned plain text anywhere else.

A terminal that is too narrow for one line an edge gets the edges grouped by their source, each on two lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from analyzers.dependencies.model import Edge, ServiceMap, rfc3339
from analyzers.dependencies.render import palette
from analyzers.dependencies.render.text import UNKNOWN, duration, notes, printable, share, statuses

NUMERIC = {"requests", "errors", "p50", "p95", "p99", "mTLS"}
NUMBERS = ("protocol", "requests", "errors", "p50", "p95", "p99", "mTLS")
DETAILS = ("status", "evidence", "notes")

_HEAT_STYLES = {"fine": "", "warm": "yellow", "hot": "red", "burning": "bold red"}
_LOCK_STYLES = {"mtls": "green", "mixed": "yellow", "plain": "red", "unknown": "dim"}

Row = dict[str, Text]


def print_table(found: ServiceMap, console: Console | None = None) -> None:
    """Print the map on `console` (default: stdout): coloured and fitted when it is a terminal, else `to_table`."""
    console = console or Console()
    if not console.is_terminal:
        console.file.write(to_table(found))
        return
    edges = _ordered(found)
    rows = [_row(edge) for edge in edges]
    columns = _columns(rows)
    sizes = _sizes(rows, columns)
    fits = sum(sizes.values()) + 2 * len(columns) - 2 <= console.width
    for line in _lines(rows, columns, sizes) if fits else _grouped(edges, console.width):
        line.rstrip()
        console.print(line, soft_wrap=True, highlight=False)
    console.print(Text(f"\n{_caption(found)}", style="dim"), soft_wrap=True)


def to_table(found: ServiceMap) -> str:
    """The map as aligned columns of plain text, a heading line first; nothing is cut to a width."""
    rows = [_row(edge) for edge in _ordered(found)]
    if not rows:
        return _caption(found) + "\n"
    columns = _columns(rows)
    lines = [line.plain.rstrip() for line in _lines(rows, columns, _sizes(rows, columns))]
    return "\n".join([*lines, "", _caption(found)]) + "\n"


def _ordered(found: ServiceMap) -> Sequence[Edge]:
    return sorted(found.edges, key=lambda edge: (edge.source, edge.destination))


def _row(edge: Edge) -> Row:
    """The cells of an edge. They are `Text`, never markup: a service named "[red]" is only its name."""
    return {
        "source": Text(printable(edge.source)),
        "destination": Text(printable(edge.destination)),
        "protocol": Text(printable(edge.protocol or UNKNOWN, 20)),
        "requests": Text(str(edge.requests)),
        "errors": Text(share(edge.error_rate) if edge.requests else UNKNOWN, style=_HEAT_STYLES[palette.heat(edge)]),
        "p50": Text(duration(edge.p50_ms)),
        "p95": Text(duration(edge.p95_ms)),
        "p99": Text(duration(edge.p99_ms)),
        "mTLS": Text(share(edge.mtls_share), style=_LOCK_STYLES[palette.lock(edge)]),
        "status": Text(statuses(edge), style="dim"),
        "evidence": Text("+".join(edge.evidence), style="dim"),
        "notes": Text(", ".join(notes(edge)), style="yellow"),
    }


def _columns(rows: Sequence[Row]) -> list[str]:
    """All columns; notes only where there are any."""
    noted = any(row["notes"].plain for row in rows)
    return ["source", "destination", *NUMBERS, *(name for name in DETAILS if noted or name != "notes")]


def _sizes(rows: Iterable[Row], columns: Sequence[str]) -> dict[str, int]:
    sizes = {name: cell_len(name) for name in columns}
    for row in rows:
        for name in columns:
            sizes[name] = max(sizes[name], cell_len(row[name].plain))
    return sizes


def _lines(rows: Iterable[Row], columns: Sequence[str], sizes: dict[str, int]) -> Iterator[Text]:
    yield _joined({name: Text(name, style="bold") for name in columns}, columns, sizes)
    for row in rows:
        yield _joined(row, columns, sizes)


def _joined(row: Row, columns: Sequence[str], sizes: dict[str, int], between: str = "  ") -> Text:
    return Text(between).join(_padded(row[name], sizes[name], name in NUMERIC) for name in columns)


def _padded(cell: Text, size: int, right: bool) -> Text:
    space = " " * (size - cell_len(cell.plain))
    return Text.assemble(space, cell) if right else Text.assemble(cell, space)


def _grouped(edges: Sequence[Edge], width: int) -> Iterator[Text]:
    """Each source as a heading; under it its edges, numbers on one line and details on the next."""
    columns = ["destination", *NUMBERS]
    rows = [_row(edge) for edge in edges]
    for row in rows:
        row["destination"] = Text.assemble("→ ", row["destination"])
    sizes = _sizes(rows, columns)
    between = "  " if sum(sizes.values()) + 2 * len(columns) - 2 <= width else " "
    yield _joined({name: Text(name, style="bold") for name in columns}, columns, sizes, between)
    for _, group in groupby(zip(edges, rows, strict=True), key=lambda pair: pair[0].source):
        for place, (_, row) in enumerate(group):
            if place == 0:
                yield Text(row["source"].plain, style="bold")
            yield _joined(row, columns, sizes, between)
            yield Text.assemble("    ", Text("  ").join(row[name] for name in DETAILS if row[name].plain))


def _caption(found: ServiceMap) -> str:
    if found.since is None or found.until is None:
        window = "nothing stored"
    else:
        window = f"{rfc3339(found.since)} .. {rfc3339(found.until)}"
    requests = sum(edge.requests for edge in found.edges)
    return f"{window}: {len(found.nodes)} nodes, {len(found.edges)} edges, {requests} requests"
