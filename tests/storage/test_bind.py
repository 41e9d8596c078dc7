"""Bound values come back unchanged, or are refused in clear words; nothing of a value is ever read as SQL."""

from __future__ import annotations

import ipaddress
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.bind import bind, holes
from storage.engine import Engine
from storage.errors import BadParameter

TEXT = st.text()
INSTANT = st.datetimes(datetime(1900, 1, 1), datetime(2261, 12, 31), timezones=st.just(UTC))
MILLISECOND = INSTANT.map(lambda v: v.replace(microsecond=v.microsecond // 1000 * 1000))
SECOND = st.datetimes(datetime(1970, 1, 1), datetime(2106, 1, 1), timezones=st.just(UTC)).map(
    lambda v: v.replace(microsecond=0)
)
DAY = st.dates(date(1970, 1, 1), date(2149, 6, 6))
NUMBER = st.floats(allow_nan=False)

# ClickHouse type, values, and how Arrow gives a value back.
ROUND_TRIPS: list[tuple[str, st.SearchStrategy[Any], Any]] = [
    ("String", TEXT, None),
    ("LowCardinality(String)", TEXT, None),
    ("Array(String)", st.lists(TEXT), None),
    ("Array(Array(String))", st.lists(st.lists(TEXT)), None),
    ("Nullable(String)", st.none() | TEXT, None),
    ("Array(Nullable(String))", st.lists(st.none() | TEXT), None),
    ("Map(String, String)", st.dictionaries(TEXT, TEXT), lambda v: list(v.items())),
    ("Map(LowCardinality(String), Array(String))", st.dictionaries(TEXT, st.lists(TEXT)), lambda v: list(v.items())),
    ("Tuple(String, UInt8)", st.tuples(TEXT, st.integers(0, 255)), lambda v: {"1": v[0], "2": v[1]}),
    ("Array(Tuple(String, String))", st.lists(st.tuples(TEXT, TEXT)), lambda v: [{"1": a, "2": b} for a, b in v]),
    *[(f"UInt{bits}", st.integers(0, 2**bits - 1), None) for bits in (8, 16, 32, 64)],
    *[(f"Int{bits}", st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1), None) for bits in (8, 16, 32, 64)],
    ("Array(UInt64)", st.lists(st.integers(0, 2**64 - 1)), None),
    ("Map(UInt16, Int64)", st.dictionaries(st.integers(0, 99), st.integers(-99, 99)), lambda v: list(v.items())),
    ("Float64", NUMBER, None),
    ("Array(Float64)", st.lists(NUMBER), None),
    ("Bool", st.booleans(), None),
    ("Array(Bool)", st.lists(st.booleans()), None),
    ("Date", DAY, None),
    ("Array(Date)", st.lists(DAY), None),
    ("DateTime('UTC')", SECOND, None),
    ("DateTime", SECOND, None),
    ("Array(DateTime('UTC'))", st.lists(SECOND), None),
    ("DateTime64(6, 'UTC')", INSTANT, None),
    ("DateTime64(6)", INSTANT, None),
    ("DateTime64(3, 'UTC')", MILLISECOND, None),
    ("DateTime64(0, 'UTC')", SECOND, None),
    ("Array(DateTime64(6, 'UTC'))", st.lists(INSTANT), None),
    ("IPv6", st.ip_addresses(v=6), lambda v: v.packed),
    ("Array(IPv6)", st.lists(st.ip_addresses(v=6)), lambda v: [address.packed for address in v]),
]


@pytest.mark.parametrize(("kind", "values", "expected"), ROUND_TRIPS, ids=[kind for kind, _, _ in ROUND_TRIPS])
def test_a_value_comes_back_unchanged(shared_store: Engine, kind: str, values: Any, expected: Any) -> None:
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(values)
    def law(value: Any) -> None:
        back = shared_store.query(f"SELECT {{v:{kind}}} AS v", {"v": value})["v"][0].as_py()
        assert back == (expected(value) if expected else value)

    law()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary()))
def test_bytes_come_back_unchanged(shared_store: Engine, values: list[bytes]) -> None:
    found = shared_store.query(
        "SELECT arrayMap(x -> hex(x), {v:Array(String)}) AS many, hex({one:String}) AS one",
        {"v": values, "one": b"".join(values)},
    )
    assert found["many"][0].as_py() == [value.hex().upper() for value in values]
    assert found["one"][0].as_py() == b"".join(values).hex().upper()


def test_not_a_number_and_infinity(shared_store: Engine) -> None:
    found = shared_store.query(
        "SELECT isNaN({a:Float64}) AS a, {b:Float64} AS b", {"a": float("nan"), "b": float("-inf")}
    )
    assert found.to_pylist() == [{"a": 1, "b": float("-inf")}]


def test_other_zones_and_addresses_are_brought_to_one_form() -> None:
    ist = timezone(timedelta(hours=5, minutes=30))
    sql = "SELECT {t:DateTime64(6, 'UTC')}, {a:IPv6}, {b:IPv6}, {n:UInt8}"
    bound = bind(
        sql,
        {
            "t": datetime(2026, 1, 1, 5, 30, tzinfo=ist),
            "a": ipaddress.IPv4Address("10.0.0.1"),
            "b": bytes(15) + b"\x01",
            "n": np.uint8(7),
        },
    )
    assert bound == {"t": "2026-01-01 00:00:00.000000", "a": "::ffff:10.0.0.1", "b": "::1", "n": "7"}


def test_holes_in_strings_and_comments_are_no_holes() -> None:
    sql = """-- {a:String}
    SELECT '{b:String} \\' {c:String}', "{d:String}", `{e:String}`, {f : Map(String, Array(UInt8))}, {'x': 1} /*
    {g:Int8} */ # {h:String}
    FROM t WHERE x = {f:Map(String,  Array(UInt8))}""".replace(",  Array", ", Array")
    assert dict(holes(sql)) == {"f": "Map(String, Array(UInt8))"}


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        ("UInt8", 256, "expected 0..255"),
        ("UInt8", -1, "expected 0..255"),
        ("Int64", 2**63, "expected -9223372036854775808..9223372036854775807"),
        ("UInt8", True, "a whole number expected"),
        ("UInt8", 1.5, "a whole number expected"),
        ("UInt8", "1", "a whole number expected"),
        ("Float64", "1", "a number expected"),
        ("String", 5, "text or bytes expected"),
        ("String", None, "text or bytes expected"),
        ("String", "\ud800", "lone surrogate"),
        ("Array(String)", "abc", "a list expected"),
        ("Array(UInt8)", [1, 256], "expected 0..255"),
        ("DateTime64(6, 'UTC')", datetime(2026, 1, 1), "time zone expected"),
        ("DateTime64(6, 'Asia/Kolkata')", datetime(2026, 1, 1, tzinfo=UTC), "only 'UTC'"),
        ("DateTime64(6, 'UTC')", datetime(1899, 1, 1, tzinfo=UTC), "expected 1900..2261"),
        ("DateTime64(3, 'UTC')", datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC), "at most 3 digits"),
        ("DateTime", datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC), "whole seconds"),
        ("DateTime", datetime(2200, 1, 1, tzinfo=UTC), "expected 1970-01-01..2106-02-07"),
        ("Date", datetime(2026, 1, 1, tzinfo=UTC), "a date expected"),
        ("Date", date(1969, 1, 1), "expected 1970-01-01"),
        ("IPv6", "10.0.0.300", "10.0.0.300"),
        ("Bool", 1, "True or False"),
        ("Tuple(String, UInt8)", ("a",), "2 values expected"),
        ("FixedString(2)", "abc", "at most 2 bytes"),
        ("Identifier", "a; DROP TABLE x", "a plain name expected"),
        ("Strin", "a", "cannot be a parameter"),
    ],
)
def test_what_does_not_fit_is_refused(kind: str, value: Any, words: str) -> None:
    with pytest.raises(BadParameter, match="parameter v") as caught:
        bind(f"SELECT {{v:{kind}}}", {"v": value})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_hole_needs_a_value_and_every_value_a_hole() -> None:
    with pytest.raises(BadParameter, match="no value for parameter b"):
        bind("SELECT {a:UInt8}, {b:UInt8}", {"a": 1})
    with pytest.raises(BadParameter, match="no parameter c, only a"):
        bind("SELECT {a:UInt8}", {"a": 1, "c": 1})
    with pytest.raises(BadParameter, match="stands as UInt8 and as String"):
        bind("SELECT {a:UInt8}, {a:String}", {"a": 1})
