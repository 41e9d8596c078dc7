"""Linkerd's access log, apache or json, as `calls`: what the two formats say alike.

Linkerd logs inbound HTTP only, so every line is its destination's. The caller's identity is in the line; the callee is
the pod that wrote it (log shippers say which), or else who the caller asked for.

A refusal by policy is a 403 that the proxy makes itself, always with `content-length: 0` (linkerd2-proxy,
app/core/src/errors/respond.rs), and to gRPC callers a 200. So a 403 with a body came from the application, one without
a length is unknown, and where sizes are not logged (apache) a 403 counts as a refusal.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from collector.coded import groups
from collector.decode.call_rows import CallRows, End, Mask, end_of, filled
from collector.decode.values import absent_to_null
from collector.identity.clusters import NO_HOST, parse_host
from collector.identity.kubernetes import first_label
from collector.identity.own_pods import OwnPod, own_pods
from collector.identity.principals import Principal, parse_principal
from collector.operations import operations
from collector.outcomes import Line, Outcome, judge

_URI = r"^(?:[A-Za-z][A-Za-z0-9+.-]*://(?P<authority>[^/?#]*))?(?P<path>(?s:.*))$"
_PROTOCOLS = {"HTTP/2.0": "http2", "HTTP/2": "http2", "HTTP/3.0": "http3", "HTTP/3": "http3"}
_WORKLOAD_LABELS = (
    "linkerd.io/proxy-deployment",
    "linkerd.io/proxy-statefulset",
    "linkerd.io/proxy-daemonset",
    "linkerd.io/proxy-cronjob",
    "linkerd.io/proxy-job",
    "linkerd.io/proxy-replicaset",
    "linkerd.io/proxy-replicationcontroller",
)


def fill(rows: CallRows, text: Mapping[str, pa.StringArray], carried: Mapping[str, Mask]) -> None:
    """Set the columns of `calls`.

    Args:
        rows: of the lines that `text` comes from.
        text: by the names of json's keys, null where a line has none; `client.addr`, `client.id`, `timestamp`,
            `method`, `uri`, `version` and `status` must be there.
        carried: by the same names, which lines have the field, absent or not.
    """
    rows.put_time("timestamp", text["timestamp"])
    status = rows.put_status("status", absent_to_null(text["status"]), carried["status"])
    _request(rows, text, carried)
    rows.put_address("source", absent_to_null(text["client.addr"]), carried["client.addr"])
    _ends(rows, absent_to_null(text["client.id"]), carried["client.id"])
    _sizes(rows, text)
    _ids(rows, text, carried)
    _outcome(rows, text, carried, status)


def _request(rows: CallRows, text: Mapping[str, pa.StringArray], carried: Mapping[str, Mask]) -> None:
    nothing = rows.nothing()
    method, agent = absent_to_null(text["method"]), absent_to_null(text.get("user_agent", nothing))
    uri = pc.extract_regex(absent_to_null(text["uri"]), _URI)
    authority, path = uri.field("authority"), uri.field("path")
    asked = pc.and_(pc.equal(path, ""), pc.not_equal(authority, ""))
    path = pc.if_else(asked, "/", path)
    named = pc.coalesce(filled(text.get("host", nothing)), filled(authority))
    rows.put("method", method, carried["method"])
    rows.put("path", path, carried["uri"])
    rows.put("operation", operations(method, path), carried["uri"])
    absolute = pc.not_equal(authority, "").fill_null(False).to_numpy(zero_copy_only=False)
    rows.put("authority", named, absolute | carried.get("host", absolute))
    rows.put("user_agent", agent, carried.get("user_agent", False))
    pool = rows.pool
    protocol = pool.map(pool.encode(text["version"]), lambda version: _PROTOCOLS.get(version, "http"))
    # No field says gRPC; its clients do.
    grpc = (protocol == pool.code("http2")) & pool.test(pool.encode(agent), lambda name: name.startswith("grpc-"))
    rows.put("protocol", pool.decode(np.where(grpc, pool.code("grpc"), protocol).astype(np.int32)), carried["version"])
    rows.put_constant("log_type", "request")


def _sizes(rows: CallRows, text: Mapping[str, pa.StringArray]) -> None:
    """Sizes are the `content-length` headers: a line without one says nothing of the size."""
    for column, name in (("bytes_received", "request_bytes"), ("bytes_sent", "response_bytes")):
        if name in text:
            # Both peers can write anything into the header.
            plain = pc.match_substring_regex(text[name], r"^[0-9]{1,18}$")
            rows.put_count(column, name, pc.if_else(plain, text[name], None))
    if "total_ns" in text:
        rows.put_duration("duration_us", "total_ns", filled(text["total_ns"]), 0.001)


def _ids(rows: CallRows, text: Mapping[str, pa.StringArray], carried: Mapping[str, Mask]) -> None:
    """`trace_id` holds the first of x-b3-traceid, x-request-id and x-amzn-trace-id; which one it was, nobody says."""
    if "trace_id" in text:
        given = filled(text["trace_id"])
        rows.put("request_id", given, carried["trace_id"])
        rows.put_trace(given, rows.nothing(), carried["trace_id"])


def _ends(rows: CallRows, client: pa.StringArray, known: Mask) -> None:
    pool = rows.pool
    pods, pod = own_pods(rows.lines.metadata, rows.rows, pool)
    identity = pool.encode(client)
    authority = pool.encode(rows.columns["authority"])
    first, group = groups([identity, authority, pod])
    callers: list[End] = []
    callees: list[End] = []
    owns: list[End] = []
    weak: list[bool] = []
    ports: list[int] = []
    for row in first.tolist():
        peer = parse_principal(pool.values[identity[row]])
        own = _own(pods[pod[row]])
        callee, port, guessed = _callee(own, pool.values[authority[row]], peer)
        callers.append(End(namespace=peer.namespace, service=peer.service, principal=peer.id))
        callees.append(callee)
        owns.append(own)
        weak.append(guessed)
        ports.append(port)
    rows.put_ends("source", callers, group)
    rows.tell("source_principal", known)
    rows.tell("source_namespace", known)
    rows.put_ends("destination", callees, group, told=owns)
    pod_ip = rows.lines.metadata.get("pod_ip")
    own_ip, _ = rows.ips.parse(rows.nothing() if pod_ip is None else pod_ip)
    rows.put_codes("destination", own_ip, np.array(ports, np.uint16)[group], False)
    rows.columns["_downstream_local_ip"] = rows.ips.decode(own_ip)
    rows.columns["_weak"] = pa.array(np.array(weak, np.bool_)[group])
    # Only TLS that the mesh ends is read as HTTP, and its clients have an identity: HTTP without one came in plain.
    named = identity != 0
    tls = np.where(named, pool.code("mtls"), np.where(known, pool.code("plaintext"), pool.code("unknown")))
    rows.put("tls", pool.decode(tls.astype(np.int32)), known)
    rows.put_constant("reporter", "destination")
    rows.put_constant("direction", "")


def _own(own: OwnPod) -> End:
    end = end_of(own.pod)
    return end._replace(workload=first_label(own.labels, _WORKLOAD_LABELS) or end.workload)


def _callee(own: End, authority: str, peer: Principal) -> tuple[End, int, bool]:
    """The destination, the port that its caller asked for, and whether only the caller named it."""
    host = parse_host(authority, own.namespace or peer.namespace)
    if own.service or own.workload or host == NO_HOST:
        return own, host.port, False
    labels = host.external.split(".")
    service, namespace = host.service, host.namespace
    if len(labels) == 2 and labels[1] == (own.namespace or peer.namespace):
        service, namespace = labels
    if not service or (own.namespace and namespace != own.namespace):
        return own, host.port, False
    return own._replace(namespace=namespace, service=service), host.port, True


def _outcome(
    rows: CallRows, text: Mapping[str, pa.StringArray], carried: Mapping[str, Mask], status: np.ndarray
) -> None:
    length = rows.pool.encode(text.get("response_bytes", rows.nothing()))
    size = rows.pool.map(length, lambda given: given if given in ("", "0") else "1")
    sized = np.full(rows.rows, "response_bytes" in text)
    pool = rows.pool
    protocol = pool.encode(rows.columns["protocol"])

    def outcome(row: int) -> Outcome:
        return _outcome_of(
            int(status[row]),
            bool(carried["status"][row]) and bool(status[row]),
            pool.values[size[row]] if sized[row] else None,
            pool.values[protocol[row]] == "grpc",
        )

    rows.judge([status, carried["status"], size, protocol], outcome, logged=False)
    rows.tell("verdict", carried["status"] & (status == 403))


def _outcome_of(status: int, has_status: bool, length: str | None, is_grpc: bool) -> Outcome:
    """`length` is the response's: `0`, `""` for none, another text for more, None where lines do not say it."""
    if status == 403 and length in (None, "0"):
        return Outcome("denied", "", "mesh")
    if is_grpc and status == 200 and length == "0":
        return Outcome("unknown", "", "unknown")  # the proxy's own answer, whose gRPC status nobody logs
    reached = has_status and (status != 403 or length not in (None, "0", ""))
    found = judge(Line(status, reached_upstream=reached, has_status=has_status, has_details=status == 403))
    return found if has_status else Outcome("unknown", "", "unknown")
