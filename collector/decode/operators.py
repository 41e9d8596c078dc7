"""One proxy line as columns, before anybody asks what it means.

Every line decoder (`envoy_json`, `istio_text`, `envoy_text`) produces a record batch with the schema `OPERATORS`;
`collector.envoy.to_calls` turns it into `calls`. Columns are named after Envoy's command operators
(envoyproxy.io, "Access log format strings"; Istio's names where both have one), with the unit where there is one.

Null means absent. Whether the line said so itself (`null`, `-`, `""`) or did not have the key stands in `carried`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

TEXT = pa.string()
TEXT_MAP = pa.map_(pa.string(), pa.string())

_OPERATOR_FIELDS: tuple[tuple[str, pa.DataType, str], ...] = (
    ("start_time", pa.timestamp("us", "UTC"), "START_TIME; never null, 1971..2100"),
    ("method", TEXT, "REQ(:METHOD)"),
    ("path", TEXT, "REQ(X-ENVOY-ORIGINAL-PATH?:PATH), with the query"),
    ("protocol", TEXT, "PROTOCOL as logged, e.g. HTTP/1.1"),
    ("response_code", pa.uint16(), "RESPONSE_CODE, 0..999; 0 = no response was sent, or TCP"),
    ("response_flags", TEXT, "RESPONSE_FLAGS, short codes joined by commas"),
    ("response_code_details", TEXT, "RESPONSE_CODE_DETAILS"),
    ("connection_termination_details", TEXT, "CONNECTION_TERMINATION_DETAILS"),
    ("upstream_transport_failure_reason", TEXT, "UPSTREAM_TRANSPORT_FAILURE_REASON"),
    ("bytes_received", pa.uint64(), "BYTES_RECEIVED: from the downstream, the request's body"),
    ("bytes_sent", pa.uint64(), "BYTES_SENT: to the downstream, the response's body"),
    ("duration_ms", pa.float64(), "DURATION, ms, >= 0; whole unless the source has a finer clock"),
    ("upstream_service_time_ms", pa.float64(), "RESP(X-ENVOY-UPSTREAM-SERVICE-TIME), ms, >= 0"),
    ("x_forwarded_for", TEXT, "REQ(X-FORWARDED-FOR)"),
    ("user_agent", TEXT, "REQ(USER-AGENT)"),
    ("request_id", TEXT, "REQ(X-REQUEST-ID)"),
    ("authority", TEXT, "REQ(:AUTHORITY), with its port if it had one"),
    ("upstream_host", TEXT, "UPSTREAM_HOST: ip:port, or envoy://..., or tcp://ip:port of old releases"),
    ("upstream_cluster", TEXT, "UPSTREAM_CLUSTER or UPSTREAM_CLUSTER_RAW"),
    ("upstream_local_address", TEXT, "UPSTREAM_LOCAL_ADDRESS, ip:port"),
    ("downstream_local_address", TEXT, "DOWNSTREAM_LOCAL_ADDRESS, ip:port"),
    ("downstream_remote_address", TEXT, "DOWNSTREAM_REMOTE_ADDRESS, ip:port; may be taken from a header"),
    ("downstream_direct_remote_address", TEXT, "DOWNSTREAM_DIRECT_REMOTE_ADDRESS, ip:port: the physical peer"),
    ("requested_server_name", TEXT, "REQUESTED_SERVER_NAME: SNI"),
    ("route_name", TEXT, "ROUTE_NAME"),
    ("downstream_peer_uri_san", TEXT, "DOWNSTREAM_PEER_URI_SAN, several joined by commas"),
    ("downstream_local_uri_san", TEXT, "DOWNSTREAM_LOCAL_URI_SAN"),
    ("upstream_peer_uri_san", TEXT, "UPSTREAM_PEER_URI_SAN"),
    ("upstream_local_uri_san", TEXT, "UPSTREAM_LOCAL_URI_SAN"),
    ("downstream_tls_version", TEXT, "DOWNSTREAM_TLS_VERSION, e.g. TLSv1.3"),
    ("upstream_tls_version", TEXT, "UPSTREAM_TLS_VERSION"),
    ("grpc_status", pa.uint8(), "GRPC_STATUS in any of its forms, or GRPC_STATUS_NUMBER, as a number"),
    ("content_type", TEXT, "REQ(CONTENT-TYPE)"),
    ("attempt_count", pa.uint16(), "UPSTREAM_REQUEST_ATTEMPT_COUNT; larger counts are 65535"),
    ("access_log_type", TEXT, "ACCESS_LOG_TYPE, e.g. DownstreamEnd, TcpConnectionStart"),
    ("trace_id", TEXT, "TRACE_ID or REQ(X-B3-TRACEID), as logged"),
    ("span_id", TEXT, "SPAN_ID or REQ(X-B3-SPANID), as logged"),
    ("traceparent", TEXT, "REQ(TRACEPARENT), as logged"),
    ("connection_id", TEXT, "CONNECTION_ID"),
    ("stream_id", TEXT, "STREAM_ID"),
    ("downstream_peer_metadata", TEXT, "FILTER_STATE(downstream_peer): Istio's object of the workload, as JSON"),
    ("upstream_peer_metadata", TEXT, "FILTER_STATE(upstream_peer)"),
    ("downstream_tls_cipher", TEXT, "DOWNSTREAM_TLS_CIPHER, e.g. TLS_AES_256_GCM_SHA384"),
)

OPERATOR_NAMES: tuple[str, ...] = tuple(name for name, _, _ in _OPERATOR_FIELDS)

CARRIED_BIT: Mapping[str, int] = {name: bit for bit, name in enumerate(OPERATOR_NAMES)}
"""Bit of each operator in `carried`: set when the line had the operator's key (or position) at all."""

METADATA = pa.schema(
    [
        pa.field("pod_namespace", TEXT),
        pa.field("pod_name", TEXT),
        pa.field("pod_ip", TEXT),
        pa.field("pod_labels", TEXT_MAP),
        pa.field("node", TEXT),
        pa.field("container", TEXT),
        pa.field("cluster", TEXT),
    ]
)
"""What the envelope (Fluent Bit, filelog) said of the pod that wrote the line. Null = it did not say."""

OPERATORS = pa.schema(
    [
        *(pa.field(name, kind, metadata={"doc": doc}) for name, kind, doc in _OPERATOR_FIELDS),
        pa.field("carried", pa.uint64(), nullable=False, metadata={"doc": "see CARRIED_BIT"}),
        pa.field("attributes", TEXT_MAP, nullable=False, metadata={"doc": "every other key of the line"}),
        pa.field("mesh", TEXT, metadata={"doc": "the mesh that alone writes such keys; null = several do"}),
        pa.field("raw", pa.binary(), nullable=False, metadata={"doc": "the line, without its envelope"}),
        *METADATA,
        pa.field("_message", pa.int32(), nullable=False, metadata={"doc": "index of the message in the batch"}),
        pa.field("_record", pa.int32(), nullable=False, metadata={"doc": "line in the message, from 0"}),
    ]
)
"""The schema of one proxy line. All operator and metadata columns are nullable."""


def carried(names: Iterable[str]) -> int:
    """The `carried` bits of these operators.

    Raises:
        KeyError: for a name that is no operator.
    """
    bits = 0
    for name in names:
        bits |= 1 << CARRIED_BIT[name]
    return bits


def carries(operators: pa.RecordBatch, name: str) -> npt.NDArray[np.bool_]:
    """Which rows of `operators` had operator `name` in their line, absent or not."""
    bits = operators.column("carried").to_numpy(zero_copy_only=False)
    return (bits >> np.uint64(CARRIED_BIT[name]) & np.uint64(1)).astype(np.bool_)


def empty_maps(rows: int) -> pa.MapArray:
    """`rows` empty maps (what `attributes` is for lines without further keys)."""
    offsets = pa.array(np.zeros(rows + 1, np.int32))
    return pa.MapArray.from_arrays(offsets, pa.array([], TEXT), pa.array([], TEXT))


def operator_batch(columns: Mapping[str, pa.Array], rows: int) -> pa.RecordBatch:
    """A batch with schema `OPERATORS` from what is known: absent operators and metadata are null columns.

    `columns` must hold `start_time`, `carried`, `raw`, `_message` and `_record`; types must be those of the schema.
    """
    arrays: list[pa.Array] = []
    for field in OPERATORS:
        column = columns.get(field.name)
        if column is None:
            column = empty_maps(rows) if field.name == "attributes" else pa.nulls(rows, field.type)
        arrays.append(column)
    return pa.RecordBatch.from_arrays(arrays, schema=OPERATORS)


def concat_batches(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """One operator batch from several; an empty one from none."""
    if not batches:
        return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in OPERATORS], schema=OPERATORS)
    if len(batches) == 1:
        return batches[0]
    return pa.concat_batches(batches)
