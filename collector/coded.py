"""Text columns as int32 codes into one pool of distinct strings, so that identity is worked out once for each.

A batch has few distinct names and many rows. `Pool` interns the distinct values of every column; rows are numpy arrays
of codes that `np.where` can mix freely (Arrow's dictionary arrays cannot: each has a dictionary of its own). `groups`
finds the distinct combinations of several such columns. Code 0 is always `""`, which is also what null becomes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Codes = npt.NDArray[np.int32]


@dataclass(slots=True)
class Pool:
    """Distinct strings and their codes, for one batch."""

    values: list[str] = field(default_factory=lambda: [""])
    index: dict[str, int] = field(default_factory=lambda: {"": 0})

    def code(self, value: str) -> int:
        """The code of one string, new or known."""
        known = self.index.get(value)
        if known is None:
            known = self.index[value] = len(self.values)
            self.values.append(value)
        return known

    def codes(self, values: Iterable[str | None]) -> Codes:
        """The codes of several strings; None is `""`."""
        known, index = list(values), self.index
        for value in known:
            if value and value not in index:
                index[value] = len(self.values)
                self.values.append(value)
        return np.array([index[value] if value else 0 for value in known], np.int32)

    def encode(self, column: pa.Array) -> Codes:
        """A string or dictionary column as codes; null is `""`."""
        if column.null_count == len(column):
            return np.zeros(len(column), np.int32)
        encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        indices = encoded.indices
        rows = (indices.fill_null(-1) if indices.null_count else indices).to_numpy(zero_copy_only=False)
        # A null row has index -1: the code at the end of the list.
        return np.append(self.codes(encoded.dictionary.to_pylist()), np.int32(0))[rows]

    def decode(self, codes: Codes, rows: Codes | None = None) -> pa.DictionaryArray:
        """Codes as a dictionary array whose dictionary holds only what occurs, each value once.

        `rows`: for each row the place of its code in `codes`, every place at least once; None = each code is a row.
        """
        used, new = distinct_codes(codes, len(self.values))
        values = pa.array([self.values[code] for code in used.tolist()], pa.string())
        return pa.DictionaryArray.from_arrays(pa.array(new if rows is None else new[rows]), values, safe=False)

    def map(self, codes: Codes, function: Callable[[str], str]) -> Codes:
        """`function` of every row's string, called once per distinct one."""
        distinct, rows = distinct_codes(codes, len(self.values))
        return self.codes([function(self.values[code]) for code in distinct])[rows]

    def test(self, codes: Codes, function: Callable[[str], bool]) -> npt.NDArray[np.bool_]:
        """`function` of every row's string, called once per distinct one."""
        distinct, rows = distinct_codes(codes, len(self.values))
        return np.array([function(self.values[code]) for code in distinct], np.bool_)[rows]


def distinct_codes(codes: Codes, size: int) -> tuple[npt.NDArray[np.int64], Codes]:
    """The distinct codes (ascending), and for each row the position of its code among them. O(rows + size)."""
    used = np.zeros(size, np.bool_)
    used[codes] = True
    return np.flatnonzero(used), (np.cumsum(used, dtype=np.int32) - 1)[codes]


def constant(value: str, rows: int) -> pa.DictionaryArray:
    """A column that holds one string."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([value], pa.string()))


def groups(columns: Sequence[npt.NDArray[Any]]) -> tuple[npt.NDArray[np.int64], Codes]:
    """The distinct combinations of integer or boolean columns (non-negative, equally long, at least one).

    Returns:
        first: for each distinct combination, in order of appearance, the row where it first occurs.
        rows: for each row, the index of its combination in `first`.
    """
    key = columns[0].astype(np.int64)
    size = int(key.max(initial=0)) + 1
    for column in columns[1:]:
        radix = int(column.max(initial=0)) + 1
        if radix == 1:
            continue
        if size * radix >= 1 << 62:
            key, size = _compress(key)
        key = key * radix + column
        size *= radix
    key, size = _compress(key)
    first = np.empty(size, np.int64)
    first[key[::-1]] = np.arange(len(key) - 1, -1, -1)  # the last write is the first occurrence
    return first, key.astype(np.int32)


def _compress(key: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], int]:
    # Arrow's hash table: three times as fast as the sort of np.unique, and it keeps the order of appearance.
    encoded = pa.array(key).dictionary_encode()
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), len(encoded.dictionary)


def number_codes(column: pa.Array) -> npt.NDArray[np.int64]:
    """A number column with nulls as 0 and every value moved up by one, for `groups`."""
    return pc.add(column.cast(pa.int64()), 1).fill_null(0).to_numpy(zero_copy_only=False)
