"""Reactor Netty's access log, which is Spring Cloud Gateway's, bare or behind Spring Boot's logger.

Format: reactor-netty, http/server/logging/BaseAccessLogHandler.java (switched on by the JVM property
`reactor.netty.http.server.accessLogEnabled`): `HOST - USER [TIME] "METHOD URI PROTOCOL" STATUS LENGTH DURATION`, and in
older releases `LENGTH PORT DURATION ms`. Spring Boot's prefix may hold the trace.

The line says who asked and what was answered, never where the request went: it is a call to the gateway's door, and no
edge of the map.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from collector.coded import groups
from collector.decode.call_rows import CallRows, filled, gateway_end
from collector.decode.common_log import TIME, protocols, request_parts, rfc3339
from collector.decode.envelope import Lines
from collector.decode.expression_lines import matched
from collector.decode.gateway_outcomes import GATEWAY_REQUEST
from collector.decode.limits import Limits
from collector.decode.line_format import TextFormat, TextRows
from collector.decode.values import absent_to_null
from collector.envoy.attributes import added
from collector.identity.own_pods import own_pods
from collector.operations import operations
from collector.outcomes import Line, judge

LINE = (
    r'^(?:(?P<logger>[^"]{0,600}AccessLog\s*:\s))?(?P<host>\S+) - (?P<user>\S+) '
    rf'\[(?P<time>{TIME})\] "(?P<request>.*)" '
    r"(?P<status>\d{3}) (?P<length>-|\d+) (?:(?P<port>\d{1,5}) )?(?P<duration>\d+)(?: ms)?$"
)
# Boot 3 writes [TRACE-SPAN], Sleuth [APPLICATION,TRACE,SPAN].
_TRACE = r"\[(?:[^\],]*,)?(?P<trace>[0-9a-f]{32}|[0-9a-f]{16})[-,](?P<span>[0-9a-f]{16})[\],]"


def read(lines: Lines, limits: Limits) -> TextRows:
    """Rows of `calls` of the lines that are Reactor Netty's."""
    found = matched(lines, LINE, limits)
    rows = CallRows(found.lines, "spring")
    fields = found.fields
    rows.put_time("time", rfc3339(fields["time"]))
    method, path, protocol = request_parts(fields["request"])
    rows.put("method", method)
    rows.put("path", path)
    rows.put("operation", operations(method, path))
    rows.put("protocol", protocols(protocol))
    status = rows.put_status("status", fields["status"])
    rows.put_count("bytes_sent", "length", absent_to_null(fields["length"]))
    rows.put_duration("duration_us", "duration", fields["duration"], 1000.0)
    rows.put_address("source", fields["host"])
    _door(rows, fields["port"])
    if "logger" in fields:
        ids = pc.extract_regex(fields["logger"], _TRACE)
        rows.put_trace(ids.field("trace"), ids.field("span"), ids.is_valid().to_numpy(zero_copy_only=False))
    rows.columns["attributes"] = added(
        rows.no_attributes(), [("user", absent_to_null(fields["user"])), ("local_port", filled(fields["port"]))]
    )
    rows.judge([status], lambda row: judge(Line(int(status[row]), has_details=False)), logged=False)
    batch, wrong = rows.batch()
    refused = [*found.refused, *((int(found.rows[row]), reason) for row, reason in wrong)]
    return TextRows([batch], refused, found.rest)


def _door(rows: CallRows, port: pa.StringArray) -> None:
    """The gateway itself is the callee of its line."""
    pods, pod = own_pods(rows.lines.metadata, rows.rows, rows.pool)
    first, group = groups([pod])
    own = [pods[pod[row]].pod for row in first.tolist()]
    told = [gateway_end(one, "") for one in own]
    rows.put_ends("destination", [gateway_end(one, "spring-cloud-gateway") for one in own], group, told)
    pod_ip = rows.lines.metadata.get("pod_ip")
    address, _ = rows.ips.parse(rows.nothing() if pod_ip is None else pod_ip)
    ports = pc.if_else(pc.equal(port, ""), "0", port).cast(pa.uint32()).to_numpy()
    ports = np.where(ports < 65536, ports, 0).astype(np.uint16)
    rows.put_codes("destination", address, ports, False)
    rows.tell("destination_port", ports != 0)
    rows.put_constant("reporter", "gateway")
    rows.put_constant("direction", "ingress")
    rows.put_constant("tls", "unknown")
    rows.put_constant("log_type", GATEWAY_REQUEST)


FORMAT = TextFormat("reactor_netty", read=read)
