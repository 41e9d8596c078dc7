"""Cutting messages of a partition into batches: recorded bounds are cut again as they were."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from collector.sources.pending import Chunk, Pending
from collector.sources.source import Bounds, Cut

AT = datetime(2026, 1, 1, tzinfo=UTC)


def pending() -> Pending:
    return Pending("c", "t", "id", 0, "auto")


def offsets_of(cut: Cut | None) -> list[int]:
    return cut.batch.offsets.to_pylist() if cut else []


def chunk(offsets: Sequence[int]) -> Chunk:
    return Chunk.of([b"v%d" % offset for offset in offsets], offsets)


def nothing_recorded(topic_id: str, partition: int, position: int) -> list[Bounds]:
    return []


@given(
    st.lists(st.integers(0, 60), unique=True, min_size=1).map(sorted),
    st.lists(st.integers(0, 60), unique=True).map(sorted),
    st.data(),
)
def test_recorded_bounds_are_cut_again(offsets: list[int], ends: list[int], data: st.DataObject) -> None:
    # A chain of bounds as an earlier run would have recorded it: each batch begins behind the one before.
    starts = [0, *(end + 1 for end in ends)]
    recorded = [Bounds(first, last, AT, "d/1") for first, last in zip(starts, ends, strict=False)]

    def lookup(topic_id: str, partition: int, position: int) -> list[Bounds]:
        return [bounds for bounds in recorded if bounds.last >= position]

    waiting, cuts, at = pending(), [], 0
    while at < len(offsets):
        size = data.draw(st.integers(1, len(offsets) - at))
        waiting.add(chunk(offsets[at : at + size]), 0.0)
        at += size
        while cut := waiting.cut(
            lookup, messages=5, size_bytes=1 << 20, everything=data.draw(st.booleans()), at_end=at == len(offsets)
        ):
            cuts.append(cut)
    while cut := waiting.cut(lookup, messages=5, size_bytes=1 << 20, everything=True, at_end=True):
        cuts.append(cut)
    assert [offset for cut in cuts for offset in offsets_of(cut)] == offsets
    assert [value for cut in cuts for value in cut.batch.values.to_pylist()] == [b"v%d" % offset for offset in offsets]
    for cut in cuts:
        if cut.bounds:
            expected = [offset for offset in offsets if cut.bounds.first <= offset <= cut.bounds.last]
            assert offsets_of(cut) == expected
        else:
            assert not any(bounds.first <= offset <= bounds.last for bounds in recorded for offset in offsets_of(cut))
            assert len(offsets_of(cut)) <= 5


def test_a_batch_is_full_by_bytes() -> None:
    waiting = pending()
    waiting.add(Chunk.of([b"x" * 10] * 10, range(10)), 0.0)
    assert offsets_of(waiting.cut(nothing_recorded, messages=100, size_bytes=25, everything=False, at_end=False)) == [
        0,
        1,
        2,
    ]
    assert waiting.size_bytes == 70
    assert waiting.messages == 7


def test_one_message_larger_than_a_batch() -> None:
    waiting = pending()
    waiting.add(Chunk.of([b"x" * 100, b"y"], [7, 9]), 0.0)
    assert offsets_of(waiting.cut(nothing_recorded, messages=100, size_bytes=10, everything=False, at_end=False)) == [7]
    assert waiting.cut(nothing_recorded, messages=100, size_bytes=10, everything=False, at_end=False) is None


def test_a_recorded_batch_waits_for_its_last_message() -> None:
    waiting = pending()
    waiting.add(chunk([0, 1]), 0.0)
    recorded = [Bounds(0, 3, AT, "d/1")]
    assert waiting.cut(lambda *_: recorded, messages=1, size_bytes=1, everything=True, at_end=False) is None
    waiting.add(chunk([2, 5]), 0.0)
    cut = waiting.cut(lambda *_: recorded, messages=1, size_bytes=1, everything=False, at_end=False)
    assert offsets_of(cut) == [0, 1, 2]
    assert cut is not None
    assert cut.bounds == recorded[0]


def test_empty_messages_keep_their_place() -> None:
    waiting = pending()
    waiting.add(Chunk.of([b"", b"a", b""], [1, 2, 3]), 0.0)
    cut = waiting.cut(nothing_recorded, messages=10, size_bytes=10, everything=True, at_end=True)
    assert cut is not None
    assert cut.batch.values.to_pylist() == [b"", b"a", b""]
