"""JSON lines → columns, grouped by shape: the way of every JSON line format.

Lines that share a template (`json_template`) are cut without a Python object per line. What no template expresses
(`\\u` escapes, invalid UTF-8, repeated keys, rare shapes) is parsed one by one, and gives the same columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from collector.decode.json_object import read_object
from collector.decode.json_template import Match, QuotedLines, Template
from collector.decode.limits import Limits
from collector.decode.operators import TEXT_MAP, empty_maps
from collector.decode.spans import Mask, Positions, Spans, not_utf8

_MOST_TEMPLATES = 64
# Lines per block that no template can be made from, before the rest of the block is read one by one.
_MOST_MODELLESS = 64
# A template is worth its trials when one in so many of the lines that it is tried on has its shape: a trial costs about
# a hundredth of reading the line alone. After this many that are not, a block has too many shapes for templates.
_TRIALS_PER_HIT = 100
_MOST_UNWORTHY = 8
# Bytes cut at a time for every known shape: a block stays in the cache, and every shape costs some calls per block.
_BLOCK_BYTES = 1 << 20
# Sets of keys whose form is remembered while lines are read one by one.
_MOST_CLASSIFIED = 4096


@dataclass(frozen=True, slots=True)
class JsonColumn:
    """The values of one key as text: strings unescaped, numbers and bools as written, objects and arrays as JSON.

    `text` is null where the value is JSON's null or the line does not have the key; `present` says which lines have it
    (None = all). `quoted` says which values were strings (None = all).
    """

    text: pa.StringArray
    present: Mask | None = None
    quoted: Mask | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """Some lines of a batch as columns. `rows` are their indices, in the columns' order; `columns` has known keys."""

    form: str
    """What the classifier said of the keys."""
    rows: Positions
    columns: Mapping[str, JsonColumn]
    extra: pa.MapArray
    """Every other key whose value is not null, with its text; null is `""` of the keys whose null tells something."""
    keys: tuple[str, ...]
    """Keys of the first line."""

    def filter(self, mask: Mask) -> Shape:
        """Only some of its lines."""
        chosen = pa.array(mask)

        def part(of: Mask | None) -> Mask | None:
            return None if of is None else of[mask]

        columns = {
            name: JsonColumn(column.text.filter(chosen), part(column.present), part(column.quoted))
            for name, column in self.columns.items()
        }
        return Shape(self.form, self.rows[mask], columns, self.extra.filter(chosen), self.keys)


Classifier = Callable[[Set[str]], str]
"""From the keys of an object to the name of its form; `""` = none that is known."""


Refused = list[tuple[int, str]]
"""(row, why) of lines that are no acceptable JSON object."""


class Wanted(NamedTuple):
    """What the caller wants of the objects of one form."""

    known: Set[str]
    """Keys that come as columns."""
    telling: tuple[str, ...] = ()
    """How other keys begin whose null tells something: it comes as the empty text."""


NOTHING = Wanted(frozenset())


def shapes(
    spans: Spans, classify: Classifier, wanted: Mapping[str, Wanted], limits: Limits
) -> tuple[list[Shape], Refused]:
    """Cut JSON lines into columns.

    Args:
        spans: one JSON object each, ascending, without blanks around it.
        classify: names the form of an object by its keys.
        wanted: per form, the keys that the caller wants as columns, and those whose null it wants.
        limits: what is refused.

    Returns:
        groups of lines, which together with the refused rows are all rows.
    """
    groups: list[Shape] = []
    refused: Refused = []
    templates: list[Template] = []
    first = 0
    while first < len(spans):
        block = spans.block(first, _BLOCK_BYTES * min(max(len(templates), 1), 32))
        _block(block, first, classify, wanted, limits, templates, groups, refused)
        first += len(block)
    # Lines that differ only in which values are null make several groups, which callers need not see.
    # Those of no known form stay apart by their keys, which is all that can be said of them.
    alike: dict[tuple[str, tuple[str, ...]], list[Shape]] = {}
    for group in groups:
        alike.setdefault((group.form, tuple(sorted(group.columns)) if group.form else group.keys), []).append(group)
    return [_together(same) for same in alike.values()], refused


def _together(groups: list[Shape]) -> Shape:
    """Groups with the same columns as one."""
    columns: dict[str, JsonColumn] = {}
    for name in groups[0].columns:
        parts = [group.columns[name] for group in groups]
        columns[name] = JsonColumn(
            pa.concat_arrays([part.text for part in parts]),
            _masks([part.present for part in parts], parts),
            _masks([part.quoted for part in parts], parts),
        )
    return Shape(
        groups[0].form,
        np.concatenate([group.rows for group in groups]),
        columns,
        pa.concat_arrays([group.extra for group in groups]),
        groups[0].keys,
    )


def _masks(masks: list[Mask | None], parts: list[JsonColumn]) -> Mask | None:
    """Masks end to end, where None = all."""
    if all(mask is None for mask in masks):
        return None
    return np.concatenate(
        [np.ones(len(part.text), np.bool_) if mask is None else mask for mask, part in zip(masks, parts, strict=True)]
    )


def _block(
    spans: Spans,
    offset: int,
    classify: Classifier,
    wanted: Mapping[str, Wanted],
    limits: Limits,
    templates: list[Template],
    groups: list[Shape],
    refused: Refused,
) -> None:
    lines = QuotedLines(spans)
    length = spans.ends - spans.starts
    # No value of a line this short can be too long; longer lines are rare.
    open_rows = (length >= 2) & (length <= limits.value_bytes) & lines.simple & ~not_utf8(spans)
    remaining = np.flatnonzero(open_rows)
    odd: list[Positions] = [np.flatnonzero(~open_rows)]
    for template in templates:
        remaining = _cut(template, lines, remaining, offset, classify, wanted, groups)
    unworthy = 0
    while len(remaining) and len(templates) < _MOST_TEMPLATES and unworthy < _MOST_UNWORTHY:
        # The commonest kind first: no number of rare shapes can keep the templates from it.
        counts = lines.quote_count[remaining]
        model = int(remaining[np.argmax(counts == np.bincount(counts).argmax())])
        begin = int(lines.first_quote[model])
        places = lines.quotes[begin : begin + int(lines.quote_count[model])] - spans.starts[model]
        template = Template.of(spans[model], places, limits.depth)
        if template is not None and len(template.keys) <= limits.keys:
            trials = np.count_nonzero(counts == template.quotes)
            left = _cut(template, lines, remaining, offset, classify, wanted, groups)
            if (len(remaining) - len(left)) * _TRIALS_PER_HIT < trials:
                unworthy += 1
            else:
                templates.append(template)
            remaining = left
        unread = remaining != model
        if not unread.all():
            odd.append(remaining[~unread])
            remaining = remaining[unread]
            if len(odd) > _MOST_MODELLESS:
                break
    odd.append(remaining)
    rows = np.sort(np.concatenate(odd))
    if len(rows):
        slow, bad = one_by_one(spans.take(rows).array(), rows + offset, classify, wanted, limits)
        groups.extend(slow)
        refused.extend(bad)


def _cut(
    template: Template,
    lines: QuotedLines,
    rows: Positions,
    offset: int,
    classify: Classifier,
    wanted: Mapping[str, Wanted],
    groups: list[Shape],
) -> Positions:
    """Add the group of those of `rows` that have the template's shape; returns the others."""
    candidates = rows[lines.quote_count[rows] == template.quotes]
    if not len(candidates):
        return rows
    found = template.match(lines, candidates)
    if not len(found.rows):
        return rows
    groups.append(_shape(template, lines, found, offset, classify, wanted))
    left = np.ones(len(lines.spans), np.bool_)
    left[found.rows] = False
    return rows[left[rows]]


def _shape(
    template: Template,
    lines: QuotedLines,
    found: Match,
    offset: int,
    classify: Classifier,
    wanted: Mapping[str, Wanted],
) -> Shape:
    columns: dict[str, JsonColumn] = {}
    extra: list[tuple[str, pa.StringArray]] = []
    rows = len(found.rows)
    names = tuple(key.name for key in template.keys)
    form = classify(frozenset(names))
    known, telling = wanted.get(form, NOTHING)
    keys = [
        key
        for key in template.keys
        if key.name in known or (form and (key.kind != "null" or key.name.startswith(telling)))
    ]
    for key, text in zip(keys, template.columns(lines, found, keys), strict=True):
        if key.name in known:
            quoted = None if key.kind in ("string", "null") else np.zeros(rows, np.bool_)
            columns[key.name] = JsonColumn(text, quoted=quoted)
        else:
            extra.append((key.name, text.fill_null("") if key.kind == "null" else text))
    return Shape(form, found.rows + offset, columns, maps_of(extra, rows), names)


def maps_of(columns: list[tuple[str, pa.StringArray]], rows: int) -> pa.MapArray:
    """One map per row from columns by key; nulls are left out."""
    if not columns:
        return empty_maps(rows)
    width = len(columns)
    # Row by row: element (row, key) of the columns laid end to end.
    order = (np.arange(rows)[:, None] + np.arange(width)[None, :] * rows).ravel()
    values = pa.concat_arrays([text for _, text in columns]).take(pa.array(order))
    names = pa.array([name for name, _ in columns], pa.string()).take(pa.array(np.tile(np.arange(width), rows)))
    offsets = np.arange(0, rows * width + 1, width, dtype=np.int32)
    if values.null_count:
        valid = values.is_valid()
        counts = np.concatenate(([0], np.cumsum(valid.to_numpy(zero_copy_only=False))))
        offsets = counts[offsets].astype(np.int32)
        values, names = values.filter(valid), names.filter(valid)
    return pa.MapArray.from_arrays(pa.array(offsets, pa.int32()), names, values)


# --- one by one ---------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Form:
    """Records of one form as they are read."""

    cells: dict[str, dict[int, tuple[str | None, bool]]]
    rows: list[int]
    extras: list[list[tuple[str, str]]]
    keys: tuple[str, ...]


def one_by_one(
    text: pa.BinaryArray, rows: Positions, classify: Classifier, wanted: Mapping[str, Wanted], limits: Limits
) -> tuple[list[Shape], Refused]:
    """The slow way, for any lines: one object at a time. It is also the reference that the fast way is tested with.

    `rows` are the indices to give to the elements of `text`.
    """
    refused: Refused = []
    forms: dict[tuple[str, tuple[str, ...]], _Form] = {}
    classified: dict[tuple[str, ...], str] = {}
    for row, line in zip(rows.tolist(), text, strict=True):
        try:
            record = read_object(line.as_py(), limits)
        except ValueError as error:
            refused.append((row, str(error)))
            continue
        keys = tuple(record)
        name = classified.get(keys)
        if name is None:
            name = classify(record.keys())
            if len(classified) < _MOST_CLASSIFIED:
                classified[keys] = name
        known, telling = wanted.get(name, NOTHING)
        kind_of = (name, () if name else keys)
        form = forms.get(kind_of)
        if form is None:
            cells: dict[str, dict[int, tuple[str | None, bool]]] = {key: {} for key in known}
            form = forms[kind_of] = _Form(cells, [], [], keys)
        extra: list[tuple[str, str]] = []
        for key, (value, kind) in record.items():
            column = form.cells.get(key)
            if column is not None:
                column[len(form.rows)] = (value, kind in ("string", "null"))
            elif name and (value is not None or key.startswith(telling)):
                extra.append((key, value or ""))
        form.rows.append(row)
        form.extras.append(extra)
    return [
        Shape(
            name,
            np.array(form.rows, np.int64),
            {key: _sparse(cell, len(form.rows)) for key, cell in form.cells.items() if cell},
            pa.array(form.extras, TEXT_MAP),
            form.keys,
        )
        for (name, _), form in forms.items()
    ], refused


def _sparse(cells: Mapping[int, tuple[str | None, bool]], rows: int) -> JsonColumn:
    texts: list[str | None] = [None] * rows
    present, quoted = np.zeros(rows, np.bool_), np.ones(rows, np.bool_)
    for row, (text, is_text) in cells.items():
        texts[row], present[row], quoted[row] = text, True, is_text
    return JsonColumn(
        pa.array(texts, pa.string()),
        None if present.all() else present,
        None if quoted.all() else quoted,
    )
