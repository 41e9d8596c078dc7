"""A batch made to fit its table before it is sent, alike on every engine.

ClickHouse's INSERT ... SELECT wraps numbers that are too large and reads text that is no number as 0, without a word.
So each column is brought to the table's own type here, where what does not fit is an error; a batch from
`storage.conform` fits already and costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pyarrow as pa

from storage.arrow_types import quoted, result_type
from storage.conform import encode, fit
from storage.errors import BadBatch
from storage.type_names import split

_DICTIONARY = pa.dictionary(pa.int32(), pa.string())


class TableShapes:
    """The column types of tables, asked for once and remembered until `forget`."""

    def __init__(self, query: Callable[[str], pa.Table]) -> None:
        self._query = query
        self._known: dict[str, Mapping[str, str]] = {}

    def of(self, table: str) -> Mapping[str, str]:
        """Column name → ClickHouse type; raises QueryFailed for an unknown table."""
        if table not in self._known:
            found = self._query(f"DESCRIBE TABLE {quoted(table)}")
            self._known[table] = dict(zip(found["name"].to_pylist(), found["type"].to_pylist(), strict=True))
        return self._known[table]

    def forget(self) -> None:
        """Ask again: a statement may have changed a table."""
        self._known.clear()


def fitted(table: str, batch: pa.RecordBatch, types: Mapping[str, str]) -> pa.Table:
    """`batch` with each column in a type that ClickHouse takes as it is; nulls as defaults where there is no null.

    Raises:
        BadBatch: a column that the table does not have, or values that do not fit.
    """
    arrays = list[pa.Array]()
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        if name not in types:
            raise BadBatch(f"table {table} has no column {name}")
        try:
            arrays.append(_fitted(array, types[name]))
        except (pa.ArrowException, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise BadBatch(f"column {name} of table {table} does not fit {types[name]}: {reason}") from None
    return pa.Table.from_arrays(arrays, names=batch.schema.names)


def _fitted(array: pa.Array, kind: str) -> pa.Array:
    name, arguments = split(kind)
    if name == "SimpleAggregateFunction":
        return _fitted(array, arguments[1])
    if name == "LowCardinality" and pa.types.is_dictionary(array.type) and arguments[0] == "String":
        return encode(array, _DICTIONARY)
    if name == "LowCardinality":
        return _fitted(array, arguments[0])
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if name == "String" and (pa.types.is_string(array.type) or pa.types.is_binary(array.type)):
        return fit(array, array.type)
    try:
        wanted = result_type(kind)
    except KeyError:
        return array
    if name == "Nullable":
        return array if array.type == wanted else array.cast(wanted)
    return fit(array, wanted)
