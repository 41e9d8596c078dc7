"""`Pace`: batches wait longer where storing them takes long, within bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import TopicPartition

from collector.sources.pace import LONGEST, REST, Pace

PARTITION = TopicPartition("t", 0)


def paced(*took_s: float) -> Pace:
    """After batches that took so long to be stored, one after the other."""
    pace, now = Pace(1.0), 100.0
    for first, each in enumerate(took_s):
        pace.cut(PARTITION, first, now)
        now += each
        pace.stored(PARTITION, first, now)
    return pace


def test_what_is_stored_at_once_waits_no_longer_than_it_must() -> None:
    assert Pace(1.0).due_s(at_end=True) == 1.0
    assert paced(*[0.1] * 20).due_s(at_end=True) == 1.0


def test_what_takes_long_waits_four_times_as_long_and_never_beyond_the_longest() -> None:
    assert paced(*[0.5] * 20).due_s(at_end=True) == pytest.approx(REST * 0.5, rel=1e-3)
    assert paced(*[60.0] * 20).due_s(at_end=True) == LONGEST
    # One that was slow is forgotten soon.
    assert paced(60.0, *[0.01] * 12).due_s(at_end=True) == 1.0


def test_behind_a_backlog_it_waits_for_a_full_one() -> None:
    assert Pace(0.2).due_s(at_end=False) == pytest.approx(LONGEST * 0.2)


def test_what_was_given_up_says_nothing() -> None:
    pace = Pace(1.0)
    pace.cut(PARTITION, 5, 0.0)
    pace.forget(PARTITION)
    pace.stored(PARTITION, 5, 1000.0)
    pace.stored(TopicPartition("t", 1), 5, 1000.0)
    assert pace.due_s(at_end=True) == 1.0


@given(st.lists(st.floats(0, 1e6), max_size=20))
def test_it_is_within_its_bounds_whatever_happens(took_s: list[float]) -> None:
    assert 1.0 <= paced(*took_s).due_s(at_end=True) <= LONGEST


def test_a_small_batch_goes_out_of_turn_only_after_a_rest() -> None:
    assert Pace(1.0).has_rested(0.0)
    pace = paced(*[0.5] * 20)
    assert not pace.has_rested(REST * 0.5 - 0.01)
    assert pace.has_rested(REST * 0.5 + 0.01)
