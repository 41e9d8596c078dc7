"""Versions of the API groups whose documents are read: the API server knows no others, and would refuse them.

Source: the definitions that Istio, Linkerd, Consul, Open Service Mesh and the Gateway API install, of all releases
whose documents have the form that is read here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_ISTIO, _LINKERD, _GATEWAY = "security.istio.io", "policy.linkerd.io", "gateway.networking.k8s.io"
_CONSUL, _ACCESS, _SPECS = "consul.hashicorp.com", "access.smi-spec.io", "specs.smi-spec.io"
_V1, _ALPHA1 = ("v1", "v1beta1"), ("v1alpha1",)

VERSIONS: Mapping[tuple[str, str], Sequence[str]] = {
    ("", "ConfigMap"): ("v1",),
    (_ISTIO, "AuthorizationPolicy"): _V1,
    (_ISTIO, "PeerAuthentication"): _V1,
    (_ISTIO, "RequestAuthentication"): _V1,
    (_LINKERD, "Server"): ("v1beta3", "v1beta2", "v1beta1", "v1alpha1"),
    (_LINKERD, "ServerAuthorization"): ("v1beta1", "v1alpha1"),
    (_LINKERD, "AuthorizationPolicy"): _ALPHA1,
    (_LINKERD, "MeshTLSAuthentication"): _ALPHA1,
    (_LINKERD, "NetworkAuthentication"): _ALPHA1,
    (_LINKERD, "HTTPRoute"): ("v1beta3", "v1beta2", "v1beta1", "v1alpha1"),
    (_GATEWAY, "HTTPRoute"): ("v1", "v1beta1", "v1alpha2"),
    (_GATEWAY, "GRPCRoute"): ("v1", "v1alpha2"),
    (_CONSUL, "ServiceIntentions"): _ALPHA1,
    (_CONSUL, "ServiceDefaults"): _ALPHA1,
    (_CONSUL, "ProxyDefaults"): _ALPHA1,
    (_ACCESS, "TrafficTarget"): ("v1alpha3",),
    (_SPECS, "HTTPRouteGroup"): ("v1alpha4",),
    (_SPECS, "TCPRoute"): ("v1alpha4",),
    ("config.openservicemesh.io", "MeshConfig"): ("v1alpha2", "v1alpha1"),
    ("networking.k8s.io", "NetworkPolicy"): ("v1",),
    ("eastwatch", "MeshSettings"): ("v1",),
}
"""By API group and kind. Consul's own entries have neither group nor version."""
