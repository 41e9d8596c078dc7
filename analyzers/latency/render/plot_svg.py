"""A latency regression as one self-contained SVG: light and dark, no scripts, no fonts, nothing fetched.

Picture ──► heading (who, by how much, why), series by minute at the left, percentiles before and after at the right

Slate is what was before the change, amber what came after it, in both halves; red is calls that failed.
"""

from __future__ import annotations

from datetime import UTC
from itertools import pairwise

import numpy as np

from analyzers.dependencies.render.svg import text_width
from analyzers.latency.picture import Picture
from analyzers.latency.render.plot_axes import Axis, duration_axis, share_axis
from analyzers.latency.render.plot_percentiles import MARKS, curve, draw_percentiles, draw_table, times
from analyzers.latency.render.plot_series import CAPTION, NEEDED, Box, draw_series, known_minutes, level
from analyzers.latency.render.plot_style import fitted, stylesheet, text, wrapped, xml
from analyzers.latency.stack import Floats

WIDTH, HEIGHT = 960, 560
_LEFT, _RIGHT = 28.0, 932.0
_SERIES = Box(80, 168, 600, 424)
_CALLS = Box(80, 442, 600, 508)
_PERCENTILES = Box(676, 168, 932, 424)
_TABLE = Box(676, 454, 932, 522)
_WORDS = 680.0
"""Width (px) of the heading; the ratio stands right of it."""


def to_plot_svg(picture: Picture) -> str:
    """The regression as SVG text, the same bytes for the same picture. Where there is too little data, it says so."""
    durations = _durations(picture)
    errors = picture.what == "errors"
    shares = np.array(
        [np.nan if share is None else share for share in (level(picture, "before"), level(picture, "after"))]
    )
    right = duration_axis(durations, _PERCENTILES.bottom, _PERCENTILES.top)
    left = share_axis(np.concatenate([picture.error_share, shares]), _SERIES.bottom, _SERIES.top) if errors else right
    known = int(known_minutes(picture).sum())
    where = f"{_edge(picture)} {picture.operation or 'all operations'}"
    about = f"{where}: {_grew(picture)} {times(picture.ratio)}, since {_since(picture)}; {known} minutes shown"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="ew-plot" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img">',
        f"<title>{xml(_edge(picture))}</title><desc>{xml(about, 800)}</desc>",
        stylesheet(),
        f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}"/>',
        *_heading(picture),
        *_captions(picture),
        *draw_series(picture, left, _SERIES, _CALLS),
        *draw_percentiles(picture, right, _PERCENTILES, labelled=errors or known < NEEDED),
        *draw_table(picture, _TABLE),
        text(_LEFT, HEIGHT - 12, _note(picture, left)),
        "</svg>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _durations(picture: Picture) -> Floats:
    """All durations (us) that the axis of durations has to show."""
    found = [*(curve(stack)[1] for stack in (picture.before, picture.after))]
    found += [stack.quantiles_us(MARKS)[0] for stack in (picture.before, picture.after)]
    if picture.what == "latency":
        found += [picture.p50_us, picture.p95_us, picture.p99_us]
    return np.concatenate(found)


# --- words


def _edge(picture: Picture) -> str:
    return f"{picture.source} → {picture.destination}"


def _since(picture: Picture) -> str:
    return f"{picture.since.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _grew(picture: Picture) -> str:
    if picture.what == "errors":
        return "failed calls"
    return {"p95": "p95 latency", "p99": "p99 latency"}.get(picture.shape, "typical latency")


def _heading(picture: Picture) -> list[str]:
    size = next((size for size in (20, 17) if text_width(_edge(picture), size) <= _WORDS), 14)
    room = (_WORDS - text_width(" → ", size)) / 2
    # A short name leaves its room to the long one.
    widths = [min(text_width(name, size), 9e9) for name in (picture.source, picture.destination)]
    rooms = [max(room, 2 * room - other) for other in reversed(widths)]
    names = [
        f'<tspan class="name">{xml(fitted(name, size, wide))}</tspan>'
        for name, wide in zip((picture.source, picture.destination), rooms, strict=True)
    ]
    operation = fitted(picture.operation or "all operations", 12, 300)
    facts = f" · seen by {fitted(picture.reporter or '?', 12, 130)} · since {_since(picture)}"
    if picture.ended is not None:
        ended = picture.ended.astimezone(UTC)
        same = ended.date() == picture.since.astimezone(UTC).date()
        facts += f" until {ended:%H:%M}" if same else f" until {ended:%Y-%m-%d %H:%M} UTC"
    causes = wrapped(picture.cause, 13, _WORDS, 2) if picture.cause.strip() else []
    kind = "failed" if picture.what == "errors" else "after"
    known = not np.isnan([picture.ratio_low, picture.ratio_high]).any()
    interval = f"{times(picture.ratio_low)} to {times(picture.ratio_high)}" if known else "not known"
    return [
        f'<text class="heading" style="font-size:{size}px" x="{_LEFT:.1f}" y="44.0">{names[0]} → {names[1]}</text>',
        f'<text class="soft" x="{_LEFT:.1f}" y="65.0">'
        f'<tspan class="name ink strong">{xml(operation)}</tspan>{xml(facts)}</text>',
        *(text(_LEFT, 88 + 17 * row, line, "cause") for row, line in enumerate(causes)),
        text(_RIGHT, 52, times(picture.ratio), f"ratio end {kind}"),
        text(_RIGHT, 71, _grew(picture), "soft end"),
        text(_RIGHT, 88, f"95 % interval {interval}", "end"),
    ]


def _captions(picture: Picture) -> list[str]:
    what = "Failed calls by minute" if picture.what == "errors" else "Latency by minute"
    return [
        text(_LEFT, _SERIES.top - CAPTION, what, "caption"),
        text(_PERCENTILES.left, _PERCENTILES.top - CAPTION, "Latency by percentile", "caption"),
        text(_LEFT, _CALLS.top + 38, "calls"),
        text(_LEFT, _CALLS.top + 51, "a minute"),
    ]


def _note(picture: Picture, axis: Axis) -> str:
    gaps = sum(int(later - earlier) > 60 for earlier, later in pairwise(picture.minutes.tolist()))
    scale = "log scale of durations" if axis.log else "linear scale of shares, log scale of durations"
    facts = ["times in UTC", scale]
    failed = ["red: failed calls"] if (picture.error_share > 0).any() else []
    return " · ".join([*facts, *failed, *(["gaps: minutes without data"] if gaps else [])])
