"""What passes between a source, a decoder and the ingest loop.

    source ──► Batch ──► Decoder.decode ──► Decoded ──► identity.complete ──► conform ──► Engine.insert

A decoder is a pure function of bytes: no I/O, no clock, no logging. The same bytes give the same rows always (a crashed
batch is decoded again and must meet its own deduplication token).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa

MESSAGE = "_message"
"""Name of the int32 column with the index of the message a row came from. Columns beginning with `_` are not stored."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive messages of one topic-partition (or one file, or one request).

    `values` are the message bodies, `offsets` (int64, ascending, not always dense) their positions. `covers` is the
    first and last position (inclusive) where that is more than the offsets say: the bytes of a file's lines.
    """

    cluster_id: str
    topic: str
    topic_id: str
    partition: int
    values: pa.LargeBinaryArray
    offsets: pa.Int64Array
    covers: tuple[int, int] | None = None

    @property
    def first(self) -> int:
        """First position."""
        return self.covers[0] if self.covers else self.offsets[0].as_py()

    @property
    def last(self) -> int:
        """Last position, inclusive."""
        return self.covers[1] if self.covers else self.offsets[-1].as_py()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that could not be decoded. Its neighbours are not affected."""

    message: int
    """Index of the message in the batch."""
    record: int
    """Line or record number in the message, from 0."""
    payload: bytes
    reason: str
    """One line: what is wrong, where, what was expected."""
    format: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """Rows per table and what could not be decoded.

    Each batch in `tables` holds any subset of its table's columns, in the table's Arrow types or plain strings, plus
    `_message`, plus auxiliary columns beginning with `_`. What is absent gets the column's default.
    """

    tables: Mapping[str, pa.RecordBatch] = field(default_factory=dict[str, pa.RecordBatch])
    dead: Sequence[DeadLetter] = ()


class Decoder(Protocol):
    """One wire format."""

    @property
    def name(self) -> str:
        """The format's name, as sources give it."""
        ...

    @property
    def version(self) -> int:
        """Changes when the same bytes would give other rows."""
        ...

    def decode(self, values: pa.LargeBinaryArray) -> Decoded:
        """Decode message bodies. Never raises for any input bytes."""
        ...
