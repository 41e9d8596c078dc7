"""What every engine's policies become: ordered steps, each a formula over one call, in three-valued logic.

    documents ──(one compiler an engine)──► Program ──(sql.py)──► one ClickHouse expression

A condition over something that the proxy did not log is neither true nor false. With Kleene's logic the value of a
program says by itself whether that matters: let `V` be what follows, then a step that allows what matches `p` is
`p OR V`, one that denies it `NOT p AND V`. So a program is one formula, `call is allowed`, whose value may be unknown.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Transport = Literal["http", "tcp"]
"""Requests, or connections of which the proxy reads no more than addresses and certificates."""


class Field(StrEnum):
    """What conditions are about; `fields.py` says where a call has it."""

    PRINCIPAL = "source_principal"
    SOURCE_WORKLOAD = "source_workload"
    """`namespace/workload`."""
    SOURCE_NAMESPACE = "source_namespace"
    SOURCE_LABELS = "source_labels"
    """Of the caller's pods and their namespace, which no line has: the inventory of the window knows them, or not."""
    TLS = "tls"
    """`mtls`, `tls` or `plaintext`."""
    SOURCE_IP = "source_ip"
    REMOTE_IP = "source_remote_ip"
    DESTINATION_IP = "destination_ip"
    DESTINATION_PORT = "destination_port"
    METHOD = "method"
    PATH = "path"
    """Without query and fragment."""
    QUERY = "query"
    """Of the path, as it was sent."""
    HOST = "authority"
    """In lower case."""
    AUTHORITY = "authority_as_sent"
    """The same, with its capitals."""
    SNI = "sni"
    NAMESPACE = "destination_namespace"
    LABELS = "destination_labels"
    ACCOUNTS = "destination_accounts"
    CALLER = "caller"
    """The principal where the certificate shows one, else `workload:namespace/workload`."""
    CONTROLLER = "controller"
    """What only the mesh's own controller knows: how it is set, its peers, the order in which it takes equal rules."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """A field that only `attributes` holds, by its key, such as `request.headers.x-team`."""

    key: str
    absent: bool = False
    """A call that does not log it does not have it."""


Subject = Field | Attribute


@dataclass(frozen=True, slots=True)
class Constant:
    """True or false, whatever the call."""

    value: bool


@dataclass(frozen=True, slots=True)
class Unknown:
    """Never known of any call of this destination, for want of `field`."""

    field: Subject


@dataclass(frozen=True, slots=True)
class Equals:
    """The field is one of these texts. What is absent is the empty text."""

    field: Subject
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Prefix:
    """The field begins with this text."""

    field: Subject
    text: str


@dataclass(frozen=True, slots=True)
class Suffix:
    """The field ends with this text."""

    field: Subject
    text: str


@dataclass(frozen=True, slots=True)
class Matches:
    """All of the field matches this regular expression of RE2."""

    field: Subject
    regex: str


@dataclass(frozen=True, slots=True)
class Present:
    """The field is not the empty text."""

    field: Subject


@dataclass(frozen=True, slots=True)
class Within:
    """The address lies in one of these networks."""

    field: Subject
    networks: tuple[Network, ...]


@dataclass(frozen=True, slots=True)
class Ports:
    """The port lies in one of these ranges, both ends included."""

    field: Subject
    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Not:
    """What is unknown stays unknown."""

    part: Formula


@dataclass(frozen=True, slots=True)
class And:
    """False where any part is, true where all are, else unknown. Of no parts: true."""

    parts: tuple[Formula, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """True where any part is, false where all are, else unknown. Of no parts: false."""

    parts: tuple[Formula, ...]


Condition = Unknown | Equals | Prefix | Suffix | Matches | Present | Within | Ports
Formula = Constant | Condition | Not | And | Or

TRUE, FALSE = Constant(True), Constant(False)


@dataclass(frozen=True, slots=True)
class Step:
    """What matches is allowed, or denied, and nothing after this step counts."""

    allows: bool
    when: Formula
    policy: str
    """`namespace/name`, as people know it."""
    rule: str
    """Which of its rules; empty where it has none."""


@dataclass(frozen=True, slots=True)
class Program:
    """The steps of one destination in their order, and what holds where none matches."""

    steps: tuple[Step, ...]
    allows: bool
    """What none of the steps matches."""
    surely: Formula = Constant(False)
    """Holds of calls that are allowed whichever step decides, where the steps in their order cannot tell."""


def both(parts: Sequence[Formula]) -> Formula:
    """All of them, without parts that change nothing."""
    kept: list[Formula] = []
    for part in parts:
        if part == FALSE:
            return FALSE
        if part != TRUE:
            kept.extend(part.parts if isinstance(part, And) else [part])
    return kept[0] if len(kept) == 1 else And(tuple(kept)) if kept else TRUE


def either(parts: Sequence[Formula]) -> Formula:
    """Any of them, without parts that change nothing."""
    kept: list[Formula] = []
    for part in parts:
        if part == TRUE:
            return TRUE
        if part != FALSE:
            kept.extend(part.parts if isinstance(part, Or) else [part])
    return kept[0] if len(kept) == 1 else Or(tuple(kept)) if kept else FALSE


def no(part: Formula) -> Formula:
    """What it is not."""
    if isinstance(part, Constant):
        return Constant(not part.value)
    return part.part if isinstance(part, Not) else Not(part)


def with_subjects(formula: Formula, change: Callable[[Subject], Subject]) -> Formula:
    """The formula, with its conditions about other subjects."""
    match formula:
        case Constant():
            return formula
        case Not(part):
            return Not(with_subjects(part, change))
        case And(parts):
            return And(tuple(with_subjects(part, change) for part in parts))
        case Or(parts):
            return Or(tuple(with_subjects(part, change) for part in parts))
        case _:
            return replace(formula, field=change(formula.field))


def conditions(formula: Formula) -> Iterator[Condition]:
    """Every condition in it."""
    match formula:
        case Constant():
            return
        case Not(part):
            yield from conditions(part)
        case And(parts) | Or(parts):
            for part in parts:
                yield from conditions(part)
        case _:
            yield formula


def subjects(formula: Formula) -> frozenset[Subject]:
    """What its conditions are about."""
    return frozenset(condition.field for condition in conditions(formula))
