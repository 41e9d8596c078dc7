"""Labels of an OTLP log record beside the line in its body: Istio's OTLP provider logs a text and, apart, its labels.

`decode.otlp.logs` hands them on as the column `LABELS` of `Lines.metadata`. A label with the name of an operator, as in
Envoy's JSON log, stands in for what the line itself does not give; every other one is an attribute, unless it is absent
(`-`, or empty) and none that policies ask about.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from collector.decode.envelope import Lines
from collector.decode.envoy_keys import ASKED, OPERATOR_OF
from collector.decode.operators import CARRIED_BIT
from collector.decode.values import absent_to_null
from collector.envoy.attributes import added

LABELS = "labels"
"""Column of `Lines.metadata`: a map of text for each line."""

Bits = npt.NDArray[np.uint64]


def with_labels(
    text: Mapping[str, pa.StringArray], bits: Bits, attributes: pa.MapArray, lines: Lines
) -> tuple[Mapping[str, pa.StringArray], Bits, pa.MapArray]:
    """Text by operator, `carried` bits and attributes of `lines`, with what their labels add."""
    labels = lines.metadata.get(LABELS)
    if labels is None or not len(labels):
        return text, bits, attributes
    ends = labels.offsets.to_numpy()
    keys = labels.keys.slice(ends[0], ends[-1] - ends[0]).dictionary_encode()
    values = labels.items.slice(ends[0], ends[-1] - ends[0])
    row = np.repeat(np.arange(len(labels)), np.diff(ends))
    code = keys.indices.to_numpy()
    text, bits = dict(text), bits.copy()
    others: list[tuple[str, pa.StringArray]] = []
    names = [(OPERATOR_OF.get(key, ("", 0)), key, number) for number, key in enumerate(keys.dictionary.to_pylist())]
    for (operator, _), key, number in sorted(names):
        at = np.flatnonzero(code == number)
        place = np.full(len(labels), -1, np.int64)
        place[row[at]] = at
        column = values.take(pa.array(place, mask=place < 0))
        if not operator:
            told = absent_to_null(column)
            if key.startswith(ASKED):
                told = pc.coalesce(told, pc.if_else(column.is_valid(), "", pa.scalar(None, pa.string())))
            others.append((key, told))
            continue
        bits[row[at]] |= np.uint64(1 << CARRIED_BIT[operator])
        own = text.get(operator)
        text[operator] = column if own is None else pc.coalesce(absent_to_null(own), column)
    return text, bits, added(attributes, others) if others else attributes
