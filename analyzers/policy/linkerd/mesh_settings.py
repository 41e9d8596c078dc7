"""What of the control plane's own settings bears on verdicts: the ConfigMap `linkerd-config`, of its own namespace.

Source: linkerd2, charts/linkerd-control-plane (values.yaml, templates/config.yaml and destination.yaml).
"""

from __future__ import annotations

from typing import cast

from analyzers.policy.documents import Value, read_documents
from analyzers.policy.linkerd.model import DEFAULT_POLICIES, DefaultPolicy, Settings
from analyzers.policy.linkerd.references import named, text_or
from analyzers.policy.networks import read_network

NAME = "linkerd-config"
_EMPTY = Settings()


def read_config_map(document: Value, namespace: str) -> Settings | None:
    """The settings in `data.values`; None for any other ConfigMap.

    Raises:
        BadPolicy: the text is no YAML, or a setting is none of those that there are.
    """
    own, name = named(document, namespace)
    data = document.get("data")
    text = data.get("values") if name == NAME and data and data.is_map else None
    if text is None:
        return None
    roots = [*read_documents(f"{text.place}, from there", text.text().encode())] if text.text().strip() else []
    if not roots:
        return Settings(control_plane_namespace=own)
    # The file has many more settings than bear on verdicts.
    root = roots[0]
    proxy, networks = root.get("proxy"), root.get("clusterNetworks")
    policy = proxy.get("defaultInboundPolicy") if proxy else None
    said = policy.one_of("", *DEFAULT_POLICIES) if policy else ""
    cidrs = [one.strip() for one in networks.text().split(",") if one.strip()] if networks else []
    return Settings(
        default_policy=cast(DefaultPolicy, said) if said else _EMPTY.default_policy,
        cluster_networks=tuple(
            read_network(one) or (networks or root).refuse(f"{one[:60]!r}, expected networks such as 10.0.0.0/8")
            for one in cidrs
        )
        or _EMPTY.cluster_networks,
        control_plane_namespace=own,
        trust_domain=text_or(root.get("identityTrustDomain"), text_or(root.get("clusterDomain"), _EMPTY.trust_domain)),
    )
