"""Linkerd's documents in YAML and the calls that they judge, for outcomes written by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from analyzers.policy.documents import read_documents
from analyzers.policy.formula import Transport
from analyzers.policy.linkerd.compile import program
from analyzers.policy.linkerd.model import Document, Settings
from analyzers.policy.linkerd.read import KINDS
from analyzers.policy.linkerd.reference import decide
from analyzers.policy.workloads import Cluster, Workload
from storage.engine import Engine
from tests.analyzers.policy.calls import insert_calls
from tests.analyzers.policy.computed import computed

ID = "serviceaccount.identity.linkerd.cluster.local"
WEB = f"web.shop.{ID}"
SPIFFE = "spiffe://root.example/shop/web"
DEFAULT = "config.linkerd.io/default-inbound-policy"
IDENTITY_PORTS = "config.linkerd.io/proxy-require-identity-inbound-ports"
ORDERS = Workload("shop", labels=({"app": "orders"},), ports={"http": (8080,), "admin": (9990,)}, annotations=({},))
DENYING = Cluster(namespace_annotations={"shop": {DEFAULT: "deny"}})
CALL: dict[str, Any] = {
    "transport": "http",
    "tls": "mtls",
    "source_principal": WEB,
    "source_ip": "10.1.2.3",
    "destination_port": 8080,
    "method": "GET",
    "path": "/orders/17",
    "authority": "orders.shop:8080",
    "attributes": {},
}
PLAINTEXT = {**CALL, "tls": "plaintext", "source_principal": ""}
STRANGER = {**PLAINTEXT, "source_ip": "203.0.113.9"}
TCP = {**CALL, "transport": "tcp", "method": None, "path": None, "authority": None}
BY_URI = {**CALL, "source_principal": SPIFFE}
NO_PORT = {**CALL, "destination_port": None}


def document(kind: str, name: str, spec: str, group: str = "policy.linkerd.io", **metadata: Any) -> str:
    """A document of namespace `shop`, its spec in YAML."""
    head = json.dumps({"name": name, **metadata})
    return f"apiVersion: {group}/v1\nkind: {kind}\nmetadata: {head}\nspec: {spec}\n"


def read(*texts: str) -> list[Document]:
    """Their models."""
    found = [
        KINDS[value.fields()["apiVersion"].text().partition("/")[0], value.fields()["kind"].text()](value, "shop")
        for text in texts
        for value in read_documents("p.yaml", text.encode())
    ]
    return [one for one in found if one is not None]


def judged(
    engine: Engine,
    documents: Sequence[Document],
    call: dict[str, Any],
    workload: Workload = ORDERS,
    cluster: Cluster | None = None,
    settings: Settings | None = None,
) -> str:
    """What both say of `call`: the verdict, and policy and rule."""
    case = (documents, workload, cluster or Cluster(), settings or Settings())
    expected = decide(*case, call)
    insert_calls(engine, [call])
    transport: Transport = call["transport"]
    found = computed(engine, program(*case, transport))[0]
    engine.execute("TRUNCATE TABLE calls")
    assert found == expected
    return f"{found.verdict} {found.policy}: {found.rule}" if found.policy else found.verdict


def server(name: str = "api", spec: str = "podSelector: {}, port: 8080", **metadata: Any) -> str:
    """A Server, by default of all pods' port 8080."""
    return document("Server", name, f"{{{spec}}}", **metadata)


def authorization(name: str, client: str, of: str = "name: api") -> str:
    """A ServerAuthorization, by default of the Server `api`."""
    return document("ServerAuthorization", name, f"{{server: {{{of}}}, client: {{{client}}}}}")


def policy(name: str, target: str, *required: str) -> str:
    """An AuthorizationPolicy; kinds and names such as `MeshTLSAuthentication web`."""
    kind, _, target_name = target.partition(" ")
    groups = {"Namespace": "core", "GRPCRoute": "gateway.networking.k8s.io", "ServiceAccount": '""'}
    group = groups.get(kind, "policy.linkerd.io")
    refs = ", ".join(
        f"{{group: {groups.get(one.split()[0], 'policy.linkerd.io')}, kind: {one.split()[0]}, name: {one.split()[1]}}}"
        for one in required
    )
    spec = f"{{targetRef: {{group: {group}, kind: {kind}, name: {target_name}}}, requiredAuthenticationRefs: [{refs}]}}"
    return document("AuthorizationPolicy", name, spec)


def clients(name: str, *identities: str) -> str:
    """A MeshTLSAuthentication."""
    return document("MeshTLSAuthentication", name, f"{{identities: {json.dumps(identities)}}}")


def networks(name: str, *cidrs: str) -> str:
    """A NetworkAuthentication."""
    return document("NetworkAuthentication", name, f"{{networks: [{', '.join(f'{{cidr: {one}}}' for one in cidrs)}]}}")


def route(name: str, rules: str, kind: str = "HTTPRoute", more: str = "", **metadata: Any) -> str:
    """A route of the Server `api`."""
    group = "gateway.networking.k8s.io" if kind == "GRPCRoute" else "policy.linkerd.io"
    parents = "parentRefs: [{group: policy.linkerd.io, kind: Server, name: api}]"
    return document(kind, name, f"{{{parents}, rules: {rules}{more}}}", group, **metadata)


SERVER, WEB_ONLY = server(), policy("let-web", "Server api", "MeshTLSAuthentication web")
WEB_CLIENTS = clients("web", WEB)
BY_WEB = f"{WEB_ONLY}---\n{WEB_CLIENTS}"
ALLOWED = "allow shop/let-web: AuthorizationPolicy at Server api"
DENIED = "deny shop/api: no authorization"
