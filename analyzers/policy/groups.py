"""Places that are judged alike, and the rows of `calls` that arrived there, as SQL.

    places ──► programs ──► groups of places ──► conditions on calls, and their columns as the judge saw them

Rows are found by base edge, which is how calls are sorted; those without one by the columns that name their ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from analyzers.policy.formula import Field, Program, subjects
from analyzers.policy.inventory import Inventory
from analyzers.policy.places import COLUMNS, END_BIT, FLAGS_BIT, Found
from analyzers.policy.policy_set import PolicySet
from analyzers.policy.sql import Parameters
from storage.engine import Engine
from storage.tables import COUNTED_LOG_TYPES

_CALLER = frozenset({Field.SOURCE_WORKLOAD, Field.SOURCE_NAMESPACE, Field.CALLER})


@dataclass(frozen=True, slots=True)
class Group:
    """Places whose calls are judged by the same programs."""

    programs: tuple[Program, ...]
    places: tuple[Found, ...]

    @property
    def calls(self) -> int:
        """How many calls arrived there."""
        return sum(found.calls for found in self.places)

    @property
    def is_gateway(self) -> bool:
        """Whether gateways judged them, whose lines tell of the connection that they made themselves."""
        return any(found.place.judge == "gateway" for found in self.places)

    @property
    def asks_caller(self) -> bool:
        """Whether programs ask for the caller's workload, which the inventory may know where lines do not say."""
        asked = (step.when for program in self.programs for step in program.steps)
        return any(not _CALLER.isdisjoint(subjects(one)) for one in asked)


@dataclass(frozen=True, slots=True)
class Window:
    """What is judged: [since, until) of a store, by an inventory."""

    engine: Engine
    since: datetime
    until: datetime
    inventory: Inventory


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


def counted(window: Window, holes: Parameters) -> str:
    """A condition on `calls`: those of the window."""
    return (
        f"ts >= {holes.hole('DateTime64(6)', window.since)} AND ts < {holes.hole('DateTime64(6)', window.until)} "
        f"AND log_type IN {holes.hole('Array(String)', COUNTED_LOG_TYPES)} AND weight > 0"
    )


def arrived(window: Window, group: Group, holes: Parameters) -> str:
    """A condition on `calls`: those of the window that arrived at the places of a group."""
    return f"{counted(window, holes)} AND {number([group], holes)} != 0"


def number(groups: Sequence[Group], holes: Parameters) -> str:
    """Which of the groups a row of `calls` arrived at, as UInt16, from 1; 0 = none of them."""
    edges: dict[tuple[bool, bool, str], dict[int, int]] = {}
    named: list[str] = []
    for at, group in enumerate(groups, 1):
        for found in group.places:
            if found.base_edge_id:
                edges.setdefault((found.tcp, found.ztunnel, found.place.mesh), {})[found.base_edge_id] = at
            else:
                named.append(f"{_named(found, holes)}, {at}")
    branches = [*_by_edge(edges, holes)]
    if named:
        branches.insert(0, f"base_edge_id = 0, toUInt16(multiIf({', '.join(named)}, 0))")
    return f"multiIf({', '.join(branches)}, toUInt16(0))" if branches else "toUInt16(0)"


def _by_edge(edges: dict[tuple[bool, bool, str], dict[int, int]], holes: Parameters) -> Iterator[str]:
    """A base edge does not tell meshes apart: two may have logged calls of the same ends."""
    for (tcp, ztunnel, mesh), numbers in sorted(edges.items()):
        ids, of = (holes.hole(f"Array({width})", found) for width, found in _columns(numbers))
        kind = f"{_of_kind(tcp, ztunnel)} AND mesh = {holes.hole('String', mesh)}"
        yield f"{kind}, transform(base_edge_id, {ids}, {of}, toUInt16(0))"


def _columns(numbers: dict[int, int]) -> Sequence[tuple[str, tuple[int, ...]]]:
    ordered = sorted(numbers.items())
    return ("UInt64", tuple(edge for edge, _ in ordered)), ("UInt16", tuple(at for _, at in ordered))


def _named(found: Found, holes: Parameters) -> str:
    same = (f"{name} = {holes.hole('String', text)}" for name, text in zip(COLUMNS, found.columns, strict=True))
    return " AND ".join((_of_kind(found.tcp, found.ztunnel), *same))


def _of_kind(tcp: bool, ztunnel: bool) -> str:
    if not tcp:
        return "protocol NOT IN ('tcp', 'tls')"
    own = f"(mesh = 'istio' AND protocol = 'tcp' AND NOT bitTest(logged, {FLAGS_BIT}) AND bitTest(logged, {END_BIT}))"
    return f"protocol IN ('tcp', 'tls') AND {'' if ztunnel else 'NOT '}{own}"


def as_judged(groups: Sequence[Group], inventory: Inventory, holes: Parameters) -> str:
    """The rows of `calls` that may have arrived at groups of one kind, as the judge saw them.

    A gateway's line tells of the connection that it made; to which of its own ports its client came, and how, it does
    not. Callers whose workload policies ask for, and lines do not say, are those of the inventory, by their address.

    Args:
        groups: all with the same `is_gateway` and `asks_caller`.
    """
    replaced: dict[str, str] = {}
    if groups[0].is_gateway:
        replaced |= {"destination_port": "toUInt16(0)", "destination_ip": "toIPv6('::')", "tls": "'unknown'"}
    if groups[0].asks_caller and inventory.addresses:
        addresses = holes.hole("Array(String)", tuple(inventory.addresses))
        owners = holes.hole("Array(String)", tuple(inventory.addresses.values()))
        shown = "replaceRegexpOne(toString(source_ip), '^::ffff:', '')"
        owner = f"transform({shown}, {addresses}, {owners}, '')"
        unknown = f"((source_namespace = '' OR source_workload = '') AND {owner} != '')"
        for at, name in enumerate(("source_namespace", "source_workload"), 1):
            replaced[name] = f"if({unknown}, splitByChar('/', {owner})[{at}], source_calls.{name})"
    # Rows are sorted by base edge: all else is read of those that are left.
    ids = sorted({found.base_edge_id for group in groups for found in group.places})
    calls = f"calls PREWHERE base_edge_id IN {holes.hole('Array(UInt64)', tuple(ids))}"
    if not replaced:
        return calls
    columns = ", ".join(f"{expression} AS {name}" for name, expression in replaced.items())
    return f"(SELECT * REPLACE ({columns}) FROM {calls.replace('calls', 'calls AS source_calls', 1)})"
