"""Sets of Istio policies for workload `shop/orders`, in YAML as people write them, and calls to all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.support.rbac_envoy import Line, Request

MESH_SNI = "outbound_.8080_._.orders.shop.svc.cluster.local"
CERTIFICATES: Mapping[str, Sequence[str]] = {
    "web": ("spiffe://cluster.local/ns/shop/sa/web",),
    "report": ("spiffe://cluster.local/ns/batch/sa/report",),
    "old": ("spiffe://old.example/ns/shop/sa/web",),
    "prod": ("spiffe://prod.example/ns/batch/sa/report",),
    "deep": ("spiffe://cluster.local/ns/shop-a/r/x/sa/web/1",),
    "bare": ("spiffe://cluster.local",),
    "odd": ('spiffe://cluster.local/ns/shop/sa/it\'s "odd"\\',),
    "dns": ("client.example",),
}
"""Who calls: names of its certificate. `dns` has no URI; whoever calls without a certificate has no name at all."""

POLICIES: Mapping[str, Sequence[str]] = {
    # Who.
    "principal": ["{rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/web]}}]}]}"],
    "principal-prefix": ["{rules: [{from: [{source: {principals: ['cluster.local/ns/shop*']}}]}]}"],
    "principal-suffix": ["{action: DENY, rules: [{from: [{source: {principals: ['*/sa/web']}}]}]}"],
    "principal-any": ["{rules: [{from: [{source: {principals: ['*']}}]}]}"],
    "principal-none": ["{action: DENY, rules: [{from: [{source: {notPrincipals: ['*']}}]}]}"],
    "principal-with-scheme": [
        "{rules: [{from: [{source: {principals: ['spiffe://cluster.local/ns/shop/sa/web']}}]}]}",
        "{rules: [{from: [{source: {notPrincipals: ['spiffe://cluster.local/ns/shop/*', '*report']}}]}]}",
    ],
    "principal-two-stars": ["{action: DENY, rules: [{from: [{source: {principals: ['*/sa/*', '*web*']}}]}]}"],
    "principal-not": ["{rules: [{from: [{source: {notPrincipals: [cluster.local/ns/shop/sa/web]}}]}]}"],
    "principal-odd": ["{rules: [{from: [{source: {principals: ['cluster.local/ns/shop/sa/it''s \"odd\"\\']}}]}]}"],
    "namespace": ["{rules: [{from: [{source: {namespaces: [shop, 'b*h']}}]}]}"],
    "namespace-not": ["{action: DENY, rules: [{from: [{source: {notNamespaces: ['shop*', batch]}}]}]}"],
    "namespace-dot": [
        "{rules: [{from: [{source: {namespaces: [sh.p]}}]}, {when: [{key: source.ip, values: [127.2.0.7]}]}]}"
    ],
    "namespace-not-absent": ["{rules: [{from: [{source: {notNamespaces: [batch]}}]}]}"],
    "account": ["{rules: [{from: [{source: {serviceAccounts: [web, batch/report]}}]}]}"],
    "account-not": ["{action: DENY, rules: [{from: [{source: {notServiceAccounts: [shop-a/web, shop/web]}}]}]}"],
    "trust-domain": ["{rules: [{from: [{source: {trustDomains: ['*.example', 'cluster*']}}]}]}"],
    "trust-domain-not": ["{action: DENY, rules: [{from: [{source: {notTrustDomains: [cluster.local]}}]}]}"],
    "who-by-keys": [
        "{action: DENY, rules: [{when: [{key: source.namespace, values: [batch]}]}]}",
        "{rules: [{when: [{key: source.principal, values: ['*'], notValues: ['old.example/*']}]},"
        " {when: [{key: source.serviceAccount, notValues: [web]},"
        " {key: source.trustDomain, values: [cluster.local]}]}]}",
    ],
    # From where, to where.
    "ip": ["{rules: [{from: [{source: {ipBlocks: [127.1.0.0/16]}}]}]}"],
    "ip-not": ["{action: DENY, rules: [{from: [{source: {notIpBlocks: [127.1.2.3, '::/0']}}]}]}"],
    "remote-ip": ["{rules: [{from: [{source: {remoteIpBlocks: [203.0.113.0/24, '2001:db8::/32']}}]}]}"],
    "remote-ip-not": ["{action: DENY, rules: [{from: [{source: {notRemoteIpBlocks: [127.0.0.0/8]}}]}]}"],
    "both-ips": [
        "{rules: [{from: [{source: {ipBlocks: [127.0.0.0/8], notRemoteIpBlocks: [203.0.113.9]}},"
        " {source: {principals: ['*'], remoteIpBlocks: ['0.0.0.0/0']}}]}]}"
    ],
    "port": ["{rules: [{to: [{operation: {ports: ['9090', '65535']}}]}]}"],
    "port-not": ["{action: DENY, rules: [{when: [{key: destination.port, notValues: ['9090']}]}]}"],
    "address": ["{rules: [{when: [{key: destination.ip, values: [10.9.0.0/16, 'fd00::/16']}]}]}"],
    "address-not": ["{rules: [{when: [{key: destination.ip, notValues: [10.9.9.9]}]}]}"],
    "sni": ["{rules: [{when: [{key: connection.sni, values: ['outbound_*']}]}]}"],
    "sni-not": ["{action: DENY, rules: [{when: [{key: connection.sni, notValues: ['*.local', 'orders.example']}]}]}"],
    "sni-any": [
        "{rules: [{when: [{key: connection.sni, values: ['*']}]}]}",
        "{action: DENY, rules: [{when: [{key: connection.sni, values: [Orders.Example]}]}]}",
    ],
    # What.
    "host": ["{rules: [{to: [{operation: {hosts: [orders.shop]}}]}]}"],
    "host-forms": ["{rules: [{to: [{operation: {hosts: ['ORDERS.shop:*', '*.example']}}]}]}"],
    "host-not": ["{action: DENY, rules: [{to: [{operation: {notHosts: ['orders*']}}]}]}"],
    "host-any": ["{rules: [{to: [{operation: {hosts: ['*']}}]}]}"],
    "method": ["{rules: [{to: [{operation: {methods: [GET]}}]}]}"],
    "method-forms": ["{action: DENY, rules: [{to: [{operation: {methods: ['P*', get]}}]}]}"],
    "method-not": ["{action: DENY, rules: [{to: [{operation: {notMethods: [GET, '*D']}}]}]}"],
    "path": ["{rules: [{to: [{operation: {paths: [/orders/17, /style.css]}}]}]}"],
    "path-prefix": ["{action: DENY, rules: [{to: [{operation: {paths: ['/admin*']}}]}]}"],
    "path-suffix": ["{rules: [{to: [{operation: {paths: ['*.css', '*/17']}}]}]}"],
    "path-not": ["{action: DENY, rules: [{to: [{operation: {notPaths: ['/orders*', '/admin']}}]}]}"],
    "template": ["{rules: [{to: [{operation: {paths: ['/orders/{*}', '/{**}/items']}}]}]}"],
    "template-deny": ["{action: DENY, rules: [{to: [{operation: {paths: ['/orders/{**}']}}]}]}"],
    "template-not": ["{action: DENY, rules: [{to: [{operation: {notPaths: ['/orders/{*}/items/{*}', '/admin']}}]}]}"],
    "header": ["{rules: [{when: [{key: 'request.headers[X-Team]', values: [red, 'b*']}]}]}"],
    "header-not": ["{action: DENY, rules: [{when: [{key: 'request.headers[x-team]', notValues: [red, '*ue']}]}]}"],
    "header-any": ["{rules: [{when: [{key: 'request.headers[x-team]', values: ['*']}]}]}"],
    # Together.
    "no-rules": ["{}"],
    "deny-all": ["{action: DENY, rules: [{}]}", "{rules: [{}]}"],
    "none": ["{action: AUDIT, rules: [{}]}"],
    "first-by-name": [
        "{action: DENY, rules: [{to: [{operation: {ports: ['1']}}]}, {to: [{operation: {methods: [GET]}}]},"
        " {to: [{operation: {paths: ['/o*']}}]}, {to: [{operation: {ports: ['2']}}]},"
        " {to: [{operation: {ports: ['3']}}]}, {to: [{operation: {ports: ['4']}}]},"
        " {to: [{operation: {ports: ['5']}}]}, {to: [{operation: {ports: ['6']}}]},"
        " {to: [{operation: {ports: ['7']}}]}, {to: [{operation: {ports: ['8']}}]},"
        " {from: [{source: {namespaces: [shop]}}]}]}",
        "{action: DENY, rules: [{from: [{source: {principals: ['*']}}]}]}",
    ],
    "all-of": [
        "{rules: [{from: [{source: {namespaces: [shop], notPrincipals: ['*/sa/it*']}},"
        " {source: {ipBlocks: [127.2.0.0/16]}}],"
        " to: [{operation: {methods: [GET], paths: ['/orders/*']}},"
        " {operation: {notPorts: ['8080'], hosts: ['orders*']}}],"
        " when: [{key: 'request.headers[x-team]', notValues: [blue]}]}]}"
    ],
    "deny-then-allow": [
        "{action: DENY, rules: [{from: [{source: {notPrincipals: ['*']}}], to: [{operation: {paths: ['/admin*']}}]}]}",
        "{rules: [{to: [{operation: {methods: [GET, POST]}}]}, {from: [{source: {namespaces: ['*a*']}}]}]}",
    ],
    # Connections have no methods.
    "tcp-allow": [
        "{rules: [{to: [{operation: {methods: [GET]}}], from: [{source: {principals: ['*']}}]},"
        " {from: [{source: {namespaces: [batch]}}]}]}"
    ],
    "tcp-deny": [
        "{action: DENY, rules: [{from: [{source: {namespaces: [shop]}}], to: [{operation: {methods: [POST]}}]}]}"
    ],
    "tcp-deny-clauses": [
        "{action: DENY, rules: [{to: [{operation: {paths: [/admin], ports: ['9090']}},"
        " {operation: {ports: ['65535']}}],"
        " when: [{key: 'request.headers[x-team]', values: [red]}]}]}"
    ],
}
"""By name: specs of policies `p0`, `p1`, .. of namespace `shop`."""

_LINES: Mapping[str, Line] = {
    "web": Line("web", "127.1.2.3", MESH_SNI),
    "report": Line("report", "127.2.0.7", MESH_SNI),
    "old": Line("old", "127.1.2.3", "orders.example"),
    "prod": Line("prod", "127.2.0.7", "Orders.Example"),
    "deep": Line("deep", "127.1.9.9"),
    "bare": Line("bare", "127.1.9.9", MESH_SNI),
    "odd": Line("odd", "127.1.2.3", MESH_SNI, ("203.0.113.9", "10.9.9.9", 8080)),
    "dns": Line("dns", "127.1.2.3", "orders.example"),
    "dns-in-mesh": Line("dns", "127.1.2.3", MESH_SNI),
    "plain": Line("", "127.1.2.3"),
    "plain-far": Line("", "127.2.0.7", "", ("203.0.113.9", "10.9.9.9", 9090)),
    "web-six": Line("web", "127.1.2.3", MESH_SNI, ("2001:db8::9", "fd00::9", 65535)),
    "report-far": Line("report", "127.2.0.7", "", ("198.51.100.1", "10.8.0.1", 9090)),
}
LINES: Sequence[Line] = tuple(_LINES.values())


def _forwarded(addresses: str) -> tuple[tuple[str, str], ...]:
    return (("x-forwarded-for", addresses),)


_TEAM = "x-team"
REQUESTS: Sequence[tuple[Line, Sequence[Request]]] = tuple(
    (_LINES[name], requests)
    for name, requests in {
        "web": (
            Request(),
            Request(path="/orders/17"),
            Request(path="/orders/17?full=/admin"),
            Request("POST", "/orders/17/items/3"),
            Request("PUT", "/x/../admin"),
            Request(path="/orders/17#top"),
            Request(headers=((_TEAM, "red"),)),
            Request(host="ORDERS.shop"),
        ),
        "report": (
            Request("HEAD", "/admin"),
            Request(path="//admin"),
            Request(path="/./admin?x#y"),
            Request(path="/orders/17", headers=((_TEAM, "blue"), *_forwarded("203.0.113.9"))),
            Request(path="/orders/%41/items", host="orders.shop.example"),
            Request("PATCH", "/style.css?v=/orders/17"),
        ),
        "old": (
            Request(path="/orders/a%2Fb"),
            Request(path="/administer", headers=_forwarded("1.1.1.1, 2001:db8::9")),
            Request("DELETE", "/orders/", host="other.test"),
        ),
        "prod": (
            Request(path="/orders"),
            Request("POST", "/orders/17/items/", host="orders.example"),
            Request(path="/orders//17", headers=((_TEAM, "green"),)),
        ),
        "deep": (
            Request(path="/orders/a=b;c/items/3"),
            Request("get", "/orders/17", http2=True),
            Request(path="/%61dmin", headers=_forwarded("junk")),
        ),
        "bare": (Request(path="/orders/17"), Request("POST", "/admin/x")),
        "odd": (Request(path="/orders/17", headers=_forwarded("127.9.9.9")), Request(path="/ADMIN")),
        "dns": (Request(path="/orders/17"), Request("POST", "/admin", headers=((_TEAM, "red"),))),
        "dns-in-mesh": (Request(path="/orders/17"), Request("POST", "/admin")),
        "plain": (
            Request(path="/orders/17"),
            Request("POST", "/admin", headers=((_TEAM, "blue"),)),
            Request(path="/a/b/../items", http2=True),
            Request(path="/orders\\17"),
            Request("-", host="-", http2=True),
        ),
        "plain-far": (
            Request(path="/style.css"),
            Request(path="/orders/17/items/3", headers=_forwarded("203.0.113.77:443")),
            Request("PUT", "/orders/~x%20y"),
        ),
        "web-six": (Request(path="/orders/17"), Request("POST", "/x/items"), Request(path="/admin")),
        "report-far": (Request(path="/orders/{*}"), Request(path="/orders/*", headers=_forwarded("10.4.4.4"))),
    }.items()
)
