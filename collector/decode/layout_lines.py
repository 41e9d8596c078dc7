"""Text lines of some layouts → operators: what Istio's and Envoy's text formats have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from collector.decode.envelope import Lines
from collector.decode.envoy_lines import build
from collector.decode.limits import Limits
from collector.decode.line_format import Refused, TextRows
from collector.decode.operators import carried, empty_maps
from collector.decode.record_labels import with_labels
from collector.decode.spans import Positions
from collector.decode.text_layout import Cut, Layout, readable

_NO_OPERATOR = ("mixer_status",)


def read_layouts(layouts: Sequence[Layout], lines: Lines, limits: Limits) -> TextRows:
    """Operator batches of the lines that have one of `layouts`, tried in order.

    First those without quotes in their headers: they fit one layout at most.
    """
    batches: list[pa.RecordBatch] = []
    refused: Refused = []

    def add(cut: Cut, at: Positions) -> None:
        batch, wrong = _rows(lines.take(at[cut.rows]), cut.fields, limits)
        batches.append(batch)
        refused.extend((int(at[cut.rows[row]]), reason) for row, reason in wrong)

    left = np.ones(len(lines), np.bool_)
    quotes: npt.NDArray[np.int32] | None = None  # in the lines that the first layout leaves
    for layout in layouts:
        own = np.flatnonzero(left if quotes is None else left & (quotes == layout.quotes))
        if len(own) and (cut := layout.cut_plain(lines.take(own).spans)) is not None:
            add(cut, own)
            left[own[cut.rows]] = False
        if quotes is None:
            quotes = _quotes(lines, np.flatnonzero(left))
    rest = np.flatnonzero(left)
    if not len(rest):
        return TextRows(batches, refused, rest)
    text = readable(lines.take(rest).spans)
    for layout in layouts:
        cut, ambiguous, others = layout.cut_odd(text)
        if len(cut.rows):
            add(cut, rest)
        refused.extend((int(rest[row]), reason) for row, reason in ambiguous)
        text, rest = text.take(pa.array(others)), rest[others]
    return TextRows(batches, refused, rest)


def _quotes(lines: Lines, rows: Positions) -> npt.NDArray[np.int32]:
    """How many double quotes stand in each of `rows`; 0 for the other lines."""
    quotes = np.zeros(len(lines), np.int32)
    if len(rows):
        quotes[rows] = pc.count_substring(lines.take(rows).text, '"').to_numpy(zero_copy_only=False)
    return quotes


def _rows(lines: Lines, fields: Mapping[str, pa.StringArray], limits: Limits) -> tuple[pa.RecordBatch, Refused]:
    own = {operator: text for operator, text in fields.items() if operator not in _NO_OPERATOR}
    size = len(lines)
    known, bits, attributes = with_labels(own, np.full(size, carried(own), np.uint64), empty_maps(size), lines)
    constants: dict[str, pa.Array] = {
        "carried": pa.array(bits),
        "attributes": attributes,
        "raw": lines.text,
        **lines.metadata,
        "_message": lines.message,
        "_record": lines.record,
    }
    refused: Refused = []
    kept = np.arange(size)
    long = np.zeros(size, np.bool_)
    if int((lines.spans.ends - lines.spans.starts).max(initial=0)) > limits.value_bytes:
        for text in known.values():
            long |= pc.greater(pc.binary_length(text), limits.value_bytes).to_numpy(zero_copy_only=False)
    if long.any():
        reason = f"a field is longer than {limits.value_bytes} bytes"
        refused += [(row, reason) for row in np.flatnonzero(long).tolist()]
        kept = np.flatnonzero(~long)
        mask = pa.array(~long)
        known = {operator: text.filter(mask) for operator, text in known.items()}
        constants = {column: values.filter(mask) for column, values in constants.items()}
    batch, wrong = build(known, constants, len(kept))
    refused += [(int(kept[row]), reason) for row, reason in wrong.items()]
    return batch, refused
