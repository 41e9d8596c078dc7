"""The drawings of the map: what they look like (snapshots), and that no name in the telemetry can break or abuse one.

The law for hostile names: they change the text of a drawing and nothing else, so a drawing with its text taken out is
the same whatever the names are.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import random
import re
import unicodedata
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from analyzers.dependencies.model import Edge, Node, ServiceMap
from analyzers.dependencies.render import palette
from analyzers.dependencies.render.dot import to_dot
from analyzers.dependencies.render.json import to_json
from analyzers.dependencies.render.layout import Layout, acyclic, crossings, layout, ranks, spread
from analyzers.dependencies.render.mermaid import to_mermaid
from analyzers.dependencies.render.svg import to_svg
from analyzers.dependencies.render.table import print_table, to_table
from analyzers.dependencies.render.text import compact, duration, printable, share, statuses
from tests.support.sample_maps import SINCE, UNTIL, edge, large, node, shop

SNAPSHOTS = Path(__file__).parent / "snapshots"
SVG = "{http://www.w3.org/2000/svg}"
EMPTY = ServiceMap(None, None)


def on_terminal(found: ServiceMap, width: int) -> str:
    out = io.StringIO()
    print_table(
        found, Console(file=out, force_terminal=True, width=width, color_system="standard", legacy_windows=False)
    )
    return out.getvalue()


# --- what they look like


@pytest.mark.parametrize(
    ("name", "render"),
    [
        ("shop.txt", to_table),
        ("shop.dot", to_dot),
        ("shop.mmd", to_mermaid),
        ("shop.svg", to_svg),
        ("shop-80-columns.ansi", lambda found: on_terminal(found, 80)),
        ("shop-200-columns.ansi", lambda found: on_terminal(found, 200)),
    ],
)
def test_the_shop_looks_as_it_did(name: str, render: Callable[[ServiceMap], str]) -> None:
    """To accept a change: EASTWATCH_UPDATE_SNAPSHOTS=1, and look at the difference."""
    drawn = render(shop())
    path = SNAPSHOTS / name
    if os.environ.get("EASTWATCH_UPDATE_SNAPSHOTS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(drawn, encoding="utf-8")
    assert drawn == path.read_text(encoding="utf-8")


def test_json_is_the_document_on_one_ascii_line() -> None:
    text = to_json(shop())
    assert json.loads(text) == shop().to_document()
    assert text.isascii()
    assert "\n" not in text


@pytest.mark.parametrize("render", [to_table, to_dot, to_mermaid, to_svg, to_json])
def test_an_empty_map_is_drawn_too(render: Callable[[ServiceMap], str]) -> None:
    assert render(EMPTY)
    lonely = ServiceMap(SINCE, UNTIL, [node("shop/alone")], [])
    assert render is to_table or "alone" in render(lonely)


def test_output_that_is_no_terminal_is_plain_and_uncut() -> None:
    out = io.StringIO()
    name = "a-namespace-with-a-long-name/" + "x" * 80
    found = ServiceMap(SINCE, UNTIL, [node(name)], [edge(name, name)])
    print_table(found, Console(file=out, width=40))
    assert out.getvalue() == to_table(found)
    assert name in out.getvalue()
    assert "\x1b" not in out.getvalue()


@pytest.mark.parametrize("width", [20, 60, 80, 100, 140, 200])
def test_a_terminal_of_any_width_shows_every_name_and_number(width: int) -> None:
    shown = re.sub(r"\x1b\[[0-9;]*m", "", on_terminal(shop(), width))
    flat = re.sub(r"\s+", " ", shown)
    for line in shop().edges:
        for fact in (line.source, line.destination, str(line.requests), share(line.error_rate), duration(line.p99_ms)):
            assert fact in flat
        if statuses(line):
            assert statuses(line) in flat


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.0k"),
        (9_949, "9.9k"),
        (9_960, "10k"),
        (99_400, "99k"),
        (999_900, "1.0M"),
        (5.6e9, "5.6G"),
    ],
)
def test_counts_are_short(count: float, text: str) -> None:
    assert compact(count) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (None, "?"),
        (0.0, "0 ms"),
        (0.042, "42 µs"),
        (0.9996, "1.0 ms"),
        (1.0, "1.0 ms"),
        (9.96, "10 ms"),
        (999.4, "999 ms"),
        (1500.0, "1.5 s"),
        (65_000.0, "65 s"),
    ],
)
def test_durations_carry_their_unit(milliseconds: float | None, text: str) -> None:
    assert duration(milliseconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "?"),
        (0.0, "0%"),
        (1e-9, "<0.1%"),
        (0.0312, "3.1%"),
        (0.5, "50%"),
        (0.9999, ">99.9%"),
        (0.9994, "99.9%"),
        (1.0, "100%"),
    ],
)
def test_nearly_all_is_not_all(value: float | None, text: str) -> None:
    assert share(value) == text


def test_unknown_is_never_drawn_as_nothing() -> None:
    bare = edge(
        "a/b", "a/c", mtls_share=None, p50_ms=None, p95_ms=None, p99_ms=None, protocol=None, attempts=None, denied=None
    )
    row = to_table(ServiceMap(SINCE, UNTIL, [node("a/b"), node("a/c")], [bare])).splitlines()[1]
    assert row.split() == ["a/b", "a/c", "?", "1000", "0%", "?", "?", "?", "?", "200×1000", "log+trace"]


def test_lines_are_wider_redder_and_dashed_for_a_reason() -> None:
    nodes = [node(f"a/{name}") for name in "bcde"]
    fine, bad, plain = edge("a/b", "a/c", 10), edge("a/b", "a/d", 9000, errors=4000), edge("a/b", "a/e", mtls_share=0.0)
    root = ET.fromstring(to_svg(ServiceMap(SINCE, UNTIL, nodes, [fine, bad, plain])))
    groups = [
        group for group in root.iter(f"{SVG}g") if {"edge", "label"} & set(group.get("class", "").split()) == {"edge"}
    ]
    lines = {title_of(group).split("\n")[0]: group for group in groups}

    def width(name: str) -> float:
        return float(lines[name].findall(f"{SVG}path")[1].get("stroke-width", "0"))

    assert width("a/b → a/c") < width("a/b → a/e") < width("a/b → a/d")
    assert "burning" in lines["a/b → a/d"].get("class", "").split()
    assert "fine" in lines["a/b → a/c"].get("class", "").split()
    assert "plain" in lines["a/b → a/e"].get("class", "").split()


def title_of(group: ET.Element) -> str:
    title = group.find(f"{SVG}title")
    return (title.text or "") if title is not None else ""


# --- hostile names

NASTY = [
    '"',
    "\\",
    '\\"; } digraph { x',
    "<script>alert(1)</script>",
    "]]><g onload='x'>",
    "a&amp;b&#10;",
    'x"]; n0 --> n1["y',
    "#quot;#35;",
    '```\nclick n0 href "javascript:x"',
    "[red]bold[/red]",
    "line\nbreak\r\ttab",
    "\x1b[31m\x1b]0;title\x07\x9b2J",
    "\u202egpj.exe\u2066\u200b\ufeff",
    "\ud800\udfff\uffff\ufffe\x00",
    "漢字" * 40,
    "x" * 10_240,
    "\x00" * 10_240,
    "",
]
names = st.one_of(st.sampled_from(NASTY), st.text(max_size=60), st.text(st.characters(), max_size=60))


def hostile(texts: Sequence[str]) -> ServiceMap:
    """A map whose every text comes from `texts`; its shape is always the same."""
    text = itertools.cycle(texts)
    kinds = ("gateway", "service", "service", "external", "unknown")
    # A number first keeps the ids apart and in order.
    nodes = [
        Node(
            f"{place}{next(text)}",
            kind,
            next(text) or "x" if place < 3 else None,
            next(text) or None,
            (next(text),),
            (next(text),),
        )
        for place, kind in enumerate(kinds)
    ]
    nodes = [
        Node(n.id, n.kind, nodes[0].namespace if n.namespace else None, n.service, n.versions, n.principals)
        for n in nodes
    ]
    pairs = [(0, 1), (1, 2), (2, 1), (1, 3), (4, 2), (2, 2)]
    edges = [
        edge(nodes[s].id, nodes[d].id, protocol=next(text), statuses={next(text): 3}, principals=(next(text),))
        for s, d in pairs
    ]
    return ServiceMap(SINCE, UNTIL, nodes, edges)


def visible(drawn: str) -> bool:
    return all(char == "\n" or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in drawn)


def svg_without_text(drawn: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(e.tag.removeprefix(SVG), tuple(sorted(e.keys()))) for e in ET.fromstring(drawn.encode()).iter()]


@given(st.lists(names, min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_svg_holds_names_as_text_only(texts: list[str]) -> None:
    drawn = to_svg(hostile(texts))
    assert visible(drawn)
    assert len(drawn) < 80_000
    allowed = {
        "svg",
        "title",
        "desc",
        "style",
        "defs",
        "marker",
        "symbol",
        "path",
        "rect",
        "polygon",
        "g",
        "text",
        "use",
    }
    for tag, attributes in svg_without_text(drawn):
        assert tag in allowed
        assert not any(name.startswith("on") or ("href" in name and tag != "use") for name in attributes)
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", "") or any("http" in text for text in texts)


def dot_without_text(drawn: str) -> str:
    return re.sub(r'"(?:[^"\\]|\\.)*"', '""', drawn)


def mermaid_without_text(drawn: str) -> str:
    return re.sub(r'"[^"]*"', '""', drawn)


@given(st.lists(names, min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_dot_and_mermaid_hold_names_in_quotes_only(texts: list[str]) -> None:
    tame = hostile(["tame"])
    found = hostile(texts)
    for render, strip in ((to_dot, dot_without_text), (to_mermaid, mermaid_without_text)):
        drawn = render(found)
        assert visible(drawn)
        assert strip(drawn) == strip(render(tame))


@given(st.lists(names, min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_tables_have_one_line_an_edge_and_no_escapes_but_their_own(texts: list[str]) -> None:
    found = hostile(texts)
    plain = to_table(found)
    assert visible(plain)
    assert len(plain.splitlines()) == 1 + len(found.edges) + 2
    shown = on_terminal(found, 100_000)
    own_styles_removed = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert visible(own_styles_removed)
    assert own_styles_removed.splitlines() == [line.rstrip() for line in plain.splitlines()]


@given(st.lists(names, min_size=1, max_size=12))
@settings(max_examples=25, deadline=None)
def test_json_keeps_names_exactly(texts: list[str]) -> None:
    # Two lone surrogates in a row are one character to JSON; names decoded from UTF-8 never hold any.
    found = hostile([text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts])
    text = to_json(found)
    assert text.isascii()
    assert json.loads(text) == found.to_document()


@given(st.text(st.characters(), max_size=300), st.integers(2, 200))
def test_printable_text_is_bounded_and_stays_what_it_is(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert len(shown) <= limit
    assert visible(shown)
    assert printable(shown, limit) == shown
    if text.isascii() and text.isprintable() and len(text) <= limit:
        assert shown == text


# --- where things go

graphs = st.integers(1, 14).flatmap(
    lambda count: st.tuples(
        st.just(count),
        st.lists(
            st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).filter(lambda pair: pair[0] != pair[1]),
            max_size=30,
            unique=True,
        )
        if count > 1
        else st.just([]),
    )
)


def placed(graph: tuple[int, list[tuple[int, int]]]) -> Layout:
    count, edges = graph
    return layout([(100.0 + 10 * (place % 5), 48.0 + 8 * (place % 3)) for place in range(count)], edges)


@given(graphs)
@settings(max_examples=50, deadline=None)
def test_boxes_never_overlap_and_stay_inside(graph: tuple[int, list[tuple[int, int]]]) -> None:
    found = placed(graph)
    for one, other in itertools.combinations(found.boxes, 2):
        beside = abs(one.x - other.x) >= (one.width + other.width) / 2 - 1e-6
        above = abs(one.y - other.y) >= (one.height + other.height) / 2 - 1e-6
        assert beside or above
    for box in found.boxes:
        assert box.x - box.width / 2 >= -1e-6
        assert box.x + box.width / 2 <= found.width + 1e-6
        assert box.y - box.height / 2 >= -1e-6
        assert box.y + box.height / 2 <= found.height + 1e-6


@given(graphs)
@settings(max_examples=50, deadline=None)
def test_lines_begin_and_end_at_their_boxes_sides(graph: tuple[int, list[tuple[int, int]]]) -> None:
    found = placed(graph)
    for (source, destination), route in zip(graph[1], found.routes, strict=True):
        for node_index, (x, y) in ((source, route[0]), (destination, route[-1])):
            box = found.boxes[node_index]
            assert abs(abs(x - box.x) - box.width / 2) < 1e-6
            assert abs(y - box.y) <= box.height / 2


@given(graphs)
def test_turned_edges_leave_no_cycle_and_every_layer_is_right_of_its_callers(
    graph: tuple[int, list[tuple[int, int]]],
) -> None:
    count, edges = graph
    forward = acyclic(count, edges)
    assert [set(pair) for pair in forward] == [set(pair) for pair in edges]
    rank = ranks(count, forward)
    assert all(rank[source] < rank[destination] for source, destination in forward)
    assert min(rank) >= 0


@given(graphs)
def test_nothing_is_turned_where_there_is_no_cycle(graph: tuple[int, list[tuple[int, int]]]) -> None:
    count, edges = graph
    downwards = [(min(pair), max(pair)) for pair in edges]
    assert acyclic(count, downwards) == downwards


@given(st.integers(1, 8), st.integers(1, 8), st.randoms(use_true_random=False))
def test_crossings_are_counted_as_by_hand(left: int, right: int, draw: random.Random) -> None:
    after: list[list[int]] = [[left + n for n in range(right) if draw.random() < 0.5] for _ in range(left)] + [
        []
    ] * right
    order = [draw.sample(range(left), left), draw.sample(range(left, left + right), right)]
    lines = [(order[0].index(member), order[1].index(target)) for member in range(left) for target in after[member]]
    by_hand = sum((a[0] - b[0]) * (a[1] - b[1]) < 0 for a, b in itertools.combinations(lines, 2))
    assert crossings(order, after) == by_hand


@given(st.lists(st.tuples(st.floats(-100, 100), st.floats(0.1, 10), st.floats(0, 50)), min_size=1, max_size=12))
def test_spreading_is_the_least_squares_answer(items: list[tuple[float, float, float]]) -> None:
    goals = [goal for goal, _, _ in items]
    weights = [weight for _, weight, _ in items]
    offsets = [0.0, *itertools.accumulate(gap for _, _, gap in items[1:])]
    found = spread(goals, weights, offsets)
    # The slow way: isotonic regression by its min-max formula.
    free = [goal - offset for goal, offset in zip(goals, offsets, strict=True)]

    def mean(first: int, last: int) -> float:
        part = range(first, last + 1)
        return sum(free[i] * weights[i] for i in part) / sum(weights[i] for i in part)

    count = len(items)
    slow = [max(min(mean(j, k) for k in range(i, count)) for j in range(i + 1)) for i in range(count)]
    assert found == pytest.approx([value + offset for value, offset in zip(slow, offsets, strict=True)], abs=1e-6)


def test_the_order_of_the_input_does_not_matter_to_the_drawing() -> None:
    found = large(30)
    shuffled = random.Random(3)
    nodes, edges = list(found.nodes), list(found.edges)
    shuffled.shuffle(nodes)
    shuffled.shuffle(edges)
    assert to_svg(ServiceMap(found.since, found.until, nodes, edges)) == to_svg(found)


def test_labels_never_cover_a_box_or_each_other() -> None:
    root = ET.fromstring(to_svg(large(40)))
    boxes = [
        rectangle(e) for e in root.iter(f"{SVG}rect") if e.get("class") == "card" and float(e.get("height", 0)) > 20
    ]
    pills = [rectangle(e) for e in root.iter(f"{SVG}rect") if e.get("class") == "pill"]
    assert len(boxes) == 40
    assert len(pills) > 10
    for pill, other in itertools.chain(itertools.combinations(pills, 2), itertools.product(pills, boxes)):
        assert pill[2] <= other[0] or other[2] <= pill[0] or pill[3] <= other[1] or other[3] <= pill[1]


def rectangle(element: ET.Element) -> tuple[float, float, float, float]:
    x, y, width, height = (float(element.get(name, "0")) for name in ("x", "y", "width", "height"))
    return x, y, x + width, y + height


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=20))
def test_widths_follow_the_requests(requests: list[int]) -> None:
    edges: list[Edge] = [edge("a/b", "a/c", count) for count in requests]
    widths = palette.widths(edges, 1.2, 6.5)
    assert all(1.2 <= width <= 6.5 for width in widths)
    for (one, thin), (other, thick) in itertools.combinations(zip(requests, widths, strict=True), 2):
        assert (one <= other) or thin >= thick
