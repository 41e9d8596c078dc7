"""What was seen in a window: who called what, and whether anything spoke against it.

observed.sql ──► rows of the places where calls are judged ──┐
flagged.sql ─────────────────────────────────────────────────┴──► Observed
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from analyzers.dependencies.names import EXTERNAL, UNKNOWN
from analyzers.policy.engines import Place
from analyzers.policy.errors import TooMuch
from analyzers.policy.inventory import Inventory, read_inventory
from analyzers.policy.nodes import Nodes
from analyzers.policy.places import COLUMNS, found_places
from analyzers.policy.suggest.paths import Path, of_path, of_template
from storage.engine import Engine
from storage.sql import load
from storage.tables import COUNTED_LOG_TYPES, LOGGED_BIT

MAX_ROWS = 500_000
MAX_FLAGS = 100_000
MAX_ODD_PATHS = 20
"""Paths of one operation that no template stands for, which are still taken one by one."""
_OTHERWISE = 2
_NOBODY = frozenset({"", UNKNOWN, EXTERNAL.rstrip(":")})
"""Nodes that stand for callers of whom nothing is known."""


@dataclass(frozen=True, slots=True)
class Flags:
    """Whose calls findings are about; those of low severity are not among them."""

    rows: tuple[Mapping[str, str], ...] = ()

    def __call__(self, principal: str, source: str, destination: str, operation: str) -> bool:
        """Whether a finding is about such a call: of its caller, for what it names of destination and operation.

        Where one of both has no principal, callers are the same that are the same node.
        """
        known = source not in _NOBODY
        return any(
            (row["principal"] == principal if row["principal"] and principal else known and row["source"] == source)
            and row["destination"] in ("", destination)
            and row["operation"] in ("", operation)
            for row in self.rows
        )


@dataclass(frozen=True, slots=True)
class Seen:
    """Calls of one caller for one operation at one port.

    Attributes:
        place: where they arrived.
        gateway: it is the edge of the mesh, and who calls there has no name.
        source, destination: nodes of the map.
        principal: empty = none, or not known: then `nameless` says which (plaintext, unknown).
        caller: `namespace/workload`; empty = not known.
        port: 0 = not known.
        method, paths: of requests. No paths = they cannot be told apart, or were not logged.
        verdict: what the proxy did: allowed, denied, unknown.
        flagged: a finding is about them.
    """

    place: Place
    gateway: bool
    source: str
    destination: str
    principal: str
    nameless: str
    caller: str
    port: int
    method: str
    operation: str
    paths: tuple[Path, ...]
    verdict: str
    flagged: bool
    calls: int

    @property
    def legitimate(self) -> bool:
        """Let in, and nothing speaks against it."""
        return self.verdict == "allowed" and not self.flagged

    @property
    def is_tcp(self) -> bool:
        """Whether it is a connection of which no more is known."""
        return self.place.transport == "tcp"

    @property
    def shown_operation(self) -> str:
        """What tells operations of one destination apart: `GET /orders/{id}`, or the port of a connection."""
        return shown_operation(self.is_tcp, self.operation, self.port)


def shown_operation(tcp: bool, operation: str, port: int) -> str:
    """The operation, or the port of a connection."""
    return f"port {port or '?'}" if tcp else operation


@dataclass(frozen=True)
class Observed:
    """All that was seen in [since, until)."""

    since: datetime
    until: datetime
    inventory: Inventory
    seen: Sequence[Seen]


def read_flags(engine: Engine, since: datetime, until: datetime) -> Flags:
    """Whom findings of [since, until) are about.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
        TooMuch: more findings than can be looked at.
    """
    rows = engine.query(
        load("policy/flagged").text, {"since": since, "until": until, "row_limit": MAX_FLAGS + 1}
    ).to_pylist()
    if len(rows) > MAX_FLAGS:
        raise TooMuch(f"more than {MAX_FLAGS:,} callers in findings, expected fewer: narrow the window")
    # One that names nobody is about nobody's calls.
    return Flags(tuple(row for row in rows if row["principal"] or row["source"]))


def read_observed(engine: Engine, since: datetime, until: datetime, flags: Flags) -> Observed:
    """What was seen in [since, until), at the places where calls are judged.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
        TooMuch: more callers and operations than can be learnt from.
    """
    inventory = read_inventory(engine, since, until)
    places = {
        (found.base_edge_id, found.tcp, found.columns): found
        # Where two tell of the same calls, the same one is taken whatever their order.
        for found in sorted(found_places(engine, since, until, inventory), key=lambda one: one.place.judge)
    }
    # The engine wants one at least.
    addresses, owners = list(inventory.addresses) or [""], list(inventory.addresses.values()) or [""]
    asked = {
        "since": since,
        "until": until,
        "counted": list(COUNTED_LOG_TYPES),
        "addresses": addresses,
        "owners": owners,
        "paths": MAX_ODD_PATHS + 1,
        "tls_bit": LOGGED_BIT["tls"],
        "row_limit": MAX_ROWS + 1,
    }
    rows = engine.query(load("policy/observed").text, asked).to_pylist()
    if len(rows) > MAX_ROWS:
        raise TooMuch(f"more than {MAX_ROWS:,} kinds of calls, expected fewer: narrow the window")
    nodes = Nodes(engine)
    seen: list[Seen] = []
    for row in rows:
        found = places.get((row["base_edge_id"], bool(row["tcp"]), tuple(row[name] for name in COLUMNS)))
        if found is not None:
            seen.append(_seen(row, found.place, nodes.ends(row), flags))
    seen.sort(key=lambda one: (one.destination, one.source, one.principal, one.operation, one.port, one.verdict))
    return Observed(since, until, inventory, seen)


def _seen(row: Mapping[str, Any], place: Place, ends: tuple[str, str], flags: Flags) -> Seen:
    gateway = row["reporter"] == "gateway"
    return Seen(
        place=place,
        gateway=gateway,
        source=ends[0],
        destination=ends[1],
        principal=row["principal"],
        nameless=row["nameless"],
        caller=row["caller"],
        port=row["port"],
        method=row["method"],
        operation=row["operation"],
        paths=() if row["tcp"] else _paths(row),
        verdict=row["verdict"],
        flagged=flags(row["principal"], *ends, row["operation"]),
        calls=row["calls"],
    )


def _paths(row: Mapping[str, Any]) -> tuple[Path, ...]:
    if row["fit"] != _OTHERWISE:
        template = row["operation"].partition(" ")[2] or row["operation"]
        return (of_template(template, row["fit"] == 1),)
    if len(row["odd_paths"]) > MAX_ODD_PATHS:
        return ()
    found = (of_path(path) for path in sorted(row["odd_paths"]))
    return tuple(path for path in found if path is not None)
