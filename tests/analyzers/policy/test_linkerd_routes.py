"""Linkerd's inbound routes one by one, with outcomes written by hand from the description: for engine and reference."""

from __future__ import annotations

from typing import Any

import pytest

from analyzers.policy.formula import FALSE
from analyzers.policy.linkerd.compile import program
from analyzers.policy.linkerd.model import Settings
from analyzers.policy.workloads import Cluster
from storage.engine import Engine
from tests.analyzers.policy.linkerd_documents import (
    CALL,
    DENIED,
    DENYING,
    ORDERS,
    PLAINTEXT,
    SERVER,
    STRANGER,
    TCP,
    document,
    judged,
    policy,
    read,
    route,
    server,
)

NO_ROUTE = "deny shop/api: no route"
READ = route("read", "[{matches: [{path: {value: /orders}, method: GET}]}]")
ANY = route("any", "[{}]")
LET_READ = policy("let-read", "HTTPRoute read")
BY_READ = "allow shop/let-read: AuthorizationPolicy at HTTPRoute read"
POST = {**CALL, "method": "POST"}


@pytest.mark.parametrize(
    ("texts", "call", "expected"),
    [
        # Once a route is attached, what matches none is turned away, whoever the Server lets in.
        ([READ, LET_READ], CALL, BY_READ),
        ([READ, LET_READ], POST, NO_ROUTE),
        ([READ, policy("all", "Server api")], POST, NO_ROUTE),
        ([READ, policy("all", "Server api")], {**POST, "source_ip": "127.0.0.1"}, NO_ROUTE),
        # The Server's and the namespace's policies count on its routes.
        ([READ, policy("all", "Server api")], CALL, "allow shop/all: AuthorizationPolicy at Server api"),
        ([READ, policy("all", "Namespace shop")], CALL, "allow shop/all: AuthorizationPolicy at Server api"),
        ([READ], CALL, "deny shop/api: HTTPRoute read"),
        ([READ], {**PLAINTEXT, "source_ip": "::1"}, "allow"),
        # A route's policy is about no other route.
        ([READ, ANY, LET_READ], POST, "deny shop/api: HTTPRoute any"),
        ([READ, ANY, LET_READ], CALL, BY_READ),
        # A policy of the other API group's route of the same name.
        (
            [
                READ,
                document(
                    "AuthorizationPolicy",
                    "let-read",
                    "{targetRef: {group: gateway.networking.k8s.io, kind: HTTPRoute, name: read},"
                    " requiredAuthenticationRefs: []}",
                ),
            ],
            CALL,
            "deny shop/api: HTTPRoute read",
        ),
        # Connections are the Server's alone.
        ([READ, LET_READ], TCP, DENIED),
        ([READ, policy("all", "Server api")], TCP, "allow shop/all: AuthorizationPolicy at Server api"),
    ],
)
def test_what_a_route_decides(engine: Engine, texts: list[str], call: dict[str, Any], expected: str) -> None:
    assert judged(engine, read(SERVER, *texts), call) == expected


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        ("unknown", BY_READ),
        ("HTTP/1", BY_READ),
        ("HTTP/2", BY_READ),
        # A GRPCRoute counts there, an HTTPRoute does not; elsewhere the proxy does not read requests.
        ("gRPC", DENIED),
        ("opaque", DENIED),
        ("TLS", DENIED),
    ],
)
def test_the_protocol_decides_which_routes_count(engine: Engine, protocol: str, expected: str) -> None:
    typed = server(spec=f"podSelector: {{}}, port: 8080, proxyProtocol: {protocol}")
    assert judged(engine, read(typed, READ, LET_READ), CALL) == expected


@pytest.mark.parametrize(
    ("path", "sent", "matches"),
    [
        ("type: Exact, value: /foo", "/foo", True),
        ("type: Exact, value: /foo", "/foo/", False),
        ("type: Exact, value: /foo", "/FOO", False),
        ("type: Exact, value: /foo", "/foo?x=/bar", True),
        ("value: /foo", "/foo", True),
        ("value: /foo", "/foo/", True),
        ("value: /foo", "/foo/a", True),
        ("value: /foo", "/foobar", False),
        ("value: /foo/", "/foo", True),
        ("value: /foo/", "/foobar", False),
        ("value: /", "/anything", True),
        ("type: RegularExpression, value: '/foo/[0-9]+'", "/foo/12", True),
        ("type: RegularExpression, value: '/foo/[0-9]+'", "/foo/12/x", False),
        ("type: RegularExpression, value: '/foo|/bar'", "/x/bar", False),
        ("type: RegularExpression, value: '/f.o'", "/f\no", False),
    ],
)
def test_a_path(engine: Engine, path: str, sent: str, matches: bool) -> None:
    documents = read(SERVER, route("read", f"[{{matches: [{{path: {{{path}}}}}]}}]"), LET_READ)
    assert judged(engine, documents, {**CALL, "path": sent}) == (BY_READ if matches else NO_ROUTE)


@pytest.mark.parametrize(
    ("better", "worse", "path"),
    [
        # Exact, then the longest prefix, then a method, then most headers, then most parameters.
        ("path: {type: Exact, value: /orders/17}", "path: {value: /orders}, method: GET", "/orders/17"),
        ("path: {type: RegularExpression, value: /orders/.*}", "path: {value: /orders}", "/orders/17"),
        ("path: {value: /orders/17}", "path: {value: /orders}, method: GET", "/orders/17"),
        ("method: GET", "headers: [{name: X-Team, value: red}]", "/"),
        ("headers: [{name: X-Team, value: red}]", "queryParams: [{name: a, value: b}]", "/?a=b"),
        ("queryParams: [{name: a, value: b}]", "", "/?a=b"),
        # A prefix that is all of the path covers as much of it as an exact one does.
        ("path: {value: /orders}, method: GET", "path: {type: Exact, value: /orders}", "/orders"),
        ("path: {type: Exact, value: /orders/}", "path: {value: /orders}, method: GET", "/orders/"),
    ],
)
def test_the_better_match_wins(engine: Engine, better: str, worse: str, path: str) -> None:
    call = {**CALL, "path": path, "attributes": {"request.headers.x-team": "red"}}
    texts = [route("b", f"[{{matches: [{{{better}}}]}}]"), route("a", f"[{{matches: [{{{worse}}}]}}]")]
    assert judged(engine, read(SERVER, *texts), call) == "deny shop/api: HTTPRoute b"
    assert judged(engine, read(SERVER, texts[1]), call) == "deny shop/api: HTTPRoute a"


def test_of_equal_matches_the_older_route_wins_then_its_name(engine: Engine) -> None:
    young = route("a", "[{}]", creationTimestamp="2026-02-01T00:00:00Z")
    old = route("b", "[{}]", creationTimestamp="2026-01-01T00:00:00Z")
    undated = route("aa", "[{}]")
    assert judged(engine, read(SERVER, young, old, undated), CALL) == "deny shop/api: HTTPRoute b"
    assert judged(engine, read(SERVER, undated, route("ab", "[{}]")), CALL) == "deny shop/api: HTTPRoute aa"


@pytest.mark.parametrize(
    ("hostname", "authority", "matches"),
    [
        ("orders.shop", "orders.shop", True),
        ("orders.shop", "Orders.Shop.:8080", True),
        ("orders.shop", "a.orders.shop", False),
        ("orders.shop", "", False),
        ('"*.shop"', "orders.shop:80", True),
        ('"*.shop"', "a.b.shop", True),
        ('"*.shop"', "shop", False),
        ('"*.shop"', "xshop", False),
        ("orders.shop", None, None),
    ],
)
def test_a_hostname(engine: Engine, hostname: str, authority: str | None, matches: bool | None) -> None:
    documents = read(SERVER, route("read", "[{}]", more=f", hostnames: [{hostname}]"), LET_READ)
    expected = {True: BY_READ, False: NO_ROUTE, None: "unknown"}[matches]
    assert judged(engine, documents, {**STRANGER, "authority": authority}) == expected


def test_a_route_of_the_host_comes_before_all_others(engine: Engine) -> None:
    by_path = route("a", "[{matches: [{path: {type: Exact, value: /orders/17}}]}]")
    by_suffix = route("b", "[{}]", more=', hostnames: ["*.shop"]')
    by_host = route("c", "[{}]", more=', hostnames: ["orders.shop"]')
    assert judged(engine, read(SERVER, by_path, by_suffix), CALL) == "deny shop/api: HTTPRoute b"
    assert judged(engine, read(SERVER, by_path, by_suffix, by_host), CALL) == "deny shop/api: HTTPRoute c"


@pytest.mark.parametrize(
    ("match", "attributes", "path", "matches"),
    [
        ("headers: [{name: X-Team, value: red}]", {"request.headers.x-team": "red"}, "/", True),
        ("headers: [{name: X-Team, value: red}]", {"request.headers.x-team": ""}, "/", False),
        ("headers: [{name: X-Team, value: red}]", {}, "/", None),
        ("headers: [{name: x, type: RegularExpression, value: 'r|b.*'}]", {"request.headers.x": "blue"}, "/", True),
        ("headers: [{name: x, type: RegularExpression, value: 'r|b.*'}]", {"request.headers.x": "a blue"}, "/", False),
        ("queryParams: [{name: a, value: b}]", {}, "/?x=1&a=b", True),
        ("queryParams: [{name: a, value: b}]", {}, "/?a=c&a=b#x", True),
        ("queryParams: [{name: a, value: b}]", {}, "/?aa=b&a=bb", False),
        ("queryParams: [{name: a, value: b}]", {}, "/a=b", False),
        ("queryParams: [{name: a, value: b}]", {}, "/#?a=b", False),
        ("queryParams: [{name: a, value: b}]", {}, "/?%61=%62", True),
        ("queryParams: [{name: a, value: b c}]", {}, "/?a=b+c", True),
        ("queryParams: [{name: a, value: b c}]", {}, "/?a=b%20c", True),
        ("queryParams: [{name: a, value: 'b&c=d'}]", {}, "/?a=b%26c=d", True),
        ("queryParams: [{name: a, value: 'b&c=d'}]", {}, "/?a=b&c=d", False),
        ("queryParams: [{name: a, value: é}]", {}, "/?a=%C3%A9", True),
        ("queryParams: [{name: a, value: b}]", {}, None, None),
        # An expression is about the decoded value: only that there is none is known.
        ("queryParams: [{name: a, type: RegularExpression, value: .*}]", {}, "/?a=b", None),
        ("queryParams: [{name: a, type: RegularExpression, value: .*}]", {}, "/?b=a", False),
    ],
)
def test_headers_and_parameters(
    engine: Engine, match: str, attributes: dict[str, str], path: str | None, matches: bool | None
) -> None:
    documents = read(SERVER, route("read", f"[{{matches: [{{{match}}}]}}]"), LET_READ)
    expected = {True: BY_READ, False: NO_ROUTE, None: "unknown"}[matches]
    assert judged(engine, documents, {**STRANGER, "attributes": attributes, "path": path}) == expected


@pytest.mark.parametrize(
    ("rules", "path", "method", "matches"),
    [
        ("[{}]", "/x", "GET", True),
        ("[{matches: [{method: {service: shop.Orders}}]}]", "/shop.Orders/List", "POST", True),
        ("[{matches: [{method: {service: shop.Orders}}]}]", "/shop.Orders/List", "GET", False),
        ("[{matches: [{method: {service: shop.Orders}}]}]", "/shop.Orders", "POST", False),
        ("[{matches: [{method: {service: shop.Orders}}]}]", "/shopXOrders/List", "POST", False),
        ("[{matches: [{method: {method: List}}]}]", "/any/List", "POST", True),
        ("[{matches: [{method: {service: shop.Orders, method: List}}]}]", "/shop.Orders/List", "POST", True),
        ("[{matches: [{method: {service: shop.Orders, method: List}}]}]", "/shop.Orders/Listing", "POST", False),
        ("[{matches: [{method: {service: shop.Orders, method: List}}]}]", "/shop.Orders/List/x", "POST", True),
    ],
)
def test_a_grpc_route(engine: Engine, rules: str, path: str, method: str, matches: bool) -> None:
    typed = server(spec="podSelector: {}, port: 8080, proxyProtocol: gRPC")
    documents = read(typed, route("read", rules, "GRPCRoute"), policy("let-read", "GRPCRoute read"))
    by_read = "allow shop/let-read: AuthorizationPolicy at GRPCRoute read"
    assert judged(engine, documents, {**CALL, "path": path, "method": method}) == (by_read if matches else NO_ROUTE)


def test_of_grpc_routes_the_longer_service_then_the_method_wins(engine: Engine) -> None:
    typed = server(spec="podSelector: {}, port: 8080, proxyProtocol: gRPC")
    texts = [
        route("c", "[{matches: [{method: {service: shop.Orders, method: List}}]}]", "GRPCRoute"),
        route("b", "[{matches: [{method: {service: shop.Orders}}]}]", "GRPCRoute"),
        route("a", "[{matches: [{method: {method: List}}]}]", "GRPCRoute"),
    ]
    call = {**CALL, "path": "/shop.Orders/List", "method": "POST"}
    assert judged(engine, read(typed, *texts), call) == "deny shop/api: GRPCRoute c"
    assert judged(engine, read(typed, *texts[1:]), call) == "deny shop/api: GRPCRoute b"


def test_where_it_is_not_known_which_route_decides_what_all_agree_on_is(engine: Engine) -> None:
    by_header = route("a", "[{matches: [{headers: [{name: x, value: '1'}]}]}]")
    open_to_all = [policy("all-a", "HTTPRoute a"), policy("all-b", "HTTPRoute any")]
    assert judged(engine, read(SERVER, by_header, ANY, *open_to_all), STRANGER) == "allow"
    assert judged(engine, read(SERVER, by_header, ANY, *open_to_all), STRANGER, cluster=DENYING) == "allow"
    assert judged(engine, read(SERVER, by_header, ANY, open_to_all[1]), STRANGER) == "unknown"
    assert judged(engine, read(SERVER, by_header, ANY), STRANGER).startswith("deny")


def test_nothing_is_asked_where_no_document_applies() -> None:
    built = program(read(server(namespace="bank")), ORDERS, Cluster(), Settings(), "http")
    assert built.steps == () and built.allows and built.surely == FALSE
