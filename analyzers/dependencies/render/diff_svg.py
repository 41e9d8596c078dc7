"""The difference of two maps as one drawing: what came, went and changed stands out from what stayed as it was."""

from __future__ import annotations

from collections import defaultdict

from analyzers.dependencies.diff import MapDiff, Side
from analyzers.dependencies.ledger import Pair
from analyzers.dependencies.model import Edge, ServiceMap
from analyzers.dependencies.render.diff_text import caption, label, minute, novelty, sentence
from analyzers.dependencies.render.svg import Look, Manner, draw
from analyzers.dependencies.render.svg_style import Tone, Tones
from analyzers.dependencies.render.text import compact, tooltip

TONES: Tones = {
    "same": Tone("#64748b", "#7f8ea3", "as before", bold=False, style="stroke-opacity:.32"),
    "came": Tone("#15803d", "#4ade80", "came"),
    "went": Tone("#c81e3a", "#ff6b81", "went", style="stroke-opacity:.9;stroke-dasharray:2 7"),
    "changed": Tone("#b45309", "#fbbf24", "changed"),
}


def to_diff_svg(diff: MapDiff) -> str:
    """The drawing as SVG text: nodes and edges of both windows."""
    looks: dict[Pair, Look] = {}
    for edge in diff.appeared:
        about = [*tooltip(edge), f"came: {novelty(diff, edge)}"]
        looks[edge.source, edge.destination] = Look("came", f"came · {compact(edge.requests)}", about, True)
    for edge in diff.disappeared:
        about = [*tooltip(edge), f"went: last seen {minute(edge.last_seen)}"]
        looks[edge.source, edge.destination] = Look("went", f"went · {compact(edge.requests)}", about, True)
    edges = {(edge.source, edge.destination): edge for side in (diff.a, diff.b) for edge in side.found.edges}
    words: dict[Pair, list[str]] = defaultdict(list)
    facts: dict[Pair, list[str]] = defaultdict(list)
    for change in diff.changed:
        pair = change.source, change.destination
        words[pair].append(label(change))
        facts[pair].append(sentence(change))
    for pair, said in words.items():
        shown = said[0] + (f" +{len(said) - 1}" if len(said) > 1 else "")
        looks[pair] = Look("changed", shown, [*tooltip(edges[pair]), *facts[pair]], True)

    def look(edge: Edge) -> Look:
        return looks.get((edge.source, edge.destination)) or Look("same", "", tooltip(edge), False)

    whole = ServiceMap(diff.a.found.since, diff.b.found.until, diff.nodes(), list(edges.values()))
    about = f"{_span(diff.a)} against {_span(diff.b)} UTC · {caption(diff)}"
    return draw(whole, Manner("Differences of the service map", about, look, TONES))


def _span(side: Side) -> str:
    return f"{minute(side.found.since)} – {minute(side.found.until)}"
