"""ztunnel's rules one by one, with outcomes written by hand from the description: for engine and reference alike."""

from __future__ import annotations

from typing import Any

import pytest

from analyzers.policy.documents import read_documents
from analyzers.policy.istio.model import AuthorizationPolicy, Mesh
from analyzers.policy.istio.peer_authentication import PeerAuthentication
from analyzers.policy.istio.read import read_authorization_policy
from analyzers.policy.istio.ztunnel import program
from analyzers.policy.istio.ztunnel_reference import decide
from analyzers.policy.workloads import Workload
from storage.engine import Engine
from tests.analyzers.policy.calls import insert_calls
from tests.analyzers.policy.computed import computed

ORDERS = Workload("shop", "orders", labels=({"app": "orders"},))
WEB = "spiffe://cluster.local/ns/shop/sa/web"
CALL: dict[str, Any] = {
    "transport": "tcp",
    "tls": "mtls",
    "source_principal": WEB,
    "source_ip": "10.1.2.3",
    "destination_ip": "10.9.9.9",
    "destination_port": 8080,
    "attributes": {},
}
PLAINTEXT = {**CALL, "tls": "plaintext", "source_principal": None}
NOT_LOGGED = {**CALL, "source_principal": None}
Said = tuple[str, str | None]
ALLOW, DENY, UNKNOWN = ("allow", None), ("deny", None), ("unknown", None)
MATCHED, HIT = ("allow", "shop/p0[0]"), ("deny", "shop/p0[0]")


def by(principal: str) -> dict[str, Any]:
    return {**CALL, "source_principal": principal}


def policies(*specs: str, **metadata: Any) -> list[AuthorizationPolicy]:
    """Policies `p0`, `p1`, .. of namespace `shop` from their specs in YAML."""
    found: list[AuthorizationPolicy] = []
    for number, spec in enumerate(specs):
        head = {"name": f"p{number}", **metadata}
        (document,) = read_documents("p.yaml", f"metadata: {head}\nspec: {spec}\n".encode())
        found.append(read_authorization_policy(document, "shop"))
    return found


def judged(
    engine: Engine,
    given: list[AuthorizationPolicy],
    call: dict[str, Any],
    workload: Workload = ORDERS,
    mesh: Mesh | None = None,
) -> Said:
    """What both say of `call`: the verdict, and policy and rule."""
    case = (given, workload, mesh or Mesh())
    expected = decide(*case, call)
    insert_calls(engine, [call])
    (found,) = computed(engine, program(*case)).values()
    engine.execute("TRUNCATE TABLE calls")
    assert found == expected
    return expected.verdict, f"{expected.policy}[{expected.rule}]" if expected.policy else None


def source(fields: str, action: str = "ALLOW") -> str:
    return f"{{action: {action}, rules: [{{from: [{{source: {{{fields}}}}}]}}]}}"


def operation(fields: str, action: str = "ALLOW") -> str:
    return f"{{action: {action}, rules: [{{to: [{{operation: {{{fields}}}}}]}}]}}"


def when(key: str, value: str, action: str = "ALLOW", values: str = "values") -> str:
    return f"{{action: {action}, rules: [{{when: [{{key: '{key}', {values}: ['{value}']}}]}}]}}"


@pytest.mark.parametrize(
    ("specs", "call", "expected"),
    [
        # Order and empty forms.
        ([], CALL, ALLOW),
        (["{}"], CALL, DENY),
        (["{rules: [{}]}"], CALL, MATCHED),
        (["{action: DENY, rules: [{}]}", "{rules: [{}]}"], CALL, HIT),
        (["{rules: [{}]}", "{action: DENY, rules: [{}]}"], CALL, ("deny", "shop/p1[0]")),
        # ztunnel gets neither CUSTOM nor AUDIT, nor what is for a waypoint: they restrict nobody.
        (["{action: CUSTOM, provider: {name: x}, rules: [{}]}"], CALL, ALLOW),
        (["{action: AUDIT, rules: [{}]}"], CALL, ALLOW),
        (["{action: DENY, targetRefs: [{kind: Service, name: orders}], rules: [{}]}"], CALL, ALLOW),
        (["{targetRefs: [{kind: Gateway, name: waypoint}]}"], CALL, ALLOW),
        # An ALLOW rule that asks for requests is gone; the policy still counts.
        ([operation("methods: [GET]")], CALL, DENY),
        ([operation("notPaths: [/admin]")], CALL, DENY),
        ([operation("hosts: ['*'], ports: ['8080']")], CALL, DENY),
        ([source("requestPrincipals: ['*']")], CALL, DENY),
        ([source("principals: ['*'], remoteIpBlocks: [0.0.0.0/0]")], CALL, DENY),
        ([when("request.headers[x]", "a", values="notValues")], CALL, DENY),
        ([when("connection.sni", "*", values="notValues")], CALL, DENY),
        ([when("remote.ip", "0.0.0.0/0")], CALL, DENY),
        ([when("source.serviceAccount", "web")], CALL, DENY),
        ([when("source.trustDomain", "cluster.local")], CALL, DENY),
        (["{rules: [{to: [{operation: {methods: [GET]}}]}, {}]}"], CALL, ("allow", "shop/p0[1]")),
        # A DENY rule of nothing else never fires, unlike Envoy's on a connection.
        ([operation("methods: [GET]", "DENY")], CALL, ALLOW),
        ([source("notRequestPrincipals: ['*']", "DENY")], CALL, ALLOW),
        ([when("request.headers[x]", "a", "DENY", "notValues")], CALL, ALLOW),
        # Nor does one of which a whole clause is gone,
        (
            ["{action: DENY, rules: [{from: [{source: {principals: ['*']}}], to: [{operation: {methods: [GET]}}]}]}"],
            CALL,
            ALLOW,
        ),
        (
            [
                "{action: DENY, rules: [{from: [{source: {principals: ['*']}}],"
                " when: [{key: source.ip, values: [10.1.2.3]}, {key: 'request.headers[x]', values: [a]}]}]}"
            ],
            CALL,
            ALLOW,
        ),
        # while one that keeps a part of a clause hits more than it says,
        ([operation("methods: [GET], ports: ['8080']", "DENY")], CALL, HIT),
        ([source("principals: ['*'], requestPrincipals: [x/y]", "DENY")], CALL, HIT),
        # and of several sources those that remain count.
        (
            ["{action: DENY, rules: [{from: [{source: {requestPrincipals: [x/y]}}, {source: {namespaces: [shop]}}]}]}"],
            CALL,
            HIT,
        ),
        (
            ["{action: DENY, rules: [{to: [{operation: {paths: [/x]}}, {operation: {ports: ['9090']}}]}]}"],
            CALL,
            ALLOW,
        ),
        # Trust domains are forgotten on the way, without a word.
        ([source("trustDomains: [cluster.local]")], CALL, DENY),
        ([source("trustDomains: [other], principals: ['*']")], CALL, MATCHED),
        ([source("trustDomains: [cluster.local]", "DENY")], CALL, ALLOW),
        # Principals: the text behind spiffe://.
        ([source("principals: [cluster.local/ns/shop/sa/web]")], CALL, MATCHED),
        ([source("principals: ['spiffe://cluster.local/ns/shop/sa/web']")], CALL, DENY),
        ([source("principals: ['cluster.local/ns/shop/*']")], CALL, MATCHED),
        ([source("principals: ['*/sa/web']")], CALL, MATCHED),
        ([source("principals: ['*//cluster.local/ns/shop/sa/web']")], CALL, DENY),
        ([source("principals: ['*']")], PLAINTEXT, DENY),
        ([source("principals: ['*']")], NOT_LOGGED, MATCHED),
        ([source("notPrincipals: ['*']", "DENY")], PLAINTEXT, HIT),
        ([source("notPrincipals: ['*']", "DENY")], CALL, ALLOW),
        # Namespaces: a whole text, a beginning or an end; a star within is a star.
        ([source("namespaces: [shop]")], CALL, MATCHED),
        ([source("namespaces: ['sh*']")], CALL, MATCHED),
        ([source("namespaces: ['*op']")], CALL, MATCHED),
        ([source("namespaces: ['*']")], CALL, MATCHED),
        ([source("namespaces: ['s*p']")], CALL, DENY),
        ([source("namespaces: ['ho']")], CALL, DENY),
        ([source("namespaces: ['*']")], PLAINTEXT, DENY),
        ([source("notNamespaces: [bank]")], PLAINTEXT, MATCHED),
        ([source("namespaces: [shop]")], by("spiffe://cluster.local/ns/shop/r/x/sa/web"), DENY),
        ([source("namespaces: ['sh.p']")], CALL, DENY),
        # Service accounts: both parts of the identity.
        ([source("serviceAccounts: [web]")], CALL, MATCHED),
        ([source("serviceAccounts: [shop/web]")], CALL, MATCHED),
        ([source("serviceAccounts: [bank/web]")], CALL, DENY),
        ([source("serviceAccounts: [web]")], by("spiffe://other.example/ns/shop/sa/web"), MATCHED),
        ([source("serviceAccounts: [web]")], by("spiffe://cluster.local/ns/shop/sa/web/1"), DENY),
        ([source("notServiceAccounts: [web]", "DENY")], PLAINTEXT, HIT),
        # Addresses and ports, in conditions too.
        ([source("ipBlocks: [10.1.0.0/16]")], CALL, MATCHED),
        ([source("notIpBlocks: [10.1.0.0/16]")], CALL, DENY),
        ([operation("ports: ['8080']")], CALL, MATCHED),
        ([operation("notPorts: ['8080']")], CALL, DENY),
        ([when("destination.ip", "10.9.9.0/24")], CALL, MATCHED),
        ([when("destination.ip", "10.9.9.0/24", "DENY")], CALL, HIT),
        ([when("destination.port", "8080", values="notValues")], CALL, DENY),
        ([when("source.namespace", "shop")], CALL, MATCHED),
        ([when("source.principal", "*/sa/web")], CALL, MATCHED),
        # What was not logged.
        ([source("namespaces: [shop]")], NOT_LOGGED, UNKNOWN),
        ([source("namespaces: [shop]", "DENY"), "{}"], NOT_LOGGED, DENY),
        ([operation("ports: ['8080']")], {**CALL, "destination_port": None}, UNKNOWN),
        # Requests are judged as the connections that bear them.
        ([operation("methods: [GET]", "DENY")], {**CALL, "transport": "http", "method": "GET"}, ALLOW),
    ],
)
def test_a_rule(engine: Engine, specs: list[str], call: dict[str, Any], expected: Said) -> None:
    assert judged(engine, policies(*specs), call) == expected


def test_a_dry_run_restricts_nobody(engine: Engine) -> None:
    assert judged(engine, policies("{}", annotations={"istio.io/dry-run": "true"}), CALL) == ALLOW


@pytest.mark.parametrize(
    ("namespace", "selector", "workload", "expected"),
    [
        ("shop", "{}", ORDERS, DENY),
        ("bank", "{}", ORDERS, ALLOW),
        # Of the root namespace: of the whole mesh, with a selector too.
        ("istio-system", "{}", ORDERS, DENY),
        ("istio-system", "{matchLabels: {app: orders}}", ORDERS, DENY),
        ("istio-system", "{matchLabels: {app: web}}", ORDERS, ALLOW),
        ("bank", "{matchLabels: {app: orders}}", ORDERS, ALLOW),
        ("shop", "{matchLabels: {app: orders}}", Workload("shop"), UNKNOWN),
    ],
)
def test_a_scope(engine: Engine, namespace: str, selector: str, workload: Workload, expected: Said) -> None:
    given = policies(f"{{selector: {selector}}}", namespace=namespace)
    assert judged(engine, given, CALL, workload) == expected


def test_a_name_without_a_namespace_is_of_the_policys_own(engine: Engine) -> None:
    given = policies(source("serviceAccounts: [web]"), namespace="istio-system")
    assert judged(engine, given, CALL) == DENY
    own = by("spiffe://cluster.local/ns/istio-system/sa/web")
    assert judged(engine, given, own) == ("allow", "istio-system/p0[0]")


def test_trust_domains_of_the_mesh_stand_for_nobody_else(engine: Engine) -> None:
    mesh = Mesh(trust_domain="prod.example", trust_domain_aliases=("old.example",))
    for written in ("cluster.local", "old.example"):
        given = policies(source(f"principals: [{written}/ns/shop/sa/web]"))
        assert judged(engine, given, by("spiffe://prod.example/ns/shop/sa/web"), mesh=mesh) == DENY


STRICT = PeerAuthentication("istio-system", "default", "STRICT")
LOOSE = PeerAuthentication("shop", "loose", "PERMISSIVE")
BUT_8080 = PeerAuthentication("shop", "most", "STRICT", selector={"app": "orders"}, ports={8080: "DISABLE"})


@pytest.mark.parametrize(
    ("peers", "call", "expected"),
    [
        ([STRICT], PLAINTEXT, ("deny", "istio-system/default[mtls]")),
        ([STRICT], CALL, ALLOW),
        ([STRICT], NOT_LOGGED, ALLOW),
        ([STRICT], {**NOT_LOGGED, "tls": None}, UNKNOWN),
        ([STRICT, LOOSE], PLAINTEXT, ALLOW),
        ([STRICT, BUT_8080], PLAINTEXT, ALLOW),
        ([STRICT, BUT_8080], {**PLAINTEXT, "destination_port": 9090}, ("deny", "shop/most[mtls]")),
        ([BUT_8080], {**PLAINTEXT, "destination_port": None}, UNKNOWN),
    ],
)
def test_a_caller_without_a_certificate(
    engine: Engine, peers: list[PeerAuthentication], call: dict[str, Any], expected: Said
) -> None:
    insert_calls(engine, [call])
    found = computed(engine, program([], ORDERS, Mesh(), peers))[0]
    assert (found.verdict, f"{found.policy}[{found.rule}]" if found.policy else None) == expected


def test_certificates_come_before_policies(engine: Engine) -> None:
    insert_calls(engine, [PLAINTEXT])
    found = computed(engine, program(policies("{action: DENY, rules: [{}]}"), ORDERS, Mesh(), [STRICT]))[0]
    assert (found.verdict, found.policy, found.rule) == ("deny", "istio-system/default", "mtls")


def test_texts_reach_the_engine_unchanged(engine: Engine) -> None:
    odd = 'it\'s \\"odd\\"\\\\{p0:String}\\n.'
    plain = 'it\'s "odd"\\{p0:String}\n.'
    for form in (
        f'principals: ["cluster.local/ns/{odd}/sa/web"]',
        f'namespaces: ["{odd}"]',
        f'serviceAccounts: ["{odd}/web"]',
    ):
        call = by(f"spiffe://cluster.local/ns/{plain}/sa/web")
        assert judged(engine, policies(source(form)), call) == MATCHED
        assert judged(engine, policies(source(form)), CALL) == DENY
