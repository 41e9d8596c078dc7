"""The memory of batches on their way: who comes is let in when there is room."""

from __future__ import annotations

import threading

from collector.ingest.options import MEMORY_FACTOR


class Flight:
    """Counts the memory of batches, estimated from the bytes of their messages. Safe from any thread.

    Args:
        limit_bytes: memory that all may take together; one alone is let in however large it is.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._changed = threading.Condition()

    @property
    def memory_bytes(self) -> int:
        """What they take now."""
        return self._bytes * MEMORY_FACTOR

    @property
    def has_room(self) -> bool:
        """Whether it is worth reading more."""
        return self.memory_bytes < self._limit_bytes

    def enter(self, size_bytes: int, timeout_s: float) -> bool:
        """Count a batch whose messages take `size_bytes`; False when there was no room for it within `timeout_s`."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._fits(size_bytes), timeout_s):
                return False
            self._bytes += size_bytes
            return True

    def leave(self, size_bytes: int) -> None:
        """A batch that was let in is stored, or given up."""
        with self._changed:
            self._bytes -= size_bytes
            self._changed.notify_all()

    def _fits(self, size_bytes: int) -> bool:
        return not self._bytes or (self._bytes + size_bytes) * MEMORY_FACTOR <= self._limit_bytes
