"""Istio ambient: ztunnel's access log with LOG_FORMAT=json → connections. The fields are those of the text."""

from __future__ import annotations

from collections.abc import Set

import pyarrow as pa

from collector.ambient import to_calls
from collector.ambient.connections import FIELDS
from collector.decode.envelope import Lines, metadata_of
from collector.decode.json_shapes import Shape
from collector.decode.limits import Limits
from collector.decode.line_format import JsonFormat, Refused
from collector.decode.ztunnel_lines import build

_ADDRESSES = frozenset({"src.addr", "dst.addr"})
KNOWN: Set[str] = frozenset({"time", "message", "level", "scope", "kubernetes", *FIELDS})


def recognises(keys: Set[str]) -> bool:
    """Whether an object with these keys is a ztunnel access log line."""
    return keys >= _ADDRESSES and "direction" in keys


def read(lines: Lines, shape: Shape, limits: Limits) -> tuple[pa.RecordBatch, Refused]:
    """Connections of the lines of one shape, and rows of `lines` to refuse with the reason."""
    del limits
    own = lines.take(shape.rows)
    metadata = {**own.metadata, **metadata_of(shape)}
    constants: dict[str, pa.Array] = {
        "attributes": shape.extra,
        "raw": own.text,
        "_message": own.message,
        "_record": own.record,
    }
    if "cluster" in metadata:
        constants["cluster"] = metadata["cluster"]
    text = {name: column.text for name, column in shape.columns.items()}
    batch, refused = build(text, constants, len(shape.rows))
    return batch, [(int(shape.rows[row]), reason) for row, reason in refused.items()]


FORMAT = JsonFormat("ztunnel_json", known=KNOWN, recognises=recognises, read=read, finish=to_calls)
