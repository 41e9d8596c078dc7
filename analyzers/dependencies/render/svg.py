"""The map as one self-contained SVG: light and dark, no scripts, no fonts, nothing fetched.

Cards are nodes (the stripe's hue is the namespace), lines are edges: wide for many requests, red for errors, with a
padlock for mTLS, an open one and dashes for plaintext. Hovering a node fades what it has nothing to do with.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from xml.sax.saxutils import escape

from analyzers.dependencies.model import Edge, Node, ServiceMap
from analyzers.dependencies.render import palette
from analyzers.dependencies.render.layout import PORT, Box, Layout, layout
from analyzers.dependencies.render.svg_style import HEATS, Tones, legend, stylesheet
from analyzers.dependencies.render.text import compact, duration, printable, share, tooltip

MARGIN = 36.0
HEADER = 78.0
CARD_HEIGHT = 48.0
CARD_WIDTHS = (116.0, 250.0)
LABELLED_EDGES = 45
"""Up to so many edges, each has its numbers beside it; above, only those with errors (all have them as a tooltip)."""
ARROW = 9.0

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Look:
    """How one edge is drawn.

    `tone` is a class of the stylesheet with a colour and an arrow head, `words` stand beside the line, `about` are the
    lines of its tooltip; what is `urgent` chooses the place of its label first, and is printed bold.
    """

    tone: str
    words: str
    about: Sequence[str]
    urgent: bool


@dataclass(frozen=True, slots=True)
class Manner:
    """What a drawing shows of a map: its heading, a line about it, each edge's look, and the colours of their tones."""

    heading: str
    about: str
    look: Callable[[Edge], Look]
    tones: Tones


def to_svg(found: ServiceMap) -> str:
    """The map as SVG text."""
    everything = len(found.edges) <= LABELLED_EDGES

    def look(edge: Edge) -> Look:
        heat = palette.heat(edge)
        return Look(heat, _words(edge, everything), tooltip(edge), heat != "fine")

    return draw(found, Manner("Service map", _about(found), look, HEATS))


def draw(found: ServiceMap, manner: Manner) -> str:
    """A map in some manner, as SVG text."""
    nodes = sorted(found.nodes, key=lambda node: (node.namespace or "~", node.id))
    index = {node.id: place for place, node in enumerate(nodes)}
    edges = sorted(found.edges, key=lambda edge: (index[edge.source], index[edge.destination]))
    between = [edge for edge in edges if edge.source != edge.destination]
    sizes = _sizes(nodes, between)
    joined = {name for edge in edges for name in (edge.source, edge.destination)}
    plan = _plan(nodes, joined, sizes, [(index[edge.source], index[edge.destination]) for edge in between])
    hues = palette.hues(nodes)
    tone = {name: place for place, name in enumerate(hues)}

    drawn = _drawn(edges, index, plan, manner)
    labels = _labels(drawn, plan)
    width = max(plan.width + 2 * MARGIN, 640.0)
    bottom = HEADER + plan.height + 30
    kinds = {node.kind for node in nodes}
    legend_lines, legend_height = legend(found.edges, list(hues), kinds, width - 2 * MARGIN, manner.tones)
    height = bottom + legend_height + 24

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="ew-map" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" role="img" aria-labelledby="ew-title ew-about">',
        f'<title id="ew-title">{manner.heading}</title><desc id="ew-about">{_xml(manner.about)}</desc>',
        stylesheet(list(hues.values()), len(nodes), manner.tones),
        f'<rect class="ground" width="{width:.0f}" height="{height:.0f}"/>',
        f'<text class="heading" x="{MARGIN}" y="42">{manner.heading}</text>',
        f'<text class="soft" x="{MARGIN}" y="61">{_xml(manner.about)}</text>',
        f'<g transform="translate({MARGIN} {HEADER})">',
        *(_edge(line) for line in drawn),
        *(_node(node, place, plan.boxes[place], tone) for place, node in enumerate(nodes)),
        *labels,
        "</g>",
        f'<g transform="translate({MARGIN} {bottom:.0f})">{legend_lines}</g>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _about(found: ServiceMap) -> str:
    requests = sum(edge.requests for edge in found.edges)
    what = f"{len(found.nodes)} nodes, {len(found.edges)} edges, {compact(requests)} requests"
    if found.since is None or found.until is None:
        return f"Nothing stored · {what}"
    same_day = found.since.date() == found.until.date()
    until = f"{found.until:%H:%M}" if same_day else _minute(found.until)
    return f"{_minute(found.since)} – {until} UTC · {what}"


def _minute(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M}"


# --- nodes


def _title(node: Node) -> str:
    if node.kind == "external":
        return printable(node.service or node.id.removeprefix("external:"), 32)
    return printable(node.service or node.id, 28)


def _subtitle(node: Node) -> str:
    known = [printable(node.namespace, 20)] if node.namespace else []
    if node.kind != "service":
        known.append(
            "outside" if node.kind == "external" else "gateway" if node.kind == "gateway" else "not identified"
        )
    if node.versions:
        shown = ", ".join(printable(version, 12) for version in node.versions[:2])
        known.append(shown + (f" +{len(node.versions) - 2}" if len(node.versions) > 2 else ""))
    return " · ".join(known)


def text_width(text: str, size: float) -> float:
    """How wide (px) `text` may be in a sans-serif font of `size` px; fonts differ, so rather more than less."""
    wide = sum(1.75 if unicodedata.east_asian_width(char) in "WF" else 0.72 if char in _BROAD else 1 for char in text)
    return wide * size * 0.6


_BROAD = frozenset("ijlt.,:;'|! ()[]")


def _sizes(nodes: Sequence[Node], edges: Sequence[Edge]) -> list[tuple[float, float]]:
    lines: Counter[tuple[str, str]] = Counter()
    for edge in edges:
        lines[edge.source, "out"] += 1
        lines[edge.destination, "in"] += 1
    least, most = CARD_WIDTHS
    sizes: list[tuple[float, float]] = []
    for node in nodes:
        wanted = max(text_width(_title(node), 14.5), text_width(_subtitle(node), 10.5)) + 40
        busiest = max(lines[node.id, "out"], lines[node.id, "in"])
        sizes.append((min(max(wanted, least), most), max(CARD_HEIGHT, busiest * PORT * 0.8 + 14)))
    return sizes


def _plan(
    nodes: Sequence[Node], joined: set[str], sizes: Sequence[tuple[float, float]], edges: Sequence[tuple[int, int]]
) -> Layout:
    """The layout of what is joined by edges, and rows below it of what is not."""
    inside = [place for place, node in enumerate(nodes) if node.id in joined]
    renamed = {place: new for new, place in enumerate(inside)}
    gaps = (170.0, 240.0) if len(edges) <= LABELLED_EDGES else (90.0, 180.0)
    found = layout([sizes[place] for place in inside], [(renamed[s], renamed[d]) for s, d in edges], gaps=gaps)
    boxes = {place: found.boxes[renamed[place]] for place in inside}
    right, width, height = max(found.width, 900.0), found.width, found.height
    x, y = 0.0, found.height + (40.0 if inside else 0.0)
    for place in range(len(nodes)):
        if place not in boxes:
            wide, high = sizes[place]
            if x and x + wide > right:
                x, y = 0.0, y + CARD_HEIGHT + 20
            boxes[place] = Box(x + wide / 2, y + high / 2, wide, high, 0)
            x += wide + 20
            width, height = max(width, x - 20), y + high
    return Layout([boxes[place] for place in range(len(nodes))], found.routes, width, height)


def _node(node: Node, place: int, box: Box, tone: dict[str, int]) -> str:
    x, y, w, h = box.x - box.width / 2, box.y - box.height / 2, box.width, box.height
    if node.kind == "gateway":
        cut = 13
        points = (
            (x + cut, y),
            (x + w - cut, y),
            (x + w, y + h / 2),
            (x + w - cut, y + h),
            (x + cut, y + h),
            (x, y + h / 2),
        )
        shape = f'<polygon class="card" points="{" ".join(f"{px:.1f},{py:.1f}" for px, py in points)}"/>'
    else:
        radius = h / 2 if node.kind == "external" else 9
        shape = f'<rect class="card" x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}" rx="{radius:.1f}"/>'
    stripe = ""
    if node.namespace in tone:
        at = x + (17 if node.kind == "gateway" else 9)
        stripe = (
            f'<rect class="tone{tone[node.namespace]}" x="{at:.1f}" y="{box.y - 14:.1f}" width="4" height="28" rx="2"/>'
        )
    text_x = x + (28 if node.kind == "gateway" else 21)
    if not stripe:
        text_x -= 3
    subtitle = _subtitle(node)
    facts = [node.id, subtitle, *(f"principal {name}" for name in node.principals[:5])]
    about = "\n".join(printable(fact, 300) for fact in facts if fact)
    return (
        f'<g class="node {node.kind} n{place}"><title>{_xml(about)}</title>'
        f"{shape}{stripe}"
        f'<text class="name" x="{text_x:.1f}" y="{box.y + (-2 if subtitle else 4.5):.1f}">{_xml(_title(node))}</text>'
        + (f'<text class="small" x="{text_x:.1f}" y="{box.y + 13:.1f}">{_xml(subtitle)}</text>' if subtitle else "")
        + "</g>"
    )


# --- edges


@dataclass(frozen=True, slots=True)
class _Line:
    edge: Edge
    look: Look
    width: float
    classes: str
    path: str
    candidates: list[Point]
    """Places on the line for its label, the best first."""


def _drawn(edges: Sequence[Edge], index: dict[str, int], plan: Layout, manner: Manner) -> list[_Line]:
    out = Counter(edge.source for edge in edges)
    into = Counter(edge.destination for edge in edges)
    routes = iter(plan.routes)
    lines: list[_Line] = []
    for edge, width in zip(edges, palette.widths(edges, 1.2, 6.5), strict=True):
        source, destination = index[edge.source], index[edge.destination]
        if source == destination:
            path, candidates = _loop(plan.boxes[source])
        else:
            route = next(routes)
            path = _path(route)
            late = out[edge.source] >= into[edge.destination]
            candidates = list(_candidates(route, late=late))
        look = manner.look(edge)
        classes = f"edge {look.tone} {palette.lock(edge)} n{source} n{destination}"
        lines.append(_Line(edge, look, width, classes, path, candidates))
    return lines


def _path(route: Sequence[Point]) -> str:
    """A smooth line through the points, level at each of them, ending where its arrow head begins."""
    points = list(route)
    heading = 1 if points[-1][0] >= points[-2][0] else -1
    points[-1] = (points[-1][0] - heading * ARROW, points[-1][1])
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (x0, y0), (x1, y1) in pairwise(points):
        if abs(y1 - y0) < 0.05:
            path += f"H{x1:.1f}"
        else:
            half = (x1 - x0) / 2
            path += f"C{x0 + half:.1f} {y0:.1f} {x1 - half:.1f} {y1:.1f} {x1:.1f} {y1:.1f}"
    return path


def _loop(box: Box) -> tuple[str, list[Point]]:
    """A service that calls itself: a loop on top of its box, at the right."""
    right, top = box.x + box.width / 2, box.y - box.height / 2
    path = f"M{right - 42:.1f} {top:.1f}c-4 -30 30 -30 26 {-ARROW:.1f}"
    return path, [(right + 26, top - 16)]


def _candidates(route: Sequence[Point], *, late: bool) -> Iterator[Point]:
    """Places for a label: along the curves, near the end where lines diverge, near the start where they meet."""
    curves = list(pairwise(route))
    for share_of_way in (0.62, 0.5, 0.74, 0.38, 0.84, 0.26):
        at = share_of_way if late else 1 - share_of_way
        for (x0, y0), (x1, y1) in reversed(curves) if late else curves:
            if abs(x1 - x0) > 60:
                # A level cubic: x runs evenly enough, y is the smooth step.
                step = at * at * (3 - 2 * at)
                x = x0 + (x1 - x0) * (1.5 * at - 1.5 * at * at + at**3)
                yield x, y0 + (y1 - y0) * step


def _edge(line: _Line) -> str:
    about = _xml("\n".join(line.look.about))
    return (
        f'<g class="{line.classes}"><title>{about}</title><path class="reach" d="{line.path}"/>'
        f'<path class="line" stroke-width="{line.width}" marker-end="url(#ew-{line.look.tone})" d="{line.path}"/></g>'
    )


def _labels(lines: Sequence[_Line], plan: Layout) -> list[str]:
    """A pill with padlock and numbers for each edge that finds room for one; the most important choose first."""
    taken = [
        (box.x - box.width / 2, box.y - box.height / 2, box.x + box.width / 2, box.y + box.height / 2)
        for box in plan.boxes
    ]
    important = sorted(lines, key=lambda line: (not line.look.urgent, -line.edge.requests))
    pills: list[str] = []
    for line in important:
        words = line.look.words
        lock = palette.lock(line.edge)
        if not words and lock in ("mtls", "unknown"):
            continue
        locked = 13.0 if lock != "unknown" else 0.0
        size = 11.3 if line.look.urgent else 10.5  # bold
        width = locked + (text_width(words, size) + 4 if words else 0) + 10
        for x, y in line.candidates:
            area = (x - width / 2, y - 9, x + width / 2, y + 9)
            if not any(_overlap(area, other) for other in taken):
                taken.append(area)
                pills.append(_pill(line, words, lock, x, y, width))
                break
    return pills


def _words(edge: Edge, everything: bool) -> str:
    failing = palette.heat(edge) != "fine"
    if not everything:
        return f"{compact(edge.denied)} denied" if edge.denied else share(edge.error_rate) if failing else ""
    facts = [compact(edge.requests)]
    if edge.p95_ms is not None:
        facts.append(duration(edge.p95_ms))
    if failing:
        facts.append(share(edge.error_rate))
    if edge.denied:
        facts.append(f"{compact(edge.denied)} denied")
    return " · ".join(facts)


def _pill(line: _Line, words: str, lock: str, x: float, y: float, width: float) -> str:
    mark = (
        f'<use href="#ew-{lock}" class="lock {lock}" x="{x - width / 2 + 10:.1f}" y="{y:.1f}"/>'
        if lock != "unknown"
        else ""
    )
    text_x = x - width / 2 + (18 if mark else 6)
    text = f'<text class="small" x="{text_x:.1f}" y="{y + 3.6:.1f}">{_xml(words)}</text>' if words else ""
    return (
        f'<g class="label {line.classes}"><title>{_xml(chr(10).join(line.look.about))}</title>'
        f'<rect class="pill" x="{x - width / 2:.1f}" y="{y - 8.5:.1f}" width="{width:.1f}" height="17" rx="8.5"/>'
        f"{mark}{text}</g>"
    )


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _xml(text: str) -> str:
    """Text as XML content; what comes in is `printable` already (or our own words)."""
    return escape(text, {'"': "&quot;"})
