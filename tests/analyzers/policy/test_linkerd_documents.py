"""Linkerd's documents: what is read, what is refused and where, and hostile ones."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_network
from urllib.parse import quote

import pytest

from analyzers.policy.documents import read_documents
from analyzers.policy.errors import BadPolicy
from analyzers.policy.linkerd.compile import program
from analyzers.policy.linkerd.engine import program as engine_program
from analyzers.policy.linkerd.mesh_settings import read_config_map
from analyzers.policy.linkerd.model import (
    AuthorizationPolicy,
    Clients,
    Document,
    HttpMatch,
    MeshTLSAuthentication,
    NetworkAuthentication,
    Pair,
    Route,
    Server,
    ServerAuthorization,
    Settings,
    Target,
)
from analyzers.policy.selectors import Selector
from analyzers.policy.workloads import Cluster, Workload
from storage.engine import Engine
from tests.analyzers.policy.linkerd_documents import CALL, ORDERS, SERVER, document, judged, policy, read, route

PARENT = "parentRefs: [{group: policy.linkerd.io, kind: Server, name: api}]"
GATEWAY = "gateway.networking.k8s.io"
FULL = f"{{matches: [{'{}, ' * 64}]}}, "
"""A rule with as many matches as there may be."""


def test_documents_are_read_whole() -> None:
    server = """{podSelector: {matchLabels: {app: orders}}, port: http, proxyProtocol: HTTP/2, accessPolicy: audit}"""
    (read_server,) = read(document("Server", "api", server, labels={"b": "2", "a": "1"}, namespace="bank"))
    assert isinstance(read_server, Server)
    assert (read_server.id, read_server.port, read_server.protocol) == ("bank/api", "http", "HTTP/2")
    assert (read_server.access, read_server.labels) == ("audit", (("a", "1"), ("b", "2")))
    assert read_server.created is None
    spec = (
        "{server: {selector: {}}, client: {networks: [{cidr: 10.1.2.3/8, except: [10.0.0.1]}], unauthenticated: true}}"
    )
    (authorization,) = read(document("ServerAuthorization", "let", spec))
    assert isinstance(authorization, ServerAuthorization)
    assert (authorization.server, authorization.clients) == (Selector(), "anybody")
    assert [(str(one.network), *map(str, one.excepted)) for one in authorization.networks] == [
        ("10.0.0.0/8", "10.0.0.1/32")
    ]
    (required,) = read(policy("p", "GRPCRoute read", "ServiceAccount web"))
    assert isinstance(required, AuthorizationPolicy)
    assert required.target == Target(GATEWAY, "GRPCRoute", "read")
    assert [(one.kind, one.namespace, one.name) for one in required.required] == [("ServiceAccount", "shop", "web")]
    mesh = (
        "{identities: ['*', 'spiffe://td/a'],"
        " identityRefs: [{kind: serviceaccount, name: x}, {kind: Namespace, name: y}]}"
    )
    (identities,) = read(document("MeshTLSAuthentication", "m", mesh))
    assert isinstance(identities, MeshTLSAuthentication)
    assert identities.clients == Clients(("*", "spiffe://td/a"), (("shop", "x"),), ("y",))
    (networks,) = read(document("NetworkAuthentication", "n", "{networks: [{cidr: 'fd00::1'}]}"))
    assert isinstance(networks, NetworkAuthentication) and str(networks.networks[0].network) == "fd00::1/128"
    (found,) = read(
        route(
            "r",
            "[{matches: [{path: {type: Exact, value: /a}, method: GET, headers: [{name: X-A, value: b}]}]}, {}]",
            more=", hostnames: ['*.shop']",
            creationTimestamp="2026-01-01T02:00:00+02:00",
        )
    )
    assert found == Route(
        "shop",
        "r",
        "policy.linkerd.io",
        "HTTPRoute",
        ("api",),
        ("*.shop",),
        ((HttpMatch("Exact", "/a", (Pair("x-a", "b"),), method="GET"),), (HttpMatch(),)),
        datetime(2026, 1, 1, tzinfo=UTC),
    )


VALUES = """
    clusterDomain: prod.example
    clusterNetworks: 10.7.0.0/16, fd07::/16
    identityTrustDomain: ""
    proxy:
      defaultInboundPolicy: deny
      cores: 0
    policyController: {}
"""


def test_the_settings_of_the_control_plane() -> None:
    def config(values: str, name: str = "linkerd-config") -> Settings | None:
        text = (
            f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: mesh}}\ndata:\n  values: |{values}"
        )
        (value,) = read_documents("c.yaml", text.encode())
        return read_config_map(value, "default")

    networks = tuple(map(ip_network, ("10.7.0.0/16", "fd07::/16")))
    found = config(VALUES)
    assert found == Settings("deny", networks, "mesh", "prod.example")
    assert config("\n    identityTrustDomain: td\n") == Settings(control_plane_namespace="mesh", trust_domain="td")
    assert config("\n    \n") == Settings(control_plane_namespace="mesh")
    assert config(VALUES, "other") is None
    for wrong, why in (("deny", "allow"), ("10.7.0.0/16", "10.7.0.0/x")):
        with pytest.raises(BadPolicy, match=f"c.yaml: line 5: data.values, from there: .*'{why}', expected"):
            config(VALUES.replace(wrong, why))
    # Among other documents it holds for all of them.
    stranger = Workload("shop", labels=({},))
    assert engine_program([found], stranger, Cluster(), "http").allows is False
    assert engine_program([], stranger, Cluster(), "http").allows is True


@pytest.mark.parametrize(
    ("spec", "servers"),
    [
        # Routes of gateways and of callers say nothing here, whatever they hold.
        ("{parentRefs: [{name: edge}], rules: 5}", None),
        ("{parentRefs: [{group: core, kind: Service, name: web}]}", None),
        ("{parentRefs: [{group: policy.linkerd.io, kind: EgressNetwork, name: web, port: 80}]}", None),
        ("{rules: []}", None),
        # Linkerd ignores those that say more of a Server than its name, or ask for what it does not have.
        (f"{{{PARENT}}}", ("api",)),
        (f"{{{PARENT[:-2]}, namespace: shop}}]}}", ("api",)),
        (f"{{{PARENT[:-2]}, namespace: bank}}]}}", ()),
        (f"{{{PARENT[:-2]}, port: 80}}]}}", ()),
        (f"{{{PARENT[:-2]}, sectionName: x}}]}}", ()),
        (f"{{{PARENT}, rules: [{{filters: [{{type: URLRewrite, urlRewrite: {{}}}}]}}]}}", ()),
        (
            f"{{{PARENT}, rules: [{{filters: [{{type: RequestHeaderModifier, requestHeaderModifier: {{}}}}]}}]}}",
            ("api",),
        ),
    ],
)
def test_which_routes_are_a_servers(spec: str, servers: tuple[str, ...] | None) -> None:
    found = read(document("HTTPRoute", "r", spec, GATEWAY))
    assert [one.servers for one in found if isinstance(one, Route)] == ([] if servers is None else [servers])


@pytest.mark.parametrize(
    ("status", "servers"),
    [
        ("{parents: []}", ("api",)),
        (
            "{parents: [{controllerName: linkerd.io/policy-controller, parentRef: {name: api, namespace: shop}}]}",
            ("api",),
        ),
        (
            "{parents: [{controllerName: linkerd.io/policy-controller, parentRef: {name: api},"
            " conditions: [{type: Accepted, status: 'True'}]}]}",
            ("api",),
        ),
        (
            "{parents: [{controllerName: linkerd.io/policy-controller, parentRef: {name: api},"
            " conditions: [{type: Accepted, status: 'False'}]}]}",
            (),
        ),
        (
            "{parents: [{controllerName: other, parentRef: {name: api},"
            " conditions: [{type: Accepted, status: 'False'}]}]}",
            ("api",),
        ),
    ],
)
def test_a_route_that_its_server_does_not_take(status: str, servers: tuple[str, ...]) -> None:
    (found,) = read(document("HTTPRoute", "r", f"{{{PARENT}}}") + f"status: {status}\n")
    assert isinstance(found, Route) and found.servers == servers


@pytest.mark.parametrize(
    ("kind", "spec", "why"),
    [
        ("Server", "{port: 80}", "spec: 0 selectors, expected podSelector or externalWorkloadSelector"),
        ("Server", "{podSelector: {}, externalWorkloadSelector: {}, port: 80}", "2 selectors, expected podSelector or"),
        ("Server", "{podSelector: {}}", "spec: no port, expected its number or its name"),
        ("Server", "{podSelector: {}, port: 0}", "spec.port: 0, expected a whole number of 1 to 65535"),
        ("Server", "{podSelector: {}, port: 65536}", "expected a whole number of 1 to 65535"),
        (
            "Server",
            "{podSelector: {}, port: 80, proxyProtocol: http}",
            "'http', expected unknown, HTTP/1, HTTP/2, gRPC",
        ),
        (
            "Server",
            "{podSelector: {}, port: 80, accessPolicy: allow}",
            "'allow', expected all-unauthenticated, all-auth",
        ),
        ("Server", "{podSelector: {}, ports: 80}", "spec.ports: unknown field, expected podSelector"),
        (
            "Server",
            "{podSelector: {matchLabels: {a: b c}}, port: 80}",
            "podSelector.matchLabels.a: 'b c', expected a label",
        ),
        ("Server", "", "no spec, expected one"),
        ("ServerAuthorization", "{client: {}}", "spec: no server, expected its name or a selector"),
        ("ServerAuthorization", "{server: {}, client: {}}", "neither name and selector, expected one of both"),
        ("ServerAuthorization", "{server: {name: a, selector: {}}, client: {}}", "both of name and selector"),
        ("ServerAuthorization", "{server: {name: a}}", "spec: no client, expected who is let in"),
        (
            "ServerAuthorization",
            "{server: {name: a}, client: {unauthenticated: true, meshTLS: {}}}",
            "meshTLS beside unauthenticated",
        ),
        (
            "ServerAuthorization",
            "{server: {name: a}, client: {meshTLS: {unauthenticatedTLS: true, identities: ['*']}}}",
            "true beside identities or serviceAccounts",
        ),
        (
            "ServerAuthorization",
            "{server: {name: a}, client: {networks: [{cidr: 10.0.0.0/33}]}}",
            "client.networks[0].cidr: '10.0.0.0/33', expected an address or a network",
        ),
        ("NetworkAuthentication", "{}", "spec: no networks, expected at least one"),
        ("NetworkAuthentication", "{networks: []}", "an empty list, expected at least one network"),
        ("NetworkAuthentication", "{networks: [{except: [10.0.0.0/8]}]}", "networks[0]: no cidr, expected a network"),
        (
            "NetworkAuthentication",
            "{networks: [{cidr: 10.0.0.0/8, except: [11.0.0.0/9]}]}",
            "lies outside of 10.0.0.0/8",
        ),
        ("NetworkAuthentication", "{networks: [{cidr: 10.0.0.0/8, except: ['::1']}]}", "lies outside of 10.0.0.0/8"),
        ("NetworkAuthentication", "{networks: [{cidr: 10.0.0.0/8, except: [10.0.0.0/8]}]}", "is all of 10.0.0.0/8"),
        ("NetworkAuthentication", "{networks: [{cidr: 10.0.0.0/255.0.0.0}]}", "expected an address or a network"),
        ("NetworkAuthentication", "{networks: [{cidr: 10.0.0.0/0.255.255.255}]}", "expected an address or a network"),
        ("NetworkAuthentication", "{networks: [{cidr: 10.0.0.0/08}]}", "expected an address or a network"),
        ("NetworkAuthentication", "{networks: [{cidr: 010.0.0.0/8}]}", "expected an address or a network"),
        ("NetworkAuthentication", "{networks: [{cidr: 'fe80::1%eth0'}]}", "expected an address or a network"),
        ("Server", "{podSelector: {matchLabels: {app: }}, port: 80}", "app: a label without a value, expected one"),
        ("Server", "{podSelector: {}, port: 08}", "port: 08, expected a whole number of 1 to 65535"),
        ("Server", "{podSelector: {}, port: 010}", "port: 010, expected a whole number of 1 to 65535, in plain digits"),
        ("MeshTLSAuthentication", "{}", "spec: nobody in it, expected identities or identityRefs"),
        ("MeshTLSAuthentication", "{identities: []}", "nobody in it"),
        ("MeshTLSAuthentication", "{identities: [a b]}", "identities[0]: 'a b', expected a name such as *.shop"),
        ("MeshTLSAuthentication", "{identities: ['']}", "identities[0]: '', expected a name"),
        ("MeshTLSAuthentication", "{identities: [a..b]}", "expected a name such as"),
        ("MeshTLSAuthentication", "{identities: ['spiffe:///a']}", "or a SPIFFE id"),
        ("MeshTLSAuthentication", "{identities: ['spiffe://td/a/../b']}", "or a SPIFFE id"),
        (
            "MeshTLSAuthentication",
            "{identityRefs: [{kind: Pod, name: a}]}",
            "'Pod' of group '', expected ServiceAccount",
        ),
        (
            "MeshTLSAuthentication",
            "{identityRefs: [{kind: Namespace, name: a, namespace: b}]}",
            "a namespace of a Namespace, expected none",
        ),
        ("AuthorizationPolicy", "{requiredAuthenticationRefs: []}", "spec: no targetRef, expected one"),
        (
            "AuthorizationPolicy",
            "{targetRef: {group: policy.linkerd.io, kind: Server, name: a}}",
            "no requiredAuthenticationRefs, expected a list ([] lets everybody in)",
        ),
        (
            "AuthorizationPolicy",
            "{targetRef: {kind: Service, name: a}, requiredAuthenticationRefs: []}",
            "targetRef.kind: 'Service' of group '', expected Server of 'policy.linkerd.io'",
        ),
        (
            "AuthorizationPolicy",
            "{targetRef: {kind: Namespace, name: bank}, requiredAuthenticationRefs: []}",
            "'bank', expected the policy's own namespace, 'shop'",
        ),
        (
            "AuthorizationPolicy",
            "{targetRef: {kind: Namespace, name: shop}, requiredAuthenticationRefs: [{kind: User, name: a}]}",
            "requiredAuthenticationRefs[0].kind: 'User' of group '', expected MeshTLSAuthentication",
        ),
        (
            "HTTPRoute",
            f"{{{PARENT}, rules: [{{matches: [{{path: {{value: a}}}}]}}]}}",
            "'a', expected a path that begins",
        ),
        (
            "HTTPRoute",
            f"{{{PARENT}, rules: [{{matches: [{{path: {{type: RegularExpression, value: '(['}}}}]}}]}}",
            "expected a regular expression of RE2",
        ),
        ("HTTPRoute", f"{{{PARENT}, rules: [{{matches: [{{method: get}}]}}]}}", "'get', expected GET, HEAD, POST"),
        ("HTTPRoute", f"{{{PARENT}, rules: [{{matches: [{{paths: []}}]}}]}}", "unknown field, expected path, headers"),
        ("HTTPRoute", f"{{{PARENT}, rules: [{{when: []}}]}}", "rules[0].when: unknown field"),
        ("HTTPRoute", f"{{{PARENT}, hostnames: [A.example]}}", "'A.example', expected a host's name in lower case"),
        ("HTTPRoute", f"{{{PARENT}, hostnames: [10.0.0.1]}}", "expected a host's name"),
        (
            "HTTPRoute",
            f"{{{PARENT}, rules: [{{matches: [{{headers: [{{name: 'a b', value: c}}]}}]}}]}}",
            "'a b', expected the name of a header",
        ),
        ("HTTPRoute", f"{{{PARENT}, rules: [{{matches: [{{headers: [{{name: a}}]}}]}}]}}", "no value, expected one"),
        (
            "HTTPRoute",
            f"{{{PARENT}, rules: [{{matches: [{{queryParams: [{{name: a, value: b}}, {{name: a, value: c}}]}}]}}]}}",
            "'a' again, expected each name once",
        ),
        ("HTTPRoute", f"{{{PARENT}, rules: [{'{}, ' * 17}]}}", "17 rules, expected at most 16"),
        ("HTTPRoute", f"{{{PARENT}, rules: [{{matches: [{'{}, ' * 65}]}}]}}", "65 matches, expected at most 64"),
        (
            "HTTPRoute",
            f"{{{PARENT}, rules: [{FULL * 3}]}}",
            "192 matches, expected at most 128 of all rules",
        ),
        ("GRPCRoute", f"{{{PARENT}, rules: [{{matches: [{{method: {{}}}}]}}]}}", "neither service nor method"),
        (
            "GRPCRoute",
            f"{{{PARENT}, rules: [{{matches: [{{method: {{type: RegularExpression, method: a}}}}]}}]}}",
            "'RegularExpression', expected Exact",
        ),
    ],
)
def test_what_linkerd_refuses_is_refused(kind: str, spec: str, why: str) -> None:
    with pytest.raises(BadPolicy) as refused:
        read(document(kind, "x", spec, GATEWAY if kind == "GRPCRoute" else "policy.linkerd.io"))
    message = str(refused.value)
    assert message.startswith("p.yaml: line ") and why in message and "\n" not in message


def test_a_label_of_a_server_that_is_null_has_an_empty_value() -> None:
    (server,) = read(document("Server", "x", "{podSelector: {}, port: 80}", labels={"tier": None, "app": "a"}))
    assert isinstance(server, Server) and server.labels == (("app", "a"), ("tier", ""))


def test_several_authentications_of_a_kind_are_refused() -> None:
    for required, why in (
        (("MeshTLSAuthentication a", "ServiceAccount b"), "several identities, expected at most one"),
        (
            ("NetworkAuthentication a", "NetworkAuthentication b"),
            "several NetworkAuthentications, expected at most one",
        ),
    ):
        with pytest.raises(BadPolicy, match=why):
            read(policy("p", "Server api", *required))
    with pytest.raises(BadPolicy, match="creationTimestamp: 'yesterday', expected a time such as"):
        read(document("Server", "x", "{podSelector: {}, port: 1}", creationTimestamp="yesterday"))


@pytest.mark.parametrize(
    "text", ["it's", 'a"b', "a\\b", "a\0b", "{p0:String}", "%s", "a|b", "(", ".+", "ä", "\\Q", "a\nb", "^a$"]
)
def test_whatever_texts_hold_they_are_texts(engine: Engine, text: str) -> None:
    parameters = () if "%" in text else (Pair(f"q-{text}", text),)
    match = HttpMatch("PathPrefix", f"/{text}", (Pair(f"x-{text}", text),), parameters)
    documents = [*read(SERVER, policy("let", "HTTPRoute r", "MeshTLSAuthentication m"))]
    documents.append(Route("shop", "r", "policy.linkerd.io", "HTTPRoute", ("api",), rules=((match,),)))
    documents.append(MeshTLSAuthentication("shop", "m", Clients((text,))))
    call = {
        **CALL,
        "source_principal": text,
        "path": f"/{text}/x?a=b&{quote('q-' + text)}={quote(text)}",
        "attributes": {f"request.headers.x-{text}": text},
    }
    assert judged(engine, documents, call) == "allow shop/let: AuthorizationPolicy at HTTPRoute r"
    for changed in (
        {"source_principal": f"{text}x"},
        {"path": f"/{text}x/x"},
        {"attributes": {f"request.headers.x-{text}": ""}},
    ):
        assert judged(engine, documents, {**call, **changed}).startswith("deny")


def test_many_documents_and_long_expressions(engine: Engine) -> None:
    long = f"/({'|'.join(f'o{number}' for number in range(2_000))})"
    by_expression = route("r", f"[{{matches: [{{path: {{type: RegularExpression, value: '{long}'}}}}]}}]")

    def some(count: int) -> list[Document]:
        many = "\n---\n".join(policy(f"p{number:05}", "Server api", "ServiceAccount web") for number in range(count))
        return read(SERVER, many, by_expression)

    call = {**CALL, "path": "/o1999"}
    assert judged(engine, some(100), call) == "allow shop/p00000: AuthorizationPolicy at Server api"
    assert len(program(some(10_000), ORDERS, Cluster(), Settings(), "http").steps) == 10_003
    with pytest.raises(BadPolicy, match="a regular expression of 20,004 bytes, expected at most 16,384"):
        read(route("r", f"[{{matches: [{{path: {{type: RegularExpression, value: '{'/abc' * 5_001}'}}}}]}}]"))
