"""Blocks of bytes as messages."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from collector.sources.documents import is_document, split_document
from collector.sources.lines import split_lines


@given(st.lists(st.binary(max_size=6).map(lambda b: b.replace(b"\n", b"")), max_size=20), st.booleans(), st.booleans())
def test_lines_are_those_of_a_slow_reader(lines: list[bytes], ended: bool, windows: bool) -> None:
    end = b"\r\n" if windows else b"\n"
    block = end.join(lines) + (end if ended and lines else b"")
    values, offsets = split_lines(pa.py_buffer(block), 1000)
    expected, at = [], 1000
    for line in block.splitlines(keepends=True) if b"\r" not in b"".join(lines) else _split(block):
        if line not in (b"\n", b"\r\n"):
            expected.append((line, at))
        at += len(line)
    assert list(zip(values.to_pylist(), offsets.to_pylist(), strict=True)) == expected


def _split(block: bytes) -> list[bytes]:
    parts = block.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def test_frames_of_the_collectors_file_exporter() -> None:
    block = b"\x00\x00\x00\x02ab" + b"\x00\x00\x00\x01c" + b"\x00\x00\x00\x09cut"
    values, offsets = split_document(pa.py_buffer(block), 0)
    assert values.to_pylist() == [b"ab", b"c", b"cut"]
    assert offsets.to_pylist() == [0, 6, 11]


def test_what_is_read_as_a_whole() -> None:
    assert is_document("otlp_proto", b"\x0a\x10")
    assert is_document("auto", b"\x0a\x10\x00\x01")
    assert is_document("otlp_json", b'{\n  "resourceSpans": [')
    assert not is_document("auto", b'{"resourceSpans": []}\n')
    assert not is_document("calls_json", b"{\n")
    assert not is_document("istio_text", b"a\x00b\n")
