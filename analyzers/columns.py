"""Aligned columns of plain text; cells are made harmless by whoever writes them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text


def aligned(heading: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str] = ()) -> Sequence[str]:
    """Lines of a table, its heading first; columns named in `numbers` are set to the right. Without rows: nothing."""
    if not rows:
        return []
    sizes = [max(map(cell_len, column)) for column in zip(heading, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded: list[str] = []
        for name, cell, size in zip(heading, cells, sizes, strict=True):
            gap = " " * (size - cell_len(cell))
            padded.append(gap + cell if name in numbers else cell + gap)
        return "  ".join(padded).rstrip()

    return [line(heading), *map(line, rows)]


def write(lines: Sequence[str], console: Console | None = None) -> None:
    """Write lines on `console` (default: stdout); one that is too long wraps on a terminal."""
    console = console or Console()
    text = "\n".join(lines) + "\n"
    if console.is_terminal:
        console.print(Text(text), soft_wrap=True, highlight=False, end="")
    else:
        console.file.write(text)
