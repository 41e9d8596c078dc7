"""What is inflated is what was compressed, and never more than allowed."""

from __future__ import annotations

import gzip
import tracemalloc
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import codec

from collector.sources.inflate import Broken, TooLarge, gunzip, inflate

COMPRESS: dict[int, Any] = {1: codec.gzip_encode, 2: codec.snappy_encode, 3: codec.lz4_encode, 4: codec.zstd_encode}
CODECS = st.sampled_from(sorted(COMPRESS))


@given(CODECS, st.binary(min_size=1, max_size=300), st.integers(1, 2000))
def test_all_of_it_or_too_large(number: int, piece: bytes, times: int) -> None:
    content = piece * times
    data = memoryview(COMPRESS[number](content))
    assert inflate(data, number, len(content)) == content
    with pytest.raises(TooLarge):
        inflate(data, number, len(content) - 1)


@given(st.integers(0, 7), st.binary(max_size=100), st.integers(0, 60), st.integers(0, 255))
def test_any_bytes_are_inflated_or_refused(number: int, content: bytes, at: int, byte: int) -> None:
    data = bytearray(COMPRESS[number](content) if number in COMPRESS else content)
    data[at : at + 1] = bytes([byte])
    with suppress(Broken, TooLarge):
        assert len(inflate(memoryview(bytes(data)), number, 1000)) <= 1000


def test_raw_snappy_without_the_java_framing() -> None:
    assert inflate(memoryview(codec.snappy_encode(b"abc" * 99, xerial_compatible=False)), 2, 297) == b"abc" * 99


@pytest.mark.parametrize("number", sorted(COMPRESS))
def test_a_bomb_takes_no_more_memory_than_allowed(number: int) -> None:
    data = memoryview(COMPRESS[number](bytes(32 << 20)))
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            inflate(data, number, 1 << 20)
        assert tracemalloc.get_traced_memory()[1] < (4 << 20) + len(data)
    finally:
        tracemalloc.stop()


def test_gzip_of_several_members() -> None:
    members = gzip.compress(b"a" * 10) + gzip.compress(b"b" * 10)
    assert gunzip(members, 20) == b"a" * 10 + b"b" * 10
    with pytest.raises(TooLarge):
        gunzip(members, 19)
    with pytest.raises(Broken, match="ends early"):
        gunzip(members[:-9], 20)
    assert gunzip(b"", 0) == b""
