"""Memory for requests that come in on many threads: each says how much it takes before it takes it."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager


class Room:
    """Counts the bytes of requests in memory. Safe from any thread.

    Args:
        limit_bytes: what all may take together; one alone may take more.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._changed = threading.Condition()
        self._taken_bytes = 0

    @property
    def taken_bytes(self) -> int:
        """What they take now."""
        return self._taken_bytes

    @contextmanager
    def place(self) -> Generator[Place]:
        """A place for one request, empty at first and given up at the end."""
        place = Place(self)
        try:
            yield place
        finally:
            place.resize(0)

    def move(self, before_bytes: int, size_bytes: int, timeout_s: float) -> bool:
        """Take `size_bytes` in the place of `before_bytes`; False when there was no room within `timeout_s`."""

        def fits() -> bool:
            others_bytes = self._taken_bytes - before_bytes
            return size_bytes <= before_bytes or not others_bytes or others_bytes + size_bytes <= self._limit_bytes

        with self._changed:
            if not self._changed.wait_for(fits, timeout_s):
                return False
            self._taken_bytes += size_bytes - before_bytes
            self._changed.notify_all()
            return True


class Place:
    """What one request takes."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.size_bytes = 0

    def resize(self, size_bytes: int, timeout_s: float = 0) -> bool:
        """Take `size_bytes` from now on; less is always had, False when there was no room for more in `timeout_s`."""
        if not self._room.move(self.size_bytes, size_bytes, timeout_s):
            return False
        self.size_bytes = size_bytes
        return True
