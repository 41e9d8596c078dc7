"""Which shard a batch goes to: the one that its topic and partition had when it first arrived.

The shards that take batches are a *layout*, and layouts are numbered rows of `shard_layouts` with the arrival time from
which they hold. A batch's arrival time stands in its recorded bounds, so a replay, whenever it happens and however many
shards there are by then, goes to the shard of the first try, where its tokens are. A new layout is announced ahead of
its time, by more than an ingester goes without reading the table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from storage.engine import Engine
from storage.errors import BadBatch, BadLocation, QueryFailed, StorageError
from storage.placement import ROUTED
from storage.sql import load

LEAD = timedelta(minutes=10)
"""How far ahead a new layout is announced."""
REFRESH_S = 60.0
"""An ingester reads the layouts anew when what it knows is older than this."""
ROWS = 10_000

LAYOUTS = """CREATE TABLE IF NOT EXISTS shard_layouts (
    number     UInt32,
    since      DateTime64(6, 'UTC'),
    shards     Array(UInt32),
    written_at DateTime64(6, 'UTC')
)
ENGINE = MergeTree
ORDER BY number
SETTINGS non_replicated_deduplication_window = 100000"""

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_UNKNOWN_TABLE = 60


@dataclass(frozen=True, slots=True)
class Node:
    """One server of a cluster: its shard and replica (numbers from 1) and where it listens."""

    shard: int
    replica: int
    host: str
    port: int
    is_local: bool = False
    """Whether it is the server that was asked."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The shards that take batches which arrive at `since` or later."""

    number: int
    since: datetime
    shards: tuple[int, ...]


def nodes(engine: Engine, cluster: str) -> list[Node]:
    """The nodes of `cluster`, as the server behind `engine` has them configured, by shard and replica.

    Raises:
        BadLocation: it knows no such cluster.
    """
    found = engine.query(load("storage/cluster_nodes").text, {"cluster": cluster, "row_limit": ROWS}).to_pylist()
    if not found:
        known = engine.query(load("storage/cluster_names").text, {"row_limit": 20})["cluster"].to_pylist()
        raise BadLocation(
            f"{engine.location} knows no cluster {cluster!r}, only {', '.join(known) or 'none'}; "
            "remote_servers in its configuration names them"
        )
    return [Node(row["shard"], row["replica"], row["host"], row["port"], bool(row["is_local"])) for row in found]


def layouts(engine: Engine) -> list[Layout]:
    """Every layout that was announced, in order; none in a store that took no batch yet."""
    try:
        found = engine.query(load("storage/shard_layouts").text, {"row_limit": ROWS})
    except QueryFailed as error:
        if error.code == _UNKNOWN_TABLE:
            return []
        raise
    return [Layout(row["number"], row["since"], tuple(row["shards"])) for row in found.to_pylist()]


def announce(engine: Engine, known: Sequence[Layout], shards: Sequence[int], now: datetime) -> list[Layout]:
    """Make `shards` the layout of what arrives from `LEAD` on; the first layout is that of everything.

    Returns the layouts that stand: another process may have been first.
    """
    wanted = tuple(sorted(set(shards)))
    if known and known[-1].shards == wanted:
        return list(known)
    number = known[-1].number + 1 if known else 0
    row = {
        "number": pa.array([number], pa.uint32()),
        "since": pa.array([now + LEAD if known else _BEGINNING], pa.timestamp("us", "UTC")),
        "shards": pa.array([list(wanted)], pa.list_(pa.uint32())),
        "written_at": pa.array([now], pa.timestamp("us", "UTC")),
    }
    engine.insert("shard_layouts", pa.record_batch(row), token=f"shard_layouts/{number}")
    return layouts(engine)


def shard_of(table: str, batch: pa.RecordBatch, known: Sequence[Layout]) -> int:
    """The shard of a batch for a sharded table, from its first row: all its rows share topic, partition and arrival.

    The partitions of a topic go round the shards, so that they carry equal shares; topics begin at different ones.

    Raises:
        BadBatch: it says no topic, partition or arrival.
    """
    if table not in ROUTED:
        raise BadBatch(f"{table} is filled by views only, on a cluster")
    row = _first_row(batch, (ROUTED[table], "partition", "received_at"))
    topic, partition, received_at = row.values()
    if topic is None or partition is None or received_at is None:
        missing = ", ".join(name for name, value in row.items() if value is None)
        raise BadBatch(f"a batch for {table} on a cluster must say {missing}")
    shards = _in_force(known, received_at).shards
    digest = hashlib.blake2b(str(topic).encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return shards[(int.from_bytes(digest, "big") + int(partition)) % len(shards)]


def _first_row(batch: pa.RecordBatch, columns: Sequence[str]) -> Mapping[str, Any]:
    held = set(batch.schema.names)
    return {name: batch.column(name)[0].as_py() if name in held else None for name in columns}


def _in_force(known: Sequence[Layout], received_at: datetime) -> Layout:
    at = received_at if received_at.tzinfo else received_at.replace(tzinfo=UTC)
    holding = [layout for layout in known if layout.since <= at]
    if not holding:
        raise StorageError("no layout of shards holds: shard_layouts has no row for the time of the batch")
    return holding[-1]
