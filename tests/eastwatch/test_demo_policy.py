"""The demo's policies say of every call what its proxies did; but of those of the stolen account that came through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest

from analyzers.findings.model import Finding
from analyzers.latency.findings import KINDS as REGRESSIONS
from analyzers.policy.check import Check, check
from analyzers.policy.each import Each, Judged, each
from analyzers.policy.store import versions
from collector.clock import SystemClock
from eastwatch.demo import analyzed, compare, incidents, run
from eastwatch.demo_changes import Sign
from eastwatch.settings import load_settings
from eastwatch.world import START, World
from eastwatch.world.model import Service
from eastwatch.world.policy_incident import StolenAccount
from eastwatch.world.shop import SHIPPING
from eastwatch.world.shop_changes import SHOP_CHANGES
from storage.embedded import EmbeddedEngine
from storage.engine import Engine
from tests.conftest import empty
from tests.eastwatch.world.test_world import digest

BEGIN = START + timedelta(minutes=13)
SHORT = {"start": BEGIN, "duration": timedelta(minutes=20), "scale": 0.3}
CHANGED = {"changes": SHOP_CHANGES, "changes_after": timedelta(minutes=10)}
STOLEN = StolenAccount(BEGIN + timedelta(minutes=12), timedelta(minutes=5), pace_factor=8.0)

_REFUSALS = """
SELECT ts, request_id, denied_by FROM calls
WHERE reporter = 'destination' AND verdict = 'denied' ORDER BY ts, request_id LIMIT 10000
"""


@dataclass(frozen=True)
class Told:
    """What was read of a world."""

    world: World
    truth: dict[str, Any]
    verdict: dict[str, Any]
    check: Check
    each: Each
    refusals: Sequence[tuple[datetime, str, str]]
    valid_from: datetime
    findings: Sequence[Finding]

    def disagreements(self, did: str, verdict: str) -> int:
        return sum(one.calls for one in self.check.decided if (one.did, one.verdict) == (did, verdict))


def tell(engine: Engine, world: World) -> Told:
    """The world through the pipeline, judged by its own policies as they stand in the store."""
    empty(engine)
    story = run(engine, world, world.messages(), load_settings(), SystemClock())
    assert story.counts.dead_lettered == 0
    truth = world.truth()
    refusals = [tuple(row.values()) for row in engine.query(_REFUSALS).to_pylist()]
    (held,) = versions(engine)
    found = analyzed(engine, SystemClock().now())
    verdict = compare(story.map, truth, found)
    return Told(world, truth, verdict, check(engine, None), each(engine, None), refusals, held.valid_from, found)


@pytest.fixture(scope="module")
def quiet(shared_store: EmbeddedEngine) -> Told:
    """Half as it always was, half with what changes in the demo's second hour; with a run of both jobs."""
    return tell(shared_store, World(4, **SHORT, **CHANGED))


@pytest.fixture(scope="module")
def troubled(shared_store: EmbeddedEngine) -> Told:
    """The same, and somebody has stolen an account."""
    return tell(shared_store, World(4, **SHORT, **CHANGED, incidents=(STOLEN,)))


def test_the_policies_hold_from_the_begin_of_the_world_on(quiet: Told) -> None:
    assert quiet.valid_from == BEGIN


def test_the_quiet_world_keeps_to_its_policies(quiet: Told) -> None:
    assert quiet.disagreements("allowed", "deny") == 0
    assert quiet.disagreements("denied", "allow") == 0
    assert quiet.check.count("deny") == len(quiet.refusals) > 5
    assert quiet.check.count("allow") > 12_000


@pytest.mark.parametrize("which", ["quiet", "troubled"])
def test_every_call_that_a_proxy_judges_is_decided(which: str, request: pytest.FixtureRequest) -> None:
    """The lines have all that the policies ask for. Only calls to what has no sidecar are judged by nobody."""
    told: Told = request.getfixturevalue(which)
    places = told.world.cluster.topology.places
    bare = 0
    for edge in told.truth["edges"]:
        place = places[edge["destination"]]
        if "log" in edge["evidence"] and isinstance(place, Service) and not place.meshed:
            bare += edge["requests"]
    assert (told.check.count("unknown"), list(told.check.missing)) == (0, [])
    assert sum(one.calls for one in told.check.decided) == told.check.calls - bare
    assert bare > 20


@pytest.mark.parametrize("which", ["quiet", "troubled"])
def test_what_is_refused_is_refused_by_what_its_line_names(which: str, request: pytest.FixtureRequest) -> None:
    told: Told = request.getfixturevalue(which)
    judged = [(one.ts, one.request_id, name(one)) for one in told.each if one.did == "denied"]
    assert judged == list(told.refusals)
    assert len({denied_by for _, _, denied_by in told.refusals}) >= 3


def name(one: Judged) -> str:
    """As a proxy names it."""
    if one.policy is None:
        return "none"
    namespace, _, policy = one.policy.partition("/")
    return f"ns[{namespace}]-policy[{policy}]-rule[{one.rule}]"


def test_every_policy_decides_something(quiet: Told) -> None:
    """What is never asked for is more than the least privilege."""
    rules = {(one.policy, one.rule) for one in quiet.check.decided if one.verdict == "allow" and one.policy}
    told = quiet.world.policies().decode()
    written, denying = told.count("    - from:\n") + told.count("    - to:\n"), told.count("action: DENY")
    assert len(rules) == written - denying
    assert {one.policy for one in quiet.check.decided if one.verdict == "deny"} == {
        None, "payments/ledger-db-clients", "payments/no-bulk-export",
    }  # fmt: skip


def test_exactly_the_stolen_account_comes_through_where_policies_forbid_it(troubled: Told) -> None:
    (incident,) = troubled.truth["incidents"]
    assert troubled.disagreements("allowed", "deny") == incident["let_through"] > 100
    assert troubled.disagreements("denied", "allow") == 0
    through = [one for one in troubled.each if (one.did, one.verdict) == ("allowed", "deny")]
    assert all(incident["since"][:-1] <= one.ts.isoformat() < incident["until"] for one in through)
    assert Counter(one.policy for one in through) == {None: incident["let_through"]}


def test_the_stolen_account_is_refused_where_policies_are_enforced(quiet: Told, troubled: Told) -> None:
    (incident,) = troubled.truth["incidents"]
    begins = STOLEN.begins.replace(tzinfo=None)
    before = [one for one in quiet.refusals if one[0].replace(tzinfo=None) < begins]
    assert [one for one in troubled.refusals if one[0].replace(tzinfo=None) < begins] == before
    named = Counter(one.policy for one in troubled.each if one.did == "denied")
    assert named["payments/known-callers"] == sum(
        each["refused"] for each in incident["calls"] if "known-callers" in (each["policy"] or "")
    )
    assert incident["refused"] == sum(each["refused"] for each in incident["calls"]) > 100


def test_the_truth_says_what_the_stolen_account_did(troubled: Told) -> None:
    (incident,) = troubled.truth["incidents"]
    assert {key: incident[key] for key in ("kind", "source", "principal", "since", "until")} == {
        "kind": "unauthorized",
        "source": SHIPPING,
        "principal": "spiffe://cluster.local/ns/shop/sa/shipping",
        "since": "2026-03-02T10:25:00.000000Z",
        "until": "2026-03-02T10:30:00.000000Z",
    }
    calls = incident["calls"]
    opened = [one for one in calls if one["let_through"]]
    assert {one["destination"] for one in opened} == set(incident["destinations"])
    assert {one["operation"] for one in opened} == set(incident["operations"])
    assert {one["destination"] for one in calls if one["refused"]} == set(incident["refused_by"])
    edges = {(edge["source"], edge["destination"]): edge for edge in troubled.truth["edges"]}
    for destination in {one["destination"] for one in calls}:
        own = [one for one in calls if one["destination"] == destination]
        edge = edges[SHIPPING, destination]
        assert edge["denied"] == sum(one["refused"] for one in own)
        assert edge["attempts"] == sum(one["refused"] + one["let_through"] for one in own)


@pytest.mark.parametrize("which", ["quiet", "troubled"])
def test_the_map_is_what_happened(which: str, request: pytest.FixtureRequest) -> None:
    told: Told = request.getfixturevalue(which)
    assert (told.verdict["missing"], told.verdict["unexpected"], told.verdict["differences"]) == ([], [], [])


def test_edges_of_the_incident_are_changes_of_the_world(quiet: Told, troubled: Told) -> None:
    before = {tuple(each.items()) for each in quiet.truth["changes"]}
    more = [each for each in troubled.truth["changes"] if tuple(each.items()) not in before]
    signs = {Sign(each["kind"], each["source"], each["destination"], each["operation"]) for each in more}
    (incident,) = troubled.truth["incidents"]
    assert {each["change"] for each in more} == {incident["name"]}
    assert signs == {
        Sign("edge came", SHIPPING, end, "") for end in {*incident["destinations"], *incident["refused_by"]}
    }


def test_until_the_incident_begins_the_world_is_the_same() -> None:
    tiny = {"start": BEGIN, "duration": timedelta(minutes=4), "scale": 0.3}
    begins = BEGIN + timedelta(minutes=2)
    calm, robbed = World(9, **tiny), World(9, **tiny, incidents=(StolenAccount(begins, pace_factor=6.0),))
    until_us = int(begins.timestamp() * 1e6)

    def told(world: World) -> tuple[str, str]:
        messages = list(world.messages())
        return digest([one for one in messages if one.ts_us <= until_us]), digest(messages)

    (calm_before, calm_whole), (before, whole) = told(calm), told(robbed)
    assert before == calm_before and whole != calm_whole
    assert told(robbed) == (before, whole)
    assert robbed.inventory() == calm.inventory()
    assert robbed.policies() == calm.policies()


def test_what_has_not_begun_is_not_in_the_truth() -> None:
    world = World(9, BEGIN, timedelta(minutes=2), 0.1, incidents=incidents(BEGIN))
    for _ in world.messages():
        pass
    assert world.truth()["incidents"] == []
    assert SHIPPING not in {
        edge["source"] for edge in world.truth()["edges"] if not edge["destination"].startswith("external:")
    }


def test_selectors_name_labels_that_pods_bear() -> None:
    world = World(9, BEGIN, timedelta(minutes=2), 0.1)
    apps = {service.name for service in world.cluster.topology.services if isinstance(service, Service)}
    told = world.policies().decode()
    selected = [line.partition(": ")[2] for line in told.splitlines() if line.startswith("      app: ")]
    assert len(selected) > 12 and set(selected) <= apps


def policy_only(told: Told) -> list[Finding]:
    """Without what became slower or fails: that is so in both worlds, and another test's."""
    return [one for one in told.findings if one.kind not in REGRESSIONS]


def test_the_quiet_world_has_no_findings_of_policies(quiet: Told) -> None:
    assert policy_only(quiet) == []
    assert quiet.verdict["unexpected_regressions"] == []


def test_the_incident_is_found_and_nothing_else(troubled: Told) -> None:
    (incident,) = troubled.truth["incidents"]
    found = {one.kind: one for one in policy_only(troubled)}
    assert found.keys() <= {"unauthorized", "repeated_denials"} and len(found) == len(policy_only(troubled))
    one = found["unauthorized"]
    assert (one.subject.source, one.subject.principal) == (incident["source"], incident["principal"])
    assert one.score == incident["let_through"]
    assert troubled.verdict["incidents"][0] == {"injected": incident["name"], "found": one.id}
    assert troubled.verdict["unexpected_regressions"] == []
