"""What every edge of a window did, operation by operation: the numbers by which two windows are compared.

edges_1m, edges_1h, derived edges ──► operation_numbers.sql, operation_pace.sql ──► Numbers per edge and evidence
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from analyzers.dependencies.change_tests import Pace, Spread
from analyzers.dependencies.histograms import NO_BOUND, value_us
from analyzers.dependencies.map_keys import ROW_LIMIT, MapKeys
from analyzers.dependencies.windows import Window
from storage.engine import Engine
from storage.sql import load

SLOTS_S = (60, 300, 3600, 21_600, 86_400)
"""Lengths of slots (seconds) by which the pace of calls is taken: the shortest of which a window has at most SLOTS."""
SLOTS = 72

Key = tuple[str, str, str]
"""Source, destination and kind of evidence."""

NOTHING = Spread(np.zeros(0), np.zeros(0))


@dataclass(frozen=True, slots=True)
class Numbers:
    """Calls of one edge to one operation, or of several together.

    `mtls` of `tls_known` calls whose transport is known came by mutual TLS.
    """

    requests: int = 0
    errors: int = 0
    mtls: int = 0
    tls_known: int = 0
    spread: Spread = NOTHING
    pace: Pace = field(default_factory=Pace)


Operations = Mapping[str, Numbers]
"""By operation; empty = none known."""


def operation_numbers(engine: Engine, keys: MapKeys, since: datetime, until: datetime) -> Mapping[Key, Operations]:
    """The numbers of [since, until) by edge, evidence and operation.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    window = Window.of(since, until)
    nodes = {"edge_nodes": keys.table(np.ones(len(keys.edge_id), np.bool_))}
    read = engine.query(
        load("dependencies/operation_numbers").text,
        {**window.by_hours(), "row_limit": ROW_LIMIT},
        external=nodes,
    )
    pace = engine.query(
        load("dependencies/operation_pace").text,
        {"since": window.since, "until": window.until, "slot_s": slot_s(since, until), "row_limit": ROW_LIMIT},
        external=nodes,
    )
    paces = {_place(row): Pace(int(row["calls"]), int(row["slots"]), float(row["squares"])) for row in pace.to_pylist()}
    ours, theirs = _spreads(read["histogram"], bounded=False), _spreads(read["bounds_histogram"], bounded=True)
    found: dict[Key, dict[str, Numbers]] = defaultdict(dict)
    plain = read.drop_columns(["histogram", "bounds_histogram"]).to_pylist()
    for row, own, bounded in zip(plain, ours, theirs, strict=True):
        key = keys.nodes[int(row["source"])], keys.nodes[int(row["destination"])], str(row["evidence"])
        found[key][row["operation"]] = Numbers(
            int(row["requests"]),
            int(row["errors"]),
            int(row["mtls"]),
            int(row["tls_known"]),
            own if len(own.counts) else bounded,
            paces.get(_place(row), Pace()),
        )
    return found


def slot_s(since: datetime, until: datetime) -> int:
    """The length (seconds) of the slots of a window."""
    length_s = (until - since).total_seconds()
    return next((each for each in SLOTS_S if length_s <= SLOTS * each), SLOTS_S[-1])


def together(numbers: Sequence[Numbers]) -> Numbers:
    """Several operations as one. Their paces are added as if each came independently of the others."""
    kinds = [each.spread for each in numbers if len(each.spread.counts)]
    bounded = bool(kinds) and all(spread.bounded for spread in kinds)
    spread = NOTHING
    if kinds and (bounded or not any(spread.bounded for spread in kinds)):
        values, place = np.unique(np.concatenate([each.values_us for each in kinds]), return_inverse=True)
        counts = np.bincount(place, np.concatenate([each.counts for each in kinds]), len(values))
        spread = Spread(values, counts.astype(np.float64), bounded)
    return Numbers(
        sum(each.requests for each in numbers),
        sum(each.errors for each in numbers),
        sum(each.mtls for each in numbers),
        sum(each.tls_known for each in numbers),
        spread,
        Pace(
            sum(each.pace.calls for each in numbers),
            max((each.pace.slots for each in numbers), default=0),
            sum(each.pace.squares for each in numbers),
        ),
    )


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["source"], row["destination"], row["evidence"], row["operation"]


def _spreads(histograms: pa.ChunkedArray, *, bounded: bool) -> list[Spread]:
    """One spread per row of a column of maps."""
    column = histograms.combine_chunks()
    offsets = column.offsets.to_numpy().tolist()
    buckets, counts = column.keys.to_numpy(), column.items.to_numpy().astype(np.float64)
    values = np.where(buckets == NO_BOUND, np.inf, buckets.astype(np.float64)) if bounded else value_us(buckets)
    found: list[Spread] = []
    for start, end in pairwise(offsets):
        order = np.argsort(values[start:end], kind="stable")
        found.append(Spread(values[start:end][order], counts[start:end][order], bounded))
    return found
