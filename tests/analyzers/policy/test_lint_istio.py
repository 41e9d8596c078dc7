"""Checks of Istio's AuthorizationPolicies: each with what triggers it and what comes close."""

from __future__ import annotations

from typing import Any

import pytest

from analyzers.policy.lint import istio, istio_peers, istio_ztunnel
from analyzers.policy.lint import istio_values as values
from tests.analyzers.policy.lint_cases import Case, Object, holds, of, remarks

WEB: Object = {"from": [{"source": {"principals": ["cluster.local/ns/shop/sa/web"]}}]}


def policy(
    *rules: Object | None, namespace: str = "shop", name: str = "p", annotations: Object | None = None, **spec: Any
) -> Object:
    """An AuthorizationPolicy."""
    metadata = {"name": name, "namespace": namespace} | ({"annotations": annotations} if annotations else {})
    given = {"rules": list(rules)} if rules else {}
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": metadata,
        "spec": {**spec, **given},
    }


def source(**fields: Any) -> Object:
    """A rule with one source."""
    return {"from": [{"source": fields}]}


def operation(**fields: Any) -> Object:
    """A rule with one operation."""
    return {"to": [{"operation": fields}]}


def when(key: str, **fields: Any) -> Object:
    """A rule with one condition."""
    return {"when": [{"key": key, **fields}]}


def deny(*rules: Object, **spec: Any) -> Object:
    """A policy that denies."""
    return policy(*rules, action="DENY", **spec)


def peers(namespace: str = "shop", name: str = "p", created: str = "", **spec: Any) -> Object:
    """A PeerAuthentication."""
    metadata = {"name": name, "namespace": namespace} | ({"creationTimestamp": created} if created else {})
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": metadata,
        "spec": spec,
    }


def tokens(namespace: str = "shop") -> Object:
    """A RequestAuthentication."""
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "RequestAuthentication",
        "metadata": {"name": "tokens", "namespace": namespace},
        "spec": {"jwtRules": [{"issuer": "https://id.example"}]},
    }


def mesh(text: str) -> Object:
    """The mesh's settings."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio"}, "data": {"mesh": text}}


APP: Object = {"matchLabels": {"app": "orders"}}
STRICT: Object = {"mtls": {"mode": "STRICT"}}
PROVIDERS = "extensionProviders: [{name: opa}]"
HTTP_RULE = operation(methods=["GET"])
FROM = "spec.rules[0].from[0].source"
TO = "spec.rules[0].to[0].operation"
SERVICE = [{"group": "", "kind": "Service", "name": "orders"}]
GATEWAY: Object = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge"}
CUSTOM: dict[str, Any] = {"action": "CUSTOM", "provider": {"name": "opa"}}

WHOLE = (
    Case(istio.ALLOW_NOBODY, "spec", [policy(selector=APP)], [policy(), policy({}, selector=APP)]),
    Case(istio.ALLOW_EVERYBODY, "spec.rules[0]", [policy({})], [policy(WEB), deny({}), policy()]),
    Case(istio.DENY_EVERYBODY, "spec.rules[0]", [deny({})], [deny(WEB), policy({}), policy({}, action="AUDIT")]),
    Case(
        istio.ANY_PEER,
        f"{FROM}.principals",
        [policy(source(principals=["*"]))],
        [
            policy(source(principals=["*"]) | operation(ports=["8080"])),
            policy(source(principals=["cluster.local/*"])),
            deny(source(notPrincipals=["*"])),
            policy(source(notPrincipals=["*"])),
        ],
    ),
    Case(
        istio.DENY_ALL_TCP,
        f"{TO}.paths",
        [deny(operation(paths=["/admin"]))],
        [
            deny(operation(paths=["/admin"], ports=["8080"])),
            deny(WEB | operation(paths=["/admin"])),
            policy(operation(paths=["/admin"])),
            policy(operation(paths=["/admin"]), action="AUDIT"),
        ],
    ),
    Case(
        istio.DENY_MORE_TCP,
        f"{TO}.paths",
        [deny(WEB | operation(paths=["/admin"]))],
        [deny(WEB | operation(paths=["/admin"], ports=["8080"])), deny(WEB), deny(operation(paths=["/admin"]))],
    ),
    Case(
        istio.ALLOW_NO_TCP,
        "spec.rules",
        [policy(HTTP_RULE, when("request.headers[a]", values=["b"]))],
        [policy(HTTP_RULE, WEB), deny(HTTP_RULE), policy()],
    ),
    Case(
        istio.PLAINTEXT_ADMITTED,
        f"{FROM}.notNamespaces",
        [policy(source(notNamespaces=["foo"]))],
        [
            policy(source(notNamespaces=["foo"], principals=["*"])),
            policy(source(notNamespaces=["foo"]) | when("source.principal", values=["*"])),
            deny(source(notNamespaces=["foo"])),
            policy(source(notIpBlocks=["10.0.0.0/8"])),
        ],
    ),
    Case(
        istio.PLAINTEXT_ADMITTED,
        f"{FROM}.notPrincipals",
        [
            policy(source(notPrincipals=["cluster.local/ns/a/sa/b"])),
            peers(**STRICT),
            peers(name="q", selector=APP, mtls={"mode": "PERMISSIVE"}),
        ],
        [policy(source(notPrincipals=["cluster.local/ns/a/sa/b"])), peers("istio-system", **STRICT)],
    ),
    Case(
        istio.NO_TOKEN_ADMITTED,
        f"{FROM}.notRequestPrincipals",
        [policy(source(notRequestPrincipals=["https://id.example/eve"]))],
        [
            policy(source(notRequestPrincipals=["https://id.example/eve"], requestPrincipals=["*"])),
            deny(source(notRequestPrincipals=["*"])),
        ],
    ),
    Case(
        istio.NO_HEADER_ADMITTED,
        "spec.rules[0].when[0].notValues",
        [policy(when("request.headers[x-team]", notValues=["red"]))],
        [
            policy(when("request.headers[x-team]", notValues=["red"], values=["*"])),
            deny(when("request.headers[x-team]", notValues=["red"])),
        ],
    ),
    Case(
        istio.DECIDES_NOTHING,
        "spec.action",
        [policy(WEB, action="AUDIT")],
        [deny(WEB), policy(WEB, annotations={"istio.io/dry-run": "false"})],
    ),
    Case(
        istio.DECIDES_NOTHING,
        "metadata.annotations.istio.io/dry-run",
        [policy(WEB, annotations={"istio.io/dry-run": "true"})],
        [policy(WEB)],
    ),
    Case(
        istio.DRY_RUN_VALUE,
        "metadata.annotations",
        [policy(WEB, annotations={"istio.io/dry-run": "yes"})],
        [policy(WEB, annotations={"istio.io/dry-run": "True"}), policy(WEB, annotations={"x": "yes"}, name="q")],
    ),
    Case(
        istio.DRY_RUN_CUSTOM,
        "metadata.annotations.istio.io/dry-run",
        [policy(HTTP_RULE, annotations={"istio.io/dry-run": "true"}, **CUSTOM)],
        [policy(HTTP_RULE, **CUSTOM), policy(HTTP_RULE, name="q", annotations={"istio.io/dry-run": "true"})],
    ),
)
WHERE = (
    Case(
        istio.TARGET_IGNORED,
        "spec.targetRefs[0]",
        [policy(WEB, targetRefs=[{"group": "apps", "kind": "Deployment", "name": "orders"}])],
        [policy(WEB, targetRefs=SERVICE), policy(WEB, targetRefs=[GATEWAY], name="q")],
    ),
    Case(
        istio.TARGET_IGNORED,
        "spec.targetRefs[1]",
        [
            policy(
                WEB,
                targetRefs=[
                    GATEWAY,
                    {"group": "gateway.networking.k8s.io", "kind": "GatewayClass", "name": "istio-waypoint"},
                ],
            )
        ],
        [
            policy(
                WEB,
                namespace="istio-system",
                targetRefs=[{"group": "gateway.networking.k8s.io", "kind": "GatewayClass", "name": "istio-waypoint"}],
            )
        ],
    ),
    Case(
        istio.WAYPOINT_ONLY,
        "spec.targetRefs",
        [policy(WEB, targetRefs=SERVICE)],
        [policy(WEB, targetRefs=[GATEWAY]), policy(WEB, selector=APP, name="q")],
    ),
    Case(
        istio.GATEWAY_SELECTOR,
        "spec.selector",
        [policy(WEB, selector={"matchLabels": {"gateway.networking.k8s.io/gateway-name": "edge"}})],
        [
            policy(WEB, selector={"matchLabels": {"istio": "ingressgateway"}}),
            policy(WEB, targetRefs=[GATEWAY], name="q"),
        ],
    ),
    Case(
        istio.ALL_NAMESPACES,
        "spec.selector",
        [policy(WEB, namespace="istio-system", selector=APP)],
        [
            policy(WEB, selector=APP),
            policy(WEB, namespace="istio-system", selector={"matchLabels": {"istio": "ingressgateway"}}),
            policy(WEB, namespace="istio-system", name="q"),
        ],
    ),
    Case(
        istio.ALL_NAMESPACES,
        "spec.selector",
        [mesh("rootNamespace: shop"), policy(WEB, selector=APP)],
        [mesh("rootNamespace: mesh"), policy(WEB, namespace="istio-system", selector=APP)],
    ),
    Case(
        istio.ROOT_ACCOUNT,
        f"{FROM}.serviceAccounts[1]",
        [policy(source(serviceAccounts=["shop/web", "web"]), namespace="istio-system")],
        [
            policy(source(serviceAccounts=["web"])),
            policy(source(serviceAccounts=["shop/web"]), namespace="istio-system"),
        ],
    ),
    Case(
        istio.UNKNOWN_PROVIDER,
        "spec.provider.name",
        [mesh("extensionProviders: [{name: other}]"), policy(HTTP_RULE, **CUSTOM)],
        [mesh(PROVIDERS), policy(HTTP_RULE, **CUSTOM)],
    ),
    Case(
        istio.TWO_PROVIDERS,
        "spec.provider.name",
        [
            policy(HTTP_RULE, **CUSTOM),
            policy(HTTP_RULE, name="q", action="CUSTOM", provider={"name": "x"}, selector=APP),
        ],
        [
            policy(HTTP_RULE, **CUSTOM, selector={"matchLabels": {"app": "cart"}}),
            policy(HTTP_RULE, name="q", action="CUSTOM", provider={"name": "x"}, selector=APP),
            policy(HTTP_RULE, namespace="bank", action="CUSTOM", provider={"name": "x"}),
        ],
    ),
)
VALUES = (
    Case(
        values.SPIFFE_SCHEME,
        f"{FROM}.principals[1]",
        [policy(source(principals=["cluster.local/ns/a/sa/b", "spiffe://cluster.local/ns/shop/sa/web"]))],
        [policy(WEB), policy(source(principals=["spiffe/ns/a/sa/b"]), name="q")],
    ),
    Case(
        values.SPIFFE_SCHEME,
        "spec.rules[0].when[0].notValues[0]",
        [deny(when("source.principal", notValues=["spiffe://x/ns/a/sa/b"]))],
        [deny(when("source.principal", notValues=["x/ns/a/sa/b"]))],
    ),
    Case(
        values.PRINCIPAL_FORM,
        f"{FROM}.principals[0]",
        [policy(source(principals=["shop/web"]))],
        [policy(source(principals=["cluster.local/ns/shop/sa/web", "*/sa/web", "*", "cluster.local/*"]))],
    ),
    Case(
        values.LITERAL_STAR,
        f"{TO}.paths[0]",
        [deny(operation(paths=["/api/*/admin"]))],
        [deny(operation(paths=["/api/*", "*.css", "*", "/api/{*}/admin", "/a/{**}"]))],
    ),
    Case(
        values.LITERAL_STAR,
        f"{FROM}.principals[0]",
        [policy(source(principals=["*/ns/shop/*"]))],
        [policy(source(principals=["*/sa/web", "cluster.local/ns/shop/*"], notNamespaces=["s*p"]))],
    ),
    Case(
        values.LITERAL_STAR,
        f"{FROM}.requestPrincipals[0]",
        [policy(source(requestPrincipals=["*/*"]))],
        [policy(source(requestPrincipals=["*/ann", "https://id.example/*", "*"]))],
    ),
    Case(
        values.STAR_IN_TEMPLATE,
        f"{TO}.paths[0]",
        [policy(operation(paths=["/a/{*}/b*"]))],
        [policy(operation(paths=["/a/{*}/b", "/a/{**}", "/b*"]))],
    ),
    Case(
        values.HOST_WITHOUT_PORT,
        f"{TO}.hosts[0]",
        [deny(operation(hosts=["shop.example"]))],
        [deny(operation(hosts=["Shop.example", "shop.example:*", "a.example:80", "b.example*", "*", "c.d", "c.d:80"]))],
    ),
    Case(
        values.HOST_WITHOUT_PORT,
        f"{TO}.notHosts[0]",
        [policy(operation(notHosts=["*.example"]))],
        [policy(operation(notHosts=["*.example", "*.example:8080"]))],
    ),
    Case(
        values.HOST_FORM,
        f"{TO}.hosts[0]",
        [deny(operation(hosts=["https://shop.example/x"]))],
        [deny(operation(hosts=["shop.example:443"]))],
    ),
    Case(
        values.METHOD_CASE,
        f"{TO}.methods[1]",
        [policy(operation(methods=["GET", "post"]))],
        [policy(operation(methods=["POST", "P*", "*"]))],
    ),
    Case(
        values.PATH_WITH_QUERY,
        f"{TO}.paths[0]",
        [deny(operation(paths=["/admin?debug=1"]))],
        [deny(operation(paths=["/admin", "/a%3Fb"]))],
    ),
    Case(
        values.PATH_WITHOUT_SLASH,
        f"{TO}.paths[0]",
        [deny(operation(paths=["admin*"]))],
        [deny(operation(paths=["*admin", "/admin", "*"]))],
    ),
    Case(
        values.PATH_NOT_NORMAL,
        f"{TO}.paths[0]",
        [deny(operation(paths=["/a/../b"]))],
        [deny(operation(paths=["/a/..b", "/.well-known/x", "/a%2Fb", "/a//b", "/100%"]))],
    ),
    Case(
        values.PATH_NOT_NORMAL,
        f"{TO}.paths[0]",
        [deny(operation(paths=["/%61dmin"]))],
        [deny(operation(paths=["/%C3%A9"]))],
    ),
    Case(
        values.PATH_EDGE,
        f"{TO}.paths[0]",
        [deny(operation(paths=["/admin/*"]))],
        [deny(operation(paths=["/admin/*", "/admin", "/users*", "/users/*"])), policy(operation(paths=["/x/*"]))],
    ),
    Case(
        values.PATH_EDGE,
        f"{TO}.paths[0]",
        [policy(operation(paths=["/store/{**}/cart"]))],
        [policy(operation(paths=["/store/{*}/cart"]))],
    ),
    Case(
        values.REQUEST_PRINCIPAL_FORM,
        f"{FROM}.requestPrincipals[0]",
        [policy(source(requestPrincipals=["ann"]))],
        [policy(source(requestPrincipals=["https://id.example/ann", "*nn", "*"]))],
    ),
    Case(
        values.CLAIM_TYPE,
        "spec.rules[0].when[0].values[0]",
        [policy(when("request.auth.claims[admin]", values=["true"]))],
        [policy(when("request.auth.claims[group]", values=["admin", "v1"]))],
    ),
    Case(
        values.EXCLUDES_ALL,
        f"{TO}.notPaths",
        [deny(operation(notPaths=["*"]))],
        [deny(operation(notPaths=["/*"])), deny(source(notPrincipals=["*"]))],
    ),
    Case(
        values.ANY_VALUE,
        f"{TO}.methods",
        [policy(operation(methods=["*"]))],
        [policy(operation(methods=["GET"], paths=["/*"]))],
    ),
    Case(
        values.HEADER_PRESENCE,
        "spec.rules[0].when[0].values",
        [policy(when("request.headers[x-internal]", values=["*"]))],
        [policy(when("request.headers[x-internal]", values=["on"])), deny(when("request.headers[a]", values=["*"]))],
    ),
    Case(
        values.ANY_ADDRESS,
        f"{FROM}.ipBlocks",
        [policy(source(ipBlocks=["0.0.0.0/0"]))],
        [policy(source(ipBlocks=["10.0.0.0/8"])), deny(source(ipBlocks=["0.0.0.0/0"]))],
    ),
    Case(
        values.ANY_ADDRESS,
        f"{FROM}.ipBlocks",
        [policy(source(ipBlocks=["0.0.0.0/1", "10.0.0.0/8", "128.0.0.0/1"]))],
        [policy(source(ipBlocks=["0.0.0.0/1", "128.0.0.0/2", "::/1"]))],
    ),
    Case(
        values.FORWARDED_ADDRESS,
        f"{FROM}.remoteIpBlocks",
        [policy(source(remoteIpBlocks=["203.0.113.0/24"]))],
        [policy(source(ipBlocks=["203.0.113.0/24"])), deny(source(remoteIpBlocks=["203.0.113.0/24"]))],
    ),
    Case(
        values.GATEWAY_ADDRESS,
        f"{FROM}.ipBlocks",
        [policy(source(ipBlocks=["203.0.113.0/24"]), selector={"matchLabels": {"istio": "ingressgateway"}})],
        [policy(source(ipBlocks=["203.0.113.0/24"]), selector=APP)],
    ),
    Case(
        values.PORT_ZERO,
        f"{TO}.ports[0]",
        [deny(operation(ports=["0"]))],
        [deny(operation(ports=["8080"]))],
    ),
    Case(
        values.HOST_BITS,
        f"{FROM}.ipBlocks[0]",
        [policy(source(ipBlocks=["10.1.2.3/8"]))],
        [policy(source(ipBlocks=["10.0.0.0/8", "10.1.2.3", "10.1.2.3/32", "fd00::/8"]))],
    ),
    Case(
        values.MAPPED,
        f"{FROM}.ipBlocks[0]",
        [policy(source(ipBlocks=["::ffff:10.0.0.0/104"]))],
        [policy(source(ipBlocks=["fd00::/8", "::/0"]))],
    ),
)
PEERS = (
    Case(
        istio_peers.WEAK_MTLS,
        "spec.mtls.mode",
        [peers(mtls={"mode": "PERMISSIVE"})],
        [peers(**STRICT), peers("bank"), peers("x", mtls={"mode": "UNSET"})],
    ),
    Case(
        istio_peers.WEAK_MTLS,
        "spec.portLevelMtls.8080",
        [peers(selector=APP, portLevelMtls={8080: {"mode": "DISABLE"}}, **STRICT)],
        [peers(selector=APP, portLevelMtls={8080: {"mode": "STRICT"}})],
    ),
    Case(
        istio_peers.ROOT_SELECTOR,
        "spec.selector",
        [peers("istio-system", selector=APP, **STRICT)],
        [peers("istio-system", **STRICT), peers(selector=APP, **STRICT)],
    ),
    Case(
        istio_peers.SECOND_PEERS,
        "",
        [peers(**STRICT, created="2026-01-01T00:00:00Z"), peers(name="q", **STRICT)],
        [peers(**STRICT), peers(name="q", selector=APP, **STRICT), peers("bank", **STRICT)],
    ),
    Case(
        istio_peers.TOKEN_UNCHECKED,
        f"{FROM}.requestPrincipals",
        [policy(source(requestPrincipals=["*"])), tokens("bank")],
        [policy(source(requestPrincipals=["*"])), tokens()],
    ),
    Case(
        istio_peers.TOKEN_NOT_NEEDED,
        "",
        [tokens(), policy(WEB)],
        [tokens(), policy(source(requestPrincipals=["*"])), tokens("istio-system")],
    ),
    Case(
        istio_peers.PATHS_AS_SENT,
        "data.mesh",
        [mesh("pathNormalization: {normalization: NONE}")],
        [mesh("pathNormalization: {normalization: BASE}"), mesh("{}")],
    ),
)
CASES = (*WHOLE, *WHERE, *VALUES, *PEERS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_each_check_finds_what_it_is_for_and_nothing_close_to_it(case: Case) -> None:
    holds(case)


AMBIENT = (
    (
        istio_ztunnel.ZTUNNEL_DROPS,
        "spec.rules[0]",
        policy(source(trustDomains=["cluster.local"])),
        policy(source(serviceAccounts=["web"])),
    ),
    (
        istio_ztunnel.ZTUNNEL_WIDENS,
        f"{FROM}.remoteIpBlocks",
        deny(source(namespaces=["a"], remoteIpBlocks=["203.0.113.0/24"])),
        deny(source(namespaces=["a"], ipBlocks=["203.0.113.0/24"])),
    ),
    (istio_ztunnel.ZTUNNEL_REFUSES, "spec.action", policy(HTTP_RULE, action="AUDIT"), deny(WEB)),
    (istio_ztunnel.ZTUNNEL_DROPS, "spec.rules[1]", policy(WEB, HTTP_RULE), policy(WEB)),
    (istio_ztunnel.ZTUNNEL_DROPS, "spec.rules[0]", deny(WEB | HTTP_RULE), deny(WEB | operation(ports=["8080"]))),
    (
        istio_ztunnel.ZTUNNEL_STAR,
        f"{FROM}.namespaces[0]",
        policy(source(namespaces=["s*p"])),
        policy(source(namespaces=["s*"])),
    ),
)


@pytest.mark.parametrize(("check", "field", "finds", "leaves"), AMBIENT, ids=lambda one: getattr(one, "id", None))
def test_what_ztunnels_drop_is_told_where_they_judge(check: Any, field: str, finds: Object, leaves: Object) -> None:
    assert [one.field for one in remarks(finds, ambient=True) if one.check == check.id] == [field]
    assert not [one for one in remarks(finds, ambient=False) if one.check == check.id]
    assert not [one for one in remarks(leaves, ambient=True) if one.check == check.id]
    assert not of(check, [finds])
    # A policy for a waypoint says that ztunnels are there too; it is itself not theirs.
    waypoint = policy(HTTP_RULE, name="w", targetRefs=SERVICE)
    assert [(one.name, one.field) for one in of(check, [finds, waypoint])] == [("p", field)]


def test_a_host_that_leaves_too_much_out_is_only_a_note() -> None:
    (found,) = of(values.HOST_WITHOUT_PORT, [policy(operation(hosts=["shop.example"]))])
    assert found.severity == "note"
    (found,) = of(values.HOST_WITHOUT_PORT, [deny(operation(hosts=["shop.example"]))])
    assert found.severity == "warning"
