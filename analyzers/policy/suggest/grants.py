"""What callers may do, in as few clauses as say exactly that."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from analyzers.policy.suggest.paths import Path

One = TypeVar("One", bound=Hashable)
Other = TypeVar("Other", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be called. A connection has no method and no path."""

    port: int
    """0 = not known."""
    method: str = ""
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class Clause:
    """Any of the ports, any of the methods and any of the paths. None of one kind: whichever."""

    ports: tuple[int, ...]
    methods: tuple[str, ...] = ()
    paths: tuple[Path, ...] = ()


def alike(grants: Mapping[One, Iterable[Other]]) -> Sequence[tuple[Sequence[One], frozenset[Other]]]:
    """Those with the same grants together, such as callers that may do the same things; in the order of the former."""
    found: dict[frozenset[Other], list[One]] = defaultdict(list)
    for one in sorted(grants, key=repr):
        found[frozenset(grants[one])].append(one)
    return [(several, granted) for granted, several in found.items()]


def clauses(operations: Iterable[Operation]) -> Sequence[Clause]:
    """Clauses that hold of these operations and of no others."""
    paths: dict[tuple[int, str], set[Path]] = defaultdict(set)
    for one in operations:
        paths[one.port, one.method].update([one.path] if one.path else [])
    methods: dict[tuple[int, frozenset[Path]], set[str]] = defaultdict(set)
    for (port, method), found in paths.items():
        methods[port, frozenset(found)].add(method)
    ports: dict[tuple[frozenset[Path], frozenset[str]], set[int]] = defaultdict(set)
    for (port, found), verbs in methods.items():
        ports[found, frozenset(verbs)].add(port)
    made = [
        Clause(
            tuple(sorted(numbers - {0})) if 0 not in numbers else (),
            tuple(sorted(verbs - {""})),
            tuple(sorted(found, key=lambda path: path.order)),
        )
        for (found, verbs), numbers in ports.items()
    ]
    return sorted(made, key=lambda one: (one.ports, one.methods, [path.order for path in one.paths]))
