"""A difference of two maps, held against what a world really changed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from analyzers.dependencies.diff import MapDiff

_VARIABLE = re.compile(r"\{[^}]*\}")


class Sign(NamedTuple):
    """One difference: its kind in the world's words, the edge, and the operation with `{}` for what varies."""

    kind: str
    source: str
    destination: str
    operation: str


@dataclass(frozen=True, slots=True)
class ChangesFound:
    """Attributes:
    found: what was changed and told.
    missed: what was changed and not told.
    unexpected: what was told and not changed.
    """

    found: Sequence[Sign]
    missed: Sequence[Sign]
    unexpected: Sequence[Sign]

    def to_document(self) -> dict[str, Any]:
        """The comparison as JSON-ready values."""
        return {name: [sign._asdict() for sign in getattr(self, name)] for name in self.__slots__}


def compare_changes(diff: MapDiff, truth: Iterable[Mapping[str, Any]]) -> ChangesFound:
    """Compare, regardless of how far anything moved.

    Args:
        truth: the `changes` of `World.truth()`. Several of one sign are one.
    """
    real = {
        Sign(each["kind"], each["source"], each["destination"], shape(each["operation"].partition("?")[0]))
        for each in truth
    }
    told = {Sign("edge came", edge.source, edge.destination, "") for edge in diff.appeared}
    told |= {Sign("edge went", edge.source, edge.destination, "") for edge in diff.disappeared}
    for change in diff.changed:
        kind: str = change.what
        if change.what == "operation":
            kind = "operation came" if change.before is None else "operation went"
        told.add(Sign(kind, change.source, change.destination, shape(change.operation or "")))
    return ChangesFound(sorted(real & told), sorted(real - told), sorted(told - real))


def shape(operation: str) -> str:
    """An operation with `{}` for what varies."""
    return _VARIABLE.sub("{}", operation)
