"""Path templates: the column form equals the plain one, and both name what people would."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.operations import MAX_SEGMENTS, operations, template_path, template_paths


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("", ""),
        ("/", "/"),
        ("*", "/*"),
        ("/orders/8271/items?page=2", "/orders/{id}/items"),
        ("/u/550e8400-e29b-41d4-a716-446655440000/", "/u/{id}"),
        ("/blob/9f86d081884c7d65", "/blob/{id}"),
        ("/api/v1/products/OLJCESPC7Z", "/api/v1/products/{id}"),
        ("/api/v1.2/x", "/api/v1.2/x"),
        ("/apis/apps/v1beta1/deployments", "/apis/apps/v1beta1/deployments"),
        ("/oauth2/token", "/oauth2/token"),
        ("/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Check"),
        ("/hipstershop.CartService/GetCart", "/hipstershop.CartService/GetCart"),
        ("/users/me@example.com", "/users/{id}"),
        ("/search/a%20b", "/search/{id}"),
        ("/watch/dQw4w9WgXcQ", "/watch/{id}"),
        ("/order-17/x", "/{id}/x"),
        ("//a///b", "/a/b"),
        ("/a;jsessionid=1/b#c", "/a/b"),
        ("http://webapp:7000/books/7", "/books/{id}"),
        ("/x?next=http://h/y", "/x"),
        ("/" + "/".join("abcdefghijklmnop"), "/a/b/c/d/e/f/g/h/i/j/k/l/**"),
        ("/" + "w" * 41, "/{id}"),
    ],
)
def test_templates(path: str, template: str) -> None:
    assert template_path(path) == template


WORDS = st.sampled_from(
    ["api", "v1", "v2beta1", "orders", "8271", "deadbeef01", "A1B2C3", "a.b", "x1y2z3", "é", "", "a;b"]
)
PATHS = st.one_of(
    st.lists(WORDS, max_size=16).map(lambda words: "/" + "/".join(words)),
    st.text(max_size=60),
    st.text("abz019AZ-_.:~@%/?#;\n ", max_size=60),
)


@settings(deadline=None)
@given(st.lists(PATHS, max_size=20))
def test_columns_equal_the_plain_rule(paths: list[str]) -> None:
    assert template_paths(pa.array(paths, pa.string())).to_pylist() == [template_path(path) for path in paths]


@settings(deadline=None)
@given(PATHS)
def test_a_template_is_bounded_and_its_own_template(path: str) -> None:
    template = template_path(path)
    assert template.count("/") <= MAX_SEGMENTS + 1
    assert "?" not in template
    again = template_path(template.replace("{id}", "7"))
    assert again == template


def test_operations_of_columns() -> None:
    methods = pa.array(["GET", "GET", None, "BAD METHOD", "CONNECT", ""])
    paths = pa.array(["/a/1", "/a/2?x", None, "/a", None, "/b"])
    column = operations(methods, paths)
    assert column.to_pylist() == ["GET /a/{id}", "GET /a/{id}", "", "_OTHER /a", "CONNECT", "/b"]
    values = column.dictionary.to_pylist()
    assert len(values) == len(set(values))
    assert operations(methods.dictionary_encode(), paths.dictionary_encode()).to_pylist() == column.to_pylist()
    assert operations(methods[:0], paths[:0]).to_pylist() == []
