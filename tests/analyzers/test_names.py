"""Names: every endpoint has exactly one node at every time, and less knowledge joins more."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from analyzers.dependencies.names import ALWAYS, Alias, Endpoint, Names, node_id, split_node

TEXT = st.sampled_from(["", "web", "api", "shop", "10.0.0.1", "web.shop", "web.shop.svc.cluster.local"])
TIMES = st.integers(0, 20)


def alias(kind: str, name: str, service: str, valid: tuple[int, int] = ALWAYS, **fields: str) -> Alias:
    where = "" if kind.endswith("_ip") else "shop"
    return Alias(kind, "", where, name, *valid, fields.get("namespace", "shop"), fields.get("workload", ""), service)


ALIASES = st.lists(
    st.builds(
        Alias,
        st.sampled_from(["pod_ip", "service_ip", "service_account", "workload", "service", "host"]),
        st.sampled_from(["", "east"]),
        st.sampled_from(["", "shop"]),
        TEXT,
        TIMES,
        TIMES,
        st.sampled_from(["", "shop", "other"]),
        TEXT,
        TEXT,
        st.booleans(),
    ),
    max_size=6,
)
ENDPOINTS = st.lists(st.builds(Endpoint, st.sampled_from(["", "east"]), TEXT, TEXT, TEXT, TEXT, TEXT, TEXT), max_size=5)


@given(ALIASES, ENDPOINTS)
def test_segments_cover_all_time_once(aliases: list[Alias], endpoints: list[Endpoint]) -> None:
    names = Names(aliases, endpoints)
    for endpoint in endpoints:
        segments = names.segments(endpoint)
        assert segments[0].valid_from == ALWAYS[0]
        assert segments[-1].valid_to == ALWAYS[1]
        assert all(a.valid_to == b.valid_from for a, b in pairwise(segments))
        assert all(segment.valid_from < segment.valid_to and segment.node for segment in segments)


@given(st.lists(st.tuples(TIMES, TIMES, st.sampled_from(["web", "api"])), max_size=5))
def test_an_address_belongs_to_whoever_came_last_and_has_not_gone(claims: list[tuple[int, int, str]]) -> None:
    starts = {start: (start, end, service) for start, end, service in claims if start < end}
    known = [alias("pod_ip", "10.0.0.1", service, (start, end)) for start, end, service in starts.values()]
    segments = Names(known, []).segments(Endpoint(host="10.0.0.1"))
    for time in range(22):
        (node,) = [s.node for s in segments if s.valid_from <= time < s.valid_to]
        last = max((claim for claim in starts.values() if claim[0] <= time), default=None)
        expected = f"shop/{last[2]}" if last and time < last[1] else "external:10.0.0.1"
        assert node == expected


def node(names: Names, **fields: str) -> str:
    (segment,) = names.segments(Endpoint(**fields))
    return segment.node


def test_the_first_known_name_counts() -> None:
    names = Names([], [])
    assert node(names, namespace="shop", service="web", workload="web-v1", account="sa") == "shop/web"
    assert node(names, namespace="shop", workload="web-v1", account="sa") == "shop/web-v1"
    assert node(names, namespace="shop", account="sa") == "shop/sa"
    assert node(names, service="web") == "web"
    assert node(names) == "unknown"


def test_the_platform_knows_what_a_workload_serves() -> None:
    names = Names([alias("workload", "web-v1", "web"), alias("service_account", "web-sa", "web")], [])
    assert node(names, namespace="shop", workload="web-v1") == "shop/web"
    assert node(names, namespace="shop", account="web-sa") == "shop/web"
    assert node(names, namespace="shop", service="web-v1") == "shop/web"


def test_a_workload_of_two_services_keeps_its_own_name() -> None:
    endpoints = [Endpoint(namespace="shop", workload="both", service=service) for service in ("one", "two")]
    assert node(Names([], endpoints), namespace="shop", workload="both") == "shop/both"


def test_a_name_moves_with_its_alias() -> None:
    names = Names([alias("workload", "w", "old", (0, 10)), alias("workload", "w", "new", (10, 20))], [])
    segments = names.segments(Endpoint(namespace="shop", workload="w"))
    assert [(s.valid_from, s.node) for s in segments] == [(0, "shop/old"), (10, "shop/new")]


def test_bare_names_join_their_only_namesake() -> None:
    names = Names([], [Endpoint(namespace="shop", service="web"), Endpoint(namespace="shop", service="api")])
    assert node(names, service="web") == "shop/web"
    assert node(names, service="web.shop") == "shop/web"
    assert node(names, service="other") == "other"


def test_hosts_are_nodes_where_the_mesh_knows_them() -> None:
    names = Names([], [Endpoint(namespace=where, service="db") for where in ("shop", "bank")])
    assert node(names, host="db", hint="shop") == "shop/db"
    assert node(names, host="db") == "external:db"
    assert node(names, host="db.bank") == "bank/db"
    assert node(names, host="db.bank.svc.cluster.local") == "bank/db"
    assert node(names, host="db.example.com") == "external:db.example.com"


def test_node_ids_split_again() -> None:
    for namespace, service in ((None, "web"), ("shop", "web")):
        assert split_node(node_id(namespace or "", service)) == (namespace, service)
    assert split_node("unknown") == (None, None)
    assert split_node("external:a/b") == (None, "a/b")


def test_a_name_of_ingress_nginx_is_the_only_known_reading_of_it() -> None:
    known = [Endpoint(namespace="my-shop", service="web-api"), Endpoint(namespace="a", service="b")]
    names = Names([], [*known, Endpoint(service="my-shop-web-api-8080")])
    assert node(names, service="my-shop-web-api-8080") == "my-shop/web-api"
    for unread in ("my-shop-web-api-http", "my-shop-web-api", "my-shop-web-8080", "-".join("x" * 99) + "-80"):
        assert node(names, service=unread) == unread
    both = Names([], [*known, Endpoint(namespace="my", service="shop-web-api")])
    assert node(both, service="my-shop-web-api-8080") == "my-shop-web-api-8080"
