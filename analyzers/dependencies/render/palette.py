"""How much and how bad, as classes shared by the drawings: line width from requests, heat from the error rate."""

from __future__ import annotations

from collections.abc import Sequence
from math import log1p
from typing import Literal

from analyzers.dependencies.model import Edge, Node

Heat = Literal["fine", "warm", "hot", "burning"]
Lock = Literal["mtls", "mixed", "plain", "unknown"]

HEAT_FROM: tuple[tuple[Heat, float], ...] = (("burning", 0.25), ("hot", 0.05), ("warm", 0.01))
"""The lowest error rate of each class; below the last one, an edge is fine."""

LIGHT: dict[Heat, str] = {"fine": "#64748b", "warm": "#d97706", "hot": "#e2483d", "burning": "#b00020"}
"""The colours on a light ground."""
DARK: dict[Heat, str] = {"fine": "#7f8ea3", "warm": "#f0a53a", "hot": "#ff6b5e", "burning": "#ff3b4e"}
"""The colours on a dark ground."""

HUES = (210, 150, 275, 25, 330, 185, 95, 250, 5, 45)
"""One hue (degrees) a namespace, in the order of their names."""


def heat(edge: Edge) -> Heat:
    """The class of an edge's error rate."""
    for name, least in HEAT_FROM:
        if edge.error_rate >= least:
            return name
    return "fine"


def lock(edge: Edge) -> Lock:
    """Whether an edge is encrypted with both sides known."""
    if edge.mtls_share is None:
        return "unknown"
    return "mtls" if edge.mtls_share == 1 else "plain" if edge.mtls_share == 0 else "mixed"


def widths(edges: Sequence[Edge], thin: float, thick: float) -> list[float]:
    """A line width for each edge, with the logarithm of its requests: `thin` for the fewest, `thick` for the most."""
    counts = [log1p(edge.requests) for edge in edges]
    least, most = min(counts, default=0.0), max(counts, default=0.0)
    # Counts that are all alike should look alike: the scale spans at least a factor of about twenty.
    scale = (thick - thin) / max(most - least, 3.0)
    return [round(thin + scale * (count - least), 1) for count in counts]


def hues(nodes: Sequence[Node]) -> dict[str, int]:
    """The hue of each namespace that a node has."""
    namespaces = sorted({node.namespace for node in nodes if node.namespace})
    return {name: HUES[index % len(HUES)] for index, name in enumerate(namespaces)}
