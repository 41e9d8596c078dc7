"""What meshes are set to and none of their documents says: `policies` in the settings tree.

[policies.consul], [policies.smi] ──► a MeshSettings document ──► beside the policies of files, and stored with them
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from analyzers.policy.policy_set import SETTINGS, PolicySet, read_set
from analyzers.policy.settings_document import GROUP, KIND, PARTITION, TRUST_DOMAIN, VERSION
from analyzers.policy.store import stored_settings, version_at, versions
from storage.engine import Engine

FILE = "[policies] of the settings"
"""In place of the document's file."""
_DOMAIN, _IN_PARTITION = f"^({TRUST_DOMAIN})$", f"^({PARTITION})$"


class PeerOptions(BaseModel):
    """A peered cluster of Consul."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trust_domain: str = Field(pattern=_DOMAIN, description="of the peer's certificates")
    partition: str = Field(default="default", pattern=_IN_PARTITION, description="that exports the peer's services")


class ConsulOptions(BaseModel):
    """What Consul's servers are set to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    default: Literal["", "allow", "deny"] = Field(
        default="",
        description="what holds where no intention does: `default_intention_policy`, else the ACL default policy, "
        "which is allow where ACLs are off; empty = not told, and what hangs on it is unknown",
    )
    trust_domain: str = Field(
        default="",
        pattern=f"^({TRUST_DOMAIN})?$",
        description="of the cluster's own certificates, such as 1111-2222.consul; empty = any but those of known peers",
    )
    partition: str = Field(
        default="default", pattern=_IN_PARTITION, description="admin partition of the called services (Enterprise)"
    )
    namespaces: bool = Field(
        default=False, description="services are in Consul's namespace that is called as their Kubernetes namespace"
    )
    peers: dict[str, PeerOptions] = Field(
        default_factory=dict,
        description="peered clusters, as intentions name them: "
        '{west = {trust_domain = "3333.consul", partition = "p"}}',
    )


class SmiOptions(BaseModel):
    """What Open Service Mesh is set to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    permissive: bool | None = Field(
        default=None,
        description="whether everybody is let in (permissive traffic policy mode), where no MeshConfig is given; "
        "none = not told",
    )
    trust_domain: str = Field(
        default="cluster.local", pattern=_DOMAIN, description="at the end of the names in the mesh's certificates"
    )


class PolicyOptions(BaseModel):
    """What the policies of meshes are judged by, beside their documents."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    consul: ConsulOptions = Field(default_factory=ConsulOptions, description="Consul")
    smi: SmiOptions = Field(default_factory=SmiOptions, description="Open Service Mesh")


def mesh_settings(options: PolicyOptions) -> PolicySet:
    """The options as a document; an empty set where nothing is told."""
    told = options.model_dump(exclude_defaults=True)
    if not told:
        return PolicySet()
    document = {"apiVersion": f"{GROUP}/{VERSION}", "kind": KIND, **told}
    return read_set({FILE: json.dumps(document).encode()})


def settled(policies: PolicySet, options: PolicyOptions) -> PolicySet:
    """Policies with the options as their MeshSettings, unless a file among theirs told some."""
    told = mesh_settings(options)
    earlier = any(one.engine == SETTINGS and one.file == FILE for one in policies.documents)
    return policies.with_documents(told) if earlier else policies.with_settings(told)


def outdated(engine: Engine, options: PolicyOptions, now: datetime) -> str:
    """A line about a stored set that was loaded before the options were as they are; empty where there is none such.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
        BadPolicy: a stored set that this version of eastwatch does not take.
    """
    told, held = mesh_settings(options), version_at(versions(engine), now)
    if not told.documents or held is None:
        return ""
    stored = stored_settings(engine, held)
    if stored.settings == told.settings or any(one.file != FILE for one in stored.documents):
        return ""
    return (
        "the stored policies are judged by the settings that they were stored with, not by [policies] as it is now: "
        "`eastwatch policy load FILES` stores them with it"
    )
