"""Method and path template: one name for all calls of one kind, so that rollups stay small.

`GET /orders/8271/items?page=2` is the operation `GET /orders/{id}/items`. The templates here are stateless: a segment
that looks generated becomes `{id}`. `template_path` says the rule for one path; `operations` does the same for columns.
"""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

ID = "{id}"
MAX_SEGMENTS = 12
"""Further segments become one `**`."""
LONGEST_WORD = 40
"""A longer segment, in characters, is no word of an interface."""

_METHOD = re.compile(r"[A-Z][A-Z_-]{0,19}")
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
_ODD = r"^[^/]|[#;\n]|//|./$"


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
        kept.append("**")
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
    if len(paths) == 0:
        return paths
    with_query = pc.match_substring(paths, "?")
    if pc.any(with_query).as_py():
        paths = pc.list_element(pc.split_pattern(paths, "?", max_splits=1), 0)
    lists = pc.split_pattern(paths, "/")
    segments = lists.flatten().dictionary_encode()
    words = segments.dictionary
    templates = pc.if_else(pa.array(_generated(words)), ID, words).take(segments.indices)
    joined = pc.binary_join(pa.ListArray.from_arrays(lists.offsets, templates), "/")
    odd = pc.match_substring_regex(paths, _ODD).to_numpy(zero_copy_only=False)
    odd = np.flatnonzero(odd | (pc.list_value_length(lists).to_numpy() > MAX_SEGMENTS + 1))
    if len(odd):
        slow = pa.array([template_path(path) for path in paths.take(pa.array(odd)).to_pylist()], pa.string())
        mask = np.zeros(len(paths), np.bool_)
        mask[odd] = True
        joined = pc.replace_with_mask(joined, pa.array(mask), slow)
    return joined


def operations(methods: pa.Array, paths: pa.Array) -> pa.DictionaryArray:
    """Operation of every row: `METHOD TEMPLATE`, or what of the two is known, or `""`.

    A method that is no upper-case word of at most 20 letters is `_OTHER`: it is hostile text like all the rest.
    """
    method = _dictionary(methods)
    path = _dictionary(paths)
    verbs = [verb if not verb or _METHOD.fullmatch(verb) else "_OTHER" for verb in method.dictionary.to_pylist()]
    templates = template_paths(path.dictionary).dictionary_encode()
    codes = templates.indices.to_numpy()[path.indices.to_numpy()].astype(np.int64)
    pair = pa.array(method.indices.to_numpy().astype(np.int64) * len(templates.dictionary) + codes).dictionary_encode()
    texts = templates.dictionary.to_pylist()
    names = [f"{verbs[key // len(texts)]} {texts[key % len(texts)]}".strip(" ") for key in pair.dictionary.to_pylist()]
    distinct = pa.array(names, pa.string()).dictionary_encode()
    return pa.DictionaryArray.from_arrays(distinct.indices.take(pair.indices), distinct.dictionary)


def _dictionary(column: pa.Array) -> pa.DictionaryArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(pa.string())
    return (column.fill_null("") if column.null_count else column).dictionary_encode()
