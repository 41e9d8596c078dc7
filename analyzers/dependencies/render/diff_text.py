"""Words for a difference of two maps, as its table and its drawing write them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from analyzers.dependencies.diff import Change, MapDiff, Side
from analyzers.dependencies.model import Edge, rfc3339
from analyzers.dependencies.render.text import UNKNOWN, duration, printable, share

NOTHING = "-"
"""What was not there."""

_NAMES = {"operation": "operation", "rate": "rate", "errors": "errors", "latency": "latency", "mtls": "mTLS"}


def named(change: Change) -> str:
    """What changed, in a word: `rate`, `mTLS`; an operation that came or went says so."""
    if change.what == "operation":
        return "operation came" if change.before is None else "operation went"
    return _NAMES[change.what]


def values(change: Change) -> tuple[str, str]:
    """Before and after, with units. A latency shows the quantile that moved most."""
    if change.what == "latency" and change.before is not None and change.after is not None:
        name = _moved_most(change.before, change.after)
        label = name.removesuffix("_ms")
        return f"{label} {duration(change.before[name])}", f"{label} {duration(change.after[name])}"
    return _value(change, change.before), _value(change, change.after)


def _value(change: Change, side: Mapping[str, Any] | None) -> str:
    if side is None:
        return NOTHING
    match change.what:
        case "errors":
            return share(side["error_share"])
        case "mtls":
            return share(side["mtls_share"])
        case _:
            return rate(side["rps"])


def _moved_most(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    def moved(name: str) -> float:
        one, other = before[name], after[name]
        return 0.0 if one is None or other is None else abs(other - one) / max(min(one, other), 1.0)

    return max(("p50_ms", "p95_ms"), key=moved)


def rate(per_second: float | None) -> str:
    """A rate with a unit that suits it: 4.2/s, 12/min, 3/h."""
    if per_second is None:
        return UNKNOWN
    for seconds, unit in ((1, "s"), (60, "min"), (3600, "h")):
        scaled = per_second * seconds
        if scaled >= 0.95:
            return f"{scaled:.1f}/{unit}" if scaled < 9.95 else f"{scaled:.0f}/{unit}"
    return f"{per_second * 86_400:.1f}/d"


def sentence(change: Change) -> str:
    """A change as one line: `latency GET /carts/{id}: p50 2.0 ms → 17 ms`."""
    before, after = values(change)
    operation = f" {printable(change.operation, 60)}" if change.operation else ""
    if change.before is None or change.after is None:
        return f"{named(change)}{operation}: {after if change.before is None else before}"
    return f"{named(change)}{operation}: {before} → {after}"


def label(change: Change) -> str:
    """A change in a few words: `latency p50 2.0 ms → 17 ms`, `operation came GET /carts/{id}`."""
    if change.before is None or change.after is None:
        return f"{named(change)} {printable(change.operation or '', 36)}"
    before, after = values(change)
    if change.what == "latency":
        after = after.partition(" ")[2]
    return f"{named(change)} {before} → {after}"


def novelty(diff: MapDiff, edge: Edge) -> str:
    """Since when an edge that only one window has is known: `never seen before`, or the time of its first call."""
    since = diff.known_since.get((edge.source, edge.destination), edge.first_seen)
    started = diff.b.found.since
    if started is not None and since >= started:
        return "never seen before"
    return f"known since {minute(since)}"


def minute(time: datetime | None) -> str:
    """A time to the minute."""
    return UNKNOWN if time is None else f"{time:%Y-%m-%d %H:%M}"


def window(side: Side) -> str:
    """The bounds of a window."""
    return f"{rfc3339(side.found.since)} .. {rfc3339(side.found.until)}"


def caption(diff: MapDiff) -> str:
    """How many of each kind, in one line; or that there is no difference, and whether that says anything."""
    if not (diff.appeared or diff.disappeared or diff.changed or diff.rare):
        return _nothing(diff)
    edges = f"edges: {len(diff.appeared)} came, {len(diff.disappeared)} went"
    return f"{edges}; changes on others: {len(diff.changed)} ({diff.tested} comparisons)"


def _nothing(diff: MapDiff) -> str:
    sides = (diff.a, diff.b)
    if not any(side.seconds for side in sides):
        return "nothing is stored in either window: nothing was compared"
    if not any(side.found.edges for side in sides):
        return "no calls in either window: nothing was compared"
    return f"no difference ({diff.tested} comparisons)"
