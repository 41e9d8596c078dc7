"""Text lines of some layouts → operators: what Istio's and Envoy's text formats have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from collector.decode.envelope import Lines
from collector.decode.envoy_lines import build
from collector.decode.limits import Limits
from collector.decode.line_format import Refused, TextRows
from collector.decode.operators import carried
from collector.decode.text_layout import Layout

_NO_OPERATOR = ("mixer_status",)


def read_layouts(layouts: Sequence[Layout], lines: Lines, limits: Limits) -> TextRows:
    """Operator batches of the lines that have one of `layouts`, tried in order."""
    batches: list[pa.RecordBatch] = []
    refused: Refused = []
    rest = np.arange(len(lines))
    for layout in layouts:
        if not len(rest):
            break
        left = lines.take(rest)
        cuts, others = layout.cut(left.spans)
        for cut in cuts:
            batch, wrong = _rows(left.take(cut.rows), cut.fields, limits)
            batches.append(batch)
            refused += [(int(rest[cut.rows[row]]), reason) for row, reason in wrong]
        rest = rest[others]
    return TextRows(batches, refused, rest)


def _rows(lines: Lines, fields: Mapping[str, pa.StringArray], limits: Limits) -> tuple[pa.RecordBatch, Refused]:
    known = {operator: text for operator, text in fields.items() if operator not in _NO_OPERATOR}
    size = len(lines)
    constants: dict[str, pa.Array] = {
        "carried": pa.array(np.full(size, carried(known), np.uint64)),
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
