"""The truth is what the messages say: counted again from the bytes by a slow reader."""

from __future__ import annotations

import pytest

from eastwatch.world import World
from tests.eastwatch.world.recount import Account, edges


@pytest.fixture(scope="module", params=["world", "troubled_world"])
def both(request: pytest.FixtureRequest):
    account = request.getfixturevalue(request.param.replace("world", "account"))
    truth = request.getfixturevalue(request.param).truth()
    real = {(edge["source"], edge["destination"]): edge for edge in truth["edges"]}
    return real, edges(account)


def test_same_edges(both) -> None:
    real, counted = both
    assert real.keys() == counted.keys()


@pytest.mark.parametrize(
    "what",
    [
        "requests", "attempts", "errors", "denied", "mtls_share", "statuses", "protocol", "p50_ms", "p95_ms", "p99_ms",
        "bytes_sent", "bytes_received",
    ],
)  # fmt: skip
def test_same_numbers(both, what: str) -> None:
    real, counted = both
    wanted = {pair: edge[what] for pair, edge in real.items() if what in counted[pair]}
    assert {pair: edge[what] for pair, edge in counted.items() if what in edge} == wanted


def test_same_evidence(both) -> None:
    real, counted = both
    for pair, edge in real.items():
        assert [kind for kind in edge["evidence"] if kind != "metric"] == counted[pair]["evidence"], pair


def test_the_world_holds_what_it_promises(world: World, account: Account) -> None:
    truth = world.truth()
    by_pair = {(edge["source"], edge["destination"]): edge for edge in truth["edges"]}
    assert len([node for node in truth["nodes"] if node["kind"] == "service"]) >= 12
    assert {node["kind"] for node in truth["nodes"]} == {"service", "gateway", "external"}
    assert by_pair["legacy/erp", "shop/orders"]["mtls_share"] == 0.0
    assert by_pair["shop/web", "shop/currency"]["attempts"] is None
    assert (
        by_pair["shop/currency", "platform/flags"]["attempts"] == by_pair["shop/currency", "platform/flags"]["requests"]
    )
    assert by_pair["shop/currency", "data/rates-db"]["evidence"] == ["trace"]
    assert by_pair["shop/orders", "shop/notification"]["protocol"] == "messaging"
    assert by_pair["shop/reviews", "shop/users"]["attempts"] > by_pair["shop/reviews", "shop/users"]["requests"]
    assert by_pair["shop/recommendation", "shop/users"]["denied"] > 0
    assert by_pair["payments/fraud", "payments/ledger-db"]["denied"] > 0
    assert by_pair["platform/settlement", "payments/ledger"]["denied"] > 0
    assert ("platform/reconciler", "shop/orders") in by_pair
    assert by_pair["istio-system/istio-ingressgateway", "shop/web"]["direction"] == "ingress"
    assert by_pair["payments/payment", "external:api.cardnet.example"]["direction"] == "egress"
    assert any(edge["protocol"] == "grpc" and edge["errors"] for edge in truth["edges"])
    assert truth["incidents"] == []
    assert truth["since"] == "2026-03-02T10:12:00.000000Z"
    assert truth["until"] == "2026-03-02T10:32:00.000000Z"
