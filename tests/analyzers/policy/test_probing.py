"""Repeated denials: episodes, peaks and scores by hand, random refusals against a slow count, the evidence."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from analyzers.policy.analysis import policy_findings
from analyzers.policy.denials import denials
from analyzers.policy.probing import MOST_CALLS, MOST_TARGETS, QUIET, WINDOW, RepeatedDenials, repeated_denials
from collector.identity.socket_addresses import ip_bytes
from storage.engine import Engine
from tests.analyzers.policy import denial_lines as lines
from tests.analyzers.policy.denial_lines import IPS, linkerd_id, spiffe
from tests.analyzers.policy.denial_store import RBAC, ingested, stock
from tests.analyzers.policy.denial_store import at as moment
from tests.analyzers.records import at, call, insert_calls


def refused(ts_s: float, target: int = 0, *, source: str = "scan", destination: str = "api", **fields: Any) -> Any:
    """A refused request of `shop/SOURCE`."""
    common: dict[str, Any] = {
        "mesh": "istio",
        "reporter": "destination",
        "source_namespace": "shop",
        "source_service": source,
        "source_principal": spiffe(source),
        "destination_namespace": "shop",
        "destination_service": destination,
        "verdict": "denied",
        "denied_by": "none",
        "response_details": RBAC.format("none"),
        "operation": f"GET /{target}",
        "status": 403,
    }
    return call(ts_s, **{**common, **fields})


def evidence(engine: Engine, found: RepeatedDenials) -> Sequence[dict[str, Any]]:
    """The lines that the episode's statement lists."""
    return engine.query(found.sql, found.parameters).to_pylist()


def test_the_defaults() -> None:
    assert (timedelta(minutes=30), timedelta(minutes=10)) == (QUIET, WINDOW)
    assert (MOST_CALLS, MOST_TARGETS) == (100, 8)


def test_a_scan_over_many_operations(engine: Engine) -> None:
    insert_calls(engine, [refused(20 * number, number, request_id=f"r-{number:02}") for number in range(9)])
    (found,) = repeated_denials(engine)
    assert (found.source, found.principal, found.address) == ("shop/scan", spiffe("scan"), None)
    assert (found.calls, found.targets, found.destinations) == (9, 9, ["shop/api"])
    assert (found.peak_calls, found.peak_targets, found.threshold) == (9, 9, 1.0)
    assert found.score == pytest.approx(9 / 8)
    assert (found.first_seen, found.last_seen) == (at(0), at(160))
    assert found.request_ids == [f"r-{number:02}" for number in range(5)]
    assert [row["ts"] for row in evidence(engine, found)] == [at(20 * number) for number in range(9)]


def test_as_a_finding_it_says_what_made_its_score(engine: Engine) -> None:
    insert_calls(engine, [refused(20 * number, number) for number in range(9)])
    (found,) = policy_findings(engine)
    assert found.title == f"{spiffe('scan')} was refused 9 times, at 9 operations of one service"
    assert found.details["densest ten minutes"] == "9 refused calls, 9 targets"


def test_a_scan_over_many_callees_and_ports(engine: Engine) -> None:
    insert_calls(
        engine,
        [
            *(refused(number, destination=f"callee-{number}") for number in range(8)),
            *(
                refused(number, source="ports", operation="", protocol="tcp", destination_port=number)
                for number in range(8)
            ),
        ],
    )
    told = {one.source: (one.score, one.targets, len(one.destinations)) for one in repeated_denials(engine)}
    assert told == {"shop/scan": (1.0, 8, 8), "shop/ports": (1.0, 8, 1)}


def test_one_call_again_and_again(engine: Engine) -> None:
    insert_calls(engine, [refused(5 * number) for number in range(100)])
    insert_calls(engine, [refused(5 * number, source="slow") for number in range(99)])
    (found,) = repeated_denials(engine)
    assert (found.source, found.score, found.peak_calls, found.targets) == ("shop/scan", 1.0, 100, 1)


def test_only_what_is_near_in_time_counts_together(engine: Engine) -> None:
    insert_calls(engine, [refused(75 * number, number) for number in range(40)])  # eight in ten minutes
    insert_calls(engine, [refused(86 * number, number, source="patient") for number in range(40)])  # seven
    assert [one.source for one in repeated_denials(engine)] == ["shop/scan"]
    assert [one.source for one in repeated_denials(engine, most_targets=7)] == ["shop/scan", "shop/patient"]


def test_thirty_quiet_minutes_end_an_episode(engine: Engine) -> None:
    def burst(start: float) -> list[Any]:
        return [refused(start + number, number) for number in range(10)]

    insert_calls(engine, [*burst(0), *burst(9 + 1799), *burst(1808 + 9 + 1800)])
    found = sorted(repeated_denials(engine), key=lambda one: one.first_seen)
    assert [(one.first_seen, one.last_seen, one.calls) for one in found] == [
        (at(0), at(1817), 20),
        (at(3617), at(3626), 10),
    ]
    assert [one.calls for one in repeated_denials(engine, quiet=timedelta(hours=1))] == [30]


def test_a_window_finds_the_episodes_that_overlap_it_whole(engine: Engine) -> None:
    insert_calls(engine, [refused(600 + number, number) for number in range(600)])
    whole = repeated_denials(engine)
    assert repeated_denials(engine, since=at(1000)) == whole
    assert repeated_denials(engine, since=at(1200)) == []
    assert repeated_denials(engine, until=at(600)) == []
    (part,) = repeated_denials(engine, until=at(700))
    assert (part.first_seen, part.calls) == (at(600), 100)


def test_both_sides_lines_are_one_call(engine: Engine) -> None:
    insert_calls(
        engine,
        [refused(number, reporter=side) for number in range(60) for side in ("source", "destination")],
    )
    assert repeated_denials(engine) == []
    (found,) = repeated_denials(engine, most_calls=60)
    assert (found.calls, found.score) == (60, 1.0)
    assert [one.calls for one in denials(engine)] == [60]


def test_summaries_count_as_often_as_they_say(engine: Engine) -> None:
    ingested(engine, [lines.calico(moment(0), "scan", "db", 250, "shop/default.deny-all")])
    (found,) = repeated_denials(engine)
    assert (found.source, found.calls, found.score, found.principal) == ("shop/scan", 250, 2.5, None)


def test_callers_without_a_name_are_their_addresses(engine: Engine) -> None:
    stock(engine, "api")
    ingested(
        engine,
        [
            lines.istio_text(moment(number), source, "api", RBAC.format("none"), f"r-{number}", f"/{word}")
            for number, (source, word) in enumerate(
                [*(("scan", word) for word in "abcdefghij"), *(("web", word) for word in "abcd")]
            )
        ],
    )
    (found,) = repeated_denials(engine)
    assert (found.source, found.principal, found.address, found.calls) == ("unknown", None, IPS["scan"], 10)
    assert {row["source_ip"] for row in evidence(engine, found)} == {ip_bytes(IPS["scan"])}


def test_clients_at_a_gateway_are_told_apart(engine: Engine) -> None:
    common: dict[str, Any] = {
        "reporter": "gateway",
        "source_service": "istio-ingressgateway",
        "source_namespace": "istio-system",
    }
    common |= {"source_principal": "", "direction": "ingress", "log_type": "gateway_request", "edge_id": 0}
    insert_calls(
        engine,
        [
            refused(number, number, **common, source_ip=ip_bytes("10.0.0.9"), source_remote_ip=ip_bytes(client))
            for number in range(10)
            for client in ("203.0.113.7", f"198.51.100.{number}")
        ],
    )
    (found,) = repeated_denials(engine)
    assert (found.source, found.address) == ("istio-system/istio-ingressgateway", "203.0.113.7")
    assert len(evidence(engine, found)) == 10


def test_linkerds_log_of_refusals_counts(engine: Engine) -> None:
    ingested(
        engine,
        [lines.linkerd_policy(moment(number), "scan", name) for number, name in enumerate(IPS) if name != "scan"] * 2,
    )
    (found,) = repeated_denials(engine, most_targets=5)
    assert (found.principal, found.targets, found.calls, found.score) == (linkerd_id("scan"), 5, 10, 1.0)


def test_what_was_let_pass_and_what_is_on_trial_is_nothing(engine: Engine) -> None:
    insert_calls(engine, [refused(number, number, verdict="allowed") for number in range(50)])
    trial = [("rbac_shadow_engine_result", "denied")]
    insert_calls(engine, [refused(number, number, verdict="allowed", attributes=trial) for number in range(50)])
    assert repeated_denials(engine) == []


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"most_calls": 0}, "most_calls 0, most_targets 8: expected at least 1"),
        ({"most_targets": 0}, "most_targets 0: expected at least 1"),
        ({"window": timedelta(seconds=90)}, "expected whole minutes"),
        ({"window": timedelta(0)}, "expected whole minutes"),
        ({"quiet": timedelta(minutes=5)}, "quiet no shorter than the window"),
    ],
)
def test_parameters_out_of_range(engine: Engine, given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        repeated_denials(engine, **given)


def test_hostile_texts_are_bound(engine: Engine) -> None:
    text = "\x1b'; DROP TABLE calls; -- \\ {x:String}"
    insert_calls(engine, [refused(number, number, source=text, source_principal=text) for number in range(10)])
    (found,) = repeated_denials(engine)
    assert found.principal == text
    assert len(evidence(engine, found)) == 10


# A slow count.


@dataclass(frozen=True, slots=True)
class Event:
    ts_s: int
    caller: str
    destination: str
    target: int


def slow(events: Iterable[Event], most_calls: int, most_targets: int) -> set[tuple[Any, ...]]:
    """Episodes that reach a score of 1, from the definitions: (caller, first, last, calls, targets, peaks)."""
    by_caller: dict[str, list[Event]] = defaultdict(list)
    for event in sorted(events, key=lambda one: one.ts_s):
        by_caller[event.caller].append(event)
    found: set[tuple[Any, ...]] = set()
    for caller, own in by_caller.items():
        episodes: list[list[Event]] = []
        for event in own:
            if not episodes or event.ts_s - episodes[-1][-1].ts_s >= 1800:
                episodes.append([])
            episodes[-1].append(event)
        for episode in episodes:
            peak_calls = peak_targets = 0
            for last in {event.ts_s // 60 for event in episode}:
                near = [event for event in episode if last - 10 < event.ts_s // 60 <= last]
                peak_calls = max(peak_calls, len(near))
                peak_targets = max(peak_targets, len({(event.destination, event.target) for event in near}))
            if max(peak_calls / most_calls, peak_targets / most_targets) >= 1:
                targets = len({(event.destination, event.target) for event in episode})
                ends = (at(episode[0].ts_s), at(episode[-1].ts_s))
                found.add((f"shop/{caller}", *ends, len(episode), targets, peak_calls, peak_targets))
    return found


@pytest.mark.parametrize("seed", range(6))
def test_random_refusals_are_counted_as_by_the_slow_way(engine: Engine, seed: int) -> None:
    rng = random.Random(seed)
    events: list[Event] = []
    for caller in ("a", "b", "c", "d", "e"):
        ts_s, doors = 0.0, rng.choice([1, 4, 30])
        for _ in range(rng.randrange(20, 160)):
            ts_s += rng.choice([rng.expovariate(1 / 20), rng.expovariate(1 / 20), rng.uniform(1700, 1900)])
            events.append(Event(int(ts_s), caller, rng.choice(["api", "db"]), rng.randrange(doors)))
    shuffled = rng.sample(events, len(events))
    insert_calls(
        engine,
        [refused(one.ts_s, one.target, source=one.caller, destination=one.destination) for one in shuffled],
    )
    found = repeated_denials(engine, most_calls=20, most_targets=6)
    told = {
        (one.source, one.first_seen, one.last_seen, one.calls, one.targets, one.peak_calls, one.peak_targets)
        for one in found
    }
    assert told == slow(events, 20, 6)
    assert len(found) == len(told) > 0
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    for one in found:
        assert one.score == pytest.approx(max(one.peak_calls / 20, one.peak_targets / 6))
        rows = evidence(engine, one)
        assert (len(rows), rows[0]["ts"], rows[-1]["ts"]) == (one.calls, one.first_seen, one.last_seen)
