"""The other side of a span, from its attributes: a client's or producer's peer is the side it calls, a server's or
consumer's is its caller."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from collector.decode.otlp.attributes import Attributes, first_text
from collector.decode.otlp.requests import DATABASE, URL, observed_by_micrometer
from collector.decode.otlp.text import map_distinct
from collector.decode.otlp.urls import host_of, port_of, split_urls

SERVER, CLIENT, PRODUCER, CONSUMER = 2, 3, 4, 5

# Keys of each reading, best first.
PEER_SERVICE = ("service.peer.name", "peer.service")
PEER_NAMESPACE = ("service.peer.namespace",)
PEER_HOST = (
    *("server.address", "net.peer.name", "peer.hostname"),
    *("network.peer.address", "net.sock.peer.addr", "net.peer.ip", "peer.ipv4", "peer.ipv6"),
)
PEER_PORT = ("server.port", "net.peer.port", "network.peer.port", "net.sock.peer.port", "peer.port")
CALLER_HOST = (
    *("network.peer.address", "net.sock.peer.addr", "net.peer.ip", "client.address"),
    *("peer.ipv4", "peer.ipv6"),
)
CALLER_PORT = ("network.peer.port", "net.sock.peer.port", "net.peer.port", "client.port", "peer.port")
PEER_ADDRESS = ("peer.address",)
# Micrometer's: the host that a client called.
CALLED_NAME = ("client.name",)
CLUSTER = ("upstream_cluster.name", "upstream_cluster")
DESTINATION = ("messaging.destination.name", "messaging.destination", "message_bus.destination")
WANTED = (
    *(PEER_SERVICE, PEER_NAMESPACE, PEER_HOST, PEER_PORT, CALLER_HOST, CALLER_PORT),
    *(PEER_ADDRESS, CALLED_NAME, CLUSTER, DESTINATION, DATABASE, URL),
)


def _cluster_peer(cluster: str) -> tuple[str, str, str, int] | None:
    """(service, namespace, host, port) of an Envoy cluster `outbound|PORT|SUBSET|HOST`; None for any other."""
    parts = cluster.split("|")
    if len(parts) != 4 or parts[0] != "outbound" or not parts[3]:
        return None
    host = parts[3].lower()
    port = int(parts[1]) if parts[1].isascii() and parts[1].isdigit() and len(parts[1]) < 6 else 0
    labels = host.split(".")
    if len(labels) >= 3 and labels[2] == "svc":
        return labels[0], labels[1], host, port if port < 65536 else 0
    return "", "", host, port if port < 65536 else 0


def peer_columns(attributes: Attributes, kind: npt.NDArray[np.int32]) -> dict[str, pa.Array]:
    """peer_service, peer_namespace, peer_host, peer_port."""
    serves = (kind == SERVER) | (kind == CONSUMER)
    named = attributes.pick(*PEER_SERVICE)
    services, namespaces = [named.text()], [attributes.pick(*PEER_NAMESPACE).text()]
    hosts: list[pa.Array] = []
    ports: list[pa.Array] = []

    cluster = attributes.pick(*CLUSTER, among=~serves)
    through_envoy = cluster.present
    if cluster.any:
        texts = cluster.text().dictionary_encode()
        for position, (to, kind_of) in enumerate(
            ((services, pa.string()), (namespaces, pa.string()), (hosts, pa.string()), (ports, pa.int64()))
        ):
            to.append(
                map_distinct(texts, lambda text, p=position: (_cluster_peer(text) or (None,) * 4)[p] or None, kind_of)
            )
    for keys, port_keys, among in ((PEER_HOST, PEER_PORT, ~serves), (CALLER_HOST, CALLER_PORT, serves)):
        if (host := attributes.pick(*keys, among=among)).any:
            hosts.append(map_distinct(host.text(), host_of, pa.string()))
            ports.append(map_distinct(host.text(), port_of, pa.int64()))
        if (port := attributes.pick(*port_keys, among=among)).any:
            ports.insert(0, port.integers())
    # Envoy's `peer.address` is its downstream: on the span of a call that goes out, the caller itself.
    for keys, among in ((URL, ~serves), (PEER_ADDRESS, serves | ~through_envoy)):
        given = attributes.pick(*keys, among=among & _all_empty(hosts, attributes.records))
        if given.any:
            texts = split_urls(given.text())[0] if keys is URL else given.text()
            hosts.append(map_distinct(texts, host_of, pa.string()))
            ports.append(map_distinct(texts, port_of, pa.int64()))

    observed = observed_by_micrometer(attributes) & ~serves & _all_empty(hosts, attributes.records)
    if (called := attributes.pick(*CALLED_NAME, among=observed)).any:
        hosts.append(map_distinct(called.text(), lambda name: "" if name == "none" else host_of(name), pa.string()))

    # A queue, or else the kind of a database that gives no address, stands for a peer that has no name of its own.
    messaging = (kind == PRODUCER) | (kind == CONSUMER)
    services.append(attributes.pick(*DESTINATION, among=messaging).text())
    services.append(attributes.pick(*DATABASE, among=~serves & _all_empty(hosts, attributes.records)).text())

    found = {
        "peer_service": first_text(*services),
        "peer_namespace": first_text(*namespaces),
        "peer_host": first_text(*hosts) if hosts else None,
    }
    result = {name: column for name, column in found.items() if column is not None}
    if ports:
        port = pc.coalesce(*ports)
        sound = pc.and_(pc.greater(port, 0), pc.less(port, 65536)).fill_null(False)
        result["peer_port"] = pc.if_else(sound, port, 0).cast(pa.uint16())
    return result


def _all_empty(columns: list[pa.Array], count: int) -> npt.NDArray[np.bool_]:
    empty = np.ones(count, bool)
    for column in columns:
        empty &= pc.equal(column, "").fill_null(True).to_numpy(zero_copy_only=False)
    return empty
