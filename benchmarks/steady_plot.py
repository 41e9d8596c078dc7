"""Memory, CPU and lag of a steady run over time, as one self-contained SVG for light and dark pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Protocol

WIDTH, PANEL, LEFT, TOP = 860, 120, 70, 30
_STYLE = (
    "text{font:12px sans-serif;fill:#57606a}.line{fill:none;stroke:#0969da;stroke-width:1.5}.grid{stroke:#d0d7de}"
    "@media(prefers-color-scheme:dark){text{fill:#9198a1}.line{stroke:#58a6ff}.grid{stroke:#3d444d}}"
)


class Sample(Protocol):
    """What is drawn of a sample."""

    @property
    def at_s(self) -> float: ...
    @property
    def memory_mb(self) -> float: ...
    @property
    def cpu_s(self) -> float: ...
    @property
    def lag(self) -> int: ...


def plot(samples: Sequence[Sample]) -> str:
    """Three panels above each other, from 0 to the highest value each; minutes from left to right."""
    cores = [0.0] + [(now.cpu_s - before.cpu_s) / (now.at_s - before.at_s) for before, now in pairwise(samples)]
    panels: list[tuple[str, Sequence[float], Callable[[float], str]]] = [
        ("resident memory, MB", [sample.memory_mb for sample in samples], "{:,.0f}".format),
        ("CPU, cores", cores, "{:.2f}".format),
        ("lag, messages", [float(sample.lag) for sample in samples], "{:,.0f}".format),
    ]
    end_s = samples[-1].at_s
    xs = [LEFT + (WIDTH - LEFT - 20) * sample.at_s / end_s for sample in samples]
    height = TOP + len(panels) * (PANEL + 40)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"><style>{_STYLE}</style>']
    for place, (title, values, text) in enumerate(panels):
        top, highest = TOP + place * (PANEL + 40), max(max(values), 1e-9)
        points = " ".join(
            f"{x:.1f},{top + PANEL * (1 - value / highest):.1f}" for x, value in zip(xs, values, strict=True)
        )
        parts.append(f'<text x="{LEFT}" y="{top - 8}">{title}</text>')
        for share in (0.0, 0.5, 1.0):
            y = top + PANEL * (1 - share)
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - 20}" y1="{y}" y2="{y}"/>')
            parts.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{text(highest * share)}</text>')
        parts.append(f'<polyline class="line" points="{points}"/>')
    minutes = int(end_s // 60)
    for minute in range(0, minutes + 1, max(minutes // 6, 1)):
        x = LEFT + (WIDTH - LEFT - 20) * minute * 60 / end_s
        parts.append(f'<text x="{x:.1f}" y="{height - 22}" text-anchor="middle">{minute} min</text>')
    return "".join(parts) + "</svg>\n"
