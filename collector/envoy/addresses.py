"""The addresses of proxy lines: which of them are the caller's and the callee's, and what comparing them says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from collector.coded import Codes
from collector.decode.operators import carries
from collector.decode.spans import Mask
from collector.envoy.endpoints import NO_END, Endpoints
from collector.identity.socket_addresses import AddressPool, Ports


@dataclass(slots=True)
class Addresses:
    """Every address of the lines, as codes into `pool`, and what comparing them says."""

    pool: AddressPool
    upstream: Codes
    upstream_port: Ports
    upstream_local: Codes
    upstream_local_port: Ports
    local: Codes
    local_port: Ports
    client: Codes
    """The physical peer: the direct remote address, else the remote one unless it was taken from a header."""
    client_port: Ports
    remote: Codes
    """The original client where it differs from the peer."""
    pod: Codes
    client_logged: Mask


def addresses_of(operators: pa.RecordBatch, forwarded: Mask) -> Addresses:
    """The addresses of operators. `forwarded`: lines of requests that had X-Forwarded-For."""
    pool = AddressPool()
    upstream, upstream_port = pool.parse(operators.column("upstream_host"))
    upstream_local, upstream_local_port = pool.parse(operators.column("upstream_local_address"))
    local, local_port = pool.parse(operators.column("downstream_local_address"))
    remote, remote_port = pool.parse(operators.column("downstream_remote_address"))
    direct, direct_port = pool.parse(operators.column("downstream_direct_remote_address"))
    pod, _ = pool.parse(operators.column("pod_ip"))
    # An address taken from X-Forwarded-For has no port: Envoy prints 0.
    from_header = (direct == 0) & (remote_port == 0) & forwarded
    return Addresses(
        pool=pool,
        upstream=upstream,
        upstream_port=upstream_port,
        upstream_local=upstream_local,
        upstream_local_port=upstream_local_port,
        local=local,
        local_port=local_port,
        client=np.where(direct != 0, direct, np.where(from_header, 0, remote)).astype(np.int32),
        client_port=np.where(direct != 0, direct_port, np.where(from_header, 0, remote_port)).astype(np.uint16),
        remote=np.where(from_header | ((direct != 0) & (remote != direct)), remote, 0).astype(np.int32),
        pod=pod,
        client_logged=carries(operators, "downstream_direct_remote_address")
        | (carries(operators, "downstream_remote_address") & ~from_header),
    )


def address_columns(at: Addresses, ends: Sequence[Endpoints], group: Codes) -> dict[str, pa.Array]:
    """Address columns of `calls`, and those that only `identity.addresses.complete` reads."""
    # The address of a gateway without a name is all that can name it later; its client is then the remote one.
    nameless = np.array([end.reporter == "gateway" and end.source == NO_END for end in ends], np.bool_)[group]
    # One that did not reach its upstream says only where it was reached.
    own = np.where(at.upstream_local != 0, at.upstream_local, at.local)
    nameless &= own != 0
    outbound = nameless | np.array([end.reporter == "source" for end in ends], np.bool_)[group]
    inbound = np.array([end.reporter == "destination" for end in ends], np.bool_)[group]
    # Where the cluster names a service and no upstream was chosen, the local address is the service's, not a pod's.
    by_local = (
        inbound | np.array([end.by_address or end.reporter in ("waypoint", "unknown") for end in ends], np.bool_)[group]
    )
    from_upstream = ~inbound & (at.upstream != 0)
    destination = np.where(from_upstream, at.upstream, np.where(by_local, at.local, 0))
    destination = np.where(inbound & (destination == 0), at.pod, destination)
    named_port = np.array([end.port for end in ends], np.int64)[group]
    port = np.where(from_upstream, at.upstream_port, np.where(by_local & (at.local != 0), at.local_port, named_port))
    caller = np.where(at.upstream_local != 0, at.upstream_local, np.where(at.pod != 0, at.pod, at.client))
    caller = np.where(nameless, own, caller)
    caller_port = np.where(
        at.upstream_local != 0, at.upstream_local_port, np.where(nameless | (at.pod != 0), 0, at.client_port)
    )
    pool = at.pool
    return {
        "source_ip": pool.decode(np.where(outbound, caller, at.client).astype(np.int32)),
        "source_port": pa.array(np.where(outbound, caller_port, at.client_port).astype(np.uint16)),
        "source_remote_ip": pool.decode(np.where(nameless & (at.remote == 0), at.client, at.remote).astype(np.int32)),
        "destination_ip": pool.decode(destination.astype(np.int32)),
        "destination_port": pa.array(port.astype(np.uint16)),
        "_upstream_local_ip": pool.decode(at.upstream_local),
        "_downstream_remote_ip": pool.decode(at.client),
        "_downstream_remote_port": pa.array(at.client_port),
        "_downstream_local_ip": pool.decode(at.local),
    }
