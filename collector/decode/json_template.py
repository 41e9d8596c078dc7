"""JSON lines of one shape, cut into columns by comparing them with the first of their kind.

A proxy writes the same object again and again: same keys, same order, same spaces; only the values differ. So the text
between two values is constant. A `Template` is made from one line, and matches the others by comparing that constant
text at the places where the line's quotes say it must be. What matches is proven to be JSON of this shape, its values
are known by position, and so is which keys the line had (`null` is constant text, hence part of the shape).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from collector.decode.spans import Bytes, Mask, Positions, Spans, as_text, count_below, gather, positions

Words = npt.NDArray[np.uint64]
Kind = Literal["string", "number", "bool", "null", "nested"]

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
    slashes = positions(content, 92)
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
    """Lines with the places of their quotes.

    `escaped` says which lines hold a backslash, `simple` which hold neither `\\u`, an unknown escape nor a control
    character: only these can be cut by a template.
    """

    def __init__(self, spans: Spans) -> None:
        """Looks at all of the content of `spans`, which ascend."""
        self.spans = spans
        content, starts, ends = spans.content, spans.starts, spans.ends
        quotes = positions(content, 34)
        slashes = escapes(content)
        if len(slashes):
            after = slashes + 1
            after = after[after < len(content)]
            escaped = after[content[after] == 34]
            quotes = np.delete(quotes, np.searchsorted(quotes, escaped))
            self.escaped = _lines_with(slashes, starts, ends)
            self.simple = ~_lines_with(after[_ESCAPED[content[after]] == 0], starts, ends)
        else:
            self.escaped = np.zeros(len(starts), np.bool_)
            self.simple = np.ones(len(starts), np.bool_)
        # As a rule, what breaks the lines is all there is of control characters.
        breaks = ends[:-1][ends[:-1] < starts[1:]]
        if count_below(content, 32) != np.count_nonzero(content[breaks] < 32):
            self.simple &= ~_lines_with(np.flatnonzero(content < 32), starts, ends)
        self.quotes = quotes
        self.first_quote: Positions = np.searchsorted(self.quotes, starts)
        self.quote_count: Positions = np.searchsorted(self.quotes, ends) - self.first_quote

    def windows(self, width: int) -> npt.NDArray[np.void]:
        """`width` bytes at any place: gathering them costs about what gathering single bytes does."""
        places = len(self.spans.content) - width + 1
        if places <= 0:
            return np.zeros(0, f"V{width}")
        return np.ndarray((places,), f"V{width}", buffer=self.spans.content, strides=(1,))


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


@dataclass(frozen=True, slots=True)
class Match:
    """The lines that a template matched: `rows` of the block, ascending, and where in its content their pieces are.

    Constant text i is at `segment_at[i]`..`value_at[i]` in each line, value i at `value_at[i]`..`segment_at[i + 1]`.
    """

    rows: Positions
    segment_at: Positions
    value_at: Positions

    def take(self, kept: Mask) -> Match:
        """Only the rows under `kept`."""
        return self if kept.all() else Match(self.rows[kept], self.segment_at[:, kept], self.value_at[:, kept])


class _Unsupported(ValueError):
    """The line is no object of a shape that a template can express; it takes the slow path."""


_WINDOWS = (32, 8)


@dataclass(frozen=True, slots=True)
class _Windows:
    """The constant text of a template as windows of `width` bytes that together cover it.

    Window i begins `offset[i]` bytes from the begin of segment `segment[i]`. It may cover other bytes of the line too:
    `text` says what is expected under `mask` (both windows x width / 8 words).
    """

    width: int
    segment: Positions
    offset: Positions
    text: Words
    mask: Words

    @staticmethod
    def of(segments: Sequence[bytes]) -> _Windows:
        """The widest windows that surely lie within a line of these segments."""
        for width in _WINDOWS:
            found = [window for number in range(len(segments)) for window in _covering(segments, number, width)]
            if all(len(text) == width for _, _, text, _ in found):
                numbers, offsets, texts, masks = zip(*found, strict=True)
                return _Windows(
                    width,
                    np.array(numbers),
                    np.array(offsets)[:, None],
                    np.frombuffer(b"".join(texts), "<u8"),
                    np.frombuffer(b"".join(masks), "<u8"),
                )
        raise _Unsupported

    def equal(self, lines: QuotedLines, segment_at: Positions) -> Mask:
        """Whether the lines whose segments begin at `segment_at` have this text. Every line is as long as its text."""
        # Line by line: what is expected of one line is then one long row.
        places = np.ascontiguousarray((segment_at[self.segment] + self.offset).T)
        found = lines.windows(self.width)[places].view("<u8")
        found ^= self.text
        found &= self.mask
        return np.bitwise_or.reduce(found, axis=1) == 0


def _covering(segments: Sequence[bytes], number: int, width: int) -> Iterator[tuple[int, int, bytes, bytes]]:
    """Windows over one segment: its number, where from its begin, text and mask; shorter ones where none fits."""
    text = segments[number]
    if len(text) >= width:
        for offset in (*range(0, len(text) - width, width), len(text) - width):
            yield number, offset, text[offset : offset + width], b"\xff" * width
        return
    blank = width - len(text)
    if sum(map(len, segments[number:])) >= width:  # what follows in the line surely fills the window
        yield number, 0, text + bytes(blank), b"\xff" * len(text) + bytes(blank)
    elif sum(map(len, segments[: number + 1])) >= width:  # what precedes does
        yield number, -blank, bytes(blank) + text, bytes(blank) + b"\xff" * len(text)
    else:
        yield number, 0, text, b""


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
        # What `match` needs of all this, as columns. Only the last value can have no quote behind it.
        self._length = np.array([[len(segment)] for segment in self.segments])
        self._quote = np.array([[quote] for quote, _, _ in self.anchors if quote >= 0], np.int64).reshape(-1, 1)
        self._back = np.array([[back] for _, back, _ in self.anchors], np.int64).reshape(-1, 1)
        self._numbers = np.flatnonzero([is_number for _, _, is_number in self.anchors])
        self._windows = _Windows.of(self.segments)

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
        """Read an object or array; its strings and its objects' numbers are variables, all else is constant text.

        Numbers of an array have no quotes between them to be found by.
        """
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
            elif found := _NUMBER_AT.match(self._line, self._at):
                if is_object:
                    self._variables.append((self._at, found.end(), True))
                self._at = found.end()
            elif found := _LITERAL.match(self._line, self._at):
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
        starts, ends = lines.spans.starts[rows], lines.spans.ends[rows]
        at = np.empty((len(self.segments), len(rows)), np.int64)
        at[0] = starts
        at[1 : 1 + len(self._quote)] = lines.quotes[lines.first_quote[rows] + self._quote]
        if len(self._quote) < len(self.anchors):
            at[-1] = ends
        at[1:] -= self._back
        after = at + self._length
        fits: Mask = np.logical_and.reduce(after[:-1] <= at[1:], axis=0) & (after[-1] == ends)
        found = Match(rows, at, after).take(fits)
        found = found.take(self._windows.equal(lines, found.segment_at))
        if not len(self._numbers):
            return found
        valid = _are_numbers(lines, found.value_at[self._numbers].ravel(), found.segment_at[self._numbers + 1].ravel())
        return found.take(np.logical_and.reduce(valid.reshape(len(self._numbers), -1), axis=0))

    def columns(self, lines: QuotedLines, found: Match, keys: Sequence[Key]) -> list[pa.StringArray]:
        """Text of some keys, in the template's order, in the matched lines: escapes resolved, nested as they stand."""
        rows = len(found.rows)
        wanted = np.array([key.value for key in keys if key.kind in ("string", "number")], np.int64)
        # Line by line the values ascend; one by one they are taken.
        order = np.arange(len(wanted))[:, None] + len(wanted) * np.arange(rows)
        values = gather(
            lines.spans.content,
            found.value_at[wanted].T.ravel(),
            found.segment_at[wanted + 1].T.ravel(),
            order.ravel(),
        )
        has_escapes = bool(lines.escaped[found.rows].any())
        columns: list[pa.StringArray] = []
        taken = 0
        for key in keys:
            if key.kind == "null":
                columns.append(pa.nulls(rows, pa.string()))
            elif key.kind == "bool":
                columns.append(pa.repeat(key.constant, rows))
            elif key.kind == "nested":
                begin = found.segment_at[key.begin[0]] + key.begin[1]
                end = found.segment_at[key.end[0]] + key.end[1]
                columns.append(as_text(gather(lines.spans.content, begin, end)))
            else:
                column = values.slice(taken * rows, rows)
                taken += 1
                columns.append(as_text(unescape(column) if has_escapes and key.kind == "string" else column))
        return columns


_ZEROS = np.uint64(0x3030303030303030)
_HIGH_BITS = np.uint64(0x8080808080808080)
_OVER_NINE = np.uint64(0x7676767676767676)
_BYTE = np.uint64(0xFF)
# Mask of the first n bytes of a word.
_FIRST_BYTES = np.array([(1 << 8 * size) - 1 for size in range(9)], np.uint64)


def _are_numbers(lines: QuotedLines, begin: Positions, end: Positions) -> Mask:
    """Whether each piece is a JSON number. Up to eight plain digits are checked here, the rest by expression."""
    length = end - begin
    words = lines.windows(8)
    if not len(words):
        return np.zeros(len(begin), np.bool_)
    word = words[np.minimum(begin, len(words) - 1)].view("<u8")
    digits = (word ^ _ZEROS) & _FIRST_BYTES[np.minimum(length, 8)]
    # Above nine, a byte's high bit is set after adding 0x76, or was before.
    valid = ((digits + _OVER_NINE) | digits) & _HIGH_BITS == 0
    valid &= (length > 0) & (length <= 8) & (begin < len(words))
    valid &= (length == 1) | (digits & _BYTE != 0)
    rest = np.flatnonzero(~valid)
    rest = rest[(length[rest] > 0) & (length[rest] <= _LONGEST_NUMBER)]
    if len(rest):
        order = np.argsort(begin[rest], kind="stable")
        rest = rest[order]
        texts = gather(lines.spans.content, begin[rest], end[rest])
        valid[rest] = pc.match_substring_regex(texts, _NUMBER).to_numpy(zero_copy_only=False)
    return valid
