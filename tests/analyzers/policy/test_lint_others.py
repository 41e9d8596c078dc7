"""Checks of Linkerd's, Consul's, SMI's and Kubernetes' documents: each with what triggers it and what comes close."""

from __future__ import annotations

from typing import Any

import pytest

from analyzers.policy.lint import consul, kubernetes, linkerd, smi
from tests.analyzers.policy.lint_cases import Case, Object, holds

LINKERD, GATEWAY = "policy.linkerd.io", "gateway.networking.k8s.io"


def of_linkerd(
    kind: str, name: str, spec: Object, group: str = LINKERD, version: str = "v1alpha1", **more: Any
) -> Object:
    """One of Linkerd's documents."""
    metadata = {"name": name, "namespace": "shop", **more}
    return {"apiVersion": f"{group}/{version}", "kind": kind, "metadata": metadata, "spec": spec}


def server(name: str = "api", port: int = 8080, **spec: Any) -> Object:
    """A Server."""
    labels = spec.pop("labels", {"app": "orders"})
    selector = {"podSelector": {"matchLabels": labels}}
    created = spec.pop("created", "2026-01-01T00:00:00Z")
    return of_linkerd("Server", name, {**selector, "port": port, **spec}, version="v1beta3", creationTimestamp=created)


def authorization(
    *refs: Object, kind: str = "Server", target: str = "api", group: str = LINKERD, name: str = "p"
) -> Object:
    """An AuthorizationPolicy."""
    spec = {"targetRef": {"group": group, "kind": kind, "name": target}, "requiredAuthenticationRefs": list(refs)}
    return of_linkerd("AuthorizationPolicy", name, spec)


def ref(kind: str, name: str) -> Object:
    """What an AuthorizationPolicy asks for."""
    return {"group": LINKERD, "kind": kind, "name": name}


def mesh_tls(*identities: str) -> Object:
    """A MeshTLSAuthentication."""
    return of_linkerd("MeshTLSAuthentication", "web", {"identities": list(identities)})


def networks(*cidrs: str) -> Object:
    """A NetworkAuthentication."""
    return of_linkerd("NetworkAuthentication", "net", {"networks": [{"cidr": one} for one in cidrs]})


def server_authorization(client: Object, server: Object | None = None) -> Object:
    """A ServerAuthorization."""
    return of_linkerd("ServerAuthorization", "s", {"server": server or {"name": "api"}, "client": client})


def linkerd_config(policy: str) -> Object:
    """The control plane's own settings."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "linkerd-config", "namespace": "linkerd"},
        "data": {"values": f"proxy: {{defaultInboundPolicy: {policy}}}\n"},
    }


def route(path: str, parent: str = "api", **spec: Any) -> Object:
    """An HTTPRoute."""
    given = {
        "parentRefs": [{"group": LINKERD, "kind": "Server", "name": parent}],
        "rules": [{"matches": [{"path": {"type": "PathPrefix", "value": path}}]}],
        **spec,
    }
    return of_linkerd("HTTPRoute", "read", given, version="v1beta3")


ACCOUNT: Object = {"kind": "ServiceAccount", "name": "web"}
WEB = "web.shop.serviceaccount.identity.linkerd.cluster.local"
OPEN: Object = {"unauthenticated": True}
OF_LINKERD = (
    Case(
        linkerd.DANGLING_AUTHENTICATION,
        "spec.requiredAuthenticationRefs[0]",
        [server(), authorization(ref("MeshTLSAuthentication", "gone"))],
        [server(), authorization(ref("MeshTLSAuthentication", "web")), mesh_tls(WEB), authorization(ACCOUNT, name="q")],
    ),
    Case(
        linkerd.DANGLING_TARGET,
        "spec.targetRef",
        [authorization(ACCOUNT)],
        [
            server(),
            authorization(ACCOUNT),
            authorization(ACCOUNT, kind="Namespace", target="shop", group="core", name="q"),
        ],
    ),
    Case(
        linkerd.DANGLING_TARGET,
        "spec.server",
        [server(), server_authorization(OPEN, {"name": "other"})],
        [server(), server_authorization(OPEN)],
    ),
    Case(
        linkerd.DANGLING_TARGET,
        "spec.parentRefs",
        [server(), route("/", parent="other")],
        [server(), route("/")],
    ),
    Case(
        linkerd.EVERYBODY,
        "spec.requiredAuthenticationRefs",
        [server(), authorization()],
        [
            server(),
            authorization(ACCOUNT),
            networks("10.0.0.0/8"),
            authorization(ref("NetworkAuthentication", "net"), name="q"),
        ],
    ),
    Case(
        linkerd.EVERYBODY,
        "spec.requiredAuthenticationRefs",
        [server(), authorization(ref("NetworkAuthentication", "net")), networks("0.0.0.0/0")],
        [server(), authorization(ref("NetworkAuthentication", "net"), ACCOUNT), networks("0.0.0.0/0")],
    ),
    Case(
        linkerd.EVERYBODY,
        "spec.client",
        [server(), server_authorization(OPEN | {"networks": [{"cidr": "0.0.0.0/0"}]})],
        [server(), server_authorization(OPEN | {"networks": [{"cidr": "10.0.0.0/8"}]})],
    ),
    Case(
        linkerd.CLUSTER_ONLY,
        "spec.client",
        [server(), server_authorization(OPEN)],
        [server(), server_authorization({"meshTLS": {"identities": [WEB]}})],
    ),
    Case(
        linkerd.NOBODY_NAMED,
        "spec.client",
        [server(), server_authorization({"networks": [{"cidr": "10.0.0.0/8"}]})],
        [server(), server_authorization({"meshTLS": {"identities": [WEB]}})],
    ),
    Case(linkerd.ANY_IDENTITY, "spec.identities[0]", [mesh_tls("*")], [mesh_tls("*.shop.example")]),
    Case(
        linkerd.LITERAL_STAR,
        "spec.identities[1]",
        [mesh_tls(WEB, "web.*.serviceaccount.identity.linkerd.cluster.local")],
        [mesh_tls("*.shop.example", "*")],
    ),
    Case(
        linkerd.NOBODY_LET_IN,
        "",
        [server(), route("/"), authorization(ACCOUNT, target="other")],
        [
            server(),
            authorization(ACCOUNT),
            server("b", 1, labels={"app": "b"}, accessPolicy="all-authenticated"),
        ],
    ),
    Case(
        linkerd.NOBODY_LET_IN,
        "",
        [server("b", labels={"app": "b"})],
        [server(), route("/"), authorization(ACCOUNT, kind="HTTPRoute", target="read")],
    ),
    Case(
        linkerd.OPEN_SERVER,
        "spec.accessPolicy",
        [server(accessPolicy="audit")],
        [server(accessPolicy="all-authenticated")],
    ),
    Case(
        linkerd.OPEN_DEFAULT,
        "data.values",
        [linkerd_config("all-unauthenticated")],
        [linkerd_config("all-authenticated")],
    ),
    Case(
        linkerd.SERVER_OVERLAP,
        "spec.podSelector",
        [server(), server("b", created="2026-02-01T00:00:00Z", labels={"app": "orders", "v": "1"})],
        [server(), server("b", 9090), server("c", labels={"app": "cart"}), server("d", labels={"tier": "x"})],
    ),
    Case(
        linkerd.ROUTE_UNUSED,
        "spec.parentRefs",
        [server(proxyProtocol="opaque"), route("/")],
        [server(proxyProtocol="HTTP/1"), route("/")],
    ),
    Case(linkerd.ROUTES_TURN_AWAY, "spec.rules", [server(), route("/orders")], [server(), route("/")]),
    Case(
        linkerd.ROUTES_TURN_AWAY,
        "spec.rules",
        [server(), route("/", hostnames=["shop.example"])],
        [server(), route("/", rules=[{}])],
    ),
    Case(linkerd.HOST_BITS, "spec.networks[0].cidr", [networks("10.1.2.3/8")], [networks("10.0.0.0/8", "10.1.2.3/32")]),
)


def intentions(*sources: Object, name: str = "orders", **more: Any) -> Object:
    """A config entry."""
    return {"Kind": "service-intentions", "Name": name, "Sources": list(sources), **more}


def allow(name: str, **more: Any) -> Object:
    """A source that may call."""
    return {"Name": name, "Action": "allow", **more}


def permissions(*permissions: Object, name: str = "web") -> Object:
    """A source that may do some things."""
    return {"Name": name, "Permissions": list(permissions)}


def http(action: str = "allow", **fields: Any) -> Object:
    """A permission."""
    return {"Action": action, "HTTP": fields}


def defaults(**fields: Any) -> Object:
    """A service's defaults."""
    return {"Kind": "service-defaults", "Name": "orders", **fields}


def mesh_settings(default: str) -> Object:
    """What Consul's servers are set to."""
    return {"apiVersion": "eastwatch/v1", "kind": "MeshSettings", "consul": {"default": default}}


DENY_ALL: Object = {"Name": "*", "Action": "deny"}
FIRST = "Sources[0].permissions"
RESOURCE: Object = {
    "apiVersion": "consul.hashicorp.com/v1alpha1",
    "kind": "ServiceIntentions",
    "metadata": {"name": "orders", "namespace": "shop"},
}
OF_CONSUL = (
    Case(
        consul.ALLOW_ANYBODY,
        "Sources[1].name",
        [intentions(DENY_ALL | {"Namespace": "x"}, allow("*"))],
        [intentions(allow("web"), DENY_ALL)],
    ),
    Case(
        consul.ALLOW_ANYBODY,
        "spec.sources[0].name",
        [RESOURCE | {"spec": {"destination": {"name": "orders"}, "sources": [{"name": "*", "action": "allow"}]}}],
        [RESOURCE | {"spec": {"destination": {"name": "*"}, "sources": [{"name": "*", "action": "deny"}]}}],
    ),
    Case(
        consul.PREFIX_EDGE,
        f"{FIRST}[0].http.pathPrefix",
        [intentions(permissions(http(PathPrefix="/api")))],
        [intentions(permissions(http(PathPrefix="/api/"), http(PathExact="/api")))],
    ),
    Case(
        consul.PATH_WITH_QUERY,
        f"{FIRST}[0].http.pathExact",
        [intentions(permissions(http(PathExact="/a?b=1")))],
        [intentions(permissions(http(PathExact="/a"), http(PathRegex="/ab?")))],
    ),
    Case(
        consul.UNREACHED_PERMISSION,
        f"{FIRST}[1]",
        [intentions(permissions(http(PathPrefix="/"), http("deny", PathExact="/admin")))],
        [intentions(permissions(http("deny", PathExact="/admin"), http(PathPrefix="/")))],
    ),
    Case(
        consul.UNREACHED_PERMISSION,
        f"{FIRST}[1]",
        [intentions(permissions(http(PathPrefix="/a/"), http(PathExact="/a/b", Methods=["GET"])))],
        [intentions(permissions(http(PathPrefix="/a/", Methods=["GET"]), http(PathExact="/a/b")))],
    ),
    Case(
        consul.UNREACHED_PERMISSION,
        f"{FIRST}[1]",
        [
            intentions(
                permissions(
                    http(Header=[{"Name": "X", "Present": True}]),
                    http(PathExact="/a", Header=[{"Name": "x", "Present": True}]),
                )
            )
        ],
        [
            intentions(
                permissions(http(Header=[{"Name": "x", "Exact": "1"}]), http(Header=[{"Name": "x", "Exact": "2"}]))
            )
        ],
    ),
    Case(
        consul.OPEN_END,
        FIRST,
        [intentions(permissions(http("deny", PathExact="/admin")))],
        [
            intentions(permissions(http("deny", PathExact="/admin"), http(PathPrefix="/"))),
            intentions(permissions(http(PathExact="/a")), name="cart"),
        ],
    ),
    Case(
        consul.WIDER_IGNORED,
        FIRST,
        [intentions(permissions(http(PathExact="/a")), allow("*"))],
        [intentions(permissions(http(PathExact="/a")), DENY_ALL)],
    ),
    Case(
        consul.PERMISSIONS_ON_TCP,
        FIRST,
        [intentions(permissions(http(PathExact="/a"))), defaults(Protocol="tcp")],
        [intentions(permissions(http(PathExact="/a"))), defaults(Protocol="grpc")],
    ),
    Case(
        consul.TWICE,
        "",
        [intentions(allow("web")), RESOURCE | {"spec": {"destination": {"name": "orders"}, "sources": [allow("a")]}}],
        [intentions(allow("web")), intentions(allow("web"), name="cart")],
    ),
    Case(
        consul.SUPERFLUOUS,
        "Sources[0]",
        [intentions(allow("web"), allow("*"))],
        [intentions(allow("web"), DENY_ALL), intentions(allow("web"), allow("*", Peer="x"), name="cart")],
    ),
    Case(consul.WEAK_MTLS, "mutualTLSMode", [defaults(MutualTLSMode="permissive")], [defaults(MutualTLSMode="strict")]),
    Case(consul.OPEN_DEFAULT, "consul.default", [mesh_settings("allow")], [mesh_settings("deny")]),
    Case(consul.EXPOSED, "expose", [defaults(Expose={"Paths": [{"Path": "/health"}]})], [defaults(Expose={})]),
)


def of_smi(kind: str, name: str, spec: Object, group: str = "specs.smi-spec.io/v1alpha4") -> Object:
    """One of SMI's documents."""
    return {"apiVersion": group, "kind": kind, "metadata": {"name": name, "namespace": "shop"}, "spec": spec}


def target(*rules: Object, sources: tuple[str, ...] = ("web",)) -> Object:
    """A TrafficTarget."""
    spec = {
        "destination": {"kind": "ServiceAccount", "name": "orders", "namespace": "shop"},
        "sources": [{"kind": "ServiceAccount", "name": one, "namespace": "shop"} for one in sources],
        "rules": list(rules),
    }
    return of_smi("TrafficTarget", "t", spec, "access.smi-spec.io/v1alpha3")


def group(**match: Any) -> Object:
    """An HTTPRouteGroup with one match."""
    return of_smi("HTTPRouteGroup", "routes", {"matches": [{"name": "read", **match}]})


def settings(permissive: bool) -> Object:
    """Open Service Mesh's own."""
    spec = {"traffic": {"enablePermissiveTrafficPolicyMode": permissive}}
    return {
        "apiVersion": "config.openservicemesh.io/v1alpha2",
        "kind": "MeshConfig",
        "metadata": {"name": "osm-mesh-config", "namespace": "osm-system"},
        "spec": spec,
    }


READ: Object = {"kind": "HTTPRouteGroup", "name": "routes", "matches": ["read"]}
GROUP = group(pathRegex="/orders/.*", methods=["GET"])
TCP: Object = {"kind": "TCPRoute", "name": "ports"}
TCP_ROUTE = of_smi("TCPRoute", "ports", {"matches": {"ports": [80]}})
OF_SMI = (
    Case(
        smi.NOT_PAIRED,
        "spec.rules",
        [target(READ, TCP), target(READ) | {"metadata": {"name": "u", "namespace": "shop"}}, GROUP, TCP_ROUTE],
        [
            target(READ, TCP),
            target(READ, TCP) | {"metadata": {"name": "u", "namespace": "shop"}},
            target(TCP) | {"metadata": {"name": "v", "namespace": "shop"}},
            GROUP,
            TCP_ROUTE,
        ],
    ),
    Case(
        smi.PERMISSIVE,
        "spec.traffic.enablePermissiveTrafficPolicyMode",
        [settings(True), target(READ), GROUP],
        [settings(False), target(READ), GROUP],
    ),
    Case(smi.ANY_SOURCE, "spec", [target(READ, sources=()), GROUP], [target(READ), GROUP]),
    Case(smi.DANGLING_ROUTE, "spec.rules[0].name", [target(READ)], [target(READ), GROUP]),
    Case(
        smi.DANGLING_ROUTE,
        "spec.rules[0].name",
        [target({"kind": "TCPRoute", "name": "ports"})],
        [target({"kind": "TCPRoute", "name": "ports"}), of_smi("TCPRoute", "ports", {"matches": {"ports": [80]}})],
    ),
    Case(
        smi.DANGLING_ROUTE,
        "spec.rules[0].matches[0]",
        [target(READ | {"matches": ["x"]}), GROUP],
        [target(READ), GROUP],
    ),
    Case(
        smi.NO_MATCHES,
        "spec.rules[0]",
        [target({"kind": "HTTPRouteGroup", "name": "routes"}), GROUP],
        [target(READ), GROUP],
    ),
    Case(
        smi.ANY_REQUEST,
        "spec.matches[0]",
        [group(pathRegex=".*", methods=["*"])],
        [group(pathRegex=".*", methods=["GET"])],
    ),
    Case(smi.UNANCHORED, "spec.matches[0].pathRegex", [group(pathRegex="/api/")], [group(pathRegex="/api/.*"), GROUP]),
)


def network(**spec: Any) -> Object:
    """A NetworkPolicy."""
    given = {"podSelector": {}, **spec}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "n", "namespace": "shop"},
        "spec": given,
    }


def peer(**fields: Any) -> Object:
    """A rule of one peer."""
    return {"from": [fields]}


PODS: Object = {"matchLabels": {"app": "web"}}
PORTS = [{"port": 8080}]
EXCLUDED: Object = {
    "matchExpressions": [{"key": "a", "operator": "In", "values": ["x"]}, {"key": "a", "operator": "DoesNotExist"}]
}
OF_KUBERNETES = (
    Case(
        kubernetes.EVERYBODY,
        "spec.ingress[0]",
        [network(ingress=[{}])],
        [
            network(ingress=[peer(podSelector=PODS)]),
        ],
    ),
    Case(
        kubernetes.EVERYBODY,
        "spec.egress[0]",
        [network(egress=[{}])],
        [
            network(ingress=[]),
        ],
    ),
    Case(
        kubernetes.ANY_PEER,
        "spec.ingress[0]",
        [network(ingress=[{"ports": PORTS}])],
        [network(ingress=[peer(podSelector=PODS) | {"ports": PORTS}])],
    ),
    Case(
        kubernetes.EMPTY_LIST,
        "spec.ingress[0].from",
        [network(ingress=[{"from": [], "ports": PORTS}])],
        [network(ingress=[{"ports": PORTS}])],
    ),
    Case(
        kubernetes.SPLIT_PEER,
        "spec.ingress[0].from[1]",
        [network(ingress=[{"from": [{"namespaceSelector": PODS}, {"podSelector": PODS}]}])],
        [network(ingress=[{"from": [{"namespaceSelector": PODS, "podSelector": PODS}, {"podSelector": PODS}]}])],
    ),
    Case(
        kubernetes.EVERY_NAMESPACE,
        "spec.ingress[0].from[0]",
        [network(ingress=[peer(namespaceSelector={})])],
        [network(ingress=[peer(namespaceSelector={}, podSelector=PODS), peer(podSelector={})])],
    ),
    Case(
        kubernetes.ANY_BLOCK,
        "spec.ingress[0].from[0].ipBlock.cidr",
        [network(ingress=[peer(ipBlock={"cidr": "0.0.0.0/0"})])],
        [network(ingress=[peer(ipBlock={"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]})])],
    ),
    Case(
        kubernetes.ANY_BLOCK,
        "spec.ingress[0].from",
        [network(ingress=[{"from": [{"ipBlock": {"cidr": "0.0.0.0/1"}}, {"ipBlock": {"cidr": "128.0.0.0/1"}}]}])],
        [network(ingress=[{"from": [{"ipBlock": {"cidr": "0.0.0.0/1"}}, {"ipBlock": {"cidr": "128.0.0.0/2"}}]}])],
    ),
    Case(
        kubernetes.EMPTY_BLOCK,
        "spec.ingress[0].from[0].ipBlock.except",
        [network(ingress=[peer(ipBlock={"cidr": "8.0.0.0/8", "except": ["8.0.0.0/9", "8.128.0.0/9"]})])],
        [network(ingress=[peer(ipBlock={"cidr": "8.0.0.0/8", "except": ["8.0.0.0/9", "8.128.0.0/10"]})])],
    ),
    Case(
        kubernetes.POD_BLOCK,
        "spec.ingress[0].from[0].ipBlock.cidr",
        [network(ingress=[peer(ipBlock={"cidr": "10.1.0.0/16"})])],
        [network(ingress=[peer(ipBlock={"cidr": "203.0.113.0/24"})])],
    ),
    Case(
        kubernetes.HOST_BITS,
        "spec.ingress[0].from[0].ipBlock.cidr",
        [network(ingress=[peer(ipBlock={"cidr": "203.0.113.7/24"})])],
        [network(ingress=[peer(ipBlock={"cidr": "203.0.113.7/32"})])],
    ),
    Case(
        kubernetes.SECTION_IGNORED,
        "spec.egress",
        [network(policyTypes=["Ingress"], egress=[{"to": [{"podSelector": PODS}]}])],
        [network(policyTypes=["Ingress", "Egress"], egress=[{"to": [{"podSelector": PODS}]}])],
    ),
    Case(
        kubernetes.NO_DNS,
        "spec.egress",
        [network(egress=[{"to": [{"podSelector": PODS}], "ports": PORTS}])],
        [network(egress=[{"ports": PORTS}, {"ports": [{"port": 53, "protocol": "UDP"}]}])],
    ),
    Case(
        kubernetes.COVERED_RULE,
        "spec.ingress[1]",
        [network(ingress=[{}, peer(podSelector=PODS)])],
        [network(ingress=[{"ports": PORTS}, peer(podSelector=PODS)])],
    ),
    Case(
        kubernetes.SELECTS_NOTHING,
        "spec.podSelector",
        [network(podSelector=EXCLUDED, ingress=[])],
        [network(podSelector={"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["x"]}]}, ingress=[])],
    ),
)
CASES = (*OF_LINKERD, *OF_CONSUL, *OF_SMI, *OF_KUBERNETES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_each_check_finds_what_it_is_for_and_nothing_close_to_it(case: Case) -> None:
    holds(case)
