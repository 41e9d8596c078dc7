"""Differences as people see them: words, table and drawing, with names from anybody."""

from __future__ import annotations

import io
from datetime import timedelta
from xml.etree import ElementTree

from rich.console import Console

from analyzers.dependencies.diff import Change, MapDiff, Side
from analyzers.dependencies.model import Node, ServiceMap
from analyzers.dependencies.render.diff_svg import to_diff_svg
from analyzers.dependencies.render.diff_table import print_diff, to_diff_table
from analyzers.dependencies.render.diff_text import label, rate, sentence
from tests.analyzers.records import T0
from tests.analyzers.test_diff import A, B, edge

HOSTILE = '\x1b[31m</text><script>alert(1)</script>[red]&"\u202e'


def window(bounds: tuple, *names: str) -> Side:
    nodes = [Node(name, "service", None, name) for name in ("web", *names)]
    return Side(ServiceMap(*bounds, nodes, [edge(name) for name in names]), {}, 3600.0)


LATENCY = Change(
    "web",
    "slow",
    "latency",
    "GET /{id}",
    {"p50_ms": 2.0, "p95_ms": 9.0, "p99_ms": None, "requests": 30},
    {"p50_ms": 17.0, "p95_ms": 20.0, "p99_ms": None, "requests": 30},
    0.0,
)
CHANGES = (
    LATENCY,
    Change("web", "slow", "errors", None, {"error_share": 0.0}, {"error_share": 0.25}, 0.001),
    Change("web", HOSTILE, "operation", HOSTILE, None, {"rps": 0.5, "requests": 1800}),
)
DIFF = MapDiff(
    window(A, "slow", "gone", HOSTILE),
    window(B, "slow", "new", HOSTILE),
    appeared=[edge("new")],
    disappeared=[edge("gone")],
    changed=CHANGES,
    rare=[(edge("rare", 1), "a")],
    known_since={("web", "new"): B[0] + timedelta(minutes=3), ("web", "gone"): T0},
    tested=12,
)

TABLE = r"""
   source  destination                                             operation                                               what            before      after       note
+  web     new                                                                                                             requests        -           100         never seen before
-  web     gone                                                                                                            requests        100         -           known since 2026-01-01 10:00
~  web     slow                                                    GET /{id}                                               latency         p50 2.0 ms  p50 17 ms
~  web     slow                                                                                                            errors          0%          25%
~  web     \x1b[31m</text><script>alert(1)</script>[red]&"\u202e  \x1b[31m</text><script>alert(1)</script>[red]&"\u202e  operation came  -           30/min
?  web     rare                                                                                                            requests        1           -           too few calls to tell

a: 2026-01-01T10:00:00Z .. 2026-01-01T11:00:00Z
b: 2026-01-01T11:00:00Z .. 2026-01-01T12:00:00Z
edges: 1 came, 1 went; changes on others: 3 (12 comparisons)
"""  # noqa: E501


def squeezed(table: str) -> list[list[str]]:
    return [line.split() for line in table.strip("\n").splitlines()]


def test_the_table_says_it_all() -> None:
    table = to_diff_table(DIFF)
    assert squeezed(table) == squeezed(TABLE)
    head, *rows = table.splitlines()[:7]
    for name in ("destination", "what", "before"):
        at = head.index(name)
        assert all(row[at - 1] == " " and row[at] != " " for row in rows), name


def test_a_terminal_shows_the_same_in_colour() -> None:
    out = io.StringIO()
    print_diff(DIFF, Console(file=out, force_terminal=True, width=500, color_system="truecolor"))
    shown = out.getvalue()
    assert "\x1b[31m</text>" not in shown and "\x1b[32m+" in shown
    assert "[red]" in shown


def test_nothing_is_a_sentence_too() -> None:
    same = MapDiff(window(A, "api"), window(B, "api"), tested=3)
    assert to_diff_table(same) == (
        "a: 2026-01-01T10:00:00Z .. 2026-01-01T11:00:00Z\n"
        "b: 2026-01-01T11:00:00Z .. 2026-01-01T12:00:00Z\n"
        "no difference (3 comparisons)\n"
    )


def test_windows_without_calls_are_not_alike() -> None:
    before, quiet = Side(ServiceMap(*A), {}, 0.0), Side(ServiceMap(*B), {}, 3600.0)
    nothing = "nothing is stored in either window: nothing was compared"
    assert to_diff_table(MapDiff(before, before)).splitlines()[1:] == [
        "b: 2026-01-01T10:00:00Z .. 2026-01-01T11:00:00Z  (nothing stored)",
        nothing,
    ]
    assert to_diff_table(MapDiff(before, quiet)).splitlines()[1:] == [
        "b: 2026-01-01T11:00:00Z .. 2026-01-01T12:00:00Z  (no calls)",
        "no calls in either window: nothing was compared",
    ]
    drawn = ElementTree.fromstring(to_diff_svg(MapDiff(before, before)))
    assert any(nothing in (text.text or "") for text in drawn.iter("{http://www.w3.org/2000/svg}text"))


def test_the_drawing_marks_each_edge_once_and_shows_no_markup() -> None:
    drawn = to_diff_svg(DIFF)
    root = ElementTree.fromstring(drawn)
    marks = sorted(
        classes[1]
        for group in root.iter("{http://www.w3.org/2000/svg}g")
        if (classes := group.get("class", "").split())[:1] == ["edge"]
    )
    assert marks == ["came", "changed", "changed", "went"]
    assert "<script" not in drawn and "\x1b" not in drawn and "\u202e" not in drawn
    texts = ["".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "latency p50 2.0 ms → 17 ms +1" in texts and "came · 100" in texts and "went · 100" in texts


def test_words_have_units_that_suit() -> None:
    assert [rate(each) for each in (None, 120.0, 4.24, 0.2, 0.01, 0.0002, 0.0)] == [
        "?", "120/s", "4.2/s", "12/min", "36/h", "17.3/d", "0.0/d",
    ]  # fmt: skip
    assert label(LATENCY) == "latency p50 2.0 ms → 17 ms"
    assert sentence(LATENCY) == "latency GET /{id}: p50 2.0 ms → p50 17 ms"
    gone = Change("a", "b", "operation", "GET /x", {"rps": 2.0}, None)
    assert (label(gone), sentence(gone)) == ("operation went GET /x", "operation went GET /x: 2.0/s")
