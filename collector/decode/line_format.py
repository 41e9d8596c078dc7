"""What a line format is: how its lines are known, how they are read, and into which table they go.

One module holds each format and ends in its `FORMAT`; `line_formats` lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from collector.decode.envelope import Lines
from collector.decode.json_shapes import Shape
from collector.decode.limits import Limits
from collector.decode.spans import Positions

Refused = list[tuple[int, str]]
"""(row of the lines that were given, why) of lines that are no acceptable record."""

Finish = Callable[[pa.RecordBatch], pa.RecordBatch]
"""All that was read of a format in one batch, as rows of its table. It sees every line at once: the place for work that
is done once per distinct value."""


def as_they_are(rows: pa.RecordBatch) -> pa.RecordBatch:
    """For formats whose reader gives rows of the table already."""
    return rows


@dataclass(frozen=True, slots=True)
class JsonFormat:
    """One JSON object a line."""

    name: str
    known: Set[str]
    """Keys that `read` wants as columns; all others come as `Shape.extra`."""
    recognises: Callable[[Set[str]], bool]
    """Whether an object with these keys is of this format."""
    read: Callable[[Lines, Shape, Limits], tuple[pa.RecordBatch, Refused]]
    """Rows with `_message` and `_record` for the lines of one shape (`shape.rows` of the lines)."""
    finish: Finish = as_they_are
    table: str = "calls"
    version: int = 1
    telling: tuple[str, ...] = ()
    """How other keys begin whose null comes in `Shape.extra` too, as the empty text."""


class TextRows(NamedTuple):
    """What a text format made of lines."""

    batches: Sequence[pa.RecordBatch]
    refused: Refused
    """Lines of this format that are no acceptable record."""
    rest: Positions
    """Lines that are not of this format, ascending."""


@dataclass(frozen=True, slots=True)
class TextFormat:
    """One text line each."""

    name: str
    read: Callable[[Lines, Limits], TextRows]
    finish: Finish = as_they_are
    table: str = "calls"
    version: int = 1


LineFormat = JsonFormat | TextFormat
