"""Any bytes give rows or dead letters: every record is accounted for, neighbours are intact, twice is the same.

Lines of all formats are mixed here; each format with damaged lines of its own is `test_mutated_lines`.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.contract import Decoded
from collector.decode.detect import LINES, kinds
from collector.decode.envelope import split_lines
from collector.decode.json_lists import records_of
from collector.decode.limits import Limits
from collector.decode.registry import decoder
from tests.collector.decode import samples

BLANKS = b" \t\r\n\x0b\x0c\x00"
FORMATS = ("auto", "envoy_json", "istio_text")
SMALL = Limits(record_bytes=2000, keys=40, depth=6, value_bytes=600)

whole = st.sampled_from([line.encode() for line in samples.EVERY_LINE])
FRAGMENTS = [
    b'"',
    b"\\",
    b'\\"',
    b"\\u0041",
    b"\\ud800",
    b"\xff",
    b"\x00",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\n",
    b"\r\n",
    b" ",
    b",",
    b":",
    b"null",
    b"-",
    b"1e999",
    b"9" * 30,
    b"{" * 50,
    b"a" * 700,
    b'" 200 - via_upstream - "-" 1 2 3 4 "',
    b'{"log":"',
    "é".encode(),
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A real line with a few places cut, doubled or overwritten."""
    line = draw(whole)
    for _ in range(draw(st.integers(1, 3))):
        begin = draw(st.integers(0, len(line)))
        end = min(len(line), begin + draw(st.integers(0, 12)))
        piece = draw(st.one_of(st.sampled_from(FRAGMENTS), st.binary(max_size=4), st.just(line[begin:end] * 2)))
        line = line[:begin] + piece + line[end:]
    return line


messages = st.lists(
    st.one_of(
        whole, mutated(), st.binary(max_size=60), st.lists(st.one_of(whole, mutated()), max_size=4).map(b"\n".join)
    ),
    max_size=6,
)


def of(values: list[bytes]) -> pa.LargeBinaryArray:
    return pa.array(values, pa.large_binary())


def records(values: list[bytes]) -> Counter[tuple[int, int]]:
    """(message, record) of every line that is not blank, or of every element of a list, the slow way."""
    found: Counter[tuple[int, int]] = Counter()
    for message, body in enumerate(values):
        listed = records_of(body)
        lines = body.split(b"\n") if listed is None else listed
        found.update((message, record) for record, line in enumerate(lines) if line.strip(BLANKS))
    return found


def everything(decoded: Decoded) -> list[Any]:
    """Rows and dead letters in a comparable order, columns that a batch lacks left out."""
    rows: list[Any] = []
    for name, batch in decoded.tables.items():
        batch.validate(full=True)
        for row in batch.to_pylist():
            filled = {key: value for key, value in row.items() if value is not None and key != "_message"}
            rows.append((row["_message"], row["_record"], name, repr(sorted(filled.items()))))
    return sorted(rows) + sorted(
        (letter.message, letter.record, letter.reason, letter.payload) for letter in decoded.dead
    )


@pytest.mark.parametrize("name", FORMATS)
def test_every_record_is_a_row_or_a_dead_letter(name: str) -> None:
    reader = decoder(name, SMALL)

    @settings(max_examples=25, deadline=None)
    @given(messages)
    def law(values: list[bytes]) -> None:
        found = kinds(of(values)).tolist()
        values = [value for value, kind in zip(values, found, strict=True) if kind == LINES]
        decoded = reader.decode(of(values))
        accounted = Counter((letter.message, letter.record) for letter in decoded.dead)
        for batch in decoded.tables.values():
            accounted += Counter(zip(batch["_message"].to_pylist(), batch["_record"].to_pylist(), strict=True))
        assert accounted == records(values)
        assert everything(reader.decode(of(values))) == everything(decoded)

    law()


@cache
def alone() -> list[Any]:
    """What every line gives without a neighbour."""
    return everything(decoder("auto", SMALL).decode(of([line.encode() for line in samples.EVERY_LINE])))


@settings(max_examples=25, deadline=None)
@given(st.one_of(mutated(), st.binary(max_size=80)), st.integers(0, len(samples.EVERY_LINE)))
def test_a_hostile_neighbour_changes_no_row(hostile: bytes, place: int) -> None:
    good = [line.encode() for line in samples.EVERY_LINE]
    reader = decoder("auto", SMALL)
    together = reader.decode(of([*good[:place], hostile, *good[place:]]))
    kept = [item for item in everything(together) if item[0] != place]
    assert [(item[0] - (item[0] > place), *item[1:]) for item in kept] == alone()


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=30) | st.text("ab \r\n\t\0", max_size=12).map(str.encode), max_size=6))
def test_lines_are_those_of_split(values: list[bytes]) -> None:
    lines = split_lines(of(values))
    found = list(zip(lines.message.to_pylist(), lines.record.to_pylist(), lines.text.to_pylist(), strict=True))
    assert found == [
        (message, record, line.strip(BLANKS))
        for message, body in enumerate(values)
        for record, line in enumerate(body.split(b"\n"))
        if line.strip(BLANKS)
    ]


def test_lines_of_a_slice_are_its_own() -> None:
    values = of([b"a\nb", b"c", b"d\n", b"e"])
    lines = split_lines(values.slice(1, 2))
    assert list(zip(lines.message.to_pylist(), lines.text.to_pylist(), strict=True)) == [(0, b"c"), (1, b"d")]
