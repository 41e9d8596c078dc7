"""Rows of `calls` in the making, for lines of proxies that are no Envoys.

    a format's columns of text ──► CallRows ──► calls (+ auxiliary columns) ──► identity.addresses.complete

A format says what each field of its lines means; here are the rules that hold for all of them: which values make a
line a dead letter, which bits of `logged` are set, and how what bears on identity is worked out once per distinct
value. What the proxy itself wrote (time, status, sizes, durations) must be right, or the line is a dead letter. What a
peer can choose is never a reason to lose a call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from collector.coded import Codes, Pool, constant, groups
from collector.decode.envelope import Lines, metadata_of
from collector.decode.json_shapes import JsonColumn, Shape
from collector.decode.limits import LONGEST_MS
from collector.decode.line_format import Refused
from collector.decode.operators import empty_maps
from collector.decode.values import numbers, present, times, unsigned
from collector.envoy.endpoints import NO_END, End
from collector.identity.kubernetes import Pod
from collector.identity.socket_addresses import AddressPool, Ports
from collector.outcomes import Outcome
from collector.trace_ids import SPAN_WIDTH, TRACE_WIDTH, hex_ids
from storage.tables import LOGGED_BIT

Mask = npt.NDArray[np.bool_]
LARGEST_COUNT = (1 << 63) - 1
_SHOWN = 60


@dataclass(slots=True)
class CallRows:
    """Columns of `calls` of some lines, as a format finds them out. Every column is as long as `lines`."""

    lines: Lines
    mesh: str
    pool: Pool = field(default_factory=Pool)
    ips: AddressPool = field(default_factory=AddressPool)
    columns: dict[str, pa.Array] = field(default_factory=dict[str, pa.Array])
    refused: dict[int, str] = field(default_factory=dict[int, str])
    """Row → why its line is a dead letter."""
    _bits: npt.NDArray[np.uint64] = field(init=False)

    def __post_init__(self) -> None:
        self._bits = np.zeros(len(self.lines), np.uint64)

    @property
    def rows(self) -> int:
        """How many lines there are."""
        return len(self.lines)

    def nothing(self) -> pa.StringArray:
        """Text that no line has."""
        return pa.nulls(self.rows, pa.string())

    def no_attributes(self) -> pa.MapArray:
        """An empty map for every line."""
        return empty_maps(self.rows)

    def tell(self, name: str, logged: Mask | bool = True) -> None:
        """Set the bit of column `name` in `logged`, for all lines or those of a mask."""
        bit = np.uint64(1 << LOGGED_BIT[name])
        self._bits |= np.where(logged, bit, np.uint64(0))

    def put(self, name: str, values: pa.Array, logged: Mask | bool = True) -> None:
        """Set a column; null is absent. `logged` says which lines carried the field."""
        self.columns[name] = values
        self.tell(name, logged)

    def put_constant(self, name: str, value: str, logged: bool = False) -> None:
        """One text for every line."""
        self.put(name, constant(value, self.rows), logged)

    def refuse(self, wrong: Mask, name: str, text: pa.StringArray, expected: str) -> None:
        """Make dead letters of the lines of a mask whose field `name` is not what was expected."""
        for row in np.flatnonzero(wrong).tolist():
            value = text[row].as_py()
            shown = "missing" if value is None else repr(value[:_SHOWN])
            self.refused.setdefault(row, f"{name} is {shown}, expected {expected}")

    def put_time(self, name: str, text: pa.StringArray) -> None:
        """The start of the call, from a field that every line must have."""
        values, wrong = times(text)
        self.refuse(
            wrong | ~present(values),
            name,
            text,
            "a time within 1971..2100 (RFC 3339, or a number of seconds since 1970)",
        )
        self.put("ts", values)

    def put_status(self, name: str, text: pa.StringArray, logged: Mask | bool = True) -> npt.NDArray[np.int64]:
        """The HTTP status (0 = none), which is also returned."""
        values, wrong = unsigned(text, pa.uint16(), 999, fractions=False)
        self.refuse(wrong, name, text, "a status 0..999")
        values = values.fill_null(0)
        self.put("status", values, logged)
        return values.to_numpy().astype(np.int64)

    def put_count(self, column: str, name: str, text: pa.StringArray, logged: Mask | bool | None = None) -> None:
        """A size in bytes; a line without one did not log it, unless `logged` says otherwise."""
        values, wrong = unsigned(text, pa.uint64(), LARGEST_COUNT)
        self.refuse(wrong, name, text, "a count of bytes, not negative")
        self.put(column, values.fill_null(0), present(values) if logged is None else logged)

    def put_duration(self, column: str, name: str, text: pa.StringArray, unit_us: float, least: float = 0.0) -> None:
        """A duration in units of `unit_us` microseconds; values below 0 and not below `least` are absent."""
        values, wrong = numbers(text)
        micros = values.fill_null(0.0).to_numpy(zero_copy_only=False) * unit_us
        wrong = wrong | (micros < least * unit_us) | (micros > LONGEST_MS * 1000.0)
        self.refuse(wrong, name, text, "a duration, not negative")
        known = present(values) & ~wrong & (micros >= 0)
        self.put(column, pa.array(np.rint(np.where(known, micros, 0.0)).astype(np.uint64)), known)

    def put_trace(self, trace: pa.StringArray, span: pa.StringArray, logged: Mask | bool = True) -> None:
        """Trace and span ids as logged; what is none is absent."""
        self.put("trace_id", hex_ids(trace, TRACE_WIDTH), logged)
        self.put("span_id", hex_ids(span, SPAN_WIDTH), logged)

    def put_address(self, side: str, socket: pa.StringArray, logged: Mask | bool | None = None) -> Codes:
        """`ip:port` (or a bare address) of an end; returns the codes of the addresses in `ips`."""
        codes, ports = self.ips.parse(socket)
        known = codes != 0 if logged is None else logged
        self.put_codes(side, codes, ports, known)
        return codes

    def put_codes(self, side: str, codes: Codes, ports: Ports, logged: Mask | bool) -> None:
        """Address and port of an end, the address as codes of `ips`."""
        self.put(f"{side}_ip", self.ips.decode(codes), logged)
        self.put(f"{side}_port", pa.array(ports), logged if isinstance(logged, bool) else logged & (ports != 0))

    def put_ends(self, side: str, ends: Sequence[End], group: Codes, told: Sequence[End] | None = None) -> None:
        """Names of an end: `ends[group[row]]`. `told` holds those parts of them that the lines say themselves."""
        for place, part in enumerate(End._fields):
            values = self.pool.decode(self.pool.codes([end[place] for end in ends]), group)
            said = np.array([bool(end[place]) for end in (told or ends)], np.bool_)[group]
            self.put(f"{side}_{part}", values, said)

    def spread(self, name: str, values: Sequence[str], group: Codes, logged: Mask | bool = False) -> None:
        """A text column given per distinct combination: row i has `values[group[i]]`."""
        self.put(name, self.pool.decode(self.pool.codes(values), group), logged)

    def judge(self, facts: Sequence[npt.NDArray[Any]], outcome: Callable[[int], Outcome], logged: bool) -> None:
        """Verdict, policy and fault: `outcome(row)` is asked once for each distinct combination of `facts`."""
        first, group = groups(facts)
        found = [outcome(row) for row in first.tolist()]
        self.spread("verdict", [one.verdict for one in found], group, logged)
        self.spread("denied_by", [one.denied_by for one in found], group, logged)
        self.spread("fault", [one.fault for one in found], group)

    def batch(self) -> tuple[pa.RecordBatch, Refused]:
        """The rows that are right, and the others with the reason (row numbers of `lines`).

        Both ends are worked out: `identity.addresses.complete` adds only what addresses tell.
        """
        unknown = self.ips.decode(np.zeros(self.rows, np.int32))
        no_port = pa.array(np.zeros(self.rows, np.uint16))
        defaults = {
            "source_ip": unknown,
            "source_port": no_port,
            "destination_ip": unknown,
            "destination_port": no_port,
            "attributes": self.no_attributes(),
            "_upstream_local_ip": unknown,
            "_downstream_local_ip": unknown,
        }
        columns: dict[str, pa.Array] = {
            **defaults,
            **self.columns,
            "mesh": constant(self.mesh, self.rows),
            "raw": self.lines.text,
            "logged": pa.array(self._bits),
            "_message": self.lines.message,
            "_record": self.lines.record,
        }
        columns["_downstream_remote_ip"] = columns["source_ip"]
        columns["_downstream_remote_port"] = columns["source_port"]
        batch = pa.RecordBatch.from_pydict(columns)
        if self.refused:
            kept = np.ones(self.rows, np.bool_)
            kept[list(self.refused)] = False
            batch = batch.filter(pa.array(kept))
        return batch, sorted(self.refused.items())


def rows_of(lines: Lines, shape: Shape, mesh: str) -> CallRows:
    """Rows for the lines of one JSON shape, with what their envelope and the object itself say of the pod."""
    own = lines.take(shape.rows)
    return CallRows(Lines(own.spans, own.message, own.record, {**own.metadata, **metadata_of(shape)}), mesh)


def end_of(pod: Pod) -> End:
    """What is known of a pod from the outside, as one end of a call."""
    return End(pod.cluster, pod.namespace, pod.workload, pod.service, pod.version, pod.name)


def gateway_end(pod: Pod, name: str, addressed: bool = False) -> End:
    """A gateway as one end: its pod, or its product's name where nothing else is known of it, not even an address."""
    end = end_of(pod)
    named = end.service or end.workload or addressed
    return end if named else end._replace(service=name)


def text_of(columns: Mapping[str, JsonColumn], name: str, rows: int) -> pa.StringArray:
    """A key's values, null where a line does not have it."""
    column = columns.get(name)
    return pa.nulls(rows, pa.string()) if column is None else column.text


def carried(columns: Mapping[str, JsonColumn], name: str, rows: int) -> Mask:
    """Which lines have a key."""
    column = columns.get(name)
    if column is None:
        return np.zeros(rows, np.bool_)
    return np.ones(rows, np.bool_) if column.present is None else column.present


def filled(text: pa.StringArray) -> pa.StringArray:
    """The empty string as null."""
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)


__all__ = ["NO_END", "CallRows", "End", "Mask", "carried", "end_of", "filled", "gateway_end", "rows_of", "text_of"]
