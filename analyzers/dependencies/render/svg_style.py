"""Colours, symbols and the legend of the SVG drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from analyzers.dependencies.model import Edge
from analyzers.dependencies.render import palette
from analyzers.dependencies.render.text import compact, printable

_FONT = "ui-sans-serif,system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"

_SHARED = f"""
.ew-map text{{font-family:{_FONT}}}
.ew-map .heading{{font-size:20px;font-weight:650;letter-spacing:-.2px}}
.ew-map .soft{{font-size:12px}}
.ew-map .name{{font-size:13.5px;font-weight:600}}
.ew-map .small{{font-size:10.5px}}
.ew-map .line{{fill:none;stroke-linecap:round}}
.ew-map .reach{{fill:none;stroke:transparent;stroke-width:14px}}
.ew-map .plain .line{{stroke-dasharray:7 6}}
.ew-map .card{{stroke-width:1.2px}}
.ew-map .external .card{{stroke-dasharray:6 4}}
.ew-map .unknown .card{{stroke-dasharray:2 4;stroke-linecap:round}}
.ew-map .lock path{{fill:none;stroke-width:1.5px;stroke-linecap:round}}
.ew-map .edge,.ew-map .node{{transition:opacity .15s}}
.ew-map .edge:hover .line{{stroke-opacity:1}}
""".strip()

_LIGHT = {
    "ground": "#f8fafc",
    "ink": "#0f172a",
    "soft": "#5b6b80",
    "card": "#ffffff",
    "rim": "#cbd5e1",
    "mtls": "#15803d",
    "mixed": "#b45309",
    "plain": "#c81e3a",
    "lightness": "45%",
}
_DARK = {
    "ground": "#0b1220",
    "ink": "#e8eef7",
    "soft": "#93a3b8",
    "card": "#162034",
    "rim": "#33435c",
    "mtls": "#4ade80",
    "mixed": "#fbbf24",
    "plain": "#ff6b81",
    "lightness": "62%",
}

_SYMBOLS = """
<symbol id="ew-mtls" overflow="visible"><path d="M-2.6 -.8v-1.9a2.6 2.6 0 0 1 5.2 0v1.9"/>
<rect x="-4.1" y="-.8" width="8.2" height="6" rx="1.4"/></symbol>
<symbol id="ew-mixed" overflow="visible"><path d="M-2.6 -.8v-1.9a2.6 2.6 0 0 1 5.2 0v1.9"/>
<rect x="-4.1" y="-.8" width="8.2" height="6" rx="1.4" fill-opacity=".35"/></symbol>
<symbol id="ew-plain" overflow="visible"><path d="M-2.6 -.8v-2.6a2.6 2.6 0 0 1 5 -1"/>
<rect x="-4.1" y="-.8" width="8.2" height="6" rx="1.4"/></symbol>
""".strip()


@dataclass(frozen=True, slots=True)
class Tone:
    """A colour of lines on a light and a dark ground, and what it means.

    `bold`: labels beside such a line are bold and in its colour. `style` is CSS of the line itself.
    """

    light: str
    dark: str
    meaning: str
    bold: bool = True
    style: str = "stroke-opacity:.78"


Tones = Mapping[str, Tone]
"""By the name of their class, in the order of the legend."""

_MEANINGS: Mapping[palette.Heat, str] = {
    "fine": "errors below 1%",
    "warm": "from 1%",
    "hot": "from 5%",
    "burning": "from 25%",
}
HEATS: Tones = {
    heat: Tone(palette.LIGHT[heat], palette.DARK[heat], meaning, heat != "fine") for heat, meaning in _MEANINGS.items()
}


def stylesheet(hues: Sequence[int], nodes: int, tones: Tones = HEATS) -> str:
    """The definitions at the head of the drawing: styles for light and dark, arrow heads, padlocks."""
    light = _theme(_LIGHT, tones, {name: tone.light for name, tone in tones.items()}, hues)
    dark = _theme(_DARK, tones, {name: tone.dark for name, tone in tones.items()}, hues)
    # Without scripts, hovering a node can fade the rest only by one rule per node.
    fade = "".join(
        f".ew-map:has(.node.n{place}:hover) .edge:not(.n{place}){{opacity:.12}}" for place in range(min(nodes, 300))
    )
    heads = "".join(
        f'<marker id="ew-{name}" viewBox="0 0 10 10" refX="1" refY="5" markerWidth="10" markerHeight="10" '
        f'markerUnits="userSpaceOnUse" orient="auto"><path class="head {name}" d="M0 .6L10 5L0 9.4z"/></marker>'
        for name in tones
    )
    return (
        f"<style>{_SHARED}\n{light}\n@media (prefers-color-scheme:dark){{\n{dark}\n}}\n{fade}</style>\n"
        f"<defs>{heads}\n{_SYMBOLS}</defs>"
    )


def _theme(colours: dict[str, str], tones: Tones, shades: Mapping[str, str], hues: Sequence[int]) -> str:
    rules = [
        f".ew-map .ground{{fill:{colours['ground']}}}",
        f".ew-map .heading,.ew-map .name{{fill:{colours['ink']}}}",
        f".ew-map .soft,.ew-map .small{{fill:{colours['soft']}}}",
        f".ew-map .card{{fill:{colours['card']};stroke:{colours['rim']}}}",
        f".ew-map .pill{{fill:{colours['ground']}}}",
    ]
    for name, colour in shades.items():
        rules.append(f".ew-map .{name} .line{{stroke:{colour};{tones[name].style}}}")
        rules.append(f".ew-map .head.{name},.ew-map text.{name}{{fill:{colour}}}")
        if tones[name].bold:
            rules.append(f".ew-map .label.{name} text{{fill:{colour};font-weight:600}}")
    for lock in ("mtls", "mixed", "plain"):
        rules.append(f".ew-map .lock.{lock}{{fill:{colours[lock]};stroke:none}}")
        rules.append(f".ew-map .lock.{lock} path{{stroke:{colours[lock]}}}")
    for tone, hue in enumerate(hues):
        rules.append(f".ew-map .tone{tone}{{fill:hsl({hue},62%,{colours['lightness']})}}")
    return "\n".join(rules)


def legend(
    edges: Sequence[Edge], namespaces: Sequence[str], kinds: set[str], width: float, tones: Tones = HEATS
) -> tuple[str, float]:
    """What the marks mean, in rows of at most `width` px; also the height (px) that they take."""
    items: list[tuple[str, str, float]] = []  # mark drawn around (0, 0)..(30, 0), words, width of the mark

    for name, tone in tones.items():
        mark = f'<g class="{name}"><path class="line" stroke-width="3" d="M0 0H22"/></g>'
        items.append((mark, tone.meaning, 28))
    least, most = min((e.requests for e in edges), default=0), max((e.requests for e in edges), default=0)
    if most:
        thin, thick = (
            '<path class="line" stroke-width="1.2" d="M0 0H16"/>',
            '<path class="line" stroke-width="6.5" d="M22 0H36"/>',
        )
        items.append(
            (f'<g class="{next(iter(tones))}">{thin}{thick}</g>', f"{compact(least)} … {compact(most)} requests", 45)
        )
    for lock, words in (("mtls", "mTLS"), ("mixed", "partly mTLS"), ("plain", "plaintext (dashed)")):
        items.append((f'<use href="#ew-{lock}" class="lock {lock}" x="5" y="0"/>', words, 14))
    items.append(("", "no padlock: not known", 0))
    shapes = {
        "gateway": '<polygon class="card" points="4,-6 20,-6 24,0 20,6 4,6 0,0"/>',
        "external": '<g class="external"><rect class="card" x="0" y="-6" width="24" height="12" rx="6"/></g>',
        "unknown": '<g class="unknown"><rect class="card" x="0" y="-6" width="24" height="12" rx="3"/></g>',
    }
    names = {"gateway": "gateway", "external": "host outside", "unknown": "not identified"}
    items += [(shape, names[kind], 30) for kind, shape in shapes.items() if kind in kinds]
    items += [
        (f'<rect class="tone{tone}" x="0" y="-7" width="4" height="14" rx="2"/>', printable(name, 30), 10)
        for tone, name in enumerate(namespaces[:20])
    ]
    drawn: list[str] = []
    x, y = 0.0, 10.0
    for mark, words, room in items:
        taken = room + len(words) * 6.1 + 22
        if x and x + taken > width:
            x, y = 0.0, y + 22
        drawn.append(
            f'<g transform="translate({x:.0f} {y:.0f})">{mark}'
            f'<text class="small" x="{room}" y="3.6">{escape(words)}</text></g>'
        )
        x += taken
    return "".join(drawn), y + 10
