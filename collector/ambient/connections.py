"""One connection as ztunnel logs it, as columns, before anybody asks what it means.

`ztunnel_text` and `ztunnel_json` produce record batches with the schema `CONNECTIONS`; `collector.ambient.to_calls`
turns them into `calls`. Columns are named after ztunnel's fields (istio/ztunnel, README and src/proxy/metrics.rs), with
`_` for the dot. Null means that the line does not have the field.
"""

from __future__ import annotations

import pyarrow as pa

from collector.decode.operators import TEXT_MAP

NAMES: tuple[str, ...] = (
    "src.workload",
    "src.namespace",
    "src.identity",
    "src.cluster",
    "dst.service",
    "dst.workload",
    "dst.namespace",
    "dst.identity",
    "dst.cluster",
)
"""Fields with few distinct values. A workload is the pod's name where the pod is known."""

ADDRESSES: tuple[str, ...] = ("src.addr", "dst.addr", "dst.hbone_addr")
"""IP:PORT; `dst.addr` is the tunnel's end, `dst.hbone_addr` what the caller asked for (also a host name)."""

FIELDS: tuple[str, ...] = (*ADDRESSES, *NAMES, "direction", "bytes_sent", "bytes_recv", "duration", "error")
"""Every field that is read; all others become attributes."""


def column_of(field: str) -> str:
    """A field's column: `src.addr` is `src_addr`."""
    return field.replace(".", "_")


CONNECTIONS = pa.schema(
    [
        pa.field("time", pa.timestamp("us", "UTC"), nullable=False, metadata={"doc": "when the line was written"}),
        pa.field("message", pa.string(), metadata={"doc": "connection complete, opened or failed"}),
        *(pa.field(column_of(field), pa.string()) for field in (*ADDRESSES, *NAMES, "direction")),
        pa.field("bytes_sent", pa.uint64(), metadata={"doc": "by the reporter's own side"}),
        pa.field("bytes_recv", pa.uint64()),
        pa.field("duration_us", pa.uint64()),
        pa.field("error", pa.string()),
        pa.field("attributes", TEXT_MAP, nullable=False, metadata={"doc": "every other field"}),
        pa.field("raw", pa.binary(), nullable=False),
        pa.field("cluster", pa.string(), metadata={"doc": "of the ztunnel, as its envelope says"}),
        pa.field("_message", pa.int32(), nullable=False),
        pa.field("_record", pa.int32(), nullable=False),
    ]
)
"""The schema of one line."""
