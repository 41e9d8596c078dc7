"""Callers that are refused again and again: somebody who tries doors, or something that is set up wrongly.

calls ──► denial_ends.sql ──► nodes of the map ──┐
calls ───────────────────────────────────────────┴──► repeated_denials.sql ──► RepeatedDenials, one for each episode

An episode is a caller's refusals without QUIET between two of them. Its score is the larger of two shares, each of the
densest WINDOW within it (sliding, by whole minutes): refused calls by MOST_CALLS, and distinct targets by MOST_TARGETS,
a target being an operation of a callee, or its port where no operation is known. From 1 on it is told. One client that
retries one call needs a hundred refusals in ten minutes for that, one that looks around needs eight doors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from analyzers.dependencies.names import UNKNOWN
from analyzers.policy.denial_ends import denial_ends
from analyzers.policy.denials import EARLIEST, LATEST, SAMPLES
from storage.engine import Engine
from storage.sql import load

QUIET = timedelta(minutes=30)
"""So long without a refusal ends an episode."""
WINDOW = timedelta(minutes=10)
MOST_CALLS = 100
"""Refused calls of one caller in a window that make a score of 1."""
MOST_TARGETS = 8
"""Distinct targets that do."""
THRESHOLD = 1.0
LOOK_BACK = timedelta(days=1)
"""How far before a window refusals are read, so that an episode keeps its beginning whichever window it is found in."""
ROW_LIMIT = 10_000
"""Most episodes that are read, and most lines that the evidence lists."""

FALSE_ALARM_IF = (
    "the caller is a new or renamed client that no policy admits yet, a health check or a scraper that nobody allowed, "
    "a client that retries one refused call without a pause, or a security test that was announced"
)
_NOBODY = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class RepeatedDenials:
    """One episode of refusals of one caller.

    Attributes:
        source: node of the map.
        principal: None where it has none, or no line says it.
        address: of a caller without a name or behind a gateway, else None.
        first_seen, last_seen: begin of the first and the last refused call of the episode.
        calls: refused ones, in all.
        targets: distinct operations (or ports) of callees, at most 10 000 are told apart.
        destinations: nodes that refused, at most 100.
        peak_calls, peak_targets: the most in one window.
        score: see the module; `threshold` is where telling begins.
        request_ids, trace_ids: a few, the earliest first.
        sql, parameters: the statement that lists the lines (`denied_calls.sql`).
    """

    source: str
    principal: str | None
    address: str | None
    first_seen: datetime
    last_seen: datetime
    calls: int
    targets: int
    destinations: Sequence[str]
    peak_calls: int
    peak_targets: int
    score: float
    threshold: float
    request_ids: Sequence[str]
    trace_ids: Sequence[str]
    sql: str
    parameters: Mapping[str, Any]


def repeated_denials(
    engine: Engine,
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    most_calls: int = MOST_CALLS,
    most_targets: int = MOST_TARGETS,
    window: timedelta = WINDOW,
    quiet: timedelta = QUIET,
) -> Sequence[RepeatedDenials]:
    """The episodes that overlap [since, until), the highest score first.

    Args:
        most_calls, most_targets: see `MOST_CALLS` and `MOST_TARGETS`; at least 1.
        window: whole minutes, at least one.
        quiet: see `QUIET`; no shorter than `window`.

    Raises:
        ValueError: a parameter that is not as said.
        storage.errors.StorageError: the engine cannot answer.
    """
    minutes, rest = divmod(window, timedelta(minutes=1))
    if most_calls < 1 or most_targets < 1:
        raise ValueError(f"most_calls {most_calls}, most_targets {most_targets}: expected at least 1 of each")
    if minutes < 1 or rest or quiet < window:
        raise ValueError(
            f"window {window}, quiet {quiet}: expected whole minutes, and quiet no shorter than the window"
        )
    start = max(since - LOOK_BACK, EARLIEST) if since else EARLIEST
    end = until or LATEST
    ends = denial_ends(engine, start, end)
    if not ends.nodes:
        return []
    rows = engine.query(
        load("policy/repeated_denials").text,
        {
            "since": start,
            "until": end,
            "quiet_s": int(quiet.total_seconds()),
            "window_s": 60 * (minutes - 1),
            "most_calls": most_calls,
            "most_targets": most_targets,
            "unknown": ends.nodes.index(UNKNOWN) if UNKNOWN in ends.nodes else _NOBODY,
            "samples": SAMPLES,
            "row_limit": ROW_LIMIT,
        },
        external={"ends": ends.table},
    ).to_pylist()
    found = [_episode(row, ends.nodes) for row in rows]
    return [one for one in found if since is None or one.last_seen >= since]


def _episode(row: Mapping[str, Any], nodes: Sequence[str]) -> RepeatedDenials:
    return RepeatedDenials(
        source=nodes[int(row["source"])],
        principal=row["principal"] or None,
        address=row["address"] if row["address"] not in ("", "::") else None,
        first_seen=row["first_ts"],
        last_seen=row["last_ts"],
        calls=int(row["calls"]),
        targets=int(row["targets"]),
        destinations=sorted(nodes[int(node)] for node in row["destinations"]),
        peak_calls=int(row["peak_calls"]),
        peak_targets=int(row["peak_targets"]),
        score=float(row["score"]),
        threshold=THRESHOLD,
        request_ids=list(row["request_ids"]),
        trace_ids=list(row["trace_ids"]),
        sql=load("policy/denied_calls").text,
        parameters={
            "source_ends": [int(end) for end in row["source_ends"]],
            "principal": row["principal"],
            "address": row["address"],
            "since": row["first_ts"],
            "until": row["last_ts"] + timedelta(microseconds=1),
            "row_limit": ROW_LIMIT,
        },
    )
