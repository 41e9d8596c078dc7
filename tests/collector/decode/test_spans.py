"""Pieces of one buffer are what cutting it with Python gives, however they are ordered and blocked."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from collector.decode import spans as module
from collector.decode.spans import Spans, not_utf8, positions


@st.composite
def pieces(draw: st.DrawFn) -> tuple[bytes, Spans, list[bytes]]:
    """A buffer with ascending pieces in it, some of them without anything between."""
    parts = draw(st.lists(st.tuples(st.binary(max_size=3), st.binary(max_size=6)), min_size=1, max_size=12))
    content = b"".join(gap + piece for gap, piece in parts) + draw(st.binary(max_size=3))
    ends = np.cumsum([len(gap) + len(piece) for gap, piece in parts])
    starts = ends - [len(piece) for _, piece in parts]
    return content, Spans(np.frombuffer(content, np.uint8), starts, ends), [piece for _, piece in parts]


@given(pieces(), st.data())
def test_pieces_in_any_order_are_copied_as_they_are(
    given: tuple[bytes, Spans, list[bytes]], data: st.DataObject
) -> None:
    _, spans, expected = given
    assert spans.array().to_pylist() == expected
    order = data.draw(st.permutations(range(len(expected))))[: data.draw(st.integers(0, len(expected)))]
    taken = spans.take(np.array(order, np.int64))
    assert taken.array().to_pylist() == [expected[row] for row in order]
    assert [taken[row] for row in range(len(taken))] == [expected[row] for row in order]


@given(pieces(), st.integers(1, 20))
def test_blocks_are_all_pieces_once(given: tuple[bytes, Spans, list[bytes]], size: int) -> None:
    _, spans, expected = given
    found: list[bytes] = []
    while len(found) < len(expected):
        block = spans.block(len(found), size)
        assert len(block) == 1 or len(block.content) <= size
        found += [block[row] for row in range(len(block))]
    assert found == expected


@given(pieces())
def test_utf8_is_judged_piece_by_piece(given: tuple[bytes, Spans, list[bytes]]) -> None:
    _, spans, expected = given
    assert not_utf8(spans).tolist() == [not _is_utf8(piece) for piece in expected]


def test_a_character_cut_by_a_border_is_no_utf8_on_either_side() -> None:
    text = "aéb".encode()
    spans = Spans(np.frombuffer(text, np.uint8), np.array([0, 2]), np.array([2, 4]))
    assert not_utf8(spans).tolist() == [True, True]
    assert not not_utf8(Spans.of(pa.array([text, text], pa.binary()))).any()


def test_positions_of_a_byte_in_a_large_buffer() -> None:
    content = np.frombuffer(b"." * (2 * module._SCANNED + 7), np.uint8).copy()  # pyright: ignore[reportPrivateUsage]
    expected = [0, module._SCANNED - 1, module._SCANNED, len(content) - 1]  # pyright: ignore[reportPrivateUsage]
    content[expected] = 10
    assert positions(content, 10).tolist() == expected


def _is_utf8(piece: bytes) -> bool:
    try:
        piece.decode()
    except UnicodeDecodeError:
        return False
    return True
