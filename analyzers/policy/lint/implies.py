"""Whether a formula holds wherever another one does: decided by its structure, and only where that is certain.

False means "not certain", never "no". Of what a peer may have several of (names in a certificate, values of a header)
two different conditions may hold at once; only of fields with one value is one the opposite of another.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

import re2  # pyright: ignore[reportMissingTypeStubs]

from analyzers.policy.formula import (
    FALSE,
    TRUE,
    And,
    Condition,
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
    Subject,
    Suffix,
    Unknown,
    Within,
    conditions,
    no,
)
from analyzers.policy.regexes import fault

_ONE_VALUE = frozenset({Field.METHOD, Field.PATH, Field.HOST, Field.SNI, Field.TLS})
_MAX_VALUES, _MAX_REGEX = 200, 2_000
"""Texts of one condition that are tried, and the length of an expression: beyond these nothing is certain."""
STEPS = 2_000_000
"""Comparisons of parts: a set that asks for more is compared no further."""


class Implications:
    """Answers questions until its steps are used up; after that nothing is certain."""

    def __init__(self, steps: int = STEPS) -> None:
        self.left = steps
        self._programs: dict[str, Any] = {}

    def implies(self, one: Formula, other: Formula) -> bool:
        """Whether `other` holds of every call of which `one` does."""
        self.left -= 1
        if self.left < 0:
            return False
        if other == TRUE or one == FALSE:
            return True
        if one == other:
            return not any(isinstance(part, Unknown) for part in conditions(one))
        match one, other:
            case Or(parts), _:
                return all(self.implies(part, other) for part in parts)
            case _, And(parts):
                return all(self.implies(one, part) for part in parts)
            case Not(And(parts)), _:
                return all(self.implies(no(part), other) for part in parts)
            case _, Not(Or(parts)):
                return all(self.implies(one, no(part)) for part in parts)
            case _:
                return self._by_a_part(one, other)

    def _by_a_part(self, one: Formula, other: Formula) -> bool:
        left = _alternatives(one, And, Or)
        right = _alternatives(other, Or, And)
        if left and any(self.implies(part, other) for part in left):
            return True
        if right and any(self.implies(one, part) for part in right):
            return True
        if left or right:
            return False
        match one, other:
            case Not(part), Not(than):
                return self.implies(than, part)
            case Not(), _:
                return False
            case _, Not(than):
                return self._exclude(one, than)
            case _:
                return self._condition(one, other)

    def never(self, formula: Formula) -> bool:
        """Whether it holds of no call at all."""
        self.left -= 1
        if self.left < 0:
            return False
        match formula:
            case Or(parts):
                return all(self.never(part) for part in parts)
            case And(parts):
                return any(self.never(part) for part in parts) or any(
                    self.implies(part, no(than)) for at, part in enumerate(parts) for than in parts[at + 1 :]
                )
            case _:
                return formula == FALSE

    def _condition(self, one: Formula, other: Formula) -> bool:
        """Two conditions, neither of which is turned round."""
        if isinstance(one, _BARE) and isinstance(other, _BARE) and one.field == other.field:
            match one, other:
                case Equals(_, values), _:
                    return len(values) <= _MAX_VALUES and all(self._holds(other, text) for text in values)
                case Prefix(_, text), Prefix(_, than):
                    return text.startswith(than)
                case Suffix(_, text), Suffix(_, than):
                    return text.endswith(than)
                case ((Prefix(_, text) | Suffix(_, text)), Present()):
                    return bool(text)
                case Within(_, networks), Within(_, than):
                    return all(any(_inside(part, whole) for whole in than) for part in networks)
                case Ports(_, ranges), Ports(_, than):
                    return all(any(low <= a and b <= high for low, high in than) for a, b in ranges)
                case _:
                    return False
        return False

    def _exclude(self, one: Formula, other: Formula) -> bool:
        """Whether no call meets both conditions."""
        if not isinstance(one, _BARE) or not isinstance(other, _BARE) or one.field != other.field:
            return False
        match one, other:
            case Within(_, networks), Within(_, than):
                return all(_apart(part, whole) for part in networks for whole in than)
            case Ports(_, ranges), Ports(_, than):
                return all(b < low or a > high for a, b in ranges for low, high in than)
            case _:
                return _has_one_value(one.field) and (
                    self._texts_exclude(one, other) or self._texts_exclude(other, one)
                )

    def _texts_exclude(self, one: Condition, other: Condition) -> bool:
        match one, other:
            case Equals(_, values), Equals() | Prefix() | Suffix() | Matches() | Present():
                return len(values) <= _MAX_VALUES and all(self._fails(other, text) for text in values)
            case Prefix(_, text), Prefix(_, than):
                return not text.startswith(than) and not than.startswith(text)
            case Suffix(_, text), Suffix(_, than):
                return not text.endswith(than) and not than.endswith(text)
            case _:
                return False

    def _holds(self, condition: Condition, text: str) -> bool:
        return self._test(condition, text) is True

    def _fails(self, condition: Condition, text: str) -> bool:
        return self._test(condition, text) is False

    def _test(self, condition: Condition, text: str) -> bool | None:
        """Whether a text meets a condition; None = not certain."""
        self.left -= 1
        match condition:
            case Equals(_, values):
                return text in values
            case Prefix(_, start):
                return text.startswith(start)
            case Suffix(_, end):
                return text.endswith(end)
            case Present():
                return bool(text)
            case Matches(_, regex):
                program = self._program(regex)
                # Expressions work on bytes there; odd letters are left undecided.
                return None if program is None or not text.isascii() else program.fullmatch(text) is not None
            case _:
                return None

    def _program(self, regex: str) -> Any:
        if regex not in self._programs:
            usable = len(regex) <= _MAX_REGEX and not fault(regex)
            self._programs[regex] = re2.compile(f"(?-s:{regex})") if usable else None
        return self._programs[regex]


_BARE = (Equals, Prefix, Suffix, Matches, Present, Within, Ports)


def _alternatives(formula: Formula, plain: type[And] | type[Or], turned: type[And] | type[Or]) -> Sequence[Formula]:
    """Parts of which any one is enough: of `plain`, or of `turned` under a Not."""
    match formula:
        case And(parts) | Or(parts) if isinstance(formula, plain):
            return parts
        case Not((And(parts) | Or(parts)) as part) if isinstance(part, turned):
            return [no(each) for each in parts]
        case _:
            return ()


def _has_one_value(subject: Subject) -> bool:
    return isinstance(subject, Field) and subject in _ONE_VALUE


def _inside(part: Network, whole: Network) -> bool:
    if isinstance(part, ipaddress.IPv4Network):
        return isinstance(whole, ipaddress.IPv4Network) and part.subnet_of(whole)
    return isinstance(whole, ipaddress.IPv6Network) and part.subnet_of(whole)


def _apart(part: Network, whole: Network) -> bool:
    # An address of version 4 may be meant by one of version 6 that holds it.
    return part.version == whole.version and not part.overlaps(whole)
