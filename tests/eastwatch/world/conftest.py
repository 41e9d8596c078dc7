"""One small world for all these tests: it holds a run of both jobs, and every kind of call."""

from __future__ import annotations

from datetime import timedelta

import pytest

from eastwatch.world import START, Message, World
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
