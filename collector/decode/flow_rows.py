"""Network flows as rows of `calls`: what Hubble's and Calico's lines have in common.

A flow is what the network saw of a connection, proxied or not. Its row is evidence `flow` (by its `mesh`, see
`storage.tables.FLOW_MESHES`). The name of a pod's workload is the network plugin's own; a Kubernetes service is named
only where the flow names it, so that flows join the nodes that other telemetry makes instead of adding their own.
Lines that do not count (packets after the first of a connection) become rows of log type `packet`, without `raw`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from collector.coded import Codes
from collector.decode.call_rows import CallRows
from collector.decode.json_shapes import maps_of
from collector.decode.line_format import Refused
from collector.decode.values import Mask

Value = TypeVar("Value")
PACKET = "packet"
"""Log type of a line that tells of no new connection or call."""

_AUXILIARY = ("_upstream_local_ip", "_downstream_local_ip", "_downstream_remote_ip", "_downstream_remote_port")


def distinct(text: pa.StringArray, parse: Callable[[str], Value], absent: Value) -> tuple[list[Value], Codes]:
    """`parse` of each distinct value, `absent` for null, and each row's place in that list."""
    encoded = text.dictionary_encode()
    values = [*(parse(value) for value in encoded.dictionary.to_pylist()), absent]
    return values, encoded.indices.fill_null(len(values) - 1).to_numpy(zero_copy_only=False).astype(np.int32)


def parsed(text: str) -> Any:
    """JSON text as Python values; None where it is none."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None


def as_objects(value: Any) -> list[dict[str, Any]]:
    """The objects of what may be a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text_in(record: Mapping[str, Any], name: str) -> str:
    """A key's text, `""` where the record has none."""
    value = record.get(name)
    return value if isinstance(value, str) else ""


def texts_in(record: Mapping[str, Any], name: str) -> list[str]:
    """The texts of a key's list."""
    value = record.get(name)
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def labels_of(texts: list[str]) -> dict[str, str]:
    """`key=value` labels, each without the prefix that says who gave it (`k8s:`)."""
    pairs = (text.removeprefix("k8s:").partition("=") for text in texts)
    return {key: value for key, equals, value in pairs if equals}


def as_map(columns: Mapping[str, pa.StringArray], rows: int) -> pa.MapArray:
    """One map per row of the columns that have a value there."""
    kept = [(name, text) for name, text in columns.items() if text.null_count < rows]
    return maps_of(kept, rows)


def flow_batch(rows: CallRows, counted: Mask, log_type: pa.Array) -> tuple[pa.RecordBatch, Refused]:
    """The finished rows. `log_type` is that of the lines in `counted`; the others are packets, which keep no `raw`."""
    rows.columns["log_type"] = pc.if_else(pa.array(counted), log_type, PACKET)
    batch, refused = rows.batch()
    batch = batch.drop_columns([name for name in _AUXILIARY if name in batch.schema.names])
    kept = pc.not_equal(batch.column("log_type"), PACKET)
    place = batch.schema.get_field_index("raw")
    return batch.set_column(place, "raw", pc.if_else(kept, batch.column("raw"), b"")), refused
