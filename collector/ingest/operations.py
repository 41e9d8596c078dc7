"""What names of operations rest on, kept in the store in versions: read for batches, written by the learner.

    edge_keys ──► learn_operations ──► operations (version V) ──► OperationBooks ──► name_operations
                                                  ▲                    │
    settings ──► publish ─────────────────────────┘                    └──► V stands in the bounds of the batch

A version is written by one insert whose token is its number: of two writers the first one's rows stand, and the other
reads them. So a version means the same to everybody, for ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from collector.clock import Clock
from collector.operations.learnt import generalize
from collector.operations.names import OperationBook, Service
from collector.operations.options import OperationOptions
from collector.operations.rules import Rule
from storage import sql
from storage.conform import conform
from storage.engine import Engine
from storage.tables import OPERATIONS

MAX_SERVICES = 100_000
MAX_SEEN = 1_000_000
"""Operations that one run of the learner looks at."""
_KEPT_VERSIONS = 16
_LIMITS, _RULES, _LEARNT = "limits", "rules", "learnt"
_Row = tuple[str, str, str, list[str]]
"""kind, namespace, service, texts."""


class OperationBooks:
    """Gives the `OperationBook` of the moment, at most `refresh_s` old, and those that replays need."""

    def __init__(self, engine: Engine, clock: Clock, refresh_s: float) -> None:
        self._engine = engine
        self._clock = clock
        self._refresh_s = refresh_s
        self._known: dict[int, OperationBook] = {}
        self._version = 0
        self._read_at: float | None = None

    def current(self) -> OperationBook:
        """The book to name a new batch's operations with."""
        now = self._clock.monotonic()
        if self._read_at is None or now - self._read_at >= self._refresh_s:
            self._version = newest(self._engine)
            self._read_at = now
        return self._at(self._version)

    def of(self, state: str) -> OperationBook:
        """The book that bounds name as their `state`. A state that no version of ours wrote is the newest book."""
        if state and not state.isdecimal():
            return self.current()
        return self._at(int(state or 0))

    def _at(self, version: int) -> OperationBook:
        found = self._known.get(version)
        if found is None:
            while len(self._known) >= _KEPT_VERSIONS:
                del self._known[next(iter(self._known))]
            found = self._known[version] = read_book(self._engine, version)
        return found


def newest(engine: Engine) -> int:
    """The newest version; 0 = nothing is known."""
    return int(engine.query(sql.load("collector/operations_version").text).column("version")[0].as_py())


def read_book(engine: Engine, version: int) -> OperationBook:
    """The book of a version."""
    if not version:
        return OperationBook()
    statement = sql.load("collector/operations_at").text
    rows = engine.query(statement, {"version": version, "row_limit": MAX_SERVICES}).to_pylist()
    options: dict[str, Any] = {}
    learnt: dict[Service, frozenset[str]] = {}
    for row in rows:
        texts: list[str] = row["texts"]
        if row["kind"] == _LEARNT:
            learnt[row["namespace"], row["service"]] = frozenset(texts)
        elif row["kind"] == _RULES:
            options["rules"] = tuple(Rule(*text.split(" ", 1)) for text in texts)
        elif row["kind"] == _LIMITS:
            options |= dict(zip(("max_values", "max_templates"), map(int, texts), strict=True))
    return OperationBook(version, learnt=learnt, **options)


def publish(engine: Engine, options: OperationOptions, now: datetime) -> None:
    """Make rules and limits of the settings a new version, where the store has others."""
    rules = tuple(entry.rule for entry in options.rules)
    while True:
        book = read_book(engine, newest(engine))
        if (book.rules, book.max_values, book.max_templates) == (rules, options.max_values, options.max_templates):
            return
        rows: list[_Row] = [
            (_LIMITS, "", "", [str(options.max_values), str(options.max_templates)]),
            (_RULES, "", "", [f"{rule.service} {rule.template}" for rule in rules]),
        ]
        _write(engine, book.version + 1, rows, now)


def learn_operations(engine: Engine, now: datetime) -> int:
    """Learn templates from the operations seen so far; returns of how many services something new was learnt.

    Idempotent, and any number of processes may run it: what was learnt is only ever added to.
    """
    book = read_book(engine, newest(engine))
    parameters = {"more_than": book.max_values, "row_limit": MAX_SEEN}
    seen = engine.query(sql.load("collector/operations_seen").text, parameters)
    found = _learnt(seen, book)
    new = {service: prefixes for service, prefixes in found.items() if prefixes != book.learnt.get(service)}
    if new:
        rows = [(_LEARNT, *service, sorted(prefixes)) for service, prefixes in sorted(new.items())]
        _write(engine, book.version + 1, rows, now)
    return len(new)


def _learnt(seen: pa.Table, book: OperationBook) -> Mapping[Service, frozenset[str]]:
    paths = pc.replace_substring_regex(seen.column("operation").combine_chunks(), "^[^/ ]+ /", "/")
    is_path = pc.starts_with(paths, "/")
    seen, paths = seen.filter(is_path), paths.filter(is_path)
    if not seen.num_rows:
        return {}
    pairs = list(zip(seen.column("namespace").to_pylist(), seen.column("service").to_pylist(), strict=True))
    owners = {service: code for code, service in enumerate(dict.fromkeys(pairs))}
    services = np.array([owners[pair] for pair in pairs], np.int32)
    known = {code: book.learnt[service] for service, code in owners.items() if service in book.learnt}
    learnt = generalize(
        services, paths.cast(pa.string()), known, max_values=book.max_values, max_templates=book.max_templates
    )
    names = list(owners)
    return {names[code]: prefixes for code, prefixes in learnt.prefixes.items()}


def _write(engine: Engine, version: int, rows: Sequence[_Row], now: datetime) -> None:
    kinds, namespaces, services, texts = zip(*rows, strict=True)
    columns = {
        "kind": pa.array(kinds, pa.string()),
        "namespace": pa.array(namespaces, pa.string()),
        "service": pa.array(services, pa.string()),
        "texts": pa.array(texts, pa.list_(pa.string())),
    }
    batch = conform(OPERATIONS, pa.RecordBatch.from_pydict(columns), version=version, written_at=now)
    engine.insert(OPERATIONS.name, batch, token=f"operations/{version}")
