"""Spans that state no operation are named as calls are: no raw path, by the rules and by what was learnt."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.operations.names import OperationBook
from collector.operations.rules import Rule
from collector.operations.span_names import name_spans

COLUMNS = (
    *("operation", "name", "method", "path", "protocol", "kind"),
    *("namespace", "service", "workload", "peer_namespace", "peer_service", "peer_host"),
)

LONG = "/a.very.long.package.name.of.somebody.v1.Orders/Place"


def named(*spans: dict[str, str], book: OperationBook | None = None) -> list[str]:
    columns = {name: pa.array([span.get(name, "") for span in spans], pa.string()) for name in COLUMNS}
    return name_spans(pa.RecordBatch.from_pydict(columns), book or OperationBook()).column("operation").to_pylist()


@pytest.mark.parametrize(
    ("span", "operation"),
    [
        ({"name": "GET /orders/1234"}, "GET /orders/{id}"),
        ({"name": "get /orders/1234?x=1"}, "GET /orders/{id}"),
        ({"name": "HTTP GET /orders/1234"}, "GET /orders/{id}"),
        ({"name": "GET http://orders:8080/orders/1234"}, "GET /orders/{id}"),
        ({"name": "/orders/1234", "method": "PUT"}, "PUT /orders/{id}"),
        ({"name": "/orders/1234"}, "/orders/{id}"),
        ({"name": "process /orders/1234"}, "process /orders/{id}"),
        # Instrumentation without routes says the method only.
        ({"name": "GET", "method": "GET", "path": "/orders/1234?x=1"}, "GET /orders/{id}"),
        ({"name": "http get", "path": "/orders/1234"}, "GET /orders/{id}"),
        ({"name": "", "method": "GET", "path": "/orders/1234"}, "GET /orders/{id}"),
        ({"name": "http get"}, "GET"),
        # Words that are methods to somebody are just names here.
        ({"name": "search", "path": "/orders/1234"}, "search"),
        ({"name": "handle"}, "handle"),
        (
            {"name": "reviews.default.svc.cluster.local:9080/*", "method": "GET"},
            "reviews.default.svc.cluster.local:9080/*",
        ),
        # A procedure's name is no path, however long it is.
        ({"name": LONG, "protocol": "grpc"}, LONG),
        # What a span states wins.
        (
            {"operation": "GET /orders/{number}", "name": "GET /orders/1234", "path": "/orders/1234"},
            "GET /orders/{number}",
        ),
        ({"operation": "GET /orders/7", "name": "GET"}, "GET /orders/7"),
    ],
)
def test_the_fixed_rule(span: dict[str, str], operation: str) -> None:
    assert named(span) == [operation]
    assert named({"name": "other"}, span, {"operation": "stated"}) == ["other", operation, "stated"]


def test_rules_and_what_was_learnt_are_of_the_service_that_serves() -> None:
    book = OperationBook(
        rules=(Rule("shop/cart", "/carts/{owner}"),), learnt={("shop", "users"): frozenset({"/users"})}
    )
    get = {"method": "GET", "name": "GET", "namespace": "shop"}
    spans = [
        get | {"kind": "server", "service": "users", "path": "/users/ann"},
        get | {"kind": "client", "service": "users", "path": "/users/ann"},
        get
        | {"kind": "client", "service": "web", "peer_service": "users", "peer_namespace": "shop", "path": "/users/ann"},
        get | {"kind": "server", "service": "cart", "path": "/carts/ann"},
        get | {"kind": "client", "service": "web", "peer_host": "cart", "path": "/carts/ann"},
        get | {"kind": "server", "service": "cart", "path": "/carts/ann", "operation": "GET /carts/{user}"},
    ]
    assert named(*spans, book=book) == [
        *("GET /users/{id}", "GET /users/ann", "GET /users/{id}"),
        *("GET /carts/{owner}", "GET /carts/ann", "GET /carts/{user}"),
    ]


def test_a_batch_adds_no_more_templates_than_allowed() -> None:
    words = ("ann", "bob", "cyd", "dee", "eve")
    spans = [{"name": f"GET /{word}/{other}", "service": "a", "kind": "server"} for word in words for other in words]
    assert set(named(*spans, book=OperationBook(max_values=4))) == {"GET /{id}/{id}"}


ANY = st.fixed_dictionaries(
    {},
    optional={
        name: st.sampled_from(["", "GET", "a b", "http get", "/a/1\n", "é /1", "client", "HTTP GET http://", "GET ?"])
        | st.text(max_size=9)
        for name in COLUMNS
    },
)


@given(st.lists(ANY, max_size=6))
def test_any_text_has_a_name_of_its_own(spans: list[dict[str, str]]) -> None:
    """Each span is named by itself: its neighbours play no part, unless they are too many."""
    found = named(*spans)
    assert found == [named(span)[0] for span in spans]
    stated = [span.get("operation", "") for span in spans]
    assert [name for name, said in zip(found, stated, strict=True) if said] == [said for said in stated if said]


def test_columns_that_a_decoder_leaves_out() -> None:
    spans = pa.RecordBatch.from_pydict({"name": pa.array(["GET /a/1", None])})
    assert name_spans(spans, OperationBook()).column("operation").to_pylist() == ["GET /a/{id}", ""]
    assert name_spans(spans.slice(0, 0), OperationBook()).num_rows == 0
