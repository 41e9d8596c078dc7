"""Envoy's text access logs: a layout of quoted fields and words, cut by the places of quotes and spaces.

The text formats escape nothing, so a header may hold quotes and spaces. Two ways lead to columns:

1. A line with exactly the layout's own quotes is unambiguous: its fields lie between known quotes and spaces.
2. Other lines go through an expression (RE2: linear time) whose readings all hold two marks that the proxy writes into
   every line: the end of a request line with a status, and an upstream with its cluster and addresses. Where a mark
   stands more than once, a caller wrote one of them, and nothing tells which: the line is refused. So what a caller
   puts into a path, a header or the name in TLS can garble those, never the status, the sizes, the upstream or the
   addresses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from collector.decode.spans import Bytes, Positions, Spans, as_text, gather, not_utf8

_REQUEST = ("method", "path", "protocol")
_PROTOCOL = r"HTTP/[0-9.]+|-"
_UPSTREAM, _CLUSTER, _ADDRESS = r'[^"\s]*', r'[^"\s]+', r'-|[^"\s]*[:/@][^"\s]*'
# What every line of a layout holds once, if no caller wrote it. Neither can overlap with another of its kind.
_STATUS_MARK = rf' (?:{_PROTOCOL})" [0-9]'
_UPSTREAM_MARK = rf'"{_UPSTREAM}" {_CLUSTER}(?: (?:{_ADDRESS})){{3}}(?: |$)'
_WORD_PATTERN: Mapping[str, str] = {
    "response_code": r"[0-9]{1,4}",
    "response_flags": r"[A-Za-z0-9_,-]+",
    # No number, which in its place means a layout without details.
    "response_code_details": r'-|[^"\s0-9]\S*',
    "connection_termination_details": r".+?",
    "bytes_received": r"-|-?[0-9]+",
    "bytes_sent": r"-|-?[0-9]+",
    "duration_ms": r"-|-?[0-9]+(?:\.[0-9]+)?",
    "upstream_service_time_ms": r"\S+",
    "upstream_cluster": _CLUSTER,
    "upstream_local_address": _ADDRESS,
    "downstream_local_address": _ADDRESS,
    "downstream_remote_address": _ADDRESS,
    "route_name": r".+",
}
_QUOTED_PATTERN: Mapping[str, str] = {
    "upstream_transport_failure_reason": r".*?",
    "x_forwarded_for": r".*?",
    "user_agent": r".*",
    "request_id": r".*?",
    "upstream_host": _UPSTREAM,
}
_AMBIGUOUS = "ambiguous: {} stands in it {} times, expected once: a caller wrote one of them"

# Bytes cut at a time: a block, and what is found in it, stay in the cache.
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Cut:
    """Lines of one layout: `rows` of the batch, and the text of each field, in the order of `rows`."""

    rows: Positions
    fields: Mapping[str, pa.StringArray]


class Layout:
    """A text format: after `[start_time]`, fields in order, those of `quoted` in double quotes; `request` is three."""

    def __init__(self, fields: Sequence[str]) -> None:
        """`fields` are written as they stand: `"request"`, `response_code`, ..."""
        self.fields = tuple(fields)
        self.names = ("start_time", *(n for f in fields for n in (_REQUEST if f == '"request"' else (f.strip('"'),))))
        self.quotes = 2 * sum(field.startswith('"') for field in fields)
        # RE2 wants every group named; dots must match anything but the line break that a line does not have.
        self.expression = "(?s)^" + self._pattern() + "$"
        self.marks = {_STATUS_MARK: "the end of a request line"}
        if "upstream_cluster" in self.fields:
            self.marks[_UPSTREAM_MARK] = "an upstream with its cluster"

    def _pattern(self) -> str:
        parts = [r"\[(?P<start_time>[^\]\s]+)\]"]
        for given in self.fields:
            if given == '"request"':
                parts.append(r'"(?P<method>\S*) (?P<path>.*?) (?P<protocol>' + _PROTOCOL + ')"')
            elif given.startswith('"'):
                name = given.strip('"')
                pattern = _QUOTED_PATTERN.get(name, r'[^"]*')
                parts.append(f'"(?P<{name}>{pattern})"')
            else:
                pattern = _WORD_PATTERN.get(given, r"\S+")
                parts.append(f"(?P<{given}>{pattern})")
        return " ".join(parts)

    def cut_plain(self, spans: Spans) -> Cut | None:
        """The lines with this layout and no quotes but its own; None where there are none."""
        plain: list[Cut] = []
        first = 0
        while first < len(spans):
            block = spans.block(first, _BLOCK_BYTES)
            found = self._cut_plain(block)
            if len(found.rows):
                plain.append(Cut(found.rows + first, found.fields))
            first += len(block)
        return _joined(plain) if plain else None

    def cut_odd(self, lines: pa.StringArray) -> tuple[Cut, list[tuple[int, str]], Positions]:
        """Lines whose headers may hold quotes and blanks.

        Returns:
            those with this layout, those that could be read in several ways with the reason, and the rows of all
            others, ascending.
        """
        found = pc.extract_regex(lines, self.expression)
        matched = found.is_valid().to_numpy(zero_copy_only=False)
        rest = np.flatnonzero(~matched)
        rows = np.flatnonzero(matched)
        own = lines.take(pa.array(rows))
        ambiguous: dict[int, str] = {}
        for mark, words in self.marks.items():
            count = pc.count_substring_regex(own, mark).to_numpy(zero_copy_only=False)
            for row in np.flatnonzero(count != 1).tolist():
                ambiguous.setdefault(row, _AMBIGUOUS.format(words, count[row]))
        refused = [(int(rows[row]), reason) for row, reason in ambiguous.items()]
        kept = np.ones(len(rows), np.bool_)
        kept[list(ambiguous)] = False
        fields = found.filter(pa.array(matched)).filter(pa.array(kept))
        return Cut(rows[kept], {name: fields.field(name) for name in self.names}), refused, rest

    def _cut_plain(self, block: Spans) -> Cut:
        content = block.content
        quotes, spaces = np.flatnonzero(content == 34), np.flatnonzero(content == 32)
        first_quote = np.searchsorted(quotes, block.starts)
        fits = (np.searchsorted(quotes, block.ends) - first_quote == self.quotes) & ~not_utf8(block)
        rows = np.flatnonzero(fits)
        cutter = _Cutter(content, spaces, quotes, first_quote[rows], block.starts[rows], block.ends[rows])
        cutter.run(self.fields)
        kept = np.flatnonzero(cutter.good)
        rows = rows[kept]
        fields: dict[str, pa.StringArray] = {}
        if len(rows):
            # Line by line the fields ascend; one by one they are taken.
            begin = np.stack([cutter.pieces[name][0][kept] for name in self.names], axis=1)
            end = np.stack([cutter.pieces[name][1][kept] for name in self.names], axis=1)
            order = np.arange(len(self.names))[:, None] + len(self.names) * np.arange(len(rows))
            values = gather(content, begin.ravel(), end.ravel(), order.ravel())
            for number, name in enumerate(self.names):
                fields[name] = as_text(values.slice(number * len(rows), len(rows)))
        return Cut(rows, fields)


def _joined(cuts: Sequence[Cut]) -> Cut:
    """The lines of several blocks."""
    fields = {name: pa.concat_arrays([cut.fields[name] for cut in cuts]) for name in cuts[0].fields}
    return Cut(np.concatenate([cut.rows for cut in cuts]), fields)


class _Cutter:
    """Walks along a layout in all lines at once; `good` falls where a line does not follow."""

    def __init__(
        self, content: Bytes, spaces: Positions, quotes: Positions, first: Positions, starts: Positions, ends: Positions
    ) -> None:
        # One blank behind the end, so that looking one place too far is harmless.
        self.content = content
        self.last = max(len(content) - 1, 0)
        self.spaces = np.append(spaces, np.int64(len(content) + 1))
        self.quotes, self.first, self.starts, self.ends = quotes, first, starts, ends
        self.good = np.ones(len(starts), np.bool_)
        self.pieces: dict[str, tuple[Positions, Positions]] = {}

    def _is(self, places: Positions, byte: int) -> None:
        self.good &= self.content[np.minimum(places, self.last)] == byte

    def run(self, fields: Sequence[str]) -> None:
        """Find the bounds of every field."""
        if not len(self.starts):
            return
        opening = self.quotes[self.first]
        self._is(self.starts, 91)
        self._is(opening - 1, 32)
        self._is(opening - 2, 93)
        self.good &= opening - self.starts >= 4
        self.pieces["start_time"] = (self.starts + 1, np.maximum(opening - 2, self.starts + 1))
        quote = 0
        at = opening  # where the next field begins
        index = 0
        while index < len(fields):
            name = fields[index]
            if name.startswith('"'):
                begin, end = self.quotes[self.first + quote], self.quotes[self.first + quote + 1]
                self.good &= at == begin
                quote += 2
                if name == '"request"':
                    self._request(begin + 1, end)
                else:
                    self.pieces[name.strip('"')] = (begin + 1, end)
                at = end + 2
                index += 1
                if index < len(fields):
                    self._is(end + 1, 32)
                else:
                    self.good &= end + 1 == self.ends
                continue
            # A run of words up to the next quote, or to the end of the line.
            words: list[str] = []
            while index < len(fields) and not fields[index].startswith('"'):
                words.append(fields[index])
                index += 1
            limit = self.quotes[self.first + quote] if index < len(fields) else self.ends + 1
            at = self._words(words, at, limit)

    def _words(self, names: Sequence[str], at: Positions, limit: Positions) -> Positions:
        """Words separated by single spaces, which fill `at`..`limit - 1`; returns where the next field begins."""
        space = np.searchsorted(self.spaces, at)
        for number, name in enumerate(names):
            is_last = number == len(names) - 1
            end = limit - 1 if is_last else self.spaces[np.minimum(space + number, len(self.spaces) - 1)]
            self.good &= (end > at) & (end < limit)
            self.pieces[name] = (np.minimum(at, end), end)
            if is_last:
                # No space inside the last word, and one behind it unless it ends the line.
                following = self.spaces[np.minimum(space + number, len(self.spaces) - 1)]
                self.good &= (following == end) | ((following > end) & (end == self.ends))
            at = end + 1
        return at

    def _request(self, begin: Positions, end: Positions) -> None:
        """`METHOD PATH PROTOCOL`: cut at the first and the last space."""
        first = np.searchsorted(self.spaces, begin)
        last = np.searchsorted(self.spaces, end) - 1
        self.good &= last > first
        first_space, last_space = self.spaces[first], self.spaces[np.maximum(last, 0)]
        first_space, last_space = np.minimum(first_space, end), np.clip(last_space, begin, end)
        self.good &= first_space < last_space
        safe_last = np.maximum(last_space, np.minimum(first_space + 1, end))
        self.pieces["method"] = (begin, first_space)
        self.pieces["path"] = (np.minimum(first_space + 1, end), safe_last)
        self.pieces["protocol"] = (np.minimum(safe_last + 1, end), end)


def readable(lines: Spans) -> pa.StringArray:
    """As text; bytes that are no UTF-8 become backslash escapes."""
    text = lines.array()
    bad = not_utf8(Spans.of(text))
    if not bad.any():
        return text.cast(pa.string())
    return pa.array([line.as_py().decode("utf-8", "backslashreplace") for line in text], pa.string())
