"""The edge keys of a store with their nodes: named once, and again only when a key or an alias is new.

edge_keys + aliases ──► Names ──► MapKeys (columns, one entry per base edge key and time its nodes hold)
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from analyzers.dependencies.names import UNKNOWN, Alias, Endpoint, Names
from storage.engine import Engine
from storage.sql import load

ROW_LIMIT = 1_000_000
"""Most endpoints, aliases and edges that one map reads."""

RANKS = {"source": 4, "gateway": 4, "destination": 3, "waypoint": 2}
"""Whose lines count first; whoever else spoke has rank 1."""

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_END_US = (datetime(2100, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND

_NAMED = ("evidence", "reporter", "direction", "protocol", "tls")
_TRAITS = ("source_version", "source_principal", "destination_version", "destination_principal")


@dataclass(frozen=True)
class MapKeys:
    """Base edge keys with their nodes, as columns of one length, in order of `edge_id`.

    A key whose ends change their nodes over time has several entries.

    Attributes:
        edge_id: the hash by which rollups know the key.
        source, destination: numbers into `nodes`.
        valid_from, valid_to: microseconds since 1970 between which the nodes hold.
        labels: evidence, reporter, direction, protocol, tls, versions and principals: each a code per entry, and the
            texts that the codes stand for.
        gateways: nodes that the inventory knows as gateways, or that go by the name of one.
        pods: of the inventory, as sidecars.sql tells of them.
    """

    nodes: Sequence[str]
    gateways: frozenset[str]
    edge_id: npt.NDArray[np.uint64]
    source: Ints
    destination: Ints
    valid_from: Ints
    valid_to: Ints
    labels: Mapping[str, tuple[Ints, Sequence[str]]]
    pods: Sequence[Mapping[str, Any]] = ()

    def codes(self, label: str, *texts: str) -> Flags:
        """Which entries have one of `texts` as their `label`."""
        codes, known = self.labels[label]
        return np.isin(codes, [known.index(text) for text in texts if text in known])

    @cached_property
    def group(self) -> Ints:
        """The number of each entry's (source, destination, evidence), from 0 without gaps."""
        evidence, kinds = self.labels["evidence"]
        whole = (self.source * max(len(self.nodes), 1) + self.destination) * max(len(kinds), 1) + evidence
        return np.unique(whole, return_inverse=True)[1].astype(np.int64)

    @cached_property
    def members(self) -> Ints:
        """One entry of each group, by the group's number."""
        first = np.zeros(int(self.group.max(initial=-1)) + 1, np.int64)
        first[self.group] = np.arange(len(self.group))
        return first

    @cached_property
    def rank(self) -> Ints:
        """Whose lines count first, by entry. A caller without a name may be many: only the callee sees them all."""
        reporter, texts = self.labels["reporter"]
        ranks = np.array([RANKS.get(text, 1) for text in texts], np.int64)[reporter]
        nameless = self.nodes.index(UNKNOWN) if UNKNOWN in self.nodes else -1
        return np.where(
            (self.source == nameless) & self.codes("reporter", "destination"), max(RANKS.values()) + 1, ranks
        )

    def changing(self) -> Flags:
        """Entries of keys that have several."""
        found = np.zeros(len(self.edge_id), np.bool_)
        same = self.edge_id[1:] == self.edge_id[:-1]
        found[1:] |= same
        found[:-1] |= same
        return found

    def table(self, chosen: Flags) -> pa.Table:
        """The chosen entries as the external table `edge_nodes` of edge_numbers.sql."""
        moment = pa.timestamp("us", "UTC")
        columns = {
            "edge_id": pa.array(self.edge_id[chosen]),
            "source": pa.array(self.source[chosen].astype(np.uint32)),
            "destination": pa.array(self.destination[chosen].astype(np.uint32)),
            "rank": pa.array(self.rank[chosen].astype(np.uint8)),
            "valid_from": pa.array(self.valid_from[chosen]).cast(moment),
            "valid_to": pa.array(self.valid_to[chosen]).cast(moment),
        }
        for label in (*_NAMED, *_TRAITS):
            codes, texts = self.labels[label]
            columns[label] = pa.array(texts, pa.string()).take(pa.array(codes[chosen]))
        return pa.table(columns)


_known: weakref.WeakKeyDictionary[Engine, tuple[Mapping[str, Any], MapKeys]] = weakref.WeakKeyDictionary()


def map_keys(engine: Engine) -> MapKeys:
    """The edge keys of the store by their present names; kept with the engine until a key or an alias is new.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    knowledge = engine.query(load("dependencies/map_knowledge").text).to_pylist()[0]
    kept = _known.get(engine)
    if kept is None or kept[0] != knowledge:
        kept = knowledge, _read(engine)
        _known[engine] = kept
    return kept[1]


def read_names(engine: Engine) -> tuple[Names, Mapping[int, Endpoint]]:
    """The names of the store, and every side of its edge keys by its hash.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    described = engine.query(load("dependencies/endpoints").text, {"row_limit": ROW_LIMIT}).to_pylist()
    endpoints = {row.pop("endpoint"): Endpoint(**row) for row in described}
    return Names(_aliases(engine), endpoints.values()), endpoints


def _read(engine: Engine) -> MapKeys:
    limit = {"row_limit": ROW_LIMIT}
    names, endpoints = read_names(engine)
    nodes: dict[str, int] = {}
    held = [
        (endpoint, nodes.setdefault(segment.node, len(nodes)), segment.valid_from, min(segment.valid_to, _END_US))
        for endpoint, side in endpoints.items()
        for segment in names.segments(side)
        if segment.valid_from < _END_US
    ]
    texts = list(nodes)
    by_name = {texts[row[1]] for row in held if names.is_gateway(endpoints[row[0]])}
    keys = engine.query(load("dependencies/base_edges").text, limit)
    sides = np.array([row[0] for row in held], np.uint64)
    values = np.array([row[1:] for row in held], np.int64).reshape(-1, 3)
    order = np.argsort(sides, kind="stable")
    sides, values = sides[order], values[order]
    row, source = joined(keys["source_endpoint"].to_numpy(), sides)
    again, destination = joined(keys["destination_endpoint"].to_numpy()[row], sides)
    row, source, destination = row[again], values[source[again]], values[destination]
    start, end = np.maximum(source[:, 1], destination[:, 1]), np.minimum(source[:, 2], destination[:, 2])
    holds = start < end
    row, source, destination = row[holds], source[holds], destination[holds]
    return MapKeys(
        nodes=texts,
        gateways=frozenset(names.gateways | by_name),
        edge_id=keys["edge_id"].to_numpy().astype(np.uint64)[row],
        source=source[:, 0],
        destination=destination[:, 0],
        valid_from=start[holds],
        valid_to=end[holds],
        labels={label: _coded(keys[label], row) for label in (*_NAMED, *_TRAITS)},
        pods=engine.query(load("dependencies/sidecars").text, limit).to_pylist(),
    )


def joined(wanted: npt.NDArray[np.uint64], sides: npt.NDArray[np.uint64]) -> tuple[Ints, Ints]:
    """Every pair (row of `wanted`, row of the sorted `sides`) whose values are equal."""
    first, after = np.searchsorted(sides, wanted, "left"), np.searchsorted(sides, wanted, "right")
    found = after - first
    row = np.repeat(np.arange(len(wanted)), found)
    return row, np.arange(len(row)) - np.repeat(np.cumsum(found) - found, found) + first[row]


def _coded(column: pa.ChunkedArray, row: Ints) -> tuple[Ints, Sequence[str]]:
    coded = column.combine_chunks().dictionary_encode()
    return coded.indices.to_numpy().astype(np.int64)[row], coded.dictionary.to_pylist()


def _aliases(engine: Engine) -> Sequence[Alias]:
    table = engine.query(load("dependencies/aliases").text, {"row_limit": ROW_LIMIT})
    return [
        Alias(
            kind=row["kind"],
            cluster=row["cluster"],
            name_namespace=row["name_namespace"],
            name=row["name"],
            valid_from=(row["valid_from"] - _EPOCH) // _MICROSECOND,
            valid_to=(row["valid_to"] - _EPOCH) // _MICROSECOND,
            namespace=row["namespace"],
            workload=row["workload"],
            service=row["service"],
            is_gateway=bool(row["is_gateway"]),
        )
        for row in table.to_pylist()
    ]
