"""SMI's documents: what is read, and what is refused as the API server or OSM's webhook refuses it."""

from __future__ import annotations

import pytest

from analyzers.policy.documents import read_documents
from analyzers.policy.errors import BadPolicy
from analyzers.policy.smi.model import (
    Account,
    Document,
    HTTPRouteGroup,
    Match,
    MeshConfig,
    Rule,
    TCPRoute,
    TrafficTarget,
)
from analyzers.policy.smi.read import KINDS

ACCESS, SPECS, CONFIG = "access.smi-spec.io", "specs.smi-spec.io", "config.openservicemesh.io"
TARGET, GROUP, TCP = (ACCESS, "TrafficTarget"), (SPECS, "HTTPRouteGroup"), (SPECS, "TCPRoute")
MESH = (CONFIG, "MeshConfig")


def read(text: str, kind: tuple[str, str]) -> Document:
    (document,) = read_documents("p.yaml", text.encode())
    return KINDS[kind](document, "shop")


def test_a_target() -> None:
    text = """
apiVersion: access.smi-spec.io/v1alpha3
kind: TrafficTarget
metadata: {name: orders-access, namespace: bank}
spec:
  destination: {kind: ServiceAccount, name: orders, namespace: bank}
  sources:
    - {kind: ServiceAccount, name: web, namespace: front}
    - {kind: ServiceAccount, name: web}
  rules:
    - {kind: HTTPRouteGroup, name: routes, matches: [read, write]}
    - {kind: TCPRoute, name: tcp}
"""
    found = read(text, TARGET)
    assert found == TrafficTarget(
        "bank",
        "orders-access",
        "orders",
        (Account("front", "web"), Account("", "web")),
        (Rule("HTTPRouteGroup", "routes", ("read", "write")), Rule("TCPRoute", "tcp")),
    )
    assert isinstance(found, TrafficTarget)
    assert found.id == "bank/orders-access"


def test_routes() -> None:
    text = """
metadata: {name: routes}
spec:
  matches:
    - {name: all}
    - {name: all, pathRegex: ''}
    - name: some
      pathRegex: '/books/\\d+'
      methods: [GET, '*']
      headers: [{user-agent: '.*curl.*', host: shop}, {user-agent: 'x'}]
"""
    some = Match("some", "/books/\\d+", ("GET", "*"), (("host", "shop"), ("user-agent", "x")))
    assert read(text, GROUP) == HTTPRouteGroup("shop", "routes", (Match("all", ".*", ("*",)), some))
    assert read("metadata: {name: t}\nspec: {matches: {name: x, ports: [1, 65535]}}", TCP) == TCPRoute(
        "shop", "t", (1, 65535)
    )


@pytest.mark.parametrize(
    ("spec", "permissive"),
    [
        ("{traffic: {enablePermissiveTrafficPolicyMode: true, enableEgress: false}, sidecar: {}}", True),
        ("{traffic: {enablePermissiveTrafficPolicyMode: false}}", False),
        ("{traffic: {}}", False),
        ("{sidecar: {}}", False),
    ],
)
def test_the_mesh_config(spec: str, permissive: bool) -> None:
    assert read(f"metadata: {{name: osm-mesh-config, namespace: osm}}\nspec: {spec}", MESH) == MeshConfig(
        "osm", "osm-mesh-config", permissive
    )


DESTINATION = "destination: {kind: ServiceAccount, name: a, namespace: shop}"
EMPTY = "sources: [], rules: []"


@pytest.mark.parametrize(
    ("kind", "spec", "why"),
    [
        (TARGET, "{}", "no destination, expected one"),
        (
            TARGET,
            "{destination: {kind: ServiceAccount, name: a}, sources: [], rules: []}",
            "namespace '', expected the target's",
        ),
        (TARGET, "{destination: {kind: ServiceAccount, name: a, namespace: b}, sources: [], rules: []}", "own, 'shop'"),
        (TARGET, "{destination: {kind: Service, name: a, namespace: shop}}", "'Service', expected ServiceAccount"),
        (TARGET, "{destination: {name: a, namespace: shop}}", "spec.destination: no kind"),
        (TARGET, "{destination: {kind: ServiceAccount, namespace: shop}}", "spec.destination: no name"),
        (TARGET, f"{{{DESTINATION}, rules: []}}", "no sources, expected one"),
        (TARGET, f"{{{DESTINATION}, sources: []}}", "no rules, expected one"),
        (TARGET, f"{{{DESTINATION}, sources: [web], rules: []}}", "sources[0]: 'web', expected an object"),
        (
            TARGET,
            f"{{{DESTINATION}, sources: [{{kind: User, name: a}}], rules: []}}",
            "'User', expected ServiceAccount",
        ),
        (
            TARGET,
            f"{{{DESTINATION}, sources: [], rules: [{{kind: Ingress, name: a}}]}}",
            "expected HTTPRouteGroup, TCPRoute",
        ),
        (TARGET, f"{{{DESTINATION}, sources: [], rules: [{{kind: TCPRoute}}]}}", "rules[0]: no name"),
        (
            TARGET,
            f"{{{DESTINATION}, sources: [], rules: [{{kind: TCPRoute, name: a, matches: b}}]}}",
            "expected a list",
        ),
        (TARGET, f"{{{DESTINATION}, specs: []}}", "spec.specs: unknown field, expected destination, sources or rules"),
        (GROUP, "{}", "no matches, expected one"),
        (GROUP, "{matches: [{}]}", "matches[0]: no name"),
        (GROUP, "{matches: [{name: a, methods: [get]}]}", "'get', expected *, GET, HEAD"),
        (GROUP, "{matches: [{name: a, pathRegex: '('}]}", "expected a regular expression of RE2"),
        (GROUP, "{matches: [{name: a, pathRegex: '(?!x)'}]}", "expected a regular expression of RE2"),
        (GROUP, f"{{matches: [{{name: a, pathRegex: {'x' * 20_000}}}]}}", "of 20,000 bytes"),
        (GROUP, "{matches: [{name: a, headers: {host: x}}]}", "headers: an object, expected a list"),
        (GROUP, "{matches: [{name: a, headers: [{host: '['}]}]}", "headers[0].host: '['"),
        (GROUP, "{matches: [{name: a, headers: [{host: 5}]}]}", "5, expected text"),
        (GROUP, "{matches: [{name: a, headers: [{host: }]}]}", "headers[0].host: null, expected text"),
        (GROUP, "{matches: [{name: a, path: /x}]}", "matches[0].path: unknown field"),
        (TCP, "{matches: {}}", "no ports, expected one"),
        (TCP, "{matches: {ports: ['80']}}", "'80', expected a whole number of 0 to 65535"),
        (TCP, "{matches: {ports: [010]}}", "010, expected a whole number of 0 to 65535, in plain digits"),
        (TCP, "{matches: {ports: [65536]}}", "65536, expected a whole number"),
        (TCP, "{matches: [{ports: [1]}]}", "a list, expected an object"),
        (MESH, "{traffic: {enablePermissiveTrafficPolicyMode: 'yes'}}", "'yes', expected true or false"),
        (MESH, "{traffic: [1]}", "a list, expected an object"),
    ],
)
def test_what_kubernetes_or_osm_refuses_is_refused(kind: tuple[str, str], spec: str, why: str) -> None:
    with pytest.raises(BadPolicy) as refused:
        read(f"metadata: {{name: x}}\nspec: {spec}", kind)
    message = str(refused.value)
    assert message.startswith("p.yaml: line ") and why in message and "\n" not in message


@pytest.mark.parametrize("text", ["spec: {}", "metadata: {}\nspec: {}", "metadata: {name: x}"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_document_has_a_name_and_a_spec(kind: tuple[str, str], text: str) -> None:
    with pytest.raises(BadPolicy, match="expected"):
        read(text, kind)
