"""Emissary's text access log → operators: Envoy's default behind the word `ACCESS`.

Source: emissary-ingress/emissary, python/ambassador/envoy/v3/v3listener.py. No cluster is named: destinations are
known by their addresses.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from collector.decode import envoy_text
from collector.decode.envelope import Lines
from collector.decode.layout_lines import read_layouts
from collector.decode.limits import Limits
from collector.decode.line_format import TextFormat, TextRows
from collector.decode.spans import Spans
from collector.envoy import to_calls

_WORD = np.frombuffer(b"ACCESS [", np.uint8)


def read(lines: Lines, limits: Limits) -> TextRows:
    """Operator batches of the lines that begin with `ACCESS [` and go on as Envoy's do; `raw` is without the word."""
    spans = lines.spans
    fits = spans.ends - spans.starts > len(_WORD)
    for place, byte in enumerate(_WORD.tolist()):
        rows = np.flatnonzero(fits)
        fits[rows] = spans.content[spans.starts[rows] + place] == byte
    rows = np.flatnonzero(fits)
    if not len(rows):
        return TextRows([], [], np.arange(len(lines)))
    own = lines.take(rows)
    inner = Lines(
        Spans(own.spans.content, own.spans.starts + len(_WORD) - 1, own.spans.ends),
        own.message,
        own.record,
        own.metadata,
    )
    found = read_layouts(envoy_text.LAYOUTS, inner, limits)
    rest = np.sort(np.concatenate([np.flatnonzero(~fits), rows[found.rest]]))
    return TextRows(found.batches, [(int(rows[row]), reason) for row, reason in found.refused], rest)


FORMAT = TextFormat("emissary_text", read=read, finish=partial(to_calls, mesh="emissary"))
