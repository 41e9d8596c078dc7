"""Traffic logs of Google Cloud Service Mesh (Anthos): Cloud Logging entries, HTTP and TCP, as they are exported.

    projects/P/logs/server-accesslog-stackdriver ──► reporter destination
    projects/P/logs/client-accesslog-stackdriver ──► reporter source, or gateway
    projects/P/logs/server-istio-audit-log       ──► log_type audit: the same request once more, counted nowhere

Labels: istio/proxy, extensions/stackdriver/log/logger.cc (release 1.20); Cloud Logging's LogEntry. protobuf's JSON
leaves out what is zero, so a status or size that is missing from an `httpRequest` is 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from collector.coded import Codes, groups
from collector.decode.attribute_maps import joined_maps
from collector.decode.call_rows import CallRows, End, Mask, carried, filled, rows_of, text_of
from collector.decode.cloud_logging import is_container_log
from collector.decode.envelope import Lines
from collector.decode.json_shapes import JsonColumn, Shape
from collector.decode.limits import Limits
from collector.decode.line_format import JsonFormat, Refused
from collector.decode.nested import opened_object, opened_whole
from collector.decode.values import present, unsigned
from collector.envoy.attributes import added
from collector.identity.clusters import parse_host
from collector.identity.kubernetes import workload_of
from collector.identity.principals import MAX_LENGTH, parse_principal
from collector.operations import operations
from collector.outcomes import Line, Outcome, judge
from storage.gateways import is_gateway_name

KNOWN: Set[str] = frozenset(
    ("logName", "timestamp", "httpRequest", "labels", "resource", "trace", "spanId", "textPayload", "kubernetes")
)
_HTTP = frozenset(
    {
        "requestMethod",
        "requestUrl",
        "requestSize",
        "status",
        "responseSize",
        "userAgent",
        "remoteIp",
        "serverIp",
        "latency",
        "protocol",
        "referer",
    }
)
_SIDES = ("principal", "workload", "namespace", "name", "app", "version", "canonical_service", "canonical_revision")
_KEPT = (
    "policy_name",
    "policy_rule",
    "dry_run_result",
    "dry_run_policy_name",
    "dry_run_policy_rule",
    "route_name",
    "upstream_host",
    "upstream_transport_failure_reason",
    "x-envoy-original-path",
    "x-envoy-original-dst-host",
    "connection_id",
    "mesh_uid",
    "log_sampled",
)
"""Labels that become attributes, under their own names."""
LABELS: Set[str] = frozenset(
    (
        *(f"{side}_{part}" for side in ("source", "destination") for part in _SIDES),
        *_KEPT,
        "destination_service_host",
        "destination_service_name",
        "request_id",
        "protocol",
        "response_flag",
        "response_details",
        "service_authentication_policy",
        "upstream_cluster",
        "requested_server_name",
        "connection_state",
        "source_ip",
        "source_port",
        "destination_ip",
        "destination_port",
        "total_sent_bytes",
        "total_received_bytes",
    )
)
_RESOURCE = frozenset({"cluster_name", "namespace_name", "pod_name", "project_id", "location"})
_DENIED = "AuthzDenied"
_LOGS: Mapping[str, str] = {
    "server-accesslog-stackdriver": "destination",
    "client-accesslog-stackdriver": "source",
    "server-istio-audit-log": "destination",
}
_AUDIT = "server-istio-audit-log"
_STATES = {"OPEN": "connection_start", "CONNECTED": "periodic", "CLOSE": "connection_end"}
_TLS = {"MUTUAL_TLS": "mtls", "NONE": "plaintext"}
_URL = r"^[A-Za-z][A-Za-z0-9+.-]*://(?P<authority>[^/?#]*)(?P<path>(?s:.*))$"
Columns = Mapping[str, JsonColumn]


def recognises(keys: Set[str]) -> bool:
    """Whether an object with these keys is a Cloud Logging entry, and not one around a container's JSON line."""
    return "logName" in keys and "timestamp" in keys and not is_container_log(keys)


def read(lines: Lines, shape: Shape, limits: Limits) -> tuple[pa.RecordBatch, Refused]:
    """Rows of `calls` of the lines of one shape."""
    rows = rows_of(lines, shape, "gcp")
    size = rows.rows
    http = opened_object(text_of(shape.columns, "httpRequest", size), _HTTP, limits)
    is_http = pc.starts_with(text_of(shape.columns, "httpRequest", size), "{").fill_null(False)
    labels, other = opened_whole(text_of(shape.columns, "labels", size), LABELS, limits)
    resource = opened_object(text_of(shape.columns, "resource", size), frozenset({"labels"}), limits)
    own = opened_object(text_of(resource, "labels", size), _RESOURCE, limits)
    entry = _Entry(rows, http, labels, own, is_http.to_numpy(zero_copy_only=False), limits)
    log = _logs(entry, text_of(shape.columns, "logName", size))
    rows.put_time("timestamp", text_of(shape.columns, "timestamp", size))
    _request(entry, log == _AUDIT)
    _addresses(entry, _reporters(entry, log))
    _ids(entry, shape)
    _outcomes(entry)
    extra = shape.extra if other is None else joined_maps([shape.extra, other])
    rows.columns["attributes"] = added(extra, _attributes(entry))
    batch, wrong = rows.batch()
    return batch, [(int(shape.rows[row]), reason) for row, reason in wrong]


class _Entry(NamedTuple):
    """Log entries in columns."""

    rows: CallRows
    http: Columns
    labels: Columns
    own: Columns
    """Labels of the resource: the pod that wrote the entry."""
    is_http: Mask
    limits: Limits

    def label(self, name: str) -> pa.StringArray:
        """A label, null where it is absent or empty."""
        return filled(text_of(self.labels, name, self.rows.rows))

    def field(self, name: str) -> pa.StringArray:
        """A field of the request."""
        return text_of(self.http, name, self.rows.rows)

    def has(self, name: str) -> Mask:
        """Which entries carry a label, empty or not."""
        return carried(self.labels, name, self.rows.rows)


def _logs(entry: _Entry, names: pa.StringArray) -> npt.NDArray[np.object_]:
    """The last part of each entry's log name; entries of other logs are refused."""
    distinct = names.fill_null("").dictionary_encode()
    logs = [name.replace("%2F", "/").rpartition("/")[2] for name in distinct.dictionary.to_pylist()]
    place = distinct.indices.to_numpy(zero_copy_only=False)
    other = np.array([log not in _LOGS for log in logs], np.bool_)[place]
    entry.rows.refuse(other, "logName", names, "a log named " + " or ".join(_LOGS))
    return np.array(logs, np.object_)[place]


def _request(entry: _Entry, is_audit: Mask) -> None:
    rows, is_http = entry.rows, entry.is_http
    url = pc.extract_regex(entry.field("requestUrl"), _URL)
    method, path = entry.field("requestMethod"), filled(url.field("path"))
    path = pc.if_else(url.is_valid(), pc.coalesce(path, pa.scalar("/")), None)
    told = is_http & ~is_audit
    rows.put("method", method, is_http)
    rows.put("path", path, is_http)
    rows.put("operation", operations(method, path), is_http)
    rows.put("authority", url.field("authority"), is_http)
    rows.put("user_agent", entry.field("userAgent"), is_http)
    rows.put_status("httpRequest.status", entry.field("status"), told)
    latency = entry.field("latency")
    seconds = pc.replace_substring_regex(latency, r"^([0-9.]+)s$", r"\1")
    rows.put_duration("duration_us", "httpRequest.latency", seconds, 1e6)
    for column, field, label in (
        ("bytes_sent", "responseSize", "total_sent_bytes"),
        ("bytes_received", "requestSize", "total_received_bytes"),
    ):
        size = pc.coalesce(entry.field(field), entry.label(label))
        rows.put_count(column, field, size, told | present(size))
    pool = rows.pool
    state = pool.map(pool.encode(entry.label("connection_state")), lambda text: _STATES.get(text, "connection_end"))
    protocol = pool.map(
        pool.encode(pc.coalesce(entry.label("protocol"), entry.field("protocol"))), lambda text: _protocol(text)
    )
    protocol = np.where(protocol != 0, protocol, np.where(is_http, pool.code("http"), pool.code("tcp")))
    rows.put("protocol", pool.decode(protocol.astype(np.int32)))
    kind = np.where(is_http, pool.code("request"), np.where(state != 0, state, pool.code("connection_end")))
    kind = np.where(is_audit, pool.code("audit"), kind)
    rows.put("log_type", pool.decode(kind.astype(np.int32)))


def _protocol(text: str) -> str:
    """`http`, `grpc` and `tcp` as they are, `HTTP/2` and the like as the other formats name them."""
    text = text.lower()
    if text.startswith(("http/2", "http/3")):
        return text.replace("/", "")[:5]
    return "http" if text.startswith("http") else text if text in ("grpc", "tcp") else ""


def _reporters(entry: _Entry, log: npt.NDArray[np.object_]) -> Codes:
    """Which side wrote each entry, as codes; sets both ends and what follows from the side."""
    rows, pool = entry.rows, entry.rows.pool
    side = pool.codes([_LOGS.get(name, "") for name in log.tolist()])
    parts = [f"{end}_{part}" for end in ("source", "destination") for part in _SIDES]
    labels = [*parts, "destination_service_host", "destination_service_name"]
    codes = {name: pool.encode(entry.label(name)) for name in labels}
    for name in _RESOURCE:
        codes[name] = pool.encode(text_of(entry.own, name, rows.rows))
    first, group = groups([side, *codes.values()])
    values = pool.values
    found = [
        _resolve(values[side[row]], {name: values[code[row]] for name, code in codes.items()}) for row in first.tolist()
    ]
    rows.put_ends("source", [one.source for one in found], group)
    rows.put_ends("destination", [one.destination for one in found], group)
    rows.spread("direction", [one.direction for one in found], group)
    rows.spread("reporter", [one.reporter for one in found], group)
    is_server = side == pool.code("destination")
    for end in ("source", "destination"):
        rows.tell(f"{end}_principal", is_server & entry.has(f"{end}_principal"))
    policy = pool.map(pool.encode(entry.label("service_authentication_policy")), lambda text: _TLS.get(text, ""))
    # A client's log says nothing of the policy; it has both principals where the handshake showed them.
    both = (codes["source_principal"] != 0) & (codes["destination_principal"] != 0) & ~is_server
    tls = np.where(policy != 0, policy, np.where(both, pool.code("mtls"), pool.code("unknown")))
    rows.put("tls", pool.decode(tls.astype(np.int32)), (policy != 0) | both)
    return side


class _Ends(NamedTuple):
    reporter: str
    source: End
    destination: End
    direction: str


def _resolve(side: str, label: Mapping[str, str]) -> _Ends:
    """Both ends of one distinct combination of labels."""
    source, destination = _end("source", label), _end("destination", label)
    app = label["source_app"] or label["source_canonical_service"]
    if side == "destination":
        destination = _own(destination, label)
    else:
        source = _own(source, label)
    from_gateway = any(is_gateway_name(name) for name in (source.workload, app))
    destination, outside = _callee(destination, label, side)
    direction = "egress" if outside else "ingress" if from_gateway else "east_west"
    return _Ends("gateway" if from_gateway and side == "source" else side, source, destination, direction)


def _end(side: str, label: Mapping[str, str]) -> End:
    given = {part: "" if (text := label[f"{side}_{part}"]) == "unknown" else text for part in _SIDES}
    identity = parse_principal(given["principal"])
    return End(
        namespace=given["namespace"] or identity.namespace,
        workload=given["workload"],
        service=given["canonical_service"] or given["app"],
        version=given["canonical_revision"] or given["version"],
        pod=given["name"],
        principal=identity.id,
    )


def _own(end: End, label: Mapping[str, str]) -> End:
    """The reporter's end, completed with the pod that wrote the entry."""
    pod = end.pod or label["pod_name"]
    return end._replace(
        cluster=label["cluster_name"],
        namespace=end.namespace or label["namespace_name"],
        workload=end.workload or (workload_of(pod) if pod else ""),
        pod=pod,
    )


def _callee(end: End, label: Mapping[str, str], side: str) -> tuple[End, bool]:
    """The destination by the name of the service that was called, and whether it is a host outside."""
    host = parse_host(label["destination_service_host"])
    if host.service and host.namespace in ("", end.namespace or host.namespace):
        return end._replace(namespace=end.namespace or host.namespace, service=host.service), False
    name = label["destination_service_name"]
    if parse_host(name).service and not host.external:
        return end._replace(service=parse_host(name).service), False
    if host.external and side == "source" and not end.workload:
        return End(service=host.external, principal=end.principal), True
    return end, False


def _addresses(entry: _Entry, side: Codes) -> None:
    """`ip:port` of the request, or the labels of the connection (whose addresses may have their port with them)."""
    rows = entry.rows
    is_client = side == rows.pool.code("source")
    for end, field in (("source", "remoteIp"), ("destination", "serverIp")):
        codes, ports = rows.ips.parse(pc.coalesce(entry.field(field), entry.label(f"{end}_ip")))
        named, _ = unsigned(entry.label(f"{end}_port"), pa.uint16(), 65535)
        ports = np.where(ports != 0, ports, named.fill_null(0).to_numpy(zero_copy_only=False)).astype(np.uint16)
        if end == "destination":
            # A client's server address is the service's; where it went stands in a label.
            upstream, upstream_port = rows.ips.parse(entry.label("upstream_host"))
            chosen = is_client & (upstream != 0)
            codes = np.where(chosen, upstream, codes).astype(np.int32)
            ports = np.where(chosen, upstream_port, ports).astype(np.uint16)
        rows.put_codes(end, codes, ports, codes != 0)


def _ids(entry: _Entry, shape: Shape) -> None:
    rows = entry.rows
    rows.put("request_id", entry.label("request_id"), entry.has("request_id"))
    trace = pc.replace_substring_regex(text_of(shape.columns, "trace", rows.rows), r"^(?s:.*)/", "")
    rows.put_trace(trace, text_of(shape.columns, "spanId", rows.rows), carried(shape.columns, "trace", rows.rows))
    for column, label in (
        ("response_flags", "response_flag"),
        ("response_details", "response_details"),
        ("upstream_cluster", "upstream_cluster"),
        ("sni", "requested_server_name"),
    ):
        rows.put(column, entry.label(label), entry.has(label))


def _outcomes(entry: _Entry) -> None:
    rows, pool = entry.rows, entry.rows.pool
    status = rows.columns["status"].to_numpy().astype(np.int64)
    names = ("response_flag", "response_details", "upstream_transport_failure_reason", "policy_name", "policy_rule")
    # What is too long means nothing, and must not be remembered by the cache of outcomes.
    texts = [pool.map(pool.encode(entry.label(name)), bounded) for name in names]
    reached = present(entry.label("upstream_host"))
    detailed, is_http = entry.has("response_details"), entry.is_http

    def outcome(row: int) -> Outcome:
        flags, details, failure, policy, rule = (pool.values[codes[row]] for codes in texts)
        found = judge(
            Line(
                int(status[row]),
                flags=flags,
                details=details,
                transport_failure=failure,
                is_connection=not is_http[row],
                reached_upstream=bool(reached[row]) and details != _DENIED,
                has_details=bool(detailed[row]),
            )
        )
        return found._replace(denied_by=policy_id(policy, rule)) if details == _DENIED else found

    rows.judge([status, *texts, reached, detailed, is_http], outcome, logged=False)
    rows.tell("verdict", detailed)


def bounded(text: str) -> str:
    """A text, unless it is longer than any that means something."""
    return text if len(text) <= MAX_LENGTH else ""


def policy_id(name: str, rule: str) -> str:
    """A policy as Istio's other logs name it: from `NAMESPACE.NAME` and its rule; `none` where no ALLOW matched."""
    namespace, dot, policy = name.partition(".")
    if not dot:
        return name or "none"
    return f"ns[{namespace}]-policy[{policy}]" + (f"-rule[{rule}]" if rule else "")


def _attributes(entry: _Entry) -> list[tuple[str, pa.StringArray]]:
    found = [(name, entry.label(name)) for name in _KEPT]
    found += [(name, text_of(entry.own, name, entry.rows.rows)) for name in ("project_id", "location")]
    found.append(("referer", entry.field("referer")))
    return [(name, text) for name, text in found if text.null_count < len(text)]


FORMAT = JsonFormat("gcp_json", known=KNOWN, recognises=recognises, read=read)
