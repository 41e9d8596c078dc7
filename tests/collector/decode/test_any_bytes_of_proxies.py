"""Linkerd, Google Cloud, Spring Cloud Gateway, Kong, ingress-nginx: how lines are cut, told apart and found."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.decode.envelope import split_lines
from collector.decode.expression_lines import matched
from collector.decode.limits import Limits
from collector.decode.nginx_lines import LINE, cut
from collector.decode.registry import decoder
from tests.collector.decode.proxy_samples import BY_FORMAT
from tests.collector.decode.test_any_bytes import FRAGMENTS, of

LIMITS = Limits(record_bytes=5000, keys=40, depth=8, value_bytes=2500)
PIECES = [*FRAGMENTS, b", ", b" : ", b"[-]", b"31/Feb/2024:25:61:61 +9999", b'"ip":"', b'"port":99999', b"a" * 3000]


@st.composite
def mutated(draw: st.DrawFn, lines: tuple[str, ...]) -> bytes:
    """A real line with a few places cut, doubled or overwritten."""
    line = draw(st.sampled_from(lines)).encode()
    for _ in range(draw(st.integers(0, 3))):
        begin = draw(st.integers(0, len(line)))
        end = min(len(line), begin + draw(st.integers(0, 12)))
        piece = draw(st.one_of(st.sampled_from(PIECES), st.binary(max_size=4), st.just(line[begin:end] * 2)))
        line = line[:begin] + piece + line[end:]
    return line


@settings(max_examples=60, deadline=None)
@given(st.lists(mutated(BY_FORMAT["ingress_nginx"]), max_size=6))
def test_lines_of_nginx_are_cut_as_the_expression_says(values: list[bytes]) -> None:
    given_lines = split_lines(of(values))
    fast, slow = cut(given_lines, LIMITS), matched(given_lines, LINE, LIMITS)
    assert fast.rows.tolist() == slow.rows.tolist()
    assert (sorted(fast.refused), fast.rest.tolist()) == (slow.refused, slow.rest.tolist())
    for name, text in slow.fields.items():
        assert (name, fast.fields[name].to_pylist()) == (name, text.to_pylist())


@pytest.mark.parametrize("name", BY_FORMAT)
def test_auto_finds_the_format(name: str) -> None:
    decoded = decoder("auto").decode(of([line.encode() for line in BY_FORMAT[name]]))
    assert decoded.dead == []
    meshes = {"linkerd_apache": "linkerd", "linkerd_json": "linkerd", "gcp_json": "gcp", "reactor_netty": "spring"}
    mesh = meshes.get(name, {"ingress_nginx": "ingress-nginx", "kong_json": "kong"}.get(name))
    assert set(decoded.tables["calls"]["mesh"].to_pylist()) == {mesh}
