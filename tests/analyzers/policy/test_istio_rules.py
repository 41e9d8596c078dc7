"""Istio's rules one by one, with outcomes written by hand from the description: for engine and reference alike."""

from __future__ import annotations

from typing import Any

import pytest

from analyzers.policy.documents import read_documents
from analyzers.policy.errors import BadPolicy
from analyzers.policy.istio.compile import program, template
from analyzers.policy.istio.model import AuthorizationPolicy, Mesh
from analyzers.policy.istio.read import read_authorization_policy
from analyzers.policy.istio.reference import decide
from analyzers.policy.sql import verdict
from analyzers.policy.workloads import Workload
from storage.engine import Engine
from tests.analyzers.policy.calls import insert_calls

ORDERS = Workload("shop", labels=({"app": "orders"},))
WEB = "spiffe://cluster.local/ns/shop/sa/web"
CALL: dict[str, Any] = {
    "transport": "http",
    "tls": "mtls",
    "source_principal": WEB,
    "source_ip": "10.1.2.3",
    "source_remote_ip": "10.1.2.3",
    "destination_ip": "10.9.9.9",
    "destination_port": 8080,
    "method": "GET",
    "path": "/orders/17",
    "authority": "orders.shop:8080",
    "sni": "",
    "attributes": {},
}
PLAINTEXT = {**CALL, "tls": "plaintext", "source_principal": None}
TCP = {**CALL, "transport": "tcp", "method": None, "path": None, "authority": None}


def policies(*specs: str, **metadata: Any) -> list[AuthorizationPolicy]:
    """Policies `p0`, `p1`, .. of namespace `shop` from their specs in YAML."""
    found: list[AuthorizationPolicy] = []
    for number, spec in enumerate(specs):
        head = {"name": f"p{number}", **metadata}
        text = f"kind: AuthorizationPolicy\nmetadata: {head}\nspec: {spec}\n"
        (document,) = read_documents("p.yaml", text.encode())
        found.append(read_authorization_policy(document, "shop"))
    return found


def judged(engine: Engine, given: list[AuthorizationPolicy], call: dict[str, Any]) -> tuple[str, str | None]:
    """What both say of `call`: the verdict, and policy and rule."""
    expected = decide(given, ORDERS, Mesh(), call)
    insert_calls(engine, [call])
    built = program(given, ORDERS, Mesh(), call["transport"])
    sql = verdict(built)
    (row,) = engine.query(sql.each("request_id", "calls"), sql.parameters).to_pylist()
    engine.execute("TRUNCATE TABLE calls")
    step = built.steps[row["decided_by"] - 1] if row["decided_by"] else None
    assert expected.verdict == {None: "unknown", 0: "deny", 1: "allow"}[row["allowed"]]
    assert expected.policy == ((step and step.policy) or None)
    return expected.verdict, f"{expected.policy}[{expected.rule}]" if expected.policy else None


AUDIENCE_SHOP = "when: [{key: request.auth.audiences, values: [shop]}]"


def with_token(rule: str, **logged: str) -> tuple[list[str], dict[str, Any]]:
    """An ALLOW policy of one rule, and a call whose line tells these of its token."""
    return [f"{{rules: [{{{rule}}}]}}"], {**CALL, "attributes": {f"request.auth.{k}": v for k, v in logged.items()}}


ANY_PEER = "{rules: [{from: [{source: {principals: ['*']}}]}]}"
OTHER_PEER = {**CALL, "tls": "tls", "source_principal": ""}
ALLOW_WEB = "{rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/web]}}]}]}"


@pytest.mark.parametrize(
    ("specs", "call", "expected"),
    [
        # Order and empty forms.
        ([], CALL, ("allow", None)),
        (["{}"], CALL, ("deny", None)),
        (["{action: ALLOW, rules: []}"], CALL, ("deny", None)),
        (["{rules: [{}]}"], CALL, ("allow", "shop/p0[0]")),
        (["{action: DENY, rules: [{}]}", "{rules: [{}]}"], CALL, ("deny", "shop/p0[0]")),
        (["{action: AUDIT, rules: [{}]}"], CALL, ("allow", None)),
        (["{action: CUSTOM, provider: {name: x}, rules: [{}]}"], CALL, ("unknown", None)),
        (["{action: CUSTOM, provider: {name: x}, rules: [{}]}", "{}"], CALL, ("deny", None)),
        ([ALLOW_WEB], CALL, ("allow", "shop/p0[0]")),
        ([ALLOW_WEB], {**CALL, "source_principal": "spiffe://cluster.local/ns/shop/sa/other"}, ("deny", None)),
        ([ALLOW_WEB], {**CALL, "source_principal": None}, ("unknown", None)),
        ([ALLOW_WEB], PLAINTEXT, ("deny", None)),
        (
            ["{rules: [{to: [{operation: {methods: [POST]}}]}, {to: [{operation: {ports: ['8080']}}]}]}"],
            CALL,
            ("allow", "shop/p0[1]"),
        ),
        # Selectors.
        (["{selector: {matchLabels: {app: other}}, action: DENY, rules: [{}]}"], CALL, ("allow", None)),
        (["{selector: {matchLabels: {app: orders}}, action: DENY, rules: [{}]}"], CALL, ("deny", "shop/p0[0]")),
        # What is absent is known: a plaintext call has no principal.
        (["{action: DENY, rules: [{from: [{source: {notPrincipals: ['*']}}]}]}"], PLAINTEXT, ("deny", "shop/p0[0]")),
        (["{rules: [{from: [{source: {notNamespaces: [foo]}}]}]}"], PLAINTEXT, ("allow", "shop/p0[0]")),
        (["{rules: [{from: [{source: {principals: ['*']}}]}]}"], PLAINTEXT, ("deny", None)),
        # A certificate without a URI is a peer all the same.
        (
            ["{rules: [{from: [{source: {principals: ['*']}}]}]}"],
            {**CALL, "source_principal": ""},
            ("allow", "shop/p0[0]"),
        ),
        (["{rules: [{from: [{source: {namespaces: [shop]}}]}]}"], {**CALL, "source_principal": ""}, ("unknown", None)),
        # Values.
        (
            ["{rules: [{from: [{source: {principals: ['spiffe://cluster.local/ns/shop/sa/web']}}]}]}"],
            CALL,
            ("deny", None),
        ),
        (["{rules: [{from: [{source: {namespaces: ['sh*']}}]}]}"], CALL, ("allow", "shop/p0[0]")),
        (["{rules: [{from: [{source: {serviceAccounts: [web]}}]}]}"], CALL, ("allow", "shop/p0[0]")),
        (["{rules: [{from: [{source: {serviceAccounts: [bank/web]}}]}]}"], CALL, ("deny", None)),
        (["{rules: [{to: [{operation: {hosts: [orders.shop]}}]}]}"], CALL, ("deny", None)),
        (["{rules: [{to: [{operation: {hosts: ['ORDERS.shop:*']}}]}]}"], CALL, ("allow", "shop/p0[0]")),
        (["{rules: [{to: [{operation: {methods: [get]}}]}]}"], CALL, ("deny", None)),
        (
            ["{rules: [{to: [{operation: {paths: ['/orders/*']}}]}]}"],
            {**CALL, "path": "/orders/1?a=/x"},
            ("allow", "shop/p0[0]"),
        ),
        (["{rules: [{to: [{operation: {paths: ['*/17*']}}]}]}"], CALL, ("deny", None)),
        (["{rules: [{from: [{source: {ipBlocks: [10.0.0.0/8]}}]}]}"], CALL, ("allow", "shop/p0[0]")),
        (["{rules: [{from: [{source: {ipBlocks: ['::/0']}}]}]}"], CALL, ("deny", None)),
        (["{rules: [{when: [{key: 'request.headers[X-Team]', values: [red]}]}]}"], CALL, ("unknown", None)),
        (
            ["{rules: [{when: [{key: 'request.headers[X-Team]', notValues: [red]}]}]}"],
            {**CALL, "attributes": {"request.headers.x-team": ""}},
            ("allow", "shop/p0[0]"),
        ),
        # As seen in the real Envoy: any certificate is a peer, and only its URI is logged as one.
        ([ANY_PEER], OTHER_PEER, ("unknown", None)),
        (
            [ANY_PEER],
            {**OTHER_PEER, "attributes": {"downstream_peer_fingerprint_256": "5f3a"}},
            ("allow", "shop/p0[0]"),
        ),
        ([ANY_PEER], {**OTHER_PEER, "attributes": {"downstream_peer_fingerprint_256": "-"}}, ("deny", None)),
        ([ALLOW_WEB], OTHER_PEER, ("deny", None)),
        # A host is there even where it is empty.
        (["{rules: [{to: [{operation: {hosts: ['*']}}]}]}"], {**CALL, "authority": ""}, ("allow", "shop/p0[0]")),
        (["{action: DENY, rules: [{to: [{operation: {notMethods: ['*']}}]}]}"], CALL, ("allow", None)),
        # Of several rules that match, the first by the letters of its name: rule[10] before rule[2].
        (
            ["{action: DENY, rules: [" + "{to: [{operation: {ports: ['1']}}]}, " * 2 + "{}, " * 9 + "{}]}"],
            CALL,
            ("deny", "shop/p0[10]"),
        ),
        # The remote address is the peer's where no header or proxy tells of another one.
        (
            ["{rules: [{from: [{source: {remoteIpBlocks: [10.0.0.0/8]}}]}]}"],
            {**CALL, "source_remote_ip": "::"},
            ("allow", "shop/p0[0]"),
        ),
        (
            ["{rules: [{from: [{source: {remoteIpBlocks: [10.0.0.0/8]}}]}]}"],
            {**CALL, "source_remote_ip": "::", "source_ip": None},
            ("unknown", None),
        ),
        # Envoy judges the server name as it was sent, and logs another one where no host has such a name.
        (
            ["{rules: [{when: [{key: connection.sni, values: ['*']}]}]}"],
            {**CALL, "sni": "invalid:x_y"},
            ("unknown", None),
        ),
        (
            ["{rules: [{when: [{key: connection.sni, values: ['*y']}]}]}"],
            {**CALL, "sni": "x_y"},
            ("allow", "shop/p0[0]"),
        ),
        # What some formats print for a header that is not there.
        (
            ["{rules: [{when: [{key: 'request.headers[x-team]', values: ['*']}]}]}"],
            {**CALL, "attributes": {"request.headers.x-team": "-"}},
            ("deny", None),
        ),
        # Tokens: the last slash parts issuer and subject, `-` is what a token has not, lists are JSON.
        (*with_token("from: [{source: {requestPrincipals: ['*']}}]", principal="-/-"), ("deny", None)),
        (*with_token("from: [{source: {notRequestPrincipals: ['*']}}]", principal="-/-"), ("allow", "shop/p0[0]")),
        (
            *with_token("from: [{source: {requestPrincipals: ['https://*']}}]", principal="https://id/ann"),
            ("deny", None),
        ),
        (*with_token("from: [{source: {requestPrincipals: [plain]}}]", principal="plain/"), ("allow", "shop/p0[0]")),
        (*with_token("from: [{source: {requestPrincipals: [plain]}}]", principal="plain/-"), ("deny", None)),
        (*with_token(AUDIENCE_SHOP, audiences='["bank","shop"]'), ("allow", "shop/p0[0]")),
        (*with_token(AUDIENCE_SHOP, audiences="bank,shop"), ("deny", None)),
        (*with_token(AUDIENCE_SHOP, audiences='["x\\",\\"shop"]'), ("deny", None)),
        (*with_token("when: [{key: request.auth.audiences, values: ['*']}]", audiences="[]"), ("deny", None)),
        (
            *with_token("when: [{key: request.auth.presenter, values: ['w*']}]", presenter='["web"]'),
            ("allow", "shop/p0[0]"),
        ),
        # Unknown only where it matters.
        (
            ["{action: DENY, rules: [{from: [{source: {namespaces: [x]}}]}]}", "{}"],
            {**CALL, "source_principal": None},
            ("deny", None),
        ),
        # Connections: an ALLOW rule that asks for HTTP is gone, a DENY rule forgets that it does.
        (["{rules: [{to: [{operation: {methods: [GET]}}]}]}"], TCP, ("deny", None)),
        (["{action: DENY, rules: [{to: [{operation: {methods: [GET]}}]}]}"], TCP, ("deny", "shop/p0[0]")),
        (["{action: DENY, rules: [{to: [{operation: {methods: [GET], ports: ['9']}}]}]}"], TCP, ("allow", None)),
    ],
)
def test_a_rule(engine: Engine, specs: list[str], call: dict[str, Any], expected: tuple[str, str | None]) -> None:
    assert judged(engine, policies(*specs), call) == expected


def test_a_dry_run_restricts_nobody(engine: Engine) -> None:
    rehearsed = policies("{}", annotations={"istio.io/dry-run": "true"})
    assert rehearsed[0].dry_run
    assert judged(engine, rehearsed, CALL) == ("allow", None)


@pytest.mark.parametrize(
    ("wanted", "matches", "misses"),
    [
        (
            "/orders/{*}",
            ["/orders/1", "/orders/a=b", "/orders/a%2Fb", "/orders/*"],
            ["/orders/", "/orders", "/orders/1/2", "/orders/a b"],
        ),
        ("/allow/admin/{**}", ["/allow/admin/", "/allow/admin/a/b"], ["/allow/admin"]),
        ("/store/{**}/cart", ["/store//cart", "/store/a/b/cart"], ["/store/cart"]),
        ("/foo/{*}/bar/{**}", ["/foo/x/bar/"], ["/foo//bar/.."]),
        ("/{**}/x", ["//x", "/a/x"], ["/x"]),
    ],
)
def test_a_path_template(engine: Engine, wanted: str, matches: list[str], misses: list[str]) -> None:
    rows = engine.query(
        "SELECT arrayMap(path -> match(path, {regex:String}), {paths:Array(String)}) AS found",
        {"regex": f"^(?-s:{template(wanted)})$", "paths": [*matches, *misses]},
    )
    assert rows["found"][0].as_py() == [1] * len(matches) + [0] * len(misses)


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("{action: DENY}", "DENY without rules, expected at least one"),
        ("{action: deny, rules: [{}]}", "spec.action: 'deny', expected ALLOW, DENY, AUDIT or CUSTOM"),
        ("{rules: [{from: []}]}", "spec.rules[0].from: an empty list, expected at least one source"),
        ("{rules: [{from: [{source: {}}]}]}", "spec.rules[0].from[0].source: nothing in it"),
        ("{rules: [{to: [{}]}]}", "spec.rules[0].to[0]: no operation, expected one"),
        ("{rules: [null]}", "spec.rules[0]: an empty item, expected a rule"),
        ("{rules: [{to: [{operation: {methods: ['']}}]}]}", "spec.rules[0].to[0].operation.methods[0]: an empty text"),
        ("{rules: [{to: [{operation: {ports: [8080]}}]}]}", "ports[0]: 8080, expected text"),
        ("{rules: [{to: [{operation: {ports: ['80800']}}]}]}", "'80800', expected a port of 0 to 65535"),
        ("{rules: [{to: [{operation: {path: [/x]}}]}]}", "operation.path: unknown field, expected hosts, ports"),
        ("{rules: [{to: [{operation: {paths: ['/a{*}']}}]}]}", "expected {*}, {**} or plain text between two /"),
        ("{rules: [{to: [{operation: {paths: ['/{**}/{*}']}}]}]}", "an operator after {**}"),
        ("{rules: [{from: [{source: {ipBlocks: [10.0.0.0/33]}}]}]}", "expected an address or a network"),
        (
            "{rules: [{from: [{source: {ipBlocks: ['10.0.0.0/255.0.0.0']}}]}]}",
            "'10.0.0.0/255.0.0.0', expected an address or a network",
        ),
        (
            "{rules: [{from: [{source: {notIpBlocks: ['10.0.0.0/0.255.255.255']}}]}]}",
            "'10.0.0.0/0.255.255.255', expected an address or a network",
        ),
        (
            "{rules: [{from: [{source: {remoteIpBlocks: ['10.0.0.0/08']}}]}]}",
            "'10.0.0.0/08', expected an address or a network",
        ),
        (
            "{rules: [{from: [{source: {notRemoteIpBlocks: ['010.0.0.1']}}]}]}",
            "'010.0.0.1', expected an address or a network",
        ),
        (
            "{rules: [{from: [{source: {ipBlocks: ['fe80::1%eth0']}}]}]}",
            "'fe80::1%eth0', expected an address or a network",
        ),
        ("{rules: [{when: [{key: source.ip, notValues: ['fe80::%1/64']}]}]}", "'fe80::%1/64', expected an address or"),
        ("{rules: [{from: [{source: {serviceAccounts: [a], principals: [b]}}]}]}", "serviceAccounts beside principals"),
        ("{rules: [{from: [{source: {serviceAccounts: ['a*']}}]}]}", "without wildcards"),
        ("{rules: [{when: [{key: request.header, values: [a]}]}]}", "'request.header', expected request.headers[NAME]"),
        ("{rules: [{when: [{key: source.trustDomain, values: [a/b]}]}]}", "'a/b', expected a trust domain, with *"),
        ("{rules: [{when: [{key: source.ip}]}]}", "neither values nor notValues"),
        ("{selector: {matchLabels: {app: }}}", "spec.selector.matchLabels.app: null, expected text"),
        ("{selector: {matchLabels: {app: 1e3}}}", "spec.selector.matchLabels.app: 1e3, expected text in quotes"),
        ("{selector: {matchLabels: {on: a}}}", "matchLabels.on: name on without quotes, expected it in quotes"),
        ("{selector: {matchLabels: {app: 'o*'}}}", "a wildcard in app=o*, expected whole labels"),
        ("{selector: {matchLabels: {a: b}}, targetRefs: [{kind: Gateway, name: x}]}", "expected one of both"),
        ("{targetRefs: [{kind: Gateway, name: x, namespace: y}]}", "a namespace, expected none"),
        ("{action: CUSTOM, rules: [{}]}", "CUSTOM without provider.name"),
        ("{provider: {name: x}}", "a provider with action ALLOW"),
        (
            "{action: CUSTOM, provider: {name: x}, rules: [{from: [{source: {principals: [a]}}]}]}",
            "with action CUSTOM, expected",
        ),
    ],
)
def test_what_istio_refuses_is_refused(spec: str, why: str) -> None:
    with pytest.raises(BadPolicy) as refused:
        policies(spec)
    message = str(refused.value)
    assert message.startswith("p.yaml: line ") and why in message and "\n" not in message
