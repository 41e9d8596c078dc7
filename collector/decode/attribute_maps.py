"""Maps of attributes from several places, as one per row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa


def joined_maps(maps: Sequence[pa.MapArray]) -> pa.MapArray:
    """The entries of every map of a row, in the order of `maps` (equally long). A null map has no entries."""
    rows: list[np.ndarray] = []
    keys: list[pa.Array] = []
    values: list[pa.Array] = []
    for one in maps:
        ends = one.offsets.to_numpy()
        rows.append(np.repeat(np.arange(len(one)), np.diff(ends)))
        keys.append(one.keys.slice(ends[0], ends[-1] - ends[0]))
        values.append(one.items.slice(ends[0], ends[-1] - ends[0]))
    row = np.concatenate(rows)
    order = pa.array(np.argsort(row, kind="stable"))
    offsets = np.zeros(len(maps[0]) + 1, np.int32)
    np.cumsum(np.bincount(row, minlength=len(maps[0])), out=offsets[1:])
    return pa.MapArray.from_arrays(
        pa.array(offsets), pa.concat_arrays(keys).take(order), pa.concat_arrays(values).take(order)
    )
