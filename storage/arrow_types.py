"""ClickHouse types and Arrow types beside each other, both ways.

`result_type` says in which Arrow type `Engine.query` returns a column, `clickhouse_type` how a table that exists only
in Python is declared to an engine.
"""

from __future__ import annotations

from functools import lru_cache

import pyarrow as pa

from storage.errors import BadBatch
from storage.type_names import elements, split

_NUMBERS = {
    pa.uint8(): "UInt8",
    pa.uint16(): "UInt16",
    pa.uint32(): "UInt32",
    pa.uint64(): "UInt64",
    pa.int8(): "Int8",
    pa.int16(): "Int16",
    pa.int32(): "Int32",
    pa.int64(): "Int64",
    pa.float32(): "Float32",
    pa.float64(): "Float64",
    pa.bool_(): "Bool",
    pa.date32(): "Date",
}
_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}


def clickhouse_type(kind: pa.DataType) -> str:
    """The ClickHouse type that holds Arrow's `kind`; never Nullable.

    Raises:
        BadBatch: no type of ours does.
    """
    if kind in _NUMBERS:
        return _NUMBERS[kind]
    if pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_large_string(kind):
        return "String"
    if pa.types.is_large_binary(kind):
        return "String"
    if pa.types.is_dictionary(kind):
        return f"LowCardinality({clickhouse_type(kind.value_type)})"
    if pa.types.is_timestamp(kind):
        return f"DateTime64({_DIGITS[kind.unit]}, 'UTC')"
    if pa.types.is_fixed_size_binary(kind):
        return "IPv6" if kind.byte_width == 16 else f"FixedString({kind.byte_width})"
    if pa.types.is_map(kind):
        return f"Map({clickhouse_type(kind.key_type)}, {clickhouse_type(kind.item_type)})"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"Array({clickhouse_type(kind.value_type)})"
    raise BadBatch(f"no ClickHouse type for a column of Arrow type {kind}")


_UNITS = {0: "s", 1: "ms", 2: "ms", 3: "ms", 4: "us", 5: "us", 6: "us", 7: "ns", 8: "ns", 9: "ns"}
_RESULTS = {
    **{name: kind for kind, name in _NUMBERS.items()},
    "String": pa.string(),
    "Date32": pa.date32(),
    "DateTime": pa.timestamp("s", "UTC"),
    "IPv4": pa.uint32(),
    "IPv6": pa.binary(16),
    "UUID": pa.binary(16),
    "Nothing": pa.null(),
}


@lru_cache(maxsize=2048)
def result_type(kind: str) -> pa.DataType:
    """The Arrow type in which `Engine.query` returns a column of ClickHouse type `kind`.

    Raises:
        KeyError: a type that must be cast in SQL first.
    """
    name, arguments = split(kind)
    if name in _RESULTS:
        return _RESULTS[name]
    if name in ("Nullable", "LowCardinality"):
        return result_type(arguments[0])
    if name == "SimpleAggregateFunction":
        return result_type(arguments[1])
    if name == "Array":
        return pa.list_(result_type(arguments[0]))
    if name == "Map":
        return pa.map_(result_type(arguments[0]), result_type(arguments[1]))
    if name == "Tuple":
        return pa.struct([pa.field(field, result_type(inner)) for field, inner in elements(kind)])
    if name == "DateTime64":
        return pa.timestamp(_UNITS[int(arguments[0])], "UTC")
    if name == "FixedString":
        return pa.binary(int(arguments[0]))
    raise KeyError(kind)


def structure(schema: pa.Schema) -> list[tuple[str, str]]:
    """Names and ClickHouse types of a schema's columns."""
    return [(field.name, clickhouse_type(field.type)) for field in schema]


def quoted(name: str) -> str:
    """`name` as a quoted identifier."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
