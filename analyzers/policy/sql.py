"""A program → ClickHouse expressions over `calls`, with every text of a policy as a bound parameter.

`Nullable(UInt8)` is Kleene's logic in ClickHouse: NULL AND 0 = 0, NULL OR 1 = 1, NOT NULL = NULL. Only `multiIf` and
`if` take a NULL for false, without a word; wherever they stand here the NULL was taken out before.

    calls ──► inputs: bits and narrow values ──► steps ──► the first that holds ──► allowed, decided_by, missing

Whatever strangers wrote into calls, many have the same inputs, and are judged together. Each level is a SELECT over the
one before it: its columns have short names in the next, and plans stay small.
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
NARROW = frozenset(
    {
        *(Field.PRINCIPAL, Field.CALLER, Field.SOURCE_WORKLOAD, Field.SOURCE_NAMESPACE, Field.TLS),
        Field.DESTINATION_PORT,
    }
)
"""Fields with few values, as the mesh gives them and no stranger: tests of them are run on these."""
SAID = "allowed, decided_by, missing"
"""The columns of a verdict."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Expressions that judge calls, and their parameters.

    `inputs` are columns of a SELECT over `calls`: bits, and values of fields that have few. Each of `levels` adds its
    columns to those before it, the last one the verdict:

    `allowed`: Nullable(UInt8); NULL = unknown. `decided_by`: UInt16, number of the step in `steps` that decided, from
    1; 0 = none did, or it is not known which. `missing`: Array(UInt16), places in `fields` of those that would have
    told, from 1.
    """

    inputs: Mapping[str, str]
    levels: tuple[str, ...]
    steps: tuple[Step, ...]
    fields: tuple[Subject, ...]
    parameters: Mapping[str, Any]
    read: Mapping[str, str]
    """What tests of `inputs` read of a call, by their names: expressions over `calls`."""

    def each(self, kept: str, source: str) -> str:
        """A SELECT of a row for each row of `source` (`calls WHERE ..`): its columns `kept`, and the verdict's."""
        inputs = [f"{expression} AS {name}" for name, expression in self.inputs.items()]
        return self.over(kept, f"(SELECT {', '.join([kept, *inputs])} FROM {source})")

    def over(self, kept: str, source: str) -> str:
        """A SELECT of a row for each row of `source`, which has `inputs`: its columns `kept`, and the verdict's."""
        for level in self.levels:
            source = f"(SELECT *, {level} FROM {source})"
        return f"SELECT {kept}, {SAID} FROM {source}"


class Inputs:
    """What is read of each call, by the name of its column; equal expressions share one.

    Args:
        names: of expressions that others read too.
    """

    def __init__(self, holes: Parameters, names: dict[str, str]) -> None:
        self.found: dict[str, str] = {}
        self.read: dict[str, str] = {}
        """What tests read of a call, by their names."""
        self.conditions: dict[str, str] = {}
        """Names of conditions over inputs, which many steps share."""
        self._names = names
        self._holes = holes

    def known(self, subject: Subject) -> str:
        """1 where the call says what the subject is, if only that it is absent."""
        expression = known(subject, self._key(subject))
        return expression if expression in ("0", "1") else self._named(KNOWN, expression)

    def test(self, condition: Condition) -> str:
        """1 where it holds, for calls of which the subject is known: a number from 0 to 1."""
        subject = value(condition.field, self._key(condition.field))
        if condition.field in NARROW:
            return _test(condition, self._named(VALUE, subject), self._holes)
        name = self._named(TEST, _test(condition, subject, self._holes))
        self.read[name] = subject
        return name

    def condition(self, expression: str) -> str:
        """The column of a condition over inputs, of type Nullable(UInt8)."""
        return self.conditions.setdefault(expression, f"condition_{len(self.conditions)}")

    def has_certificate(self) -> str:
        """1 where the caller showed one, whatever it bears."""
        return self._named(TEST, "(tls = 'mtls')")

    def _key(self, subject: Subject) -> str:
        return self._holes.hole("String", subject.key) if isinstance(subject, Attribute) else ""

    def _named(self, kind: str, expression: str) -> str:
        name = self._names.setdefault(expression, f"{kind}_{len(self._names)}")
        self.found[name] = expression
        return name


KNOWN, TEST, VALUE = "known", "test", "value"
"""What names of inputs begin with: bits that say what is known, bits of tests, and values of narrow fields."""


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


def verdict(*programs: Program, parameters: Parameters | None = None, names: dict[str, str] | None = None) -> Verdict:
    """Columns that judge a call by programs, all of which must let it pass.

    Where several deny, the first one's step decided; where all allow, the first step of any that allowed by name.

    Args:
        names: of inputs of other programs, with which equal ones are shared.
    """
    holes = parameters or Parameters()
    inputs = Inputs(holes, {} if names is None else names)
    steps = tuple(step for program in programs for step in program.steps)
    asked = [*(step.when for step in steps), *(program.surely for program in programs)]
    fields = tuple(sorted({field for one in asked for field in subjects(one)}, key=name_of))
    in_turn: list[_InTurn] = []
    before = 0
    for number, program in enumerate(programs, 1):
        in_turn.append(_InTurn(number, before, program, fields, inputs, holes))
        before += len(program.steps)
    levels = [", ".join(filter(None, level)) for level in zip(*(one.levels() for one in in_turn), strict=True)]
    places = range(1, len(programs) + 1)
    allowed = " AND ".join(f"allowed_{at}" for at in places) or sql(Constant(True), inputs)
    denied = "".join(f"ifNull(allowed_{at}, 1) = 0, decided_{at}, " for at in places)
    passed = "".join(f"decided_{at} != 0, decided_{at}, " for at in places)
    decided = f"multiIf(isNull(allowed), 0, {denied}{passed}0)" if programs else "0"
    lacking = _union([one.lacking() for one in in_turn])
    levels.append(
        f"{allowed} AS allowed, toUInt16({decided}) AS decided_by, "
        f"CAST(if(isNull(allowed), {lacking}, []), 'Array(UInt16)') AS missing"
    )
    if inputs.conditions:
        levels.insert(0, ", ".join(f"{condition} AS {name}" for condition, name in inputs.conditions.items()))
    return Verdict(inputs.found, tuple(levels), steps, fields, holes.values, inputs.read)


@dataclass(frozen=True, slots=True)
class _InTurn:
    """The columns of one program.

    Its first step that holds decides, unless one before it that may hold would have it otherwise: that is what
    `a OR rest` for allowing steps, `NOT a AND rest` for denying ones, says in Kleene's logic.
    """

    number: int
    before: int
    """Steps of the programs before it."""
    program: Program
    fields: Sequence[Subject]
    inputs: Inputs
    holes: Parameters

    def levels(self) -> Sequence[str]:
        """Columns of one SELECT over the other."""
        at, steps = self.number, len(self.program.steps)
        numbers = self.holes.hole("Array(UInt16)", tuple(range(1, steps + 1)))
        first = f"if(first_{at} = 0, {steps + 1}, first_{at})"
        otherwise = f"if(outcome_{at}, {self._unsure(allowing=False)}, {self._unsure(allowing=True)})"
        turn = f"if({otherwise} BETWEEN 1 AND {first}, NULL, toNullable(outcome_{at}))"
        surely = self.program.surely
        told = f"(turn_{at} OR ifNull({sql(surely, self.inputs)}, 0))" if surely != Constant(False) else f"turn_{at}"
        return (
            f"{self._steps()} AS steps_{at}",
            f"toUInt16(indexOf(steps_{at}, 1)) AS first_{at}, toUInt8({self._outcome()}) AS outcome_{at}, "
            f"arrayFilter((number, step) -> isNull(step), {numbers}, steps_{at}) AS unknown_{at}",
            # Where what `surely` says does not hold for certain it says nothing, not even that it is unknown.
            f"{turn} AS turn_{at}, {told} AS allowed_{at}, "
            f"if(isNull(turn_{at}) OR first_{at} = 0, 0, first_{at} + {self.before}) AS decided_{at}",
        )

    def lacking(self) -> str:
        """Places of fields that the call does not tell and that a step is about which is therefore unknown."""
        asking: dict[Subject, list[int]] = {}
        for number, step in enumerate(self.program.steps, 1):
            for subject in subjects(step.when):
                asking.setdefault(subject, []).append(number)
        told = [
            f"if({self.inputs.known(subject)} OR NOT {self._is_unknown(asking[subject])}, 0, {place})"
            for place, subject in enumerate(self.fields, 1)
            if subject in asking
        ]
        if not told:
            return "[]"
        return f"if(isNull(allowed_{self.number}), arrayFilter(place -> place != 0, [{', '.join(told)}]), [])"

    def _steps(self) -> str:
        steps = ", ".join(sql(step.when, self.inputs) for step in self.program.steps)
        return f"CAST([{steps}], 'Array(Nullable(UInt8))')"

    def _outcome(self) -> str:
        """What the first step that holds does, or what is done where none does."""
        at, default = self.number, int(self.program.allows)
        actions = tuple(int(step.allows) for step in self.program.steps)
        if len({*actions, default}) == 1:
            return str(default)
        if len({*actions}) == 1:
            return f"if(first_{at} = 0, {default}, {actions[0]})"
        return f"if(first_{at} = 0, {default}, {self.holes.hole('Array(UInt8)', actions)}[first_{at}])"

    def _unsure(self, allowing: bool) -> str:
        """The number of the first step of this kind of which it is not known whether it holds; 0 = there is none."""
        steps = [number for number, step in enumerate(self.program.steps, 1) if step.allows == allowing]
        return f"arrayMin(arrayIntersect(unknown_{self.number}, {self._numbers(steps)}))" if steps else "0"

    def _is_unknown(self, steps: Sequence[int]) -> str:
        """Whether it is not known of one of these steps whether it holds."""
        return f"hasAny(unknown_{self.number}, {self._numbers(steps)})"

    def _numbers(self, steps: Sequence[int]) -> str:
        return self.holes.hole("Array(UInt16)", tuple(dict.fromkeys(steps)))


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
            otherwise = _where_known(formula, inputs)
            return inputs.condition(f"if({inputs.has_certificate()}, toNullable(toUInt8(1)), {otherwise})")
        case _:
            return inputs.condition(_where_known(formula, inputs))


def _where_known(condition: Condition, inputs: Inputs) -> str:
    known = inputs.known(condition.field)
    if known == "0":
        return sql(Unknown(condition.field), inputs)
    test = f"toNullable({inputs.test(condition)})"
    return test if known == "1" else f"if({known}, {test}, NULL)"


def _test(condition: Condition, subject: str, holes: Parameters) -> str:
    match condition:
        case Equals(_, values):
            return f"({subject} IN {holes.hole('Array(String)', values)})" if values else "toUInt8(0)"
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
            return f"({' OR '.join(_in_network(subject, network, holes) for network in networks) or 'toUInt8(0)'})"
        case Ports(_, ranges):
            each = [
                f"({subject} BETWEEN {holes.hole('UInt16', low)} AND {holes.hole('UInt16', high)})"
                for low, high in ranges
            ]
            return f"({' OR '.join(each) or 'toUInt8(0)'})"
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
