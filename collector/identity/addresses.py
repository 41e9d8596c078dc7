"""What a line leaves out, from the addresses in it: names of callers and callees as known at the time of the call.

    to_calls, calls_json ──► complete(calls, book) ──► edge_ids ──► calls

A name that the line gives is never replaced, except one that only the caller chose (an authority, an SNI on the way
out): what is known of the address outranks it. `logged` is left alone: what is filled in here no line has said.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from collector.coded import Codes, Pool, distinct_codes, groups
from collector.identity.address_book import AddressBook, Int64s, Owner
from collector.identity.clusters import parse_host, split_port
from collector.identity.derived import fill_derived
from collector.identity.kubernetes import workload_of
from collector.identity.principals import parse_principal
from collector.identity.socket_addresses import AddressPool
from storage.gateways import GATEWAY_PRODUCTS

__all__ = ["AddressBook", "Owner", "complete"]

Mask = npt.NDArray[np.bool_]
_PARTS = ("cluster", "namespace", "workload", "service", "version", "pod", "principal")
_NOBODY = Owner(is_pod=False)
_OWN_ADDRESSES = ("_upstream_local_ip", "_downstream_remote_ip", "_downstream_local_ip")
_AUXILIARY = frozenset(
    {
        *_OWN_ADDRESSES,
        "_downstream_remote_port",
        "_weak",
        "_by_address",
    }
)


@dataclass(slots=True)
class _Work:
    """The columns that completion reads and changes."""

    calls: pa.RecordBatch
    pool: Pool
    ips: AddressPool
    ts_us: Int64s
    text: dict[str, Codes]
    address: dict[str, Codes]
    changed: set[str]
    """Columns of `text` that are no longer as they came."""
    proxied: Mask
    """Rows that come from `to_calls`: both ends are worked out already. A mixed topic gives both kinds in one batch."""

    @property
    def rows(self) -> int:
        return self.calls.num_rows

    def is_text(self, name: str, value: str) -> Mask:
        return self.text[name] == self.pool.code(value)

    def set_text(self, name: str, where: Mask, codes: Codes | int) -> None:
        if np.any(where):
            self.text[name] = np.where(where, codes, self.text[name]).astype(np.int32)
            self.changed.add(name)

    def flag(self, name: str) -> Mask:
        if name not in self.calls.schema.names:
            return np.zeros(self.rows, np.bool_)
        return self.calls.column(name).fill_null(False).to_numpy(zero_copy_only=False)


def complete(calls: pa.RecordBatch, book: AddressBook) -> pa.RecordBatch:
    """Calls with the names that `book` knows for their addresses at their time, and with every derived column.

    Args:
        calls: any subset of the columns of `calls` (names as strings or dictionaries; addresses binary(16)), with the
            auxiliary columns of `collector.envoy.to_calls` where they came from there.
        book: who had which address when.

    Returns:
        As many rows, in order; endpoint columns, `reporter`, `log_type`, `direction`, `protocol`, `operation`, `tls`,
        `verdict`, `denied_by` and `fault` are there in every case. Auxiliary columns are gone, but for `_message` and
        `_record`.

    Pure. Never raises for any content of the columns.
    """
    work = _work(calls)
    _from_principals(work)
    _from_host_names(work, book)
    own = _own_pod(work, book)
    _gateways(work, book, own)
    _fill_source(work, book, own)
    _fill_destination(work, book)
    _from_pods(work)
    _name_gateways(work)
    _direct(work)
    return _finish(work)


def _work(calls: pa.RecordBatch) -> _Work:
    names = set(calls.schema.names)
    pool, ips = Pool(), AddressPool()
    nothing = np.zeros(calls.num_rows, np.int32)
    texts = [f"{side}_{part}" for side in ("source", "destination") for part in _PARTS]
    texts += ["reporter", "direction", "tls", "authority"]
    addresses = ("source_ip", "source_remote_ip", "destination_ip", *_OWN_ADDRESSES)
    if "ts" in names:
        ts_us = calls.column("ts").cast(pa.timestamp("us", "UTC")).cast(pa.int64()).fill_null(0).to_numpy()
    else:
        ts_us = np.zeros(calls.num_rows, np.int64)
    return _Work(
        calls=calls,
        pool=pool,
        ips=ips,
        ts_us=ts_us,
        text={name: pool.encode(calls.column(name)) if name in names else nothing for name in texts},
        changed=set(),
        address={name: ips.encode(calls.column(name)) if name in names else nothing for name in addresses},
        proxied=calls.column("_downstream_local_ip").is_valid().to_numpy(zero_copy_only=False)
        if "_downstream_local_ip" in names
        else np.zeros(calls.num_rows, np.bool_),
    )


def _from_principals(work: _Work) -> None:
    """The namespace (and with Consul the service) that a certificate names, where the line has none."""
    if work.proxied.all():
        return
    for side in ("source", "destination"):
        principal = work.text[f"{side}_principal"]
        for part in ("namespace", "service"):
            named = work.pool.map(principal, lambda text, part=part: getattr(parse_principal(text), part))
            work.set_text(f"{side}_{part}", ~work.proxied & (work.text[f"{side}_{part}"] == 0), named)


def _from_host_names(work: _Work, book: AddressBook) -> None:
    """Destinations given as host names: services of the cluster, or hosts outside."""
    pool = work.pool
    service, namespace = work.text["destination_service"], work.text["destination_namespace"]
    if not work.proxied.all():
        named = work.text["destination_workload"] | work.text["destination_principal"] | service | namespace
        unnamed = ~work.proxied & (named == 0) & (work.address["destination_ip"] == 0)
        service = np.where(unnamed, work.text["authority"], service).astype(np.int32)
    first, group = groups([service, namespace])
    services, namespaces, outside = [], [], []
    for row in first.tolist():
        name, known = pool.values[service[row]], pool.values[namespace[row]]
        resolved = _host(name, known, book) if name else ("", known, False)
        services.append(pool.code(resolved[0]))
        namespaces.append(pool.code(resolved[1]))
        outside.append(resolved[2])
    work.text["destination_service"] = np.array(services, np.int32)[group]
    work.text["destination_namespace"] = np.array(namespaces, np.int32)[group]
    work.changed |= {"destination_service", "destination_namespace"}
    is_outside = np.array(outside, np.bool_)[group]
    came_in = work.is_text("direction", "egress") & ~is_outside & (work.text["destination_service"] != 0)
    work.set_text("direction", work.proxied & came_in, 0)
    blank = work.text["direction"] == 0
    work.set_text("direction", ~work.proxied & is_outside & blank, pool.code("egress"))


def _host(name: str, namespace: str, book: AddressBook) -> tuple[str, str, bool]:
    """Service, namespace, outside: of a destination as it was named."""
    if namespace and (namespace, name) in book.services:
        return name, namespace, False
    host = parse_host(name)
    if host.service and host.namespace in ("", namespace or host.namespace):
        # A short name keeps its spelling: it may be no host at all.
        is_short = not host.namespace and not host.port and "." not in name
        return (name if is_short else host.service), namespace or host.namespace, False
    if host.is_address:
        # Whose address it is, is told when the map is read; as nobody's it is a host outside.
        return split_port(name)[0], "", True
    if namespace or not host.external:
        return name, namespace, False
    if host.external in book.hosts:
        known = book.hosts[host.external]
        return known[1], known[0], False
    labels = host.external.split(".")
    if len(labels) == 2 and (labels[1], labels[0]) in book.services:
        return labels[0], labels[1], False
    return host.external, "", True


def _from_pods(work: _Work) -> None:
    """The name of a pod tells its workload, where nothing better is known of a side."""
    for side in ("source", "destination"):
        pod = work.text[f"{side}_pod"]
        named = work.text[f"{side}_workload"] | work.text[f"{side}_service"] | work.text[f"{side}_principal"]
        nameless = (named == 0) & (pod != 0)
        if nameless.any():
            work.set_text(f"{side}_workload", nameless, work.pool.map(pod, workload_of))


def _name_gateways(work: _Work) -> None:
    """A gateway of which nothing is known, not even an address, goes by its product's name.

    With an address it is derived: address_edges.sql has the same names for those that nobody names then.
    """
    if "mesh" not in work.calls.schema.names:
        return
    known = work.address["source_ip"] != 0
    for part in ("workload", "service", "principal"):
        known |= work.text[f"source_{part}"] != 0
    nameless = ~known & work.is_text("reporter", "gateway")
    if nameless.any():
        mesh = work.pool.encode(work.calls.column("mesh"))
        product = work.pool.map(mesh, lambda name: GATEWAY_PRODUCTS.get(name, ""))
        work.set_text("source_service", nameless & (product != 0), product)


def _find(work: _Work, book: AddressBook, address: str, rows: Mask) -> Int64s:
    """Owner of each row's address, -1 where `rows` is false or nobody is known."""
    found = np.full(work.rows, -1, np.int64)
    picked = np.flatnonzero(rows & (work.address[address] != 0))
    if not len(picked) or not book.owners:
        return found
    cluster = np.where(work.text["source_cluster"] != 0, work.text["source_cluster"], work.text["destination_cluster"])
    distinct, cluster_of = distinct_codes(cluster[picked], len(work.pool.values))
    names = [work.pool.values[code] for code in distinct]
    found[picked] = book.find(work.ips.decode(work.address[address][picked]), work.ts_us[picked], names, cluster_of)
    return found


def _is_pod(book: AddressBook, owner: Int64s) -> Mask:
    return np.array([*(entry.is_pod for entry in book.owners), False], np.bool_)[owner]


def _own_pod(work: _Work, book: AddressBook) -> Int64s:
    """The pod of the proxy on lines of the caller's side or a gateway: the first of its addresses that is a pod's."""
    outbound = work.is_text("reporter", "source") | work.is_text("reporter", "gateway")
    own = np.full(work.rows, -1, np.int64)
    for name in ("_upstream_local_ip", "source_ip", "_downstream_remote_ip", "_downstream_local_ip"):
        wanted = outbound & (own < 0)
        if name in ("source_ip", "_downstream_remote_ip"):
            wanted &= work.is_text("reporter", "source")  # a gateway's client is not the gateway
        if name == "_downstream_local_ip":
            wanted &= work.address[name] != work.address["destination_ip"]
        found = _find(work, book, name, wanted)
        own = np.where((own < 0) & _is_pod(book, found), found, own)
    return own


def _gateways(work: _Work, book: AddressBook, own: Int64s) -> None:
    """Lines of the caller's side whose pod proves to be a gateway: their source address is the client."""
    if not book.owners:
        return
    # A gateway that failed to reach its upstream logs only where it was reached.
    unreached = work.is_text("reporter", "source") & (own < 0) & (work.address["destination_ip"] == 0)
    at_gateway = _find(work, book, "_downstream_local_ip", unreached)
    is_gateway = np.array([*(entry.is_pod and entry.is_gateway for entry in book.owners), False], np.bool_)
    own[:] = np.where(is_gateway[at_gateway], at_gateway, own)
    turned = work.proxied & is_gateway[own] & work.is_text("reporter", "source")
    work.set_text("reporter", turned, work.pool.code("gateway"))
    work.set_text("direction", turned & ~work.is_text("direction", "egress"), work.pool.code("ingress"))
    client = work.proxied & (own >= 0) & work.is_text("reporter", "gateway")
    peer, remote = work.address["_downstream_remote_ip"], work.address["source_remote_ip"]
    work.address["source_ip"] = np.where(client, peer, work.address["source_ip"])
    work.address["source_remote_ip"] = np.where(client & (remote == peer), 0, remote)


def _part_codes(work: _Work, book: AddressBook, owner: Int64s) -> dict[str, Codes]:
    """The owners' names as codes: only owners that occur are encoded."""
    used, place = distinct_codes((owner + 1).astype(np.int32), len(book.owners) + 1)
    owners = [book.owners[index - 1] if index else _NOBODY for index in used.tolist()]
    parts = ("cluster", "namespace", "workload", "service", "version", "pod", "service_account")
    return {part: work.pool.codes(getattr(entry, part) for entry in owners)[place] for part in parts}


def _agrees(work: _Work, side: str, names: dict[str, Codes]) -> Mask:
    """Whether an owner contradicts nothing that the line says of this end."""
    pool, text = work.pool, work.text
    namespace, pod = text[f"{side}_namespace"], text[f"{side}_pod"]
    agrees = (namespace == 0) | (namespace == names["namespace"])
    agrees &= (pod == 0) | (pod == names["pod"])
    account = pool.map(text[f"{side}_principal"], lambda principal: parse_principal(principal).service_account)
    return agrees & ((account == 0) | (names["service_account"] == 0) | (account == names["service_account"]))


def _fill(work: _Work, side: str, names: dict[str, Codes], where: Mask) -> None:
    for part in ("cluster", "namespace", "workload", "service", "version", "pod"):
        column = f"{side}_{part}"
        work.set_text(column, where & (work.text[column] == 0), names[part])


def _fill_source(work: _Work, book: AddressBook, own: Int64s) -> None:
    if not book.owners:
        return
    outbound = work.is_text("reporter", "source") | work.is_text("reporter", "gateway")
    owner = np.where(outbound, own, _find(work, book, "source_ip", ~outbound))
    names = _part_codes(work, book, owner)
    _fill(work, "source", names, _is_pod(book, owner) & _agrees(work, "source", names))


def _fill_destination(work: _Work, book: AddressBook) -> None:
    if not book.owners:
        return
    pool, text = work.pool, work.text
    owner = _find(work, book, "destination_ip", np.ones(work.rows, np.bool_))
    if not (owner >= 0).any():
        return
    names = _part_codes(work, book, owner)
    known = owner >= 0
    outside = work.is_text("direction", "egress") & (text["destination_service"] != 0)
    weak = work.flag("_weak")
    # A name that the caller chose gives way, unless it is another known service of the same namespace.
    listed = {(pool.index.get(ns, -1), pool.index.get(name, -1)) for ns, name in book.services}
    first, group = groups([text["destination_namespace"], text["destination_service"]])
    is_listed = np.array(
        [(int(text["destination_namespace"][row]), int(text["destination_service"][row])) in listed for row in first],
        np.bool_,
    )[group]
    keeps = is_listed & (text["destination_namespace"] == names["namespace"])
    override = known & weak & ~keeps
    for part in ("namespace", "service"):
        work.set_text(f"destination_{part}", override, names[part])
    work.set_text("direction", override & work.is_text("direction", "egress"), 0)
    outside &= ~override
    agrees = known & ~outside & _agrees(work, "destination", names)
    # A bare name is this owner only when the owner bears it.
    bare = (text["destination_namespace"] == 0) & (text["destination_service"] != 0)
    bears = (text["destination_service"] == names["service"]) | (text["destination_service"] == names["workload"])
    filled = agrees & (~bare | bears)
    _fill(work, "destination", names, filled)
    work.set_text("direction", filled & work.flag("_by_address") & work.is_text("direction", "egress"), 0)


def _direct(work: _Work) -> None:
    """The direction of lines that have none (any more)."""
    blank = work.text["direction"] == 0
    ingress = work.is_text("reporter", "gateway")
    code = np.where(ingress, work.pool.code("ingress"), work.pool.code("east_west"))
    work.set_text("direction", blank, code.astype(np.int32))


def _is_coded(column: pa.Array | None) -> bool:
    """Whether a column is text as a dictionary without nulls, which is what completed columns are."""
    return column is not None and pa.types.is_dictionary(column.type) and column.null_count == 0


def _finish(work: _Work) -> pa.RecordBatch:
    calls, pool = work.calls, work.pool
    unset = work.text["reporter"] == 0
    work.set_text("reporter", unset, pool.code("unknown"))
    certified = (work.text["source_principal"] != 0) & ~work.is_text("reporter", "source")
    derived_tls = np.where(certified, pool.code("mtls"), pool.code("unknown")).astype(np.int32)
    work.set_text("tls", work.text["tls"] == 0, derived_tls)
    columns = {name: calls.column(name) for name in calls.schema.names if name not in _AUXILIARY}
    for name, codes in work.text.items():
        if name != "authority" and (name in work.changed or not _is_coded(columns.get(name))):
            columns[name] = pool.decode(codes)
    if work.proxied.any():
        for name in ("source_ip", "source_remote_ip"):
            columns[name] = work.ips.decode(work.address[name].astype(np.int32))
        turned = work.proxied & work.is_text("reporter", "gateway")
        turned &= work.address["source_ip"] == work.address["_downstream_remote_ip"]
        port = calls.column("source_port").fill_null(0).to_numpy(zero_copy_only=False)
        client = calls.column("_downstream_remote_port").fill_null(0).to_numpy(zero_copy_only=False)
        columns["source_port"] = pa.array(np.where(turned, client, port).astype(np.uint16))
    return fill_derived(pa.RecordBatch.from_pydict(columns))
