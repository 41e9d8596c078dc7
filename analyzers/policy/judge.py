"""Recorded calls through the programs of the places where they arrived, each with one statement.

    places ──► programs ──► groups of places that are judged alike ──► SELECT .. FROM calls, a group at a time

Places whose programs are equal share a statement. Its rows are found by base edge, which is how calls are sorted; calls
without one by the columns that name their ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa

from analyzers.policy.formula import Field, Program
from analyzers.policy.inventory import Inventory
from analyzers.policy.places import COLUMNS, Found
from analyzers.policy.policy_set import PolicySet
from analyzers.policy.sql import Parameters, Verdict, verdict
from storage.engine import Engine
from storage.tables import COUNTED_LOG_TYPES

MOST_INPUTS = 64
"""Of a program whose calls are grouped by them."""


@dataclass(frozen=True, slots=True)
class Group:
    """Places whose calls are judged by the same programs."""

    programs: tuple[Program, ...]
    places: tuple[Found, ...]

    @property
    def calls(self) -> int:
        """How many calls arrived there."""
        return sum(found.calls for found in self.places)


def grouped(policies: PolicySet, places: Sequence[Found], inventory: Inventory) -> Sequence[Group]:
    """Places by the programs that judge them; those that none judges are a group too."""
    programs: dict[Any, tuple[Program, ...]] = {}
    groups: dict[tuple[Program, ...], list[Found]] = {}
    for found in places:
        key = _key(found)
        if key not in programs:
            programs[key] = tuple(policies.programs(found.place, inventory.cluster))
        groups.setdefault(programs[key], []).append(found)
    return [Group(judged, tuple(members)) for judged, members in groups.items()]


def _key(found: Found) -> Any:
    place = found.place
    workload = place.workload
    named = (workload.namespace, workload.name, workload.service)
    return named, place.transport, place.judge, place.mesh


@dataclass(frozen=True, slots=True)
class Window:
    """What is judged: [since, until) of a store, by an inventory."""

    engine: Engine
    since: datetime
    until: datetime
    inventory: Inventory


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of judged calls, beside their verdicts.

    Attributes:
        keys: columns of `calls`, comma separated.
        sums: names and aggregates: calls are then grouped by `keys` and verdict, perhaps in several rows of each.
            Without any: a row for each call.
        summed: columns of `calls` that the aggregates read, comma separated.
    """

    keys: str
    sums: Mapping[str, str] = field(default_factory=dict[str, str])
    summed: str = ""


def judged(window: Window, group: Group, wanted: Wanted) -> tuple[pa.Table, Verdict]:
    """The calls of a group with their verdicts.

    Returns: what is wanted, with the columns of `sql.Verdict`; and what their numbers mean.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    holes = Parameters()
    told = verdict(*group.programs, parameters=holes)
    source = f"{_with_callers(told, window.inventory, holes)} WHERE {arrived(window, group, holes)}"
    if not wanted.sums:
        sql = told.each(wanted.keys, source)
    elif len(told.inputs) <= MOST_INPUTS:
        sql = told.grouped(wanted.keys, wanted.sums, source)
    else:
        sql = _summed(told, wanted, source)
    return window.engine.query(sql, told.parameters), told


def arrived(window: Window, group: Group, holes: Parameters) -> str:
    """A condition on `calls`: those of the window that arrived at the places of a group."""
    return " AND ".join(
        (
            f"ts >= {holes.hole('DateTime64(6)', window.since)} AND ts < {holes.hole('DateTime64(6)', window.until)}",
            f"log_type IN {holes.hole('Array(String)', COUNTED_LOG_TYPES)} AND weight > 0",
            f"({' OR '.join(_rows(group.places, holes))})",
        )
    )


def _summed(told: Verdict, wanted: Wanted, source: str) -> str:
    """A verdict for each call first, then the sums: where grouping by hundreds of inputs would cost more."""
    columns = f"{wanted.keys}, allowed, decided_by, missing"
    sums = ", ".join(f"{expression} AS {name}" for name, expression in wanted.sums.items())
    return f"SELECT {columns}, {sums} FROM ({told.each(f'{wanted.keys}, {wanted.summed}', source)}) GROUP BY {columns}"


def _rows(places: Sequence[Found], holes: Parameters) -> Iterator[str]:
    """Conditions for the rows of places: by base edge where there is one."""
    edges: dict[bool, set[int]] = {}
    for found in places:
        if found.base_edge_id:
            edges.setdefault(found.tcp, set()).add(found.base_edge_id)
    for tcp, ids in sorted(edges.items()):
        yield f"(base_edge_id IN {holes.hole('Array(UInt64)', tuple(sorted(ids)))} AND {_is_tcp(tcp)})"
    for found in places:
        if not found.base_edge_id:
            named = " AND ".join(
                f"{name} = {holes.hole('String', text)}" for name, text in zip(COLUMNS, found.columns, strict=True)
            )
            yield f"(base_edge_id = 0 AND {_is_tcp(found.tcp)} AND {named})"


def _is_tcp(tcp: bool) -> str:
    return f"protocol {'IN' if tcp else 'NOT IN'} ('tcp', 'tls')"


def _with_callers(told: Verdict, inventory: Inventory, holes: Parameters) -> str:
    """`calls`, or where policies ask for the caller's workload, with what the inventory knows by its address."""
    asked = {Field.SOURCE_WORKLOAD, Field.SOURCE_NAMESPACE}
    if asked.isdisjoint(told.fields) or not inventory.addresses:
        return "calls"
    addresses = holes.hole("Array(String)", tuple(inventory.addresses))
    owners = holes.hole("Array(String)", tuple(inventory.addresses.values()))
    shown = "replaceRegexpOne(toString(source_ip), '^::ffff:', '')"
    owner = f"transform({shown}, {addresses}, {owners}, '/')"
    unknown = "(source_namespace = '' OR source_workload = '')"
    return (
        f"(SELECT * REPLACE (if({unknown}, splitByChar('/', {owner})[1], source_namespace) AS source_namespace, "
        f"if({unknown}, splitByChar('/', {owner})[2], source_workload) AS source_workload) FROM calls)"
    )
