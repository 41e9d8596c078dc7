"""What a world does differently from some time on: new calls, calls no longer made, other rates, errors and times.

A change turns one topology into another of the same places, and lists the signs by which it can be told: those of the
changed edge itself and of every other edge on which it shows beyond the usual noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from eastwatch.world.model import Call, Journey, Operation, Step, Topology

Kind = Literal["edge came", "edge went", "operation came", "operation went", "rate", "errors", "latency", "mtls"]


@dataclass(frozen=True, slots=True)
class Sign:
    """One thing that is different between before and after.

    `operation` is `METHOD path` with `{...}` for what varies; empty where the whole edge is meant.
    """

    kind: Kind
    source: str
    destination: str
    operation: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """`apply` gives the topology as it is from then on."""

    name: str
    apply: Callable[[Topology], Topology]
    signs: tuple[Sign, ...]


def with_operation(topology: Topology, id: str, edit: Callable[[Operation], Operation]) -> Topology:
    """The topology with one operation edited.

    Raises:
        KeyError: there is no such operation.
    """
    if id not in topology.by_operation:
        raise KeyError(id)
    edited = tuple(edit(each) if each.id == id else each for each in topology.operations)
    return replace(topology, operations=edited)


def with_step(topology: Topology, id: str, after: str, step: Step) -> Topology:
    """The topology with a step more in operation `id`, right behind its call to `after`."""

    def edit(operation: Operation) -> Operation:
        place = [isinstance(each, Call) and each.to == after for each in operation.steps].index(True) + 1
        return replace(operation, steps=(*operation.steps[:place], step, *operation.steps[place:]))

    return with_operation(topology, id, edit)


def with_calls(topology: Topology, id: str, to: str, edit: Callable[[Call], Call | None]) -> Topology:
    """The topology with operation `id`'s calls to `to` edited; None = no longer made."""

    def edited(operation: Operation) -> Operation:
        steps = (edit(step) if isinstance(step, Call) and step.to == to else step for step in operation.steps)
        return replace(operation, steps=tuple(step for step in steps if step is not None))

    return with_operation(topology, id, edited)


def with_journey(topology: Topology, name: str, edit: Callable[[Journey], Journey]) -> Topology:
    """The topology with one journey edited."""
    return replace(topology, journeys=tuple(edit(each) if each.name == name else each for each in topology.journeys))
