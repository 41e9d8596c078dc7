"""One small world for all these tests: it holds a run of both jobs, and every kind of call."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from eastwatch.world import START, Message, World
from eastwatch.world.model import Call, Faults, Topology
from eastwatch.world.shop import SHOP
from tests.eastwatch.world.recount import Account, recount

SMALL = {"seed": 5, "start": START + timedelta(minutes=12), "duration": timedelta(minutes=20), "scale": 0.5}


@pytest.fixture(scope="session")
def world() -> World:
    """A world whose messages were all told."""
    return World(**SMALL)


@pytest.fixture(scope="session")
def messages(world: World) -> list[Message]:
    """All its messages."""
    return list(world.messages())


@pytest.fixture(scope="session")
def account(world: World, messages: list[Message]) -> Account:
    """The messages, read one by one."""
    return recount(messages, world.inventory())


def troubled(topology: Topology) -> Topology:
    """The same topology on a day when everything goes wrong: each fault befalls 4 % of the calls."""
    faults = Faults(0.04, 0.04, 0.04, 0.04, 0.04, 0.04, timeout_ms=30)

    def worse(call: Call, **more: float) -> Call:
        return call if call.to.startswith("external:") else replace(call, faults=replace(faults, **more))

    operations = tuple(
        replace(each, steps=tuple(worse(step) if isinstance(step, Call) else step for step in each.steps))
        for each in topology.operations
    )
    pools = tuple(replace(pool, per_minute=4 * pool.per_minute, unreachable=0.2, denied=0.2) for pool in topology.pools)
    journeys = tuple(replace(each, call=worse(each.call, hung_up=0.04)) for each in topology.journeys)
    return replace(topology, operations=operations, pools=pools, journeys=journeys)


@pytest.fixture(scope="session")
def troubled_world() -> World:
    """A world with every fault in it. Ask for `troubled_account` to have its messages told."""
    return World(**{**SMALL, "duration": timedelta(minutes=8)}, topology=troubled(SHOP))


@pytest.fixture(scope="session")
def troubled_account(troubled_world: World) -> Account:
    """Its messages, read one by one."""
    return recount(troubled_world.messages(), troubled_world.inventory())
