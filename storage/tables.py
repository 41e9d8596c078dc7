"""The tables as Python sees them: column names, ClickHouse types and the Arrow schema each batch must have.

The DDL itself stands in `storage/migrations/`; a test compares both with what the engine reports, so neither can drift.
Event time comes first, units are in the names, every time is UTC.

A `calls` row keeps beside its columns one bit per field in `logged`: set when the line carried the field at all
(`null` and `-` included), clear when it did not. `LOGGED_BIT` gives each column's bit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

LC = "LowCardinality(String)"
TIME = "DateTime64(6, 'UTC')"
SECOND = "DateTime64(0, 'UTC')"
TEXT_MAP = "Map(LowCardinality(String), String)"


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, ClickHouse type, meaning (units are in the name), and what an absent value becomes."""

    name: str
    type: str
    doc: str = ""
    default: int | None = None
    """None = the type's own: 0, an empty text, `::`."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table that Python writes to: its columns in DDL order."""

    name: str
    columns: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in DDL order."""
        return tuple(column.name for column in self.columns)


_SCALARS: Mapping[str, pa.DataType] = {
    "String": pa.string(),
    LC: pa.dictionary(pa.int32(), pa.string()),
    TIME: pa.timestamp("us", "UTC"),
    "DateTime64(3, 'UTC')": pa.timestamp("ms", "UTC"),
    SECOND: pa.timestamp("s", "UTC"),
    "Date": pa.date32(),
    "IPv6": pa.binary(16),
    "UInt8": pa.uint8(),
    "UInt16": pa.uint16(),
    "UInt32": pa.uint32(),
    "UInt64": pa.uint64(),
    "Int8": pa.int8(),
    "Int16": pa.int16(),
    "Int32": pa.int32(),
    "Int64": pa.int64(),
    "Float64": pa.float64(),
    "Bool": pa.bool_(),
}


def arrow_type(clickhouse_type: str) -> pa.DataType:
    """The Arrow type in which a column of `clickhouse_type` is inserted.

    Raises:
        KeyError: for a type that no table of ours uses.
    """
    if clickhouse_type in _SCALARS:
        return _SCALARS[clickhouse_type]
    if match := re.fullmatch(r"Array\((.+)\)", clickhouse_type):
        return pa.list_(arrow_type(match[1]))
    if match := re.fullmatch(r"Map\((LowCardinality\(String\)|\w+), (.+)\)", clickhouse_type):
        key = pa.string() if match[1] == LC else arrow_type(match[1])
        value = pa.string() if match[2] == LC else arrow_type(match[2])
        return pa.map_(key, value)
    if match := re.fullmatch(r"SimpleAggregateFunction\(\w+, (.+)\)", clickhouse_type):
        return arrow_type(match[1])
    raise KeyError(clickhouse_type)


def arrow_schema(table: Table) -> pa.Schema:
    """The Arrow schema of a batch for `table`; strings that are raw bytes (`BINARY`) are `pa.binary()`."""
    return pa.schema(
        [
            pa.field(c.name, pa.binary() if (table.name, c.name) in BINARY else arrow_type(c.type), nullable=False)
            for c in table.columns
        ]
    )


# String columns whose bytes need not be UTF-8.
BINARY = {("calls", "raw"), ("dead_letters", "payload")}


def _endpoint(side: str) -> tuple[Column, ...]:
    return (
        Column(f"{side}_cluster", LC, "Kubernetes cluster or datacenter"),
        Column(f"{side}_namespace", LC),
        Column(f"{side}_workload", LC),
        Column(f"{side}_service", LC, "service name; for direction=egress without a namespace, the host outside"),
        Column(f"{side}_version", LC),
        Column(f"{side}_pod", LC),
        Column(f"{side}_principal", LC, "whole identity, e.g. spiffe://td/ns/N/sa/S"),
        Column(f"{side}_ip", "IPv6", "address of the direct peer, IPv4 mapped into ::ffff:0:0/96; :: = unknown"),
        Column(f"{side}_port", "UInt16"),
    )


COUNTED_LOG_TYPES: tuple[str, ...] = ("request", "connection_end")
UNCOUNTED_LOG_TYPES: tuple[str, ...] = (
    *("connection_start", "request_start", "periodic", "upstream_end"),
    *("audit", "gateway_request", "packet"),
)
"""`log_type` of lines that others stand beside, or that name no edge: starts and interim reports, the second leg behind
a waypoint, what an audit log tells once more, requests at a gateway's door, packets."""

CALLS = Table(
    "calls",
    (
        Column("ts", TIME, "start of the request or connection"),
        Column("received_at", TIME, "one value per batch, fixed with its bounds"),
        Column(
            "edge_id",
            "UInt64",
            "key into edge_keys; 0 = not counted by the views (a start line, or known only by address)",
        ),
        Column("base_edge_id", "UInt64", "the same without the operation; 0 likewise"),
        Column("reporter", LC, "source|destination|gateway|waypoint|unknown"),
        Column("log_type", LC, f"{'|'.join(COUNTED_LOG_TYPES)}; not counted: {'|'.join(UNCOUNTED_LOG_TYPES)}"),
        Column("weight", "UInt32", "requests or connections the row stands for; 0 = goes on from before", default=1),
        Column("mesh", LC, "istio|envoy|linkerd|consul|osm|...; cilium|calico: a network flow"),
        *_endpoint("source"),
        Column("source_remote_ip", "IPv6", "original client where the proxy trusts a header for it"),
        *_endpoint("destination"),
        Column("direction", LC, "east_west|ingress|egress"),
        Column("protocol", LC, "http|http2|http3|grpc|tcp, lower case"),
        Column("method", LC),
        Column("authority", LC),
        Column("path", "String", "as logged, with the query"),
        Column("operation", LC, "method and path template, low cardinality"),
        Column("status", "UInt16", "HTTP status; 0 = none sent"),
        Column("grpc_status", "UInt8"),
        Column("response_flags", LC),
        Column("response_details", LC),
        Column("termination_details", LC),
        Column("duration_us", "UInt64"),
        Column("upstream_duration_us", "UInt64"),
        Column("attempt", "UInt16", "attempts the proxy made for this request"),
        Column("bytes_sent", "UInt64", "to the proxy's downstream: the response"),
        Column("bytes_received", "UInt64"),
        Column("tls", LC, "mtls|tls|plaintext|unknown"),
        Column("sni", LC),
        Column("upstream_cluster", LC),
        Column("request_id", "String"),
        Column("trace_id", "String", "32 lower-case hex digits"),
        Column("span_id", "String", "16 lower-case hex digits"),
        Column("user_agent", LC),
        Column("verdict", LC, "allowed|denied|unknown: what the proxy did"),
        Column("denied_by", LC, "policy named in the line"),
        Column("fault", LC, "none|caller|network|callee|mesh|unknown: who failed"),
        Column("attributes", TEXT_MAP, "every other key of the line"),
        Column("raw", "String", "the original line; own retention"),
        Column("logged", "UInt64", "bit per field that the line carried, see LOGGED_BIT"),
        Column("topic", LC),
        Column("partition", "Int32"),
        Column("offset", "Int64"),
    ),
)

_NOT_A_FIELD = {
    *("received_at", "edge_id", "base_edge_id", "weight", "attributes", "raw", "logged"),
    *("topic", "partition", "offset"),
}
LOGGED_BIT: Mapping[str, int] = {
    name: bit for bit, name in enumerate(name for name in CALLS.names if name not in _NOT_A_FIELD)
}
"""Bit of each `calls` column in `logged`. Bits never move: fields are only ever added behind the last one."""

SPANS = Table(
    "spans",
    (
        Column("ts", TIME, "start of the span"),
        Column("received_at", TIME),
        Column("trace_id", "String", "32 lower-case hex digits"),
        Column("span_id", "String", "16 lower-case hex digits"),
        Column("parent_span_id", "String", "16 lower-case hex digits, or empty for a root"),
        Column("shared", "UInt8", "1 = a server span that shares its client's span id (Zipkin)"),
        Column("cluster", LC),
        Column("namespace", LC),
        Column("service", LC, "service.name"),
        Column("workload", LC),
        Column("version", LC),
        Column("pod", LC),
        Column("name", LC),
        Column("kind", LC, "unspecified|internal|server|client|producer|consumer"),
        Column("status", LC, "unset|ok|error"),
        Column("status_message", "String"),
        Column("error", "UInt8", "1 = status error, or an error tag"),
        Column("duration_us", "UInt64"),
        Column("protocol", LC, "http|grpc|messaging|database|..., lower case; empty = not known"),
        Column("method", LC),
        Column("path", "String"),
        Column("operation", LC, "method and http.route, or rpc method, or the span's name, its path generalized"),
        Column("http_status", "UInt16", "0 = none"),
        Column("grpc_status", "UInt8"),
        Column("peer_service", LC, "service.peer.name, peer.service or the like"),
        Column("peer_namespace", LC),
        Column("peer_host", LC, "server.address or the like, of the other side; lower case, without port"),
        Column("peer_port", "UInt16"),
        Column("request_id", "String"),
        Column("scope", LC, "instrumentation scope's name"),
        Column("attributes", TEXT_MAP),
        Column("resource", TEXT_MAP),
        Column("events", "String", "JSON array, empty when there are none"),
        Column("links", "String", "JSON array, empty when there are none"),
        Column("topic", LC),
        Column("partition", "Int32"),
        Column("offset", "Int64"),
    ),
)

METRIC_POINTS = Table(
    "metric_points",
    (
        Column("ts", TIME),
        Column("start_ts", TIME, "start of a cumulative or delta interval; 1970 = not given"),
        Column("received_at", TIME),
        Column("name", LC),
        Column("unit", LC),
        Column("type", LC, "gauge|sum|histogram|exponential_histogram|summary"),
        Column("temporality", LC, "unspecified|delta|cumulative"),
        Column("monotonic", "UInt8"),
        Column("cluster", LC),
        Column("namespace", LC),
        Column("service", LC),
        Column("workload", LC),
        Column("version", LC),
        Column("pod", LC),
        Column("attributes", TEXT_MAP),
        Column("resource", TEXT_MAP),
        Column("scope", LC),
        Column("value", "Float64", "gauge and sum"),
        Column("count", "UInt64"),
        Column("sum", "Float64"),
        Column("min", "Float64"),
        Column("max", "Float64"),
        Column("bounds", "Array(Float64)", "upper bounds of an explicit histogram"),
        Column("bucket_counts", "Array(UInt64)"),
        Column("scale", "Int32"),
        Column("zero_count", "UInt64"),
        Column("positive_offset", "Int32"),
        Column("positive_counts", "Array(UInt64)"),
        Column("negative_offset", "Int32"),
        Column("negative_counts", "Array(UInt64)"),
        Column("quantiles", "Array(Float64)"),
        Column("quantile_values", "Array(Float64)"),
        Column("flags", "UInt32"),
        Column("topic", LC),
        Column("partition", "Int32"),
        Column("offset", "Int64"),
    ),
)

DEAD_LETTERS = Table(
    "dead_letters",
    (
        Column("received_at", TIME),
        Column("source", LC, "topic, file or endpoint"),
        Column("partition", "Int32"),
        Column("offset", "Int64"),
        Column("record", "UInt32", "line or record number in the message, from 0"),
        Column("format", LC, "format it was read as"),
        Column("reason", "String", "what was wrong, where, and what was expected"),
        Column("payload", "String", "the record's bytes, cut at the limit in settings"),
        Column("payload_bytes", "UInt64", "its whole length"),
    ),
)

DEAD_LETTER_REPLAYS = Table(
    "dead_letter_replays",
    (
        Column("received_at", TIME, "of the letter"),
        Column("source", LC),
        Column("partition", "Int32"),
        Column("attempt", "UInt32", "from 1, counted by source, partition and received_at"),
        Column("step", LC, "letter|done"),
        Column("offset", "Int64"),
        Column("record", "UInt32"),
        Column("payload_hash", "UInt64", "sipHash64 of the stored payload: a record may have left several letters"),
        Column("replayed_at", TIME, "given to every row of the attempt as its arrival"),
        Column("decoder", LC, "format, its version"),
        Column("state", LC, "version of what names of operations rest on"),
        Column("writer", LC, "host and process"),
    ),
)

INGEST_POSITIONS = Table(
    "ingest_positions",
    (
        Column("cluster_id", LC, "Kafka cluster id, or the kind of source"),
        Column("topic", LC, "topic, or file path"),
        Column("topic_id", LC, "Kafka topic id, or device and inode: a recreated topic is another one"),
        Column("partition", "Int32"),
        Column("first", "Int64", "first offset of the batch"),
        Column("last", "Int64", "last offset of the batch, inclusive"),
        Column("received_at", TIME, "given to every row of the batch"),
        Column("decoder", LC, "format, its version"),
        Column("consumer_group", LC),
        Column("writer", "String", "who recorded the bounds"),
        Column("state", "String", "version of `operations` that the batch was named with; empty = none"),
    ),
)

OPERATIONS = Table(
    "operations",
    (
        Column("version", "UInt64", "counts up; a version never changes"),
        Column("kind", LC, "limits|rules|learnt"),
        Column("namespace", LC, "of what was learnt: the service's"),
        Column("service", LC),
        Column("texts", "Array(String)", "prefixes below which every word is {id}; rules; or the two limits"),
        Column("written_at", TIME),
    ),
)

EDGE_KEY_FIELDS: tuple[str, ...] = (
    "evidence",
    "reporter",
    "direction",
    "protocol",
    "tls",
    "source_cluster",
    "source_namespace",
    "source_workload",
    "source_service",
    "source_version",
    "source_principal",
    "destination_cluster",
    "destination_namespace",
    "destination_workload",
    "destination_service",
    "destination_version",
    "destination_principal",
    "operation",
)
"""What an edge id stands for, in this order: edge_id = cityHash64 of these joined by 0x1F (see ADR 001)."""

FLOW_MESHES: tuple[str, ...] = ("calico", "cilium")
"""`mesh` of rows that tell of packets, which no proxy logged: evidence `flow`. Any other row is evidence `log`."""

EDGE_KEYS = Table(
    "edge_keys",
    (
        Column("edge_id", "UInt64"),
        *(Column(name, LC) for name in EDGE_KEY_FIELDS),
        Column("received_on", "Date", "last arrival day on which it was announced"),
    ),
)

ALIASES = Table(
    "aliases",
    (
        Column("kind", LC, "pod_ip|service_ip|service_account|workload|pod|service|host: what `name` is"),
        Column("cluster", LC),
        Column("name_namespace", LC, "namespace of the name, empty for addresses and hosts"),
        Column("name", "String", "address in text form, or the name"),
        Column("valid_from", TIME, "1970 = unbounded"),
        Column("valid_to", TIME, "2200 = unbounded"),
        Column("namespace", LC),
        Column("workload", LC),
        Column("service", LC),
        Column("service_account", LC),
        Column("pod", LC),
        Column("version", LC),
        Column("is_gateway", "UInt8"),
        Column("evidence", LC, "inventory|telemetry"),
        Column("loaded_at", TIME, "a later load of the same name and start replaces an earlier one"),
    ),
)

SIGHTINGS = Table(
    "address_sightings",
    (
        Column("hour", SECOND),
        Column("cluster", LC),
        Column("address", "IPv6"),
        Column("told_by", LC, "pod|caller|peer|span: who says so"),
        Column("namespace", LC),
        Column("workload", LC),
        Column("service", LC),
        Column("service_account", LC),
        Column("pod", LC),
        Column("version", LC),
        Column("is_gateway", "UInt8"),
        Column("first_ts", f"SimpleAggregateFunction(min, {TIME})"),
        Column("last_ts", f"SimpleAggregateFunction(max, {TIME})"),
        Column("received_on", "SimpleAggregateFunction(max, Date)"),
    ),
)

INVENTORY = Table(
    "inventory",
    (
        Column("kind", LC, "Pod|Service|EndpointSlice|Endpoints|Node, as in Kubernetes"),
        Column("cluster", LC),
        Column("namespace", LC),
        Column("name", "String"),
        Column("uid", "String"),
        Column("labels", TEXT_MAP),
        Column("annotations", TEXT_MAP),
        Column("addresses", "Array(String)"),
        Column("service_account", LC),
        Column("owner_kind", LC),
        Column("owner_name", LC),
        Column("selector", TEXT_MAP, "of a Service"),
        Column("ports", "Array(String)", "NAME/PORT/PROTOCOL/TARGET"),
        Column("has_sidecar", "UInt8"),
        Column("valid_from", TIME),
        Column("valid_to", TIME),
        Column("loaded_at", TIME),
    ),
)

POLICIES = Table(
    "policies",
    (
        Column("valid_from", TIME, "the set holds from then until the next one does; 1970 = always did"),
        Column("set_id", "String", "hash of the set's documents"),
        Column("place", "UInt32", "in the set, from 1; 0 = the set itself, with the names of its files"),
        Column("engine", LC, "istio|linkerd|consul|smi|kubernetes; settings = of MeshSettings"),
        Column("kind", LC),
        Column("namespace", LC),
        Column("name", "String"),
        Column("file", "String"),
        Column("line", "UInt32"),
        Column("document", "String", "YAML"),
        Column("loaded_at", TIME),
    ),
)

FINDINGS = Table(
    "findings",
    (
        Column("id", "String", "from kind, subject and episode"),
        Column("kind", LC),
        Column("severity", LC, "low|medium|high|critical"),
        Column("title", "String"),
        Column("source", LC, "node of the map"),
        Column("destination", LC, "node of the map"),
        Column("operation", LC, "empty = of several"),
        Column("principal", LC, "of the caller, empty = none or not known"),
        Column("first_seen", TIME),
        Column("last_seen", TIME),
        Column("score", "Float64"),
        Column("threshold", "Float64", "what the score is held to"),
        Column("techniques", f"Array({LC})", "ATT&CK ids"),
        Column("sql", "String", "reproduces the evidence"),
        Column("parameters", "String", "of the statement, a JSON object"),
        Column("request_ids", "Array(String)"),
        Column("trace_ids", "Array(String)"),
        Column("false_alarm_if", "String"),
        Column("details", TEXT_MAP),
        Column("found_at", TIME),
    ),
)

REGRESSIONS = Table(
    "regressions",
    (
        Column("id", "String", "from edge, operation, what and begin"),
        Column("verdict", LC, "regression|anomaly (it went away)"),
        Column("what", LC, "latency|errors"),
        Column("shape", LC, "typical|p95|p99|errors: what grew"),
        Column("source", LC, "node of the map"),
        Column("destination", LC, "node of the map"),
        Column("operation", LC, "empty = all of the edge together, or none known"),
        Column("reporters", f"Array({LC})", "who measured it"),
        Column("evidence", LC),
        Column("since", TIME, "first minute of the new level"),
        Column("last_seen", TIME),
        Column("ended", TIME, "1970 = not"),
        Column("told_at", TIME, "the moment by which it could be told"),
        Column("before_us", "Array(Float64)", "p50, p95, p99 of the hour before; empty = not known"),
        Column("after_us", "Array(Float64)", "of the time since"),
        Column("before_requests", "UInt64"),
        Column("after_requests", "UInt64"),
        Column("before_errors", "UInt64"),
        Column("after_errors", "UInt64"),
        Column("ratio", "Float64", "of what grew"),
        Column("ratio_low", "Float64", "95 % interval"),
        Column("ratio_high", "Float64"),
        Column("p_value", "Float64", "adjusted for all tests of its look"),
        Column("superiority", "Float64", "chance that a call after takes longer than one before"),
        Column("distance", "Float64", "Kolmogorov-Smirnov"),
        Column("score", "Float64", "of an anomaly, in standard errors"),
        Column("tested", "UInt64", "tests of its look"),
        Column("causes", "String", "JSON array, the likeliest first"),
        Column("stages", "String", "JSON array: what each stage saw"),
        Column("explains", "Array(String)", "ids of regressions that it is the cause of"),
        Column("explained_by", "String", "id of the regression that is its cause; empty = none"),
        Column("slow_ids", "Array(String)", "trace or request ids of slow calls after"),
        Column("typical_ids", "Array(String)", "of typical calls before"),
        Column("found_at", TIME),
    ),
)

LATENCY_LOOKS = Table(
    "latency_looks",
    (
        Column("at", TIME, "nothing later was read"),
        Column("tested", "UInt64"),
        Column("survivors", "Map(LowCardinality(String), UInt64)", "stage -> how many went on"),
        Column("found_at", TIME),
    ),
)

INCIDENTS = Table(
    "incidents",
    (
        Column("id", "String", "that of its earliest finding when it began"),
        Column("state", LC, "open|acknowledged|closed"),
        Column("severity", LC, "the highest of its findings"),
        Column("summary", "String"),
        Column("principals", f"Array({LC})"),
        Column("services", f"Array({LC})", "nodes of the map"),
        Column("path", f"Array({LC})", "nodes in the order of the calls"),
        Column("findings", "Array(String)", "ids"),
        Column("started", TIME),
        Column("updated", TIME, "last time of its findings"),
        Column("techniques", f"Array({LC})", "ATT&CK ids"),
        Column("note", "String", "of whoever closed it"),
        Column("merged_into", "String", "id of the incident that has its findings now; empty = none"),
        Column("closed_at", TIME, "1970 = not"),
        Column("kept_at", TIME),
    ),
)

TABLES: Mapping[str, Table] = {
    table.name: table
    for table in (
        *(CALLS, SPANS, METRIC_POINTS, DEAD_LETTERS, DEAD_LETTER_REPLAYS, INGEST_POSITIONS),
        *(EDGE_KEYS, ALIASES, SIGHTINGS, INVENTORY, OPERATIONS, POLICIES, FINDINGS),
        *(REGRESSIONS, LATENCY_LOOKS, INCIDENTS),
    )
}
