"""Linkerd's access log in the apache style: `CLIENT_ADDR CLIENT_ID - [TIME] "METHOD URI VERSION" STATUS`.

Format: linkerd2-proxy, linkerd/tracing/src/access_log.rs. The second field is the caller's identity; nothing says sizes
or durations. The lines in which the proxy's plain log tells of refusals are read here too (`linkerd_policy`).
"""

from __future__ import annotations

import numpy as np

from collector.decode import linkerd_calls, linkerd_policy
from collector.decode.call_rows import CallRows
from collector.decode.envelope import Lines
from collector.decode.expression_lines import matched
from collector.decode.limits import Limits
from collector.decode.line_format import TextFormat, TextRows

# A request's URI holds no space; the time is RFC 3339, which tells the line from a web server's.
LINE = (
    r"^(?P<addr>\S+) (?P<id>\S+) \S+ \[(?P<timestamp>\d{4}-\d\d-\d\dT[^\]\s]+)\] "
    r'"(?P<method>\S*) (?P<uri>.*) (?P<version>HTTP/[0-9.]+)"(?: (?P<status>\d{0,4}))?$'
)
_NAMES = {"addr": "client.addr", "id": "client.id"}


def read(lines: Lines, limits: Limits) -> TextRows:
    """Rows of `calls` of the lines that are Linkerd's."""
    accesses = _accesses(lines, limits)
    if not len(accesses.rest):
        return accesses
    decisions = _decisions(lines.take(accesses.rest), limits)
    refused = [(int(accesses.rest[row]), reason) for row, reason in decisions.refused]
    return TextRows(
        [*accesses.batches, *decisions.batches], [*accesses.refused, *refused], accesses.rest[decisions.rest]
    )


def _accesses(lines: Lines, limits: Limits) -> TextRows:
    found = matched(lines, LINE, limits)
    rows = CallRows(found.lines, "linkerd")
    text = {_NAMES.get(name, name): values for name, values in found.fields.items()}
    carried = {name: np.ones(rows.rows, np.bool_) for name in text}
    carried["status"] = np.array([bool(value) for value in found.fields["status"].to_pylist()], np.bool_)
    linkerd_calls.fill(rows, text, carried)
    batch, wrong = rows.batch()
    refused = [*found.refused, *((int(found.rows[row]), reason) for row, reason in wrong)]
    return TextRows([batch], refused, found.rest)


def _decisions(lines: Lines, limits: Limits) -> TextRows:
    found = matched(lines, linkerd_policy.LINE, limits)
    if not len(found.rows):
        return TextRows([], found.refused, found.rest)
    rows = CallRows(found.lines, "linkerd")
    linkerd_policy.fill(rows, found.fields)
    batch, wrong = rows.batch()
    refused = [*found.refused, *((int(found.rows[row]), reason) for row, reason in wrong)]
    return TextRows([batch], refused, found.rest)


FORMAT = TextFormat("linkerd_apache", read=read)
