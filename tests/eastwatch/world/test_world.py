"""A world follows from its seed, tells its messages in order of time, and is the same whoever asks for how much."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from eastwatch.world import ACCESS_LOGS, METRICS, TOPICS, TRACES, Message, World
from eastwatch.world.model import Call, Journey
from eastwatch.world.shop import GATEWAY, SHOP
from tests.eastwatch.world.conftest import SMALL

TINY = {"start": datetime(2026, 3, 2, 10, 14, tzinfo=UTC), "duration": timedelta(minutes=3), "scale": 0.3}


def digest(messages: list[Message]) -> str:
    whole = hashlib.sha256()
    for message in messages:
        whole.update(f"{message.topic} {message.ts_us} {len(message.value)} ".encode())
        whole.update(message.key + message.value)
    return whole.hexdigest()


def test_the_same_seed_gives_the_same_bytes() -> None:
    world = World(seed=9, **TINY)
    first = digest(list(world.messages()))
    truth, inventory = world.truth(), world.inventory()
    assert digest(list(world.messages())) == first
    again = World(seed=9, **TINY)
    assert digest(list(again.messages())) == first
    assert (again.truth(), again.inventory()) == (truth, inventory)


def test_another_seed_gives_others() -> None:
    one, other = World(seed=9, **TINY), World(seed=10, **TINY)
    assert digest(list(one.messages())) != digest(list(other.messages()))
    assert one.inventory() != other.inventory()


def test_a_longer_world_begins_the_same() -> None:
    short = World(seed=9, **TINY)
    long = World(seed=9, **{**TINY, "duration": timedelta(minutes=5)})
    until = short.end_us
    told = [message for message in short.messages() if message.ts_us <= until]
    assert digest(told) == digest([message for message in long.messages() if message.ts_us <= until])


def test_messages_come_in_order_of_time(world: World, messages: list[Message]) -> None:
    times = [message.ts_us for message in messages]
    assert times == sorted(times)
    assert times[0] > world.start_us
    assert {message.topic for message in messages} == set(TOPICS) == {ACCESS_LOGS, TRACES, METRICS}
    assert max(len(message.value) for message in messages) < 1_000_000


def test_scale_multiplies_traffic() -> None:
    def requests(scale: float) -> int:
        world = World(seed=9, **{**TINY, "scale": scale})
        for _ in world.messages():
            pass
        return sum(edge["requests"] for edge in world.truth()["edges"])

    assert requests(0.9) == pytest.approx(3 * requests(0.3), rel=0.15)


def test_a_day_has_its_curve() -> None:
    def requests(hour: int) -> int:
        world = World(seed=9, start=datetime(2026, 3, 3, hour, 1, tzinfo=UTC), duration=timedelta(minutes=4))
        for _ in world.messages():
            pass
        return sum(edge["requests"] for edge in world.truth()["edges"])

    assert requests(15) > 2 * requests(3)


def test_job_pods_use_one_address_one_after_the_other(world: World) -> None:
    pods = [pod for pod in world.cluster.pods if pod.owner_kind == "Job"]
    assert {pod.service.name for pod in pods} == {"reconciler", "settlement"}
    assert len({pod.address for pod in pods}) == 1
    ordered = sorted(pods, key=lambda pod: pod.started_us)
    for before, after in pairwise(ordered):
        assert before.ended_us is not None and before.ended_us <= after.started_us


def test_an_inventory_knows_only_what_has_begun(world: World) -> None:
    before = world.inventory(datetime(2026, 3, 2, 10, 13, tzinfo=UTC))
    assert b"reconciler-" not in before
    assert b"reconciler-" in world.inventory()


@pytest.mark.parametrize(
    "wrong",
    [{"start": datetime(2026, 3, 2)}, {"duration": timedelta(0)}, {"scale": 0.0}],
)
def test_bad_arguments_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        World(**{**SMALL, **wrong})


def test_a_topology_checks_its_references() -> None:
    lost = Journey("lost", GATEWAY, Call("shop/nowhere:get"), 1.0)
    with pytest.raises(ValueError, match="journey lost: no operation shop/nowhere:get"):
        replace(SHOP, journeys=(*SHOP.journeys, lost))


class _SlowReviews:
    """An incident of the kind that later work adds."""

    name = "slow reviews"

    def extend(self, topology, start_us):
        probe = Journey("probe", "shop/recommendation", Call("payments/ledger:export"), 0.5, diurnal=False)
        return replace(topology, journeys=(*topology.journeys, probe))

    def delay_us(self, caller, operation, start_us):
        return None

    def rate(self, journey, at_us):
        return 1.0

    def pace(self, operation, cluster, pods, start_us):
        return None if operation.id != "shop/reviews:list" else 20.0 * (pods >= 0)

    def truth(self):
        return {"name": self.name, "kind": "slow_version", "since": None, "until": None}


def test_incidents_plug_in() -> None:
    def told(**more) -> dict:
        world = World(seed=9, **TINY, **more)
        for _ in world.messages():
            pass
        return world.truth()

    calm, troubled = told(), told(incidents=[_SlowReviews()])
    assert [incident["name"] for incident in troubled["incidents"]] == ["slow reviews"]
    before, after = (
        next(edge for edge in truth["edges"] if edge["destination"] == "shop/reviews") for truth in (calm, troubled)
    )
    assert after["p50_ms"] > 5 * before["p50_ms"]
    assert ("shop/recommendation", "payments/ledger") in {(e["source"], e["destination"]) for e in troubled["edges"]}
