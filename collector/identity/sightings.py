"""Who was seen to have an address: what lines and spans say of themselves, before anything is looked up.

    Decoder.decode ──► sightings ──► address_sightings ──► learn_addresses ──► aliases (evidence telemetry)

Four witnesses: the *pod* itself (its proxy's line, with the log shipper's metadata), a *caller* (the line of a proxy
that reached a service of the platform's at an address), a *peer* (the line of a proxy that was called from an address
with a certificate, which stands for the workload of the account's name), and a *span* (its resource). A name that only
a client chose, such as an authority, is no witness, nor is an address that a header gave.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from collector.coded import Codes, Pool, groups
from collector.identity.principals import parse_principal
from collector.identity.socket_addresses import AddressPool, ip_bytes
from storage.gateways import gateway_of_account
from storage.tables import LOGGED_BIT

Mask = npt.NDArray[np.bool_]
Int64s = npt.NDArray[np.int64]
MAX_SIGHTINGS = 10_000
"""Of one batch; a batch that has more is not telling of pods."""
POD_IP = "_pod_ip"
"""Auxiliary column of spans: `k8s.pod.ip` of the resource, as text."""
_HOUR_US = 3_600_000_000
_NAMES = ("cluster", "namespace", "workload", "service", "service_account", "pod", "version")
_TOLD_BY = ("pod", "caller", "peer", "span")


class _Seen:
    """Sightings in the making: columns that several witnesses fill one after the other."""

    def __init__(self, ts_us: Int64s) -> None:
        self.pool = Pool()
        self.ips = AddressPool()
        self._ts_us = ts_us
        self._parts: list[tuple[Int64s, dict[str, Codes], Codes, int, bool]] = []

    def add(self, where: Mask, names: dict[str, Codes], address: Codes, told_by: str, *, is_gateway: bool) -> None:
        """Rows of `where` say that `address` is the pod of these names."""
        rows = np.flatnonzero(where & (address != 0) & ((names["workload"] != 0) | (names["service"] != 0)))
        if len(rows):
            own = {part: codes[rows] for part, codes in names.items()}
            self._parts.append((rows, own, address[rows], _TOLD_BY.index(told_by), is_gateway))

    def table(self) -> pa.RecordBatch | None:
        """One row for each hour, address, witness and owner; None when nothing was seen."""
        if not self._parts:
            return None
        rows = np.concatenate([part[0] for part in self._parts])
        names = {name: np.concatenate([part[1][name] for part in self._parts]) for name in _NAMES}
        address = np.concatenate([part[2] for part in self._parts])
        told_by = np.concatenate([np.full(len(part[0]), part[3], np.int32) for part in self._parts])
        gateway = np.concatenate([np.full(len(part[0]), part[4], np.bool_) for part in self._parts])
        ts_us = self._ts_us[rows]
        loopback = self.ips.loopback()
        keep = ~loopback[address] & (ts_us > 0)
        if not keep.any():
            return None
        names = {name: codes[keep] for name, codes in names.items()}
        address, told_by, gateway, ts_us = address[keep], told_by[keep], gateway[keep], ts_us[keep]
        hour = ts_us // _HOUR_US
        first, group = groups([hour - hour.min(), address, told_by, gateway, *names.values()])
        order = np.argsort(group, kind="stable")
        starts = np.searchsorted(group[order], np.arange(len(first)))
        earliest, latest = (reduce.reduceat(ts_us[order], starts) for reduce in (np.minimum, np.maximum))
        columns = {name: self.pool.decode(codes[first]) for name, codes in names.items()}
        columns |= {
            "hour": pa.array(hour[first] * 3600).cast(pa.timestamp("s", "UTC")),
            "address": self.ips.decode(address[first]),
            "told_by": pa.array([_TOLD_BY[code] for code in told_by[first].tolist()], pa.string()),
            "is_gateway": pa.array(gateway[first].astype(np.uint8)),
            "first_ts": pa.array(earliest).cast(pa.timestamp("us", "UTC")),
            "last_ts": pa.array(latest).cast(pa.timestamp("us", "UTC")),
        }
        return pa.RecordBatch.from_pydict(columns).slice(0, MAX_SIGHTINGS)


def call_sightings(calls: pa.RecordBatch) -> pa.RecordBatch | None:
    """What decoded calls, not completed ones, tell of addresses: rows of `address_sightings`.

    Args:
        calls: as a decoder gives them, with the auxiliary columns of `to_calls` where they came from there.

    Pure. Never raises for any content of the columns.
    """
    columns = set(calls.schema.names)
    if not {"ts", "reporter", "logged"} <= columns:
        return None
    seen = _Seen(_microseconds(calls))
    nothing = np.zeros(calls.num_rows, np.int32)

    def text(name: str) -> Codes:
        return seen.pool.encode(calls.column(name)) if name in columns else nothing

    def address(name: str) -> Codes:
        return seen.ips.encode(calls.column(name)) if name in columns else nothing

    def flag(name: str) -> Mask:
        if name not in columns:
            return np.zeros(calls.num_rows, np.bool_)
        return calls.column(name).fill_null(False).to_numpy(zero_copy_only=False)

    reporter, logged = text("reporter"), calls.column("logged").fill_null(0).to_numpy(zero_copy_only=False)
    is_reporter = {name: reporter == seen.pool.code(name) for name in ("source", "destination", "gateway")}
    own_local = address("_upstream_local_ip")
    own_address = {
        "source": np.where(own_local != 0, own_local, address("source_ip")),
        "gateway": own_local,
        "destination": address("destination_ip"),
    }
    for name, where in is_reporter.items():
        side = "destination" if name == "destination" else "source"
        where = where & _logged(logged, f"{side}_workload", f"{side}_service", f"{side}_pod")
        if where.any():
            seen.add(where, _names(text, seen.pool, side), own_address[name], "pod", is_gateway=name == "gateway")
    if "_upstream_local_ip" in columns:
        reached = (is_reporter["source"] | is_reporter["gateway"]) & _logged(logged, "destination_service")
        reached &= calls.column("_upstream_local_ip").is_valid().to_numpy(zero_copy_only=False)
        reached &= ~flag("_weak") & ~flag("_by_address") & (text("direction") != seen.pool.code("egress"))
        names: dict[str, Codes] = dict.fromkeys(_NAMES, nothing)
        names |= {part: text(f"destination_{part}") for part in ("namespace", "service")}
        seen.add(reached & (names["namespace"] != 0), names, own_address["destination"], "caller", is_gateway=False)
    certified = is_reporter["destination"] & _logged(logged, "source_principal")
    if certified.any() and "source_port" in columns:
        # Envoy gives an address from a header no port.
        direct = pc.greater(calls.column("source_port"), 0).fill_null(False).to_numpy(zero_copy_only=False)
        _see_peers(seen, certified & direct, text("source_principal"), text("source_cluster"), address("source_ip"))
    return seen.table()


def _see_peers(seen: _Seen, where: Mask, principal: Codes, cluster: Codes, address: Codes) -> None:
    """Callers' certificates beside the addresses that they called from."""
    account = seen.pool.map(principal, lambda text: parse_principal(text).service_account)
    namespace = seen.pool.map(principal, lambda text: parse_principal(text).namespace)
    nothing = np.zeros(len(where), np.int32)
    names: dict[str, Codes] = dict.fromkeys(_NAMES, nothing)
    workload = seen.pool.map(account, lambda name: gateway_of_account(name) or name)
    names |= {"cluster": cluster, "namespace": namespace, "workload": workload, "service_account": account}
    seen.add(where & (namespace != 0), names, address, "peer", is_gateway=False)


def span_sightings(spans: pa.RecordBatch) -> pa.RecordBatch | None:
    """What the resources of decoded spans tell of addresses: rows of `address_sightings`.

    Args:
        spans: as a decoder gives them; `POD_IP` is there where any resource names its address.
    """
    columns = set(spans.schema.names)
    if not {"ts", POD_IP} <= columns:
        return None
    seen = _Seen(_microseconds(spans))
    pool = Pool()
    codes = pool.encode(spans.column(POD_IP))
    ips = np.array([seen.ips.code(ip_bytes(text)) for text in pool.values], np.int32)
    nothing = np.zeros(spans.num_rows, np.int32)
    names = {name: seen.pool.encode(spans.column(name)) if name in columns else nothing for name in _NAMES}
    seen.add(np.ones(spans.num_rows, np.bool_), names, ips[codes], "span", is_gateway=False)
    return seen.table()


def _names(text: Callable[[str], Codes], pool: Pool, side: str) -> dict[str, Codes]:
    names = {part: text(f"{side}_{part}") for part in _NAMES if part != "service_account"}
    account = pool.map(text(f"{side}_principal"), lambda principal: parse_principal(principal).service_account)
    return names | {"service_account": account}


def _logged(logged: npt.NDArray[np.uint64], *names: str) -> Mask:
    bits = np.uint64(sum(1 << LOGGED_BIT[name] for name in names))
    return (logged & bits) != 0


def _microseconds(batch: pa.RecordBatch) -> Int64s:
    return batch.column("ts").cast(pa.timestamp("us", "UTC")).cast(pa.int64()).fill_null(0).to_numpy()
