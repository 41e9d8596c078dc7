"""One Kubernetes object → one `Item`: what of it bears on names, addresses and time; a row of `inventory`.

Fields mean what the Kubernetes API reference says (v1 Pod, Service, Endpoints; discovery.k8s.io/v1 EndpointSlice).
A value of the wrong type is an error that names the object and the field; a kind that says nothing of names is skipped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from collector.errors import BadSource
from collector.identity.socket_addresses import UNKNOWN, ip_bytes, ip_text

UNBOUNDED_FROM = 0
UNBOUNDED_TO = int(datetime(2200, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
Object = Mapping[str, Any]

_SIDECARS = frozenset({"istio-proxy", "linkerd-proxy", "consul-dataplane", "envoy-sidecar", "envoy", "osm-envoy"})
_NOISE = "kubectl.kubernetes.io/last-applied-configuration"
_LONGEST_ANNOTATION = 1024
_DONE = ("Succeeded", "Failed")
_FRACTION = re.compile(r"(\.\d{6})\d+")


@dataclass(frozen=True, slots=True)
class Item:
    """One object of the platform. Times are microseconds since 1970; text is `""` where the object has none."""

    kind: str
    namespace: str
    name: str
    uid: str = ""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])
    addresses: tuple[str, ...] = ()
    """Canonical text. Of EndpointSlice and Endpoints: `address/pod`, the pod empty where none stands behind it."""
    service_account: str = ""
    owner_kind: str = ""
    owner_name: str = ""
    selector: Mapping[str, str] = field(default_factory=dict[str, str])
    ports: tuple[str, ...] = ()
    """`NAME/PORT/PROTOCOL/TARGET`."""
    has_sidecar: bool = False
    valid_from: int = UNBOUNDED_FROM
    valid_to: int = UNBOUNDED_TO


class _Reader:
    """Typed access to one object's fields; an error names the file's place, the object and the field."""

    def __init__(self, place: str, found: Object) -> None:
        self.root = found
        metadata: Object = found["metadata"]
        self.what = f"{place}: {found['kind']} {metadata.get('namespace', '')}/{metadata['name']}"

    def fail(self, path: str, value: object, expected: str) -> BadSource:
        return BadSource(f"{self.what}: {path} is {str(value)[:60]!r}, expected {expected}")

    def get(self, path: str) -> Any:
        value: Any = self.root
        for key in path.split("."):
            if value is None:
                return None
            if not isinstance(value, dict):
                raise self.fail(path, value, "an object")
            value = value.get(key)  # pyright: ignore[reportUnknownMemberType]
        return value

    def text(self, path: str, of: Object | None = None) -> str:
        value = of.get(path) if of is not None else self.get(path)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.fail(path, value, "text")
        return value

    def texts(self, path: str) -> dict[str, str]:
        value = self.get(path)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.fail(path, value, "an object of texts")
        # YAML reads `version: 1` and `"on": yes` as other types: take what was written as text.
        return {str(k): "" if v is None else str(v) for k, v in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]

    def objects(self, path: str, of: Object | None = None) -> list[Object]:
        value = of.get(path) if of is not None else self.get(path)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):  # pyright: ignore[reportUnknownVariableType]
            raise self.fail(path, value, "a list of objects")
        return value  # pyright: ignore[reportUnknownVariableType]

    def time(self, path: str, of: Object | None = None) -> int | None:
        text = self.text(path, of)
        if not text:
            return None
        try:
            parsed = datetime.fromisoformat(_FRACTION.sub(r"\1", text))
        except ValueError:
            raise self.fail(path, text, "a time such as 2026-01-31T12:00:00Z") from None
        at = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
        return round(at.timestamp() * 1_000_000)

    def address(self, path: str, text: str) -> str:
        packed = ip_bytes(text)
        if packed == UNKNOWN:
            raise self.fail(path, text, "an IP address")
        return ip_text(packed)


def _owner(read: _Reader) -> tuple[str, str]:
    owners = read.objects("metadata.ownerReferences")
    chosen = next((owner for owner in owners if owner.get("controller") is True), owners[0] if owners else {})
    return read.text("kind", chosen), read.text("name", chosen)


def _base(read: _Reader) -> dict[str, Any]:
    owner_kind, owner_name = _owner(read)
    created = read.time("metadata.creationTimestamp")
    annotations = {
        key: value[:_LONGEST_ANNOTATION] for key, value in read.texts("metadata.annotations").items() if key != _NOISE
    }
    return {
        "kind": read.root["kind"],
        "namespace": read.text("metadata.namespace"),
        "name": read.text("metadata.name"),
        "uid": read.text("metadata.uid"),
        "labels": read.texts("metadata.labels"),
        "annotations": annotations,
        "owner_kind": owner_kind,
        "owner_name": owner_name,
        "valid_from": UNBOUNDED_FROM if created is None else created,
    }


def _ended(read: _Reader, loaded_at: int) -> int:
    """When a pod gave its address back, as far as its status tells."""
    deleted = read.time("metadata.deletionTimestamp")
    if read.text("status.phase") not in _DONE:
        return UNBOUNDED_TO if deleted is None else deleted
    finished: list[int] = []
    for status in read.objects("status.containerStatuses"):
        state: Any = status.get("state")
        terminated: Any = state.get("terminated") if isinstance(state, dict) else None  # pyright: ignore[reportUnknownMemberType]
        if isinstance(terminated, dict) and (at := read.time("finishedAt", terminated)) is not None:  # pyright: ignore[reportUnknownArgumentType]
            finished.append(at)
    if finished:
        return max(finished)
    return loaded_at if deleted is None else deleted


def _pod(read: _Reader, loaded_at: int) -> Item:
    base = _base(read)
    started = read.time("status.startTime")
    containers = [*read.objects("spec.containers"), *read.objects("spec.initContainers")]
    ips = [read.text("ip", entry) for entry in read.objects("status.podIPs")] or [read.text("status.podIP")]
    on_host = read.get("spec.hostNetwork") is True
    ports = [_port(port) for container in containers for port in read.objects("ports", container)]
    sidecar = any(container.get("name") in _SIDECARS for container in containers)
    if started is not None:
        base["valid_from"] = started
    return Item(
        **base,
        addresses=() if on_host else tuple(read.address("status.podIPs", ip) for ip in ips if ip),
        service_account=read.text("spec.serviceAccountName") or read.text("spec.serviceAccount") or "default",
        ports=tuple(ports),
        has_sidecar=sidecar or "sidecar.istio.io/status" in base["annotations"],
        valid_to=_ended(read, loaded_at),
    )


def _port(port: Object) -> str:
    number = port.get("port", port.get("containerPort", ""))
    target = port.get("targetPort", "")
    return f"{port.get('name') or ''}/{number}/{port.get('protocol') or 'TCP'}/{target}"


def _service(read: _Reader, _: int) -> Item:
    listed = read.get("spec.clusterIPs")
    ips = [str(ip) for ip in listed] if isinstance(listed, list) else [read.text("spec.clusterIP")]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    external = read.get("spec.externalIPs")
    ips += [str(ip) for ip in external] if isinstance(external, list) else []  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    ips += [read.text("ip", entry) for entry in read.objects("status.loadBalancer.ingress")]
    addresses = dict.fromkeys(read.address("spec.clusterIPs", ip) for ip in ips if ip not in ("", "None"))
    ports = tuple(_port(port) for port in read.objects("spec.ports"))
    return Item(**_base(read), addresses=tuple(addresses), selector=read.texts("spec.selector"), ports=ports)


def _behind(read: _Reader, entry: Object) -> str:
    reference: Any = entry.get("targetRef")
    if isinstance(reference, dict) and reference.get("kind") == "Pod":  # pyright: ignore[reportUnknownMemberType]
        return read.text("name", reference)  # pyright: ignore[reportUnknownArgumentType]
    return ""


def _slice(read: _Reader, _: int) -> Item:
    """Owner is the Service: from the slice's label, as the API defines it."""
    base = _base(read)
    base |= {
        "owner_kind": "Service",
        "owner_name": base["labels"].get("kubernetes.io/service-name", base["owner_name"]),
    }
    addresses: list[str] = []
    if read.text("addressType") != "FQDN":
        for entry in read.objects("endpoints"):
            pod = _behind(read, entry)
            given = entry.get("addresses") or ()
            if not isinstance(given, list | tuple):
                raise read.fail("endpoints.addresses", given, "a list of addresses")
            for ip in given:
                addresses.append(f"{read.address('endpoints.addresses', str(ip))}/{pod}")
    return Item(**base, addresses=tuple(addresses))


def _endpoints(read: _Reader, _: int) -> Item:
    base = _base(read)
    base |= {"owner_kind": "Service", "owner_name": base["name"]}
    addresses: list[str] = []
    for subset in read.objects("subsets"):
        for entry in [*read.objects("addresses", subset), *read.objects("notReadyAddresses", subset)]:
            addresses.append(f"{read.address('subsets.addresses', read.text('ip', entry))}/{_behind(read, entry)}")
    return Item(**base, addresses=tuple(addresses))


def _node(read: _Reader, _: int) -> Item:
    listed = read.objects("status.addresses")
    ips = [read.text("address", entry) for entry in listed if entry.get("type") in ("InternalIP", "ExternalIP")]
    return Item(**_base(read), addresses=tuple(read.address("status.addresses", ip) for ip in ips))


def _consul(read: _Reader, _: int) -> Item:
    """An instance of a Consul service. `addresses`: its own, and `virtual/ADDRESS` for the service's virtual ones."""
    metadata: Object = read.get("metadata")
    proxied = read.text("instance.proxied")
    own = read.text("instance.address")
    virtual: list[str] = []
    tagged = read.get("instance.tagged")
    if isinstance(tagged, dict):
        for tag in ("virtual", "consul-virtual"):
            entry: Any = tagged.get(tag)  # pyright: ignore[reportUnknownMemberType]
            if isinstance(entry, dict) and isinstance(address := entry.get("Address"), str):  # pyright: ignore[reportUnknownMemberType]
                virtual.append(f"virtual/{read.address('TaggedAddresses', address)}")
    return Item(
        kind=read.root["kind"],
        namespace=str(metadata["namespace"]),
        name=proxied or str(metadata["name"]),
        uid="/".join(filter(None, (read.text("instance.node"), read.text("instance.id")))),
        labels=read.texts("instance.meta"),
        addresses=(*([own.lower()] if own else []), *virtual),
        owner_kind=read.text("instance.kind"),
        owner_name=read.text("instance.datacenter"),
        ports=(f"/{read.get('instance.port') or ''}/TCP/",),
        has_sidecar=bool(proxied),
    )


def _plain(read: _Reader, _: int) -> Item:
    return Item(**_base(read))


_KINDS: Mapping[str, Callable[[_Reader, int], Item]] = {
    "Pod": _pod,
    "Service": _service,
    "EndpointSlice": _slice,
    "Endpoints": _endpoints,
    "Node": _node,
    "ConsulService": _consul,
    **dict.fromkeys(
        ("ServiceAccount", "Namespace", "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob"),
        _plain,
    ),
}


def item_of(place: str, found: Object, loaded_at: int) -> Item | None:
    """The item of one object, or None for a kind that says nothing of names.

    Args:
        place: file, for messages.
        found: as from `read_objects`.
        loaded_at: microseconds since 1970: the end of a pod that has finished nobody knows when.

    Raises:
        BadSource: a field that is read has the wrong type.
    """
    reader = _KINDS.get(found["kind"])
    return None if reader is None else reader(_Reader(place, found), loaded_at)
