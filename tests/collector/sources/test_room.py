"""Memory for requests: bounded over all of them, and one alone is always let in."""

from __future__ import annotations

import threading

from collector.sources.room import Room
from tests.support.poll import poll


def test_one_alone_is_let_in_and_others_when_they_fit() -> None:
    room = Room(100)
    with room.place() as large:
        assert large.resize(500)
        with room.place() as small:
            assert not small.resize(1)
            assert large.resize(60)
            assert small.resize(40)
            assert not small.resize(41)
            assert small.resize(10)
            assert large.resize(90)
        assert room.taken_bytes == 90
        assert large.resize(700)
    assert room.taken_bytes == 0


def test_who_waits_is_let_in_when_another_leaves() -> None:
    room = Room(100)
    let_in: list[bool] = []

    def wait() -> None:
        with room.place() as place:
            let_in.append(place.resize(60, 30))

    with room.place() as first:
        assert first.resize(50)
        waiting = threading.Thread(target=wait)
        waiting.start()
        poll(waiting.is_alive, "the one that waits")
        assert not let_in
    waiting.join(30)
    assert let_in == [True]
    assert room.taken_bytes == 0
