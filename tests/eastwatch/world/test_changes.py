"""Changes of a world: what came before them is untouched, and the truth tells them when they have come."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import takewhile

import pytest

from eastwatch.world import START, World
from eastwatch.world.changes import with_operation, with_step
from eastwatch.world.model import Call
from eastwatch.world.shop import CART, CATALOG, FLAGS, RECOMMENDATION, SEARCH, SHOP, WEB
from eastwatch.world.shop_changes import SHOP_CHANGES
from tests.eastwatch.world.recount import edges, recount

SHORT = {"seed": 5, "start": START + timedelta(minutes=46), "duration": timedelta(minutes=8), "scale": 0.5}
AFTER = timedelta(minutes=4)


@pytest.fixture(scope="module")
def changed() -> World:
    return World(**SHORT, changes=SHOP_CHANGES, changes_after=AFTER)


def test_what_came_before_is_the_same_bytes(changed: World) -> None:
    def until(world: World) -> list[bytes]:
        return [message.value for message in takewhile(lambda m: m.ts_us < changed.changes_us, world.messages())]

    before = until(changed)
    assert before and before == until(World(**SHORT))


def test_the_truth_of_a_changed_world_is_what_its_messages_say(changed: World) -> None:
    counted = edges(recount(changed.messages(), changed.inventory()))
    real = {(edge["source"], edge["destination"]): edge for edge in changed.truth()["edges"]}
    assert real.keys() == counted.keys()
    for name in ("requests", "attempts", "errors", "denied", "statuses"):
        wanted = {pair: edge[name] for pair, edge in real.items() if name in counted[pair]}
        assert {pair: edge[name] for pair, edge in counted.items() if name in edge} == wanted
    assert 0.4 < real[SEARCH, CATALOG]["mtls_share"] < 0.6
    assert (RECOMMENDATION, FLAGS) in real and (CART, FLAGS) in real


def test_the_truth_lists_changes_when_they_have_come(changed: World) -> None:
    for _ in changed.messages():
        pass
    signs = changed.truth()["changes"]
    assert {sign["kind"] for sign in signs} == {
        "edge came", "edge went", "operation came", "rate", "errors", "latency", "mtls",
    }  # fmt: skip
    assert {sign["at"] for sign in signs} == {"2026-03-02T10:50:00.000000Z"}
    assert {"change": "recommendations ask for feature flags", "at": "2026-03-02T10:50:00.000000Z",
            "kind": "edge came", "source": RECOMMENDATION, "destination": FLAGS, "operation": ""} in signs  # fmt: skip
    early = World(**{**SHORT, "duration": AFTER}, changes=SHOP_CHANGES, changes_after=AFTER)
    for _ in early.messages():
        pass
    assert early.truth()["changes"] == []


def test_a_job_that_ran_in_one_half_only_is_told() -> None:
    world = World(seed=5, duration=timedelta(hours=2), scale=0.01)
    for _ in world.messages():
        pass
    assert {(sign["kind"], sign["source"], sign["destination"]) for sign in world.truth()["changes"]} == {
        ("edge went", "platform/settlement", "payments/ledger")
    }


def test_changes_name_what_exists() -> None:
    topology = SHOP
    for change in SHOP_CHANGES:
        after = change.apply(topology)
        assert after != topology, change.name
        assert after.places == topology.places
        topology = after
        for sign in change.signs:
            assert {sign.source, sign.destination} <= topology.places.keys()
            if sign.operation:
                assert sign.operation in {
                    f"{each.method} {each.path}" for each in topology.operations if each.service == sign.destination
                }
    with pytest.raises(KeyError):
        with_operation(SHOP, f"{WEB}:nothing", replace)
    with pytest.raises(ValueError):
        with_step(SHOP, f"{WEB}:home", f"{CART}:get", Call(f"{FLAGS}:evaluate"))
