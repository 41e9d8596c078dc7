"""Linkerd's access log as JSON, and what its proxies' JSON log tells of refusals (`linkerd_policy`).

Keys of the access log: linkerd2-proxy, linkerd/http/access-log/src/lib.rs. Durations are nanoseconds and sizes are
headers, all of them text; what is missing is `""`, or `-` for the caller's identity. The proxy's log has `timestamp`
(how long it has been running), `level`, `fields`, `target` and `spans` (linkerd/tracing/src/lib.rs).
"""

from __future__ import annotations

from collections.abc import Set

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from collector.decode import linkerd_calls, linkerd_policy
from collector.decode.call_rows import carried, rows_of, text_of
from collector.decode.envelope import Lines
from collector.decode.json_shapes import Shape
from collector.decode.limits import Limits
from collector.decode.line_format import JsonFormat, Refused
from collector.decode.nested import opened_object

_ALWAYS = ("client.addr", "client.id", "timestamp", "method", "uri", "version", "status")
_SOMETIMES = ("host", "user_agent", "trace_id", "request_bytes", "response_bytes", "total_ns")
_LOG = frozenset({"timestamp", "level", "fields", "target"})
_SHIPPED = ("time", "@timestamp", "date")
"""Where a log shipper that merged the line into its own object says when it was written."""
KNOWN: Set[str] = frozenset((*_ALWAYS, *_SOMETIMES, *_LOG, *_SHIPPED, "spans", "kubernetes"))
_OF_FIELDS = {
    **{name: name.replace(".", "_") for name in ("server.kind", "server.name", "route.kind", "route.name")},
    "server": "server",
    "message": "message",
    "authz.name": "authz_name",
    "client.tls": "tls",
    "tls": "tls",
    "client.ip": "client",
    "client": "client",
}
_WALL_TIME = r"^\d{4}-\d\d-\d\dT"


def recognises(keys: Set[str]) -> bool:
    """Whether an object with these keys is a line of Linkerd's access log, or of its proxy's own."""
    return {"client.addr", "client.id", "timestamp"} <= keys or keys >= _LOG


def read(lines: Lines, shape: Shape, limits: Limits) -> tuple[pa.RecordBatch, Refused]:
    """Rows of `calls` of the lines of one shape."""
    if shape.columns.keys() >= _LOG and "client.addr" not in shape.columns:
        return _decisions(lines, shape, limits)
    rows = rows_of(lines, shape, "linkerd")
    names = (*_ALWAYS, *(name for name in _SOMETIMES if name in shape.columns))
    text = {name: text_of(shape.columns, name, rows.rows) for name in names}
    linkerd_calls.fill(rows, text, {name: carried(shape.columns, name, rows.rows) for name in names})
    rows.columns["attributes"] = shape.extra
    batch, wrong = rows.batch()
    return batch, [(int(shape.rows[row]), reason) for row, reason in wrong]


def _decisions(lines: Lines, shape: Shape, limits: Limits) -> tuple[pa.RecordBatch, Refused]:
    """Rows of the proxy's log that tell of refusals; every other line of it is refused."""
    whole = len(shape.rows)
    opened = opened_object(text_of(shape.columns, "fields", whole), frozenset(_OF_FIELDS), limits)
    target = text_of(shape.columns, "target", whole).fill_null("").to_pylist()
    message = text_of(opened, "message", whole).fill_null("").to_pylist()
    told = np.array([linkerd_policy.is_policy(*one) for one in zip(target, message, strict=True)], np.bool_)
    refused: Refused = [
        (int(shape.rows[row]), f"a log line of {target[row][:60]!r}, expected {' or '.join(linkerd_policy.TOLD)}")
        for row in np.flatnonzero(~told).tolist()
    ]
    kept = pa.array(told)
    shape = shape.filter(told)
    rows = rows_of(lines, shape, "linkerd")
    nothing = rows.nothing()
    text = dict.fromkeys(linkerd_policy.FIELDS, nothing)
    for key, name in _OF_FIELDS.items():
        if key in opened:
            text[name] = pc.coalesce(text[name], opened[key].text.filter(kept))
    text["module"] = text_of(shape.columns, "target", rows.rows)
    text["spans"] = text_of(shape.columns, "spans", rows.rows)
    written = text_of(shape.columns, "timestamp", rows.rows)
    # Should it ever print the time itself, that is believed.
    written = pc.if_else(pc.match_substring_regex(written, _WALL_TIME), written, nothing)
    for key in _SHIPPED:
        written = pc.coalesce(written, text_of(shape.columns, key, rows.rows))
    linkerd_policy.fill(rows, text, written)
    batch, wrong = rows.batch()
    return batch, [*refused, *((int(shape.rows[row]), reason) for row, reason in wrong)]


FORMAT = JsonFormat("linkerd_json", known=KNOWN, recognises=recognises, read=read)
