"""Where the calls of a window arrived, and which of them are judged there.

A call is judged where it is let in: by lines of the callee's proxy, of gateways and waypoints. The caller's own line
counts only where nobody else speaks for the callee.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from analyzers.dependencies.map_keys import map_keys
from analyzers.dependencies.names import EXTERNAL, split_node
from analyzers.policy.engines import Judge, Place
from analyzers.policy.inventory import Inventory
from analyzers.policy.workloads import Workload
from storage.engine import Engine
from storage.sql import load
from storage.tables import COUNTED_LOG_TYPES, LOGGED_BIT

COLUMNS = (
    *("mesh", "reporter", "source_namespace", "source_workload", "source_service"),
    *("destination_cluster", "destination_namespace", "destination_workload", "destination_service"),
)
"""What tells places apart where lines have no base edge."""
FLAGS_BIT, END_BIT = LOGGED_BIT["response_flags"], LOGGED_BIT["termination_details"]


@dataclass(frozen=True, slots=True)
class Found:
    """Calls of one base edge, or those without one whose lines say the same of both ends."""

    base_edge_id: int
    tcp: bool
    ztunnel: bool
    columns: tuple[str, ...]
    """Values of `COLUMNS`."""
    place: Place
    calls: int


def found_places(engine: Engine, since: datetime, until: datetime, inventory: Inventory) -> Sequence[Found]:
    """The places of [since, until) whose calls are judged.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    rows, nodes = _rows(engine, since, until)
    heard = {_callee(row, nodes) for row in rows if row["reporter"] not in ("source", "gateway")}
    return [
        _found(row, inventory, nodes)
        for row in rows
        if row["reporter"] != "source" or _callee_alone(_callee(row, nodes), heard)
    ]


def requests_at_ztunnels(engine: Engine, since: datetime, until: datetime, inventory: Inventory) -> Sequence[Found]:
    """Where requests went, as their callers' proxies tell, of whose callee nobody but its ztunnel speaks.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    rows, nodes = _rows(engine, since, until)
    heard = [row for row in rows if row["reporter"] not in ("source", "gateway")]
    others = {_callee(row, nodes) for row in heard if not row["ztunnel"]}
    only = {_callee(row, nodes) for row in heard} - others
    found = [row for row in rows if row["reporter"] == "source" and not row["tcp"] and _callee(row, nodes) in only]
    return [_found(row, inventory, nodes) for row in found]


def _rows(engine: Engine, since: datetime, until: datetime) -> tuple[Sequence[Mapping[str, Any]], Mapping[int, str]]:
    """All places of the window, and the callees' nodes by base edge."""
    parameters = {
        "since": since,
        "until": until,
        "counted": list(COUNTED_LOG_TYPES),
        "flags_bit": FLAGS_BIT,
        "end_bit": END_BIT,
    }
    rows = engine.query(load("policy/places").text, parameters).to_pylist()
    keys = map_keys(engine)
    edges: list[int] = keys.edge_id.tolist()
    ends: list[int] = keys.destination.tolist()
    return rows, {edge: keys.nodes[node] for edge, node in zip(edges, ends, strict=True)}


def _found(row: Mapping[str, Any], inventory: Inventory, nodes: Mapping[int, str]) -> Found:
    columns = tuple(row[name] for name in COLUMNS)
    place = _place(row, inventory, nodes)
    return Found(row["base_edge_id"], bool(row["tcp"]), bool(row["ztunnel"]), columns, place, row["calls"])


def _callee_alone(callee: str, heard: Set[str]) -> bool:
    """Whether only callers speak of it; hosts outside have no proxy that would."""
    return callee not in heard and not callee.startswith(EXTERNAL)


def _callee(row: Mapping[str, Any], nodes: Mapping[int, str]) -> str:
    """The callee's node in the map, so that lines that know different things of it mean the same."""
    name = row["destination_service"] or row["destination_workload"]
    return nodes.get(row["base_edge_id"]) or f"{row['destination_namespace']}/{name}"


def _place(row: Mapping[str, Any], inventory: Inventory, nodes: Mapping[int, str]) -> Place:
    # A gateway's line tells of the request that it let in, and of the upstream that it went to.
    side = "source" if row["reporter"] == "gateway" else "destination"
    namespace, name, service = (row[f"{side}_{part}"] for part in ("namespace", "workload", "service"))
    if not namespace and side == "destination":
        found, known = split_node(nodes.get(row["base_edge_id"], ""))
        namespace, service = found or "", service or known or ""
    workload: Workload = inventory.destination(namespace, name, service)
    return Place(workload, "tcp" if row["tcp"] else "http", _judge(row, workload), row["mesh"])


def _judge(row: Mapping[str, Any], workload: Workload) -> Judge:
    if row["reporter"] in ("gateway", "waypoint"):
        return "gateway" if row["reporter"] == "gateway" else "waypoint"
    if row["ztunnel"]:
        return "ztunnel"
    return "nobody" if row["reporter"] == "source" and workload.has_proxy is False else "sidecar"
