"""Operator columns of proxy lines → `calls` columns.

    collector.decode.* ──► OPERATORS ──► to_calls ──► calls (+ auxiliary columns) ──► identity.addresses.complete

What bears on identity has few distinct values: it is worked out once per distinct combination (`endpoints.resolve`,
`outcomes.judge`) and spread over the rows by numpy. Addresses and ids stay columns throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from collector.coded import Codes, Pool, groups, number_codes
from collector.decode.operators import CARRIED_BIT, METADATA, OPERATORS
from collector.envoy.addresses import Addresses, address_columns, addresses_of
from collector.envoy.attributes import of_clients, with_operators
from collector.envoy.endpoints import End, Endpoints, Facts, resolve
from collector.envoy.peers import LONGEST
from collector.identity.own_pods import own_pods
from collector.identity.principals import MAX_LENGTH, shortened
from collector.identity.socket_addresses import ip_bytes
from collector.operations import operations
from collector.outcomes import Line, judge
from collector.trace_ids import SPAN_WIDTH, TRACE_WIDTH, from_traceparent, hex_ids
from storage.tables import LOGGED_BIT

Mask = npt.NDArray[np.bool_]
_TEXT_FACTS = (
    ("cluster", "upstream_cluster"),
    ("sni", "requested_server_name"),
    ("authority", "authority"),
    ("downstream_peer", "downstream_peer_uri_san"),
    ("downstream_local", "downstream_local_uri_san"),
    ("upstream_peer", "upstream_peer_uri_san"),
    ("upstream_local", "upstream_local_uri_san"),
    ("downstream_tls", "downstream_tls_version"),
    ("upstream_tls", "upstream_tls_version"),
    ("downstream_metadata", "downstream_peer_metadata"),
    ("upstream_metadata", "upstream_peer_metadata"),
)
_INSTEAD = {"downstream_tls_version": "downstream_tls_cipher"}
_FLAG_FACTS = (
    "has_http",
    "own_is_server",
    "own_is_client",
    "forwards",
    "to_self",
    "sees_upstream",
    "tunnels",
    "refuses",
)
_PROTOCOLS = {"HTTP/1.0": "http", "HTTP/1.1": "http", "HTTP/2": "http2", "HTTP/2.0": "http2", "HTTP/3": "http3"}
_LOG_TYPES = {
    "TcpConnectionEnd": "connection_end",
    "DownstreamEnd": "request",
    "TcpConnectionStart": "connection_start",
    "TcpUpstreamConnected": "connection_start",
    "DownstreamTunnelSuccessfullyEstablished": "connection_start",
    "UpstreamPoolReady": "connection_start",
    "DownstreamStart": "request_start",
    "TcpPeriodic": "periodic",
    "DownstreamPeriodic": "periodic",
    "UpstreamPeriodic": "periodic",
    "UpstreamEnd": "upstream_end",
}
_TUNNEL = "envoy://connect_originate/"
"""How a waypoint logs an upstream behind HBONE."""
_BLACK_HOLE = "BlackHoleCluster"
_REFUSALS = ("rbac_access_denied", "jwt_authn_access_denied")
_LOCALHOST = (ip_bytes("127.0.0.1"), ip_bytes("::1"), ip_bytes("127.0.0.6"))
"""127.0.0.6 is where Istio's sidecar calls its own application from."""


def _bounded(text: str) -> str:
    return text if len(text) <= MAX_LENGTH else ""


def _has_bit(carried: npt.NDArray[np.uint64], operator: str) -> Mask:
    return (carried >> np.uint64(CARRIED_BIT[operator]) & np.uint64(1)).astype(np.bool_)


def _codes(operators: pa.RecordBatch, operator: str, pool: Pool) -> Codes:
    codes = pool.encode(operators.column(operator))
    other = operators.column(_INSTEAD[operator]) if operator in _INSTEAD else None
    if other is None or other.null_count == len(other):
        return codes
    return np.where(codes != 0, codes, pool.encode(other)).astype(np.int32)


def _facts(
    operators: pa.RecordBatch, meshes: Codes, pool: Pool, texts: Sequence[Codes], flags: Sequence[Mask]
) -> tuple[list[Endpoints], Codes]:
    """Both ends of every distinct combination, and each line's combination."""
    metadata = {name: operators.column(name) for name in METADATA.names}
    pods, pod = own_pods(metadata, operators.num_rows, pool)
    carried = operators.column("carried").dictionary_encode()
    sets = carried.dictionary.to_pylist()
    keys = carried.indices.to_numpy()
    bits = np.zeros(operators.num_rows, np.int64)
    for place, flag in enumerate(flags):
        bits |= flag.astype(np.int64) << place
    first, group = groups([*texts, pod, keys, bits, meshes])
    facts: dict[str, Any] = {
        name: [pool.values[code] for code in codes[first].tolist()]
        for (name, _), codes in zip(_TEXT_FACTS, texts, strict=True)
    }
    facts |= {name: flag[first].tolist() for name, flag in zip(_FLAG_FACTS, flags, strict=True)}
    facts["pod"] = [pods[index].pod for index in pod[first].tolist()]
    facts["carried"] = [sets[index] for index in keys[first].tolist()]
    facts["mesh"] = [pool.values[code] for code in meshes[first].tolist()]
    combinations = zip(*(facts[name] for name in Facts._fields), strict=True)
    return [resolve(Facts._make(combination)) for combination in combinations], group


def _protocol(operators: pa.RecordBatch, pool: Pool, has_http: Mask) -> Codes:
    logged = pool.encode(operators.column("protocol"))
    known = pool.map(logged, lambda text: _PROTOCOLS.get(text, "http" if text else ""))
    carried = operators.column("carried").to_numpy()
    tells = _has_bit(carried, "protocol") | _has_bit(carried, "method") | _has_bit(carried, "path")
    missing = np.where(has_http, pool.code("http"), np.where(tells, pool.code("tcp"), pool.code("")))
    protocol = np.where(known != 0, known, missing)
    content = pool.test(pool.encode(operators.column("content_type")), lambda text: text.startswith("application/grpc"))
    agent = pool.test(pool.encode(operators.column("user_agent")), lambda text: text.startswith("grpc-"))
    status = operators.column("grpc_status").is_valid().to_numpy(zero_copy_only=False)
    # Old Envoys print a gRPC status for any HTTP response: it counts only where gRPC can be.
    framed = (protocol == pool.code("http2")) | (protocol == pool.code("http3"))
    framed |= has_http & ~_has_bit(carried, "protocol")
    return np.where(content | (framed & (agent | status)), pool.code("grpc"), protocol).astype(np.int32)


def _without_invented(operators: pa.RecordBatch, is_grpc: Mask) -> tuple[pa.RecordBatch, Mask]:
    """No gRPC status where there is no gRPC (old Envoys make one up: HTTP 200 is Unknown); and where there was one."""
    status = operators.column("grpc_status")
    invented = ~is_grpc & status.is_valid().to_numpy(zero_copy_only=False)
    if not invented.any():
        return operators, invented
    kept = pc.if_else(pa.array(invented), pa.scalar(None, status.type), status)
    field = OPERATORS.get_field_index("grpc_status")
    return operators.set_column(field, OPERATORS.field("grpc_status"), kept), invented


def _log_type(operators: pa.RecordBatch, pool: Pool, has_http: Mask) -> Codes:
    logged = pool.map(pool.encode(operators.column("access_log_type")), lambda text: _LOG_TYPES.get(text, ""))
    other = np.where(has_http, pool.code("request"), pool.code("connection_end"))
    return np.where(logged != 0, logged, other).astype(np.int32)


def _outcomes(operators: pa.RecordBatch, pool: Pool, has_http: Mask, sees_upstream: Mask) -> dict[str, pa.Array]:
    texts = [
        pool.map(pool.encode(operators.column(name)), _bounded)
        for name in (
            "response_flags",
            "response_code_details",
            "connection_termination_details",
            "upstream_transport_failure_reason",
        )
    ]
    carried = operators.column("carried").to_numpy()
    has_status, has_details = _has_bit(carried, "response_code"), _has_bit(carried, "response_code_details")
    status, grpc = number_codes(operators.column("response_code")), number_codes(operators.column("grpc_status"))
    black_hole = pool.test(pool.encode(operators.column("upstream_cluster")), lambda text: text == _BLACK_HOLE)
    first, group = groups([status, grpc, *texts, has_http, sees_upstream, has_status, has_details, black_hole])
    outcomes = [
        judge(
            Line(
                max(0, int(status[row]) - 1),
                int(grpc[row]) - 1,
                *(pool.values[codes[row]] for codes in texts),
                is_connection=not has_http[row],
                reached_upstream=bool(sees_upstream[row]),
                has_status=bool(has_status[row]),
                has_details=bool(has_details[row]),
                black_hole=bool(black_hole[row]),
            )
        )
        for row in first.tolist()
    ]
    return {
        name: pool.decode(pool.codes(getattr(outcome, name) for outcome in outcomes), group)
        for name in ("verdict", "denied_by", "fault")
    }


def _refuses(operators: pa.RecordBatch, pool: Pool) -> Mask:
    """Lines in which a policy of the mesh refused: of requests in the details, of connections in their end's."""
    found = np.zeros(operators.num_rows, np.bool_)
    for name in ("response_code_details", "connection_termination_details"):
        found |= pool.test(pool.encode(operators.column(name)), lambda text: text.startswith(_REFUSALS))
    return found


def _microseconds(milliseconds: pa.Array) -> pa.Array:
    values = milliseconds.fill_null(0.0).to_numpy(zero_copy_only=False)
    return pa.array(np.rint(np.clip(np.nan_to_num(values), 0.0, 1e16) * 1000.0).astype(np.uint64))


def _traces(operators: pa.RecordBatch) -> tuple[pa.Array, pa.Array]:
    trace = hex_ids(operators.column("trace_id"), TRACE_WIDTH)
    span = hex_ids(operators.column("span_id"), SPAN_WIDTH)
    parent = operators.column("traceparent")
    if parent.null_count == len(parent):
        return trace, span
    from_trace, from_span = from_traceparent(parent)
    absent = pc.equal(trace, "")
    return pc.if_else(absent, from_trace, trace), pc.if_else(pc.and_(absent, pc.equal(span, "")), from_span, span)


def _end_columns(pool: Pool, ends: Sequence[Endpoints], group: Codes) -> dict[str, pa.Array]:
    columns: dict[str, pa.Array] = {}
    sides = {"source": [end.source for end in ends], "destination": [end.destination for end in ends]}
    for side, found in sides.items():
        for place, part in enumerate(End._fields):
            columns[f"{side}_{part}"] = pool.decode(pool.codes([end[place] for end in found]), group)
    for name in ("reporter", "direction", "tls", "mesh"):
        columns[name] = pool.decode(pool.codes(getattr(end, name) for end in ends), group)
    for name in ("weak", "by_address"):
        columns[f"_{name}"] = pa.array(np.array([getattr(end, name) for end in ends], np.bool_)[group])
    return columns


def _clients(ends: Sequence[Endpoints], group: Codes) -> tuple[Mask, Mask]:
    """Lines of gateways, and lines whose downstream has more names than the call's source."""
    gateways = np.array([end.reporter == "gateway" for end in ends], np.bool_)[group]
    return gateways, np.array([end.more_names for end in ends], np.bool_)[group]


def _logged(
    operators: pa.RecordBatch, addresses: Addresses, ends: Sequence[Endpoints], group: Codes, invented: Mask
) -> pa.UInt64Array:
    bits = np.array([end.logged for end in ends], np.uint64)[group]
    bits &= ~np.where(invented, np.uint64(1 << LOGGED_BIT["grpc_status"]), np.uint64(0))
    outbound = np.array([end.reporter == "source" for end in ends], np.bool_)[group]
    carried = operators.column("carried").to_numpy()
    known = addresses.client_logged | (outbound & _has_bit(carried, "upstream_local_address"))
    both = np.uint64(1 << LOGGED_BIT["source_ip"] | 1 << LOGGED_BIT["source_port"])
    return pa.array(bits | np.where(known, both, np.uint64(0)))


def to_calls(operators: pa.RecordBatch, mesh: str) -> pa.RecordBatch:
    """`calls` columns of proxy lines.

    Args:
        operators: schema `collector.decode.operators.OPERATORS`.
        mesh: `istio`, `envoy`, ...; what a line's keys or its cluster's name tell is better.

    Returns:
        As many rows, in order. Besides the columns of `calls`: `_message` and `_record` as given, and for
        `identity.addresses.complete`: `_upstream_local_ip`, `_downstream_remote_ip`, `_downstream_local_ip`
        (binary(16)), `_downstream_remote_port` (uint16), `_weak`, `_by_address` (bool).
        Names that the line does not give are `""`, addresses `::`.

    Pure. Never raises for any content of the columns.
    """
    if operators.schema.names != OPERATORS.names:
        raise ValueError(f"to_calls: columns {operators.schema.names} are not those of OPERATORS")
    pool = Pool()
    present = {
        name: operators.column(name).is_valid().to_numpy(zero_copy_only=False)
        for name in ("method", "path", "protocol", "x_forwarded_for")
    }
    status = operators.column("response_code").fill_null(0)
    has_http = present["method"] | present["path"] | present["protocol"] | (status.to_numpy() > 0)
    at = addresses_of(operators, present["x_forwarded_for"])
    loopback = at.pool.loopback()
    localhost = np.isin(np.arange(len(at.pool.values)), [at.pool.index.get(address, -1) for address in _LOCALHOST])
    sees_upstream = at.upstream != 0
    same = (at.local != 0) & (at.local == at.upstream_local)
    flags = (
        has_http,
        (at.pod != 0) & (at.local == at.pod),
        ((at.pod != 0) & (at.client == at.pod)) | localhost[at.client],
        # A gateway's HTTP always has the header; a connection cannot have it.
        same
        & (at.client != 0)
        & (at.client != at.local)
        & ~loopback[at.client]
        & (present["x_forwarded_for"] | ~has_http),
        localhost[at.upstream] | (same & (at.upstream == at.local)),
        sees_upstream,
        pc.starts_with(operators.column("upstream_host"), _TUNNEL).fill_null(False).to_numpy(zero_copy_only=False),
        _refuses(operators, pool),
    )
    texts = [_codes(operators, operator, pool) for _, operator in _TEXT_FACTS]
    authority, sni, cluster = texts[2], texts[1], texts[0]
    # What is too long means nothing, and must not be remembered by the caches of what was worked out.
    names = [operator for _, operator in _TEXT_FACTS[:-2]]
    fits = [shortened if name.endswith("_san") else _bounded for name in names]
    bounded = [pool.map(codes, fit) for codes, fit in zip(texts, fits, strict=False)]
    texts = bounded + [pool.map(codes, lambda text: text if len(text) <= LONGEST else "") for codes in texts[-2:]]
    told = pool.encode(operators.column("mesh"))
    ends, group = _facts(operators, np.where(told != 0, told, pool.code(mesh)).astype(np.int32), pool, texts, flags)
    trace, span = _traces(operators)
    protocol = _protocol(operators, pool, has_http)
    operators, invented = _without_invented(operators, protocol == pool.code("grpc"))
    columns: dict[str, pa.Array] = {
        "ts": operators.column("start_time"),
        "log_type": pool.decode(_log_type(operators, pool, has_http)),
        "protocol": pool.decode(protocol),
        "method": operators.column("method"),
        "authority": pool.decode(authority),
        "path": operators.column("path"),
        "operation": operations(operators.column("method"), operators.column("path")),
        "status": status,
        "grpc_status": operators.column("grpc_status").fill_null(0),
        "response_flags": operators.column("response_flags"),
        "response_details": operators.column("response_code_details"),
        "termination_details": operators.column("connection_termination_details"),
        "duration_us": _microseconds(operators.column("duration_ms")),
        "upstream_duration_us": _microseconds(operators.column("upstream_service_time_ms")),
        "attempt": operators.column("attempt_count").fill_null(0),
        "bytes_sent": operators.column("bytes_sent").fill_null(0),
        "bytes_received": operators.column("bytes_received").fill_null(0),
        "sni": pool.decode(sni),
        "upstream_cluster": pool.decode(cluster),
        "request_id": operators.column("request_id"),
        "trace_id": trace,
        "span_id": span,
        "user_agent": operators.column("user_agent"),
        "attributes": with_operators(operators, of_clients(operators, *_clients(ends, group))),
        "raw": operators.column("raw"),
        "logged": _logged(operators, at, ends, group, invented),
        "_message": operators.column("_message"),
        "_record": operators.column("_record"),
        **_end_columns(pool, ends, group),
        **address_columns(at, ends, group),
        **_outcomes(operators, pool, has_http, sees_upstream),
    }
    return pa.RecordBatch.from_pydict(columns)
