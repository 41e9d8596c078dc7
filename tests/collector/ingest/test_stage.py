"""A link of the chain: in order, bounded, and its end never waits for what hangs."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from collector.ingest.stage import Stage
from tests.support.poll import poll


class Hanging:
    """A handler that hangs until `go`; what it began with, and what it has handled."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.handled: list[int] = []
        self.go = threading.Event()

    def __call__(self, item: int) -> None:
        self.begun.append(item)
        assert self.go.wait(60)
        self.handled.append(item)


@contextmanager
def full(hanging: Hanging) -> Generator[Stage[int]]:
    """A stage of two places whose thread hangs with item 0, and whose places are taken."""
    stage = Stage[int]("test", hanging, capacity=2)
    try:
        assert stage.submit(0)
        poll(lambda: hanging.begun, "its thread at work")
        assert stage.submit(1) and stage.submit(2)
        yield stage
    finally:
        hanging.go.set()
        stage.close()
        assert stage.join(60)


def test_items_are_handled_in_order_and_all_of_them() -> None:
    handled: list[int] = []
    stage = Stage[int]("test", handled.append, capacity=2)
    assert all(stage.submit(number) for number in range(1000))
    stage.close()
    assert stage.join(60)
    assert handled == list(range(1000))


def test_a_full_stage_takes_no_more_within_the_time() -> None:
    hanging = Hanging()
    with full(hanging) as stage:
        assert not stage.submit(3, timeout_s=0.05)
        hanging.go.set()
        assert stage.submit(4, timeout_s=60)
    assert hanging.handled == [0, 1, 2, 4]


def test_closing_a_full_stage_that_hangs_returns_at_once() -> None:
    """And what it took is handled all the same, once it hangs no longer."""
    hanging = Hanging()
    with full(hanging) as stage:
        began = time.monotonic()
        stage.close()
        stage.close()
        assert not stage.join(0.05)
        assert time.monotonic() - began < 1
        assert not stage.submit(3)
    assert hanging.handled == [0, 1, 2]


def test_closing_ends_the_wait_of_whoever_submits() -> None:
    hanging, told = Hanging(), list[bool]()
    with full(hanging) as stage:
        feeder = threading.Thread(target=lambda: told.append(stage.submit(3)))
        feeder.start()
        stage.close()
        feeder.join(60)
        assert told == [False]
    assert hanging.handled == [0, 1, 2]


def test_the_first_error_stops_the_work_and_the_rest_is_discarded() -> None:
    hanging, discarded = Hanging(), list[int]()

    def handle(item: int) -> None:
        hanging(item)
        raise ValueError(str(item))

    stage = Stage[int]("test", handle, capacity=2, discard=discarded.append)
    assert stage.submit(0) and stage.submit(1)
    hanging.go.set()
    poll(lambda: discarded == [0, 1], "both given up")
    for told in (stage.poll, lambda: stage.submit(2)):
        with pytest.raises(ValueError, match="0"):
            told()
    stage.close()
    assert stage.join(60)
    assert hanging.handled == [0]


def test_an_idle_stage_ends() -> None:
    stage = Stage[int]("test", lambda _item: None, capacity=2)
    stage.close()
    assert stage.join(60)
