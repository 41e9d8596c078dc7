"""What becomes slower in the world, and what stays: held against the same world without it."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from eastwatch.world import World
from eastwatch.world.happenings import Calls
from eastwatch.world.shop import CART, CATALOG, REVIEWS, WEB
from eastwatch.world.slowdown import TAIL_FACTOR, TAIL_SHARE, Slowdown
from eastwatch.world.traffic import Traffic
from eastwatch.world.world import SLICE_US, START

BEGIN = START + timedelta(minutes=2)
MINUTES = 4


def calls(*incidents: Slowdown, scale: float = 2.0) -> list[Calls]:
    world = World(3, duration=timedelta(minutes=MINUTES), scale=scale, incidents=incidents)
    traffic = Traffic(world.cluster, world.seed, scale, incidents)
    found: list[Calls] = []
    for index in range(MINUTES):
        at = world.start_us + index * SLICE_US
        found += traffic.slice(index, at, at + SLICE_US).calls
    return found


def durations(found: list[Calls], operation: str, side: str = "server_duration_us") -> tuple[np.ndarray, np.ndarray]:
    """Before and after the change, of calls that went well."""
    chosen = [one for one in found if one.operation.id == operation and not one.failed_attempt]
    start = np.concatenate([one.start_us for one in chosen])
    taken = np.concatenate([getattr(one, side) for one in chosen])
    well = np.concatenate([one.outcome == 0 for one in chosen])
    late = start >= int(BEGIN.timestamp() * 1e6)
    return taken[well & ~late], taken[well & late]


FEATURED = f"{CATALOG}:get"


@pytest.mark.parametrize("factor", [1.2, 2.0])
def test_an_operation_takes_longer_from_then_on(factor: float) -> None:
    calm, slow = durations(calls(), FEATURED), durations(calls(Slowdown(BEGIN, "step", FEATURED, factor)), FEATURED)
    assert np.array_equal(calm[0], slow[0])
    assert np.median(slow[1]) / np.median(calm[1]) == pytest.approx(factor, rel=0.12)


def test_only_some_calls_take_much_longer() -> None:
    calm, slow = durations(calls(), FEATURED), durations(calls(Slowdown(BEGIN, "tail", FEATURED, 1.0)), FEATURED)
    assert np.median(slow[1]) == pytest.approx(np.median(calm[1]), rel=0.1)
    longer = (slow[1] > 0.5 * TAIL_FACTOR * np.median(calm[1])).mean()
    assert longer == pytest.approx(TAIL_SHARE, abs=0.03)


def test_the_way_takes_longer_and_the_callee_does_not() -> None:
    slow = calls(Slowdown(BEGIN, "network", FEATURED, 3.0, caller=WEB))
    calm = calls()
    assert np.median(durations(slow, FEATURED)[1]) == pytest.approx(np.median(durations(calm, FEATURED)[1]), rel=0.1)
    before, after = durations(slow, FEATURED, "duration_us")
    assert np.median(after) > 1.8 * np.median(before)


def test_it_grows() -> None:
    ramp = Slowdown(BEGIN, "ramp", FEATURED, 3.0, ramp=timedelta(minutes=2))
    _, after = durations(calls(ramp), FEATURED)
    half = len(after) // 2
    assert np.median(after[half:]) > 1.3 * np.median(after[:half])


def test_one_version_takes_longer() -> None:
    operation = f"{REVIEWS}:list"
    found = calls(Slowdown(BEGIN, "version", operation, 5.0, version="v2"), scale=6.0)
    world = World(3, duration=timedelta(minutes=MINUTES), scale=6.0)
    chosen = [one for one in found if one.operation.id == operation]
    pods = np.concatenate([one.callee_pod for one in chosen])
    taken = np.concatenate([one.server_duration_us for one in chosen])
    late = np.concatenate([one.start_us for one in chosen]) >= int(BEGIN.timestamp() * 1e6)
    version = np.array([world.cluster.pods[pod].version.name if pod >= 0 else "" for pod in pods])
    assert np.median(taken[late & (version == "v2")]) > 2 * np.median(taken[late & (version == "v1")])
    assert np.median(taken[~late & (version == "v2")]) < 1.6 * np.median(taken[~late & (version == "v1")])


def test_it_goes_away() -> None:
    gone = Slowdown(BEGIN, "step", FEATURED, 9.0, length=timedelta(minutes=1))
    _, after = durations(calls(gone), FEATURED)
    third = len(after) // 3
    assert np.median(after[:third]) > 4 * np.median(after[-third:])
    assert gone.truth()["until"].startswith("2026-03-02T10:03")


def test_a_load_comes_before_it() -> None:
    load = Slowdown(START + timedelta(minutes=4), "load", f"{CART}:add", 1.5, journey="add to cart")
    many = [len(one) for one in calls(load) if one.operation.id == f"{WEB}:add-to-cart"]
    calm = [len(one) for one in calls() if one.operation.id == f"{WEB}:add-to-cart"]
    assert sum(many[1:]) == pytest.approx(2 * sum(calm[1:]), rel=0.25)
    assert many[0] == calm[0]
