"""What changes in the demo's shop after its first hour: a release day, and an afternoon's carelessness.

Each change is of one kind, at a place where little else shows it, so that what a comparison finds can be held against
it line by line.
"""

from __future__ import annotations

from dataclasses import replace

from eastwatch.world.changes import Change, Sign, with_calls, with_journey, with_operation, with_step
from eastwatch.world.model import Call, Operation, Topology
from eastwatch.world.shop import CART, CATALOG, ERP, FLAGS, LEDGER, ORDERS, PAYMENT, RECOMMENDATION, SEARCH, WEB

RELATED = Operation(CATALOG, "related", "GET", "/products/{product}/related", 1.8, response_bytes=4_000)


def _asks_for_flags(topology: Topology) -> Topology:
    return with_step(
        topology,
        f"{RECOMMENDATION}:list",
        f"{CATALOG}:batch",
        Call(f"{FLAGS}:evaluate", share=0.3, alongside=True),
    )


def _no_flags_in_the_cart(topology: Topology) -> Topology:
    return with_calls(topology, f"{CART}:add", f"{FLAGS}:evaluate", lambda _: None)


def _related_products(topology: Topology) -> Topology:
    topology = replace(topology, operations=(*topology.operations, RELATED))
    return with_step(
        topology, f"{WEB}:product", f"{CATALOG}:get", Call(f"{CATALOG}:related", share=0.15, alongside=True)
    )


def _more_exports(topology: Topology) -> Topology:
    name = "nightly export that never learnt TLS"
    return with_journey(topology, name, lambda journey: replace(journey, per_second=5 * journey.per_second))


def _failing_ledger(topology: Topology) -> Topology:
    return with_operation(topology, f"{LEDGER}:append", lambda operation: replace(operation, statuses={500: 0.2}))


def _slow_cart(topology: Topology) -> Topology:
    return with_operation(topology, f"{CART}:get", lambda operation: replace(operation, own_ms=8 * operation.own_ms))


def _plaintext_search(topology: Topology) -> Topology:
    return with_calls(topology, f"{SEARCH}:query", f"{CATALOG}:batch", lambda call: replace(call, plaintext=True))


SHOP_CHANGES = (
    Change(
        "recommendations ask for feature flags",
        _asks_for_flags,
        (Sign("edge came", RECOMMENDATION, FLAGS),),
    ),
    Change("the cart no longer asks for feature flags", _no_flags_in_the_cart, (Sign("edge went", CART, FLAGS),)),
    Change(
        "product pages show related products",
        _related_products,
        (Sign("operation came", WEB, CATALOG, "GET /products/{product}/related"),),
    ),
    Change(
        "the old system exports five times as often",
        _more_exports,
        (Sign("rate", ERP, ORDERS),),
    ),
    Change(
        "the ledger fails on one entry in five",
        _failing_ledger,
        (Sign("errors", PAYMENT, LEDGER, "POST /v1/entries"),),
    ),
    Change(
        "reading a cart takes eight times as long",
        _slow_cart,
        (Sign("latency", WEB, CART, "GET /carts/{user}"),),
    ),
    Change(
        "search talks to the catalog in plaintext",
        _plaintext_search,
        (Sign("mtls", SEARCH, CATALOG),),
    ),
)
"""In the order in which they are applied; all come at the same time."""
