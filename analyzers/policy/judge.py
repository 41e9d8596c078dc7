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
from analyzers.policy.places import COLUMNS, END_BIT, FLAGS_BIT, Found
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
    source = f"{_calls(group, told, window.inventory, holes)} WHERE {arrived(window, group, holes)}"
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
    edges: dict[tuple[bool, bool], set[int]] = {}
    for found in places:
        if found.base_edge_id:
            edges.setdefault((found.tcp, found.ztunnel), set()).add(found.base_edge_id)
    for kind, ids in sorted(edges.items()):
        yield f"(base_edge_id IN {holes.hole('Array(UInt64)', tuple(sorted(ids)))} AND {_of_kind(*kind)})"
    for found in places:
        if not found.base_edge_id:
            named = " AND ".join(
                f"{name} = {holes.hole('String', text)}" for name, text in zip(COLUMNS, found.columns, strict=True)
            )
            yield f"(base_edge_id = 0 AND {_of_kind(found.tcp, found.ztunnel)} AND {named})"


def _of_kind(tcp: bool, ztunnel: bool) -> str:
    if not tcp:
        return "protocol NOT IN ('tcp', 'tls')"
    own = f"(mesh = 'istio' AND protocol = 'tcp' AND NOT bitTest(logged, {FLAGS_BIT}) AND bitTest(logged, {END_BIT}))"
    return f"protocol IN ('tcp', 'tls') AND {'' if ztunnel else 'NOT '}{own}"


def _calls(group: Group, told: Verdict, inventory: Inventory, holes: Parameters) -> str:
    """`calls` as the judge saw them.

    A gateway's line tells of the connection that it made; to which of its own ports its client came, and how, it does
    not. Callers whose workload policies ask for, and lines do not say, are those of the inventory, by their address.
    """
    replaced: dict[str, str] = {}
    if any(found.place.judge == "gateway" for found in group.places):
        replaced |= {"destination_port": "toUInt16(0)", "destination_ip": "toIPv6('::')", "tls": "'unknown'"}
    asked = {Field.SOURCE_WORKLOAD, Field.SOURCE_NAMESPACE, Field.CALLER}
    if not asked.isdisjoint(told.fields) and inventory.addresses:
        addresses = holes.hole("Array(String)", tuple(inventory.addresses))
        owners = holes.hole("Array(String)", tuple(inventory.addresses.values()))
        shown = "replaceRegexpOne(toString(source_ip), '^::ffff:', '')"
        owner = f"transform({shown}, {addresses}, {owners}, '')"
        unknown = f"((source_namespace = '' OR source_workload = '') AND {owner} != '')"
        for at, name in enumerate(("source_namespace", "source_workload"), 1):
            replaced[name] = f"if({unknown}, splitByChar('/', {owner})[{at}], source_calls.{name})"
    # Rows are sorted by base edge: all else is read of those that are left.
    ids = sorted({found.base_edge_id for found in group.places})
    calls = f"calls PREWHERE base_edge_id IN {holes.hole('Array(UInt64)', tuple(ids))}"
    if not replaced:
        return calls
    columns = ", ".join(f"{expression} AS {name}" for name, expression in replaced.items())
    return f"(SELECT * REPLACE ({columns}) FROM {calls.replace('calls', 'calls AS source_calls', 1)})"
