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
        expected = f"shop/{last[2]}" if last and time < last[1] else "10.0.0.1"
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


@given(st.text("ab/%:external25F3A") | st.sampled_from(["", "external:x", "%2F", "unknown"]), st.text("ab/%:2F5"))
def test_node_ids_split_again(namespace: str, service: str) -> None:
    found = node_id(namespace, service)
    assert split_node(found) == (namespace or None, service)
    assert not found.startswith("external:")
    assert found.count("/") == bool(namespace)
    assert node_id("", namespace).startswith("external:") is False


def test_a_private_address_that_nobody_names_is_no_host_of_the_internet() -> None:
    names = Names([], [])
    for address in ("10.1.2.3", "172.31.0.1", "192.168.1.1", "100.64.0.7", "fd00::1"):
        assert node(names, host=address) == address
    for address in ("8.8.8.8", "172.32.0.1", "2001:4860::1", "169.254.169.254"):
        assert node(names, host=address) == f"external:{address}"


def test_names_never_take_the_form_of_another_kind_of_node() -> None:
    names = Names([], [Endpoint(namespace="shop", service="web"), Endpoint(namespace="shop", service="unknown")])
    assert node(names, service="shop/web") == "shop%2Fweb"
    assert node(names, service="external:evil") == "external%3Aevil"
    assert node(names, namespace="external:evil", service="x") == "external%3Aevil/x"
    assert split_node("external%3Aevil/x") == ("external:evil", "x")
    # A name that says that it is not known joins nobody.
    assert node(names, service="unknown") == "unknown"
    assert node(names, service="unknown", workload="web-v1") == "web-v1"
    assert node(names, namespace="shop", service="unknown") == "shop/unknown"
    assert split_node("unknown") == (None, None)
    assert split_node("external:a/b") == (None, "a/b")


def test_an_identity_without_an_account_is_a_node_of_its_own() -> None:
    other, again = "spiffe://root.example/ext-wl", "spiffe://other.example/a/ext-wl"
    known = Endpoint(namespace="shop", service="web")
    assert node(Names([], [known]), account=other) == "ext-wl"
    # Whoever issued it decides on its path: it becomes neither a service of ours nor another identity.
    assert node(Names([], [known]), account="spiffe://root.example/web") == "spiffe:%2F%2Froot.example%2Fweb"
    both = Names([], [Endpoint(account=other), Endpoint(account=again)])
    assert {node(both, account=other), node(both, account=again)} == {
        "spiffe:%2F%2Froot.example%2Fext-wl",
        "spiffe:%2F%2Fother.example%2Fa%2Fext-wl",
    }
    assert node(both, account="spiffe://root.example/unknown") == "spiffe:%2F%2Froot.example%2Funknown"
    assert node(both, account="spiffe://id.consul/gateway/mesh/dc/dc1") == "mesh-gateway"
    served = Names([], [Endpoint(account=other, service="vm", namespace="")])
    assert node(served, account=other) == "vm"
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
