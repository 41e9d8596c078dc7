"""Linkerd's access log as JSON.

Keys: linkerd2-proxy, linkerd/http/access-log/src/lib.rs. Durations are nanoseconds and sizes are headers, all of them
text; what is missing is `""`, or `-` for the caller's identity.
"""

from __future__ import annotations

from collections.abc import Set

import pyarrow as pa

from collector.decode import linkerd_calls
from collector.decode.call_rows import carried, rows_of, text_of
from collector.decode.envelope import Lines
from collector.decode.json_shapes import Shape
from collector.decode.limits import Limits
from collector.decode.line_format import JsonFormat, Refused

_ALWAYS = ("client.addr", "client.id", "timestamp", "method", "uri", "version", "status")
_SOMETIMES = ("host", "user_agent", "trace_id", "request_bytes", "response_bytes", "total_ns")
KNOWN: Set[str] = frozenset((*_ALWAYS, *_SOMETIMES, "kubernetes"))


def recognises(keys: Set[str]) -> bool:
    """Whether an object with these keys is a line of Linkerd's access log."""
    return {"client.addr", "client.id", "timestamp"} <= keys


def read(lines: Lines, shape: Shape, limits: Limits) -> tuple[pa.RecordBatch, Refused]:
    """Rows of `calls` of the lines of one shape."""
    del limits
    rows = rows_of(lines, shape, "linkerd")
    names = (*_ALWAYS, *(name for name in _SOMETIMES if name in shape.columns))
    text = {name: text_of(shape.columns, name, rows.rows) for name in names}
    linkerd_calls.fill(rows, text, {name: carried(shape.columns, name, rows.rows) for name in names})
    rows.columns["attributes"] = shape.extra
    batch, wrong = rows.batch()
    return batch, [(int(shape.rows[row]), reason) for row, reason in wrong]


FORMAT = JsonFormat("linkerd_json", known=KNOWN, recognises=recognises, read=read)
