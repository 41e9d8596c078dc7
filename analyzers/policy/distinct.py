"""The different rows of a table, and which of them each row is."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Numbers = npt.NDArray[np.int64]
MOST = 1 << 62
"""Numbers that fit into a column."""


def distinct(rows: pa.Table) -> tuple[Numbers, Numbers]:
    """Row numbers of the first of each kind, in order; and for each row the number of its kind, from 0.

    Lists of numbers are told apart too; null is a value like any other.
    """
    number = np.zeros(rows.num_rows, np.int64)
    kinds = 1
    for column in rows.columns:
        codes, values = _codes(column)
        if kinds * values > MOST:
            number, kinds = _codes(pa.chunked_array([pa.array(number)]))
        number = number * values + codes
        kinds *= values
    number, kinds = _codes(pa.chunked_array([pa.array(number)]))
    first = np.full(kinds, -1, np.int64)
    # Written from the last row to the first: what stays is each kind's first.
    first[number[::-1]] = np.arange(rows.num_rows - 1, -1, -1)
    return first, number


def _codes(column: pa.ChunkedArray) -> tuple[Numbers, int]:
    """A number for each value, in order of their first appearance, and how many values there are."""
    if pa.types.is_list(column.type):
        column = pc.binary_join(pc.cast(column, pa.list_(pa.string())), ",")
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0) if encoded.num_chunks else pa.array([], encoded.type)
    return encoded.indices.to_numpy().astype(np.int64), len(encoded.dictionary)
