"""Findings of policies that are not what proxies did: let through though denied, refused though allowed, in plain.

stored sets by their time ──► judging ──► calls whose proxies did otherwise ──► episodes ──► causes ──► findings

Calls are judged twice: all of them in sums by minute, then those of the places where any disagreed, to name the calls.

Calls that no proxy judged (no sidecar, no waypoint) are held against the policies all the same; see `unguarded`.
Around a change of policies proxies may hold the old ones or the new: calls within GRACE of one are not looked at.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Literal

from analyzers.findings.model import Evidence, Finding, Severity, Subject, as_json, finding_id
from analyzers.policy.causes import Hint, hint, likely
from analyzers.policy.episodes import LISTED, SLOT_S, Episode, Part, Seen, Shown
from analyzers.policy.groups import Group
from analyzers.policy.judge import Wanted
from analyzers.policy.judging import Interval, Judging, Progress, Reason, intervals, over, prepare, reason
from analyzers.policy.nodes import ENDS, Nodes
from analyzers.policy.places import Found
from analyzers.policy.store import versions
from analyzers.policy.unguarded import MTLS_RULE, asks_of_requests, parted
from storage.engine import Engine
from storage.sql import load

UNAUTHORIZED, REFUSED, PLAINTEXT = "unauthorized", "refused_though_allowed", "plaintext_where_strict"
KINDS = (UNAUTHORIZED, REFUSED, PLAINTEXT)
GRACE = timedelta(minutes=1)
"""How long a new policy may take to reach every proxy."""
SAMPLES, MOST_SHOWN = 10, 12
THRESHOLD = 1.0
"""Calls of an episode from which on it is told: policies leave nothing to chance."""
NETWORK = "kubernetes"
"""The engine of policies that no proxy enforces."""
_MINUTE = timedelta(minutes=1)

_SEVERITY: Mapping[str, Severity] = {UNAUTHORIZED: "high", REFUSED: "medium", PLAINTEXT: "high"}
_SEEN: Mapping[str, Literal["let_through", "refused", "plaintext"]] = {
    UNAUTHORIZED: "let_through",
    REFUSED: "refused",
    PLAINTEXT: "plaintext",
}
_TECHNIQUES: Mapping[str, Sequence[str]] = {UNAUTHORIZED: ("T1078", "T1021"), REFUSED: (), PLAINTEXT: ("T1040",)}
_FALSE_ALARM_IF: Mapping[str, str] = {
    UNAUTHORIZED: "the stored policies are not those of the cluster, or they came to its proxies later than stored",
    REFUSED: "the stored policies are not those of the cluster, or another filter (rate limits, an authorizer) refused",
    PLAINTEXT: "TLS was ended before the proxy by something that the mesh trusts",
}
_DID: Mapping[str, str] = {UNAUTHORIZED: "allowed", REFUSED: "denied", PLAINTEXT: "allowed"}
_NAMELESS: Mapping[str, str] = {
    UNAUTHORIZED: "no rule allows it",
    REFUSED: "no policy refuses it",
    PLAINTEXT: "no rule allows it",
}
"""Where nothing that has a name decided."""
_KEYS = f"{', '.join(ENDS)}, source_principal"
_WANTED = Wanted(
    f"{_KEYS}, operation, verdict",
    {
        "calls": "sum(weight)",
        "per_minute": "sumMap([toUInt32(toUnixTimestamp(toStartOfMinute(ts)))], [toUInt64(weight)])",
    },
    "ts, weight",
)
_LISTED = Wanted(
    f"{_KEYS}, verdict",
    {
        "listed": f"groupArraySortedMap({LISTED})("
        f"map(toUInt32(intDiv(toUnixTimestamp(ts), {SLOT_S})), (toUnixTimestamp64Micro(ts), request_id, trace_id)))"
    },
    "ts, request_id, trace_id",
)


class _Hints:
    """What places tell of causes."""

    def __init__(self, held: Sequence[Interval], places: Judging) -> None:
        self._policies = [one.policies for one in held]
        self._network = {
            f"{one.namespace}/{one.name}" for found in held for one in found.policies.documents if one.engine == NETWORK
        }
        self._mesh = {
            f"{one.namespace}/{one.name}" for found in held for one in found.policies.documents if one.engine != NETWORK
        }
        self._waypoints = {
            _named(found) for _, group in places.groups for found in group.places if found.place.judge == "waypoint"
        }
        self._asks: dict[tuple[str, str], bool] = {}

    def of(self, group: Group, edge: int, policy: str | None, unguarded: Hint) -> Hint:
        """Of the calls of one base edge that a policy denies."""
        if policy in self._network and policy not in self._mesh:
            return "network"
        if unguarded:
            return unguarded
        found = next((one for one in group.places if one.base_edge_id == edge), group.places[0])
        return hint(found, found.place.judge == "ztunnel" and self._asked(found))

    def _asked(self, found: Found) -> bool:
        key = _named(found)
        if key not in self._asks:
            workload = found.place.workload
            self._asks[key] = key not in self._waypoints and any(
                asks_of_requests(one, workload) for one in self._policies
            )
        return self._asks[key]


def _named(found: Found) -> tuple[str, str]:
    workload = found.place.workload
    return workload.namespace, workload.service or workload.name


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
    if not changes:
        return []
    held = [_settled(one, changes) for one in intervals(engine, None, since, until)]
    held = [one for one in held if one.since < one.until]
    places = prepare(engine, held, ungoverned=True)
    parts = parted(places, held)
    hints = _Hints(held, places)
    seen: dict[_Key, Seen] = defaultdict(Seen)
    enforced: dict[str, bool] = defaultdict(bool)
    nodes = Nodes(engine)
    judgings: Sequence[tuple[Judging, Hint]] = (
        (parts.guarded, ""),
        (parts.bare, "no_sidecar"),
        (parts.requests, "no_waypoint"),
    )
    for judging, unguarded in judgings:
        told = progress if judging is parts.guarded else None
        edges: dict[int, set[int]] = defaultdict(set)
        for number, row, (verdict, policy, rule, _) in _rows(judging, _WANTED, told):
            source, destination = nodes.ends(row)
            if row["verdict"] == "denied" and verdict == "deny":
                enforced[destination] = True
            kind = _kind(row["verdict"], verdict, rule, unguarded)
            if kind is None:
                continue
            edge, group = row["base_edge_id"], judging.groups[number][1]
            edges[number].add(edge)
            seen[kind, source, row["source_principal"], destination].parts.append(
                Part(
                    dict(zip(*_pairs(row["per_minute"]), strict=True)),
                    row["operation"],
                    edge,
                    (f"{policy}[{rule}]" if rule else policy) if policy else "",
                    hints.of(group, edge, policy, unguarded),
                )
            )
        for _, row, (verdict, _, rule, _) in _rows(_only(judging, edges), _LISTED):
            if kind := _kind(row["verdict"], verdict, rule, unguarded):
                source, destination = nodes.ends(row)
                # Calls may have come since the sums were made.
                one = seen.get((kind, source, row["source_principal"], destination), Seen())
                for slot, calls in row["listed"]:
                    one.show(slot, (Shown(*call.values()) for call in calls))
    findings = [
        _finding(key, episode, changes, enforced[key[3]]) for key, one in seen.items() for episode in one.episodes()
    ]
    return sorted(findings, key=lambda one: (one.first_seen, one.id))


def _settled(one: Interval, changes: Set[datetime]) -> Interval:
    """Without the time around changes of the policies."""
    since = one.since + GRACE if one.since in changes else one.since
    return Interval(one.policies, since, one.until - GRACE if one.until in changes else one.until)


def _rows(
    judging: Judging, wanted: Wanted, progress: Progress | None = None
) -> Iterator[tuple[int, Mapping[str, Any], Reason]]:
    """Number of the group, row, and what was decided about it."""
    for number, (_, rows, told) in enumerate(over(judging, wanted, progress)):
        for row in rows:
            yield number, row, reason(row, told)


def _only(judging: Judging, edges: Mapping[int, Set[int]]) -> Judging:
    """The groups of these numbers, with their places of these base edges."""
    groups = [
        (window, Group(group.programs, tuple(one for one in group.places if one.base_edge_id in edges[number])))
        for number, (window, group) in enumerate(judging.groups)
        if number in edges
    ]
    return Judging(groups, sum(group.calls for _, group in groups))


def _kind(did: str, verdict: str, rule: str | None, unguarded: Hint) -> str | None:
    """None where the proxy did as the policies have it, or cannot be blamed."""
    if (did, verdict) == ("allowed", "deny"):
        if rule == MTLS_RULE:
            return None if unguarded else PLAINTEXT
        return UNAUTHORIZED
    return REFUSED if (did, verdict) == ("denied", "allow") and not unguarded else None


def _pairs(found: Any) -> tuple[Sequence[int], Sequence[int]]:
    """Keys and values of a sumMap, as engines give tuples."""
    return tuple(found.values()) if isinstance(found, dict) else tuple(found)  # pyright: ignore


def _finding(key: _Key, one: Episode, changes: Set[datetime], enforced: bool) -> Finding:
    kind, source, principal, destination = key
    since, until = _time(one.first), _time(one.last) + _MINUTE
    operations = one.operations
    cause, sentence = likely(_SEEN[kind], one.hints, (since, until), changes, enforced)
    subject = Subject(source, destination, operations[0] or None if len(operations) == 1 else None, principal or None)
    parameters = {
        "since": since,
        "until": until,
        "edges": list(one.edges),
        "principal": principal,
        "did": _DID[kind],
        "moments": [call.moment for call in one.listed],
        "ids": [call.request_id for call in one.listed],
        "row_limit": 10 * LISTED,
    }
    return Finding(
        id=finding_id(kind, subject, since),
        kind=kind,
        severity=_SEVERITY[kind],
        title=_title(kind, subject, one.calls),
        subject=subject,
        first_seen=since,
        last_seen=until,
        score=float(one.calls),
        threshold=THRESHOLD,
        techniques=_TECHNIQUES[kind],
        evidence=Evidence(
            load("policy/disagreeing_calls").text,
            as_json(parameters),
            _some(call.request_id for call in one.listed),
            _some(call.trace_id for call in one.listed),
        ),
        false_alarm_if=_FALSE_ALARM_IF[kind],
        details={
            "calls": str(one.calls),
            "operations": ", ".join(operations[:MOST_SHOWN]),
            "policies": ", ".join(one.policies[:MOST_SHOWN]) or _NAMELESS[kind],
            "cause": cause,
            "likely": sentence,
        },
    )


def _some(ids: Iterable[str]) -> tuple[str, ...]:
    return tuple(islice(dict.fromkeys(filter(None, ids)), SAMPLES))


def _title(kind: str, subject: Subject, calls: int) -> str:
    who = subject.principal or subject.source
    what = {
        UNAUTHORIZED: "was let through though the policies deny it",
        REFUSED: "was refused though the policies allow it",
        PLAINTEXT: "came without a certificate where mutual TLS is required",
    }[kind]
    times = "once" if calls == 1 else f"{calls:,} times"
    return f"{who} called {subject.destination} {times} and {what}"


def _time(minute: int) -> datetime:
    return datetime.fromtimestamp(minute, UTC)
