"""The edge ledger: since when, and until when, A calls B, as whom, which operation, and who says so.

edge_ledger, derived edges ──► ledger.sql, by the names of the map ──► LedgerEntry

It answers for everything that is kept, whatever the window of a map.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np

from analyzers.dependencies.map_keys import ROW_LIMIT, map_keys
from analyzers.dependencies.model import Evidence, rfc3339
from analyzers.dependencies.names import split_node
from storage.engine import Engine
from storage.sql import load

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One edge, as one principal, for one operation, by one kind of evidence.

    Attributes:
        principal: of the caller; None where no line knew it.
        operation: None where the evidence tells none.
        reporters: which sides said so (source, destination, gateway, waypoint, unknown).
        tls: what was known of the transport (mtls, tls, plaintext).
        first_seen, last_seen: begin of the first and the last call.
    """

    source: str
    destination: str
    principal: str | None
    operation: str | None
    evidence: Evidence
    reporters: Sequence[str]
    tls: Sequence[str]
    first_seen: datetime
    last_seen: datetime

    def to_document(self) -> dict[str, Any]:
        """The entry as JSON-ready values."""
        document = {name: getattr(self, name) for name in self.__slots__}
        document.update(
            reporters=list(self.reporters),
            tls=list(self.tls),
            first_seen=rfc3339(self.first_seen),
            last_seen=rfc3339(self.last_seen),
        )
        return document


def ledger(
    engine: Engine,
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    namespace: str | None = None,
    service: str | None = None,
) -> Sequence[LedgerEntry]:
    """The entries that were seen in [since, until), with their times over all that is kept; ordered by edge and time.

    A line that does not know its caller's principal (a caller's own proxy seldom logs it) says nothing new beside one
    that does: its entry is folded into the only named one of the same edge, operation and evidence. It stays where
    there is none, where there are several, and where the call is known to have come without one (plaintext).

    Args:
        namespace: keep edges with an end in this namespace.
        service: keep edges with an end at this service (its name, or `namespace/name`).

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    keys = map_keys(engine)
    rows = engine.query(
        load("dependencies/ledger").text,
        {"row_limit": ROW_LIMIT},
        external={"edge_nodes": keys.table(np.ones(len(keys.edge_id), np.bool_))},
    ).to_pylist()
    entries = _folded(_entry(row, keys.nodes) for row in rows)
    found = [
        entry
        for entry in entries
        if (since is None or entry.last_seen >= since)
        and (until is None or entry.first_seen < until)
        and _touches(entry, namespace, service)
    ]
    return sorted(found, key=_order)


def first_seen(entries: Iterable[LedgerEntry]) -> Mapping[Pair, datetime]:
    """When each (source, destination) was seen first, by any evidence."""
    found: dict[Pair, datetime] = {}
    for entry in entries:
        pair = entry.source, entry.destination
        found[pair] = min(found.get(pair, entry.first_seen), entry.first_seen)
    return found


def _entry(row: Mapping[str, Any], nodes: Sequence[str]) -> LedgerEntry:
    return LedgerEntry(
        nodes[int(row["source"])],
        nodes[int(row["destination"])],
        row["principal"] or None,
        row["operation"] or None,
        row["evidence"],
        sorted(filter(None, row["reporters"])),
        sorted(tls for tls in row["tls"] if tls not in ("", "unknown")),
        row["first_ts"],
        row["last_ts"],
    )


def _folded(entries: Iterable[LedgerEntry]) -> Iterable[LedgerEntry]:
    groups: dict[tuple[str, str, str, str | None], list[LedgerEntry]] = defaultdict(list)
    for entry in entries:
        groups[entry.source, entry.destination, entry.evidence, entry.operation].append(entry)
    for group in groups.values():
        named = [entry for entry in group if entry.principal is not None]
        silent = [entry for entry in group if entry.principal is None and "plaintext" not in entry.tls]
        if len(named) == 1 and silent:
            yield _merged([*named, *silent])
            yield from (entry for entry in group if entry not in named and entry not in silent)
        else:
            yield from group


def _merged(entries: Sequence[LedgerEntry]) -> LedgerEntry:
    """The first entry, with what the others know of sides, transport and time."""
    return replace(
        entries[0],
        reporters=sorted({side for entry in entries for side in entry.reporters}),
        tls=sorted({tls for entry in entries for tls in entry.tls}),
        first_seen=min(entry.first_seen for entry in entries),
        last_seen=max(entry.last_seen for entry in entries),
    )


def _touches(entry: LedgerEntry, namespace: str | None, service: str | None) -> bool:
    ends = (entry.source, entry.destination)
    return (namespace is None or any(split_node(end)[0] == namespace for end in ends)) and (
        service is None or any(service in (end, split_node(end)[1]) for end in ends)
    )


def _order(entry: LedgerEntry) -> tuple[str, str, datetime, str, str, str]:
    return (
        entry.source,
        entry.destination,
        entry.first_seen,
        entry.operation or "",
        entry.principal or "",
        entry.evidence,
    )
