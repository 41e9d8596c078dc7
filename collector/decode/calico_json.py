"""`calico_json`: Calico's flow logs (JSON, from its files or on their way to Elasticsearch) → `calls` columns.

Source of the fields: docs.tigera.io, "Flow log data types". A line sums up an interval (by default 5 minutes) of the
traffic between two endpoints, as one side's node saw it: it stands for `num_flows_started` connections (the row's
`weight`; 0 where all of them began before) at `start_time`, and its bytes are those of all of them.

- `reporter` src is the caller's side, dst the callee's. `bytes_in` and `bytes_out` are that side's own.
- An endpoint is a pod (`wep`), a host (`hep`), a network set (`ns`) or an address (`net`); `pub` and `pvt` stand for
  addresses that the log summed up. A destination that is neither pod nor host is outside: by its domain, its address,
  or that.
- `action` deny is a denial, by the policy that `policies` names with it: `[NAMESPACE/]TIER.POLICY`, and ` rule N`
  where one of its rules matched.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from collector.coded import Codes, groups
from collector.decode.call_rows import CallRows, text_of
from collector.decode.envelope import Lines
from collector.decode.flow_rows import as_map, distinct, flow_batch, labels_of, parsed, texts_in
from collector.decode.hubble_ends import first_name
from collector.decode.json_shapes import Shape
from collector.decode.limits import Limits
from collector.decode.line_format import JsonFormat, Refused
from collector.decode.values import absent_to_null, present, unsigned
from collector.envoy.endpoints import NO_END, End
from collector.identity.kubernetes import VERSION_LABELS, deployment_of, first_label, workload_of
from collector.identity.principals import MAX_LENGTH
from collector.outcomes import Outcome

_SIDES = {"source": "source", "destination": "dest"}
_END_KEYS = ("ip", "name", "name_aggr", "namespace", "port", "type", "labels")
KNOWN: Set[str] = frozenset(
    {
        *("start_time", "end_time", "action", "reporter", "proto", "num_flows", "num_flows_started", "policies"),
        *("bytes_in", "bytes_out", "host", "dest_service_name", "dest_service_namespace", "dest_domains"),
        *(f"{side}_{key}" for side in _SIDES.values() for key in _END_KEYS),
    }
)
_PROTOCOLS = {"1": "icmp", "6": "tcp", "17": "udp", "58": "icmp", "132": "sctp", "icmp6": "icmp"}
_MOST_FLOWS = (1 << 32) - 1
_LARGEST_COUNT = (1 << 63) - 1


def recognises(keys: Set[str]) -> bool:
    """Whether an object with these keys is a flow log of Calico."""
    return {"start_time", "action", "reporter", "source_name_aggr", "dest_name_aggr"} <= keys


class _Endpoint(NamedTuple):
    """One side of a flow, as text."""

    kind: str
    name: str
    aggregate: str
    namespace: str
    labels: str


def _end(side: _Endpoint) -> End:
    """A pod, host or network set; an address has no name of its own."""
    aggregate = side.aggregate.removesuffix("-*")
    if side.kind == "wep":
        record = parsed(side.labels)
        listed = texts_in(record, "labels") if isinstance(record, dict) else _texts(record)
        # `web-6b687c8dcb-*` says what made the pod; a pod that nothing made stands alone under its whole name.
        workload = aggregate if aggregate == side.aggregate else deployment_of(aggregate)
        workload = workload or workload_of(side.name)
        return End("", side.namespace, workload, "", first_label(labels_of(listed), VERSION_LABELS), side.name)
    if side.kind == "net":
        return NO_END
    return End(namespace=side.namespace, service=side.name or aggregate)


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _denier(text: str) -> str:
    """The policy that denies and the rule that matched, of `ORDER|TIER|[NAMESPACE/]TIER.POLICY|ACTION[|RULE]` texts."""
    record = parsed(text)
    listed = texts_in(record, "all_policies") if isinstance(record, dict) else _texts(record)
    for policy in listed:
        parts = policy.split("|")
        if len(parts) >= 4 and parts[3] == "deny":
            # RULE is -1 where no rule of a policy that selects the endpoint matched.
            rule = f" rule {parts[4]}" if len(parts) == 5 and parts[4].isdecimal() else ""
            return parts[2][: MAX_LENGTH - len(rule)] + rule if len(rule) < 20 else parts[2][:MAX_LENGTH]
    return ""


def calls(lines: Lines, shape: Shape, limits: Limits) -> tuple[pa.RecordBatch, Refused]:
    """`calls` rows of the flow logs of one shape, and rows of `lines` to refuse with the reason."""
    del limits
    own = lines.take(shape.rows)
    batch, refused = _Flows(own, shape).calls()
    return batch, [(int(shape.rows[row]), reason) for row, reason in refused]


class _Flows:
    """Flow logs as columns, on their way to `calls`."""

    def __init__(self, lines: Lines, shape: Shape) -> None:
        self.rows, self.shape, self.count = CallRows(lines, "calico"), shape, len(lines)

    def text(self, name: str) -> pa.StringArray:
        return absent_to_null(text_of(self.shape.columns, name, self.count))

    def calls(self) -> tuple[pa.RecordBatch, Refused]:
        rows, pool = self.rows, self.rows.pool
        rows.put_time("start_time", self.text("start_time"))
        reporter, action = self.text("reporter"), self.text("action")
        is_source = _equal(reporter, "src")
        rows.refuse(~is_source & ~_equal(reporter, "dst"), "reporter", reporter, "src or dst")
        rows.refuse(~_equal(action, "allow") & ~_equal(action, "deny"), "action", action, "allow or deny")
        side = np.where(is_source, pool.code("source"), pool.code("destination")).astype(np.int32)
        rows.put("reporter", pool.decode(side))
        self._put_numbers(is_source)
        self._put_ends()
        protocol = pool.map(
            pool.encode(self.text("proto")), lambda text: _PROTOCOLS.get(text.lower(), text.lower()[:20])
        )
        rows.put("protocol", pool.decode(protocol), protocol != 0)
        denied = _equal(action, "deny")
        policies = self.text("policies")
        found, place = distinct(policies, _denier, "")
        by = pool.codes(found)[place]

        def outcome(row: int) -> Outcome:
            return Outcome("denied", pool.values[by[row]], "mesh") if denied[row] else Outcome("allowed", "", "none")

        rows.judge([denied, by], outcome, logged=False)
        rows.tell("verdict")
        rows.tell("denied_by", present(policies))
        names = ("host", "end_time", "num_flows")
        rows.columns["attributes"] = as_map({f"calico.{name}": self.text(name) for name in names}, self.count)
        everything = np.ones(self.count, np.bool_)
        return flow_batch(rows, everything, pool.decode(pool.codes(["connection_end"]), np.zeros(self.count, np.int32)))

    def _put_numbers(self, is_source: np.ndarray) -> None:
        """Connections and bytes. The caller's side sends the request, so its `bytes_in` are the response."""
        rows = self.rows
        started = pc.coalesce(self.text("num_flows_started"), self.text("num_flows"))
        weight, wrong = unsigned(started, pa.uint32(), _MOST_FLOWS, fractions=False)
        rows.refuse(wrong, "num_flows_started", started, f"a number 0..{_MOST_FLOWS}")
        rows.columns["weight"] = weight
        into, out = self.text("bytes_in"), self.text("bytes_out")
        rows.put_count("bytes_sent", "bytes_in or bytes_out", pc.if_else(pa.array(is_source), into, out))
        rows.put_count("bytes_received", "bytes_in or bytes_out", pc.if_else(pa.array(is_source), out, into))

    def _put_ends(self) -> None:
        rows, pool = self.rows, self.rows.pool
        kinds: dict[str, Codes] = {}
        for name, key in _SIDES.items():
            texts = [self.text(f"{key}_{part}") for part in ("type", "name", "name_aggr", "namespace", "labels")]
            codes = [pool.map(pool.encode(text), _bounded) for text in texts[:4]]
            codes.append(pool.encode(texts[4]))
            first, group = groups(codes)
            ends = [_end(_Endpoint(*(pool.values[code[row]] for code in codes))) for row in first.tolist()]
            rows.put_ends(name, ends, group)
            kinds[name] = codes[0]
            rows.put_address(name, self.text(f"{key}_ip"))
            port = self.text(f"{key}_port")
            values, wrong = unsigned(port, pa.uint16(), 65535, fractions=False)
            rows.refuse(wrong, f"{key}_port", port, "a port 0..65535")
            rows.put(f"{name}_port", values.fill_null(0), present(values))
        self._put_service(kinds)

    def _put_service(self, kinds: Mapping[str, Codes]) -> None:
        """The Kubernetes service that was asked for, or who is outside."""
        rows, pool = self.rows, self.rows.pool
        outside = np.isin(kinds["destination"], [pool.code("net"), pool.code("ns")])
        service, namespace = (pool.encode(self.text(f"dest_service_{part}")) for part in ("name", "namespace"))
        own_service = pool.encode(rows.columns["destination_service"])
        own_namespace = pool.encode(rows.columns["destination_namespace"])
        asked = (service != 0) & ~outside & ((own_namespace == 0) | (own_namespace == namespace))
        hosts, place = distinct(self.text("dest_domains"), first_name, "")
        host = pool.codes(hosts)[place]
        address = rows.ips.encode(rows.columns["destination_ip"])
        # `pub` and `pvt` name nobody, but they are all that is left of many addresses.
        summed = np.where(address == 0, pool.encode(self.text("dest_name_aggr")), 0)
        stranger = np.where(host != 0, host, np.where(own_service != 0, own_service, summed))
        codes = np.where(asked, service, np.where(outside, stranger, own_service)).astype(np.int32)
        rows.put("destination_service", pool.decode(codes), codes != 0)
        codes = np.where(outside, 0, np.where(asked, namespace, own_namespace)).astype(np.int32)
        rows.put("destination_namespace", pool.decode(codes), codes != 0)
        from_outside = np.isin(kinds["source"], [pool.code("net"), pool.code("ns")])
        direction = np.where(outside, pool.code("egress"), np.where(from_outside, pool.code("ingress"), 0))
        rows.put("direction", pool.decode(direction.astype(np.int32)), outside | from_outside)
        rows.columns["_by_address"] = pa.array(outside & (stranger == 0))


def _bounded(text: str) -> str:
    return text if len(text) <= MAX_LENGTH else ""


def _equal(text: pa.StringArray, value: str) -> np.ndarray:
    return pc.equal(text, value).fill_null(False).to_numpy(zero_copy_only=False)


FORMAT = JsonFormat("calico_json", known=KNOWN, recognises=recognises, read=calls)
