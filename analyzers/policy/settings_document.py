"""MeshSettings, a document of our own: what meshes are set to and none of their own documents says.

    apiVersion: eastwatch/v1
    kind: MeshSettings
    consul: {default: deny, trust_domain: 1111.consul, partition: default, namespaces: false,
             peers: {west: {trust_domain: 2222.consul, partition: default}}}
    smi: {permissive: false, trust_domain: cluster.local}

It stands among the policies and is stored with them, so that a stored set says by itself how it is judged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from analyzers.policy.consul.model import DEFAULT, Peer
from analyzers.policy.consul.model import Settings as ConsulSettings
from analyzers.policy.documents import Value
from analyzers.policy.smi.model import Settings as SmiSettings

GROUP, KIND, VERSION = "eastwatch", "MeshSettings", "v1"
DEFAULTS = ("allow", "deny")
TRUST_DOMAIN = "[a-z0-9._-]{1,255}"
"""As SPIFFE has it; without `spiffe://`."""
PARTITION = "[a-z0-9]([a-z0-9-]{0,126}[a-z0-9])?"
"""An admin partition's name, as Consul has it."""
_TRUST_DOMAIN, _PARTITION = re.compile(TRUST_DOMAIN), re.compile(PARTITION)


@dataclass(frozen=True, slots=True)
class MeshSettings:
    """What holds where no document of the mesh says otherwise."""

    consul: ConsulSettings = field(default_factory=ConsulSettings)
    smi: SmiSettings = field(default_factory=SmiSettings)


def read_mesh_settings(document: Value, namespace: str) -> MeshSettings:
    """The document's model; it is of all namespaces.

    Raises:
        BadPolicy: an unknown field, or a value that does not fit.
    """
    del namespace
    fields = document.fields("apiVersion", "kind", "metadata", "consul", "smi")
    return MeshSettings(_consul(fields.get("consul")), _smi(fields.get("smi")))


def _consul(value: Value | None) -> ConsulSettings:
    fields = value.fields("default", "trust_domain", "partition", "namespaces", "peers") if value else {}
    default, namespaces, peers = fields.get("default"), fields.get("namespaces"), fields.get("peers")
    return ConsulSettings(
        default_allow=default.one_of(*DEFAULTS) == "allow" if default else None,
        trust_domain=_trust_domain(fields.get("trust_domain"), ""),
        partition=_in_partition(fields.get("partition")),
        namespaces=namespaces is not None and namespaces.boolean(),
        peers={name: _peer(peer) for name, peer in peers.entries().items()} if peers else {},
    )


def _peer(value: Value) -> Peer:
    fields = value.fields("trust_domain", "partition")
    domain = fields.get("trust_domain") or value.refuse("no trust_domain, expected that of the peer's certificates")
    return Peer(_trust_domain(domain, ""), _in_partition(fields.get("partition")))


def _smi(value: Value | None) -> SmiSettings:
    fields = value.fields("permissive", "trust_domain") if value else {}
    permissive = fields.get("permissive")
    return SmiSettings(
        permissive=permissive.boolean() if permissive else None,
        trust_domain=_trust_domain(fields.get("trust_domain"), SmiSettings().trust_domain),
    )


def _trust_domain(value: Value | None, default: str) -> str:
    if value is None:
        return default
    if not _TRUST_DOMAIN.fullmatch(value.text()):
        value.refuse(f"{value.shown}, expected a trust domain such as 1111.consul, in small letters, without spiffe://")
    return value.text()


def _in_partition(value: Value | None) -> str:
    if value is None:
        return DEFAULT
    if not _PARTITION.fullmatch(value.text()):
        value.refuse(f"{value.shown}, expected an admin partition's name: small letters, digits and '-'")
    return value.text()


KINDS: Mapping[tuple[str, str], Callable[[Value, str], MeshSettings]] = {(GROUP, KIND): read_mesh_settings}
"""API group and kind → reader(document, namespace of those that name none)."""
