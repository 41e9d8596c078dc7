"""What would change under other policies: by caller and operation, and how thin the evidence is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from analyzers.policy.policy_set import PolicySet
from analyzers.policy.whatif import MAX_RARE, SAMPLES, Change, whatif
from storage.engine import Engine
from tests.analyzers.policy.test_check import NOBODY, ONLY_WEB, authorization, line, policies
from tests.analyzers.records import at, insert_calls


def brief(changes: Sequence[Change]) -> list[tuple[Any, ...]]:
    return [(one.source, one.destination, one.now, one.then, one.calls, one.policy) for one in changes]


def test_what_would_change_is_told_by_caller_and_operation(engine: Engine) -> None:
    batch = {"source_service": "batch", "source_principal": "spiffe://cluster.local/ns/shop/sa/batch"}
    insert_calls(
        engine,
        [
            *(line(number) for number in range(1, 9)),
            *(line(3600 * number, **batch) for number in (10, 11)),
            line(50_000, **batch, verdict="denied"),
            line(60_000, tls="unknown", verdict="unknown"),
            line(90_000, tls="unknown"),
        ],
    )
    found = whatif(
        engine,
        policies(
            authorization("no-batch", "{action: DENY, rules: [{from: [{source: {principals: ['*/sa/batch']}}]}]}")
        ),
    )
    assert brief(found.changes) == [("shop/batch", "shop/orders", "allow", "deny", 2, "shop/no-batch")]
    (change,) = found.changes
    assert change.breaks and set(change.samples) == {"r36000", "r39600"} and change.operation == "GET /orders"
    assert (found.calls, found.evaluated, found.allow, found.deny, found.unknown) == (13, 13, 10, 3, 0)
    coverage = found.coverage
    assert (coverage.hours, coverage.of_hours, coverage.callers) == (6, 26, 2)
    assert [(one.source, one.calls, one.hours) for one in coverage.rare] == [("shop/batch", 3, 3)]
    opened = whatif(engine, PolicySet())
    assert brief(opened.changes) == [("shop/batch", "shop/orders", "deny", "allow", 1, None)] and opened.evaluated == 0


def test_what_changes_alike_is_told_once_with_examples_of_all(engine: Engine) -> None:
    insert_calls(engine, [line(number, source_version=f"v{number}") for number in (3, 1, 2, 4)])
    (change,) = whatif(engine, policies(NOBODY)).changes
    assert (change.calls, change.first_seen, change.last_seen) == (4, at(1), at(4))
    assert set(change.samples) == {"r1", "r2", "r3", "r4"}
    insert_calls(engine, [line(number, source_version=f"v{number}") for number in range(5, 9)])
    (change,) = whatif(engine, policies(NOBODY)).changes
    assert (change.calls, len(set(change.samples))) == (8, SAMPLES)


HOUR = 3600


def test_evidence_is_thin_where_callers_were_heard_seldom(engine: Engine) -> None:
    def batch(hours: int, base: float) -> list[dict[str, Any]]:
        """Six calls, in so many hours."""
        name = f"in-{hours}"
        return [
            line(base + HOUR * (at % hours) + at, source_service=name, request_id="", operation=f"GET /{at}")
            for at in range(6)
        ]

    insert_calls(engine, [*batch(1, 7), *batch(2, 17), *batch(3, 27), line(25 * HOUR), line(25 * HOUR + 9)])
    coverage = whatif(engine, policies(ONLY_WEB)).coverage
    assert (coverage.first_seen, coverage.last_seen) == (at(7), at(25 * HOUR + 9))
    assert (coverage.hours, coverage.of_hours, coverage.callers, coverage.rare_callers) == (4, 26, 4, 3)
    assert [(one.source, one.calls, one.hours) for one in coverage.rare] == [
        ("shop/web", 2, 1),
        ("shop/in-1", 6, 1),
        ("shop/in-2", 6, 2),
    ]
    assert [one.last_seen for one in coverage.rare] == [at(25 * HOUR + 9), at(12), at(HOUR + 22)]
    # Of less than a day few hours are no sign, few calls are.
    short = whatif(engine, policies(ONLY_WEB), at(0), at(23 * HOUR)).coverage
    assert (short.of_hours, short.callers, list(short.rare)) == (23, 3, [])
    day = whatif(engine, policies(ONLY_WEB), at(0), at(24 * HOUR)).coverage
    assert (day.of_hours, [one.source for one in day.rare]) == (24, ["shop/in-1", "shop/in-2"])
    five = whatif(engine, policies(ONLY_WEB), at(8), at(23 * HOUR)).coverage
    assert [(one.source, one.calls) for one in five.rare] == [("shop/in-1", 5)]
    # Minutes apart, and one hour.
    insert_calls(engine, [line(5 * HOUR + 60 * number, source_service="minutes") for number in range(9)])
    assert whatif(engine, policies(ONLY_WEB), at(5 * HOUR), at(6 * HOUR)).coverage.hours == 1
    # All hours of a long time count.
    insert_calls(engine, [line(HOUR * number + 1, source_service="steady") for number in range(30, 1530)])
    assert whatif(engine, policies(ONLY_WEB)).coverage.hours == 1505


def test_of_many_callers_heard_seldom_some_are_shown_and_all_counted(engine: Engine) -> None:
    insert_calls(engine, [line(number, source_service=f"caller-{number}") for number in range(1, MAX_RARE + 8)])
    coverage = whatif(engine, policies(ONLY_WEB)).coverage
    assert (len(coverage.rare), coverage.rare_callers) == (MAX_RARE, MAX_RARE + 7)


def test_what_nobody_knows_was_done_is_news_only_where_it_would_be_refused(engine: Engine) -> None:
    cases = [(did, verdict) for did in ("allowed", "denied", "unknown") for verdict in ("allow", "deny", "unknown")]
    callers = {
        "allow": {},
        "deny": {"source_principal": "spiffe://cluster.local/ns/shop/sa/batch"},
        "unknown": {"path": "/maybe"},
    }
    maybe = "{to: [{operation: {paths: [/maybe]}}], when: [{key: 'request.headers[x-team]', values: [red]}]}"
    insert_calls(engine, [line(1 + at, **callers[verdict], verdict=did) for at, (did, verdict) in enumerate(cases)])
    found = whatif(engine, policies(ONLY_WEB, authorization("maybe", f"{{action: DENY, rules: [{maybe}]}}")))
    assert (found.allow, found.deny, found.unknown) == (3, 3, 3)
    assert [(one.now, one.then, one.calls, one.breaks, one.opens) for one in found.changes] == [
        ("allow", "deny", 1, True, False),
        ("deny", "allow", 1, False, True),
        ("unknown", "deny", 1, False, False),
        ("allow", "unknown", 1, False, False),
        ("deny", "unknown", 1, False, False),
    ]
    assert list(found.changes[3].missing) == ["request.headers.x-team"]
