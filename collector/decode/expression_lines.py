"""Text lines that one regular expression describes → columns of text, one per named group (RE2: linear time)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from collector.decode.envelope import Lines
from collector.decode.limits import Limits
from collector.decode.line_format import Refused
from collector.decode.spans import Positions
from collector.decode.text_layout import readable


class Matched(NamedTuple):
    """What an expression found in lines."""

    lines: Lines
    """The lines that match."""
    rows: Positions
    """Which of the given lines these are, ascending."""
    fields: Mapping[str, pa.StringArray]
    """The text of each named group; `""` where an optional group did not take part."""
    refused: Refused
    """Lines that match and are too long in one field, as rows of the given lines."""
    rest: Positions
    """The lines that do not match, ascending."""


def matched(lines: Lines, expression: str, limits: Limits) -> Matched:
    """The lines that `expression` matches. Every group is named, and it is anchored at both ends."""
    found = pc.extract_regex(readable(lines.spans), expression)
    hits = found.is_valid().to_numpy(zero_copy_only=False)
    rows, rest = np.flatnonzero(hits), np.flatnonzero(~hits)
    kept = found.filter(pa.array(hits))
    fields = {kept.type.field(place).name: kept.field(place) for place in range(kept.type.num_fields)}
    refused: Refused = []
    if len(rows) and int((lines.spans.ends - lines.spans.starts)[rows].max()) > limits.value_bytes:
        long = np.zeros(len(rows), np.bool_)
        for text in fields.values():
            long |= pc.greater(pc.binary_length(text), limits.value_bytes).to_numpy(zero_copy_only=False)
        refused = [(row, f"a field is longer than {limits.value_bytes} bytes") for row in rows[long].tolist()]
        fields = {name: text.filter(pa.array(~long)) for name, text in fields.items()}
        rows = rows[~long]
    return Matched(lines.take(rows), rows, fields, refused, rest)
