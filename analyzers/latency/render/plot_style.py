"""Colours, fonts and small shapes of the plot, on light and dark grounds; those of the map, so that both look alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

from analyzers.dependencies.render import palette
from analyzers.dependencies.render.svg import text_width
from analyzers.dependencies.render.text import printable

_FONT = "ui-sans-serif,system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"

_SHARED = f"""
.ew-plot text{{font-family:{_FONT};font-size:11px;font-variant-numeric:tabular-nums}}
.ew-plot .heading{{font-weight:650;letter-spacing:-.2px}}
.ew-plot .ratio{{font-size:30px;font-weight:700;letter-spacing:-.6px}}
.ew-plot .soft{{font-size:12px}}
.ew-plot .cause{{font-size:13px}}
.ew-plot .caption{{font-size:12px;font-weight:600}}
.ew-plot .strong{{font-weight:650}}
.ew-plot .name{{unicode-bidi:isolate}}
.ew-plot .end{{text-anchor:end}}
.ew-plot .mid{{text-anchor:middle}}
.ew-plot .line{{fill:none;stroke-linejoin:round;stroke-linecap:round}}
.ew-plot .main{{stroke-width:2.2px}}
.ew-plot .aside{{stroke-width:1.2px;stroke-opacity:.8}}
.ew-plot .faint{{stroke-width:1px;stroke-opacity:.5}}
.ew-plot .main.dense{{stroke-width:1.3px}}
.ew-plot .aside.dense,.ew-plot .faint.dense{{stroke-width:.7px}}
.ew-plot .lone{{stroke-width:4px}}
.ew-plot .level{{stroke-width:1.2px;stroke-dasharray:5 4;stroke-opacity:.85}}
.ew-plot .area{{stroke:none;fill-opacity:.13}}
.ew-plot .bars{{stroke:none;fill-opacity:.5}}
.ew-plot .grid{{fill:none;stroke-width:1px;shape-rendering:crispEdges}}
.ew-plot .change{{fill:none;stroke-width:1.4px;stroke-dasharray:2 3}}
.ew-plot .hover{{fill:transparent}}
.ew-plot .hover:hover{{fill-opacity:.1}}
""".strip()

_GROUNDS: Mapping[str, Mapping[str, str]] = {
    "light": {
        "ground": "#f8fafc",
        "panel": "#ffffff",
        "ink": "#0f172a",
        "soft": "#5b6b80",
        "grid": "#e6ebf1",
        "before": palette.LIGHT["fine"],
        "after": palette.LIGHT["warm"],
        "failed": palette.LIGHT["hot"],
        "before-text": "#4b5a70",
        "after-text": "#b45309",
        "failed-text": "#c81e3a",
    },
    "dark": {
        "ground": "#0b1220",
        "panel": "#111a2c",
        "ink": "#e8eef7",
        "soft": "#93a3b8",
        "grid": "#233049",
        "before": palette.DARK["fine"],
        "after": palette.DARK["warm"],
        "failed": palette.DARK["hot"],
        "before-text": "#a9b7c9",
        "after-text": "#fbbf24",
        "failed-text": "#ff8a80",
    },
}


def stylesheet() -> str:
    """The style element: light, and dark where the reader prefers that."""
    dark = _theme(_GROUNDS["dark"])
    return f"<style>{_SHARED}\n{_theme(_GROUNDS['light'])}\n@media (prefers-color-scheme:dark){{\n{dark}\n}}</style>"


def _theme(colours: Mapping[str, str]) -> str:
    rules = [
        f".ew-plot .ground{{fill:{colours['ground']}}}",
        f".ew-plot .panel{{fill:{colours['panel']}}}",
        f".ew-plot text{{fill:{colours['soft']}}}",
        f".ew-plot .heading,.ew-plot .cause,.ew-plot .caption,.ew-plot .ink{{fill:{colours['ink']}}}",
        f".ew-plot .grid{{stroke:{colours['grid']}}}",
        f".ew-plot .change{{stroke:{colours['ink']}}}",
        f".ew-plot .pill{{fill:{colours['ink']}}}",
        f".ew-plot .onpill{{fill:{colours['ground']};font-weight:600}}",
        f".ew-plot .hover:hover{{fill:{colours['ink']}}}",
    ]
    for side in ("before", "after", "failed"):
        rules.append(f".ew-plot .line.{side}{{stroke:{colours[side]}}}")
        rules.append(f".ew-plot .area.{side},.ew-plot .bars.{side},.ew-plot .dot.{side}{{fill:{colours[side]}}}")
        rules.append(f".ew-plot text.{side}{{fill:{colours[f'{side}-text']}}}")
    return "\n".join(rules)


def text(x: float, y: float, words: str, classes: str = "") -> str:
    """One line of text; `words` are made harmless here."""
    kind = f' class="{classes}"' if classes else ""
    return f'<text{kind} x="{x:.1f}" y="{y:.1f}">{xml(words)}</text>'


def xml(words: str, limit: int = 400) -> str:
    """Any text as content of XML."""
    return escape(printable(words, limit), {'"': "&quot;"})


def fitted(words: str, size: float, width: float) -> str:
    """`words` cut with an ellipsis until they are at most `width` px wide in a font of `size` px."""
    shown = printable(words, max(int(width / (size * 0.3)), 2))
    while len(shown) > 1 and text_width(shown, size) > width:
        shown = shown[:-2] + "…"
    return shown


def wrapped(words: str, size: float, width: float, lines: int) -> Sequence[str]:
    """`words` in at most so many lines of `width` px; what is left over is cut with an ellipsis."""
    rest = printable(words, 1000).split()
    found: list[str] = []
    while rest and len(found) < lines:
        taken = 1
        while taken < len(rest) and text_width(" ".join(rest[: taken + 1]), size) <= width:
            taken += 1
        if len(found) == lines - 1:
            taken = len(rest)
        found.append(fitted(" ".join(rest[:taken]), size, width))
        rest = rest[taken:]
    return found
