"""Regressions as tables and sentences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console

from analyzers.columns import aligned, write
from analyzers.dependencies.render.text import printable
from analyzers.latency.findings import title
from analyzers.latency.judged import STAGES, Shape
from analyzers.latency.regression import Level, Regression

_HEADING = ("id", "since (UTC)", "edge", "operation", "what", "before", "after", "times", "q", "likely cause")
_GONE = ("id", "from (UTC)", "minutes", "edge", "operation", "times", "score")
_PLACE: Mapping[Shape, int] = {"typical": 0, "p95": 1, "p99": 2}
_NAME: Mapping[Shape, str] = {"typical": "p50", "p95": "p95", "p99": "p99", "errors": "errors"}
_LONGEST = 44


def print_regressions(
    found: Sequence[Regression], tested: int, note: str | None = None, console: Console | None = None
) -> None:
    """What got worse, one line each, those that another one explains below it; then what went away."""
    lasting = [one for one in found if one.verdict == "regression"]
    gone = [one for one in found if one.verdict == "anomaly"]
    lines = [*aligned(_HEADING, [_row(one, depth) for one, depth in _nested(lasting)], ("before", "after", "times"))]
    if gone:
        rows = [_gone(one) for one in gone]
        lines += ["", "Went away by itself:", *aligned(_GONE, rows, ("minutes", "times", "score"))]
    number = f"{len(lasting):,} regression{'' if len(lasting) == 1 else 's'}"
    hint = "; `eastwatch regressions show ID` tells more, `--explain ID` how it was found" if lasting else ""
    summary = f"{number} among {tested:,} tests{hint}"
    write([*lines, *([""] if lines else []), summary, *([note] if note else [])], console)


def _nested(found: Sequence[Regression]) -> Iterable[tuple[Regression, int]]:
    """Each with what it explains right behind it."""
    known = {one.id for one in found}
    for one in found:
        if one.explained_by not in known:
            yield one, 0
            yield from ((other, 1) for other in found if other.explained_by == one.id)


def _row(one: Regression, depth: int) -> Sequence[str]:
    cause = one.causes[0] if one.causes else None
    before, after = _value(one, one.before), _value(one, one.after)
    likely = f"{cause.kind} {cause.service or ''} {cause.share:.0%}".replace("  ", " ") if cause else "-"
    return (
        f"{'└ ' * depth}{one.id}",
        f"{one.since:%Y-%m-%d %H:%M}" + (f" to {one.ended:%H:%M}" if one.ended else ""),
        printable(f"{one.source} -> {one.destination}", 2 * _LONGEST),
        printable(one.operation or "all", _LONGEST),
        _NAME[one.shape],
        before,
        after,
        f"{one.ratio:.2f}",
        chance(one.p_value),
        printable(f"shows {one.explained_by}" if depth else likely, _LONGEST),
    )


def chance(q: float) -> str:
    """A chance in two digits; what is below all that a number can hold is told as that."""
    return f"{q:.1g}" if q > 0 else "< 1e-300"


def _value(one: Regression, level: Level) -> str:
    if one.what == "errors":
        return f"{level.errors / max(level.requests, 1):.2%}"
    return f"{level.quantiles_us[_PLACE[one.shape]] / 1000:.3g} ms" if level.quantiles_us else "-"


def _gone(one: Regression) -> Sequence[str]:
    until = one.ended or one.last_seen
    return (
        one.id,
        f"{one.since:%Y-%m-%d %H:%M}",
        f"{(until - one.since).total_seconds() / 60:.0f}",
        printable(f"{one.source} -> {one.destination}", 2 * _LONGEST),
        printable(one.operation or "all", _LONGEST),
        f"{one.ratio:.2f}",
        f"{one.score:.0f}",
    )


def print_regression(one: Regression, console: Console | None = None) -> None:
    """All that is known of one."""
    facts = [
        ("regression" if one.verdict == "regression" else "anomaly", one.id),
        ("what", title(one)),
        ("since", f"{one.since:%Y-%m-%d %H:%M} UTC, could be told at {one.told_at:%H:%M}"),
        (
            "until",
            f"{one.ended:%Y-%m-%d %H:%M} UTC" if one.ended else f"it went on at {one.last_seen:%Y-%m-%d %H:%M} UTC",
        ),
        ("seen by", f"{', '.join(one.reporters)} ({one.evidence})"),
        ("grew", f"{_NAME[one.shape]} by {one.ratio:.2f} times, {one.ratio_low:.2f} to {one.ratio_high:.2f} (95 %)"),
        ("chance", f"q {chance(one.p_value)} among {one.tested:,} tests"),
        ("before", _level(one.before)),
        ("after", _level(one.after)),
        *(("likely cause" if place == 0 else "or", cause.why) for place, cause in enumerate(one.causes)),
        ("explained by", one.explained_by or ""),
        ("explains", " ".join(one.explains)),
        ("slow requests", " ".join(one.slow_ids)),
        ("typical ones", " ".join(one.typical_ids)),
    ]
    rows = [(name, printable(text, 400)) for name, text in facts if text]
    size = max(len(name) for name, _ in rows)
    write([f"{name:<{size}}  {text}" for name, text in rows], console)


def _level(level: Level) -> str:
    calls = f"{level.requests:,} calls, {level.errors:,} failed"
    if not level.quantiles_us:
        return calls
    names = (
        f"{name} {value / 1000:.3g} ms" for name, value in zip(("p50", "p95", "p99"), level.quantiles_us, strict=True)
    )
    return f"{', '.join(names)} of {calls}"


def print_explained(one: Regression, tested: int, survivors: Mapping[str, int], console: Console | None = None) -> None:
    """How one was found, stage by stage."""
    lines = [title(one), ""]
    if survivors:
        counted = ", ".join(f"{name} {survivors[name]:,}" for name in STAGES if name in survivors)
        lines += [f"Of {tested:,} tests of the largest look at that time went on: {counted}", ""]
    rows = [(stage.name, "passed" if stage.passed else "stopped", printable(stage.text, 200)) for stage in one.stages]
    write([*lines, *aligned(("stage", "", "what it saw"), rows)], console)
