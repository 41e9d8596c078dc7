"""Cutting JSON lines by templates gives what reading them one by one gives."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.decode.json_object import read_object
from collector.decode.json_shapes import Refused, Shape, Wanted, one_by_one, shapes
from collector.decode.json_template import QuotedLines, Template
from collector.decode.limits import DEFAULT_LIMITS, Limits
from collector.decode.spans import Spans

WANTED = {"line": Wanted(frozenset({"a", "b", "n", "o", "known_longer_key"}), telling=("x.", 'k"'))}


def classify(keys: Any) -> str:
    return "line"


def rows_of(groups: list[Shape], refused: Refused) -> dict[int, Any]:
    """Every row as plain values, however the rows were grouped."""
    rows: dict[int, Any] = {}
    for shape in groups:
        extra = shape.extra.to_pylist()
        for place, row in enumerate(shape.rows.tolist()):
            cells: dict[str, Any] = {}
            for key, column in shape.columns.items():
                if column.present is None or column.present[place]:
                    quoted = column.quoted is None or bool(column.quoted[place])
                    cells[key] = (column.text[place].as_py(), quoted)
            assert row not in rows
            rows[row] = (cells, dict(extra[place]))
    for row, reason in refused:
        assert row not in rows
        rows[row] = reason
    return rows


def fast(lines: list[bytes], limits: Limits = DEFAULT_LIMITS) -> dict[int, Any]:
    return rows_of(*shapes(Spans.of(pa.array(lines, pa.binary())), classify, WANTED, limits))


def slow(lines: list[bytes], limits: Limits = DEFAULT_LIMITS) -> dict[int, Any]:
    text = pa.array(lines, pa.binary())
    return rows_of(*one_by_one(text, np.arange(len(lines)), classify, WANTED, limits))


text_values = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["", "-", 'quo"te', "back\\slash", "\\\\", "ta\tb", "é", "\U0001f600", "a:b,{}"]),
)
scalars = st.one_of(
    text_values,
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(text_values, inner, max_size=3)),
    max_leaves=4,
)
keys = st.sampled_from(["a", "b", "n", "o", "known_longer_key", "other", "x.y", 'k"ey', "ключ"])
objects = st.dictionaries(keys, values, max_size=6)


def varied(draw: st.DrawFn, value: Any) -> Any:
    """`value` with other numbers and texts at any depth."""
    if isinstance(value, dict):
        return {key: varied(draw, inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [varied(draw, inner) for inner in value]
    if isinstance(value, (int, float, str)) and not isinstance(value, bool) and draw(st.booleans()):
        return draw(text_values) if isinstance(value, str) else draw(st.integers(-99, 10**12))
    return value


@st.composite
def batches(draw: st.DrawFn) -> list[bytes]:
    """Lines of a few shapes with varied values, in one way of writing or another; some are damaged."""
    models = draw(st.lists(objects, min_size=1, max_size=3))
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,", " :")]))
    lines: list[bytes] = []
    for model in draw(st.lists(st.sampled_from(models), min_size=1, max_size=8)):
        record = {key: draw(scalars) if draw(st.booleans()) else varied(draw, value) for key, value in model.items()}
        text = json.dumps(record, separators=separators, ensure_ascii=draw(st.booleans()))
        line = text.encode("utf-8", "surrogatepass")
        if draw(st.integers(0, 4)) == 0 and line:
            place = draw(st.integers(0, len(line) - 1))
            line = line[:place] + draw(st.binary(max_size=2)) + line[place + draw(st.integers(0, 2)) :]
        lines.append(line)
    return lines


@settings(max_examples=200, deadline=None)
@given(batches())
def test_template_cut_equals_reading_one_by_one(lines: list[bytes]) -> None:
    assert fast(lines) == slow(lines)


@settings(max_examples=100, deadline=None)
@given(batches(), st.binary(max_size=40))
def test_a_neighbour_changes_nothing(lines: list[bytes], hostile: bytes) -> None:
    alone = fast(lines)
    together = fast([hostile, *lines])
    assert {row - 1: value for row, value in together.items() if row} == alone


def test_null_of_a_telling_key_is_the_empty_text_and_of_others_nothing() -> None:
    lines = [b'{"a":"1","x.y":null,"other":null}', b'{"a":"2","x.y":"-","xy":null}', b'{"a":"3","x":null}']
    expected = {0: {"x.y": ""}, 1: {"x.y": "-"}, 2: {}}
    assert {row: extra for row, (_, extra) in fast(lines).items()} == expected
    assert {row: extra for row, (_, extra) in slow(lines).items()} == expected


def test_no_line_of_one_shape_takes_the_slow_way() -> None:
    lines = [f'{{"a":"v{i}","b":null,"n":{i * 7 % 1000},"o":"q\\"{i}\\\\"}}'.encode() for i in range(40_000)]
    groups, refused = shapes(Spans.of(pa.array(lines, pa.binary())), classify, WANTED, DEFAULT_LIMITS)
    assert not refused
    assert len(groups) == 1
    assert groups[0].rows.tolist() == list(range(40_000))
    # Only what is read one by one gets a mask of its quoted values.
    assert groups[0].columns["o"].quoted is None
    assert groups[0].columns["o"].text[3].as_py() == 'q"3\\'
    assert groups[0].columns["b"].text.null_count == len(groups[0].rows)


def test_numbers_in_nested_objects_make_no_shapes_of_their_own() -> None:
    lines = [f'{{"a":{{"port":{i},"of":[{{"at":{i * 31}}},[1,2]]}},"n":1}}'.encode() for i in range(300)]
    spans = Spans.of(pa.array(lines, pa.binary()))
    quoted = QuotedLines(spans)
    template = Template.of(lines[0], quoted.quotes[: quoted.quote_count[0]], 32)
    assert template is not None
    assert template.match(quoted, np.arange(300)).rows.tolist() == list(range(300))
    assert fast(lines)[299][0]["a"] == ('{"port":299,"of":[{"at":9269},[1,2]]}', False)


def test_brackets_in_strings_are_no_depth() -> None:
    inside = '{"a":"' + "[{" * 40 + '","b":[' + "[" * 3 + "]" * 3 + "]}"
    assert read_object(inside.encode(), Limits(depth=5)).keys() == {"a", "b"}
    with pytest.raises(ValueError, match="nested deeper than 4 levels"):
        read_object(inside.encode(), Limits(depth=4))


def test_null_and_missing_keys_differ() -> None:
    rows = fast([b'{"a":null,"n":1}', b'{"n":1}', b'{"a":"","n":1}'])
    assert rows[0][0] == {"a": (None, True), "n": ("1", False)}
    assert rows[1][0] == {"n": ("1", False)}
    assert rows[2][0] == {"a": ("", True), "n": ("1", False)}


def test_forged_structure_inside_a_value_stays_a_value() -> None:
    forged = b'{"a":"x\\",\\"b\\":\\"y","b":"real","n":1}'
    rows = fast([b'{"a":"x","b":"y","n":1}', forged])
    assert rows[1][0] == {"a": ('x","b":"y', True), "b": ("real", True), "n": ("1", False)}


def test_other_keys_keep_their_text() -> None:
    row = fast([b'{"a":"1","list":[1, {"k":"v"}],"num":1.50,"yes":true,"none":null,"s":"t"}'])[0]
    assert row[1] == {"list": '[1, {"k":"v"}]', "num": "1.50", "yes": "true", "s": "t"}


def test_limits_are_named() -> None:
    limits = Limits(record_bytes=200, keys=3, depth=4, value_bytes=50)
    rows = fast(
        [
            b'{"a":"' + b"x" * 300 + b'"}',
            b'{"a":1,"b":2,"n":3,"o":4}',
            b'{"a":[[[[[1]]]],[],[],[]]}',
            b'{"a":"' + b"x" * 51 + b'"}',
            b'{"a":"fine"}',
        ],
        limits,
    )
    assert rows[0] == "record of 308 bytes, the limit is 200"
    assert rows[1] == "JSON object with 4 keys, the limit is 3"
    assert rows[2] == "JSON nested deeper than 4 levels"
    assert rows[3] == "key 'a' holds 51 bytes, the limit is 50"
    assert rows[4] == ({"a": ("fine", True)}, {})


def test_very_deep_nesting_is_refused() -> None:
    rows = fast([b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}", b'{"a":"fine"}'])
    assert rows[0] == "JSON nested deeper than 32 levels"
    assert rows[1] == ({"a": ("fine", True)}, {})


def test_many_shapes_are_all_read() -> None:
    lines = [json.dumps({f"k{i % 200}": i, "a": "x"}).encode() for i in range(1000)]
    rows = fast(lines)
    assert rows == slow(lines)
    assert rows[999][1] == {"k199": "999"}


def test_every_single_damage_to_a_line_is_seen() -> None:
    model = b'{"a":"x","n":10,"o":-1.5e3,"b":null,"t":true,"d":{"k":["v",2]}}'
    pieces = [b"", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b" ", b"0", b"1", b".", b"-", b"e", b"n", b"\xff"]
    damaged = [
        model[:place] + piece + model[place + removed :]
        for place in range(len(model) + 1)
        for piece in pieces
        for removed in (0, 1)
    ]
    # The sound line leads: its template is the one that the damaged ones are compared with.
    lines = [model] * 3 + damaged
    found, expected = fast(lines), slow(lines)
    for row, line in enumerate(lines):
        assert found[row] == expected[row], line
