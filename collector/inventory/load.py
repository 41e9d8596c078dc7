"""Kubernetes lists into the store: tables `inventory` and `aliases`.

A load states what exists at its time. It ends the validity of what began without a time of its own and is somebody
else's now (`validity.py`), and of what a watched file no longer lists. Any other address that moved is cut short by its
next owner when it is looked up, and a pod that left unseen still explains the calls of its own time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pyarrow as pa

from collector.inventory.aliases import Alias, aliases_of
from collector.inventory.documents import read_objects
from collector.inventory.items import Item, item_of
from collector.inventory.validity import with_validity
from storage import sql
from storage.conform import conform
from storage.engine import Engine
from storage.tables import ALIASES, INVENTORY

EVIDENCE = "inventory"
MAX_ITEMS = 1_000_000
MAX_ALIASES = 5_000_000
BATCH_ROWS = 100_000


class Loaded(NamedTuple):
    """How many objects and aliases a load wrote."""

    objects: int
    aliases: int


def parse_inventory(
    documents: bytes | str, *, cluster: str = "", loaded_at: datetime, name: str = "inventory"
) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Batches for `inventory` and `aliases` from one file's content.

    Args:
        documents: Kubernetes objects or lists, JSON or YAML.
        cluster: name of the Kubernetes cluster, `""` when there is one.
        loaded_at: time of the load; a later load of the same thing replaces an earlier one.
        name: of the file, for messages.

    Raises:
        BadSource: what is wrong, where, what was expected.
    """
    content = documents.encode() if isinstance(documents, str) else documents
    items = _items({name: content}, loaded_at)
    return inventory_batch(items, cluster, loaded_at), alias_batch(aliases_of(items), cluster, loaded_at)


def load(
    engine: Engine,
    documents: Mapping[str, bytes],
    *,
    cluster: str = "",
    loaded_at: datetime,
    before: Mapping[str, bytes] | None = None,
) -> Loaded:
    """Read files and store them. Pods in one file and services in another, or in an earlier load, are linked.

    Args:
        engine: a migrated store.
        documents: content by file name.
        cluster: as for `parse_inventory`.
        loaded_at: as for `parse_inventory`.
        before: what the same files held before: addresses that they no longer list end now.

    Raises:
        BadSource: nothing is stored then.
        StorageError: from the engine; loading again is harmless.
    """
    items = _items(documents, loaded_at)
    kinds = sorted({item.kind for item in items})
    statement = sql.load("collector/stored_inventory")
    stored = engine.query(statement.text, {"cluster": cluster, "kinds": kinds, "row_limit": MAX_ITEMS})
    at_us = _microseconds(loaded_at)
    listed = {_identity(item) for item in items}
    missing = [item for item in (_items(before, loaded_at) if before else []) if _identity(item) not in listed]
    gone = {_identity(item) for item in missing}
    others = [item for item in _stored(stored) if _identity(item) not in gone]
    known = engine.query(sql.load("collector/stored_addresses").text, {"cluster": cluster, "row_limit": MAX_ALIASES})
    aliases = with_validity(
        aliases_of([*items, *others]), _stored_aliases(known), aliases_of([*missing, *others]) if missing else [], at_us
    )
    ended = [replace(item, valid_to=min(item.valid_to, at_us)) for item in missing]
    _insert(engine, INVENTORY.name, inventory_batch([*items, *ended], cluster, loaded_at))
    _insert(engine, ALIASES.name, alias_batch(aliases, cluster, loaded_at))
    return Loaded(len(items), len(aliases))


def _identity(item: Item) -> tuple[str, str, str, str]:
    return item.kind, item.namespace, item.name, item.uid


def _insert(engine: Engine, table: str, batch: pa.RecordBatch) -> None:
    for start in range(0, batch.num_rows, BATCH_ROWS):
        engine.insert(table, batch.slice(start, BATCH_ROWS))


def _items(documents: Mapping[str, bytes], loaded_at: datetime) -> list[Item]:
    at = _microseconds(loaded_at)
    found = (item_of(name, entry, at) for name, content in documents.items() for entry in read_objects(name, content))
    return [item for item in found if item is not None]


def _microseconds(at: datetime) -> int:
    return round(at.timestamp() * 1_000_000)


def _stored(rows: pa.Table) -> list[Item]:
    items: list[Item] = []
    found: list[dict[str, Any]] = rows.to_pylist()
    for row in found:
        row |= {name: dict(row[name]) for name in ("labels", "annotations", "selector")}
        row |= {name: tuple(row[name]) for name in ("addresses", "ports")}
        row |= {name: _microseconds(row[name]) for name in ("valid_from", "valid_to")}
        row["has_sidecar"] = bool(row["has_sidecar"])
        items.append(Item(**row))
    return items


def _stored_aliases(rows: pa.Table) -> list[Alias]:
    found: list[dict[str, Any]] = rows.to_pylist()
    for row in found:
        row |= {name: _microseconds(row[name]) for name in ("valid_from", "valid_to")}
        row["is_gateway"] = bool(row["is_gateway"])
    return [Alias(**row) for row in found]


def _columns(rows: Sequence[Any], names: Sequence[str]) -> dict[str, pa.Array]:
    columns: dict[str, pa.Array] = {}
    for name in names:
        values = [getattr(row, name) for row in rows]
        if name in ("labels", "annotations", "selector"):
            columns[name] = pa.array([sorted(value.items()) for value in values], pa.map_(pa.string(), pa.string()))
        elif name in ("addresses", "ports"):
            columns[name] = pa.array([list(value) for value in values], pa.list_(pa.string()))
        elif name in ("valid_from", "valid_to"):
            columns[name] = pa.array(values, pa.int64()).cast(pa.timestamp("us", "UTC"))
        elif name in ("has_sidecar", "is_gateway"):
            columns[name] = pa.array([int(value) for value in values], pa.uint8())
        else:
            columns[name] = pa.array(values, pa.string())
    return columns


def inventory_batch(items: Sequence[Item], cluster: str, loaded_at: datetime) -> pa.RecordBatch:
    """Items as a batch for table `inventory`."""
    names = [name for name in INVENTORY.names if name not in ("cluster", "loaded_at")]
    batch = pa.RecordBatch.from_pydict(_columns(items, names))
    return conform(INVENTORY, batch, cluster=cluster, loaded_at=loaded_at.astimezone(UTC))


def alias_batch(aliases: Sequence[Alias], cluster: str, loaded_at: datetime) -> pa.RecordBatch:
    """Aliases as a batch for table `aliases`."""
    batch = pa.RecordBatch.from_pydict(_columns(aliases, Alias._fields))
    return conform(ALIASES, batch, cluster=cluster, evidence=EVIDENCE, loaded_at=loaded_at.astimezone(UTC))
