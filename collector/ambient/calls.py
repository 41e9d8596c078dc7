"""Columns of ztunnel's connections → `calls` columns.

    collector.decode.ztunnel_* ──► CONNECTIONS ──► to_calls ──► calls ──► identity.addresses.complete

A line is written when its connection ends: `ts` is that time less the duration.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from collector.ambient.connections import CONNECTIONS, NAMES, column_of
from collector.ambient.endpoints import Endpoints, Facts, resolve
from collector.ambient.failures import Failure, judge
from collector.coded import Codes, Pool, constant, groups
from collector.envoy.attributes import added
from collector.envoy.endpoints import End
from collector.identity.clusters import parse_host, split_port
from collector.identity.socket_addresses import AddressPool
from storage.tables import LOGGED_BIT

Mask = npt.NDArray[np.bool_]
TUNNEL_PORT = 15008
"""Where HBONE is spoken: never a port of the workload itself."""

_END_BITS = {
    "workload": ("workload", "pod"),
    "namespace": ("namespace",),
    "identity": ("principal",),
    "cluster": ("cluster",),
}


def to_calls(connections: pa.RecordBatch) -> pa.RecordBatch:
    """`calls` columns of connections (schema `CONNECTIONS`): as many rows, in order, beside `_by_address`.

    Names that the line does not give are `""`, addresses `::`. Pure. Never raises for any content of the columns.
    """
    if connections.schema.names != CONNECTIONS.names:
        raise ValueError(f"to_calls: columns {connections.schema.names} are not those of CONNECTIONS")
    rows = connections.num_rows
    pool, ips = Pool(), AddressPool()
    source_ip, source_port = ips.parse(connections.column("src_addr"))
    peer, peer_port = ips.parse(connections.column("dst_addr"))
    asked, asked_port = ips.parse(connections.column("dst_hbone_addr"))
    inbound = pc.equal(connections.column("direction"), "inbound").to_numpy(zero_copy_only=False)
    tunnelled = _has(connections, "dst_hbone_addr") | (peer_port == TUNNEL_PORT)
    relayed = (asked != 0) & (peer != 0) & (asked != peer)
    ends, group = _ends(connections, pool, tunnelled, relayed)

    sent, received = (connections.column(name).fill_null(0) for name in ("bytes_sent", "bytes_recv"))
    failures, failed = _failures(connections, pool, inbound)
    moved = pc.greater(pc.max_element_wise(sent, received), 0).to_numpy(zero_copy_only=False)
    verdict = _texts(pool, [failure.verdict for failure in failures], failed)
    # Policies come before the first byte.
    verdict = np.where((verdict == pool.code("unknown")) & moved, pool.code("allowed"), verdict).astype(np.int32)
    # A waypoint's address is no destination; on a loopback one listens a ztunnel beside its workload.
    own = ~(relayed & ~inbound) & ~ips.loopback()[peer]
    ip = np.where(own & (peer != 0), peer, asked)
    port = np.where(asked_port != 0, asked_port, np.where(peer_port == TUNNEL_PORT, 0, peer_port))
    duration = connections.column("duration_us").fill_null(0)
    mask = pa.array(inbound)
    columns: dict[str, pa.Array] = {
        "ts": _start(connections.column("time"), duration),
        "protocol": constant("tcp", rows),
        "mesh": constant("istio", rows),
        "source_ip": ips.decode(source_ip),
        "source_port": pa.array(source_port),
        "destination_ip": ips.decode(ip.astype(np.int32)),
        "destination_port": pa.array(port.astype(np.uint16)),
        "duration_us": duration,
        # ztunnel counts what its own side sends: the caller's the request, the callee's the response.
        "bytes_sent": pc.if_else(mask, sent, received),
        "bytes_received": pc.if_else(mask, received, sent),
        "termination_details": connections.column("error").fill_null(""),
        "verdict": pool.decode(verdict),
        "response_flags": pool.decode(_texts(pool, [failure.flags for failure in failures], failed)),
        "denied_by": pool.decode(_texts(pool, [failure.denied_by for failure in failures], failed)),
        "fault": pool.decode(_texts(pool, [failure.fault for failure in failures], failed)),
        "attributes": _attributes(connections, relayed & ~inbound),
        "raw": connections.column("raw"),
        "logged": _logged(connections, ends, group, inbound, port),
        "_message": connections.column("_message"),
        "_record": connections.column("_record"),
        "_by_address": pa.array(np.array([end.by_address for end in ends], np.bool_)[group]),
    }
    for name in ("reporter", "direction", "tls", "log_type"):
        columns[name] = pool.decode(_texts(pool, [getattr(end, name) for end in ends], group))
    for side in ("source", "destination"):
        for part in End._fields:
            texts = [getattr(getattr(end, side), part) for end in ends]
            columns[f"{side}_{part}"] = pool.decode(_texts(pool, texts, group))
    return pa.RecordBatch.from_pydict(columns)


def _has(connections: pa.RecordBatch, column: str) -> Mask:
    return connections.column(column).is_valid().to_numpy(zero_copy_only=False)


def _texts(pool: Pool, texts: Sequence[str], rows: Codes) -> Codes:
    return pool.codes(texts)[rows]


def _ends(connections: pa.RecordBatch, pool: Pool, tunnelled: Mask, relayed: Mask) -> tuple[list[Endpoints], Codes]:
    """Both ends of every distinct combination, and each line's combination."""
    names = [*(column_of(name) for name in NAMES), "direction", "message", "cluster"]
    texts = [pool.encode(connections.column(name)) for name in names]
    hosts = pool.map(pool.encode(connections.column("dst_hbone_addr")), _host_name)
    first, group = groups([*texts, tunnelled, relayed, hosts])
    values = pool.values
    found = [
        resolve(
            Facts._make(
                (*(values[text[row]] for text in texts), bool(tunnelled[row]), bool(relayed[row]), values[hosts[row]])
            )
        )
        for row in first.tolist()
    ]
    return found, group


def _host_name(text: str) -> str:
    """The host of HOST:PORT, where it is no address."""
    host = parse_host(text)
    return split_port(text)[0] if host.service or host.external else ""


def _failures(connections: pa.RecordBatch, pool: Pool, inbound: Mask) -> tuple[list[Failure], Codes]:
    """What became of every distinct (error, side), and each line's."""
    errors = pool.encode(connections.column("error"))
    first, group = groups([errors, inbound, _has(connections, "error")])
    none = Failure("allowed", "", "none", "")
    texts = connections.column("error")
    return [
        judge(text, inbound=bool(inbound[row])) if (text := texts[row].as_py()) is not None else none
        for row in first.tolist()
    ], group


def _start(written: pa.Array, duration: pa.Array) -> pa.Array:
    start = pc.subtract(written.cast(pa.int64()), duration.cast(pa.int64()))
    return pc.max_element_wise(start, pa.scalar(0, pa.int64())).cast(written.type)


def _attributes(connections: pa.RecordBatch, relayed: Mask) -> pa.MapArray:
    """The other fields, and who relayed the connection."""
    given = connections.column("attributes")
    if not relayed.any():
        return given
    mask = pa.array(relayed)
    relays = [
        (name, pc.if_else(mask, connections.column(column_of(name)), pa.scalar(None, pa.string())))
        for name in ("dst.workload", "dst.identity")
    ]
    return added(given, [(name, column) for name, column in relays if column.null_count < len(column)])


def _logged(
    connections: pa.RecordBatch, ends: Sequence[Endpoints], group: Codes, inbound: Mask, port: npt.NDArray[np.integer]
) -> pa.UInt64Array:
    bits = np.full(connections.num_rows, _bits("ts", "log_type"), np.uint64)

    def told(where: Mask, *names: str) -> None:
        np.bitwise_or(bits, np.where(where, _bits(*names), np.uint64(0)), out=bits)

    relayed = np.array([not any(end.destination[2:3] + end.destination[5:]) for end in ends], np.bool_)[group]
    for side, prefix in (("source", "src"), ("destination", "dst")):
        for field, parts in _END_BITS.items():
            has = _has(connections, f"{prefix}_{field}")
            if side == "destination":
                has &= ~relayed
            told(has, *(f"{side}_{part}" for part in parts))
    told(_has(connections, "dst_service"), "destination_service", "destination_namespace")
    told(_has(connections, "src_addr"), "source_ip", "source_port")
    told(_has(connections, "dst_addr") | _has(connections, "dst_hbone_addr"), "destination_ip")
    told(port > 0, "destination_port")
    told(_has(connections, "duration_us"), "duration_us")
    for own, field in (("bytes_sent", "bytes_sent"), ("bytes_received", "bytes_recv")):
        other = "bytes_recv" if field == "bytes_sent" else "bytes_sent"
        told(np.where(inbound, _has(connections, field), _has(connections, other)), own)
    tls = np.array([end.tls for end in ends])[group]
    told(tls != "unknown", "tls")
    # Without mutual TLS ztunnel has no identity to log: it is known to be absent.
    told(tls == "plaintext", "source_principal")
    ended = np.array([end.log_type != "connection_start" for end in ends], np.bool_)[group]
    told(ended, "termination_details", "verdict")
    return pa.array(bits)


def _bits(*names: str) -> np.uint64:
    return np.uint64(sum(1 << LOGGED_BIT[name] for name in names))
