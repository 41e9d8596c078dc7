"""Dead letters, read again: what decodes now becomes rows, once, however often and by however many it is tried.

    unit (dead letters of one batch) ──► decode ──► claim (which letters) ──► prepare ──► store ──► done

A claim names the letters of an attempt before their rows are stored, under a token of its own (unit, number of the
attempt): of two writers the first one's claim stands. A letter that is claimed is never claimed again. An attempt that
was begun and did not end is first brought to its end by whoever comes next, with the tokens of its claim: the engine
drops what it already has.
"""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from collector.clock import Clock
from collector.contract import MESSAGE, Batch, Decoder
from collector.deadletters import EARLIEST, LATEST
from collector.decode.registry import FORMATS
from collector.ingest.addresses import AddressBooks
from collector.ingest.isolate import isolate
from collector.ingest.operations import OperationBooks, newest
from collector.ingest.prepare import Decoders, decoder_label, prepare
from collector.ingest.store import Patience, Store
from collector.sources.source import Bounds, Cut, Lease
from storage import sql
from storage.conform import conform
from storage.engine import Engine
from storage.tables import DEAD_LETTER_REPLAYS

LETTERS_AT_ONCE = 4000
"""Letters of one attempt: it bounds memory, as each may hold `ingest.dead_letter_bytes`."""
ALL = 1 << 31
UNITS_LIMIT = 100_000
KEPT_REASONS = 100
"""Letters that stay and are named with their reason; the others are only counted."""
RACES_LIMIT = 20
BOOKS_REFRESH_S = 15.0
_CLUSTER = "dead letters"
_KEY = ("offset", "record", "payload_hash")


@dataclass(frozen=True, slots=True)
class Stayed:
    """A letter that stays one, and why."""

    source: str
    partition: int
    offset: int
    record: int
    reason: str


@dataclass(slots=True)
class Replayed:
    """What became of the letters. tried = replayed + failed + refused."""

    replayed: int = 0
    failed: int = 0
    """Still undecodable."""
    refused: int = 0
    """Not tried, as their stored payload is not whole."""
    resumed: int = 0
    """Letters of earlier attempts that had been broken off and were brought to their end; not among the others."""
    new_letters: int = 0
    """Parts of replayed letters that could not be decoded: they are letters of their own now."""
    rows: Counter[str] = field(default_factory=Counter[str])
    """Rows by table, those of resumed attempts too."""
    stayed: list[Stayed] = field(default_factory=list[Stayed])

    @property
    def tried(self) -> int:
        """Letters that were looked at."""
        return self.replayed + self.failed + self.refused


@dataclass(frozen=True, slots=True)
class _Unit:
    """The dead letters of one batch."""

    source: str
    partition: int
    received_at: datetime

    @property
    def key(self) -> Mapping[str, Any]:
        return {"source": self.source, "partition": self.partition, "received_at": self.received_at}

    def token(self, attempt: int, step: str) -> str:
        at_us = (self.received_at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1e6
        return f"replay/{self.source}/{self.partition}/{at_us:.0f}/{attempt}/{step}"


@dataclass(frozen=True, slots=True)
class _Attempt:
    number: int
    replayed_at: datetime
    decoder: str
    state: str
    writer: str
    is_done: bool

    @property
    def format(self) -> str:
        return self.decoder.partition("/")[0]


class Replay:
    """Replays dead letters of `engine`.

    Args:
        engine: a migrated store.
        decoders: format name -> decoder.
        patience: repeats what a retry can mend.
        format: read every letter as this format; empty = as the one that is recorded with it.
        dead_letter_bytes: bytes that are kept of a part that is undecodable again.
    """

    def __init__(
        self,
        engine: Engine,
        decoders: Decoders,
        clock: Clock,
        patience: Patience,
        *,
        format: str = "",
        dead_letter_bytes: int = 65536,
    ) -> None:
        self._engine = engine
        self._decoders = decoders
        self._clock = clock
        self._patience = patience
        self._format = format
        self._dead_letter_bytes = dead_letter_bytes
        self._store = Store(engine, patience)
        self._books = AddressBooks(engine, clock, BOOKS_REFRESH_S)
        self._operations = OperationBooks(engine, clock, BOOKS_REFRESH_S)
        self._writer = f"{socket.gethostname()}/{os.getpid()}/{id(self)}"
        self._found = Replayed()

    def run(
        self,
        *,
        since: datetime = EARLIEST,
        until: datetime = LATEST,
        source: str = "",
        limit: int | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Replayed:
        """Replay letters that arrived in [since, until), newest batch first, at most `limit`.

        Args:
            source: only this topic, file or endpoint; empty = all.
            stop: asked between batches.
        """
        found = self._found = Replayed()
        window = {"since": since, "until": until, "source": source, "limit": UNITS_LIMIT}
        units = self._rows("collector/replay_units", window)
        for row in units:
            left = None if limit is None else limit - found.tried
            if stop() or (left is not None and left <= 0):
                break
            self._unit(_Unit(row["source"], row["partition"], row["received_at"].astimezone(UTC)), left)
        return found

    def _unit(self, unit: _Unit, limit: int | None) -> None:
        last = self._settled(unit)
        began = self._found.tried
        stayed = 0
        while limit is None or self._found.tried - began < limit:
            wanted = LETTERS_AT_ONCE if limit is None else min(LETTERS_AT_ONCE, limit - (self._found.tried - began))
            letters = self._letters(unit, 0, wanted, skip=stayed)
            before, kept = self._found.tried, self._found.failed + self._found.refused
            last = self._try(unit, letters, last)
            stayed += self._found.failed + self._found.refused - kept
            if self._found.tried == before:
                return

    def _try(self, unit: _Unit, letters: pa.Table, last: int) -> int:
        """Replay `letters`, each as its format; returns the number of the unit's last attempt."""
        whole = pc.equal(pc.binary_length(letters.column("payload")).cast(pa.uint64()), letters.column("payload_bytes"))
        for row in letters.filter(pc.invert(whole)).to_pylist():
            self._found.refused += 1
            kept, size = len(row["payload"]), row["payload_bytes"]
            self._stays(unit, row, f"cut: {kept} of its {size} bytes were kept, expected all of them")
        letters = letters.filter(whole)
        formats = self._formats(letters)
        for format in sorted(set(formats)):
            last = self._replay(unit, letters.filter(pa.array([one == format for one in formats])), format, last)
        return last

    def _formats(self, letters: pa.Table) -> Sequence[str]:
        if self._format:
            return [self._format] * letters.num_rows
        # What broke its decoder has no format of its own.
        return [one if one in FORMATS else "auto" for one in letters.column("format").to_pylist()]

    def _replay(self, unit: _Unit, letters: pa.Table, format: str, last: int) -> int:
        """Replay `letters` as `format`; returns the number of the unit's last attempt."""
        decoder = self._decoders(format)
        undecodable = _undecodable(decoder, letters)
        for index, reason in undecodable.items():
            self._found.failed += 1
            self._stays(unit, letters.slice(index, 1).select(["offset", "record"]).to_pylist()[0], reason)
        letters = letters.filter(pa.array([index not in undecodable for index in range(letters.num_rows)], pa.bool_()))
        for _ in range(RACES_LIMIT):
            if not letters.num_rows:
                return last
            attempt = self._claim(unit, letters, last + 1, decoder_label(decoder))
            if attempt.writer == self._writer:
                self._found.replayed += letters.num_rows
                self._finish(unit, attempt, letters)
                return attempt.number
            # Another writer was first: what it claimed is not ours any more.
            last = self._settled(unit)
            letters = _without(letters, self._rows("collector/replay_claims", unit.key))
        return last

    def _settled(self, unit: _Unit) -> int:
        """The number of the unit's last attempt, which is at its end now; 0 for none."""
        found = self._attempt(unit)
        if found is None:
            return 0
        if not found.is_done:
            letters = self._letters(unit, found.number, ALL)
            self._found.resumed += letters.num_rows
            self._finish(unit, found, letters)
        return found.number

    def _claim(self, unit: _Unit, letters: pa.Table, number: int, label: str) -> _Attempt:
        state = str(newest(self._engine) or "")
        columns = letters.select(list(_KEY)).combine_chunks().to_batches()[0]
        self._note(unit, columns, number, "letter", self._clock.now(), label, state)
        found = self._attempt(unit)
        assert found is not None
        return found

    def _finish(self, unit: _Unit, attempt: _Attempt, letters: pa.Table) -> None:
        if letters.num_rows:
            cut = _cut(unit, attempt, letters)
            offsets = cut.batch.offsets
            bounds = Bounds(
                offsets[0].as_py(), offsets[-1].as_py(), attempt.replayed_at, attempt.decoder, attempt.state
            )
            prepared = prepare(
                cut,
                bounds,
                self._decoders(attempt.format),
                self._patience(self._books.current),
                self._patience(lambda: self._operations.of(attempt.state)),
                dead_letter_bytes=self._dead_letter_bytes,
            )
            self._store.write(prepared)
            self._found.rows.update(prepared.rows)
            self._found.new_letters += len(prepared.dead)
        end = pa.record_batch({"offset": pa.array([0], pa.int64())})
        self._note(unit, end, attempt.number, "done", attempt.replayed_at, attempt.decoder, attempt.state)

    def _note(
        self, unit: _Unit, columns: pa.RecordBatch, number: int, step: str, at: datetime, label: str, state: str
    ) -> None:
        batch = conform(
            DEAD_LETTER_REPLAYS,
            columns,
            source=unit.source,
            partition=unit.partition,
            received_at=unit.received_at,
            attempt=number,
            step=step,
            replayed_at=at,
            decoder=label,
            state=state,
            writer=self._writer,
        )
        token = unit.token(number, step)
        self._patience(lambda: self._engine.insert(DEAD_LETTER_REPLAYS.name, batch, token=token))

    def _attempt(self, unit: _Unit) -> _Attempt | None:
        rows = self._rows("collector/replay_attempt", unit.key)
        if not rows:
            return None
        row = rows[0]
        at = row["replayed_at"].astimezone(UTC)
        return _Attempt(row["attempt"], at, row["decoder"], row["state"], row["writer"], bool(row["is_done"]))

    def _letters(self, unit: _Unit, attempt: int, limit: int, skip: int = 0) -> pa.Table:
        """Letters of an attempt, or (attempt 0) those that none has claimed."""
        key = {**unit.key, "attempt": attempt, "limit": limit, "skip": skip}
        statement = sql.load("collector/replay_letters").text
        found = self._patience(lambda: self._engine.query(statement, key))
        # Engines give text where all of a column is UTF-8.
        payload = found.column("payload").cast(pa.binary()).cast(pa.large_binary())
        return found.set_column(found.schema.get_field_index("payload"), "payload", payload)

    def _rows(self, name: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        return self._patience(lambda: self._engine.query(sql.load(name).text, parameters)).to_pylist()

    def _stays(self, unit: _Unit, row: Mapping[str, Any], reason: str) -> None:
        if len(self._found.stayed) < KEPT_REASONS:
            self._found.stayed.append(Stayed(unit.source, unit.partition, row["offset"], row["record"], reason))


def _cut(unit: _Unit, attempt: _Attempt, letters: pa.Table) -> Cut:
    identity = f"{unit.source}/{unit.token(attempt.number, 'rows')}"
    values = letters.column("payload").combine_chunks()
    offsets = letters.column("offset").combine_chunks()
    batch = Batch(_CLUSTER, unit.source, identity, unit.partition, values, offsets)
    return Cut(batch, attempt.format, Lease())


def _undecodable(decoder: Decoder, letters: pa.Table) -> Mapping[int, str]:
    """Index -> reason of the letters that give no row, in order."""
    values = letters.column("payload").combine_chunks()
    numbers = np.arange(letters.num_rows)
    reasons: dict[int, str] = {}
    try:
        decoded = decoder.decode(values)
    except Exception:  # noqa: BLE001 - letters that broke a decoder are here too: they are found out one by one
        batch = Batch(_CLUSTER, "", "", 0, values, pa.array(numbers, pa.int64()))
        rest, broken = isolate(batch, lambda part: decoder.decode(part.values))
        reasons = {letter.message: letter.reason for letter in broken}
        numbers = rest.offsets.to_numpy()
        decoded = decoder.decode(rest.values)
    good = np.zeros(letters.num_rows, bool)
    for table in decoded.tables.values():
        if table.num_rows:
            good[numbers[table.column(MESSAGE).to_numpy(zero_copy_only=False)]] = True
    for dead in decoded.dead:
        reasons.setdefault(int(numbers[dead.message]), dead.reason)
    nothing = f"nothing in it, read as {decoder.name}"
    return {index: reasons.get(index, nothing) for index in np.flatnonzero(~good).tolist()}


def _without(letters: pa.Table, claimed: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Those of `letters` that are not `claimed`."""
    keys = {tuple(row[name] for name in _KEY) for row in claimed}
    own = zip(*(letters.column(name).to_pylist() for name in _KEY), strict=True)
    return letters.filter(pa.array([key not in keys for key in own], pa.bool_()))
