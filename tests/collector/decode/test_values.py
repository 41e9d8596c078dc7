"""Whole numbers as times: in columns the same as one by one."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.decode.values import times

EPOCHS = st.one_of(st.integers(0, 10**18 - 1), st.integers(0, 18).map(lambda power: 10**power))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), EPOCHS.map(str), st.sampled_from(["x", "2024-01-01T00:00:00Z"])), max_size=6))
def test_a_number_is_read_like_one_with_a_fraction(given: list[str | None]) -> None:
    # A fraction is read one by one.
    slow = [text + ".0" if text and text.isdigit() else text for text in given]
    fast_values, fast_wrong = times(pa.array(given, pa.string()))
    slow_values, slow_wrong = times(pa.array(slow, pa.string()))
    assert fast_values.equals(slow_values)
    assert fast_wrong.tolist() == slow_wrong.tolist()


@pytest.mark.parametrize("day", ["2026-10-00", "2026-00-10", "2026-02-29", "2026-10-32", "0000-01-01"])
def test_days_that_there_are_not_are_wrong_and_no_error(day: str) -> None:
    found, wrong = times(pa.array([f"{day}T22:23:01.119792Z", "2026-10-01T22:23:01Z"]))
    assert wrong.tolist() == [True, False]
    assert found.is_null().to_pylist() == [True, False]
