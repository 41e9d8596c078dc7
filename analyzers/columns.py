"""Aligned columns of plain text; cells are made harmless by whoever writes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text


def aligned(heading: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str] = ()) -> Sequence[str]:
    """Lines of a table, its heading first; columns named in `numbers` are set to the right. Without rows: nothing."""
    return list(Columns(heading, numbers).lines(rows))


class Columns:
    """A table that is written page by page: a column may grow from one page to the next, and never shrinks."""

    def __init__(self, heading: Sequence[str], numbers: Sequence[str] = ()) -> None:
        self._heading = heading
        self._numbers = numbers
        self._sizes: list[int] = []

    def lines(self, rows: Sequence[Sequence[str]]) -> Iterator[str]:
        """Lines of the next rows; before the first ones, the heading."""
        if not rows:
            return
        if not self._sizes:
            self._sizes = [cell_len(cell) for cell in self._heading]
            rows = [self._heading, *rows]
        self._sizes = [
            max(size, *map(cell_len, column)) for size, column in zip(self._sizes, zip(*rows, strict=True), strict=True)
        ]
        yield from map(self._line, rows)

    def _line(self, cells: Sequence[str]) -> str:
        padded: list[str] = []
        for name, cell, size in zip(self._heading, cells, self._sizes, strict=True):
            gap = " " * (size - cell_len(cell))
            padded.append(gap + cell if name in self._numbers else cell + gap)
        return "  ".join(padded).rstrip()


def many(count: int, what: str) -> str:
    """`1 call`, `2,000 calls`."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def write(lines: Sequence[str], console: Console | None = None) -> None:
    """Write lines on `console` (default: stdout); one that is too long wraps on a terminal."""
    console = console or Console()
    text = "\n".join(lines) + "\n"
    if console.is_terminal:
        console.print(Text(text), soft_wrap=True, highlight=False, end="")
    else:
        console.file.write(text)
