"""A program → ClickHouse expressions over `calls`, with every text of a policy as a bound parameter.

`Nullable(UInt8)` is Kleene's logic in ClickHouse: NULL AND 0 = 0, NULL OR 1 = 1, NOT NULL = NULL. Only `multiIf` and
`if` take a NULL for false, without a word; wherever they stand here the NULL was taken out before.

    calls ──► inputs: what is known, narrow values, tests of wide ones ──► columns: steps, allowed, decided_by, missing

Inputs have few different values, whatever the calls: many calls are grouped by them, and judged a group at a time.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
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


NARROW = frozenset(
    {
        *(Field.PRINCIPAL, Field.CALLER, Field.SOURCE_WORKLOAD, Field.SOURCE_NAMESPACE, Field.TLS, Field.METHOD),
        *(Field.HOST, Field.AUTHORITY, Field.SNI, Field.DESTINATION_PORT),
    }
)
"""Fields with so few values that calls are grouped by them."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Expressions that judge calls, and their parameters.

    `inputs` are columns of a SELECT over `calls`; `columns` of one over these:

    `allowed`: Nullable(UInt8); NULL = unknown. `decided_by`: UInt16, number of the step in `steps` that decided, from
    1; 0 = none did, or it is not known which. `missing`: Array(UInt16), places in `fields` of those that would have
    told, from 1.
    """

    inputs: Mapping[str, str]
    columns: str
    steps: tuple[Step, ...]
    fields: tuple[Subject, ...]
    parameters: Mapping[str, Any]

    def each(self, kept: str, source: str) -> str:
        """A SELECT of a row for each row of `source` (`calls WHERE ..`): its columns `kept`, and the verdict's."""
        inner = ", ".join([kept, *_named(self.inputs)])
        return f"SELECT {kept}, {self.columns} FROM (SELECT {inner} FROM {source})"

    def grouped(self, keys: str, sums: Mapping[str, str], source: str) -> str:
        """A SELECT of a row for each verdict and each value of `keys`, perhaps several, with sums over their calls.

        Args:
            keys: columns of `source`.
            sums: names and aggregates over it.
        """
        read = [keys, *_named(self.inputs), *_named(sums)]
        inner = f"SELECT {', '.join(read)} FROM {source} GROUP BY {', '.join([keys, *self.inputs])}"
        return f"SELECT {', '.join([keys, *sums])}, {self.columns} FROM ({inner})"


def _named(expressions: Mapping[str, str]) -> Sequence[str]:
    return [f"{expression} AS {name}" for name, expression in expressions.items()]


class Inputs:
    """What is read of each call, by the name of its column; equal expressions share one."""

    def __init__(self, holes: Parameters) -> None:
        self.found: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._holes = holes

    def known(self, subject: Subject) -> str:
        """1 where the call says what the subject is, if only that it is absent."""
        expression = known(subject, self._key(subject))
        return expression if expression in ("0", "1") else self._named("known", f"toUInt8({expression})")

    def test(self, condition: Condition) -> str:
        """1 where it holds, for calls of which the subject is known: a number from 0 to 1."""
        subject = value(condition.field, self._key(condition.field))
        if condition.field in NARROW:
            return _test(condition, self._named("value", subject), self._holes)
        return self._named("test", f"toUInt8({_test(condition, subject, self._holes)})")

    def has_certificate(self) -> str:
        """1 where the caller showed one, whatever it bears."""
        return self._named("value", "toUInt8(tls = 'mtls')")

    def _key(self, subject: Subject) -> str:
        return self._holes.hole("String", subject.key) if isinstance(subject, Attribute) else ""

    def _named(self, kind: str, expression: str) -> str:
        name = self._names.setdefault(expression, f"{kind}_{len(self._names)}")
        self.found[name] = expression
        return name


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
    inputs = Inputs(holes)
    steps = [step for program in programs for step in program.steps]
    asked = [*(step.when for step in steps), *(program.surely for program in programs)]
    fields = tuple(sorted({field for one in asked for field in subjects(one)}, key=name_of))
    columns = [f"{sql(step.when, inputs)} AS step_{number}" for number, step in enumerate(steps, 1)]
    first = 1
    lacking: list[str] = []
    for at, program in enumerate(programs, 1):
        numbered = list(enumerate(program.steps, first))
        first += len(numbered)
        in_turn = f"allowed_{at}"
        if program.surely == Constant(False):
            columns.append(f"{_allowed(program, numbered)} AS {in_turn}")
        else:
            in_turn = f"in_turn_{at}"
            columns.append(f"{_allowed(program, numbered)} AS {in_turn}")
            # Where it does not hold for certain it says nothing, not even that it is unknown.
            columns.append(f"({in_turn} OR ifNull({sql(program.surely, inputs)}, 0)) AS allowed_{at}")
        columns.append(f"multiIf(isNull({in_turn}), 0, {_decided(numbered)}0) AS decided_{at}")
        lacking.append(f"if(isNull(allowed_{at}), {_lacking(numbered, fields, inputs)}, [])")
    places = range(1, len(programs) + 1)
    all_of = " AND ".join(f"allowed_{at}" for at in places) or sql(Constant(True), inputs)
    denied = "".join(f"ifNull(allowed_{at}, 1) = 0, decided_{at}, " for at in places)
    passed = "".join(f"decided_{at} != 0, decided_{at}, " for at in places)
    decided = f"multiIf(isNull(allowed), 0, {denied}{passed}0)" if programs else "0"
    columns += [
        f"{all_of} AS allowed",
        f"toUInt16({decided}) AS decided_by",
        f"CAST(if(isNull(allowed), {_union(lacking)}, []), 'Array(UInt16)') AS missing",
    ]
    return Verdict(inputs.found, ", ".join(columns), tuple(steps), fields, holes.values)


def _allowed(program: Program, steps: Sequence[tuple[int, Step]]) -> str:
    """Steps of one kind that follow each other are one: NOT a AND (NOT b AND V) is NOT (a OR b) AND V."""
    allowed = f"toNullable(toUInt8({int(program.allows)}))"
    for allows, run in groupby(reversed(steps), key=lambda numbered: numbered[1].allows):
        any_of = " OR ".join(f"step_{number}" for number, _ in reversed([*run]))
        allowed = f"({any_of} OR {allowed})" if allows else f"(NOT ({any_of}) AND {allowed})"
    return allowed


def _decided(steps: Sequence[tuple[int, Step]]) -> str:
    return "".join(f"ifNull(step_{number}, 0), {number}, " for number, _ in steps)


def _lacking(steps: Sequence[tuple[int, Step]], fields: Sequence[Subject], inputs: Inputs) -> str:
    """Places of fields that the call does not tell and that a step is about which is therefore unknown."""
    asking: dict[Subject, list[str]] = {}
    for number, step in steps:
        for subject in subjects(step.when):
            asking.setdefault(subject, []).append(f"isNull(step_{number})")
    told = [
        f"if({inputs.known(subject)} OR NOT ({' OR '.join(asking[subject])}), 0, {place})"
        for place, subject in enumerate(fields, 1)
        if subject in asking
    ]
    return f"arrayFilter(place -> place != 0, [{', '.join(told)}])" if told else "[]"


def _union(arrays: Sequence[str]) -> str:
    if len(arrays) < 2:
        return arrays[0] if arrays else "[]"
    return f"arraySort(arrayDistinct(arrayConcat({', '.join(arrays)})))"


def sql(formula: Formula, inputs: Inputs) -> str:
    """The formula over inputs as an expression of type Nullable(UInt8), in brackets where it needs them."""
    match formula:
        case Constant(truth):
            return f"toNullable(toUInt8({int(truth)}))"
        case Unknown():
            return "CAST(NULL, 'Nullable(UInt8)')"
        case Not(part):
            return f"(NOT {sql(part, inputs)})"
        case And(parts):
            return f"({' AND '.join(sql(part, inputs) for part in parts)})" if parts else sql(Constant(True), inputs)
        case Or(parts):
            return f"({' OR '.join(sql(part, inputs) for part in parts)})" if parts else sql(Constant(False), inputs)
        case Present(Field.PRINCIPAL):
            return f"if({inputs.has_certificate()}, toNullable(toUInt8(1)), {_where_known(formula, inputs)})"
        case _:
            return _where_known(formula, inputs)


def _where_known(condition: Condition, inputs: Inputs) -> str:
    return f"if({inputs.known(condition.field)}, toNullable(toUInt8({inputs.test(condition)})), NULL)"


def _test(condition: Condition, subject: str, holes: Parameters) -> str:
    match condition:
        case Equals(_, values):
            return f"({subject} IN {holes.hole('Array(String)', values)})" if values else "0"
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
