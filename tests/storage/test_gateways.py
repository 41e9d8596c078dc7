"""Names of gateways: those of the projects' installers are known, those of ordinary workloads are none."""

from __future__ import annotations

import pytest

from storage.gateways import GATEWAY_PRODUCTS, gateway_of_account, is_gateway_name
from storage.sql import load


@pytest.mark.parametrize(
    "name",
    [
        "istio-ingressgateway",
        "istio-ingressgateway-service-account",
        "internal-istio-ingressgateway",
        "istio-egressgateway",
        "bookinfo-gateway-istio",
        "envoy-shop-eg-5391c79d",
        "consul-ingress-gateway",
        "mesh-gateway",
        "linkerd-gateway",
        "emissary-ingress",
        "kong-kong",
        "ingress-nginx-controller",
    ],
)
def test_names_of_gateways(name: str) -> None:
    assert is_gateway_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "gateway", "orders", "envoy", "envoy-gateway", "progress-gateway", "payment-gateway", "nginx", "istiod"],
)
def test_other_names(name: str) -> None:
    assert not is_gateway_name(name)


def test_an_account_that_is_made_of_its_gateways_name() -> None:
    assert gateway_of_account("istio-ingressgateway-service-account") == "istio-ingressgateway"
    assert gateway_of_account("istio-ingressgateway") == ""
    assert gateway_of_account("orders-service-account") == ""


def test_the_derivation_knows_the_same_products() -> None:
    text = load("dependencies/address_edges").text
    meshes, products = (str(list(names)) for names in (GATEWAY_PRODUCTS, GATEWAY_PRODUCTS.values()))
    assert f"transform(toString(u.mesh), {meshes}, {products}, '')" in text
