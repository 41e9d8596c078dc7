"""Learnt templates and rules: what they say, that they are bounded and stable, and that order plays no part."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Collection, Iterable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.operations import template_path
from collector.operations.learnt import Learnt, generalize
from collector.operations.names import OperationBook, name_operations
from collector.operations.rules import Rule, first_fit, problem


def learn(
    paths: Iterable[str], known: Collection[str] = (), *, max_values: int = 2, max_templates: int = 1000
) -> Learnt:
    texts = pa.array(list(paths), pa.string())
    services = np.zeros(len(texts), np.int32)
    return generalize(services, texts, {0: known}, max_values=max_values, max_templates=max_templates)


def reference(paths: Iterable[str], known: Collection[str], max_values: int) -> set[str]:
    """The rule in plain words: level by level, a place with a known mark or too many words becomes `{id}`."""
    rows = [(path.split("/")[1:] if path != "/" else [], False) for path in paths]
    rows += [(prefix.split("/")[1:], True) for prefix in known]
    for level in range(14):
        children: dict[tuple[str, ...], set[str]] = defaultdict(set)
        collapsed: set[tuple[str, ...]] = set()
        for words, is_mark in rows:
            if len(words) == level and is_mark:
                collapsed.add(tuple(words))
            elif len(words) > level and words[level] not in ("{id}", "**"):
                children[tuple(words[:level])].add(words[level])
        collapsed |= {prefix for prefix, found in children.items() if len(found) > max_values}
        for words, _ in rows:
            if len(words) > level and tuple(words[:level]) in collapsed and words[level] != "**":
                words[level] = "{id}"
    return {"/" + "/".join(words) for words, is_mark in rows if not is_mark}


WORD = st.sampled_from(["a", "b", "c", "users", "{id}", "é"])
PATH = st.lists(WORD, max_size=4).map(lambda words: "/" + "/".join(words))
PATHS = st.lists(PATH, max_size=25)
PREFIX = st.lists(WORD, max_size=3).map(lambda words: "".join(f"/{word}" for word in words))


@settings(max_examples=150, deadline=None)
@given(PATHS, st.lists(PREFIX, max_size=3), st.integers(0, 4))
def test_columns_equal_the_plain_rule(paths: list[str], known: list[str], max_values: int) -> None:
    found = learn(paths, known, max_values=max_values)
    assert set(found.paths.to_pylist()) == reference(paths, known, max_values)
    assert len(found.paths) == len(paths)


@settings(max_examples=100, deadline=None)
@given(PATHS, st.integers(0, 4), st.randoms(use_true_random=False))
def test_order_and_repetition_play_no_part(paths: list[str], max_values: int, chance: random.Random) -> None:
    once = learn(paths, max_values=max_values, max_templates=14)
    shuffled = [*paths, *paths]
    chance.shuffle(shuffled)
    again = learn(shuffled, max_values=max_values, max_templates=14)
    assert again.prefixes == once.prefixes
    assert dict(zip(shuffled, again.paths.to_pylist(), strict=True)) == dict(
        zip(paths, once.paths.to_pylist(), strict=True)
    )


@settings(max_examples=100, deadline=None)
@given(PATHS, PATHS, st.integers(0, 4))
def test_what_is_learnt_stays(first: list[str], second: list[str], max_values: int) -> None:
    """Learning again from the same paths, from their templates, or beside new paths, never takes a template back."""
    known = learn(first, max_values=max_values, max_templates=14)
    prefixes = known.prefixes.get(0, frozenset())
    again = learn([*first, *known.paths.to_pylist()], prefixes, max_values=max_values, max_templates=14)
    assert again.prefixes == known.prefixes
    assert again.paths.to_pylist()[: len(first)] == known.paths.to_pylist()
    templates = dict(
        zip(first, learn([*first, *second], prefixes, max_values=max_values).paths.to_pylist(), strict=False)
    )
    for path, template in zip(first, known.paths.to_pylist(), strict=True):
        kept = zip(template.split("/"), templates[path].split("/"), strict=True)
        assert all(new == "{id}" for old, new in kept if old == "{id}")


def test_services_do_not_learn_from_each_other() -> None:
    services = np.array([0, 0, 0, 1, 1], np.int32)
    paths = pa.array(["/u/ann", "/u/bob", "/u/eve", "/u/ann", "/u/bob"])
    found = generalize(services, paths, {}, max_values=2, max_templates=100)
    assert found.paths.to_pylist() == ["/u/{id}", "/u/{id}", "/u/{id}", "/u/ann", "/u/bob"]
    assert found.prefixes == {0: {"/u"}}


def test_a_known_prefix_below_a_new_one_is_still_known() -> None:
    found = learn(["/a/b/x", "/b/b/x", "/c/b/y"], ["/a/b"])
    assert set(found.paths.to_pylist()) == {"/{id}/b/{id}"}
    assert found.prefixes == {0: {"", "/{id}/b"}}


def test_templates_are_bounded_whatever_the_paths_are() -> None:
    chance = random.Random(1)
    words = ["".join(chance.choices("abcdefgh", k=4)) for _ in range(50)]
    deep = ["/" + "/".join(chance.choices(words, k=chance.randint(1, 12))) for _ in range(20_000)]
    wide = ["/" + "".join(chance.choices("abcdefghijklm", k=12)) for _ in range(20_000)]
    for paths in (deep, wide, [*deep, *wide]):
        found = learn(paths, max_values=50, max_templates=200)
        assert len(set(found.paths.to_pylist())) <= 200
        assert len(found.prefixes[0]) <= 200


def calls(*rows: tuple[str, str, str], namespace: str = "shop") -> pa.RecordBatch:
    """Rows of (service, operation, path)."""
    services, operations, paths = zip(*rows, strict=True)
    return pa.RecordBatch.from_pydict(
        {
            "destination_namespace": pa.array([namespace] * len(rows)),
            "destination_service": pa.array(services, pa.string()),
            "destination_workload": pa.array(["w"] * len(rows)),
            "operation": pa.array(operations, pa.string()).dictionary_encode(),
            "path": pa.array(paths, pa.string()),
        }
    )


def named(batch: pa.RecordBatch, book: OperationBook) -> list[str]:
    return name_operations(batch, book).column("operation").to_pylist()


def test_a_batch_under_what_is_known() -> None:
    book = OperationBook(7, learnt={("shop", "users"): frozenset({"/users"}), ("shop", "w"): frozenset({""})})
    batch = calls(
        ("users", "GET /users/ann/cart", ""),
        ("users", "/users/ann", ""),
        ("users", "GET /users", ""),
        ("cart", "GET /users/ann/cart", ""),
        ("", "PUT /x", ""),
        ("users", "", ""),
        ("users", "CONNECT", ""),
        ("users", "say hello /users/ann", ""),
    )
    assert named(batch, book) == [
        "GET /users/{id}/cart",
        "/users/{id}",
        "GET /users",
        "GET /users/ann/cart",
        "PUT /{id}",
        "",
        "CONNECT",
        "say hello /users/ann",
    ]
    assert named(batch.slice(0, 0), book) == []


def test_a_batch_is_bounded_before_anything_is_learnt() -> None:
    chance = random.Random(2)
    rows = [("x", f"GET /{''.join(chance.choices('abcdef', k=9))}/y", "") for _ in range(5000)]
    assert set(named(calls(*rows), OperationBook())) == {"GET /{id}/y"}


@pytest.mark.parametrize(
    ("template", "path", "fits"),
    [
        ("/cart/{id}/items", "/cart/ann/items", True),
        ("/cart/{id}/items", "/cart/ann/items/?a=/b", True),
        ("/cart/{id}/items", "http://cart:80/cart/ann/items#x", True),
        ("/cart/{id}/items", "/cart;v=1/ann;x/items", True),
        ("/cart/{id}/items", "/cart/ann/items/7", False),
        ("/cart/{id}/items", "/x/cart/ann/items", False),
        ("/cart/{id}/items", "/cart//items", False),
        ("/cart/{id}/items", "/cart/a?b/items", False),
        ("/files/**", "/files/a/b.txt", True),
        ("/files/**", "/files", True),
        ("/files/**", "/filesystem", False),
        ("/a.b(c)", "/a.b(c)", True),
        ("/a.b", "/aXb", False),
        ("/", "/", True),
        ("/", "/?q", True),
        ("/", "/a", False),
        ("/**", "/anything/at/all", True),
        ("/ü", "/ü", True),
    ],
)
def test_what_a_rule_fits(template: str, path: str, fits: bool) -> None:
    assert (first_fit(pa.array([path]), [Rule("*", template)]).tolist() == [0]) is fits
    assert problem(Rule("*", template)) == ""


@pytest.mark.parametrize(
    ("service", "template"),
    [("*", "cart"), ("*", "/a//b"), ("*", "/**/a"), ("*", "/a?b"), ("", "/a"), ("a/b/c", "/a"), ("*", "/a" * 14)],
)
def test_rules_that_are_refused(service: str, template: str) -> None:
    assert problem(Rule(service, template))


def test_rules_outrank_what_was_learnt_and_the_fixed_rule() -> None:
    rules = (Rule("shop/users", "/users/me"), Rule("users", "/users/{name}"), Rule("*", "/v/x1y2z3"))
    book = OperationBook(1, rules, {("shop", "users"): frozenset({"/users"})})
    batch = calls(
        ("users", "GET /users/me", "/users/me?x"),
        ("users", "GET /users/ann", "/users/ann"),
        ("users", "GET /users/ann/cart", "/users/ann/cart"),
        ("cart", "GET /users/ann", "/users/ann"),
        ("cart", "PUT /v/{id}", "/v/x1y2z3"),
        ("users", "/users/me", "/users/me"),
    )
    assert named(batch, book) == [
        "GET /users/me",
        "GET /users/{name}",
        "GET /users/{id}/cart",
        "GET /users/ann",
        "PUT /v/x1y2z3",
        "/users/me",
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=20))
def test_any_text_is_an_operation(texts: list[str]) -> None:
    rows = [("s", f"GET {template_path(text)}" if place % 2 else text, text) for place, text in enumerate(texts)]
    book = OperationBook(1, (Rule("*", "/a/{b}/**"),), {("shop", "s"): frozenset({"", "/{id}"})})
    assert len(named(calls(*rows), book)) == len(texts)
