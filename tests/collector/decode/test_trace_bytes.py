"""Damaged spans of Zipkin and Jaeger give rows or dead letters: every record is accounted for, twice is the same."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.decode.detect import LINES, kinds
from collector.decode.limits import Limits
from collector.decode.registry import decoder
from tests.collector.decode import trace_samples as samples
from tests.collector.decode.test_any_bytes import FRAGMENTS, everything, of, records

JSON_SPANS = (
    samples.ZIPKIN_LIST,
    samples.ZIPKIN_CLIENT,
    samples.ZIPKIN_SERVER,
    *samples.JAEGER_JSON,
    samples.JAEGER_EXPORT,
    f"[{samples.ZIPKIN_CLIENT},\n{samples.ZIPKIN_SERVER}]\n{samples.JAEGER_JSON[0]}",
)
SMALL = Limits(record_bytes=4000, keys=40, depth=8, value_bytes=3000)
SPAN_FRAGMENTS = [*FRAGMENTS, b"[", b"]", b"},{", b'"tags":[],', b'"traceId":1,', b"1e3", b"-1", b'"\\ud800"', b'{"a":']


@st.composite
def damaged(draw: st.DrawFn, wholes: tuple[bytes, ...]) -> bytes:
    """A real message with a few places cut, doubled or overwritten."""
    body = draw(st.sampled_from(wholes))
    for _ in range(draw(st.integers(0, 3))):
        begin = draw(st.integers(0, len(body)))
        end = min(len(body), begin + draw(st.integers(0, 12)))
        piece = draw(st.one_of(st.sampled_from(SPAN_FRAGMENTS), st.binary(max_size=4), st.just(body[begin:end] * 2)))
        body = body[:begin] + piece + body[end:]
    return body


@pytest.mark.parametrize("name", ["zipkin_json", "jaeger_json", "auto"])
def test_every_json_span_is_a_row_or_a_dead_letter(name: str) -> None:
    reader = decoder(name, SMALL)

    @settings(max_examples=50, deadline=None)
    @given(st.lists(damaged(tuple(span.encode() for span in JSON_SPANS)), max_size=4))
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


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(damaged(samples.JAEGER_PROTO), st.binary(max_size=60)), max_size=5))
def test_every_protobuf_span_is_a_row_or_a_dead_letter(values: list[bytes]) -> None:
    reader = decoder("jaeger_proto", SMALL)
    decoded = reader.decode(of(values))
    rows = decoded.tables["spans"]["_message"].to_pylist() if "spans" in decoded.tables else []
    assert sorted([*rows, *(letter.message for letter in decoded.dead)]) == list(range(len(values)))
    assert everything(reader.decode(of(values))) == everything(decoded)
    together = reader.decode(of([*values, samples.JAEGER_PROTO[1]]))
    kept = together.tables["spans"].to_pylist()
    (alone,) = reader.decode(pa.array([samples.JAEGER_PROTO[1]], pa.large_binary())).tables["spans"].to_pylist()
    own = next(row for row in kept if row["_message"] == len(values))
    assert {**own, "_message": 0} == {**alone, **{key: own[key] for key in own.keys() - alone.keys()}}
