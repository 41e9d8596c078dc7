"""ClickHouse SQL as tokens with their positions: a statement can be changed where its grammar says, not by its text.

Strings, quoted names and comments are read as ClickHouse reads them; the words in them are no keywords.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from storage.errors import BadStatement

_TOKEN = re.compile(
    r"""
    (?P<space>\s+ | --[^\n]* | \#[!\ ][^\n]* | /\*.*?\*/)
    | (?P<string>'(?:[^'\\]|\\.|'')*')
    | (?P<quoted>`(?:[^`\\]|\\.|``)*` | "(?:[^"\\]|\\.|"")*")
    | (?P<number>(?:0[xX][0-9a-fA-F]+|\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)\b)
    | (?P<word>[A-Za-z_]\w*)
    | (?P<symbol>[^\s\w'"`$\\])
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_PAIRS = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True, slots=True)
class Token:
    """One token: `kind` is string, quoted, number, word or symbol; `start` and `end` are positions in the text."""

    kind: str
    text: str
    start: int
    end: int

    @property
    def keyword(self) -> str:
        """A word in upper case; empty for everything else."""
        return self.text.upper() if self.kind == "word" else ""

    @property
    def name(self) -> str:
        """What a word or a quoted name names; empty for everything else."""
        if self.kind == "word":
            return self.text
        if self.kind == "quoted":
            inner = self.text[1:-1].replace(self.text[0] * 2, self.text[0])
            return re.sub(r"\\(.)", r"\1", inner)
        return ""


@lru_cache(maxsize=1024)
def tokens(text: str) -> tuple[Token, ...]:
    """The tokens of `text`, without space and comments.

    Raises:
        BadStatement: a string or comment does not end, or brackets do not pair.
    """
    found = list[Token]()
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None or text.startswith("/*", match.start()) != (match[0][:2] == "/*"):
            raise BadStatement(f"SQL cannot be read from {text[position : position + 40]!r} on")
        if match.lastgroup != "space":
            found.append(Token(match.lastgroup, match[0], match.start(), match.end()))
        position = match.end()
    _check_brackets(found)
    return tuple(found)


def _check_brackets(found: Sequence[Token]) -> None:
    awaited = list[str]()
    for token in found:
        if token.kind == "symbol" and token.text in _PAIRS:
            awaited.append(_PAIRS[token.text])
        elif token.kind == "symbol" and token.text in _PAIRS.values() and (not awaited or awaited.pop() != token.text):
            raise BadStatement(f"SQL has {token.text!r} where nothing was opened")
    if awaited:
        raise BadStatement(f"SQL ends where {awaited[-1]!r} was expected")


def closing(found: Sequence[Token], opening: int) -> int:
    """The index of the bracket that closes the one at index `opening`."""
    depth = 0
    for index in range(opening, len(found)):
        if found[index].kind == "symbol":
            depth += (found[index].text in _PAIRS) - (found[index].text in _PAIRS.values())
        if depth == 0:
            return index
    raise BadStatement("SQL ends inside of brackets")


def at_top(found: Sequence[Token], start: int) -> Iterator[int]:
    """The indexes from `start` on that stand outside of all brackets opened after it."""
    index = start
    while index < len(found):
        yield index
        opened = found[index].kind == "symbol" and found[index].text in _PAIRS
        index = closing(found, index) + 1 if opened else index + 1


def tables_read(text: str) -> frozenset[str]:
    """The names that stand behind FROM and JOIN in `text`: tables, and what a query names itself."""
    found = tokens(text)
    return frozenset(
        behind.name for token, behind in pairwise(found) if token.keyword in ("FROM", "JOIN") and behind.name
    )
