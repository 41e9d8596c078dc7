"""Addresses and ids as columns equal addresses and ids one by one."""

from __future__ import annotations

import ipaddress
import re

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.identity.socket_addresses import AddressPool, ip_bytes, ip_text
from collector.trace_ids import from_traceparent, hex_ids


def parsed(texts: list[str | None]) -> list[tuple[str, int]]:
    pool = AddressPool()
    codes, ports = pool.parse(pa.array(texts, pa.string()))
    return [(ip_text(pool.values[code]), int(port)) for code, port in zip(codes, ports, strict=True)]


def slow(text: str | None) -> tuple[str, int]:
    """What one socket address says."""
    text = text or ""
    head, colon, tail = text.rpartition(":")
    if not colon or (":" in head and not head.endswith("]") and not set("/.") & set(head)):
        head, tail = text, ""
    port = int(tail) if re.fullmatch(r"[0-9]{1,5}", tail) else 0
    return ip_text(ip_bytes(head)), port if port < 65536 else 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.1:80", ("10.0.0.1", 80)),
        ("[2001:DB8::1]:80", ("2001:db8::1", 80)),
        ("2001:db8::1", ("2001:db8::1", 0)),
        ("10.0.0.1", ("10.0.0.1", 0)),
        ("[::1]", ("::1", 0)),
        ("tcp://10.0.2.1:80", ("10.0.2.1", 80)),
        ("envoy://connect_originate/10.244.0.32:9080", ("10.244.0.32", 9080)),
        ("envoy://internal_client_address/", ("", 0)),
        ("/var/run/app.sock", ("", 0)),
        ("10.0.0.1:99999", ("10.0.0.1", 0)),
        ("10.0.0.1:-1", ("10.0.0.1", 0)),
        ("10.0.0.1:٣", ("10.0.0.1", 0)),
        ("::ffff:10.0.0.1", ("10.0.0.1", 0)),
        ("::ffff:10.0.0.1:80", ("10.0.0.1", 80)),
        ("[::ffff:10.0.0.1]", ("10.0.0.1", 0)),
        ("[::ffff:10.0.0.1]:80", ("10.0.0.1", 80)),
        ("[::FFFF:a00:1]:80", ("10.0.0.1", 80)),
        ("0:0:0:0:0:ffff:10.0.0.1", ("10.0.0.1", 0)),
        ("[::1]:80", ("::1", 80)),
        ("[fe80::1%eth0]:80", ("fe80::1", 80)),
        ("1" * 200, ("", 0)),
        (None, ("", 0)),
    ],
)
def test_forms_that_envoy_prints(text: str | None, expected: tuple[str, int]) -> None:
    assert parsed([text]) == [expected]
    assert parsed(["10.9.9.9:1", text, "10.9.9.9:2"])[1] == expected


TEXTS = st.one_of(
    st.none(),
    st.tuples(st.ip_addresses(v=4), st.integers(0, 70000)).map(lambda pair: f"{pair[0]}:{pair[1]}"),
    st.ip_addresses(v=6).map(str),
    st.tuples(st.ip_addresses(v=6), st.integers(0, 70000)).map(lambda pair: f"[{pair[0]}]:{pair[1]}"),
    st.text("0123456789abcdef:.[]/%", max_size=20),
    st.text(max_size=10),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(TEXTS, max_size=10), st.integers(0, 3))
def test_columns_equal_one_by_one(texts: list[str | None], skip: int) -> None:
    assert parsed(texts) == [slow(text) for text in texts]
    pool = AddressPool()
    column = pa.array(texts, pa.string()).slice(skip)
    codes, ports = pool.parse(column)
    assert [(ip_text(pool.values[c]), p) for c, p in zip(codes, ports, strict=True)] == [slow(t) for t in texts[skip:]]
    assert pool.encode(pool.decode(codes)).tolist() == codes.tolist()


@given(st.ip_addresses())
def test_text_and_bytes_are_each_others_inverse(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    packed = ip_bytes(str(address))
    assert len(packed) == 16
    if int(address) or address.version == 4:
        assert ip_bytes(ip_text(packed)) == packed


def slow_hex(text: str | None, width: int) -> str:
    padded = (text or "").rjust(width, "0").lower()
    is_id = re.fullmatch(f"[0-9a-f]{{{width}}}", padded) and padded.strip("0")
    return padded if is_id and (text or "").isascii() else ""


@settings(deadline=None)
@given(
    st.lists(
        st.none() | st.text("0123456789abcdefABCDEFg-\0", max_size=34) | st.from_regex(r"\A[0-9a-f]{32}\Z"), max_size=8
    ),
    st.sampled_from([16, 32]),
    st.integers(0, 2),
)
def test_ids_are_padded_hex_or_nothing(texts: list[str | None], width: int, skip: int) -> None:
    column = pa.array(texts, pa.string())
    assert hex_ids(column, width).to_pylist() == [slow_hex(text, width) for text in texts]
    assert hex_ids(column.slice(skip), width).to_pylist() == [slow_hex(text, width) for text in texts[skip:]]
    hex_ids(column, width).validate(full=True)


def test_traceparent() -> None:
    trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    zero = "0" * 32
    column = pa.array(
        [f"00-{trace}-{span}-01", None, f"00-{zero}-{span}-01", f"{trace}-{span}", f"cc-{trace}-{span}-01-x"]
    )
    traces, spans = from_traceparent(column)
    assert traces.to_pylist() == [trace, "", "", "", trace]
    assert spans.to_pylist() == [span, "", span, "", span]
