"""Different rows are found as Python finds them, whatever the columns are of."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzers.policy import distinct as module
from analyzers.policy.distinct import distinct

ROWS = st.lists(
    st.tuples(
        st.none() | st.integers(0, 1),
        st.sampled_from(["", "a", "b"]),
        st.lists(st.integers(0, 12), max_size=2),
        st.sampled_from([0, 1 << 63, (1 << 64) - 1]),
    ),
    max_size=30,
)
TYPES = {"a": pa.uint8(), "b": pa.dictionary(pa.int32(), pa.string()), "c": pa.list_(pa.uint16()), "d": pa.uint64()}


@pytest.mark.parametrize("most", [module.MOST, 2])
@given(rows=ROWS, cut=st.integers(0, 30))
def test_rows_are_told_apart(most: int, rows: list[tuple[object, ...]], cut: int) -> None:
    columns = {name: pa.array([row[at] for row in rows], kind) for at, (name, kind) in enumerate(TYPES.items())}
    whole = pa.table(columns)
    table = pa.concat_tables([whole.slice(0, cut), whole.slice(cut)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MOST", most)
        first, number = distinct(table)
    kinds: dict[str, int] = {}
    expected = [kinds.setdefault(repr(row), len(kinds)) for row in rows]
    assert number.tolist() == expected
    assert first.tolist() == [expected.index(kind) for kind in range(len(kinds))]
