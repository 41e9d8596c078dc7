"""The difference of two maps as a table: `+` came, `-` went, `~` changed, `?` seen too rarely to say.

Coloured on a terminal (a line that is too long wraps), aligned plain text anywhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from analyzers.dependencies.diff import MapDiff, Side
from analyzers.dependencies.model import Edge
from analyzers.dependencies.render.diff_text import NOTHING, caption, named, novelty, values, window
from analyzers.dependencies.render.text import printable

COLUMNS = ("", "source", "destination", "operation", "what", "before", "after", "note")
STYLES = {"+": "green", "-": "red", "~": "yellow", "?": "dim"}

Row = tuple[str, ...]


def print_diff(diff: MapDiff, console: Console | None = None) -> None:
    """Print the difference on `console` (default: stdout): coloured when it is a terminal, else `to_diff_table`."""
    console = console or Console()
    if not console.is_terminal:
        console.file.write(to_diff_table(diff))
        return
    rows = _rows(diff)
    for row, line in zip([COLUMNS, *rows], _lines(rows), strict=True) if rows else ():
        console.print(Text(line, style=STYLES.get(row[0], "bold")), soft_wrap=True, highlight=False)
    console.print(Text("\n".join(("", *_foot(diff))), style="dim"), soft_wrap=True, highlight=False)


def to_diff_table(diff: MapDiff) -> str:
    """The difference as aligned columns of plain text, a heading line first."""
    rows = _rows(diff)
    return "\n".join([*(_lines(rows) if rows else ()), *([""] if rows else ()), *_foot(diff)]) + "\n"


def _foot(diff: MapDiff) -> Sequence[str]:
    lines = [f"{name}: {window(side)}{_covered(side)}" for name, side in (("a", diff.a), ("b", diff.b))]
    return [*lines, caption(diff)]


def _covered(side: Side) -> str:
    if not side.seconds:
        return "  (nothing stored)"
    return "" if side.found.edges else "  (no calls)"


def _rows(diff: MapDiff) -> list[Row]:
    rows = [_edge("+", edge, NOTHING, str(edge.requests), novelty(diff, edge)) for edge in diff.appeared]
    rows += [_edge("-", edge, str(edge.requests), NOTHING, novelty(diff, edge)) for edge in diff.disappeared]
    for change in diff.changed:
        ends = printable(change.source), printable(change.destination)
        rows.append(("~", *ends, printable(change.operation or "", 60), named(change), *values(change), ""))
    for edge, side in diff.rare:
        numbers = (str(edge.requests), NOTHING) if side == "a" else (NOTHING, str(edge.requests))
        rows.append(_edge("?", edge, *numbers, "too few calls to tell"))
    return rows


def _edge(mark: str, edge: Edge, before: str, after: str, note: str) -> Row:
    return (mark, printable(edge.source), printable(edge.destination), "", "requests", before, after, note)


def _lines(rows: Sequence[Row]) -> Iterator[str]:
    sizes = [max(map(cell_len, column)) for column in zip(COLUMNS, *rows, strict=True)]
    shown = [place for place in range(len(COLUMNS)) if place == 0 or any(row[place] for row in rows)]
    for row in (COLUMNS, *rows):
        cells = (row[place] + " " * (sizes[place] - cell_len(row[place])) for place in shown)
        yield "  ".join(cells).rstrip()
