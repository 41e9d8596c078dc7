"""ingress-nginx's access log: `upstreaminfo`, its default format, and the lines of its TCP and UDP services.

Format: kubernetes/ingress-nginx, docs/user-guide/nginx-configuration/log-format.md. nginx escapes quotes in what
callers write, so quotes are where the format has them. A request that was tried several times has lists in its upstream
fields.

Edges go from the controller (its pod, else `ingress-nginx`) into the upstream, `NAMESPACE-SERVICE-PORT`. Names hold
dashes themselves: where more than one reading is possible the whole name stands for the service, until the address of
the pod or the services known to the map tell (`Names` in analyzers/dependencies/names.py).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from collector.coded import Codes, groups
from collector.decode.call_rows import NO_END, CallRows, End, Mask, filled, gateway_end
from collector.decode.common_log import TIME, protocols, request_parts, rfc3339
from collector.decode.envelope import Lines
from collector.decode.expression_lines import Matched, matched
from collector.decode.gateway_outcomes import GATEWAY_REQUEST, request_outcome, session_outcome
from collector.decode.limits import EARLIEST_US, Limits
from collector.decode.line_format import TextFormat, TextRows
from collector.decode.nginx_lines import cut
from collector.decode.values import TIMESTAMP, absent_to_null, numbers
from collector.envoy.attributes import added
from collector.identity.own_pods import own_pods
from collector.identity.socket_addresses import Ports
from collector.operations import operations

Fields = Mapping[str, pa.StringArray]
"""The text of each field of the lines, by the names of the expressions' groups."""

STREAM = (
    rf"^\[(?P<addr>[^\]\s]+)\] \[(?P<time>{TIME})\] (?P<protocol>TCP|UDP) "
    r"(?P<status>\d{3}) (?P<sent>\d+) (?P<received>\d+) (?P<duration>[0-9.]+)$"
)

DEFAULT_BACKEND = "upstream-default-backend"
_CUSTOM_BACKEND = "custom-default-backend-"


def parse_upstream(name: str) -> tuple[End, int, bool]:
    """Namespace, service and port of an upstream's name; whether it can be read in several ways.

    `-`, `""` and the built-in default backend are nobody. A name of several readings is the service as a whole.
    """
    if name in ("", "-", DEFAULT_BACKEND):
        return NO_END, 0, False
    parts = name.split("-")
    if name.startswith(_CUSTOM_BACKEND):
        parts = [*parts[3:], ""]
    if len(parts) == 3:
        namespace, service, port = parts
        return End(namespace=namespace, service=service), _port(port), False
    return End(service=name), _port(parts[-1]), True


def _port(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 5 and int(text) < 65536 else 0


def read(lines: Lines, limits: Limits) -> TextRows:
    """Rows of `calls` of the lines that are ingress-nginx's."""
    requests = cut(lines, limits)
    others = lines.take(requests.rest)
    streams = matched(others, STREAM, limits)
    refused = list(requests.refused) + [(int(requests.rest[row]), reason) for row, reason in streams.refused]
    batches: list[pa.RecordBatch] = []
    for found, rows_of, place in (
        (requests, _requests, requests.rows),
        (streams, _sessions, requests.rest[streams.rows]),
    ):
        if len(found.lines):
            batch, wrong = rows_of(found).batch()
            batches.append(batch)
            refused += [(int(place[row]), reason) for row, reason in wrong]
    return TextRows(batches, refused, requests.rest[streams.rest])


def _requests(found: Matched) -> CallRows:
    rows, fields = CallRows(found.lines, "ingress-nginx"), found.fields
    duration = absent_to_null(fields["duration"])
    _start(rows, fields["time"], duration)
    rows.put_duration("duration_us", "request_time", duration, 1e6)
    method, path, protocol = request_parts(fields["request"])
    rows.put("method", method)
    rows.put("path", path)
    rows.put("operation", operations(method, path))
    rows.put("protocol", protocols(protocol))
    rows.put("user_agent", absent_to_null(fields["agent"]))
    rows.put("request_id", absent_to_null(fields["id"]))
    rows.put_count("bytes_sent", "body_bytes_sent", absent_to_null(fields["sent"]))
    rows.put_count("bytes_received", "request_length", absent_to_null(fields["received"]))
    status = rows.put_status("status", fields["status"])
    rows.put_address("source", fields["addr"])
    rows.put_constant("log_type", "request")
    last = _last(fields["tries"])
    address, port = rows.ips.parse(absent_to_null(last))
    reached = address != 0
    tries = np.where(reached, pc.count_substring_regex(fields["tries"], ", | : ").to_numpy() + 1, 0)
    rows.put("attempt", pa.array(np.minimum(tries, 65535).astype(np.uint16)))
    times, _ = numbers(absent_to_null(_last(fields["times"])))
    seconds = np.clip(times.fill_null(0.0).to_numpy(zero_copy_only=False), 0, 1e9)
    rows.put("upstream_duration_us", pa.array(np.rint(seconds * 1e6).astype(np.uint64)))
    _ends(rows, fields, address, port)
    rows.columns["attributes"] = _attributes(rows, fields, tries > 1)
    rows.judge([status, reached], lambda row: request_outcome(int(status[row]), bool(reached[row])), logged=True)
    return rows


def _start(rows: CallRows, text: pa.StringArray, duration: pa.StringArray) -> None:
    """nginx logs the end, in whole seconds: the start is as many whole seconds earlier."""
    rows.put_time("time_local", rfc3339(text))
    seconds, _ = numbers(duration)
    elapsed = np.clip(np.nan_to_num(seconds.fill_null(0.0).to_numpy(zero_copy_only=False)), 0, 1e7).astype(np.int64)
    if elapsed.any():
        moved = pc.subtract(rows.columns["ts"].cast(pa.int64()), pa.array(elapsed * 1_000_000))
        rows.columns["ts"] = pc.max_element_wise(moved, pa.scalar(EARLIEST_US), skip_nulls=False).cast(TIMESTAMP)


def _last(tries: pa.StringArray) -> pa.StringArray:
    """The last of a list of tries."""
    return pc.replace_substring_regex(tries, r"^.* ", "")


def _ends(rows: CallRows, fields: Fields, address: Codes, port: Ports) -> None:
    pool = rows.pool
    pods, pod = own_pods(rows.lines.metadata, rows.rows, pool)
    upstream = np.where(
        (alternative := pool.encode(absent_to_null(fields["alternative"]))) != 0,
        alternative,
        pool.encode(absent_to_null(fields["upstream"])),
    ).astype(np.int32)
    rows.put("upstream_cluster", pool.decode(upstream))
    loopback = rows.ips.loopback()[address]
    pod_ip = rows.lines.metadata.get("pod_ip")
    own_ip, _ = rows.ips.parse(rows.nothing() if pod_ip is None else pod_ip)
    first, group = groups([upstream, pod, own_ip != 0])
    named = [parse_upstream(pool.values[upstream[row]]) for row in first.tolist()]
    own = [pods[pod[row]].pod for row in first.tolist()]
    known = [bool(own_ip[row]) for row in first.tolist()]
    sources = [gateway_end(one, "ingress-nginx", has_ip) for one, has_ip in zip(own, known, strict=True)]
    rows.put_ends("source", sources, group, [gateway_end(one, "", True) for one in own])
    rows.put_ends("destination", [end for end, _, _ in named], group)
    for part in ("service", "namespace"):
        rows.tell(f"destination_{part}")
    rows.columns["_weak"] = pa.array(np.array([guess for _, _, guess in named], np.bool_)[group])
    # The built-in default backend listens in the controller's own pod.
    outward = np.where(loopback, 0, address).astype(np.int32)
    ports = np.array([number for _, number, _ in named], np.uint16)[group]
    ports = np.where(loopback, 0, np.where(address != 0, port, ports)).astype(np.uint16)
    rows.put_codes("destination", outward, ports, True)
    rows.columns["_upstream_local_ip"] = rows.ips.decode(own_ip)
    rows.put_constant("reporter", "gateway")
    rows.put_constant("direction", "ingress")
    rows.put_constant("tls", "unknown")


def _attributes(rows: CallRows, fields: Fields, retried: Mask) -> pa.MapArray:
    """What has no column; of the upstream fields only lists."""
    found = [
        ("remote_user", absent_to_null(fields["user"])),
        ("http_referer", absent_to_null(fields["referer"])),
        ("proxy_alternative_upstream_name", filled(absent_to_null(fields["alternative"]))),
    ]
    for name, field in (
        ("upstream_addr", "tries"),
        ("upstream_status", "statuses"),
        ("upstream_response_time", "times"),
    ):
        found.append((name, pc.if_else(pa.array(retried), fields[field], pa.scalar(None, pa.string()))))
    return added(rows.no_attributes(), [(name, text) for name, text in found if text.null_count < len(text)])


def _sessions(found: Matched) -> CallRows:
    """TCP and UDP sessions: the line does not say where they went."""
    rows, fields = CallRows(found.lines, "ingress-nginx"), found.fields
    _start(rows, fields["time"], fields["duration"])
    rows.put_duration("duration_us", "session_time", fields["duration"], 1e6)
    rows.put_count("bytes_sent", "bytes_sent", fields["sent"])
    rows.put_count("bytes_received", "bytes_received", fields["received"])
    status = rows.put_status("status", fields["status"])
    rows.put_address("source", fields["addr"])
    rows.put("protocol", pc.utf8_lower(fields["protocol"]))
    pods, pod = own_pods(rows.lines.metadata, rows.rows, rows.pool)
    own = [one.pod for one in pods]
    ends = [gateway_end(one, "ingress-nginx") for one in own]
    rows.put_ends("destination", ends, pod, [gateway_end(one, "") for one in own])
    rows.put_constant("reporter", "gateway")
    rows.put_constant("direction", "ingress")
    rows.put_constant("tls", "unknown")
    rows.put_constant("log_type", GATEWAY_REQUEST)
    rows.judge([status], lambda row: session_outcome(int(status[row])), True)
    return rows


FORMAT = TextFormat("ingress_nginx", read=read)
