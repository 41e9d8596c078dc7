"""The series of a store: what is watched, by number.

edge_series.sql + MapKeys (nodes of base edges) ──► SeriesKeys

A series is an edge of the map, an operation, a reporter, a kind of evidence and a version of the callee; principals and
transport of its calls are together in it. Of an edge that proxies log, other evidence is left out: it would tell the
same again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from analyzers.dependencies.map_keys import ROW_LIMIT, MapKeys, joined
from analyzers.dependencies.model import EVIDENCE_RANK
from analyzers.latency.stack import Ints
from storage.engine import Engine
from storage.sql import load

CALLER, CALLEE = ("source", "gateway"), ("destination", "waypoint")
"""Reporters who see a call from the caller's side, and from the callee's."""


class Series(NamedTuple):
    """What a number stands for; `source` and `destination` are nodes of the map."""

    source: str
    destination: str
    operation: str
    reporter: str
    evidence: str
    version: str = ""

    @property
    def side(self) -> str:
        """`caller` or `callee`: whose clock measured."""
        return "callee" if self.reporter in CALLEE else "caller"


@dataclass(frozen=True, slots=True)
class SeriesKeys:
    """Series, and the edge ids that belong to each.

    Attributes:
        edge_id: sorted; an id is there several times where its ends change their names.
        number: the series of each entry.
        valid_from, valid_to: microseconds since 1970 between which it is that one's.
        version: of the destination, by entry.
        families: by series, the edge and reporter.
        operations: by series, the operation of that.
    """

    series: list[Series]
    edge_id: npt.NDArray[np.uint64]
    number: Ints
    valid_from: Ints
    valid_to: Ints
    version: list[str]
    families: Ints
    operations: Ints

    def numbers(self, edge_id: npt.NDArray[np.uint64], minute: Ints) -> Ints:
        """The series of rows of rollups; -1 where nobody knows."""
        if not len(self.edge_id):
            return np.full(len(edge_id), -1, np.int64)
        place = np.searchsorted(self.edge_id, edge_id, "left")
        moment = minute * 1_000_000
        found = np.full(len(edge_id), -1, np.int64)
        open_ = np.arange(len(edge_id))
        while len(open_):
            at = np.minimum(place[open_], len(self.edge_id) - 1)
            same = (self.edge_id[at] == edge_id[open_]) & (place[open_] < len(self.edge_id))
            inside = same & (self.valid_from[at] <= moment[open_]) & (moment[open_] < self.valid_to[at])
            found[open_[inside]] = self.number[at[inside]]
            open_ = open_[same & ~inside]
            place[open_] += 1
        return found

    def versions(self, edge_id: npt.NDArray[np.uint64]) -> list[str]:
        """The destination's version of each edge id; empty where none is known."""
        place = np.minimum(np.searchsorted(self.edge_id, edge_id, "left"), max(len(self.edge_id) - 1, 0)).tolist()
        return [
            self.version[at] if self.edge_id[at] == wanted else ""
            for at, wanted in zip(place, edge_id.tolist(), strict=True)
        ]

    def ids(self, series: Ints) -> npt.NDArray[np.uint64]:
        """Every edge id of some series."""
        return np.unique(self.edge_id[np.isin(self.number, series)])


def series_keys(engine: Engine, keys: MapKeys) -> SeriesKeys:
    """The series of the store by the map's present names.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    rows = engine.query(load("latency/edge_series").text, {"row_limit": ROW_LIMIT})
    row, entry = joined(rows["base_edge_id"].to_numpy().astype(np.uint64), keys.edge_id)
    columns = {name: np.asarray(rows[name].to_pylist(), object)[row] for name in ("operation", "reporter", "evidence")}
    source, destination = keys.source[entry], keys.destination[entry]
    best = _best_evidence(source * max(len(keys.nodes), 1) + destination, columns["evidence"].tolist())
    row, entry, source, destination = row[best], entry[best], source[best], destination[best]
    columns = {name: values[best] for name, values in columns.items()}
    numbers: dict[Series, int] = {}
    families: dict[tuple[str, str, str, str], int] = {}
    operations: dict[Series, int] = {}
    family: list[int] = []
    operation: list[int] = []
    version: list[str] = rows["destination_version"].to_pylist()
    number = np.zeros(len(row), np.int64)
    for place in range(len(row)):
        one = Series(
            keys.nodes[int(source[place])],
            keys.nodes[int(destination[place])],
            columns["operation"][place],
            columns["reporter"][place],
            columns["evidence"][place],
            version[int(row[place])],
        )
        if one not in numbers:
            numbers[one] = len(numbers)
            edge = one.source, one.destination, one.reporter, one.evidence
            family.append(families.setdefault(edge, len(families)))
            operation.append(operations.setdefault(one._replace(version=""), len(operations)))
        number[place] = numbers[one]
    edge_id = rows["edge_id"].to_numpy().astype(np.uint64)[row]
    order = np.lexsort((keys.valid_from[entry], edge_id))
    return SeriesKeys(
        list(numbers),
        edge_id[order],
        number[order],
        keys.valid_from[entry][order],
        keys.valid_to[entry][order],
        [version[place] for place in row[order].tolist()],
        np.asarray(family, np.int64),
        np.asarray(operation, np.int64),
    )


def _best_evidence(pair: Ints, evidence: list[str]) -> Ints:
    """The entries whose evidence is the best of their edge."""
    rank = {kind: place for place, kind in enumerate(EVIDENCE_RANK)}
    ranks = np.array([rank.get(kind, len(rank)) for kind in evidence], np.int64)
    pairs, place = np.unique(pair, return_inverse=True)
    best = np.full(len(pairs), len(rank), np.int64)
    np.minimum.at(best, place, ranks)
    return np.flatnonzero(ranks == best[place])
