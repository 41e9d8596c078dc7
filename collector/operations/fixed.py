"""The fixed rule: a path segment that looks generated is `{id}`, whoever's path it is.

`GET /orders/8271/items?page=2` is the operation `GET /orders/{id}/items`. It needs no knowledge, so decoders use it.
`template_path` says the rule for one path; `operations` does the same for columns.
"""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from collector.decode.spans import Bytes, Mask, Positions, as_text, bounds, gather

ID = "{id}"
REST = "**"
MAX_SEGMENTS = 12
"""Further segments become one `**`."""
LONGEST_WORD = 40
"""A longer segment, in characters, is no word of an interface."""

METHODS = frozenset(
    (
        *("ACL", "BASELINE-CONTROL", "BIND", "CHECKIN", "CHECKOUT", "CONNECT", "COPY", "DELETE", "GET", "HEAD"),
        *("LABEL", "LINK", "LOCK", "MERGE", "MKACTIVITY", "MKCALENDAR", "MKCOL", "MKREDIRECTREF", "MKWORKSPACE"),
        *("MOVE", "OPTIONS", "ORDERPATCH", "PATCH", "POST", "PRI", "PROPFIND", "PROPPATCH", "PURGE", "PUT", "QUERY"),
        *("REBIND", "REPORT", "SEARCH", "TRACE", "UNBIND", "UNCHECKOUT", "UNLINK", "UNLOCK", "UPDATE"),
        *("UPDATEREDIRECTREF", "VERSION-CONTROL"),
    )
)
"""IANA's registry of HTTP methods, and PURGE, which caches have."""
OTHER_METHOD = "_OTHER"

_VERSION = r"^v[0-9]{1,3}(?:[a-z]+[0-9]*)?(?:[._][0-9]+)*$"
# What a segment must hold to be generated, when it has a digit. The syntax is common to `re` and RE2.
_WITH_DIGIT = "|".join(
    (
        r"^[0-9a-fA-F-]{8,}$",  # UUIDs, hashes
        r"(?:^|[-_.:~])[0-9]+(?:$|[-_.:~])",  # numbers, order-17, report_2024.pdf
        r"^[A-Z0-9]{6,}$",  # product codes
        r"[0-9][^0-9]*[0-9][^0-9]*[0-9]",  # user123; words of interfaces (oauth2, base64) have fewer digits
    )
)
_ALWAYS = r"[@%]|^[^-_.]{32,}$"  # mail addresses, escaped text, tokens
_TOKEN = r"^[^-_.]*[0-9][^-_.]*[0-9][^-_.]*$"  # of mixed case: dQw4w9WgXcQ, but not GetV2Order

_digit, _lower, _upper = re.compile("[0-9]"), re.compile("[a-z]"), re.compile("[A-Z]")
_with_digit, _always, _version, _token = (re.compile(p) for p in (_WITH_DIGIT, _ALWAYS, _VERSION, _TOKEN))
_SLASH, _QUESTION = ord("/"), ord("?")
_ODD = b"#;\n"
_SAMPLE = 1024
"""Rows that tell whether paths repeat themselves or not (an id in every one)."""


def is_generated(segment: str) -> bool:
    """Whether a path segment looks like an id rather than a word of the interface."""
    if len(segment) > LONGEST_WORD or _always.search(segment):
        return True
    if not _digit.search(segment) or _version.search(segment):
        return False
    if _with_digit.search(segment):
        return True
    return bool(_token.search(segment) and _lower.search(segment) and _upper.search(segment))


def template_path(path: str) -> str:
    """The template of one path: no query, fragment or matrix parameters, ids replaced, at most MAX_SEGMENTS segments.

    An absolute URI keeps its path only. `""` stays `""`.
    """
    path = re.split(r"[?#]", path, maxsplit=1)[0]
    if match := re.match(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]*", path):
        path = path[match.end() :] or "/"
    if not path:
        return ""
    segments = [part for part in (part.split(";", 1)[0].replace("\n", " ") for part in path.split("/")) if part]
    kept = [ID if is_generated(part) else part for part in segments[:MAX_SEGMENTS]]
    if len(segments) > MAX_SEGMENTS:
        kept.append(REST)
    return "/" + "/".join(kept)


def _generated(segments: pa.StringArray) -> np.ndarray:
    """`is_generated` of every segment (bool)."""

    def has(text: pa.StringArray, pattern: str) -> np.ndarray:
        return pc.match_substring_regex(text, pattern).to_numpy(zero_copy_only=False)

    number = pc.ascii_is_decimal(segments).to_numpy(zero_copy_only=False)
    generated = number.copy()
    rest = np.flatnonzero(~number)
    words = segments.take(pa.array(rest))
    generated[rest] = (pc.utf8_length(words).to_numpy() > LONGEST_WORD) | has(words, _ALWAYS)
    rest = rest[has(words, "[0-9]") & ~generated[rest]]
    for pattern, also in ((_WITH_DIGIT, ()), (_TOKEN, ("[a-z]", "[A-Z]"))):
        words = segments.take(pa.array(rest))
        hit = has(words, pattern)
        for more in also:
            hit &= has(words, more)
        generated[rest[hit & ~has(words, _VERSION)]] = True
        rest = rest[~hit]
    return generated


def template_paths(paths: pa.StringArray) -> pa.StringArray:
    """`template_path` of every path; no nulls. Paths of unusual form take the slow way, one by one."""
    content, starts, ends = bounds(paths)
    if not len(starts) or starts[0] == ends[-1]:
        return paths
    content, starts, ends = content[int(starts[0]) : int(ends[-1])], starts - starts[0], ends - starts[0]
    ends = _before_query(content, starts, ends)
    odd = _unusual(content, starts, ends)
    # What is left is `/a/b/c`, end to end: every slash begins a segment, whose text holds it.
    kept = gather(content, starts, np.where(odd, starts, ends))
    content, starts, ends = bounds(kept)
    slashes = np.flatnonzero(content == _SLASH)
    first = np.searchsorted(slashes, np.append(starts, ends[-1:]))
    odd |= np.diff(first) > MAX_SEGMENTS
    offsets = np.append(slashes, len(content)).astype(np.int32)
    segments = pa.StringArray.from_buffers(len(slashes), pa.py_buffer(offsets), kept.buffers()[2]).dictionary_encode()
    places, begins, stops = bounds(segments.dictionary)
    words = as_text(gather(places, begins + 1, stops))
    templates = pc.if_else(pa.array(_generated(words)), f"/{ID}", segments.dictionary).take(segments.indices)
    joined = _regrouped(templates, first)
    if odd.any():
        slow = [template_path(path) for path in paths.filter(pa.array(odd)).to_pylist()]
        joined = pc.replace_with_mask(joined, pa.array(odd), pa.array(slow, pa.string()))
    return joined


def _before_query(content: Bytes, starts: Positions, ends: Positions) -> Positions:
    """Where each path ends: at its first question mark, or at its end."""
    marks = np.flatnonzero(content == _QUESTION)
    if not len(marks):
        return ends
    # A path without a mark gets that of a later one, or the end of all.
    mark = np.append(marks, len(content))[np.searchsorted(marks, starts)]
    return np.minimum(mark, ends)


def _unusual(content: Bytes, starts: Positions, ends: Positions) -> Mask:
    """Which paths are not just words between single slashes."""
    filled = ends > starts
    last = len(content) - 1
    odd = filled & (content[np.minimum(starts, last)] != _SLASH)
    odd |= (ends > starts + 1) & (content[np.maximum(ends - 1, 0)] == _SLASH)
    slash = content == _SLASH
    marks = [np.flatnonzero(content == byte) for byte in _ODD]
    marks.append(np.flatnonzero(slash[1:] & slash[:-1]) + 1)
    for places in marks:
        if len(places):
            row = np.searchsorted(starts, places, side="right") - 1
            inside = (places < ends[row]) & ((places > starts[row]) | (content[places] != _SLASH))
            odd[row[inside]] = True
    return odd


def _regrouped(pieces: pa.StringArray, first: Positions) -> pa.StringArray:
    """Row i is the text of the pieces `first[i]`..`first[i + 1]`, end to end; zero-copy."""
    offsets = np.frombuffer(pieces.buffers()[1], np.int32)[first] if len(pieces) else first.astype(np.int32)
    return pa.StringArray.from_buffers(len(first) - 1, pa.py_buffer(offsets), pieces.buffers()[2])


def operations(methods: pa.Array, paths: pa.Array) -> pa.DictionaryArray:
    """Operation of every row: `METHOD TEMPLATE`, or what of the two is known, or `""`.

    A method that nobody registered is `_OTHER`: it is hostile text like all the rest.
    """
    method = _dictionary(methods)
    verbs = [verb if not verb or verb in METHODS else OTHER_METHOD for verb in method.dictionary.to_pylist()]
    templates = _templates(paths)
    codes = templates.indices.to_numpy().astype(np.int64)
    pair = pa.array(method.indices.to_numpy().astype(np.int64) * len(templates.dictionary) + codes).dictionary_encode()
    texts = templates.dictionary.to_pylist()
    names = [f"{verbs[key // len(texts)]} {texts[key % len(texts)]}".strip(" ") for key in pair.dictionary.to_pylist()]
    distinct = pa.array(names, pa.string()).dictionary_encode()
    return pa.DictionaryArray.from_arrays(distinct.indices.take(pair.indices), distinct.dictionary)


def _templates(paths: pa.Array) -> pa.DictionaryArray:
    if pa.types.is_dictionary(paths.type):
        paths = paths.cast(pa.string())
    paths = paths.fill_null("") if paths.null_count else paths
    if len(paths.slice(0, _SAMPLE).unique()) > min(_SAMPLE, len(paths)) // 2:
        return template_paths(paths).dictionary_encode()
    path = paths.dictionary_encode()
    templates = template_paths(path.dictionary).dictionary_encode()
    return pa.DictionaryArray.from_arrays(templates.indices.take(path.indices), templates.dictionary)


def _dictionary(column: pa.Array) -> pa.DictionaryArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(pa.string())
    return (column.fill_null("") if column.null_count else column).dictionary_encode()
