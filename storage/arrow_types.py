"""ClickHouse types for Arrow columns: how a table that exists only in Python is declared to an engine."""

from __future__ import annotations

import pyarrow as pa

from storage.errors import BadBatch

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


def structure(schema: pa.Schema) -> list[tuple[str, str]]:
    """Names and ClickHouse types of a schema's columns."""
    return [(field.name, clickhouse_type(field.type)) for field in schema]


def quoted(name: str) -> str:
    """`name` as a quoted identifier."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
