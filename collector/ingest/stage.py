"""A link of the ingest chain: one thread that handles what it is given, in order, and no more than it has room for.

Every link is used through four verbs: `submit` hands an item on and waits for room, `poll` raises what went wrong
inside, `close` says that nothing follows, `join` waits for the end.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Stage(Generic[T]):
    """Runs `handle(item)` for each submitted item in a thread of its own.

    The first exception stops the work: it is kept for `poll` and `submit`, and what is still queued goes to `discard`.
    """

    def __init__(
        self, name: str, handle: Callable[[T], None], *, capacity: int, discard: Callable[[T], None] | None = None
    ) -> None:
        self._handle = handle
        self._discard = discard or (lambda _item: None)
        self._capacity = capacity
        self._items: deque[T] = deque()
        self._change = threading.Condition()
        self._error: Exception | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"eastwatch-{name}", daemon=True)
        self._thread.start()

    def submit(self, item: T, timeout_s: float | None = None) -> bool:
        """Queue `item`, waiting while the stage is full; False when `timeout_s` did not make room for it, or `close`
        came first.

        Raises:
            Exception: the one that stopped the stage.
        """
        self.poll()
        with self._change:
            self._change.wait_for(lambda: self._closed or len(self._items) < self._capacity, timeout_s)
            taken = not self._closed and len(self._items) < self._capacity
            if taken:
                self._items.append(item)
                self._change.notify_all()
        return taken

    def poll(self) -> None:
        """Raise the exception that stopped the stage, if one did."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Take nothing more; what is queued is handled still. Returns at once, however full the stage is."""
        with self._change:
            self._closed = True
            self._change.notify_all()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait until all items are handled; False when that took longer than `timeout_s`."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _next(self) -> T | None:
        with self._change:
            self._change.wait_for(lambda: self._closed or self._items)
            if not self._items:
                return None
            self._change.notify_all()
            return self._items.popleft()

    def _run(self) -> None:
        while (item := self._next()) is not None:
            if self._error is not None:
                self._discard(item)
                continue
            try:
                self._handle(item)
            except Exception as error:  # noqa: BLE001 - handed to whoever polls
                self._error = error
                self._discard(item)
