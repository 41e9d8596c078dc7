"""Findings of policies that are not what proxies did: let through though denied, refused though allowed, in plain.

stored sets by their time ──► judging ──► calls whose proxies did otherwise ──► episodes ──► findings

Around a change of policies proxies may hold the old ones or the new: calls within GRACE of one are not looked at.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from analyzers.findings.model import QUIET, Evidence, Finding, Severity, Subject, as_json, finding_id
from analyzers.policy.judge import Group, Wanted
from analyzers.policy.judging import Interval, Judging, Progress, intervals, over, prepare, reason
from analyzers.policy.nodes import ENDS, Nodes
from analyzers.policy.store import versions
from storage.engine import Engine
from storage.sql import load

UNAUTHORIZED, REFUSED, PLAINTEXT = "unauthorized", "refused_though_allowed", "plaintext_where_strict"
KINDS = (UNAUTHORIZED, REFUSED, PLAINTEXT)
GRACE = timedelta(minutes=1)
"""How long a new policy may take to reach every proxy."""
SAMPLES, MOST_SHOWN = 10, 12
THRESHOLD = 1.0
"""Calls of an episode from which on it is told: policies leave nothing to chance."""
MTLS_RULE = "mtls"
_MINUTE = timedelta(minutes=1)

_SEVERITY: Mapping[str, Severity] = {UNAUTHORIZED: "high", REFUSED: "medium", PLAINTEXT: "high"}
_TECHNIQUES: Mapping[str, Sequence[str]] = {UNAUTHORIZED: ("T1078", "T1021"), REFUSED: (), PLAINTEXT: ("T1040",)}
_FALSE_ALARM_IF: Mapping[str, str] = {
    UNAUTHORIZED: "the stored policies are not those of the cluster, or they came to its proxies later than stored",
    REFUSED: "the stored policies are not those of the cluster, or another filter (rate limits, an authorizer) refused",
    PLAINTEXT: "TLS was ended before the proxy by something that the mesh trusts",
}
_WANTED = Wanted(
    f"{', '.join(ENDS)}, source_principal, operation, verdict",
    {
        "calls": "sum(weight)",
        "per_minute": "sumMap([toUInt32(toUnixTimestamp(toStartOfMinute(ts)))], [toUInt64(weight)])",
        "samples": f"groupArrayIf({SAMPLES})(request_id, request_id != '')",
        "traces": f"groupArrayIf({SAMPLES})(trace_id, trace_id != '')",
    },
    "ts, weight, request_id, trace_id",
)


@dataclass(slots=True)
class _Seen:
    """Calls of one kind, caller and callee."""

    minutes: dict[int, int] = field(default_factory=lambda: defaultdict[int, int](int))
    operations: set[str] = field(default_factory=set[str])
    edges: set[int] = field(default_factory=set[int])
    policies: set[str] = field(default_factory=set[str])
    samples: list[str] = field(default_factory=list[str])
    traces: list[str] = field(default_factory=list[str])
    likely: set[str] = field(default_factory=set[str])
    did: str = ""


_Key = tuple[str, str, str, str]
"""Kind, source, principal, destination."""


def disagreements(
    engine: Engine,
    since: datetime | None = None,
    until: datetime | None = None,
    progress: Progress | None = None,
) -> Sequence[Finding]:
    """Findings of the calls of [since, until) by the policies that the store held for them; the earliest first.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
        BadPolicy: a stored set that this version of eastwatch does not take.
    """
    changes = {one.valid_from for one in versions(engine)}
    held = [_settled(one, changes) for one in intervals(engine, None, since, until)]
    held = [one for one in held if one.since < one.until]
    judging = prepare(engine, held)
    seen: dict[_Key, _Seen] = defaultdict(_Seen)
    enforced: dict[str, bool] = defaultdict(bool)
    nodes = Nodes(engine)
    for group, row, found in _rows(judging, progress):
        source, destination = nodes.ends(row)
        verdict, policy, rule, _ = found
        did = row["verdict"]
        if did == "denied" and verdict == "deny":
            enforced[destination] = True
        kind = _kind(did, verdict, rule)
        if kind is None:
            continue
        one = seen[kind, source, row["source_principal"], destination]
        one.did = did
        for minute, calls in zip(*_pairs(row["per_minute"]), strict=True):
            one.minutes[minute] += calls
        one.operations.add(row["operation"])
        one.edges.add(row["base_edge_id"])
        one.policies.update(filter(None, [f"{policy}[{rule}]" if policy else ""]))
        one.samples += row["samples"]
        one.traces += row["traces"]
        one.likely.add(group.places[0].place.judge)
    findings = [
        _finding(key, one, first, last, enforced[key[3]])
        for key, one in seen.items()
        for first, last in _episodes(one.minutes)
    ]
    return sorted(findings, key=lambda one: (one.first_seen, one.id))


def _settled(one: Interval, changes: Set[datetime]) -> Interval:
    """Without the time around changes of the policies."""
    since = one.since + GRACE if one.since in changes else one.since
    return Interval(one.policies, since, one.until - GRACE if one.until in changes else one.until)


def _rows(judging: Judging, progress: Progress | None) -> Iterator[tuple[Group, Mapping[str, Any], Any]]:
    for (_, group), (rows, told) in zip(judging.groups, over(judging, _WANTED, progress), strict=True):
        for row in rows:
            yield group, row, reason(row, told)


def _kind(did: str, verdict: str, rule: str | None) -> str | None:
    if (did, verdict) == ("allowed", "deny"):
        return PLAINTEXT if rule == MTLS_RULE else UNAUTHORIZED
    return REFUSED if (did, verdict) == ("denied", "allow") else None


def _pairs(found: Any) -> tuple[Sequence[int], Sequence[int]]:
    """Keys and values of a sumMap, as engines give tuples."""
    return tuple(found.values()) if isinstance(found, dict) else tuple(found)  # pyright: ignore


def _episodes(minutes: Mapping[int, int]) -> Iterator[tuple[int, int]]:
    """First and last minute of each run of minutes without a pause of QUIET between."""
    ordered = sorted(minutes)
    first = last = ordered[0]
    for minute in ordered[1:]:
        if minute - last > QUIET.total_seconds():
            yield first, last
            first = minute
        last = minute
    yield first, last


def _finding(key: _Key, one: _Seen, first: int, last: int, enforced: bool) -> Finding:
    kind, source, principal, destination = key
    calls = sum(count for minute, count in one.minutes.items() if first <= minute <= last)
    since, until = _time(first), _time(last) + _MINUTE
    operations = sorted(one.operations)
    subject = Subject(source, destination, operations[0] or None if len(operations) == 1 else None, principal or None)
    parameters = {
        "since": since,
        "until": until,
        "edges": sorted(one.edges),
        "principal": principal,
        "operations": operations,
        "did": one.did,
        "row_limit": 1000,
    }
    return Finding(
        id=finding_id(kind, subject, since),
        kind=kind,
        severity=_SEVERITY[kind],
        title=_title(kind, subject, calls),
        subject=subject,
        first_seen=since,
        last_seen=until,
        score=float(calls),
        threshold=THRESHOLD,
        techniques=_TECHNIQUES[kind],
        evidence=Evidence(
            load("policy/disagreeing_calls").text,
            as_json(parameters),
            tuple(one.samples[:SAMPLES]),
            tuple(one.traces[:SAMPLES]),
        ),
        false_alarm_if=_FALSE_ALARM_IF[kind],
        details={
            "calls": str(calls),
            "operations": ", ".join(operations[:MOST_SHOWN]),
            "policies": ", ".join(sorted(one.policies)[:MOST_SHOWN]) or "no rule allows it",
            "likely": _likely(kind, one.likely, enforced),
        },
    )


def _likely(kind: str, judges: set[str], enforced: bool) -> str:
    if kind == REFUSED:
        return "the proxy holds other policies than the store, or another filter refused"
    if kind == PLAINTEXT:
        return "PERMISSIVE mutual TLS is in force there, or none: STRICT was not pushed to the proxy"
    if "waypoint" in judges:
        return "the waypoint was bypassed or holds other policies"
    if enforced:
        return "some of the callee's proxies do not hold the policies: others, or at other times, refused by them"
    return "the callee's proxies do not hold the policies: none of them refused anything by these in the window"


def _title(kind: str, subject: Subject, calls: int) -> str:
    who = subject.principal or subject.source
    what = {
        UNAUTHORIZED: "was let through though the policies deny it",
        REFUSED: "was refused though the policies allow it",
        PLAINTEXT: "came without a certificate where mutual TLS is required",
    }[kind]
    return f"{who} called {subject.destination} {calls:,} times and {what}"


def _time(minute: int) -> datetime:
    return datetime.fromtimestamp(minute, UTC)
