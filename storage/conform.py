"""From what a decoder knows to what a table takes: `conform` completes a partial batch to its table's exact schema.

It stands on the hot path between the identity step and `Engine.insert`, so columns that are absent cost nothing: they
share one buffer of zeros (an empty string, an empty map and 0 are all zeros in Arrow).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage.errors import BadBatch
from storage.tables import Table, arrow_schema

_ZERO_BYTES = 1 << 20
_zeros = pa.py_buffer(bytes(_ZERO_BYTES))


@lru_cache(maxsize=64)
def schema_of(table: Table) -> pa.Schema:
    """`storage.tables.arrow_schema`, made once per table."""
    return arrow_schema(table)


def conform(table: Table, columns: pa.RecordBatch, **constants: Any) -> pa.RecordBatch:
    """`columns` as a batch with exactly `arrow_schema(table)`.

    `columns` holds any subset of the table's columns, in Arrow types that cast to the table's (strings plain or
    dictionary encoded); names that begin with `_` are dropped. `constants` are further columns: one value for every
    row, or an Arrow array of the batch's length. Absent columns and nulls become the column's default (empty, 0, ::
    where the table says nothing else).

    Raises:
        BadBatch: a column that the table does not have, or values that do not fit the column's type.
    """
    schema = schema_of(table)
    rows = columns.num_rows
    given = {name: columns.column(index) for index, name in enumerate(columns.schema.names) if name[0] != "_"}
    if strangers := sorted((given.keys() | constants.keys()) - set(schema.names)):
        raise BadBatch(f"table {table.name} has no column {', '.join(strangers)}")
    arrays = list[pa.Array]()
    for field, column in zip(schema, table.columns, strict=True):
        name, kind = field.name, field.type
        try:
            if name in constants:
                value = constants[name]
                arrays.append(fit(value, kind) if isinstance(value, pa.Array) else _constant(value, kind, rows))
            elif name not in given:
                arrays.append(_constant(column.default, kind, rows))
            elif column.default is None:
                arrays.append(fit(given[name], kind))
            else:
                arrays.append(fit(given[name].cast(kind).fill_null(column.default), kind))
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            reason = " ".join(str(error).split())[:200]
            raise BadBatch(f"column {name} of table {table.name} does not fit {kind}: {reason}") from None
        if len(arrays[-1]) != rows:
            raise BadBatch(f"column {name} of table {table.name} has {len(arrays[-1])} rows, expected {rows}")
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def default(kind: pa.DataType, rows: int) -> pa.Array:
    """`rows` defaults of an Arrow type: 0, false, an empty text, map or list, zero bytes. Buffers are shared."""
    if pa.types.is_dictionary(kind):
        return _dictionary(default(kind.index_type, rows), pa.array([""], kind.value_type))
    if pa.types.is_map(kind):
        return pa.MapArray.from_arrays(
            default(pa.int32(), rows + 1), default(kind.key_type, 0), default(kind.item_type, 0), kind
        )
    if pa.types.is_list(kind):
        return pa.ListArray.from_arrays(default(pa.int32(), rows + 1), default(kind.value_type, 0), kind)
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return pa.Array.from_buffers(kind, rows, [None, _zero_buffer(4 * (rows + 1)), _zero_buffer(0)])
    if pa.types.is_null(kind):
        return pa.nulls(rows)
    if pa.types.is_struct(kind):
        fields = [kind.field(index) for index in range(kind.num_fields)]
        return pa.StructArray.from_arrays([default(field.type, rows) for field in fields], fields=fields)
    bits = 1 if pa.types.is_boolean(kind) else kind.bit_width
    return pa.Array.from_buffers(kind, rows, [None, _zero_buffer((bits * rows + 7) // 8)])


def _zero_buffer(size: int) -> pa.Buffer:
    return _zeros.slice(0, size) if size <= _ZERO_BYTES else pa.py_buffer(np.zeros(size, np.uint8))


def _dictionary(indices: pa.Array, values: pa.Array) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(indices, values, safe=False)


def _constant(value: Any, kind: pa.DataType, rows: int) -> pa.Array:
    if value is None:
        return default(kind, rows)
    if pa.types.is_dictionary(kind):
        return _dictionary(default(kind.index_type, rows), pa.array([value], kind.value_type))
    return pa.repeat(pa.scalar(value, kind), rows)


def fit(array: pa.Array | pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    """`array` cast to `kind`, with the type's default for every null.

    Raises:
        pyarrow.ArrowException: a value does not fit.
    """
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if pa.types.is_dictionary(kind):
        return encode(array, kind)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if array.null_count == len(array):
        return default(kind, len(array))
    if array.type != kind:
        array = array.cast(kind)
    if array.null_count:
        array = _fill(array)
    return array


def encode(array: pa.Array, kind: pa.DictionaryType) -> pa.Array:
    """`array` (text, plain or dictionary encoded) in the dictionary type `kind`: no nulls, no value twice.

    chDB refuses a dictionary that holds a value twice.
    """
    if not pa.types.is_dictionary(array.type):
        if array.null_count == len(array):
            return default(kind, len(array))
        if array.type != kind.value_type:
            array = array.cast(kind.value_type)
        array = array.dictionary_encode()
    indices, values = array.indices, array.dictionary
    if values.type != kind.value_type:
        values = values.cast(kind.value_type)
    if indices.null_count:
        indices = indices.cast(pa.int64()).fill_null(len(values))
        values = pa.concat_arrays([values, pa.array([""], values.type)])
    if values.null_count:
        values = values.fill_null("")
    distinct = values.dictionary_encode()
    if len(distinct.dictionary) < len(values):
        indices, values = distinct.indices.take(indices), distinct.dictionary
    if indices.type != kind.index_type:
        indices = indices.cast(kind.index_type)
    return _dictionary(indices, values)


def _fill(array: pa.Array) -> pa.Array:
    """`array` with its nulls replaced by the default, for any type."""
    if pa.types.is_nested(array.type):
        rows = len(array)
        indices = pc.if_else(array.is_null(), pa.scalar(rows, pa.int64()), pa.array(np.arange(rows)))
        return pa.concat_arrays([array, default(array.type, 1)]).take(indices)
    return array.fill_null(default(array.type, 1)[0])
