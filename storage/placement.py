"""Where each table lives on a cluster (ADR 007).

    sharded      rows go to the shard of their topic and partition: `x_local` on each shard, replicated within it, and
                 `x`, a Distributed table over them, which readers name
    everywhere   one table whose replicas are all nodes of the cluster: what is small, joined with everything, or must
                 be agreed on by all

A table that stands in neither is refused, so that a new migration has to say where its rows go.
"""

from __future__ import annotations

from enum import Enum

from storage.errors import BadStatement

LOCAL = "_local"
"""What the name of a sharded table's own rows ends in."""


class Place(Enum):
    """See the module."""

    SHARDED = "sharded"
    EVERYWHERE = "everywhere"


ROUTED = {
    "calls": "topic",
    "spans": "topic",
    "metric_points": "topic",
    "dead_letters": "source",
}
"""Sharded tables that batches are inserted into, with the column that names the topic."""

ROLLUPS = frozenset(
    {
        "edges_1m",
        "edges_1h",
        "edges_1d",
        "base_edges_1m",
        "base_edges_10m",
        "base_edges_1h",
        "base_edges_6h",
        "edge_ledger",
        "span_minutes",
        "address_minutes",
        "metric_samples",
        "metric_minutes",
    }
)
"""Sharded tables that views fill, each shard's from its own rows: several may have rows of a key, readers sum them."""

STRICT = frozenset({"ingest_positions", "operations", "dead_letter_replays", "schema_migrations", "shard_layouts"})
"""Tables of which a reader must see what any node has accepted before, as the first writer's row wins."""

EVERYWHERE = STRICT | {
    "edge_keys",
    "derived_periods",
    "aliases",
    "inventory",
    "policies",
    "findings",
    "regressions",
    "latency_looks",
    "incidents",
    "address_sightings",
    "derived_edges_1m",
    "derived_edges_1h",
    "derived_edges_1d",
}


def place_of(table: str) -> Place:
    """Where `table` lives.

    Raises:
        BadStatement: nobody has said so.
    """
    if table in ROUTED or table in ROLLUPS:
        return Place.SHARDED
    if table in EVERYWHERE:
        return Place.EVERYWHERE
    raise BadStatement(f"table {table}: storage/placement.py does not say where it lives on a cluster")


def local(table: str) -> str:
    """The table that holds a node's rows of `table`.

    Raises:
        BadStatement: see `place_of`.
    """
    return table + LOCAL if place_of(table) is Place.SHARDED else table
