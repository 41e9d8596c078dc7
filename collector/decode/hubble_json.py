"""`hubble_json`: the flows of Cilium's Hubble (`hubble observe -o json`, its exporter's files) → `calls` columns.

One object a line: `{"flow": {...}, "node_name", "time"}`, in older output the inner object alone (cilium/cilium,
api/v1/flow/flow.proto). One connection is many lines, each of which tells of a packet at one point of one node:

- A connection counts at the first packet that opens it: TCP with SYN and without ACK; for other protocols the packet
  whose trace reason is NEW (where none is given, each that is no reply). A call that Cilium's proxy reads (`l7`) counts
  at its RESPONSE, which carries status and latency, or at its REQUEST where that was refused.
- A node may tell of that packet at several points of its way (TO_STACK, TO_OVERLAY, TO_NETWORK): the first one counts.
- Not counted: other packets and replies, policy verdicts (event type 5: the packet has a line of its own), packets on
  their way to the proxy (its `l7` lines follow), and what a socket was translated to (event type 9).
- `traffic_direction` EGRESS is the caller's side, INGRESS the callee's. The source of a reply is the callee.
- `reserved:world` is outside: by its DNS name, else its address. Other reserved identities (`reserved:host`,
  `reserved:kube-apiserver`, ...) are nodes of that name.
- DROPPED by policy is a denial, by the policies that the flow names; dropped for another reason, the network failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from collector.coded import Codes, groups
from collector.decode.call_rows import CallRows, carried, text_of
from collector.decode.envelope import Lines
from collector.decode.flow_rows import as_map, distinct, flow_batch, parsed, text_in
from collector.decode.hubble_ends import Side, first_name, policies_of, service_of, side_of
from collector.decode.json_shapes import JsonColumn, Shape
from collector.decode.limits import Limits
from collector.decode.line_format import JsonFormat, Refused
from collector.decode.nested import opened_object
from collector.decode.values import Mask, present, unsigned
from collector.envoy.endpoints import NO_END
from collector.operations import operations
from collector.outcomes import Line, Outcome, judge
from collector.trace_ids import from_traceparent

FLOW: Set[str] = frozenset(
    {
        *("time", "verdict", "drop_reason", "drop_reason_desc", "auth_type", "IP", "l4", "l7", "source", "destination"),
        *("Type", "node_name", "is_reply", "reply", "event_type", "traffic_direction", "trace_observation_point"),
        *("trace_reason", "source_names", "destination_names", "destination_service"),
        *("ingress_denied_by", "egress_denied_by"),
    }
)
"""Keys of a flow that are read."""

_TRANSPORTS = ("TCP", "UDP", "SCTP", "ICMPv4", "ICMPv6")
_FORWARDED = ("FORWARDED", "REDIRECTED", "AUDIT")
_POLICY_DROPS = frozenset({"POLICY_DENIED", "POLICY_DENY", "AUTH_REQUIRED", "133", "181", "189"})
"""Reasons of a drop that are a policy's, by name or number."""
_ON_THE_WAY = ("TO_PROXY", *(f"FROM_{place}" for place in ("PROXY", "ENDPOINT", "HOST", "STACK", "OVERLAY", "NETWORK")))
_HTTP = {"HTTP/1.0": "http", "HTTP/1.1": "http", "HTTP/2": "http2", "HTTP/2.0": "http2", "HTTP/3": "http3"}
_URL = r"^(?:[A-Za-z][A-Za-z0-9+.-]*://(?P<authority>[^/?#]*))?(?P<path>[/?].*)?$"
_ONE_PACKET_US = 500_000
"""Between the points of a node a packet takes less; TCP sends a SYN again after a second."""
_REDACTED = "HUBBLE_REDACTED"


def recognises(keys: Set[str]) -> bool:
    """Whether an object with these keys is Hubble's: a flow in its envelope or bare, or the note of flows it lost."""
    if "flow" in keys or "lost_events" in keys:
        return keys <= {"flow", "lost_events", "node_name", "time"}
    return {"verdict", "source", "destination"} <= keys and not keys.isdisjoint({"IP", "l4", "traffic_direction"})


def calls(lines: Lines, shape: Shape, limits: Limits) -> tuple[pa.RecordBatch, Refused]:
    """`calls` rows of the flows of one shape, and rows of `lines` to refuse with the reason."""
    own = lines.take(shape.rows)
    batch, refused = _Flows(own, _flow_columns(shape, limits), limits).calls()
    lost = present(text_of(shape.columns, "lost_events", len(own)))
    lost_here = "Hubble lost flows here, and this line tells of none"
    return batch, [(int(shape.rows[row]), lost_here if lost[row] else reason) for row, reason in refused]


def _flow_columns(shape: Shape, limits: Limits) -> Mapping[str, JsonColumn]:
    """The columns of the flows themselves, whether they stand in an envelope or not."""
    whole = shape.columns.get("flow")
    if whole is None:
        return shape.columns
    inner = opened_object(whole.text, FLOW, limits)
    if whole.present is None:
        return inner
    # Read one by one, lines with an envelope and bare ones come together: a bare line has its keys outside.
    rows, enveloped = len(shape.rows), pa.array(whole.present)
    columns: dict[str, JsonColumn] = {}
    for name in inner.keys() | (shape.columns.keys() & FLOW):
        text = pc.if_else(enveloped, text_of(inner, name, rows), text_of(shape.columns, name, rows))
        columns[name] = JsonColumn(
            text, np.where(whole.present, carried(inner, name, rows), carried(shape.columns, name, rows))
        )
    return columns


class _Layer7(NamedTuple):
    """What Cilium's proxy read of a call."""

    is_call: Mask
    counts: Mask
    status: npt.NDArray[np.int64]


class _Flows:
    """Flows as columns, on their way to `calls`."""

    def __init__(self, lines: Lines, columns: Mapping[str, JsonColumn], limits: Limits) -> None:
        self.rows = CallRows(lines, "cilium")
        self.columns, self.limits, self.count = columns, limits, len(lines)
        self.reply = self.has("is_reply", "true") | self.has("reply", "true")
        self.dropped = self.has("verdict", "DROPPED")

    def text(self, name: str) -> pa.StringArray:
        return text_of(self.columns, name, self.count)

    def has(self, name: str, *values: str) -> Mask:
        """Which flows have one of these values under a key."""
        return _is_in(self.text(name), *values)

    def opened(self, text: pa.StringArray, *names: str) -> list[pa.StringArray]:
        """The values of some keys of JSON objects."""
        found = opened_object(text, frozenset(names), self.limits)
        return [text_of(found, name, self.count) for name in names]

    def calls(self) -> tuple[pa.RecordBatch, Refused]:
        rows, pool = self.rows, self.rows.pool
        rows.put_time("flow.time", self.text("time"))
        verdict = self.text("verdict")
        rows.refuse(~present(verdict), "flow.verdict", verdict, "FORWARDED, DROPPED or another verdict")
        egress, ingress = self.has("traffic_direction", "EGRESS"), self.has("traffic_direction", "INGRESS")
        side = np.where(egress, pool.code("source"), np.where(ingress, pool.code("destination"), pool.code("unknown")))
        rows.put("reporter", pool.decode(side.astype(np.int32)), egress | ingress)
        self._put_ends()
        opens, protocol = self._transport()
        seven = self._layer7(protocol)
        self._judge(seven)
        counted = np.where(seven.is_call, seven.counts, opens)
        counted &= ~self._seen_before(counted & ~seven.is_call)
        self._put_attributes(counted)
        log_type = np.where(seven.is_call, pool.code("request"), pool.code("connection_end")).astype(np.int32)
        return flow_batch(rows, counted, pool.decode(log_type))

    def _put_ends(self) -> None:
        """Names, addresses and direction. The ends of a reply are turned: the caller is the one who asked."""
        rows, pool, reply = self.rows, self.rows.pool, self.reply
        sides: list[Side] = []
        places: list[Codes] = []
        names: list[Codes] = []
        for name in ("source", "destination"):
            found, place = distinct(self.text(name), side_of, Side())
            places.append(place + len(sides))
            sides += found
            hosts, place = distinct(self.text(f"{name}_names"), first_name, "")
            names.append(pool.codes(hosts)[place])
        caller, callee = (np.where(reply, places[1 - own], places[own]).astype(np.int32) for own in (0, 1))
        world = np.array([side.is_world for side in sides], np.bool_)
        # A client outside has no name: whatever DNS says of its address, nobody proved it.
        rows.put_ends("source", [NO_END if side.is_world else side.end for side in sides], caller)
        rows.put_ends("destination", [side.end for side in sides], callee)
        named = pool.codes(side.end.service for side in sides)[callee]
        dns = np.where(reply, names[0], names[1])
        service = np.where(world[callee] & (named == 0), dns, named)
        self._put_service(service, pool.codes(side.end.namespace for side in sides)[callee])
        direction = np.where(world[callee], pool.code("egress"), np.where(world[caller], pool.code("ingress"), 0))
        rows.put("direction", pool.decode(direction.astype(np.int32)), world[callee] | world[caller])
        # An address outside that an inventory knows after all is no host outside.
        rows.columns["_by_address"] = pa.array(world[callee] & (service == 0))
        pairs, place = distinct(self.text("IP"), _addresses, ("", ""))
        codes = [rows.ips.parse(pa.array([pair[own] for pair in pairs], pa.string()))[0][place] for own in (0, 1)]
        for own, name in enumerate(("source", "destination")):
            address = np.where(reply, codes[1 - own], codes[own]).astype(np.int32)
            rows.put(f"{name}_ip", rows.ips.decode(address), address != 0)

    def _put_service(self, service: Codes, namespace: Codes) -> None:
        """The Kubernetes service that was asked for, where the flow names one and the callee is in its namespace."""
        rows, pool = self.rows, self.rows.pool
        found, place = distinct(self.text("destination_service"), service_of, ("", ""))
        spaces, services = (pool.codes(pair[part] for pair in found)[place] for part in (0, 1))
        asked = (services != 0) & ~self.reply & ((namespace == spaces) | ((namespace == 0) & (service == 0)))
        for part, given, own in (("service", services, service), ("namespace", spaces, namespace)):
            codes = np.where(asked, given, own).astype(np.int32)
            rows.put(f"destination_{part}", pool.decode(codes), codes != 0)

    def _transport(self) -> tuple[Mask, Codes]:
        """Which flows open a connection, and the protocol below HTTP. Puts the ports."""
        rows, pool, reply = self.rows, self.rows.pool, self.reply
        protocol = np.zeros(self.count, np.int32)
        opens = np.zeros(self.count, np.bool_)
        first = self.has("trace_reason", "NEW", "TRACE_REASON_UNKNOWN") | ~present(self.text("trace_reason"))
        ports = [rows.nothing(), rows.nothing()]
        for name, text in zip(_TRANSPORTS, self.opened(self.text("l4"), *_TRANSPORTS), strict=True):
            has = present(text)
            if not has.any():
                continue
            protocol[has] = pool.code("icmp" if name.startswith("ICMP") else name.lower())
            from_port, to_port, flags = self.opened(text, "source_port", "destination_port", "flags")
            ports = [pc.coalesce(*pair) for pair in zip(ports, (from_port, to_port), strict=True)]
            opening = first
            if name == "TCP":
                kinds, place = distinct(flags, _opens_tcp, False)
                # A dropped packet may come without its flags.
                opening = np.array(kinds, np.bool_)[place] | (self.dropped & ~present(flags))
            opens |= has & opening
        for own, name in enumerate(("source", "destination")):
            text = pc.if_else(pa.array(reply), ports[1 - own], ports[own])
            values, wrong = unsigned(text, pa.uint16(), 65535, fractions=False)
            rows.refuse(wrong, f"flow.l4 {name}_port", text, "a port 0..65535")
            rows.put(f"{name}_port", values.fill_null(0), present(values))
        (event,) = self.opened(self.text("event_type"), "type")
        passing = _is_in(event, "5", "9") | self.has("Type", "SOCK") | self.has("trace_observation_point", *_ON_THE_WAY)
        return opens & ~reply & ~passing, protocol

    def _seen_before(self, opens: Mask) -> Mask:
        """Which of these packets the same side of the same node told of just before, at another point of its way."""
        rows, pool = self.rows, self.rows.pool
        again = np.zeros(self.count, np.bool_)
        point = pool.encode(self.text("trace_observation_point"))
        source, destination = (rows.ips.encode(rows.columns[f"{side}_ip"]) for side in ("source", "destination"))
        at = np.flatnonzero(opens & (point != 0) & (source != 0) & (destination != 0))
        if len(at) < 2:
            return again
        names = (self.text("node_name"), rows.columns["reporter"], rows.columns["protocol"])
        ports = (rows.columns[f"{side}_port"].to_numpy() for side in ("source", "destination"))
        columns = [*(pool.encode(name) for name in names), source, destination, *ports]
        connection = groups([column[at] for column in columns])[1]
        times = rows.columns["ts"].cast(pa.int64()).fill_null(0).to_numpy()[at]
        order = np.lexsort((point[at], times, connection))
        connection, times, points = connection[order], times[order], point[at][order]
        near = (connection[1:] == connection[:-1]) & (times[1:] - times[:-1] < _ONE_PACKET_US)
        again[at[order[1:][near & (points[1:] != points[:-1])]]] = True
        return again

    def _layer7(self, transport: Codes) -> _Layer7:
        """The calls that Cilium's proxy read. Puts what HTTP says, and the protocol of every row."""
        rows, pool = self.rows, self.rows.pool
        kind, latency, http, dns, kafka = self.opened(self.text("l7"), "type", "latency_ns", "http", "dns", "kafka")
        is_call = present(self.text("l7"))
        counts = _is_in(kind, "RESPONSE") | (_is_in(kind, "REQUEST") & self.dropped)
        code, method, url, version, headers = self.opened(http, "code", "method", "url", "protocol", "headers")
        is_http = present(http)
        status = rows.put_status("flow.l7.http.code", code, present(code))
        rows.put_duration("duration_us", "flow.l7.latency_ns", latency, 0.001)
        parts = pc.extract_regex(url, _URL)
        for name in ("authority", "path"):
            part = pc.struct_field(parts, name)
            rows.put(name, pc.if_else(pc.equal(part, ""), pa.scalar(None, pa.string()), part), present(url))
        rows.put("method", method, present(method))
        rows.columns["operation"] = operations(method, rows.columns["path"])
        rows.put("request_id", _header(headers, "x-request-id"), present(headers))
        rows.put("user_agent", _header(headers, "user-agent"), present(headers))
        rows.columns["trace_id"], rows.columns["span_id"] = from_traceparent(_header(headers, "traceparent"))
        is_grpc = present(_header(headers, "content-type", "application/grpc"))
        seen = pool.map(pool.encode(version), lambda text: _HTTP.get(text, "http"))
        seen = np.where(is_grpc, pool.code("grpc"), np.where(is_http & (seen == 0), pool.code("http"), seen))
        for text, name in ((dns, "dns"), (kafka, "kafka")):
            seen = np.where(present(text), pool.code(name), seen)
        protocol = np.where(is_call & (seen != 0), seen, transport).astype(np.int32)
        rows.put("protocol", pool.decode(protocol), protocol != 0)
        return _Layer7(is_call, counts, status)

    def _judge(self, seven: _Layer7) -> None:
        """Verdict, policy and fault."""
        rows, pool = self.rows, self.rows.pool
        verdict = pool.encode(self.text("verdict"))
        reason = pool.encode(pc.coalesce(self.text("drop_reason_desc"), self.text("drop_reason")))
        policies = np.zeros(self.count, np.int32)
        named = np.zeros(self.count, np.bool_)
        for key in ("ingress_denied_by", "egress_denied_by"):
            found, place = distinct(self.text(key), policies_of, "")
            codes = pool.codes(found)[place]
            policies = np.where(policies == 0, codes, policies)
            named |= present(self.text(key))

        def outcome(row: int) -> Outcome:
            says, policy = pool.values[verdict[row]], pool.values[policies[row]]
            if says == "DROPPED":
                by_policy = pool.values[reason[row]] in _POLICY_DROPS or policy or seven.is_call[row]
                return Outcome("denied", policy, "mesh") if by_policy else Outcome("unknown", "", "network")
            if says not in _FORWARDED:
                return Outcome()
            if seven.is_call[row] and seven.status[row]:
                fault = judge(Line(int(seven.status[row]), reached_upstream=True, has_details=False)).fault
                return Outcome("allowed", "", fault)
            return Outcome("allowed", "", "none")

        rows.judge([verdict, reason, policies, seven.is_call, seven.status], outcome, logged=False)
        rows.tell("verdict")
        rows.tell("denied_by", named)

    def _put_attributes(self, counted: Mask) -> None:
        plain = ("node_name", "trace_observation_point", "drop_reason_desc", "auth_type")
        columns = {f"hubble.{name}": self.text(name) for name in plain}
        verdict = self.text("verdict")
        usual = pa.array(_is_in(verdict, "FORWARDED", "DROPPED"))
        columns["hubble.verdict"] = pc.if_else(usual, pa.scalar(None, pa.string()), verdict)
        kept = {
            name: pc.if_else(pa.array(counted), text, pa.scalar(None, pa.string())) for name, text in columns.items()
        }
        self.rows.columns["attributes"] = as_map(kept, self.count)


def _is_in(text: pa.StringArray, *values: str) -> Mask:
    return pc.is_in(text, value_set=pa.array(values, pa.string())).to_numpy(zero_copy_only=False)


def _addresses(text: str) -> tuple[str, str]:
    pair = parsed(text)
    return (text_in(pair, "source"), text_in(pair, "destination")) if isinstance(pair, dict) else ("", "")


def _opens_tcp(text: str) -> bool:
    flags = parsed(text)
    return isinstance(flags, dict) and flags.get("SYN") is True and flags.get("ACK") is not True


def _header(headers: pa.StringArray, name: str, start: str = "") -> pa.StringArray:
    """The value of a header in a JSON list of `{"key", "value"}`, where it begins with `start`; else null."""
    least = 0 if start else 1
    pattern = rf'(?i)"key":\s*"{name}",\s*"value":\s*"(?P<value>{start}[^"\\]{{{least},256}})"'
    value = pc.struct_field(pc.extract_regex(headers, pattern), "value")
    return pc.if_else(pc.equal(value, _REDACTED), pa.scalar(None, pa.string()), value)


FORMAT = JsonFormat("hubble_json", known=FLOW | {"flow", "lost_events"}, recognises=recognises, read=calls)
