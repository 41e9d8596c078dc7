"""All attributes of all records of a batch as three flat columns (owner, key, value), looked up by whole columns.

`Attributes.pick` answers "the first of these keys that each record has" with one gather, however many records
there are: keys are dictionary codes, so finding a key is comparing small integers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from collector.decode.otlp.text import (
    Indices,
    any_value_text,
    joined,
    json_string,
    map_distinct,
    offsets_of,
    utf8,
)


def children(lists: pa.ListArray) -> tuple[Any, Indices]:
    """The values of a list column end to end, and how many each row has (0 for null)."""
    offsets = lists.offsets.to_numpy().astype(np.int64)
    values = lists.values
    first, last = int(offsets[0]), int(offsets[-1])
    if first or last != len(values):
        values = values.slice(first, last - first)
    return values, np.diff(offsets)


class Picked:
    """For each record the position of one attribute in the flat columns, -1 where it has none."""

    def __init__(self, attributes: Attributes, at: Indices) -> None:
        self._attributes = attributes
        self.at = at
        self.present: npt.NDArray[np.bool_] = at >= 0
        self.any = bool(self.present.any())

    def or_else(self, other: Picked) -> Picked:
        """This attribute, or the other one where a record does not have it."""
        return Picked(self._attributes, np.where(self.present, self.at, other.at)) if other.any else self

    def _gather(self, column: pa.Array) -> pa.Array:
        if not self.any:
            return pa.nulls(len(self.at), column.type)
        return column.take(pa.array(self.at, mask=~self.present))

    def text(self) -> pa.StringArray:
        """The values as text, null where there is none."""
        return self._gather(self._attributes.text)

    def integers(self, names: Mapping[str, int] | None = None) -> pa.Int64Array:
        """The values as integers: ints as they are, texts that are decimal digits or one of `names`; else null."""
        ints = self._gather(self._attributes.value.field("int"))
        missing = self.present & ints.is_null().to_numpy(zero_copy_only=False)
        if not missing.any():
            return ints

        def parse(text: str) -> int | None:
            if names is not None and text.upper() in names:
                return names[text.upper()]
            return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None

        return pc.coalesce(ints, map_distinct(self.text(), parse, pa.int64()))


_KINDS_OF_VALUE: Mapping[str, pa.DataType] = {
    "string": pa.binary(),
    "bool": pa.bool_(),
    "int": pa.int64(),
    "double": pa.float64(),
    "array": pa.binary(),
    "kvlist": pa.binary(),
    "bytes": pa.binary(),
}


def key_values(counts: Indices, keys: pa.Array, **values: pa.Array) -> pa.ListArray:
    """A list column of KeyValue from flat columns, for attributes that did not come as OTLP.

    Args:
        counts: how many each record has.
        keys: one key each, text or binary, no nulls.
        values: by kind of value (`string`, `bool`, `int`, `double`, `bytes`), null where it is of another kind.
    """
    kinds = [
        values[kind].cast(of_type) if kind in values else pa.nulls(len(keys), of_type)
        for kind, of_type in _KINDS_OF_VALUE.items()
    ]
    value = pa.StructArray.from_arrays(kinds, list(_KINDS_OF_VALUE))
    entries = pa.StructArray.from_arrays([keys.cast(pa.binary()), value], ["key", "value"])
    return pa.ListArray.from_arrays(pa.array(offsets_of(counts), pa.int32()), entries)


class Attributes:
    """The attributes of `records` (a list column of KeyValue): flat key and value columns with their owners."""

    def __init__(self, lists: pa.ListArray) -> None:
        entries, self.counts = children(lists)
        self.records = len(lists)
        self.key: pa.BinaryArray = entries.field("key")
        self.value: pa.StructArray = entries.field("value")
        self._text: pa.StringArray | None = None
        self._where: dict[bytes, Indices] | None = None
        self._owner: npt.NDArray[np.int32] | None = None

    @property
    def text(self) -> pa.StringArray:
        """Every value as text."""
        if self._text is None:
            self._text = any_value_text(self.value)
        return self._text

    @property
    def owner(self) -> npt.NDArray[np.int32]:
        """The record that each attribute belongs to."""
        if self._owner is None:
            self._owner = np.repeat(np.arange(self.records, dtype=np.int32), self.counts)
        return self._owner

    def _positions(self, wanted: frozenset[bytes]) -> dict[bytes, Indices]:
        """Ascending positions of each of the `wanted` keys that occurs at all."""
        encoded = self.key.dictionary_encode()
        names: list[bytes] = encoded.dictionary.to_pylist()
        rank = np.zeros(len(names) + 1, np.uint8)
        found = [name for name in names if name in wanted]
        number = {name: i + 1 for i, name in enumerate(found)}
        for code, name in enumerate(names):
            rank[code] = number.get(name, 0)
        ranks = rank[encoded.indices.to_numpy()]
        order = np.argsort(ranks, kind="stable")
        ends = np.cumsum(np.bincount(ranks, minlength=len(found) + 1))
        return {name: order[ends[i] : ends[i + 1]] for i, name in enumerate(found)}

    def index(self, wanted: frozenset[bytes]) -> None:
        """Find all `wanted` keys in one pass; `pick` answers for these only. At most 255."""
        self._where = self._positions(wanted) if len(self.key) else {}

    def pick(self, *keys: str, among: npt.NDArray[np.bool_] | None = None) -> Picked:
        """The first of `keys` that each record has (the last value where a key is repeated).

        `among` limits it to those records.
        """
        if self._where is None:
            raise RuntimeError("index() comes before pick()")
        at = np.full(self.records, -1, np.int64)
        for key in reversed(keys):
            where = self._where.get(key.encode())
            if where is not None:
                at[self.owner[where]] = where
        if among is not None:
            at[~among] = -1
        return Picked(self, at)

    def has(self, *keys: str) -> npt.NDArray[np.bool_]:
        """Which records have any of `keys`."""
        return self.pick(*keys).present

    def maps(self) -> pa.MapArray:
        """One text map for each record."""
        return pa.MapArray.from_arrays(pa.array(offsets_of(self.counts), pa.int32()), utf8(self.key), self.text)

    def json_objects(self) -> pa.StringArray:
        """One JSON object of texts for each record."""
        pairs = pc.binary_join_element_wise(json_string(utf8(self.key)), json_string(self.text), ":")
        return joined(pairs, self.counts, "{", "}")


def first_text(*columns: pa.Array) -> pa.StringArray:
    """The first of `columns` that is neither null nor ''; '' where all are."""
    useful = [pc.if_else(pc.equal(column, ""), None, column) for column in columns if column.null_count < len(column)]
    if not useful:
        return constant("", len(columns[0]))
    return pc.coalesce(*useful, pa.scalar("", pa.string()))


def constant(text: str, count: int) -> pa.StringArray:
    """A column of one text."""
    return pa.DictionaryArray.from_arrays(np.zeros(count, np.int32), pa.array([text])).cast(pa.string())


def nest(levels: Sequence[Indices]) -> list[npt.NDArray[np.int32]]:
    """For nested lists, given the child counts per level from the outermost, each innermost row's index per level.

    `levels[0]` counts the children of each message, `levels[1]` those of each of its resources, and so on.
    """
    owners = np.repeat(np.arange(len(levels[-1]), dtype=np.int32), levels[-1])
    found = [owners]
    for counts in reversed(levels[:-1]):
        owners = np.repeat(np.arange(len(counts), dtype=np.int32), counts)[found[0]]
        found.insert(0, owners)
    return found
