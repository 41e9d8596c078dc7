"""The address book of the moment: read from the alias table now and then, never while a batch is half done."""

from __future__ import annotations

from collector.clock import Clock
from collector.identity.addresses import AddressBook
from storage import sql
from storage.engine import Engine

MAX_ALIASES = 5_000_000


class AddressBooks:
    """Gives the current `AddressBook`, at most `refresh_s` old."""

    def __init__(self, engine: Engine, clock: Clock, refresh_s: float) -> None:
        self._engine = engine
        self._clock = clock
        self._refresh_s = refresh_s
        self._statement = sql.load("collector/address_aliases")
        self._book: AddressBook | None = None
        self._read_at = 0.0

    def current(self) -> AddressBook:
        """The book to complete the next batch with."""
        now = self._clock.monotonic()
        if self._book is None or now - self._read_at >= self._refresh_s:
            self._book = AddressBook.from_aliases(self._engine.query(self._statement.text, {"limit": MAX_ALIASES}))
            self._read_at = now
        return self._book
