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


@pytest.mark.parametrize("between", ["\n", "\r\n", "\n\n  \n", " \n", "\n---\n"])
def test_json_documents_may_follow_each_other(between: str) -> None:
    one, two = {"Kind": "a", "Text": "}\n{ ]\n["}, {"Kind": "b", "List": [{}, []]}
    texts = [json.dumps(one, indent=4), json.dumps(two), json.dumps([two, one])]
    found = [*read_documents("p.json", between.join(texts).encode())]
    assert [document.plain() for document in found] == [one, two, two, one]
    # Each knows its line.
    second = 3 + between.count("\n") + 1
    assert [document.line for document in found[:2]] == [1, second]


def test_json_documents_on_one_line_and_broken_ones_are_refused() -> None:
    for text in ('{"a": 1}{"b": 2}', '{"a": 1}\n{"b": 2', '{"a": [\n{"b": 1}\n{"c": 2}\n]}', '{"a":\n]\n{}'):
        with pytest.raises(BadPolicy, match=r"^p.yaml: line \d, column \d+: "):
            plain(text)


def test_braces_in_a_block_of_text_part_nothing() -> None:
    assert plain("data: |\n  {a}\n  {b}\n") == [{"data": "{a}\n{b}\n"}]


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


def test_a_file_has_so_many_values_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analyzers.policy.documents.MAX_VALUES", 8)
    assert plain("a: [x]\nb: {c: d}\n") == [{"a": ["x"], "b": {"c": "d"}}]
    with pytest.raises(BadPolicy, match=r"p.yaml: line 4: more than 8 values, expected fewer"):
        plain("a: [1]\nb: c\nd:\n- e")


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


@pytest.mark.parametrize("text", ["010", "0o10", "0x1F", "0b11", "1_000", "1e3", "1.0e+3", "1:30", "08", "+5", "'5'"])
def test_numbers_that_readers_take_for_different_ones_are_refused(text: str) -> None:
    (document,) = read_documents("p.yaml", f"port: {text}".encode())
    with pytest.raises(BadPolicy, match=r"p.yaml: line 1: port: .*, expected a whole number of 0 to 65535"):
        document.fields()["port"].integer(0, 65535)


def test_numbers_in_plain_digits_are_read() -> None:
    (document,) = read_documents("p.yaml", b"a: [0, 7, -12, 65535]")
    assert [item.integer(-20, 65535) for item in document.fields()["a"].items()] == [0, 7, -12, 65535]


@pytest.mark.parametrize("text", ["1e3", "0o17", "08", "1_0e3", "-.5e1", "123456e12", "7.", "0x_1F", "12", "on"])
def test_what_kubernetes_reader_takes_for_no_text_is_none(text: str) -> None:
    def value(written: str) -> Value:
        (document,) = read_documents("p.yaml", f"app: {written}".encode())
        return document.fields()["app"]

    assert not value(text).is_text
    with pytest.raises(BadPolicy, match=r"p.yaml: line 1: app: .*, expected text"):
        value(text).text()
    for quoted in (f"'{text}'", f'"{text}"', f"|-\n  {text}"):
        assert value(quoted).is_text and value(quoted).text() == text


@pytest.mark.parametrize(
    "text", ["1:30", "12:34:56", "1e", "e3", "1e3a", "0x", "0b2", "yy", "nn", "_1", "1.2.3", "10.0.0.0/8", "+a"]
)
def test_what_kubernetes_reader_takes_for_text_is_text(text: str) -> None:
    (document,) = read_documents("p.yaml", f"app: {text}".encode())
    assert document.fields()["app"].is_text and document.fields()["app"].text() == text


@pytest.mark.parametrize("text", ["maybe", "y", "1"])
def test_a_tag_makes_no_truth_of_a_text(text: str) -> None:
    (document,) = read_documents("p.yaml", f"on: !!bool {text}".encode())
    with pytest.raises(BadPolicy, match="expected true or false"):
        document.fields()["on"].boolean()


def labels(text: str) -> Value:
    (document,) = read_documents("p.yaml", f"labels: {text}".encode())
    return document.fields()["labels"]


def test_no_label_gets_lost() -> None:
    assert labels("{app: web, 8080: x, 'on': '', '1.10': z}").text_map() == {
        "app": "web",
        "8080": "x",
        "on": "",
        "1.10": "z",
    }
    for null in ("", "~", "null"):
        with pytest.raises(BadPolicy, match=r"labels.app: null, expected text"):
            labels(f"{{tier: a, app: {null}}}").text_map()
        # As Go decodes it into a map of texts.
        assert labels(f"{{tier: a, app: {null}}}").text_map(null="") == {"tier": "a", "app": ""}


@pytest.mark.parametrize("name", ["on", "y", "1.10", "010", "0x1F", "1e3", "~"])
def test_names_of_labels_that_kubernetes_reader_changes_are_refused(name: str) -> None:
    with pytest.raises(BadPolicy) as refused:
        labels(f"{{a: b, {name}: c}}").text_map()
    assert f"name {name} without quotes, expected it in quotes" in str(refused.value)
    assert labels(f"{{'{name}': c}}").text_map() == {name: "c"}


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
