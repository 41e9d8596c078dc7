"""First link of the chain: a cut becomes what will be inserted, all in columns.

Cut ──► bounds ──► Decoder.decode ──► complete ──► name_operations ──► edge_ids ──► conform ──► Prepared

Spans have no edges yet: theirs are derived; `name_short_peers` names what they call, `name_spans` their operations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import pyarrow as pa

from collector.contract import MESSAGE, Batch, DeadLetter, Decoder
from collector.edge_ids import edge_ids
from collector.identity.addresses import AddressBook, complete
from collector.identity.sightings import call_sightings, span_sightings
from collector.identity.span_peers import name_short_peers
from collector.ingest.isolate import isolate
from collector.operations.names import OperationBook, name_operations
from collector.operations.span_names import name_spans
from collector.sources.source import Bounds, Cut
from storage.conform import conform
from storage.tables import CALLS, DEAD_LETTERS, EDGE_KEYS, SIGHTINGS, SPANS, TABLES


@dataclass(frozen=True, slots=True)
class Insert:
    """One insert: a whole table batch and its deduplication token."""

    table: str
    batch: pa.RecordBatch
    token: str


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A cut, decoded: `edge_keys` are announced first, then `inserts` follow in order."""

    bounds: Bounds
    edge_keys: pa.RecordBatch | None
    inserts: Sequence[Insert]
    rows: Mapping[str, int]
    """Rows per table, dead letters not among them."""
    dead: Sequence[DeadLetter]
    """What could not be decoded; `message` counts in the cut's batch."""
    broken: int
    """Messages on which decoding itself broke; they are among the dead."""

    @property
    def records(self) -> int:
        """Rows and dead letters."""
        return sum(self.rows.values()) + len(self.dead)


def decoder_label(decoder: Decoder) -> str:
    """How a decoder is recorded with a batch's bounds: its format and version."""
    return f"{decoder.name}/{decoder.version}"


@dataclass(frozen=True, slots=True, eq=False)
class _Content:
    tables: Mapping[str, pa.RecordBatch]
    edge_keys: pa.RecordBatch | None
    dead: Sequence[DeadLetter]
    letters: pa.RecordBatch | None
    seen: Sequence[pa.RecordBatch]
    """Rows of `address_sightings`."""


def prepare(
    cut: Cut,
    bounds: Bounds,
    decoder: Decoder,
    book: AddressBook,
    operations: OperationBook | None = None,
    *,
    dead_letter_bytes: int = 65536,
) -> Prepared:
    """Decode a cut and turn it into inserts. Never raises for any content of its messages.

    Tokens name the bounds and decoder that were recorded, not the ones of today: rows that an earlier version inserted
    are not inserted again by a later one.
    """
    batch = cut.batch
    broken: list[DeadLetter] = []

    def content(part: Batch) -> _Content:
        return _content(part, bounds, decoder, book, operations or OperationBook(), dead_letter_bytes)

    try:
        found = content(batch)
    except Exception:  # noqa: BLE001 - found out message by message, and told by a dead letter
        rest, broken = isolate(batch, content)
        found = content(rest)
    token = f"{batch.cluster_id}/{batch.topic_id}/{batch.partition}/{bounds.first}-{bounds.last}/{bounds.decoder}"
    inserts = [Insert(name, table, f"{token}/{name}") for name, table in found.tables.items()]
    if found.seen:
        inserts.append(Insert(SIGHTINGS.name, _joined(found.seen), f"{token}/{SIGHTINGS.name}"))
    letters = [found.letters] if found.letters is not None else []
    if broken:
        letters.append(_dead_letters(batch, broken, bounds.received_at, dead_letter_bytes))
    if letters:
        inserts.append(Insert(DEAD_LETTERS.name, _joined(letters), f"{token}/{DEAD_LETTERS.name}"))
    dead = _renumbered(found.dead, broken, len(batch.values))
    rows = {name: table.num_rows for name, table in found.tables.items()}
    return Prepared(bounds, found.edge_keys, inserts, rows, dead, len(broken))


def _content(
    batch: Batch, bounds: Bounds, decoder: Decoder, book: AddressBook, operations: OperationBook, keep_bytes: int
) -> _Content:
    decoded = decoder.decode(batch.values)
    tables: dict[str, pa.RecordBatch] = {}
    edge_keys: pa.RecordBatch | None = None
    seen: list[pa.RecordBatch] = []
    for name, columns in decoded.tables.items():
        if columns.num_rows == 0:
            continue
        if name in _SEEN and (sightings := _SEEN[name](columns)) is not None:
            seen.append(conform(SIGHTINGS, sightings, received_on=bounds.received_at.date()))
        if name == CALLS.name:
            columns, keys = _with_edges(name_operations(complete(columns, book), operations))
            edge_keys = conform(EDGE_KEYS, keys, received_on=bounds.received_at.date())
        elif name == SPANS.name:
            columns = name_spans(name_short_peers(columns), operations)
        tables[name] = conform(
            TABLES[name],
            columns,
            received_at=bounds.received_at,
            topic=batch.topic,
            partition=batch.partition,
            offset=batch.offsets.take(columns.column(MESSAGE)),
        )
    letters = _dead_letters(batch, decoded.dead, bounds.received_at, keep_bytes) if decoded.dead else None
    return _Content(tables, edge_keys, decoded.dead, letters, seen)


_SEEN = {CALLS.name: call_sightings, SPANS.name: span_sightings}


def _renumbered(dead: Sequence[DeadLetter], broken: Sequence[DeadLetter], messages: int) -> Sequence[DeadLetter]:
    """Dead letters of a batch from which `broken` were taken out, and these, with their numbers in the whole batch."""
    if not broken:
        return dead
    kept = np.setdiff1d(np.arange(messages), [letter.message for letter in broken])
    return [*(replace(letter, message=int(kept[letter.message])) for letter in dead), *broken]


def _with_edges(calls: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    edges = edge_ids(calls)
    calls = calls.append_column("edge_id", pa.array(edges.edge_id))
    return calls.append_column("base_edge_id", pa.array(edges.base_edge_id)), edges.keys


def _dead_letters(batch: Batch, dead: Sequence[DeadLetter], received_at: datetime, keep_bytes: int) -> pa.RecordBatch:
    """Rows of `dead_letters` for what could not be decoded; payloads are cut at `keep_bytes`."""
    columns = {
        "record": pa.array([letter.record for letter in dead], pa.uint32()),
        "format": pa.array([letter.format for letter in dead], pa.string()),
        "reason": pa.array([letter.reason for letter in dead], pa.string()),
        "payload": pa.array([letter.payload[:keep_bytes] for letter in dead], pa.binary()),
        "payload_bytes": pa.array([len(letter.payload) for letter in dead], pa.uint64()),
        "offset": batch.offsets.take(pa.array([letter.message for letter in dead], pa.int64())),
    }
    return conform(
        DEAD_LETTERS,
        pa.RecordBatch.from_pydict(columns),
        received_at=received_at,
        source=batch.topic,
        partition=batch.partition,
    )


def _joined(letters: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    return pa.Table.from_batches(letters).unify_dictionaries().combine_chunks().to_batches()[0]


Decoders = Callable[[str], Decoder]
"""Format name -> its decoder; the same one every time."""
