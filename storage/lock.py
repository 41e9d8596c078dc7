"""Who holds an embedded store: a lock file in its directory, with the holder's process id for people.

The kernel frees the lock when its process ends, however it ends. chDB has a lock of its own, but its message does not
help.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from storage.errors import StoreHeld, StoreUnwritable

NAME = "eastwatch.lock"


class StoreLock:
    """An exclusive lock on a store's directory, from `take` to `release`."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / NAME
        self._descriptor: int | None = None

    def take(self) -> None:
        """Take the lock.

        Raises:
            StoreHeld: another process (or this one) has it.
            StoreUnwritable: the lock file cannot be opened.
        """
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnwritable(f"{self.path.parent}: cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise StoreHeld(f"chdb:{self.path.parent} is held by {self.holder()}") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def holder(self) -> str:
        """The holder, for people: `process 123`."""
        try:
            pid = self.path.read_text(encoding="ascii", errors="replace").strip()[:20]
        except OSError:
            pid = ""
        return f"process {pid}" if pid.isdigit() else "another process"

    def release(self) -> None:
        """Give the lock back. Calling it twice is fine."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def held_elsewhere(path: Path) -> bool:
    """Whether another program has a lock on the file at `path`, as chDB has on its `status`."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
