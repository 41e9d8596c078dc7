"""The map as a Mermaid flowchart, for Markdown that draws them."""

from __future__ import annotations

from analyzers.dependencies.model import Node, ServiceMap
from analyzers.dependencies.render import palette
from analyzers.dependencies.render.text import compact, duration, printable, share

_SHAPES = {"service": ("(", ")"), "gateway": ("{{", "}}"), "external": ("([", "])"), "unknown": ("[/", "/]")}
_ARROWS = {"mtls": "-->", "mixed": "-->", "unknown": "-->", "plain": "-.->"}
# Whatever Mermaid, or the HTML that it makes, could read as more than a character.
_SPECIAL = {char: f"#{ord(char)};" for char in '"#&<>`\\|[]{}()*_~:;%@'}


def to_mermaid(found: ServiceMap) -> str:
    """A flowchart with one subgraph per namespace. Ids are made up: names appear in quoted labels only."""
    lines = ["flowchart LR"]
    ids = {node.id: f"n{index}" for index, node in enumerate(found.nodes)}
    for index, namespace in enumerate(sorted({node.namespace for node in found.nodes if node.namespace})):
        lines.append(f'  subgraph s{index}["{_escaped(namespace)}"]')
        lines += [f"    {_node(node, ids)}" for node in found.nodes if node.namespace == namespace]
        lines.append("  end")
    lines += [f"  {_node(node, ids)}" for node in found.nodes if not node.namespace]
    for edge in found.edges:
        label = f"{compact(edge.requests)}, {share(edge.error_rate)} err, p95 {duration(edge.p95_ms)}"
        arrow = _ARROWS[palette.lock(edge)]
        lines.append(f'  {ids[edge.source]} {arrow}|"{_escaped(label)}"| {ids[edge.destination]}')
    for index, (edge, width) in enumerate(zip(found.edges, palette.widths(found.edges, 1.0, 5.0), strict=True)):
        lines.append(f"  linkStyle {index} stroke:{palette.LIGHT[palette.heat(edge)]},stroke-width:{width}px")
    return "\n".join(lines) + "\n"


def _node(node: Node, ids: dict[str, str]) -> str:
    opening, closing = _SHAPES[node.kind]
    label = (node.service if node.namespace else None) or node.id
    return f'{ids[node.id]}{opening}"{_escaped(label)}"{closing}'


def _escaped(text: str, limit: int = 60) -> str:
    """Label text in which every special character is a numeric entity of Mermaid's."""
    return "".join(_SPECIAL.get(char, char) for char in printable(text, limit))
