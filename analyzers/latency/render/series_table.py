"""What a plain series shows, as tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from rich.console import Console

from analyzers.columns import aligned, write
from analyzers.latency.series.detect import Found


def print_series(found: Found, console: Console | None = None) -> None:
    """Change points, then anomalies, then what was taken away or could not be said."""
    changes = [
        (
            _time(one.at),
            f"{one.before:.6g}",
            f"{one.after:.6g}",
            f"{one.ratio:.2f}" if one.ratio else "-",
            f"{one.p:.1g}",
        )
        for one in found.change_points
    ]
    anomalies = [(_time(one.since), _time(one.until), f"{one.score:.1f}") for one in found.anomalies]
    numbers = ("before", "after", "times", "p", "score")
    lines = [*aligned(("new level from (UTC)", "before", "after", "times", "p"), changes, numbers)]
    if anomalies:
        lines += ["", *aligned(("anomaly from (UTC)", "to", "score"), anomalies, numbers)]
    many = f"{_number(len(changes), 'change point')}, {_number(len(anomalies), 'anomaly', 'anomalies')}"
    habit = f"; what it does every {found.habit} was taken away first" if found.habit else ""
    write([*lines, *([""] if lines else []), many + habit, *found.notes], console)


def _number(many: int, one: str, several: str = "") -> str:
    return f"{many:,} {one if many == 1 else several or one + 's'}"


def _time(moment_us: int) -> str:
    return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment_us):%Y-%m-%d %H:%M:%S}"
