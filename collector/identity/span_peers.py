"""Peers of spans by a host without a dot: services beside the caller, as the same host in an access log is.

A pod resolves `cart` in its own namespace (Kubernetes "DNS for Services and Pods", search domains), so to a caller
whose namespace is known such a host is a service of it, never a host of the internet.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from collector.coded import Codes, Pool
from collector.identity.clusters import parse_host

_NEEDED = ("kind", "namespace", "peer_service", "peer_host")
_CALLERS = ("client", "producer")


def name_short_peers(spans: pa.RecordBatch) -> pa.RecordBatch:
    """Decoded spans whose short `peer_host` has become a `peer_service` of the caller's namespace.

    `peer_host` stays as it was logged. Pure. Never raises for any content of the columns.
    """
    names = spans.schema.names
    if not set(names).issuperset(_NEEDED):
        return spans
    pool = Pool()
    kind, namespace, service, host = (pool.encode(spans.column(name)) for name in _NEEDED)
    short = pool.map(host, _short)
    callers = np.isin(kind, [pool.code(name) for name in _CALLERS])
    named = (short != 0) & callers & (namespace != 0) & (service == 0)
    if not named.any():
        return spans
    there: Codes = pool.encode(spans.column("peer_namespace")) if "peer_namespace" in names else np.zeros_like(service)
    columns = {name: spans.column(name) for name in names}
    columns["peer_service"] = pool.decode(np.where(named, short, service).astype(np.int32))
    columns["peer_namespace"] = pool.decode(np.where(named & (there == 0), namespace, there).astype(np.int32))
    return pa.RecordBatch.from_pydict(columns)


def _short(host: str) -> str:
    """The service that a host of one label names, or `""`; `localhost` is the caller's own pod."""
    parsed = parse_host(host)
    return parsed.service if parsed.service and "." not in host and parsed.service != "localhost" else ""
