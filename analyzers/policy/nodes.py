"""Names of the map for the two ends of judged calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from analyzers.dependencies.map_keys import map_keys
from analyzers.dependencies.names import EXTERNAL, UNKNOWN
from storage.engine import Engine

ENDS = (
    *("base_edge_id", "reporter", "source_namespace", "source_workload", "source_service"),
    *("destination_namespace", "destination_workload", "destination_service"),
)
"""Columns of `calls` that names are made of."""


class Nodes:
    """Which node of the map a call comes from and arrives at, as of now."""

    def __init__(self, engine: Engine) -> None:
        """Raises: storage.errors.StorageError: the engine cannot answer."""
        keys = map_keys(engine)
        edges: list[int] = keys.edge_id.tolist()
        ends: list[tuple[int, int]] = list(zip(keys.source.tolist(), keys.destination.tolist(), strict=True))
        self._nodes = keys.nodes
        self._ends = dict(zip(edges, ends, strict=True))

    def ends(self, row: Mapping[str, Any]) -> tuple[str, str]:
        """(source, destination) of a row with `ENDS`. Who calls a gateway is outside."""
        known = self._ends.get(row["base_edge_id"])
        if known:
            source, destination = self._nodes[known[0]], self._nodes[known[1]]
        else:
            source, destination = (_name(row, side) for side in ("source", "destination"))
        return (EXTERNAL.rstrip(":"), source) if row["reporter"] == "gateway" else (source, destination)


def _name(row: Mapping[str, Any], side: str) -> str:
    service = row[f"{side}_service"] or row[f"{side}_workload"]
    namespace = row[f"{side}_namespace"]
    return f"{namespace}/{service}" if namespace and service else service or UNKNOWN
