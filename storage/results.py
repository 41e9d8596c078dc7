"""What an engine returned in Arrow, brought to the types that `Engine.query` promises.

ClickHouse's Arrow output writes DateTime (and IPv4) as uint32, keeps the zone name of the server, marks fields not null
and calls bytes that are not UTF-8 a string. Here such columns are reinterpreted; what is right already is passed on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pyarrow as pa

from storage.arrow_types import result_type

Describe = Callable[[], Mapping[str, str]]
"""Asks the engine for the ClickHouse type of every result column; called only when Arrow's type does not tell."""


def normalise(table: pa.Table, describe: Describe) -> pa.Table:
    """`table` in the types of `Engine.query`."""
    types: Mapping[str, str] = {}
    if any(_holds(field.type, pa.types.is_uint32) for field in table.schema):
        types = describe()
    columns = list[pa.ChunkedArray]()
    for field, column in zip(table.schema, table.columns, strict=True):
        wanted = _plain(field.type)
        declared = types.get(field.name, "")
        if "DateTime" in declared:
            wanted = _declared(declared, wanted)
            column = column.cast(_replace(wanted, pa.types.is_timestamp, _int64_for_seconds))
        if column.type != wanted:
            column = column.cast(wanted)
        columns.append(_text(column))
    fields = [pa.field(name, column.type) for name, column in zip(table.schema.names, columns, strict=True)]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def _declared(clickhouse_type: str, fallback: pa.DataType) -> pa.DataType:
    try:
        return result_type(clickhouse_type)
    except KeyError:
        return fallback


def _holds(kind: pa.DataType, test: Callable[[pa.DataType], bool]) -> bool:
    if pa.types.is_nested(kind):
        return any(_holds(kind.field(index).type, test) for index in range(kind.num_fields))
    return test(kind)


def _plain(kind: pa.DataType) -> pa.DataType:
    """`kind` without "not null" marks and other names of the zone UTC."""
    return _replace(kind, lambda leaf: pa.types.is_timestamp(leaf) and leaf.tz != "UTC", _utc)


def _utc(kind: pa.DataType) -> pa.DataType:
    return pa.timestamp(kind.unit, "UTC")


def _int64_for_seconds(kind: pa.DataType) -> pa.DataType:
    return pa.int64() if kind.unit == "s" else kind


def _replace(
    kind: pa.DataType, test: Callable[[pa.DataType], bool], change: Callable[[pa.DataType], pa.DataType]
) -> pa.DataType:
    """`kind` with every leaf that passes `test` changed, rebuilt with nullable children."""
    if pa.types.is_map(kind):
        return pa.map_(_replace(kind.key_type, test, change), _replace(kind.item_type, test, change))
    if pa.types.is_list(kind):
        return pa.list_(_replace(kind.value_type, test, change))
    if pa.types.is_struct(kind):
        return pa.struct(
            [pa.field(kind.field(i).name, _replace(kind.field(i).type, test, change)) for i in range(kind.num_fields)]
        )
    return change(kind) if test(kind) else kind


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """`column` with its texts as binary when one of them is not UTF-8."""
    if not _holds(column.type, pa.types.is_string):
        return column
    try:
        for chunk in column.chunks:
            chunk.validate(full=True)
    except pa.ArrowInvalid:
        return column.cast(_replace(column.type, pa.types.is_string, lambda _: pa.binary()))
    return column


def join(arrays: list[pa.Array]) -> pa.ChunkedArray:
    """The blocks of one column; texts become binary everywhere when they are binary in one block."""
    kinds = {array.type for array in arrays}
    if len(kinds) == 1:
        return pa.chunked_array(arrays)
    wanted = _replace(arrays[0].type, pa.types.is_string, lambda _: pa.binary())
    return pa.chunked_array([array.cast(wanted) for array in arrays])
