"""Istio ambient: ztunnel's access log, text → connections.

    2024-04-12T10:17:44.081519Z  info  access  connection complete  src.addr=10.244.0.5:45896 src.workload=...

Time, level, `access` (or `access:`) and the message are separated by tabs or blanks; quotes around values are optional
(istio/ztunnel, README and src/telemetry.rs). The project declares this format unstable, so the order of the fields does
not matter, and a field that is new becomes an attribute.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from collector.ambient import to_calls
from collector.ambient.connections import FIELDS
from collector.decode.envelope import Lines
from collector.decode.limits import Limits
from collector.decode.line_format import Refused, TextFormat, TextRows
from collector.decode.logfmt import cut_fields
from collector.decode.spans import Spans, as_text
from collector.decode.values import present
from collector.decode.ztunnel_lines import build

_HEAD = (
    rb"^(?P<time>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,18}(?:Z|[+-][0-9]{2}:[0-9]{2}))[ \t]+"
    rb"(?i:trace|debug|info|warn|error)[ \t]+access:?[ \t]+(?P<message>[A-Za-z][A-Za-z ]{0,60}?)[ \t]+"
    rb"[a-z][a-z_.]*="
)
_LONGEST_HEAD = 160
# An operation that fails in two ways has two errors.
_JOINED = frozenset({"error"})


def read(lines: Lines, limits: Limits) -> TextRows:
    """Connections of the lines that begin as ztunnel's do."""
    spans = lines.spans
    heads = Spans(spans.content, spans.starts, np.minimum(spans.ends, spans.starts + _LONGEST_HEAD)).array()
    found = pc.extract_regex(heads, _HEAD.decode()) if len(heads) else None
    if found is None or found.null_count == len(heads):
        return TextRows([], [], np.arange(len(lines)))
    matched = present(found)
    rows = np.flatnonzero(matched)
    own, head = lines.take(rows), found.filter(pa.array(matched))
    time, message = head.field("time"), head.field("message")
    begin = pc.find_substring_regex(heads.filter(pa.array(matched)), r"[a-z][a-z_.]*=").to_numpy()
    fields = cut_fields(
        Spans(own.spans.content, own.spans.starts + begin, own.spans.ends), FIELDS, limits, joined=_JOINED
    )
    text = {"time": as_text(time), "message": as_text(message), **fields.columns}
    constants: dict[str, pa.Array] = {
        "attributes": fields.extra,
        "raw": own.text,
        "_message": own.message,
        "_record": own.record,
    }
    if "cluster" in own.metadata:
        constants["cluster"] = own.metadata["cluster"]
    batch, wrong = build(text, constants, len(rows))
    refused: Refused = [(int(rows[row]), reason) for row, reason in {**wrong, **fields.wrong}.items()]
    return TextRows([batch], refused, np.flatnonzero(~matched))


FORMAT = TextFormat("ztunnel_text", read=read, finish=to_calls)
