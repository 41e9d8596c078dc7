"""A program → ClickHouse expressions over `calls`, with every text of a policy as a bound parameter.

`Nullable(UInt8)` is Kleene's logic in ClickHouse: NULL AND 0 = 0, NULL OR 1 = 1, NOT NULL = NULL. Only `multiIf` and
`if` take a NULL for false, without a word; wherever they stand here the NULL was taken out before.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analyzers.policy.fields import known, name_of, value
from analyzers.policy.formula import (
    And,
    Attribute,
    Condition,
    Constant,
    Equals,
    Field,
    Formula,
    Matches,
    Network,
    Not,
    Or,
    Ports,
    Prefix,
    Present,
    Program,
    Step,
    Subject,
    Suffix,
    Unknown,
    Within,
    subjects,
)

_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Columns of a SELECT over `calls`, as one text, and their parameters.

    `allowed`: Nullable(UInt8); NULL = unknown. `decided_by`: UInt16, number of the step in `steps` that decided, from
    1; 0 = none did, or it is not known which. `missing`: Array(UInt16), places in `fields` of those that would have
    told, from 1.
    """

    columns: str
    steps: tuple[Step, ...]
    fields: tuple[Subject, ...]
    parameters: Mapping[str, Any]


class Parameters:
    """Holes of a statement: each value gets a name of its own, equal values share one."""

    def __init__(self, prefix: str = "p") -> None:
        self.values: dict[str, Any] = {}
        self._prefix = prefix
        self._names: dict[tuple[str, Any], str] = {}

    def hole(self, kind: str, content: Any) -> str:
        """`{name:Type}` for a value; a sequence is a tuple."""
        name = self._names.setdefault((kind, content), f"{self._prefix}{len(self._names)}")
        self.values[name] = content
        return f"{{{name}:{kind}}}"


def verdict(*programs: Program, parameters: Parameters | None = None) -> Verdict:
    """Columns that judge a call by programs, all of which must let it pass.

    Where several deny, the first one's step decided; where all allow, the first step of any that allowed by name.
    """
    holes = parameters or Parameters()
    steps = [step for program in programs for step in program.steps]
    asked = [*(step.when for step in steps), *(program.surely for program in programs)]
    fields = tuple(sorted({field for one in asked for field in subjects(one)}, key=name_of))
    columns = [f"{sql(step.when, holes)} AS step_{number}" for number, step in enumerate(steps, 1)]
    first = 1
    lacking: list[str] = []
    for at, program in enumerate(programs, 1):
        numbered = list(enumerate(program.steps, first))
        first += len(numbered)
        in_turn = _allowed(program, numbered)
        if program.surely == Constant(False):
            columns.append(f"{in_turn} AS allowed_{at}")
            told = f"allowed_{at}"
        else:
            told = f"in_turn_{at}"
            columns.append(f"{in_turn} AS {told}")
            # Where it does not hold for certain it says nothing, not even that it is unknown.
            columns.append(f"({told} OR ifNull({sql(program.surely, holes)}, 0)) AS allowed_{at}")
        columns.append(f"multiIf(isNull({told}), 0, {_decided(numbered)}0) AS decided_{at}")
        lacking.append(f"if(isNull(allowed_{at}), {_lacking(numbered, fields, holes)}, [])")
    places = range(1, len(programs) + 1)
    all_of = " AND ".join(f"allowed_{at}" for at in places) or sql(Constant(True), holes)
    denied = "".join(f"ifNull(allowed_{at}, 1) = 0, decided_{at}, " for at in places)
    passed = "".join(f"decided_{at} != 0, decided_{at}, " for at in places)
    decided = f"multiIf(isNull(allowed), 0, {denied}{passed}0)" if programs else "0"
    columns += [
        f"{all_of} AS allowed",
        f"toUInt16({decided}) AS decided_by",
        f"CAST(if(isNull(allowed), {_union(lacking)}, []), 'Array(UInt16)') AS missing",
    ]
    return Verdict(", ".join(columns), tuple(steps), fields, holes.values)


def _allowed(program: Program, steps: Sequence[tuple[int, Step]]) -> str:
    allowed = f"toNullable(toUInt8({int(program.allows)}))"
    for number, step in reversed(steps):
        allowed = f"(step_{number} OR {allowed})" if step.allows else f"(NOT step_{number} AND {allowed})"
    return allowed


def _decided(steps: Sequence[tuple[int, Step]]) -> str:
    return "".join(f"ifNull(step_{number}, 0), {number}, " for number, _ in steps)


def _lacking(steps: Sequence[tuple[int, Step]], fields: Sequence[Subject], holes: Parameters) -> str:
    return _union([f"if(isNull(step_{number}), {_unlogged(step.when, fields, holes)}, [])" for number, step in steps])


def _union(arrays: Sequence[str]) -> str:
    return f"arraySort(arrayDistinct(arrayConcat({', '.join(arrays)})))" if arrays else "[]"


def _unlogged(formula: Formula, fields: Sequence[Subject], holes: Parameters) -> str:
    """Places of the fields that the formula is about and the call does not tell; 0 in between is left out."""
    own = sorted(subjects(formula), key=name_of)
    places = [f"if({_known(field, holes)}, 0, {fields.index(field) + 1})" for field in own]
    return f"arrayFilter(place -> place != 0, [{', '.join(places)}])"


def sql(formula: Formula, holes: Parameters) -> str:
    """The formula as an expression of type Nullable(UInt8), in brackets where it needs them."""
    match formula:
        case Constant(truth):
            return f"toNullable(toUInt8({int(truth)}))"
        case Unknown():
            return "CAST(NULL, 'Nullable(UInt8)')"
        case Not(part):
            return f"(NOT {sql(part, holes)})"
        case And(parts):
            return f"({' AND '.join(sql(part, holes) for part in parts)})" if parts else sql(Constant(True), holes)
        case Or(parts):
            return f"({' OR '.join(sql(part, holes) for part in parts)})" if parts else sql(Constant(False), holes)
        case Present(Field.PRINCIPAL):
            return f"if(tls = 'mtls', toNullable(toUInt8(1)), {_where_known(formula, holes)})"
        case _:
            return _where_known(formula, holes)


def _where_known(condition: Condition, holes: Parameters) -> str:
    return f"if({_known(condition.field, holes)}, toNullable(toUInt8({_test(condition, holes)})), NULL)"


def _known(subject: Subject, holes: Parameters) -> str:
    return known(subject, _key(subject, holes))


def _key(subject: Subject, holes: Parameters) -> str:
    return holes.hole("String", subject.key) if isinstance(subject, Attribute) else ""


def _test(condition: Condition, holes: Parameters) -> str:
    subject = value(condition.field, _key(condition.field, holes))
    match condition:
        case Equals(_, values):
            return f"has({holes.hole('Array(String)', values)}, {subject})"
        case Prefix(_, text):
            return f"startsWith({subject}, {holes.hole('String', text)})"
        case Suffix(_, text):
            return f"endsWith({subject}, {holes.hole('String', text)})"
        case Matches(_, regex):
            # `match` searches; its dot would also match a line break.
            return f"match({subject}, {holes.hole('String', f'^(?-s:{regex})$')})"
        case Present():
            return f"({subject} != '')"
        case Within(_, networks):
            return f"({' OR '.join(_in_network(subject, network, holes) for network in networks) or '0'})"
        case Ports(_, ranges):
            each = [
                f"({subject} BETWEEN {holes.hole('UInt16', low)} AND {holes.hole('UInt16', high)})"
                for low, high in ranges
            ]
            return f"({' OR '.join(each) or '0'})"
        case Unknown():
            raise AssertionError("an unknown condition has no test")


def _in_network(subject: str, network: Network, holes: Parameters) -> str:
    def between(low: ipaddress.IPv6Address, high: ipaddress.IPv6Address) -> str:
        return f"({subject} BETWEEN {holes.hole('IPv6', str(low))} AND {holes.hole('IPv6', str(high))})"

    if isinstance(network, ipaddress.IPv4Network):
        low, high = (
            ipaddress.IPv6Address(int(_MAPPED.network_address) + int(end)) for end in (network[0], network[-1])
        )
        return between(low, high)
    inside = between(network[0], network[-1])
    # An IPv4 address is in no network of IPv6, though it is kept as one.
    return inside if not network.overlaps(_MAPPED) else f"({inside} AND NOT {between(_MAPPED[0], _MAPPED[-1])})"
