"""Policy files: what is read, what is refused, and that the place of the trouble is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers.policy.documents import Value, listed, read_documents
from analyzers.policy.errors import BadPolicy


def plain(text: str | bytes) -> list[Any]:
    content = text.encode() if isinstance(text, str) else text
    return [document.plain() for document in read_documents("p.yaml", content)]


def test_documents_lists_and_json_are_read_alike() -> None:
    one, two = {"kind": "A", "metadata": {"name": "x"}}, {"kind": "B", "spec": {"rules": [{}], "on": True}}
    for text in (
        "kind: A\nmetadata: {name: x}\n---\n---\nkind: B\nspec:\n  rules: [{}]\n  on: true\n",
        json.dumps({"apiVersion": "v1", "kind": "List", "items": [one, two]}),
        json.dumps([one, two], indent=2),
        "\ufeff" + json.dumps(one) + "\n---\n" + json.dumps(two),
    ):
        assert plain(text) == [one, two]


def test_times_are_text_and_nulls_are_missing() -> None:
    assert plain("a: 2020-01-01T00:00:00Z\nb: ~\nc: {d: null}") == [{"a": "2020-01-01T00:00:00Z", "c": {}}]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: &x 1\nb: *x", "line 2: an anchor is used, expected each object written out"),
        ("a: 1\nb:\n  c: 1\n  c: 2", "line 4: key 'c' stands twice, expected it once"),
        ("a: !!python/object/apply:os.system [x]", "line 1: a value of type"),
        ("? [a]\n: 1", "line 1: a key is no plain text"),
        ("", "nothing in it, expected policies as YAML or JSON"),
        ("---\n---\n", "nothing in it"),
        ("a: [1", "line 2, column 1"),
        ("a: " + "[" * 100 + "]" * 100, "nested too deeply, expected at most 64 levels"),
        ("[[[[[[{}]]]]]]", "lists of lists"),
        ("just text", "'just text', expected an object"),
        (b"a: \xff", "byte 3 is not UTF-8"),
    ],
)
def test_what_people_and_controllers_would_read_differently_is_refused(text: str | bytes, why: str) -> None:
    with pytest.raises(BadPolicy) as refused:
        plain(text)
    message = str(refused.value)
    assert message.startswith("p.yaml: ") and why in message and "\n" not in message


def test_a_billion_laughs_is_no_laughing_matter() -> None:
    levels = "".join(f"l{n}: &l{n} [*l{n - 1}, *l{n - 1}]\n" for n in range(1, 40))
    with pytest.raises(BadPolicy, match="an anchor is used"):
        plain("l0: &l0 [lol]\n" + levels)


def test_views_refuse_other_types_with_line_and_field() -> None:
    (document,) = read_documents("p.yaml", b"spec:\n  rules:\n  - to: 5\n    n: 70000\n    b: 'true'\n    z: 1\n")
    rule: Value = document.fields()["spec"].fields()["rules"].items()[0]
    fields = rule.fields("to", "n", "b", "z")
    for view, why in (
        (lambda: fields["to"].text(), "line 3: spec.rules[0].to: 5, expected text"),
        (lambda: fields["to"].items(), "line 3: spec.rules[0].to: 5, expected a list"),
        (lambda: fields["to"].fields(), "line 3: spec.rules[0].to: 5, expected an object"),
        (
            lambda: fields["n"].integer(0, 65535),
            "line 4: spec.rules[0].n: 70000, expected a whole number of 0 to 65535",
        ),
        (lambda: fields["b"].boolean(), "line 5: spec.rules[0].b: 'true', expected true or false"),
        (lambda: rule.fields("to", "n", "b"), "line 6: spec.rules[0].z: unknown field, expected to, n or b"),
        (lambda: fields["b"].one_of("x", "y"), "line 5: spec.rules[0].b: 'true', expected x or y"),
    ):
        with pytest.raises(BadPolicy) as refused:
            view()
        assert str(refused.value) == f"p.yaml: {why}"
    assert fields["z"].integer(0, 9) == 1


JSON = st.recursive(
    st.booleans() | st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abcxyz", min_size=1, max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(document=st.dictionaries(st.text("abcdef", min_size=1, max_size=4), JSON, min_size=1, max_size=4))
def test_json_is_read_as_it_is_written(document: dict[str, Any]) -> None:
    assert plain(json.dumps(document, ensure_ascii=False)) == [document]


def test_long_lists_of_names_are_cut() -> None:
    assert listed("a") == "a"
    assert listed("abc") == "a, b or c"
    assert listed(str(n) for n in range(20)).endswith("11 or 8 more")
