"""Templates learnt per service: where the paths of a service take too many values in one place, the place is `{id}`.

A pure function of a *set* of paths: their order and number play no part, and learning again from the result changes
nothing. What is learnt is a set of prefixes: below `/users/{id}/files` every word is `{id}`. Once learnt, a prefix
stays: names of operations do not flicker between runs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from collector.operations.fixed import ID, REST

Codes = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
Prefixes = Mapping[int, Collection[str]]
"""Service (its code) → prefixes below which every word is `{id}`; the root is `""`."""

_ID, _REST, _MARK, _WORDS = 0, 1, 2, 3
"""Codes of `{id}`, of `**`, of the mark below a known prefix, and of the first word."""


class Learnt(NamedTuple):
    """Paths with what was learnt of them."""

    paths: pa.StringArray
    """Each path's template, in order."""
    prefixes: dict[int, frozenset[str]]
    """What to know the next time, of every service of which anything was learnt."""


def generalize(
    services: Codes, paths: pa.StringArray, known: Prefixes, *, max_values: int, max_templates: int
) -> Learnt:
    """Templates of paths, never more than `max_templates` of a service.

    Args:
        services: each path's service, as a small number.
        paths: templates of the fixed rule: words between single slashes, or `/`.
        known: what was learnt before.
        max_values: distinct words in one place of a service's paths; where there are more, all of them are `{id}`.
        max_templates: of a service; where there are more, its `max_values` is halved until they fit.

    Costs O(paths × segments) in columns, whatever the paths are.
    """
    limits = np.full(int(services.max(initial=-1)) + 1, max_values, np.int64)
    while True:
        learnt, templates = _once(services, paths, known, limits)
        over = (templates > max_templates) & (limits > 0)
        if not over.any():
            return learnt
        limits[over] //= 2
        paths, known = learnt.paths, learnt.prefixes


def _once(services: Codes, paths: pa.StringArray, known: Prefixes, limits: Int64s) -> tuple[Learnt, Int64s]:
    """One pass from the first segment to the last, and how many templates each service has then."""
    present = set(np.unique(services).tolist())
    marks = [(service, prefix) for service in sorted(present & known.keys()) for prefix in sorted(known[service])]
    words, segments = _segments(paths, [prefix for _, prefix in marks])
    service_of = np.concatenate([services, np.array([service for service, _ in marks], np.int32)]).astype(np.int64)
    place, texts = service_of, pa.array([str(code) for code in range(len(limits))], pa.string())
    place_service = np.arange(len(limits))
    ended = np.zeros(len(services), np.int64)
    every: list[pa.StringArray] = [texts]
    owners: list[Int64s] = [place_service]
    ended[:] = place[: len(services)]
    learnt: dict[int, set[str]] = {}
    before = len(texts)
    for level in range(segments.shape[1]):
        rows = np.flatnonzero(segments[:, level] >= 0)
        if not len(rows):
            break
        at, word = place[rows], segments[rows, level].astype(np.int64)
        collapsed = np.zeros(len(texts), np.bool_)
        collapsed[at[word == _MARK]] = True
        is_word = word >= _WORDS
        distinct = np.unique(at[is_word] * len(words) + word[is_word])
        collapsed |= np.bincount(distinct // len(words), minlength=len(texts)) > limits[place_service]
        for service, text in zip(
            place_service[collapsed].tolist(), texts.filter(pa.array(collapsed)).to_pylist(), strict=True
        ):
            learnt.setdefault(service, set()).add(text[len(str(service)) :])
        word = np.where(is_word & collapsed[at], _ID, word)
        pairs, inverse = np.unique(at * len(words) + word, return_inverse=True)
        parents = pairs // len(words)
        texts = pc.binary_join_element_wise(
            texts.take(pa.array(parents)), words.take(pa.array(pairs % len(words))), "/"
        )
        place_service = place_service[parents]
        place = place.copy()
        place[rows] = inverse
        own = rows < len(services)
        ended[rows[own]] = inverse[own] + before
        every.append(texts)
        owners.append(place_service)
        before += len(texts)
    return _result(ended, every, owners, learnt, len(limits))


def _result(
    ended: Int64s, every: list[pa.StringArray], owners: list[Int64s], learnt: Mapping[int, set[str]], services: int
) -> tuple[Learnt, Int64s]:
    used, row = np.unique(ended, return_inverse=True)
    texts = pc.replace_substring_regex(pa.concat_arrays(every).take(pa.array(used)), "^[0-9]+", "")
    templates = pc.if_else(pc.equal(texts, ""), "/", texts).take(pa.array(row))
    counts = np.bincount(np.concatenate(owners)[used], minlength=services)
    return Learnt(templates, {service: frozenset(found) for service, found in learnt.items()}), counts


def _segments(paths: pa.StringArray, prefixes: list[str]) -> tuple[pa.StringArray, Codes]:
    """Distinct words, and a row of their codes for each path and then for each prefix with its mark; -1 = ended."""
    marked = pa.array([f"{prefix}/" for prefix in prefixes], pa.string())
    texts = pa.concat_arrays([paths, marked]) if len(marked) else paths
    parts = pc.split_pattern(texts, "/")
    lengths = np.diff(parts.offsets.to_numpy())
    flat = parts.flatten().dictionary_encode()
    fixed = {ID: _ID, REST: _REST, "": -1}
    distinct: list[str] = flat.dictionary.to_pylist()
    kept = [word for word in distinct if word not in fixed]
    code = fixed | {word: place for place, word in enumerate(kept, _WORDS)}
    codes = np.array([code[word] for word in distinct], np.int32)[flat.indices.to_numpy()]
    rows = np.repeat(np.arange(len(lengths)), lengths)
    starts = np.cumsum(lengths) - lengths
    columns = np.arange(len(rows)) - starts[rows]
    segments = np.full((len(lengths), int(lengths.max(initial=1))), -1, np.int32)
    segments[rows, columns] = codes
    last = len(paths) + np.arange(len(marked))
    segments[last, lengths[last] - 1] = _MARK
    # Before the first slash stands nothing.
    return pa.array([ID, REST, "", *kept], pa.string()), segments[:, 1:]
