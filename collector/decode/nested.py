"""Objects inside a JSON line: one key's values, opened into columns that stand row by row beside the line's own."""

from __future__ import annotations

from collections.abc import Mapping, Set

import numpy as np
import pyarrow as pa

from collector.decode.json_shapes import JsonColumn, Wanted, shapes
from collector.decode.limits import Limits
from collector.decode.spans import Mask, Spans


def opened_object(text: pa.StringArray, known: Set[str], limits: Limits) -> Mapping[str, JsonColumn]:
    """The `known` keys of JSON objects given as text, one row each: `text` null where a row lacks the key.

    What is null, no object, or refused by `limits` has no keys. A column says by `present` which rows have its key.
    """
    return opened_whole(text, known, limits)[0]


def opened_whole(
    text: pa.StringArray, known: Set[str], limits: Limits
) -> tuple[Mapping[str, JsonColumn], pa.MapArray | None]:
    """`opened_object`, and every other key that is not null with its text; None where no row has any object."""
    filled = np.flatnonzero(text.is_valid().to_numpy(zero_copy_only=False))
    if not len(filled):
        return {}, None
    spans = Spans.of(text.take(pa.array(filled)).cast(pa.binary()))
    objects = np.flatnonzero(_begins(spans, 123))
    found, _ = shapes(spans.take(objects), lambda _keys: "object", {"object": Wanted(known)}, limits)
    columns: dict[str, JsonColumn] = {}
    for name in sorted(known):
        parts = [(filled[objects[shape.rows]], shape.columns[name]) for shape in found if name in shape.columns]
        if parts:
            columns[name] = _spread(parts, len(text))
    if not found:
        return columns, None
    place = _places([filled[objects[shape.rows]] for shape in found], len(text))
    return columns, pa.concat_arrays([shape.extra for shape in found]).take(place)


def _places(rows: list[np.ndarray], size: int) -> pa.Int64Array:
    """For each of `size` rows where it stands in `rows` laid end to end, null where it does not."""
    place = np.full(size, -1, np.int64)
    place[np.concatenate(rows)] = np.arange(sum(len(part) for part in rows))
    return pa.array(place, mask=place < 0)


def _begins(spans: Spans, byte: int) -> Mask:
    begins = np.zeros(len(spans), np.bool_)
    filled = np.flatnonzero(spans.ends > spans.starts)
    begins[filled] = spans.content[spans.starts[filled]] == byte
    return begins


def _spread(parts: list[tuple[np.ndarray, JsonColumn]], rows: int) -> JsonColumn:
    """Columns of some rows each as one column of all rows."""
    present, quoted = np.zeros(rows, np.bool_), np.ones(rows, np.bool_)
    for at, column in parts:
        present[at] = True if column.present is None else column.present
        quoted[at] = True if column.quoted is None else column.quoted
    texts = pa.concat_arrays([column.text for _, column in parts])
    text = texts.take(_places([at for at, _ in parts], rows))
    return JsonColumn(text, None if present.all() else present, None if quoted.all() else quoted)
