"""The map as Graphviz source: `eastwatch map --format dot | dot -Tsvg`."""

from __future__ import annotations

from analyzers.dependencies.model import Node, ServiceMap
from analyzers.dependencies.render import palette
from analyzers.dependencies.render.text import compact, duration, printable, share, tooltip

_SHAPES = {"service": "box", "gateway": "hexagon", "external": "oval", "unknown": "box"}
_STYLES = {"service": "rounded,filled", "gateway": "filled", "external": "dashed", "unknown": "rounded,dotted"}


def to_dot(found: ServiceMap) -> str:
    """A directed graph with one cluster per namespace. Ids are made up: names appear in quoted labels only."""
    lines = [
        "digraph eastwatch {",
        "  rankdir=LR; ranksep=1.1; nodesep=0.35; compound=true;",
        '  node [fontname="Helvetica", fontsize=11, fillcolor="#f8fafc", color="#475569"];',
        '  edge [fontname="Helvetica", fontsize=9];',
    ]
    ids = {node.id: f"n{index}" for index, node in enumerate(found.nodes)}
    namespaces = sorted({node.namespace for node in found.nodes if node.namespace})
    for index, namespace in enumerate(namespaces):
        lines.append(f"  subgraph cluster_{index} {{")
        lines.append(f'    label={_quoted(namespace)}; style="rounded"; color="#cbd5e1"; fontname="Helvetica";')
        lines += [f"    {_node(node, ids)}" for node in found.nodes if node.namespace == namespace]
        lines.append("  }")
    lines += [f"  {_node(node, ids)}" for node in found.nodes if not node.namespace]
    for edge, width in zip(found.edges, palette.widths(found.edges, 1.0, 5.0), strict=True):
        label = f"{compact(edge.requests)} · {share(edge.error_rate)} err · p95 {duration(edge.p95_ms)}"
        style = "dashed" if palette.lock(edge) == "plain" else "solid"
        colour = palette.LIGHT[palette.heat(edge)]
        lines.append(
            f"  {ids[edge.source]} -> {ids[edge.destination]} [label={_quoted(label)}, penwidth={width}, "
            f'color="{colour}", style={style}, edgetooltip={_quoted(", ".join(tooltip(edge)), 1000)}];'
        )
    return "\n".join([*lines, "}"]) + "\n"


def _node(node: Node, ids: dict[str, str]) -> str:
    label = _quoted((node.service if node.namespace else None) or node.id)
    shape = f'shape={_SHAPES[node.kind]}, style="{_STYLES[node.kind]}"'
    return f"{ids[node.id]} [label={label}, {shape}, tooltip={_quoted(node.id)}];"


def _quoted(text: str, limit: int = 60) -> str:
    """A DOT string. Graphviz reads backslash escapes and HTML entities in labels, so both are disarmed."""
    safe = printable(text, limit).replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{safe}"'
