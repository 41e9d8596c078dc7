"""Principals, cluster names, host names and pods: each form that is documented, and any text at all."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.identity.clusters import Host, parse_cluster, parse_host
from collector.identity.kubernetes import deployment_of, is_gateway, pod_of, workload_of
from collector.identity.principals import NOBODY, parse_principal


@pytest.mark.parametrize(
    ("text", "trust_domain", "namespace", "account", "service"),
    [
        ("spiffe://cluster.local/ns/shop/sa/checkout", "cluster.local", "shop", "checkout", ""),
        ("spiffe://TD.example/ns/a/sa/b,dns.name", "td.example", "a", "b", ""),
        ("some.dns,spiffe://td/ns/a/sa/b", "td", "a", "b", ""),
        ("spiffe://1234.consul/ns/default/dc/dc1/svc/web", "1234.consul", "", "", "web"),
        ("spiffe://1234.consul/ap/part/ns/default/dc/dc1/svc/web", "1234.consul", "", "", "web"),
        ("spiffe://td/workload/one/more", "td", "", "", ""),
        ("spiffe://td", "td", "", "", ""),
        ("traffic.booksapp.serviceaccount.identity.linkerd.cluster.local", "cluster.local", "booksapp", "traffic", ""),
        ("a.b.ns.serviceaccount.identity.linkerd.td", "td", "ns", "a.b", ""),
        ("bookbuyer.books.cluster.local", "cluster.local", "books", "bookbuyer", ""),
        ("www.example.com", "", "", "", ""),
    ],
)
def test_identities_of_each_mesh(text: str, trust_domain: str, namespace: str, account: str, service: str) -> None:
    found = parse_principal(text)
    assert (found.trust_domain, found.namespace, found.service_account, found.service) == (
        trust_domain,
        namespace,
        account,
        service,
    )
    assert found.id in text.split(",")


@pytest.mark.parametrize("text", ["", "-", "unknown", ",", " , ", "x" * 3000])
def test_no_identity(text: str) -> None:
    assert parse_principal(text) == NOBODY


@pytest.mark.parametrize(
    ("text", "side", "port", "subset", "service", "namespace", "external"),
    [
        ("outbound|8080|v1|checkout.shop.svc.cluster.local", "outbound", 8080, "v1", "checkout", "shop", ""),
        ("outbound|443||edition.cnn.com", "outbound", 443, "", "", "", "edition.cnn.com"),
        ("outbound|8000||httpbin.foo.svc.cluster.local;", "outbound", 8000, "", "httpbin", "foo", ""),
        ("inbound|8080||", "inbound", 8080, "", "", "", ""),
        ("inbound|8080|http|a.b.svc.cluster.local", "inbound", 8080, "http", "a", "b", ""),
        ("inbound-vip|9080|http|details.book.svc.my.domain", "waypoint", 9080, "http", "details", "book", ""),
        ("outbound_.8080_._.probe.fleet.svc.cluster.local", "outbound", 8080, "", "probe", "fleet", ""),
        ("outbound_.8080_.v2_.probe.fleet.svc.cluster.local", "outbound", 8080, "v2", "probe", "fleet", ""),
        ("PassthroughCluster", "outbound", 0, "", "", "", ""),
        ("BlackHoleCluster", "outbound", 0, "", "", "", ""),
        ("InboundPassthroughCluster", "inbound", 0, "", "", "", ""),
        ("InboundPassthroughClusterIpv4", "inbound", 0, "", "", "", ""),
        ("httpbin/web|14001|local", "inbound", 14001, "", "web", "httpbin", ""),
        ("httpbin/web|14001", "outbound", 14001, "", "web", "httpbin", ""),
        ("web.default.dc1.internal.1a2b-3c.consul", "outbound", 0, "", "web", "", ""),
        ("v1.web.default.dc1.internal.1a2b.consul", "outbound", 0, "v1", "web", "", ""),
        ("web.default.part.dc1.internal-v1.1a2b.consul", "outbound", 0, "", "web", "", ""),
        ("local_app", "inbound", 0, "", "", "", ""),
        ("my_backend", "unknown", 0, "", "", "", ""),
        ("outbound|99999|x|", "outbound", 0, "x", "", "", ""),
        ("outbound|80|a|b|c", "unknown", 0, "", "", "", ""),
        ("", "unknown", 0, "", "", "", ""),
    ],
)
def test_cluster_names_of_each_mesh(
    text: str, side: str, port: int, subset: str, service: str, namespace: str, external: str
) -> None:
    found = parse_cluster(text)
    assert (found.side, found.port, found.subset) == (side, port, subset)
    assert (found.host.service, found.host.namespace, found.host.external) == (service, namespace, external)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("details:9080", Host(service="details", namespace="own", port=9080)),
        ("details.book.svc", Host(service="details", namespace="book")),
        ("details.book.svc.cluster.local:80", Host(service="details", namespace="book", port=80)),
        ("pod-0.db.data.svc.cluster.local.", Host(service="db", namespace="data")),
        ("API.Example.COM:443", Host(external="api.example.com", port=443)),
        ("web.shop", Host(external="web.shop")),
        ("10.0.0.1:8080", Host(port=8080, is_address=True)),
        ("[2001:db8::1]:80", Host(port=80, is_address=True)),
        ("2001:db8::1", Host(is_address=True)),
        ("bad host", Host()),
        ("<script>", Host()),
        ("a" * 300, Host()),
    ],
)
def test_hosts_as_a_pod_of_a_namespace_uses_them(text: str, expected: Host) -> None:
    assert parse_host(text, "own") == expected


@settings(deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_parsed_or_means_nothing(text: str) -> None:
    assert parse_cluster(text).side in ("inbound", "outbound", "waypoint", "unknown")
    host = parse_host(text)
    assert not (host.service and host.external)
    assert parse_principal(text).id in ("", *(part.strip() for part in text.split(",")))
    assert isinstance(workload_of(text), str)


@settings(deadline=None)
@given(st.from_regex(r"(outbound|inbound)\|\d{1,7}\|[a-z]{0,3}\|[ -~]{0,30}", fullmatch=True))
def test_ports_of_clusters_are_ports(text: str) -> None:
    assert 0 <= parse_cluster(text).port <= 65535


@pytest.mark.parametrize(
    ("pod", "workload"),
    [
        ("checkout-7d8f9c6b5d-x2x4z", "checkout"),
        ("reviews-v2-5b6c7d8f9-abcde", "reviews-v2-5b6c7d8f9-abcde"),  # vowels: no generated name
        ("orders-db-0", "orders-db"),
        ("node-exporter-8x2kz", "node-exporter"),
        ("report-28371200-7k9zx", "report"),
        ("web", "web"),
    ],
)
def test_workloads_from_names_of_pods(pod: str, workload: str) -> None:
    assert workload_of(pod) == workload


def test_deployments_from_names_of_replica_sets() -> None:
    assert deployment_of("checkout-7d8f9c6b5d") == "checkout"
    assert deployment_of("checkout-canary") == "checkout-canary"


def test_labels_outrank_names() -> None:
    labels = {"app": "reviews", "version": "v2", "service.istio.io/canonical-name": "reviews-canonical"}
    pod = pod_of("reviews-v2-5b6c7d8f9-x2x4z", "shop", labels)
    assert (pod.service, pod.workload, pod.version, pod.is_gateway) == ("reviews-canonical", "reviews-v2", "v2", False)
    # Fluent Bit can turn dots of label names into underscores.
    assert pod_of("p", "n", {"app_kubernetes_io/name": "x"}).service == "x"


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"istio": "ingressgateway"}, True),
        ({"istio": "my-gateway"}, True),
        ({"gateway.networking.k8s.io/gateway-name": "public"}, True),
        ({"app": "istio-ingressgateway"}, True),
        ({"component": "api-gateway"}, True),
        (
            {
                "gateway.networking.k8s.io/gateway-name": "waypoint",
                "gateway.istio.io/managed": "istio.io-mesh-controller",
            },
            False,
        ),
        ({"app": "checkout"}, False),
    ],
)
def test_gateways_by_their_labels(labels: dict[str, str], expected: bool) -> None:
    assert is_gateway(labels) is expected
