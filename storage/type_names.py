"""ClickHouse type names taken apart: `Map(LowCardinality(String), Array(UInt8))` as a name and its arguments."""

from __future__ import annotations

import re
from functools import lru_cache

_NAMED = re.compile(r"^[A-Za-z_]\w* +(?=[A-Z])")


@lru_cache(maxsize=2048)
def split(kind: str) -> tuple[str, tuple[str, ...]]:
    """Name and arguments of a type; arguments are types, numbers or quoted texts, as written."""
    name, parenthesis, rest = kind.partition("(")
    if not parenthesis:
        return kind.strip(), ()
    return name.strip(), tuple(_outermost(rest[: rest.rindex(")")]))


def elements(kind: str) -> list[tuple[str, str]]:
    """The elements of a Tuple type: name ("1", "2", ... where it has none) and type."""
    found = list[tuple[str, str]]()
    for position, argument in enumerate(split(kind)[1], 1):
        named = _NAMED.match(argument)
        found.append((named[0].strip(), argument[named.end() :]) if named else (str(position), argument))
    return found


def _outermost(arguments: str) -> list[str]:
    """`arguments` cut at the commas outside parentheses and quotes."""
    parts, depth, quoted, start = list[str](), 0, False, 0
    for index, char in enumerate(arguments):
        if char == "'" and arguments[index - 1 : index] != "\\":
            quoted = not quoted
        elif not quoted:
            depth += (char == "(") - (char == ")")
            if char == "," and depth == 0:
                parts.append(arguments[start:index].strip())
                start = index + 1
    return [*parts, arguments[start:].strip()]
