"""The ingest loop: readers hand cuts to a chain of two links, and hear what became of them.

    reader (one thread a source) ──► prepare (one thread) ──► store (one thread) ──► reader: stored, commit

Decoding the next batch overlaps inserting the one before; order is kept, and memory is bounded: a reader that finds no
room downstream pauses its source and goes on polling it, so that a consumer group keeps its member.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from collector.clock import Clock, SystemClock
from collector.contract import DeadLetter
from collector.errors import CollectorError
from collector.ingest.addresses import AddressBooks
from collector.ingest.bounds import BoundsBook
from collector.ingest.counters import Counters
from collector.ingest.flight import Flight
from collector.ingest.measures import Measures, Unmeasured
from collector.ingest.operations import OperationBooks, publish
from collector.ingest.options import IngestOptions
from collector.ingest.poison import PoisonRule
from collector.ingest.prepare import Decoders, Prepared, decoder_label, prepare
from collector.ingest.stage import Stage
from collector.ingest.store import Notice, Patience, Store
from collector.operations.options import OperationOptions
from collector.sources.source import Bounds, Cut, Source
from storage.engine import Engine
from storage.errors import StorageError

POLL_S = 0.2
KEEP_ALIVE_S = 1.0
"""Seconds a reader waits for room downstream before it looks after its source again."""
LEAVE_S = 5.0
"""Seconds that readers get beyond `drain_s`, all of them together: to commit and to leave their groups."""
ABANDON_S = 2.0
"""Seconds that what hangs in the engine gets to end once `drain_s` is over."""
MINUTE_OVER_S = 90.0
"""Seconds after which the minute of a batch is over, and whoever follows up has let it settle."""
PREPARED_AHEAD = 2
"""Decoded batches that may wait for the engine."""


@dataclass(frozen=True, slots=True, eq=False)
class _Outcome:
    cut: Cut
    dead: Sequence[DeadLetter] = ()
    rewind: bool = False


class _Mailbox:
    """A source with its way back from the chain. One reader thread takes from it."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.outcomes: queue.SimpleQueue[_Outcome] = queue.SimpleQueue()
        self.outstanding = 0


@dataclass(slots=True, eq=False)
class _Item:
    cut: Cut
    """Without its messages once they are decoded."""
    size_bytes: int
    """Of the messages."""
    mailbox: _Mailbox
    admitted: bool = False
    """Whether its memory is counted."""
    again: bool = False
    """Whether an earlier attempt, or another writer, may have begun to store it."""


After = Callable[[Engine, bool, Callable[[], bool]], None]
"""(engine, whether this is the last time, whether there is time to go on) -> None: what follows once rows are stored.

It asks between its steps, and ends when there is no more time.
"""


class Ingest:
    """Reads `sources` into `engine` until they are finished or `stop` is called.

    Args:
        engine: a migrated store.
        sources: what to read; each is polled by a thread of its own and closed at the end.
        decoders: format name -> decoder.
        options: sizes and limits.
        operations: how operations are named; batches that are replayed keep to what they were named with.
        bounds: the table of batch bounds; sources that replay were given `bounds.recorded`.
        clock: gives `received_at`.
        patient: wait for an engine that went away without an end.
        after: called at the end, for what is left of `drain_s` where `stop` was called, and where ingestion goes on
            until it is stopped (`patient`) also at the start and about every `derive_interval_s` when something was
            stored. What a run before this one stored counts too: it may have been killed before its end.
        measures: hears of durations and sizes.
        notice: tells people what they should know, one line.
    """

    def __init__(
        self,
        engine: Engine,
        sources: Sequence[Source],
        decoders: Decoders,
        *,
        options: IngestOptions | None = None,
        operations: OperationOptions | None = None,
        bounds: BoundsBook | None = None,
        clock: Clock | None = None,
        patient: bool = True,
        after: After | None = None,
        measures: Measures | None = None,
        notice: Notice = lambda _message: None,
    ) -> None:
        self.counters = Counters()
        self._engine = engine
        self._decoders = decoders
        self._options = options or IngestOptions()
        self._clock = clock or SystemClock()
        self._after = after or (lambda _engine, _final, _go_on: None)
        self._measures = measures or Unmeasured()
        self._patient = patient
        self._stop = threading.Event()
        self._asked_at: float | None = None
        """When somebody outside called `stop`."""
        self._stopped_at: float | None = None
        self._abandon = threading.Event()
        self._bounds = bounds or BoundsBook(engine)
        patience_s = None if patient else self._options.engine_patience_s
        self._patience = Patience(self._clock, self._abandon, notice, patience_s)
        # Whoever is about to read more need not wait any longer once it is told to stop.
        self._readers_patience = Patience(self._clock, self._stop, notice, patience_s)
        self._bounds.wait_with(self._readers_patience)
        self._books = AddressBooks(engine, self._clock, self._options.addresses_refresh_s)
        self._operation_options = operations or OperationOptions()
        self._operations = OperationBooks(engine, self._clock, self._options.addresses_refresh_s)
        self._store = Store(engine, self._patience)
        self._notice = notice
        self._poison = {
            id(source): PoisonRule(self._options.poison_share, self._options.poison_records, source.label)
            for source in sources
        }
        self._mailboxes = [_Mailbox(source) for source in sources]
        self._flight = Flight(self._options.flight_bytes)
        self._errors: queue.SimpleQueue[Exception] = queue.SimpleQueue()

    def stop(self) -> None:
        """Read nothing more, store what is on its way within `drain_s`, commit and return. Safe in a signal handler."""
        if self._asked_at is None:
            self._asked_at = self._clock.monotonic()
        self._end()

    def _end(self) -> None:
        if self._stopped_at is None:
            self._stopped_at = self._clock.monotonic()
        self._stop.set()

    @property
    def in_flight_bytes(self) -> int:
        """Memory that batches on their way take, estimated."""
        return self._flight.memory_bytes

    def run(self) -> None:
        """Ingest until every source is finished, `stop` is called or something breaks.

        Raises:
            CollectorError: a source broke, or nearly everything was undecodable.
            StorageError: the engine refused, or stayed away too long.
        """
        try:
            self._readers_patience(lambda: publish(self._engine, self._operation_options, self._clock.now()))
        except StorageError:
            if self._stop.is_set():
                return
            raise
        write: Stage[tuple[_Item, Prepared]] = Stage(
            "store", self._write, capacity=PREPARED_AHEAD, discard=lambda work: self._refuse(work[0], work[1].records)
        )
        decode: Stage[_Item] = Stage(
            "prepare",
            lambda item: self._prepare(item, write),
            capacity=PREPARED_AHEAD,
            discard=lambda item: self._refuse(item, 0),
        )
        readers = [
            threading.Thread(target=self._read, args=(mailbox, decode, write), name="eastwatch-reader", daemon=True)
            for mailbox in self._mailboxes
        ]
        for reader in readers:
            reader.start()
        try:
            self._watch(readers)
        finally:
            self._end()
            until = self._clock.monotonic() + self._options.drain_s + LEAVE_S
            for reader in readers:
                reader.join(max(0.0, until - self._clock.monotonic()))
            self._abandon.set()
            decode.close()
            write_is_fed = decode.join(ABANDON_S)
            write.close()
            ended = write.join(ABANDON_S) and write_is_fed
        if not self._errors.empty():
            raise self._errors.get()
        if ended:
            self._follow_up(final=True)
        else:
            self._notice(f"the engine did not take what was on its way within {self._options.drain_s:g} s")

    def _watch(self, readers: Sequence[threading.Thread]) -> None:
        if self._patient:
            self._follow_up(final=False)
        due = self._clock.monotonic() + self._options.derive_interval_s
        for reader in readers:
            while reader.is_alive():
                reader.join(POLL_S)
                if self._clock.monotonic() < due or self._stop.is_set():
                    continue
                if self._has_something_to_follow():
                    self._follow_up(final=False)
                due = self._clock.monotonic() + self._options.derive_interval_s

    def _follow_up(self, *, final: bool) -> None:
        failed: list[Exception] = []

        def follow_up() -> None:
            try:
                self._after(self._engine, final, self._may_end_well if final else lambda: not self._stop.is_set())
            except Exception as error:  # noqa: BLE001 - raised again below
                failed.append(error)

        # A thread of its own: signals are heard on this one, and not while it is inside the engine.
        thread = threading.Thread(target=follow_up, name="eastwatch-follow-up", daemon=True)
        thread.start()
        while thread.is_alive() and self._may_end_well(ABANDON_S):
            thread.join(POLL_S)
        for error in failed:
            # A run that goes on, or one that follows, makes up for it.
            if not (self._patient and isinstance(error, StorageError) and error.retryable):
                raise error
            self._notice(f"{error}; what follows from the stored records comes later")

    def _may_end_well(self, more_s: float = 0) -> bool:
        """Whether there is time for what follows at the end: any, unless we were told to stop."""
        return self._asked_at is None or self._clock.monotonic() < self._asked_at + self._options.drain_s + more_s

    _followed_batches = 0
    _news_at = _followed_at = float("-inf")

    def _has_something_to_follow(self) -> bool:
        """Whether batches came since the last time, or came so late before it that their minute was not over."""
        batches, now = self.counters.snapshot().batches, self._clock.monotonic()
        if batches != self._followed_batches:
            self._followed_batches, self._news_at = batches, now
        elif self._followed_at >= self._news_at + MINUTE_OVER_S:
            return False
        self._followed_at = now
        return True

    # A reader's thread.

    def _read(self, mailbox: _Mailbox, decode: Stage[_Item], write: Stage[tuple[_Item, Prepared]]) -> None:
        source = mailbox.source
        try:
            while not self._stop.is_set():
                decode.poll()
                write.poll()
                self._hear(mailbox)
                source.commit()
                if mailbox.outstanding == 0 and source.finished:
                    break
                cuts = deque(source.poll(POLL_S, room=self._flight.has_room))
                while cuts:  # none is held on to here
                    self._submit(cuts.popleft(), mailbox, decode, write)
            self._drain(mailbox, decode, write)
        except Exception as error:  # noqa: BLE001 - raised again by run()
            if not (self._stop.is_set() and isinstance(error, StorageError) and error.retryable):
                self._errors.put(error)
            self._end()
            source.failed(error)
        finally:
            self._hear(mailbox)
            self._close(source)

    def _drain(self, mailbox: _Mailbox, decode: Stage[_Item], write: Stage[tuple[_Item, Prepared]]) -> None:
        while mailbox.outstanding and self._may_drain():
            decode.poll()
            write.poll()
            self._hear(mailbox, wait_s=POLL_S)
        if mailbox.outstanding:
            mailbox.source.failed(CollectorError("ingestion stopped"))

    def _may_drain(self) -> bool:
        """Whether what is on its way may still be waited for."""
        return self._stopped_at is None or self._clock.monotonic() < self._stopped_at + self._options.drain_s

    def _close(self, source: Source) -> None:
        try:
            source.commit(final=True)
        except Exception as error:  # noqa: BLE001 - what is stored and not committed is dropped when it comes again
            self._notice(f"{source.label}: positions not committed, they will be read again: {error}")
        source.close()

    def _submit(self, cut: Cut, mailbox: _Mailbox, decode: Stage[_Item], write: Stage[tuple[_Item, Prepared]]) -> None:
        mailbox.outstanding += 1
        self.counters.read(len(cut.batch.values), cut.size_bytes)
        item = _Item(cut, cut.size_bytes, mailbox)
        while self._may_drain():
            if self._admit(item) and decode.submit(item, KEEP_ALIVE_S):
                return
            decode.poll()
            write.poll()
            # The engine takes its time. A consumer that does not poll for long is thrown out of its group.
            self._hear(mailbox)
            mailbox.source.commit()
            mailbox.source.poll(0, room=False)
        self._refuse(item, 0)

    def _admit(self, item: _Item) -> bool:
        item.admitted = item.admitted or self._flight.enter(item.size_bytes, KEEP_ALIVE_S)
        return item.admitted

    def _hear(self, mailbox: _Mailbox, wait_s: float = 0) -> None:
        try:
            while True:
                outcome = mailbox.outcomes.get(timeout=wait_s) if wait_s else mailbox.outcomes.get_nowait()
                wait_s = 0
                mailbox.outstanding -= 1
                if outcome.rewind:
                    mailbox.source.rewind(outcome.cut)
                elif not outcome.cut.lease.revoked:
                    mailbox.source.stored(outcome.cut, outcome.dead)
        except queue.Empty:
            return

    # The chain's threads.

    def _prepare(self, item: _Item, write: Stage[tuple[_Item, Prepared]]) -> None:
        cut = item.cut
        if cut.lease.revoked:
            self._refuse(item, 0)
            return
        decoder = self._decoders(cut.format)
        now = self._clock.now()
        bounds = cut.bounds or self._claim(
            cut, now, decoder_label(decoder), self._patience(self._operations.current).state
        )
        item.again = cut.bounds is not None or bounds.received_at != now
        if cut.bounds is None and bounds.last != cut.batch.last:
            cut.lease.revoke()
            self._finish(item, rewind=True)
            return
        book = self._patience(self._books.current)
        operations = self._patience(lambda: self._operations.of(bounds.state))
        began = self._clock.monotonic()
        prepared = prepare(cut, bounds, decoder, book, operations, dead_letter_bytes=self._options.dead_letter_bytes)
        item.cut = cut = cut.emptied()
        self._measures.decoded(cut.format, self._clock.monotonic() - began, item.size_bytes)
        self.counters.accepted(prepared.records)
        if prepared.broken:
            self._notice(f"{_where(cut)}: {prepared.broken} messages broke the decoder and are dead letters: a defect")
        if not cut.answered:
            self._judge(item, prepared)
        try:
            taken = write.submit((item, prepared))
        except Exception:
            self.counters.refused(prepared.records)
            raise
        if not taken:
            self._refuse(item, prepared.records)

    def _claim(self, cut: Cut, received_at: datetime, label: str, state: str) -> Bounds:
        if not cut.replayable:
            return Bounds(cut.batch.first, cut.batch.last, received_at, label, state)
        return self._patience(lambda: self._bounds.claim(cut, received_at, label, state))

    def _judge(self, item: _Item, prepared: Prepared) -> None:
        rule = self._poison[id(item.mailbox.source)]
        try:
            rule.judge(_where(item.cut), item.cut.format, prepared.records, prepared.dead)
        except CollectorError:
            self.counters.refused(prepared.records)
            raise

    def _write(self, work: tuple[_Item, Prepared]) -> None:
        item, prepared = work
        if item.cut.lease.revoked:
            self._refuse(item, prepared.records)
            return
        self._store.write(prepared)
        self.counters.stored(prepared.rows, len(prepared.dead), again=item.again)
        self._finish(item, dead=prepared.dead)

    def _refuse(self, item: _Item, records: int) -> None:
        self.counters.refused(records)
        self._finish(item, dropped=True)

    def _finish(
        self, item: _Item, *, dead: Sequence[DeadLetter] = (), rewind: bool = False, dropped: bool = False
    ) -> None:
        if item.admitted:
            self._flight.leave(item.size_bytes)
        if dropped:
            item.cut.lease.revoke()
        item.mailbox.outcomes.put(_Outcome(item.cut, dead, rewind))


def _where(cut: Cut) -> str:
    batch = cut.batch
    return f"{batch.topic}[{batch.partition}] at {batch.first}"
