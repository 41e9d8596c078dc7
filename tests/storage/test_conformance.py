"""What `Engine` promises, over every implementation."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.conform import conform
from storage.connect import open_store
from storage.engine import Engine
from storage.errors import BadBatch, BadParameter, EngineUnavailable, QueryFailed, StorageError
from storage.tables import CALLS, TABLES, Table, arrow_schema
from tests.conftest import empty
from tests.storage import engines

NOON = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
OLD = datetime(1950, 1, 1, 0, 0, 0, 500000, tzinfo=UTC)
TEXTS = pa.map_(pa.string(), pa.string())
TIMES = pa.map_(pa.string(), pa.timestamp("s", "UTC"))
NUMBERS = pa.map_(pa.string(), pa.list_(pa.uint64()))
PAIR = pa.struct([("name", pa.string()), ("n", pa.uint8())])
SECOND = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)

_OTHERS: dict[str, Callable[[], AbstractContextManager[Engine]]] = {
    "attached": engines.attached,
    "server": engines.server,
}


@pytest.fixture(scope="module", params=["embedded", *_OTHERS])
def implementation(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """One engine of each kind for the whole module."""
    if request.param == "embedded":
        yield request.getfixturevalue("shared_store")
    else:
        with _OTHERS[request.param]() as engine:
            yield engine


@pytest.fixture
def any_engine(implementation: Engine) -> Engine:
    """An engine whose tables are empty."""
    empty(implementation)
    return implementation


def column(rng: np.random.Generator, kind: pa.DataType, rows: int) -> pa.Array:
    """Random values of an Arrow type, hostile text included."""
    if pa.types.is_dictionary(kind):
        return column(rng, kind.value_type, rows).dictionary_encode()
    if pa.types.is_string(kind):
        words = ["", "\\N", "a\tb\n'\"`", "é漢🙂", "\0\x01", "x" * 300, "NULL", "{a:String}", "-- ; DROP TABLE calls"]
        return pa.array(rng.choice(words, rows), pa.string())
    if pa.types.is_fixed_size_binary(kind):
        return pa.array([rng.bytes(kind.byte_width) for _ in range(rows)], kind)
    if pa.types.is_binary(kind):
        return pa.array([rng.bytes(int(rng.integers(0, 400))) for _ in range(rows)], kind)
    if pa.types.is_map(kind):
        keys = [f"k{i}" for i in range(4)]
        items = [column(rng, kind.item_type, len(keys)).to_pylist() for _ in range(rows)]
        return pa.array([list(zip(keys, row, strict=True))[: int(rng.integers(0, 5))] for row in items], kind)
    if pa.types.is_list(kind):
        return pa.array([column(rng, kind.value_type, int(rng.integers(0, 5))).to_pylist() for _ in range(rows)], kind)
    if pa.types.is_timestamp(kind):
        return (
            pa.array(rng.integers(-(10**15), 4 * 10**15, rows), pa.int64())
            .cast(pa.timestamp("us", "UTC"))
            .cast(kind, safe=False)
        )
    if pa.types.is_date(kind):
        return pa.array(rng.integers(0, 60000, rows), pa.int32()).cast(kind)
    if pa.types.is_floating(kind):
        return pa.array(rng.normal(0, 1e9, rows), kind)
    bits = np.iinfo(kind.to_pandas_dtype())
    return pa.array(rng.integers(bits.min, bits.max, rows, dtype=kind.to_pandas_dtype(), endpoint=True), kind)


def random_batch(table: Table, rows: int, seed: int) -> pa.RecordBatch:
    """A batch for `table` with its exact schema, `offset` or the like numbering the rows."""
    rng = np.random.default_rng(seed)
    schema = arrow_schema(table)
    arrays = [column(rng, field.type, rows) for field in schema]
    if "received_at" in table.names:
        index = schema.get_field_index("received_at")
        arrays[index] = pa.array([NOON] * rows, schema.field(index).type)
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def plain(table: pa.Table | pa.RecordBatch) -> list[dict[str, Any]]:
    """Rows in an order that does not depend on the engine, texts as bytes."""

    def raw(value: Any) -> Any:
        if isinstance(value, str):
            return value.encode()
        if isinstance(value, (list, tuple)):
            return [raw(item) for item in value]
        return value

    return sorted(({k: raw(v) for k, v in row.items()} for row in table.to_pylist()), key=repr)


class TestQuery:
    def test_it_is_an_engine(self, any_engine: Engine) -> None:
        assert isinstance(any_engine, Engine)
        assert any_engine.location.startswith(("chdb:", "clickhouse://"))
        assert "secret" not in any_engine.location

    def test_types_and_values_are_the_same_everywhere(self, any_engine: Engine) -> None:
        expected: list[tuple[str, pa.DataType, Any]] = [
            ("toString('é')", pa.string(), "é"),
            ("toLowCardinality('lc')", pa.string(), "lc"),
            ("unhex('ff00fe')", pa.binary(), b"\xff\x00\xfe"),
            ("toDateTime('2026-11-22 12:00:00')", pa.timestamp("s", "UTC"), SECOND),
            ("toDateTime64('2026-11-22 12:00:00.123456', 6, 'UTC')", pa.timestamp("us", "UTC"), NOON),
            ("toDateTime64('2026-11-22 12:00:00', 0, 'UTC')", pa.timestamp("s", "UTC"), SECOND),
            ("toDateTime64('1950-01-01 00:00:00.5', 3, 'UTC')", pa.timestamp("ms", "UTC"), OLD),
            ("toDate('2026-11-22')", pa.date32(), date(2026, 11, 22)),
            ("toIPv6('2001:db8::1')", pa.binary(16), ipaddress.IPv6Address("2001:db8::1").packed),
            ("toUInt8(255)", pa.uint8(), 255),
            ("toUInt16(65535)", pa.uint16(), 65535),
            ("toUInt32(4294967295)", pa.uint32(), 4294967295),
            ("toUInt64(18446744073709551615)", pa.uint64(), 2**64 - 1),
            ("toInt8(-128)", pa.int8(), -128),
            ("toInt16(-32768)", pa.int16(), -32768),
            ("toInt32(-2147483648)", pa.int32(), -(2**31)),
            ("toInt64('-9223372036854775808')", pa.int64(), -(2**63)),
            ("toFloat64(0.1)", pa.float64(), 0.1),
            ("CAST(1, 'Bool')", pa.bool_(), True),
            ("CAST(NULL, 'Nullable(String)')", pa.string(), None),
            ("CAST('x', 'LowCardinality(Nullable(String))')", pa.string(), "x"),
            ("CAST(NULL, 'LowCardinality(Nullable(String))')", pa.string(), None),
            ("CAST(3, 'Nullable(UInt8)')", pa.uint8(), 3),
            ("CAST(NULL, 'Nullable(DateTime)')", pa.timestamp("s", "UTC"), None),
            ("CAST([], 'Array(UInt8)')", pa.list_(pa.uint8()), []),
            ("[toDateTime('2026-11-22 12:00:00')]", pa.list_(pa.timestamp("s", "UTC")), [SECOND]),
            ("[['a'], []]", pa.list_(pa.list_(pa.string())), [["a"], []]),
            ("[CAST(NULL, 'Nullable(UInt8)'), 2]", pa.list_(pa.uint8()), [None, 2]),
            ("map('k', toUInt64(5))", pa.map_(pa.string(), pa.uint64()), [("k", 5)]),
            ("CAST(map('k', 'v'), 'Map(LowCardinality(String), String)')", TEXTS, [("k", "v")]),
            ("map('k', toDateTime('2026-11-22 12:00:00'))", TIMES, [("k", SECOND)]),
            ("map(toInt16(-1), [toUInt64(2)])", pa.map_(pa.int16(), pa.list_(pa.uint64())), [(-1, [2])]),
            ("CAST(('a', 1), 'Tuple(name String, n UInt8)')", PAIR, {"name": "a", "n": 1}),
        ]  # fmt: skip
        sql = "SELECT " + ", ".join(f"{text} AS c{index}" for index, (text, _, _) in enumerate(expected))
        for suffix, rows in (("", 1), (" FROM numbers(0)", 0), (" FROM numbers(3)", 3)):
            found = any_engine.query(sql + suffix)
            assert found.num_rows == rows
            for index, (text, kind, value) in enumerate(expected):
                if rows or kind != pa.binary():  # no row, no byte that is not UTF-8
                    assert found.schema.field(index).type == kind, text
                assert found.column(index).to_pylist() == [value] * rows, text

    def test_values_at_the_edges_of_their_range(self, any_engine: Engine) -> None:
        found = any_engine.query(
            "SELECT toDateTime64('1900-01-01 00:00:00.000001', 6, 'UTC') AS old, toDate('2149-06-06') AS last, "
            "toDateTime(4294967295) AS end"
        )
        assert found.to_pylist() == [
            {
                "old": datetime(1900, 1, 1, 0, 0, 0, 1, UTC),
                "last": date(2149, 6, 6),
                "end": datetime(2106, 2, 7, 6, 28, 15, tzinfo=UTC),
            }
        ]

    def test_bytes_among_texts_make_the_whole_column_binary(self, any_engine: Engine) -> None:
        found = any_engine.query(
            "SELECT if(number = 69999, unhex('ff'), toString(number)) AS v, map('k', v) AS m, [v] AS l "
            "FROM numbers(70000) ORDER BY number",
            settings={"max_block_size": 1000},
        )
        assert found.schema.types == [pa.binary(), pa.map_(pa.binary(), pa.binary()), pa.list_(pa.binary())]
        assert found["v"][69999].as_py() == b"\xff"
        assert found["v"][12345].as_py() == b"12345"
        assert found["l"][69999].as_py() == [b"\xff"]

    def test_a_large_result_in_many_blocks(self, any_engine: Engine) -> None:
        found = any_engine.query(
            "SELECT number, toLowCardinality(toString(number % 1000)) AS text FROM numbers(300000) ORDER BY number"
        )
        assert found.num_rows == 300000
        numbers = found["number"].to_numpy()
        assert (numbers == np.arange(300000)).all()
        assert found["text"].to_pylist() == [str(n % 1000) for n in range(300000)]

    def test_sparse_columns(self, any_engine: Engine) -> None:
        any_engine.execute(
            "CREATE TABLE sparse (n UInt64, v UInt32, s String) ENGINE = MergeTree ORDER BY n "
            "SETTINGS ratio_of_defaults_for_sparse_serialization = 0.5"
        )
        any_engine.execute(
            "INSERT INTO sparse SELECT number, number % 100 = 7, if(number % 50 = 3, 'x', '') FROM numbers(1000)"
        )
        found = any_engine.query("SELECT v, s FROM sparse ORDER BY n")
        assert found["v"].to_pylist() == [int(n % 100 == 7) for n in range(1000)]
        assert found["s"].to_pylist() == ["x" if n % 50 == 3 else "" for n in range(1000)]

    @settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(text=st.text(), texts=st.lists(st.text()), pairs=st.dictionaries(st.text(), st.text()), data=st.binary())
    def test_bound_values_come_back_unchanged(
        self, implementation: Engine, text: str, texts: list[str], pairs: dict[str, str], data: bytes
    ) -> None:
        found = implementation.query(
            "SELECT {a:String} AS a, {b:Array(String)} AS b, {c:Map(String, String)} AS c, hex({d:String}) AS d, "
            "{e:DateTime64(6, 'UTC')} AS e, {f:IPv6} AS f, {g:Nullable(String)} AS g, {h:Int64} AS h",
            {"a": text, "b": texts, "c": pairs, "d": data, "e": NOON, "f": "::1", "g": None, "h": -5},
        )
        assert found.to_pylist() == [
            {"a": text, "b": texts, "c": list(pairs.items()), "d": data.hex().upper(), "e": NOON,
             "f": bytes(15) + b"\x01", "g": None, "h": -5}
        ]  # fmt: skip

    def test_many_parameters(self, any_engine: Engine) -> None:
        ids = [f"{n:032x}" for n in range(20000)]
        found = any_engine.query(
            "SELECT length({ids:Array(String)}) AS n, {ids:Array(String)}[20000] AS last", {"ids": ids}
        )
        assert found.to_pylist() == [{"n": 20000, "last": ids[-1]}]

    def test_settings_count_for_one_statement(self, any_engine: Engine) -> None:
        sql = "SELECT getSetting('max_threads') AS n, getSetting('log_comment') AS c"
        before = any_engine.query(sql).to_pylist()
        changed = any_engine.query(sql, settings={"max_threads": 1, "log_comment": "it's \\ here"}).to_pylist()
        assert changed == [{"n": 1, "c": "it's \\ here"}]
        assert any_engine.query(sql).to_pylist() == before

    def test_times_without_a_zone_are_utc(self, any_engine: Engine) -> None:
        found = any_engine.query("SELECT toString(toDateTime(0)) AS t, toUnixTimestamp('1970-01-02 00:00:00') AS u")
        assert found.to_pylist() == [{"t": "1970-01-01 00:00:00", "u": 86400}]


class TestExternalTables:
    def test_a_statement_reads_them_by_name(self, any_engine: Engine) -> None:
        names = pa.table(
            {
                "name": pa.array(["a'b", "\\N", "é"]).dictionary_encode(),
                "ts": pa.array([NOON] * 3, pa.timestamp("us", "UTC")),
                "ip": pa.array([bytes(15) + b"\x01"] * 3, pa.binary(16)),
                "tags": pa.array([["x"], [], ["y", "z"]]),
                "map": pa.array([[("k", "v")], [], []], pa.map_(pa.string(), pa.string())),
                "n": [1, 2, 3],
            }
        )
        found = any_engine.query(
            "SELECT name, ts, ip, tags, map, n + k AS m FROM wanted JOIN other USING (n) "
            "WHERE name != {x:String} ORDER BY n",
            {"x": "é"},
            external={"wanted": names, "other": pa.table({"n": [1, 2, 3], "k": [10, 20, 30]})},
        )
        assert found.to_pylist() == [
            {"name": "a'b", "ts": NOON, "ip": bytes(15) + b"\x01", "tags": ["x"], "map": [("k", "v")], "m": 11},
            {"name": "\\N", "ts": NOON, "ip": bytes(15) + b"\x01", "tags": [], "map": [], "m": 22},
        ]

    def test_an_empty_one(self, any_engine: Engine) -> None:
        nothing = pa.table({"n": pa.array([], pa.uint8())})
        assert any_engine.query("SELECT count() AS c FROM wanted", external={"wanted": nothing}).to_pylist() == [
            {"c": 0}
        ]

    def test_it_is_gone_afterwards(self, any_engine: Engine) -> None:
        for _ in range(3):
            any_engine.query("SELECT n FROM wanted", external={"wanted": pa.table({"n": [1]})})
        with pytest.raises(QueryFailed) as caught:
            any_engine.query("SELECT n FROM wanted")
        assert caught.value.code == 60


REPLACING = {"edge_keys", "aliases", "inventory", "findings", "regressions", "latency_looks", "incidents"}
"""Tables that keep one row a key."""


class TestInsert:
    @pytest.mark.parametrize("table", TABLES.values(), ids=list(TABLES))
    def test_every_table_gives_back_what_was_inserted(self, any_engine: Engine, table: Table) -> None:
        batch = random_batch(table, 400, seed=7)
        any_engine.insert(table.name, batch)
        columns = ", ".join(f"`{name}`" for name in table.names)
        found = any_engine.query(f"SELECT {columns} FROM {table.name}")
        expected = pa.Table.from_batches([batch])
        if table.name in REPLACING:
            assert found.num_rows <= 400
            assert {repr(row) for row in plain(found)} <= {repr(row) for row in plain(expected)}
        else:
            assert plain(found) == plain(expected)

    def test_a_subset_of_columns_in_any_order(self, any_engine: Engine) -> None:
        any_engine.insert("dead_letters", pa.record_batch({"reason": ["why"], "offset": pa.array([5], pa.int64())}))
        found = any_engine.query("SELECT offset, reason, source, payload FROM dead_letters")
        assert found.to_pylist() == [{"offset": 5, "reason": "why", "source": "", "payload": ""}]

    def test_slices_and_nulls_and_odd_dictionaries(self, any_engine: Engine) -> None:
        keys = pa.DictionaryArray.from_arrays(pa.array([0, 2, None, 1, 0, 3], pa.int8()), ["a", "b", "a", ""])
        batch = pa.record_batch(
            {
                "source": keys,
                "reason": pa.array(["r0", "r1", None, "r3", "", "r5"]),
                "offset": pa.array([0, 1, 2, 3, None, 5]),
                "payload": pa.array([b"p0", b"\xff", None, b"", b"p4", b"p5"]),
            }
        )
        any_engine.insert("dead_letters", batch.slice(1, 4))
        found = any_engine.query("SELECT source, reason, offset, payload FROM dead_letters ORDER BY offset")
        assert plain(found) == plain(
            pa.table(
                {
                    "source": ["a", "", "b", "a"],
                    "reason": ["r1", "", "r3", ""],
                    "offset": [1, 2, 3, 0],
                    "payload": [b"\xff", b"", b"", b"p4"],
                }
            )
        )

    def test_nested_slices(self, any_engine: Engine) -> None:
        any_engine.execute(
            "CREATE TABLE nested (n UInt8, m Map(LowCardinality(String), Array(UInt64)), l Array(Array(String)), "
            "b Bool, d DateTime, s DateTime64(3, 'UTC'), o Nullable(String), ol LowCardinality(Nullable(String))) "
            "ENGINE = MergeTree ORDER BY n"
        )
        rows = {
            "n": pa.array(range(5), pa.uint8()),
            "m": pa.array([[("a", [1])], [], [("b", [2, 3]), ("c", [])], [("d", [4])], []], NUMBERS),
            "l": pa.array([[["x"]], [[], ["y", "z"]], [], [["é"]], [[]]]),
            "b": pa.array([True, False, True, True, False]),
            "d": pa.array([SECOND] * 5, pa.timestamp("s", "UTC")),
            "s": pa.array([datetime(2026, 1, 1, 0, 0, 0, 1000, UTC)] * 5, pa.timestamp("ms", "UTC")),
            "o": pa.array(["a", None, "", "d", None]),
            "ol": pa.array([None, "u", None, "", "u"]),
        }  # fmt: skip
        batch = pa.record_batch(rows)
        for start, length in ((1, 3), (4, 1), (0, 1)):
            any_engine.insert("nested", batch.slice(start, length))
        found = any_engine.query("SELECT * FROM nested ORDER BY n")
        assert found.to_pylist() == batch.to_pylist()

    def test_no_rows(self, any_engine: Engine) -> None:
        any_engine.insert("calls", random_batch(CALLS, 3, seed=1).slice(0, 0), token="t")
        assert any_engine.query("SELECT count() AS n FROM calls").to_pylist() == [{"n": 0}]

    def test_a_batch_is_one_part(self, any_engine: Engine) -> None:
        batch = conform(
            CALLS,
            pa.record_batch({"path": pa.array([f"/{n}" * 20 for n in range(150_000)])}),
            received_at=NOON,
        )
        any_engine.execute("SYSTEM STOP MERGES calls")
        try:
            any_engine.insert("calls", batch, token="one")
            found = any_engine.query("SELECT count() AS n, uniqExact(_part) AS parts FROM calls")
        finally:
            any_engine.execute("SYSTEM START MERGES calls")
        assert found.to_pylist() == [{"n": 150_000, "parts": 1}]

    def test_a_token_counts_once_also_in_views(self, any_engine: Engine) -> None:
        any_engine.execute(
            "CREATE TABLE target (k LowCardinality(String), n SimpleAggregateFunction(sum, UInt64)) "
            "ENGINE = AggregatingMergeTree ORDER BY k SETTINGS non_replicated_deduplication_window = 1000"
        )
        any_engine.execute(
            "CREATE TABLE second (n SimpleAggregateFunction(sum, UInt64)) "
            "ENGINE = AggregatingMergeTree ORDER BY tuple() SETTINGS non_replicated_deduplication_window = 1000"
        )
        any_engine.execute(
            "CREATE MATERIALIZED VIEW target_from_dead_letters TO target AS "
            "SELECT source AS k, count() AS n FROM dead_letters GROUP BY k"
        )
        any_engine.execute("CREATE MATERIALIZED VIEW second_from_target TO second AS SELECT sum(n) AS n FROM target")
        batch = random_batch(TABLES["dead_letters"], 50, seed=3)
        try:
            for token in ("a", "a", "b", "a", "b"):
                any_engine.insert("dead_letters", batch, token=token)
            # Equal rows under no token are calls of their own.
            any_engine.insert("dead_letters", random_batch(TABLES["dead_letters"], 7, seed=9))
            counts = any_engine.query(
                "SELECT (SELECT count() FROM dead_letters) AS raw, (SELECT sum(n) FROM target) AS view, "
                "(SELECT sum(n) FROM second) AS second"
            )
            assert counts.to_pylist() == [{"raw": 107, "view": 107, "second": 107}]
        finally:
            any_engine.execute("DROP TABLE second_from_target SYNC")
            any_engine.execute("DROP TABLE target_from_dead_letters SYNC")

    def test_equal_rows_under_two_tokens_are_two(self, any_engine: Engine) -> None:
        batch = random_batch(CALLS, 10, seed=5)
        any_engine.insert("calls", batch, token="first")
        any_engine.insert("calls", batch, token="second")
        assert any_engine.query("SELECT count() AS n FROM calls").to_pylist() == [{"n": 20}]

    def test_what_does_not_fit_is_refused_and_the_engine_goes_on(self, any_engine: Engine) -> None:
        with pytest.raises(StorageError):
            any_engine.insert("calls", pa.record_batch({"nosuch": [1]}))
        with pytest.raises(StorageError):
            any_engine.insert("nosuch", pa.record_batch({"a": [1]}))
        for values in (["not a number"], [70000], [-1], [1.5]):
            with pytest.raises(BadBatch, match="UInt16"):
                any_engine.insert("calls", pa.record_batch({"status": values}))
        assert any_engine.query("SELECT count() AS n FROM calls").to_pylist() == [{"n": 0}]


class TestErrors:
    @pytest.mark.parametrize(
        ("sql", "code"),
        [
            ("SELECT FROM WHERE", 62),
            ("SELECT * FROM nosuch", 60),
            ("SELECT nosuch", 47),
            ("SELECT throwIf(1, 'two\nlines')", 395),
            ("SELECT sleepEachRow(1) FROM numbers(3)", 159),
        ],
    )
    def test_a_refused_statement_says_why_on_one_line(self, any_engine: Engine, sql: str, code: int) -> None:
        with pytest.raises(QueryFailed) as caught:
            any_engine.query(sql, settings={"max_execution_time": 1})
        assert caught.value.code == code
        assert not caught.value.retryable
        text = str(caught.value)
        assert text.startswith(any_engine.location + ": ")
        assert "\n" not in text
        assert len(text) < 1200
        assert any_engine.query("SELECT 1 AS n").to_pylist() == [{"n": 1}]

    def test_execute_refuses_alike(self, any_engine: Engine) -> None:
        with pytest.raises(QueryFailed) as caught:
            any_engine.execute("DROP TABLE nosuch")
        assert caught.value.code == 60

    def test_parameters_are_checked_before_anything_is_sent(self, any_engine: Engine) -> None:
        for parameters in (None, {"a": 300}, {"a": 1, "b": 2}):
            with pytest.raises(BadParameter):
                any_engine.query("SELECT {a:UInt8}", parameters)
            with pytest.raises(BadParameter):
                any_engine.execute("INSERT INTO calls (status) SELECT {a:UInt8}", parameters)

    def test_unknown_settings_are_refused(self, any_engine: Engine) -> None:
        with pytest.raises(QueryFailed) as caught:
            any_engine.query("SELECT 1", settings={"nosuch_setting": 1})
        assert caught.value.code == 115

    def test_memory_is_bounded(self, any_engine: Engine) -> None:
        with pytest.raises(QueryFailed) as caught:
            any_engine.query(
                "SELECT length(groupArray(number)) FROM numbers(50000000)", settings={"max_memory_usage": 20_000_000}
            )
        assert caught.value.code == 241

    def test_a_closed_engine_says_so(self, any_engine: Engine) -> None:
        if type(any_engine).__name__ == "EmbeddedEngine":
            return  # its own test closes a store in another process
        other = type(any_engine)(getattr(any_engine, "_place", None) or getattr(any_engine, "path"))  # noqa: B009
        assert other.query("SELECT 1 AS n").to_pylist() == [{"n": 1}]
        other.close()
        other.close()
        with pytest.raises(EngineUnavailable, match="closed"):
            other.query("SELECT 1")
        with pytest.raises(EngineUnavailable, match="closed"):
            other.insert("calls", random_batch(CALLS, 1, seed=1))


class TestExecute:
    def test_insert_select_with_parameters(self, any_engine: Engine) -> None:
        any_engine.execute(
            "INSERT INTO dead_letters (reason, offset) SELECT {r:String}, number FROM numbers({n:UInt64})",
            {"r": "it's\t\\N", "n": 3},
        )
        found = any_engine.query("SELECT DISTINCT reason, count() OVER () AS n FROM dead_letters")
        assert found["reason"].to_pylist() == ["it's\t\\N"]

    def test_a_deduplicated_insert_select(self, any_engine: Engine) -> None:
        for _ in range(2):
            any_engine.execute(
                "INSERT INTO dead_letters (offset) SELECT number FROM numbers(10)",
                settings={"insert_deduplication_token": "once"},
            )
        assert any_engine.query("SELECT count() AS n FROM dead_letters").to_pylist() == [{"n": 10}]


def test_three_read_while_one_inserts(any_engine: Engine) -> None:
    batch = conform(TABLES["dead_letters"], pa.record_batch({"offset": pa.array(range(1000))}), received_at=NOON)
    failures, done = list[BaseException](), threading.Event()

    def read() -> None:
        try:
            last = 0
            while not done.is_set():
                count = any_engine.query("SELECT count() AS n FROM dead_letters WHERE offset >= {o:Int64}", {"o": 0})[
                    "n"
                ][0].as_py()
                assert count >= last
                assert count % 1000 == 0
                last = count
        except Exception as error:  # noqa: BLE001 - told to the main thread
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for number in range(30):
            any_engine.insert("dead_letters", batch, token=f"t{number}")
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert not failures
    assert any_engine.query("SELECT count() AS n FROM dead_letters").to_pylist() == [{"n": 30_000}]


def test_open_store_finds_the_same_data(any_engine: Engine, request: pytest.FixtureRequest) -> None:
    if type(any_engine).__name__ != "AttachedEngine":
        return
    any_engine.insert("dead_letters", pa.record_batch({"offset": [1]}))
    other = open_store(any_engine.location)
    assert type(other).__name__ == "AttachedEngine"
    assert other.query("SELECT count() AS n FROM dead_letters").to_pylist() == [{"n": 1}]
    other.close()
