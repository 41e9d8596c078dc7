"""All regressions of a window: the analyzer `latency`.

StoredRollups ──► Looker, moment by moment ──► Episodes ──► followed to their end ┐
              └─► drifts, hour by hour ──► Episodes ──────────────────────────────┴─► blamed ──► regressions
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from analyzers.latency.blame import blamed
from analyzers.latency.drift import HOUR_S, SPAN_H, drifts, history
from analyzers.latency.episodes import Episodes
from analyzers.latency.follow import followed
from analyzers.latency.grid import MINUTE_S
from analyzers.latency.limits import LIMITS, Limits
from analyzers.latency.look import STEP_MIN, Look, Looker
from analyzers.latency.members import Members
from analyzers.latency.regression import Regression
from analyzers.latency.series_keys import Series
from analyzers.latency.stored_rollups import StoredRollups
from storage.engine import Engine

HISTORY_NEAR_H = 24
"""A slow change that began so near to one that is told already is the same."""
Progress = Callable[[int, int], None]
"""Looks done, and of how many."""


@dataclass(frozen=True, slots=True)
class Analysis:
    """What a window shows; nothing is stored.

    Attributes:
        looks: what each moment counted.
        note: why nothing can be said, where that is so.
    """

    regressions: Sequence[Regression]
    looks: Sequence[Look]
    note: str | None = None

    @property
    def tested(self) -> int:
        """Tests of the look that made most."""
        return max((look.tested for look in self.looks), default=0)


def analyze_latency(
    engine: Engine,
    since: datetime | None = None,
    until: datetime | None = None,
    limits: Limits = LIMITS,
    *,
    step_min: int = STEP_MIN,
    known: Sequence[Regression] = (),
    progress: Progress | None = None,
) -> Analysis:
    """Look at [since, until) as if each moment were now, by default at everything stored.

    Args:
        step_min: minutes between two looks; they lie on whole multiples, so that any window has the same.
        known: regressions that the store has: what is found again keeps its id.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    rollups = StoredRollups(engine)
    if not rollups.first:
        return Analysis((), (), "not enough data: has no minutes of calls, needs 15")
    start = max(_seconds(since) if since else 0, rollups.first)
    end = min(_seconds(until) if until else rollups.last + MINUTE_S, rollups.last + MINUTE_S)
    moments = _moments(start, end, step_min)
    looker = Looker(rollups, limits)
    episodes = Episodes(lambda row: series_of(rollups, looker, row))
    looks: list[Look] = []
    for done, moment in enumerate(moments):
        look = looker.look(moment, step_min)
        episodes.add(look)
        looks.append(replace(look, judged=()))
        if progress:
            progress(done + 1, len(moments))
    found = followed(episodes.regressions(), rollups, end, limits)
    slow, hours = _drifting(rollups, start, end, limits, [*found, *known])
    found, looks = [*found, *slow], [*looks, *hours]
    note = _too_little(rollups, looks, limits)
    return Analysis(blamed(engine, rollups, found, limits, known), looks, note)


def _drifting(
    rollups: StoredRollups, start: int, end: int, limits: Limits, told: Sequence[Regression]
) -> tuple[Sequence[Regression], Sequence[Look]]:
    """Slow changes of the whole hours in (start, end], and what was counted; not what a fast change tells already."""
    whole = list(range((start // HOUR_S + 1) * HOUR_S, end + 1, HOUR_S))
    if not whole:
        return [], []
    members = Members(rollups.families, rollups.operations)
    hours = history(rollups, members, whole[0], whole[-1])
    episodes = Episodes(lambda row: rollups.keys.series[int(members.of(row)[0])], quiet_s=SPAN_H * HOUR_S)
    looks: list[Look] = []
    for at in whole:
        seen = drifts(rollups, members, hours, at, limits)
        if seen.tested:
            episodes.add(Look(at, seen.tested, seen.judged, (), {}))
            looks.append(Look(at, seen.tested, (), (), {"calls": seen.tested, "screen": len(seen.judged)}))
    near = timedelta(hours=HISTORY_NEAR_H)
    fresh = [
        one
        for one in episodes.regressions()
        if not any(one.place == other.place and abs(one.since - other.since) <= near for other in told)
    ]
    return fresh, looks


def series_of(rollups: StoredRollups, looker: Looker, row: int) -> Series:
    """What a row of the grid is; the operation of a whole edge is empty."""
    one = rollups.keys.series[int(looker.series_of(row)[0])]
    return one._replace(operation="") if looker.members.total(row) else one


def _moments(start: int, end: int, step_min: int) -> Sequence[int]:
    """When to look: at every whole multiple of the step in (start, end], and at the end."""
    step = step_min * MINUTE_S
    end = end // MINUTE_S * MINUTE_S
    found = list(range((start // step + 1) * step, end + 1, step))
    return found if found and found[-1] == end else [*found, end] if end > start else found


def _too_little(rollups: StoredRollups, looks: Sequence[Look], limits: Limits) -> str | None:
    if any(look.tested for look in looks):
        return None
    minutes = (rollups.last - rollups.first) // MINUTE_S + 1
    least = limits.min_minutes_before + limits.persist_min
    if minutes < least:
        return f"not enough data: has {minutes} minutes of calls, needs {least}"
    return (
        f"not enough data: no edge has {limits.min_calls_before} calls before and {limits.min_calls_after} after "
        "any moment of the window"
    )


def _seconds(moment: datetime) -> int:
    return int(moment.astimezone(UTC).timestamp())
