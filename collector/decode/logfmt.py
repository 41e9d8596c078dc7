"""Lines of `key=value` fields (logfmt) → text columns by key, for all lines at once.

A value is a word or a quoted text in which a backslash escapes. What separates fields is a blank outside quotes, so no
text inside quotes can pass for a field. Lines with a backslash, a key twice, or bytes that are no UTF-8 are read one by
one; they are rare, and the slow way says the same of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from collector.decode.limits import Limits
from collector.decode.spans import Mask, Positions, Spans, as_text, gather, not_utf8

_FIELD = re.compile(r'(?P<key>[^\s="\\]+)=(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<word>[^\s"\\]*))(?P<end>[ \t]+|$)')
_ESCAPE = re.compile(r"\\(?:u\{(?P<code>[0-9a-fA-F]{1,6})\}|(?P<plain>.))", re.DOTALL)
_PLAIN = {"n": "\n", "r": "\r", "t": "\t", "0": "\0"}
_BLOCK_BYTES = 1 << 18
"""Bytes cut at a time: a block, and what is found in it, stay in the cache."""
_QUOTE, _EQUALS, _BACKSLASH = 34, 61, 92


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of lines, row by row."""

    columns: Mapping[str, pa.StringArray]
    """Text of every known key that occurs; null where a line does not have it."""
    extra: pa.MapArray
    """Every other key with its text."""
    wrong: Mapping[int, str]
    """Lines that are no list of fields, with the reason; they have no text in the columns."""


def cut_fields(spans: Spans, known: Sequence[str], limits: Limits, joined: Set[str] = frozenset()) -> Fields:
    """Cut lines into fields.

    Args:
        spans: one list of fields each, without blanks around it.
        known: keys wanted as columns.
        limits: how many keys a line may have, and how long a value may be.
        joined: known keys that may stand in a line more than once; their texts are joined by `; `.
    """
    parts: list[tuple[int, Mask, _Tokens]] = []
    first = 0
    while first < len(spans):
        block = spans.block(first, _BLOCK_BYTES)
        parts.append((first, *_tokens(block)))
        first += len(block)
    fast = np.concatenate([np.zeros(0, np.bool_), *(part for _, part, _ in parts)])
    slow: list[tuple[int, str, str]] = []
    wrong: dict[int, str] = {}
    for row in np.flatnonzero(~fast).tolist():
        found = line_fields(spans[row].decode("utf-8", "backslashreplace"), limits, joined)
        if isinstance(found, str):
            wrong[row] = found
        else:
            slow += ((row, key, value) for key, value in found.items())
    keys = [
        *(part.keys for _, _, part in parts),
        pa.array([key for _, key, _ in slow], pa.string()).dictionary_encode(),
    ]
    keys = pa.chunked_array(keys).unify_dictionaries()
    names = keys.chunk(0).dictionary.to_pylist()
    code = np.concatenate([chunk.indices.to_numpy() for chunk in keys.chunks])
    values = pa.concat_arrays(
        [*(part.values for _, _, part in parts), pa.array([text for *_, text in slow], pa.string())]
    )
    rows = np.concatenate([*(part.row + at for at, _, part in parts), np.array([row for row, *_ in slow], np.int64)])
    for row, reason in _excess(rows, values, limits).items():
        wrong.setdefault(row, reason)
    kept = ~np.isin(rows, list(wrong))
    columns: dict[str, pa.StringArray] = {}
    for name in known:
        if name in names:
            at = np.flatnonzero(kept & (code == names.index(name)))
            place = np.full(len(spans), -1, np.int64)
            place[rows[at]] = at
            columns[name] = values.take(pa.array(place, mask=place < 0))
    is_extra = np.array([*(name not in known for name in names), False], np.bool_)
    others = np.flatnonzero(kept & is_extra[code])
    others = others[np.argsort(rows[others], kind="stable")]
    offsets = np.zeros(len(spans) + 1, np.int32)
    np.cumsum(np.bincount(rows[others], minlength=len(spans)), out=offsets[1:])
    extra_keys = pa.array(names, pa.string()).take(pa.array(code[others]))
    extra = pa.MapArray.from_arrays(pa.array(offsets), extra_keys, values.take(pa.array(others)))
    return Fields(columns, extra, wrong)


@dataclass(frozen=True, slots=True)
class _Tokens:
    """Fields of the lines of a block that were cut at once, ascending."""

    row: Positions
    keys: pa.DictionaryArray
    values: pa.StringArray


def _tokens(spans: Spans) -> tuple[Mask, _Tokens]:
    """Which lines could be cut at once, and their fields."""
    content, starts, ends = spans.content, spans.starts, spans.ends
    if not len(content):
        nothing = pa.array([], pa.string())
        return np.zeros(len(starts), np.bool_), _Tokens(np.zeros(0, np.int64), nothing, nothing)
    quotes = np.flatnonzero(content == _QUOTE)
    blanks = np.flatnonzero((content == 32) | (content == 9))
    row = np.searchsorted(starts, blanks, side="right") - 1
    # A blank with an even number of quotes before it in its line stands between fields.
    outside = (np.searchsorted(quotes, blanks) - np.searchsorted(quotes, starts)[row]) % 2 == 0
    outside &= blanks < ends[row]
    cuts = blanks[outside]
    first = np.sort(np.concatenate([starts, cuts + 1]))
    last = np.sort(np.concatenate([ends, cuts]))
    row = np.searchsorted(starts, first, side="right") - 1
    filled = first < last  # nothing stands between two blanks in a row
    first, last, row = first[filled], last[filled], row[filled]

    equals = np.append(np.flatnonzero(content == _EQUALS), len(content))
    equal = equals[np.searchsorted(equals, first)]
    good = (equal > first) & (equal < last)
    equal = np.where(good, equal, first)
    value, end = np.minimum(equal + 1, last), last
    in_key = np.searchsorted(quotes, equal) - np.searchsorted(quotes, first)
    in_value = np.searchsorted(quotes, end) - np.searchsorted(quotes, value)
    quoted = (value < end) & (content[np.minimum(value, len(content) - 1)] == _QUOTE)
    closed = (end - value >= 2) & (content[end - 1] == _QUOTE) & (in_value == 2)
    good &= (in_key == 0) & np.where(quoted, closed, in_value == 0)

    fast = ~not_utf8(spans)
    fast[row[~good]] = False
    fast[np.searchsorted(starts, np.flatnonzero(content == _BACKSLASH), side="right") - 1] = False
    fast[ends == starts] = False
    kept = fast[row]
    first, equal, row = first[kept], equal[kept], row[kept]
    value, end = (value + quoted)[kept], (end - quoted)[kept]
    keys = as_text(gather(content, first, equal)).dictionary_encode()
    pair = row * max(len(keys.dictionary), 1) + keys.indices.to_numpy()
    twice = pa.array(pair).value_counts()
    again = twice.field("values").filter(pc.greater(twice.field("counts"), 1)).to_numpy(zero_copy_only=False)
    if len(again):
        fast[again // len(keys.dictionary)] = False
        kept = fast[row]
        first, equal, row, value, end = first[kept], equal[kept], row[kept], value[kept], end[kept]
        keys = as_text(gather(content, first, equal)).dictionary_encode()
    return fast, _Tokens(row, keys, as_text(gather(content, value, end)))


def line_fields(line: str, limits: Limits, joined: Set[str]) -> dict[str, str] | str:
    """One line the slow way; a text says what is wrong with it."""
    found: dict[str, str] = {}
    at = 0
    while at < len(line):
        match = _FIELD.match(line, at)
        if match is None:
            return f'no field at character {at}: {line[at : at + 40]!r}, expected key=value or key="text"'
        key = match["key"]
        value = match["word"] if match["quoted"] is None else _ESCAPE.sub(_unescaped, match["quoted"])
        if key in found and key not in joined:
            return f"{key[:40]!r} twice, expected every field once"
        found[key] = f"{found[key]}; {value}" if key in found else value
        if len(found) > limits.keys:
            return f"more than {limits.keys} fields"
        at = match.end()
    return found


def _unescaped(match: re.Match[str]) -> str:
    if match["code"]:
        code = int(match["code"], 16)
        return chr(code) if code < 0xD800 or 0xDFFF < code < 0x110000 else "\ufffd"
    return _PLAIN.get(match["plain"], match["plain"])


def _excess(rows: Positions, values: pa.StringArray, limits: Limits) -> dict[int, str]:
    """Lines beyond the limits."""
    if not len(rows):
        return {}
    offsets = np.frombuffer(values.buffers()[1], np.int32)[values.offset : values.offset + len(values) + 1]
    long = rows[np.diff(offsets) > limits.value_bytes]
    many = np.flatnonzero(np.bincount(rows) > limits.keys)
    return {
        **dict.fromkeys(many.tolist(), f"more than {limits.keys} fields"),
        **dict.fromkeys(long.tolist(), f"a field is longer than {limits.value_bytes} bytes"),
    }
