"""JSON lines of one shape, cut into columns by comparing them with the first of their kind.

A proxy writes the same object again and again: same keys, same order, same spaces; only the values differ. So the text
between two values is constant. A `Template` is made from one line, and matches the others by comparing that constant
text at the places where the line's quotes say it must be. What matches is proven to be JSON of this shape, its values
are known by position, and so is which keys the line had (`null` is constant text, hence part of the shape).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from collector.decode.spans import Bytes, Positions, as_text, gather

Kind = Literal["string", "number", "bool", "null", "nested"]
Mask = npt.NDArray[np.bool_]

_SPACE = b" \t\r\n"
_NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"
_LITERAL = re.compile(rb"true|false|null")
_NUMBER_AT = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_LONGEST_NUMBER = 40

# What the character after a backslash stands for; 0 = not an escape that is handled here (\u is not).
_ESCAPED = np.zeros(256, np.uint8)
for _code, _char in (("n", 10), ("t", 9), ("r", 13), ("b", 8), ("f", 12), ('"', 34), ("\\", 92), ("/", 47)):
    _ESCAPED[ord(_code)] = _char


def escapes(content: Bytes) -> Positions:
    """Positions of the backslashes that begin an escape: in a run of backslashes, every second is the escaped one."""
    slashes = np.flatnonzero(content == 92)
    if not len(slashes):
        return slashes
    order = np.arange(len(slashes))
    run_begins = np.concatenate(([True], np.diff(slashes) != 1))
    place_in_run = order - np.maximum.accumulate(np.where(run_begins, order, 0))
    return slashes[place_in_run % 2 == 0]


def unescape(values: pa.BinaryArray) -> pa.BinaryArray:
    """JSON string contents with their escapes resolved. No element may hold an escape unknown to `_ESCAPED`."""
    if values.null_count or values.offset:
        values = pa.concat_arrays([values])
    content = np.frombuffer(values.buffers()[2], np.uint8) if values.buffers()[2] else np.zeros(0, np.uint8)
    slashes = escapes(content)
    if not len(slashes):
        return values
    offsets = np.frombuffer(values.buffers()[1], np.int32)[: len(values) + 1]
    resolved = content.copy()
    resolved[slashes + 1] = _ESCAPED[content[slashes + 1]]
    keep = np.ones(len(content), np.bool_)
    keep[slashes] = False
    moved = (offsets - np.searchsorted(slashes, offsets)).astype(np.int32)
    return pa.Array.from_buffers(
        pa.binary(), len(values), [None, pa.py_buffer(moved), pa.py_buffer(np.ascontiguousarray(resolved[keep]))]
    )


class QuotedLines:
    """The lines of a batch with the places of their quotes.

    `escaped` says which lines hold a backslash, `simple` which hold neither `\\u`, an unknown escape nor a control
    character: only these can be cut by a template.
    """

    def __init__(self, content: Bytes, starts: Positions, ends: Positions) -> None:
        self.content, self.starts, self.ends = content, starts, ends
        slashes = escapes(content)
        quoted = content == 34
        if len(slashes):
            after = slashes + 1
            after = after[after < len(content)]
            quoted[after] = False
            self.escaped = _lines_with(slashes, starts, ends)
            self.simple = ~_lines_with(after[_ESCAPED[content[after]] == 0], starts, ends)
        else:
            self.escaped = np.zeros(len(starts), np.bool_)
            self.simple = np.ones(len(starts), np.bool_)
        if len(content) and content.min() < 32:
            self.simple &= ~_lines_with(np.flatnonzero(content < 32), starts, ends)
        self.quotes: Positions = np.flatnonzero(quoted)
        self.first_quote: Positions = np.searchsorted(self.quotes, starts)
        self.quote_count: Positions = np.searchsorted(self.quotes, ends) - self.first_quote
        # Eight bytes at any place, for comparing constant text a word at a time.
        words = max(len(content) - 7, 0)
        self.words = np.ndarray((words,), "<u8", buffer=content, strides=(1,)) if words else np.zeros(0, "<u8")


def _lines_with(places: Positions, starts: Positions, ends: Positions) -> Mask:
    return np.searchsorted(places, ends) > np.searchsorted(places, starts)


@dataclass(frozen=True, slots=True)
class Key:
    """A top-level key: where its value is. `value` indexes the variable values; nested ones lie between two anchors."""

    name: str
    kind: Kind
    value: int = -1
    constant: str = ""
    begin: tuple[int, int] = (0, 0)
    end: tuple[int, int] = (0, 0)


@dataclass(slots=True)
class Match:
    """The lines that a template matched: `rows` of the batch and, per variable value, where it is in the content."""

    rows: Positions
    segment_at: list[Positions] = field(default_factory=list[Positions])
    value_at: list[tuple[Positions, Positions]] = field(default_factory=list[tuple[Positions, Positions]])

    def keep(self, mask: Mask) -> None:
        """Narrow to the rows under `mask`."""
        self.rows = self.rows[mask]
        self.segment_at = [places[mask] for places in self.segment_at]
        self.value_at = [(starts[mask], ends[mask]) for starts, ends in self.value_at]


class _Unsupported(ValueError):
    """The line is no object of a shape that a template can express; it takes the slow path."""


class Template:
    """The constant text of one shape of line. Made by `Template.of`."""

    def __init__(self, line: bytes, quotes: Positions, most_levels: int) -> None:
        self._line, self._at, self._most_levels = line, 0, most_levels
        self._variables: list[tuple[int, int, bool]] = []
        raw_keys = self._object()
        self.quotes = len(quotes)
        self.segments: list[bytes] = []
        self.anchors: list[tuple[int, int, bool]] = []
        edge = 0
        for begin, end, is_number in self._variables:
            self.segments.append(line[edge:begin])
            quote = int(np.searchsorted(quotes, end))
            if quote == len(quotes):
                self.anchors.append((-1, len(line) - end, is_number))
            else:
                self.anchors.append((quote, int(quotes[quote]) - end, is_number))
            edge = end
        self.segments.append(line[edge:])
        self.keys = tuple(self._place(*key) for key in raw_keys)

    @staticmethod
    def of(line: bytes, quotes: Positions, most_levels: int) -> Template | None:
        """The template of `line`, whose unescaped quotes are at `quotes`; None when it needs the slow path."""
        try:
            return Template(line, quotes, most_levels)
        except (_Unsupported, IndexError, UnicodeDecodeError):
            return None

    def _place(self, name: str, kind: Kind, begin: int, end: int) -> Key:
        if kind in ("string", "number"):
            index = next(i for i, variable in enumerate(self._variables) if variable[0] == begin)
            return Key(name, kind, value=index)
        if kind == "nested":
            return Key(name, kind, begin=self._anchor(begin), end=self._anchor(end))
        return Key(name, kind, constant=self._line[begin:end].decode())

    def _anchor(self, place: int) -> tuple[int, int]:
        """`place` as (segment, offset in it)."""
        segment, edge = 0, 0
        for begin, end, _ in self._variables:
            if place <= begin:
                break
            segment, edge = segment + 1, end
        return segment, place - edge

    # A small reader of one line. It is strict: whatever it does not expect is left to the slow path.

    def _space(self) -> None:
        while self._line[self._at] in _SPACE:
            self._at += 1

    def _expect(self, byte: bytes) -> None:
        if self._line[self._at : self._at + 1] != byte:
            raise _Unsupported
        self._at += 1

    def _string(self) -> tuple[int, int]:
        """Bounds of a string's content."""
        self._expect(b'"')
        begin = self._at
        while self._line[self._at] != 34:
            self._at += 2 if self._line[self._at] == 92 else 1
        self._at += 1
        return begin, self._at - 1

    def _object(self) -> list[tuple[str, Kind, int, int]]:
        keys: list[tuple[str, Kind, int, int]] = []
        self._expect(b"{")
        self._space()
        if self._line[self._at] == 125:
            raise _Unsupported  # an empty object has no shape
        while True:
            begin, end = self._string()
            name = self._line[begin:end]
            if b"\\" in name:
                raise _Unsupported
            self._space()
            self._expect(b":")
            self._space()
            keys.append((name.decode(), *self._value()))
            self._space()
            if self._line[self._at] == 125:
                break
            self._expect(b",")
            self._space()
        if self._at + 1 != len(self._line) or len({key[0] for key in keys}) != len(keys):
            raise _Unsupported
        return keys

    def _value(self) -> tuple[Kind, int, int]:
        first = self._line[self._at : self._at + 1]
        if first == b'"':
            begin, end = self._string()
            self._variables.append((begin, end, False))
            return "string", begin, end
        if first in (b"{", b"["):
            begin = self._at
            self._nested(2)
            return "nested", begin, self._at
        begin = self._at
        if found := _NUMBER_AT.match(self._line, begin):
            self._at = found.end()
            self._variables.append((begin, self._at, True))
            return "number", begin, self._at
        if found := _LITERAL.match(self._line, begin):
            self._at = found.end()
            return ("null" if found[0] == b"null" else "bool"), begin, self._at
        raise _Unsupported

    def _nested(self, level: int) -> None:
        """Read an object or array; its string values are variables, all else is constant text."""
        if level > self._most_levels:
            raise _Unsupported
        is_object = self._line[self._at] == 123
        closing = b"}" if is_object else b"]"
        self._at += 1
        self._space()
        if self._line[self._at : self._at + 1] == closing:
            self._at += 1
            return
        while True:
            if is_object:
                self._string()
                self._space()
                self._expect(b":")
                self._space()
            first = self._line[self._at : self._at + 1]
            if first == b'"':
                self._variables.append((*self._string(), False))
            elif first in (b"{", b"["):
                self._nested(level + 1)
            elif found := _NUMBER_AT.match(self._line, self._at) or _LITERAL.match(self._line, self._at):
                self._at = found.end()
            else:
                raise _Unsupported
            self._space()
            if self._line[self._at : self._at + 1] == closing:
                self._at += 1
                return
            self._expect(b",")
            self._space()

    def match(self, lines: QuotedLines, rows: Positions) -> Match:
        """Which of `rows` (all with this template's number of quotes) have this shape."""
        found = Match(rows)
        at = lines.starts[rows]
        for index, segment in enumerate(self.segments):
            ends = lines.ends[found.rows]
            fits = at + len(segment) <= ends
            if index == len(self.segments) - 1:
                fits &= at + len(segment) == ends
            if index:
                fits &= found.value_at[-1][0] <= at
            if not fits.all():
                found.keep(fits)
                at = at[fits]
            equal = _equal_at(lines, at, segment)
            if not equal.all():
                found.keep(equal)
                at = at[equal]
            if not len(found.rows):
                return found
            found.segment_at.append(at)
            if index < len(self.anchors):
                quote, back, is_number = self.anchors[index]
                begin = at + len(segment)
                if quote < 0:
                    end = lines.ends[found.rows] - back
                else:
                    end = lines.quotes[lines.first_quote[found.rows] + quote] - back
                found.value_at.append((begin, end))
                if is_number:
                    valid = _are_numbers(lines.content, begin, end)
                    if not valid.all():
                        found.keep(valid)
                        end = end[valid]
                at = end
        return found

    def column(self, lines: QuotedLines, found: Match, key: Key) -> pa.StringArray | None:
        """Text of `key` in the matched lines, in order: escapes resolved; nested ones as they stand. None = null."""
        if key.kind == "null":
            return None
        if key.kind == "bool":
            return pa.array([key.constant], pa.string()).take(pa.array(np.zeros(len(found.rows), np.int32)))
        if key.kind == "nested":
            begin = found.segment_at[key.begin[0]] + key.begin[1]
            end = found.segment_at[key.end[0]] + key.end[1]
            return as_text(gather(lines.content, begin, end))
        values = gather(lines.content, *found.value_at[key.value])
        if key.kind == "string" and lines.escaped[found.rows].any():
            values = unescape(values)
        return as_text(values)


def _equal_at(lines: QuotedLines, at: Positions, text: bytes) -> Mask:
    """Whether `text` stands at each place. The caller has checked that it fits into the content."""
    equal = np.ones(len(at), np.bool_)
    if len(text) < 8:
        for offset, byte in enumerate(text):
            equal &= lines.content[at + offset] == byte
        return equal
    for offset in (*range(0, len(text) - 8, 8), len(text) - 8):
        word = np.uint64(int.from_bytes(text[offset : offset + 8], "little"))
        equal &= lines.words[at + offset] == word
    return equal


def _are_numbers(content: Bytes, begin: Positions, end: Positions) -> Mask:
    """Whether each piece is a JSON number. Plain digits are checked here, the rest by expression."""
    length = end - begin
    valid = (length > 0) & (length <= _LONGEST_NUMBER)
    plain = valid.copy()
    last = len(content) - 1
    for offset in range(int(length[valid].max(initial=0))):
        digit = content[np.minimum(begin + offset, last)] - np.uint8(48)
        plain &= (digit <= 9) | (offset >= length)
    plain &= (length == 1) | (content[np.minimum(begin, last)] != 48)
    rest = np.flatnonzero(valid & ~plain)
    if len(rest):
        texts = gather(content, begin[rest], end[rest])
        valid[rest] = pc.match_substring_regex(texts, _NUMBER).to_numpy(zero_copy_only=False)
    return valid
