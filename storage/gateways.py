"""Names by which gateways at the edge of a mesh go, as data: the one place that tells a gateway by its name.

Where a gateway's own lines, its pod's labels or the inventory speak, they decide (`collector/identity/kubernetes.py`,
`collector/inventory/`). Where only others speak of it (a callee's line with the caller's certificate, a ztunnel, a
metric), its name is all there is. The names are those that the projects' own installers and charts give.
"""

from __future__ import annotations

import re

NAMES = frozenset(
    {
        # Istio: istioctl, the gateway chart's customary releases
        "istio-ingressgateway",
        "istio-egressgateway",
        "istio-eastwestgateway",
        "istio-ingress",
        "istio-egress",
        "ingressgateway",
        "egressgateway",
        "eastwestgateway",
        # Consul's chart; services of its catalog
        "consul-api-gateway",
        "consul-ingress-gateway",
        "consul-mesh-gateway",
        "consul-terminating-gateway",
        "ingress-gateway",
        "egress-gateway",
        "mesh-gateway",
        "terminating-gateway",
        # Linkerd, between clusters
        "linkerd-gateway",
        # Emissary-ingress and Edge Stack
        "emissary-ingress",
        "ambassador",
        "edge-stack",
        # Kong: its chart under its customary releases, the old manifests
        "kong",
        "kong-kong",
        "kong-gateway",
        "kong-proxy",
        "ingress-kong",
        # ingress-nginx and NGINX's own controller
        "ingress-nginx",
        "ingress-nginx-controller",
        "nginx-ingress",
        "nginx-ingress-controller",
    }
)
"""Workloads, services and service accounts."""

GATEWAY_PRODUCTS = {"envoy_gateway": "envoy-gateway", "emissary": "emissary-ingress"}
"""`mesh` of lines that only gateways write → the name of a gateway that has no other; so does address_edges.sql."""

_PATTERNS = re.compile(
    # Istio: gateways told apart by a prefix or suffix (`internal-istio-ingressgateway`, `istio-ingressgateway-2`), and
    # those that it makes of the Gateway API's `NAME-gateway`.
    r"(?:[a-z0-9.-]*-)?(?:in|e)gress-?gateway(?:-[a-z0-9.-]*)?"
    r"|[a-z0-9.-]+-gateway-istio"
    # Envoy Gateway: Deployment, Service and account of one gateway, `envoy-NAMESPACE-NAME-HASH`.
    r"|envoy-[a-z0-9.-]+-[0-9a-f]{8}"
)
_ACCOUNT_SUFFIX = "-service-account"
"""What istioctl appends to a gateway's name for its account."""


def is_gateway_name(name: str) -> bool:
    """Whether a workload, service or service account of this name is a gateway."""
    name = name.removesuffix(_ACCOUNT_SUFFIX)
    return name in NAMES or (len(name) <= 253 and _PATTERNS.fullmatch(name) is not None)


def gateway_of_account(account: str) -> str:
    """The gateway's name where an account's is made of it (`istio-ingressgateway-service-account`), else `""`."""
    name = account.removesuffix(_ACCOUNT_SUFFIX)
    return name if name != account and is_gateway_name(name) else ""
