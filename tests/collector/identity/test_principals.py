"""Principals: each documented form, any text, and the view that names them in SQL says the same."""

from __future__ import annotations

from datetime import date
from itertools import product

import pyarrow as pa
import pytest

from collector.identity.principals import NOBODY, Principal, parse_principal
from storage.conform import conform
from storage.engine import Engine
from storage.tables import EDGE_KEYS

CONSUL = "spiffe://11ee.consul"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            f"{CONSUL}/ap/eu/ns/default/dc/dc1/svc/web",
            Principal(service="web", datacenter="dc1", partition="eu", trust_domain="11ee.consul"),
        ),
        (
            f"{CONSUL}/ns/shop/dc/dc1/svc/web",
            Principal(namespace="shop", service="web", datacenter="dc1", trust_domain="11ee.consul"),
        ),
        ("spiffe://td/ns/default/sa/web", Principal(namespace="default", service_account="web", trust_domain="td")),
        (f"{CONSUL}/gateway/mesh/dc/dc1", Principal(datacenter="dc1", trust_domain="11ee.consul")),
        (
            "spiffe://prj.svc.id.goog/ns/shop/sa/web",
            Principal(namespace="shop", service_account="web", trust_domain="prj.svc.id.goog"),
        ),
        ("spiffe://td/ns/a/ns/b/sa/c/sa/d", Principal(namespace="a", service_account="c", trust_domain="td")),
        ("spiffe://td/ns/a/sa", Principal(trust_domain="td")),
        ("spiffe://", Principal()),
        ("a.ns.serviceaccount.identity", Principal(namespace="ns", service_account="a")),
        ("serviceaccount.identity.linkerd.td", Principal()),
        ("evil.example/ns/a", Principal()),
        ("x" * 2048, Principal()),
    ],
)
def test_forms(text: str, expected: Principal) -> None:
    assert parse_principal(text) == expected._replace(id=text)


def test_an_identity_without_its_scheme_is_the_same_identity() -> None:
    assert parse_principal("cluster.local/ns/shop/sa/web") == parse_principal("spiffe://cluster.local/ns/shop/sa/web")


def test_what_an_identity_names() -> None:
    assert parse_principal(f"{CONSUL}/ns/default/dc/dc1/svc/web").account == "web"
    assert parse_principal("web.shop.serviceaccount.identity.linkerd.cluster.local").account == "web"
    assert NOBODY.account == ""


WORDS = ("web", "shop", "", "ü", "x y")
PATHS = ("ns", "sa", "svc", "a", "")
NAMES = ("a", "b", "serviceaccount", "identity", "cluster", "local", "")
KNOWN = [
    *("/".join(["spiffe://td", *parts]) for length in (3, 4, 5) for parts in product(PATHS, repeat=length)),
    *(".".join(labels) for length in (4, 5) for labels in product(NAMES, repeat=length)),
    *(f"{a}.{b}.serviceaccount.identity.linkerd.td" for a in WORDS for b in WORDS),
    *(f"{a}.b.{b}.serviceaccount.identity.linkerd.td" for a in WORDS for b in WORDS),
    f"{CONSUL}/ap/x/ns/default/dc/dc1/svc/web",
    *(
        f"spiffe://td/ns/{namespace}/{rest}"
        for namespace in ("default", "shop")
        for rest in ("sa/a/svc/b", "svc/b", "svc/")
    ),
    "spiffe://td/svc/b/ns/default",
    "spiffe://td/ns/a\n/sa/b",
]


def test_the_view_says_the_same(engine: Engine) -> None:
    known = sorted({parse_principal(text).id for text in KNOWN} - {""})
    columns = {
        "edge_id": pa.array(range(1, len(known) + 1), pa.uint64()),
        "source_principal": pa.array(known, pa.string()),
        "destination_principal": pa.array(known, pa.string()),
    }
    keys = conform(EDGE_KEYS, pa.RecordBatch.from_pydict(columns), received_on=date(2026, 3, 2))
    engine.insert(EDGE_KEYS.name, keys)
    found = engine.query(
        "SELECT source_principal AS id, (source_side.2, source_side.5) AS source,"
        " (destination_side.2, destination_side.5) AS destination FROM edge_endpoints"
    ).to_pylist()
    assert len(found) == len(known)
    for row in found:
        named = parse_principal(row["id"])
        assert [tuple(row[side].values()) for side in ("source", "destination")] == [
            (named.namespace, named.account)
        ] * 2
