"""The world of the demo: an online shop, its payments, its data stores and what grew around them.

It holds on purpose what real meshes hold: a caller outside the mesh, a sidecar that logs nothing, databases without a
sidecar, traffic to hosts outside in all three forms, retries, refusals, two versions of one service, jobs.
"""

from __future__ import annotations

from typing import Any

from eastwatch.world.model import (
    Call,
    External,
    Faults,
    Journey,
    Operation,
    Pool,
    Publish,
    Query,
    Schedule,
    Service,
    Topology,
    Version,
)

GATEWAY = "istio-system/istio-ingressgateway"
WEB, CATALOG, SEARCH = "shop/web", "shop/catalog", "shop/search"
REVIEWS, RECOMMENDATION, USERS = "shop/reviews", "shop/recommendation", "shop/users"
CART, PRICING, CURRENCY = "shop/cart", "shop/pricing", "shop/currency"
ORDERS, SHIPPING, NOTIFICATION = "shop/orders", "shop/shipping", "shop/notification"
PAYMENT, FRAUD, LEDGER, LEDGER_DB = "payments/payment", "payments/fraud", "payments/ledger", "payments/ledger-db"
ORDERS_DB, RATES_DB, CART_CACHE = "data/orders-db", "data/rates-db", "data/cart-cache"
BROKER, FLAGS = "platform/events-broker", "platform/flags"
RECONCILER, SETTLEMENT, ERP = "platform/reconciler", "platform/settlement", "legacy/erp"
CARDS, PARCELS = "external:api.cardnet.example", "external:rates.parcel.example"
ADS, MAIL = "external:collect.adstream.example", "external:api.mailpost.example"

_ONE, _TWO, _THREE = (Version(replicas=1),), (Version(replicas=2),), (Version(replicas=3),)


def _service(id: str, **more: Any) -> Service:
    namespace, name = id.split("/")
    return Service(namespace, name, **more)


_SERVICES = (
    _service(
        GATEWAY,
        runtime="envoy",
        gateway=True,
        port=443,
        target_port=8443,
        account="istio-ingressgateway-service-account",
        versions=_TWO,
    ),
    _service(WEB, runtime="node", traced=True, port=80, versions=_THREE),
    _service(CATALOG, traced=True, versions=_THREE),
    _service(SEARCH, runtime="java", shipper="plain", versions=_TWO),
    _service(
        REVIEWS, runtime="java", port=9080, target_port=9080, versions=(Version("v1", 0.8), Version("v2", 0.2, 1))
    ),
    _service(RECOMMENDATION, runtime="python", versions=_ONE),
    _service(USERS, versions=_TWO),
    _service(CART, runtime="java", traced=True, versions=_TWO),
    _service(PRICING, protocol="grpc", port=9000, target_port=9000, traced=True, versions=_TWO),
    _service(CURRENCY, runtime="node", logs=False, traced=True, port=7000, target_port=7000, versions=_ONE),
    _service(ORDERS, runtime="java", traced=True, versions=_TWO),
    _service(SHIPPING, runtime="python", versions=_ONE),
    _service(NOTIFICATION, runtime="python", traced=True, served=False, versions=_ONE),
    _service(PAYMENT, traced=True, shipper="plain", versions=_TWO),
    _service(FRAUD, runtime="python", protocol="grpc", port=9000, target_port=50051, shipper="plain", versions=_ONE),
    _service(LEDGER, runtime="java", shipper="plain", versions=_TWO),
    _service(
        LEDGER_DB,
        runtime="native",
        protocol="tcp",
        kind="StatefulSet",
        port=5432,
        target_port=5432,
        shipper="plain",
        versions=_ONE,
    ),
    _service(
        ORDERS_DB,
        runtime="native",
        protocol="tcp",
        kind="StatefulSet",
        port=5432,
        target_port=5432,
        meshed=False,
        versions=_ONE,
    ),
    _service(
        RATES_DB,
        runtime="native",
        protocol="tcp",
        kind="StatefulSet",
        port=5432,
        target_port=5432,
        meshed=False,
        versions=_ONE,
    ),
    _service(
        CART_CACHE, runtime="native", protocol="tcp", kind="StatefulSet", port=6379, target_port=6379, versions=_ONE
    ),
    _service(
        BROKER,
        runtime="native",
        protocol="tcp",
        kind="StatefulSet",
        port=9092,
        target_port=9092,
        meshed=False,
        versions=_ONE,
    ),
    _service(FLAGS, port=80, versions=_ONE),
    _service(RECONCILER, runtime="python", kind="CronJob", served=False),
    _service(SETTLEMENT, runtime="python", kind="CronJob", served=False),
    _service(ERP, runtime="java", meshed=False, served=False, versions=_ONE),
)

_EXTERNALS = (
    External("api.cardnet.example", "203.0.113.40", 443, "sealed"),
    External("rates.parcel.example", "203.0.113.77", 80, "opened"),
    External("collect.adstream.example", "198.51.100.23", 80, "passthrough"),
    External("api.mailpost.example", "203.0.113.120", 443, "sealed"),
)

_OPERATIONS = (
    # What people see
    Operation(
        WEB,
        "home",
        "GET",
        "/",
        6.0,
        response_bytes=24_000,
        steps=(
            Call(f"{FLAGS}:evaluate", share=0.3),
            Call(f"{CATALOG}:featured", required=True),
            Call(f"{RECOMMENDATION}:list", alongside=True),
            Call(f"{CURRENCY}:rates", share=0.4, alongside=True),
        ),
    ),
    Operation(
        WEB,
        "product",
        "GET",
        "/products/{product}",
        8.0,
        response_bytes=31_000,
        statuses={404: 0.004},
        steps=(
            Call(f"{CATALOG}:get", required=True),
            Call(f"{REVIEWS}:list", alongside=True, faults=Faults(timed_out=0.0008, timeout_ms=1500)),
            Call(f"{PRICING}:quote", alongside=True),
            Call(f"{RECOMMENDATION}:list", share=0.5, alongside=True),
        ),
    ),
    Operation(
        WEB,
        "search",
        "GET",
        "/search?q={word}&page={page}",
        5.0,
        response_bytes=18_000,
        steps=(
            Call(f"{SEARCH}:query", required=True, faults=Faults(retried=0.012)),
            Call(f"{FLAGS}:evaluate", share=0.2),
        ),
    ),
    Operation(
        WEB,
        "add-to-cart",
        "POST",
        "/cart/items",
        4.0,
        ok=303,
        request_bytes=120,
        response_bytes=0,
        steps=(Call(f"{CART}:add", required=True), Call(f"{PRICING}:quote", share=0.6)),
    ),
    Operation(
        WEB,
        "checkout",
        "POST",
        "/checkout",
        9.0,
        request_bytes=640,
        response_bytes=9_000,
        statuses={400: 0.01},
        steps=(
            Call(f"{CART}:get", required=True),
            Call(f"{ORDERS}:create", required=True, faults=Faults(no_healthy=0.001, timed_out=0.001, timeout_ms=5000)),
        ),
    ),
    Operation(
        WEB,
        "login",
        "POST",
        "/login",
        3.0,
        ok=302,
        request_bytes=90,
        response_bytes=0,
        statuses={401: 0.06},
        steps=(Call(f"{USERS}:authenticate", required=True),),
    ),
    # The shop behind it
    Operation(CATALOG, "get", "GET", "/products/{product}", 2.2, statuses={404: 0.004}, response_bytes=2_100),
    Operation(CATALOG, "featured", "GET", "/products?featured=true&page={page}", 3.8, response_bytes=11_000),
    Operation(CATALOG, "batch", "POST", "/products:batch", 5.2, request_bytes=400, response_bytes=16_000),
    Operation(
        SEARCH,
        "query",
        "GET",
        "/v1/query?q={word}",
        14.0,
        0.55,
        response_bytes=5_200,
        statuses={400: 0.003},
        steps=(Call(f"{CATALOG}:batch", required=True),),
    ),
    Operation(
        REVIEWS,
        "list",
        "GET",
        "/reviews/{product}",
        7.0,
        0.5,
        response_bytes=3_900,
        statuses={500: 0.0015},
        steps=(Call(f"{USERS}:names", share=0.7, faults=Faults(retried=0.006)),),
    ),
    Operation(
        RECOMMENDATION,
        "list",
        "GET",
        "/recommendations?user={user}",
        11.0,
        0.5,
        response_bytes=1_800,
        steps=(
            Call(f"{CATALOG}:batch"),
            Call(f"{USERS}:internal", share=0.004, faults=Faults(denied=1.0)),
            Call(f"{ADS}:event", share=0.03, faults=Faults(unreachable=0.01)),
        ),
    ),
    Operation(USERS, "names", "GET", "/users?ids={user},{user}", 1.8, response_bytes=700),
    Operation(USERS, "authenticate", "POST", "/sessions", 38.0, 0.25, ok=201, statuses={401: 0.06}, request_bytes=80),
    Operation(USERS, "internal", "GET", "/internal/users/{user}", 2.0),
    Operation(
        CART,
        "add",
        "POST",
        "/carts/{user}/items",
        2.6,
        ok=201,
        request_bytes=110,
        response_bytes=300,
        steps=(Query("redis", CART_CACHE, "HSET", "cart", 0.5), Call(f"{FLAGS}:evaluate", share=0.1)),
    ),
    Operation(
        CART,
        "get",
        "GET",
        "/carts/{user}",
        1.9,
        response_bytes=1_300,
        steps=(Query("redis", CART_CACHE, "HGETALL", "cart", 0.6, required=True),),
    ),
    Operation(
        PRICING,
        "quote",
        "POST",
        "/shop.pricing.v1.Pricing/Quote",
        2.4,
        ok=0,
        statuses={14: 0.002, 5: 0.004},
        request_bytes=60,
        response_bytes=140,
        steps=(Call(f"{CURRENCY}:rates", share=0.5, faults=Faults(reset=0.0006)),),
    ),
    Operation(
        CURRENCY,
        "rates",
        "GET",
        "/rates?base=EUR",
        1.2,
        response_bytes=2_400,
        steps=(
            Call(f"{FLAGS}:evaluate", share=0.15),
            # Its port is excluded from the sidecar: only spans tell of these.
            Query("postgresql", RATES_DB, "SELECT", "rates", 0.9, share=0.2),
        ),
    ),
    Operation(FLAGS, "evaluate", "GET", "/v1/flags?user={user}", 0.7, response_bytes=420),
    Operation(
        ORDERS,
        "create",
        "POST",
        "/orders",
        6.5,
        ok=201,
        statuses={409: 0.004, 500: 0.002},
        request_bytes=900,
        response_bytes=600,
        inner="place order",
        steps=(
            Call(f"{PRICING}:quote", required=True),
            Call(f"{SHIPPING}:quote", alongside=True),
            Query("postgresql", ORDERS_DB, "INSERT", "orders", 2.8, required=True),
            Call(f"{PAYMENT}:charge", required=True, faults=Faults(retried=0.008, no_healthy=0.0015)),
            Query("postgresql", ORDERS_DB, "UPDATE", "orders", 1.9),
            Publish("orders.placed", BROKER, f"{NOTIFICATION}:order-placed"),
        ),
    ),
    Operation(
        ORDERS,
        "get",
        "GET",
        "/orders/{order}",
        2.9,
        statuses={404: 0.01},
        response_bytes=1_500,
        steps=(Query("postgresql", ORDERS_DB, "SELECT", "orders", 1.4, required=True),),
    ),
    Operation(
        ORDERS,
        "export",
        "GET",
        "/orders?since=yesterday&page={page}",
        24.0,
        response_bytes=88_000,
        steps=(Query("postgresql", ORDERS_DB, "SELECT", "orders", 18.0, required=True),),
    ),
    Operation(
        SHIPPING,
        "quote",
        "POST",
        "/quotes",
        4.2,
        request_bytes=200,
        response_bytes=260,
        steps=(Call(f"{PARCELS}:rates", share=0.8),),
    ),
    Operation(
        NOTIFICATION, "order-placed", "", "orders.placed", 5.0, inner="render mail", steps=(Call(f"{MAIL}:send"),)
    ),
    # Money
    Operation(
        PAYMENT,
        "charge",
        "POST",
        "/v1/charges",
        7.5,
        ok=201,
        statuses={402: 0.02},
        request_bytes=310,
        response_bytes=420,
        steps=(
            Call(f"{FRAUD}:score", required=True),
            Call(f"{CARDS}:charge", required=True),
            Call(f"{LEDGER}:append", faults=Faults(reset=0.002)),
        ),
    ),
    Operation(
        FRAUD,
        "score",
        "POST",
        "/payments.fraud.v1.Scorer/Score",
        16.0,
        0.45,
        ok=0,
        statuses={14: 0.004, 4: 0.001},
        request_bytes=260,
        response_bytes=40,
    ),
    Operation(LEDGER, "append", "POST", "/v1/entries", 3.4, ok=201, request_bytes=380, response_bytes=80),
    Operation(LEDGER, "summary", "GET", "/v1/summary?page={page}", 9.0, response_bytes=7_000),
    Operation(LEDGER, "export", "GET", "/v1/export", 20.0, response_bytes=400_000),
    # Outside
    Operation(CARDS, "charge", "POST", "/v1/charges", 140.0, 0.4, request_bytes=700, response_bytes=1_900),
    Operation(PARCELS, "rates", "POST", "/rates", 85.0, 0.5, statuses={503: 0.006}, request_bytes=300),
    Operation(ADS, "event", "POST", "/e", 45.0, 0.6, ok=204, request_bytes=180, response_bytes=0),
    Operation(MAIL, "send", "POST", "/v3/mail/send", 120.0, 0.4, request_bytes=5_400, response_bytes=1_200),
)

_POOLS = (
    Pool(ORDERS, ORDERS_DB, 4.0, 55.0, 180_000, 60_000, unreachable=0.004),
    Pool(CART, CART_CACHE, 8.0, 28.0, 24_000, 14_000),
    Pool(LEDGER, LEDGER_DB, 3.0, 70.0, 90_000, 110_000),
    Pool(ORDERS, BROKER, 0.4, 280.0, 9_000, 60_000),
    Pool(NOTIFICATION, BROKER, 0.3, 290.0, 66_000, 4_000),
    Pool(FRAUD, LEDGER_DB, 0.5, 20.0, denied=1.0, policy="ns[payments]-policy[ledger-db-clients]-rule[0]"),
)

_HALF_HOUR, _WEEK = 1800, 7 * 86_400
# 1970-01-01 was a Thursday: four days lead to a Monday.
_MONDAY_1030 = 4 * 86_400 + 10 * 3600 + 1800

_JOURNEYS = (
    Journey("home", GATEWAY, Call(f"{WEB}:home", faults=Faults(hung_up=0.002)), 1.0),
    Journey("product", GATEWAY, Call(f"{WEB}:product", faults=Faults(hung_up=0.003)), 2.1),
    Journey("search", GATEWAY, Call(f"{WEB}:search", faults=Faults(hung_up=0.004)), 0.8),
    Journey("add to cart", GATEWAY, Call(f"{WEB}:add-to-cart"), 0.55),
    Journey("checkout", GATEWAY, Call(f"{WEB}:checkout"), 0.22),
    Journey("login", GATEWAY, Call(f"{WEB}:login"), 0.3),
    Journey("order status in the app", GATEWAY, Call(f"{ORDERS}:get"), 0.25),
    Journey("nightly export that never learnt TLS", ERP, Call(f"{ORDERS}:export"), 0.05, diurnal=False),
    Journey(
        "reconciliation", RECONCILER, Call(f"{LEDGER}:summary"), 1.5, diurnal=False,
        schedule=Schedule(_HALF_HOUR, 15 * 60, 60.0),
    ),
    Journey(
        "reconciliation of single orders", RECONCILER, Call(f"{ORDERS}:get"), 2.5, diurnal=False,
        schedule=Schedule(_HALF_HOUR, 15 * 60, 60.0),
    ),
    Journey(
        "weekly settlement", SETTLEMENT, Call(f"{LEDGER}:summary"), 1.2, diurnal=False,
        schedule=Schedule(_WEEK, _MONDAY_1030, 90.0),
    ),
    Journey(
        "weekly settlement asks for too much", SETTLEMENT,
        Call(f"{LEDGER}:export", faults=Faults(denied=1.0, policy="ns[payments]-policy[no-bulk-export]-rule[0]")),
        0.1, diurnal=False, schedule=Schedule(_WEEK, _MONDAY_1030, 90.0),
    ),
)  # fmt: skip

SHOP = Topology("shop", _SERVICES, _EXTERNALS, _OPERATIONS, _POOLS, _JOURNEYS)
