"""Kong's logs as its file-log, http-log, tcp-log and udp-log plugins write them: one object per request or session.

Keys: Kong/kong, kong/pdk/log.lua. Headers are objects, sizes may be text, latencies are milliseconds (-1 = none),
`started_at` is milliseconds since 1970. Edges go from Kong (its pod, else `kong`) into the service that was matched.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from collector.coded import distinct_codes, groups
from collector.decode.call_rows import (
    NO_END,
    CallRows,
    End,
    Mask,
    carried,
    end_of,
    filled,
    gateway_end,
    rows_of,
    text_of,
)
from collector.decode.envelope import Lines
from collector.decode.gateway_outcomes import request_outcome, session_outcome
from collector.decode.json_shapes import JsonColumn, Shape
from collector.decode.limits import Limits
from collector.decode.line_format import JsonFormat, Refused
from collector.decode.nested import opened_object
from collector.decode.values import unsigned
from collector.envoy.attributes import added
from collector.identity.clusters import parse_host
from collector.identity.own_pods import own_pods
from collector.identity.socket_addresses import is_private
from collector.operations import operations
from collector.trace_ids import from_traceparent

KNOWN: Set[str] = frozenset(
    (
        "request",
        "response",
        "latencies",
        "session",
        "tries",
        "service",
        "route",
        "consumer",
        "authenticated_entity",
        "client_ip",
        "started_at",
        "upstream_status",
        "upstream_uri",
        "trace_id",
        "kubernetes",
    )
)
_OBJECTS: Mapping[str, frozenset[str]] = {
    "request": frozenset({"id", "uri", "url", "method", "size", "headers", "tls"}),
    "response": frozenset({"status", "size"}),
    "latencies": frozenset({"request", "kong", "proxy", "session"}),
    "session": frozenset({"status", "sent", "received", "tls", "server_port"}),
    "service": frozenset({"name", "host", "port", "protocol", "id"}),
    "route": frozenset({"name", "id"}),
    "consumer": frozenset({"username", "custom_id", "id"}),
    "authenticated_entity": frozenset({"id", "consumer_id"}),
    "trace_id": frozenset({"w3c", "b3"}),
}
_HEADERS = frozenset(
    {
        "host",
        "user-agent",
        "x-request-id",
        "x-forwarded-for",
        "content-type",
        "traceparent",
        "x-b3-traceid",
        "x-b3-spanid",
    }
)
# Kong's ingress controller: SERVICE.NAMESPACE.PORT.svc, and the names of Gateway API routes, which name no host.
_CONTROLLER = re.compile(r"([^.]+)\.([^.]+)\.(?:\d{1,5}|p(?:num|name)-[^.]+|[a-z0-9-]*)\.svc")
_ROUTE = re.compile(r"(?:http|grpc|tcp|tls|udp)route\.")
# Of the last object of the list, whose keys come in any order.
_LAST_TRY = (
    r'^(?s:.*)\{(?:[^{}]*?"port"\s*:\s*(?P<before>\d{1,5})\b)?[^{}]*?"ip"\s*:\s*"(?P<ip>[0-9A-Fa-f:.]{1,45})"'
    r'(?:[^{}]*?"port"\s*:\s*(?P<behind>\d{1,5})\b)?[^{}]*\}\s*\]$'
)
_TLS_PROTOCOLS = {"https", "grpcs", "tls", "wss"}
Objects = Mapping[str, Mapping[str, JsonColumn]]


def recognises(keys: Set[str]) -> bool:
    """Whether an object with these keys is a line of one of Kong's log plugins."""
    return "latencies" in keys and "client_ip" in keys and not keys.isdisjoint({"request", "session"})


def read(lines: Lines, shape: Shape, limits: Limits) -> tuple[pa.RecordBatch, Refused]:
    """Rows of `calls` of the lines of one shape."""
    rows = rows_of(lines, shape, "kong")
    size = rows.rows
    opened = {name: opened_object(text_of(shape.columns, name, size), keys, limits) for name, keys in _OBJECTS.items()}
    headers = opened_object(text_of(opened["request"], "headers", size), _HEADERS, limits)
    rows.put_time("started_at", text_of(shape.columns, "started_at", size))
    is_session = carried(shape.columns, "session", size) & ~carried(shape.columns, "request", size)
    _request(rows, opened, headers, is_session)
    status = _response(rows, opened)
    rows.put_address("source", text_of(shape.columns, "client_ip", size))
    tried = _ends(rows, shape, opened)
    _ids(rows, opened, headers)
    rows.columns["attributes"] = _attributes(rows, shape, opened, headers)
    rows.judge(
        [status, tried, is_session],
        lambda row: (
            session_outcome(int(status[row]))
            if is_session[row]
            else request_outcome(int(status[row]), bool(tried[row]))
        ),
        logged=True,
    )
    batch, wrong = rows.batch()
    return batch, [(int(shape.rows[row]), reason) for row, reason in wrong]


def _request(rows: CallRows, opened: Objects, headers: Mapping[str, JsonColumn], is_session: Mask) -> None:
    size = rows.rows
    request = opened["request"]
    method, path = text_of(request, "method", size), text_of(request, "uri", size)
    rows.put("method", method, carried(request, "method", size))
    rows.put("path", path, carried(request, "uri", size))
    rows.put("operation", operations(method, path), carried(request, "uri", size))
    logged = carried(request, "headers", size)
    url = pc.extract_regex(text_of(request, "url", size), r"^[a-z0-9+.-]*://(?P<host>[^/?#]*)").field("host")
    rows.put("authority", pc.coalesce(_text(headers, "host", size), url), logged | carried(request, "url", size))
    rows.put("user_agent", _text(headers, "user-agent", size), logged)
    pool = rows.pool
    service = pool.encode(text_of(opened["service"], "protocol", size))
    content = pool.encode(_text(headers, "content-type", size))
    grpc = pool.test(service, lambda name: name in ("grpc", "grpcs"))
    grpc |= pool.test(content, lambda name: name.startswith("application/grpc"))
    protocol = np.where(is_session, pool.code("tcp"), np.where(grpc, pool.code("grpc"), pool.code("http")))
    rows.put("protocol", pool.decode(protocol.astype(np.int32)))
    kind = np.where(is_session, pool.code("connection_end"), pool.code("request"))
    rows.put("log_type", pool.decode(kind.astype(np.int32)), False)


def _text(columns: Mapping[str, JsonColumn], name: str, rows: int) -> pa.StringArray:
    """A header; of one that was sent several times (a list) nothing is taken."""
    column = columns.get(name)
    if column is None:
        return pa.nulls(rows, pa.string())
    if column.quoted is None:
        return column.text
    return pc.if_else(pa.array(column.quoted), column.text, pa.scalar(None, pa.string()))


def _response(rows: CallRows, opened: Objects) -> npt.NDArray[np.int64]:
    size = rows.rows
    response, session, latencies = opened["response"], opened["session"], opened["latencies"]
    text = pc.coalesce(text_of(response, "status", size), text_of(session, "status", size))
    status = rows.put_status("status", text, carried(response, "status", size) | carried(session, "status", size))
    sent = pc.coalesce(text_of(response, "size", size), text_of(session, "sent", size))
    rows.put_count("bytes_sent", "size of the response", filled(sent))
    received = pc.coalesce(text_of(opened["request"], "size", size), text_of(session, "received", size))
    rows.put_count("bytes_received", "size of the request", filled(received))
    whole = pc.coalesce(text_of(latencies, "request", size), text_of(latencies, "session", size))
    rows.put_duration("duration_us", "latencies", whole, 1000.0, least=-1.0)
    rows.put_duration("upstream_duration_us", "latencies.proxy", text_of(latencies, "proxy", size), 1000.0, least=-1.0)
    return status


def upstream_of(host: str, inside: bool) -> tuple[End, str]:
    """The service that Kong called, and the direction.

    Args:
        host: the service's `host`: of a Kubernetes service, of an upstream entity, a host outside, an address.
        inside: the address that was tried is a private one.
    """
    if match := _CONTROLLER.fullmatch(host):
        return End(namespace=match[2], service=match[1]), "ingress"
    if not host or _ROUTE.match(host):
        return NO_END, "ingress"
    found = parse_host(host)
    if found.service:
        return End(namespace=found.namespace, service=found.service), "ingress"
    # An upstream entity may be called like a host; what it balances over is of the cluster.
    return End(service=found.external), "egress" if found.external and not inside else "ingress"


def _ends(rows: CallRows, shape: Shape, opened: Objects) -> Mask:
    """Both ends; returns which lines tried an upstream."""
    size, pool, ips = rows.rows, rows.pool, rows.ips
    service = opened["service"]
    tries = text_of(shape.columns, "tries", size)
    count = pc.count_substring_regex(tries, r'"ip"\s*:').fill_null(0).to_numpy(zero_copy_only=False)
    rows.put("attempt", pa.array(np.minimum(count, 65535).astype(np.uint16)), carried(shape.columns, "tries", size))
    last = pc.extract_regex(tries, _LAST_TRY)
    address, ports = ips.parse(_socket(last.field("ip"), last.field("before"), last.field("behind")))
    host = pool.encode(text_of(service, "host", size))
    # The host of a service may be an address, which is then all that names it.
    literal, _ = ips.parse(text_of(service, "host", size))
    address = np.where(address != 0, address, literal).astype(np.int32)
    named_port, _ = unsigned(text_of(service, "port", size), pa.uint16(), 65535)
    ports = np.where(ports != 0, ports, named_port.fill_null(0).to_numpy(zero_copy_only=False)).astype(np.uint16)
    rows.put_codes("destination", address, ports, address != 0)
    rows.put("upstream_cluster", pool.decode(host), carried(service, "host", size))
    distinct, place = distinct_codes(address, len(ips.values))
    inside = np.array([is_private(ips.values[code]) for code in distinct.tolist()], np.bool_)[place]
    pods, pod = own_pods(rows.lines.metadata, size, pool)
    pod_ip = rows.lines.metadata.get("pod_ip")
    own_ip, _ = ips.parse(rows.nothing() if pod_ip is None else pod_ip)
    rows.columns["_upstream_local_ip"] = ips.decode(own_ip)
    first, group = groups([host, inside, pod, own_ip != 0])
    callees = [upstream_of(pool.values[host[row]], bool(inside[row])) for row in first.tolist()]
    own = [(pods[pod[row]].pod, bool(own_ip[row])) for row in first.tolist()]
    rows.put_ends(
        "source", [gateway_end(one, "kong", has_ip) for one, has_ip in own], group, [end_of(one) for one, _ in own]
    )
    rows.put_ends("destination", [end for end, _ in callees], group)
    rows.spread("direction", [direction for _, direction in callees], group)
    rows.put_constant("reporter", "gateway")
    # Plain HTTP may pass through a sidecar that Kong does not know of.
    secured = pool.test(pool.encode(text_of(service, "protocol", size)), lambda scheme: scheme in _TLS_PROTOCOLS)
    rows.put("tls", pool.decode(np.where(secured, pool.code("tls"), pool.code("unknown")).astype(np.int32)), secured)
    return count > 0


def _socket(ip: pa.StringArray, before: pa.StringArray, behind: pa.StringArray) -> pa.StringArray:
    """`[ip]:port` of a try whose port stood before or behind its address."""
    port = pc.if_else(pc.equal(behind, ""), before, behind)
    return pc.binary_join_element_wise("[", ip, "]:", port, "")


def _ids(rows: CallRows, opened: Objects, headers: Mapping[str, JsonColumn]) -> None:
    """The request id that goes on into the mesh, else Kong's own; the trace as Kong knows it, else as it came."""
    size = rows.rows
    own, asked = text_of(opened["request"], "id", size), _text(headers, "x-request-id", size)
    logged = carried(opened["request"], "id", size) | carried(opened["request"], "headers", size)
    rows.put("request_id", pc.coalesce(filled(asked), own), logged)
    known = pc.coalesce(text_of(opened["trace_id"], "w3c", size), text_of(opened["trace_id"], "b3", size))
    trace, span = from_traceparent(_text(headers, "traceparent", size))
    b3_trace, b3_span = _text(headers, "x-b3-traceid", size), _text(headers, "x-b3-spanid", size)
    rows.put_trace(pc.coalesce(known, filled(trace), b3_trace), pc.coalesce(filled(span), b3_span), logged)


def _attributes(rows: CallRows, shape: Shape, opened: Objects, headers: Mapping[str, JsonColumn]) -> pa.MapArray:
    """Keys without a column: what was matched, who was authenticated, every try's status."""
    size = rows.rows
    found = [
        ("service", text_of(opened["service"], "name", size)),
        ("route", text_of(opened["route"], "name", size)),
        ("consumer", text_of(opened["consumer"], "username", size)),
        ("consumer_custom_id", text_of(opened["consumer"], "custom_id", size)),
        ("authenticated_entity", text_of(opened["authenticated_entity"], "id", size)),
        ("request_tls", text_of(opened["request"], "tls", size)),
        ("upstream_status", text_of(shape.columns, "upstream_status", size)),
        ("upstream_uri", text_of(shape.columns, "upstream_uri", size)),
        ("x_forwarded_for", _text(headers, "x-forwarded-for", size)),
        ("content_type", _text(headers, "content-type", size)),
    ]
    found = [(name, filled(text)) for name, text in found]
    return added(shape.extra, [(name, text) for name, text in found if text.null_count < size])


FORMAT = JsonFormat("kong_json", known=KNOWN, recognises=recognises, read=read)
